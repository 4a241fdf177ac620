//! The ladder of checks, used by the page, the command line and the timer alike: from the settings up to a message
//! that was sent and came back, each rung with what was done, what came back, the cause and the next step.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | here | the rungs in their order, which kind of connection has which, and what each depends on |
//! | `request` | what is asked |
//! | `report` | what is reported; a page of it that can be shared |
//! | `ladder` | runs one probe after the other and skips what depends on a failed one |
//! | `finding` | what a probe found; who is asked; a provider's refusal turned into verdict, cause and next step |
//! | `mask` | secrets masked in every text; ids and addresses shortened on request |
//! | `rungs` | the probes, one file for each rung or pair of rungs |
//!
//! # How to add a rung
//!
//! 1. Write a probe in `rungs`: an async function that takes what earlier rungs found and gives a `Finding`.
//! 2. Name it in [`run`], with the rungs it depends on. A rung that was not reached is reported as skipped.
//! 3. Add its name to the list at [`Rung::name`].

mod finding;
mod ladder;
mod mask;
mod report;
mod request;
mod rungs;

use postroom_model::connection::AuthenticationFlow;
use postroom_model::{EmailAddress, Env};
use postroom_transport::Seen;

pub use postroom_transport::Account;
pub use report::{Report, Rung, Verdict};
pub use request::{CheckRequest, Incoming, Mode, TestMessage};

use crate::finding::{Finding, Service, Way};
use crate::ladder::{Ladder, Step};
use crate::rungs::send::Sent;
use crate::rungs::{Means, file_away, mailbox, refusal, server};

/// Runs the ladder from top to bottom. `progress` sees each rung as it ends. A failure stops only the rungs that
/// depend on it. Rungs that mean nothing to this kind of connection are not there.
///
/// With a test message it changes something: a message is sent, and its copies are removed again when it has arrived
/// in one of `mailboxes`. In full mode, through Microsoft Graph, a folder and a draft are made and removed besides.
pub async fn run(request: &CheckRequest, env: &Env, progress: &mut (dyn FnMut(&Rung) + Send)) -> Report {
    // A federated credential is stored as the place of its token (`file:...`): that place is no secret, and a message
    // about it must name it. The token itself is masked by its shape.
    let place = request.settings.flow == AuthenticationFlow::Federated;
    let own = request.accounts.iter().filter_map(|account| account.password.as_ref());
    let other =
        request.incoming.iter().flat_map(|other| [other.secret.as_ref(), other.account.password.as_ref()]);
    let masked = request.secret.as_ref().filter(|_| !place);
    let masked = masked.into_iter().chain(own).chain(other.flatten()).collect();
    let mut ladder = Ladder::new(env, masked, progress);
    let asked = Asked { request, env, service: Service::of(&request.settings) };
    let known = Box::pin(asked.sign_in(&mut ladder)).await;
    let seen = Box::pin(asked.mailboxes(&mut ladder, &known)).await.or(known.seen.clone());
    if asked.limits_matter() {
        Box::pin(asked.refusals(&mut ladder, &known)).await;
    }
    Box::pin(asked.messages(&mut ladder, &known)).await;
    if asked.service.way != Way::Smtp {
        let told = async {
            let told = rungs::notice::told(request, known.means.as_ref(), seen.as_ref(), env).await;
            rungs::notice::probe(request, told).into()
        };
        ladder.climb(rungs::NOTICE, &[], told).await.unwrap_or(());
    }
    Report { connection: request.settings.display_name().to_owned(), rungs: ladder.end() }
}

/// What is checked, and with which clock.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a CheckRequest,
    env: &'a Env,
    service: Service,
}

/// What the rungs of the connection as a whole gave.
struct Known {
    means: Option<Means>,
    /// Rights of the application in the token.
    granted: Option<Vec<String>>,
    /// What an IMAP or SMTP server showed of itself.
    seen: Option<Seen>,
}

impl Asked<'_> {
    /// Rungs 1 to 7: what concerns the connection as a whole.
    async fn sign_in(self, ladder: &mut Ladder<'_>) -> Known {
        use rungs::{CLOCK, CREDENTIAL, NETWORK, NETWORK_MAIL, ROLES, SHAPES, SIZE, TENANT, TOKEN};

        let Self { request, env, service } = self;
        let made = ladder.climb(SHAPES, &[], rungs::shapes::probe(request, env)).await;
        let means = made.as_ref();
        let reach = ladder.climb(CLOCK, &[SHAPES], rungs::clock::probe(request, means, env)).await;
        if service.entra {
            let reached = async { rungs::network::sign_in(request, reach.as_ref()) };
            ladder.climb(NETWORK, &[SHAPES], reached).await;
        }
        let seen = ladder.climb(NETWORK_MAIL, &[SHAPES], rungs::network::mail(request, means, env)).await;
        let mut granted = None;
        if service.entra {
            ladder.climb(TENANT, &[SHAPES, NETWORK], rungs::tenant::probe(request, means)).await;
            let needs = [SHAPES, NETWORK, TENANT];
            let token = ladder.climb(TOKEN, &needs, rungs::token::probe(request, means)).await;
            let read = async { rungs::roles::probe(request, token.as_ref()) };
            granted = ladder.climb(ROLES, &[TOKEN], read).await;
        }
        let life = async { rungs::credential::probe(request, env.now()).into() };
        ladder.climb::<()>(CREDENTIAL, &[], life).await;
        if service.way == Way::Smtp {
            let compared = async { server::size(request, seen.as_ref()) };
            ladder.climb(SIZE, &[NETWORK_MAIL], compared).await;
        }
        Known { means: made, granted, seen }
    }

    /// Rungs 8 to 10, for each mailbox. Gives what an IMAP server offers to those who have signed in.
    async fn mailboxes(self, ladder: &mut Ladder<'_>, known: &Known) -> Option<Seen> {
        let Self { request, env, service } = self;
        let (means, granted) = (known.means.as_ref(), known.granted.as_ref());
        let client = means.and_then(|means| means.client.as_ref());
        let needs = [rungs::TOKEN, rungs::NETWORK_MAIL];
        let mut seen = None;
        if service.way == Way::Smtp {
            let sender = server::sender(request);
            let signed = server::sign_in(request, means, sender.as_ref());
            return ladder.climb(rungs::SIGN_IN, &needs, signed).await;
        }
        for address in &request.mailboxes {
            let read = mailbox::read(request, means, address, granted);
            match service.way {
                Way::Graph => {
                    let exists = mailbox::exists(request, client, address, granted);
                    ladder.climb(mailbox::step(address), &needs, exists).await;
                    ladder.climb(read_step(address), &[mailbox::step(address)], read).await;
                    let filed = file_away::probe(client, address, request.mode, env);
                    ladder.climb(file_away::step(address), &[read_step(address)], filed).await;
                }
                Way::Imap => {
                    let told = async { rungs::cannot_be_checked(service.way, address).into() };
                    ladder.climb::<()>(mailbox::step(address), &needs, told).await;
                    let signed = server::sign_in(request, means, Some(address));
                    seen = ladder.climb(server::step(address), &needs, signed).await.or(seen);
                    ladder.climb(read_step(address), &[server::step(address)], read).await;
                }
                Way::Ews | Way::Smtp => {
                    let told = async { rungs::cannot_be_checked(service.way, address).into() };
                    ladder.climb::<()>(mailbox::step(address), &needs, told).await;
                    ladder.climb(read_step(address), &needs, read).await;
                }
            }
        }
        seen
    }

    /// Whether one credential opens several mailboxes, so that it is worth knowing which it does not open.
    fn limits_matter(self) -> bool {
        self.service.entra || self.service.way == Way::Ews
    }

    /// Rung 11, for each mailbox that must stay closed.
    async fn refusals(self, ladder: &mut Ladder<'_>, known: &Known) {
        let request = self.request;
        let (means, granted) = (known.means.as_ref(), known.granted.as_ref());
        let needs = [rungs::TOKEN, rungs::NETWORK_MAIL];
        if request.must_not_open.is_empty() {
            let unproved = async { refusal::none_named(request, granted).into() };
            ladder.climb::<()>(refusal::REFUSAL, &needs, unproved).await;
        }
        for address in &request.must_not_open {
            let refused = refusal::probe(request, means, address, granted);
            ladder.climb(refusal::step(address), &needs, refused).await;
        }
    }

    /// Rungs 12 to 15: a message on its way. IMAP sends none.
    async fn messages(self, ladder: &mut Ladder<'_>, known: &Known) {
        use rungs::{NETWORK_MAIL, REPLY, SEND, SEND_LARGE, SIGN_IN, TOKEN};

        let Self { request, env, service } = self;
        let (means, granted) = (known.means.as_ref(), known.granted.as_ref());
        let client = means.and_then(|means| means.client.as_ref());
        let message = request.message();
        let message = message.as_ref();
        let mut arrived = None;
        if service.way != Way::Imap {
            // Without a sign-in an SMTP server may still relay: that rung is skipped then and stops nothing.
            let refused = ladder.failed(&SIGN_IN);
            let mut needs = vec![TOKEN, NETWORK_MAIL];
            needs.extend(refused.then_some(SIGN_IN));
            let probe = rungs::send::probe(request, means, granted, env);
            let sent = ladder.climb(SEND, &needs, probe).await;
            if service.way == Way::Graph {
                let large = rungs::send_large::probe(request, client, message, env);
                ladder.climb(SEND_LARGE, &needs, large).await;
            }
            arrived = self.round_trip(ladder, known, message, sent.as_ref()).await;
        }
        let matched = async { rungs::reply::probe(arrived.as_deref()).into() };
        ladder.climb::<()>(REPLY, &[], matched).await;
    }

    /// Rung 14: the message comes back, where this connection reads too.
    async fn round_trip(
        self,
        ladder: &mut Ladder<'_>,
        known: &Known,
        message: Option<&TestMessage>,
        sent: Option<&Sent>,
    ) -> Option<String> {
        use rungs::{ROUND_TRIP, SEND};

        let Self { request, service, .. } = self;
        let means = known.means.as_ref();
        let ours = message.is_some_and(|message| request.mailboxes.contains(&message.recipient));
        let mut needs = vec![SEND];
        if service.way != Way::Smtp {
            needs.extend(message.filter(|_| ours).map(|message| read_step(&message.recipient)));
        }
        match service.way {
            Way::Smtp if request.incoming.is_none() => {
                let reason = "Not checked, because SMTP only sends and no connection here reads the recipient: look into \
                              that inbox.";
                let told = async { Finding::skipped(reason).into() };
                ladder.climb(ROUND_TRIP, &needs, told).await
            }
            Way::Smtp | Way::Ews if ours || service.way == Way::Smtp => {
                let back = rungs::round_trip::probe_inbox(request, means, message, sent);
                ladder.climb(ROUND_TRIP, &needs, back).await
            }
            Way::Graph | Way::Ews | Way::Imap | Way::Smtp => {
                let client = means.and_then(|means| means.client.as_ref());
                let back = rungs::round_trip::probe(client, message, sent, ours);
                ladder.climb(ROUND_TRIP, &needs, back).await
            }
        }
    }
}

fn read_step(address: &EmailAddress) -> Step {
    mailbox::read_step(address)
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};

    use super::*;

    #[tokio::test]
    async fn wrong_settings_are_named_and_nothing_is_asked() {
        let (env, _) = Env::for_test(1);
        let recipient: EmailAddress = "orders@contoso.example".parse().unwrap();
        let mut request = CheckRequest::new(ConnectionSettings::new(ConnectionKind::ExchangeOnline), None);
        request.mailboxes = vec![recipient.clone()];
        request.must_not_open = vec!["ceo@contoso.example".parse().unwrap()];
        request.test_message = Some(TestMessage { sender: recipient.clone(), recipient });
        let mut seen = Vec::new();
        let report = run(&request, &env, &mut |rung: &Rung| seen.push(rung.name.clone())).await;
        let verdicts: Vec<_> = report.rungs.iter().map(|rung| (rung.name.as_str(), rung.verdict)).collect();
        use Verdict::{Fail, Pass, Skipped, Warn};
        assert_eq!(
            verdicts,
            [
                ("shapes", Fail),
                ("clock", Skipped),
                ("network:sign-in", Skipped),
                ("network:mail", Skipped),
                ("tenant", Skipped),
                ("token", Skipped),
                ("roles", Skipped),
                ("credential", Warn),
                ("mailbox:orders@contoso.example", Skipped),
                ("read:orders@contoso.example", Skipped),
                ("file:orders@contoso.example", Skipped),
                ("refusal:ceo@contoso.example", Skipped),
                ("send", Skipped),
                ("send-large", Skipped),
                ("round-trip", Skipped),
                ("reply", Pass),
                ("notice", Pass),
            ]
        );
        assert_eq!(seen.len(), verdicts.len());
        assert_eq!(
            report.summary(),
            "Settings: Application (client) ID is missing. Correct the settings and press Test again."
        );
        assert_eq!(report.rungs[4].got, "Not checked, because Settings failed.");
    }

    #[test]
    fn a_run_may_move_between_threads() {
        fn moves<T: Send>(_: T) {}
        let (env, _) = Env::for_test(1);
        let request = CheckRequest::new(ConnectionSettings::new(ConnectionKind::Imap), None);
        moves(run(&request, &env, &mut |_: &Rung| ()));
    }

    #[tokio::test]
    async fn each_kind_has_the_rungs_that_mean_something_to_it() {
        let (env, _) = Env::for_test(1);
        let rungs = async |kind, entra: bool| {
            let mut settings = ConnectionSettings::new(kind);
            settings.api = postroom_model::connection::ExchangeApi::Ews;
            if entra {
                settings.flow = AuthenticationFlow::ClientSecret;
            }
            let mut request = CheckRequest::new(settings, None);
            request.mailboxes = vec!["orders@contoso.example".parse().unwrap()];
            let report = run(&request, &env, &mut |_: &Rung| ()).await;
            report.rungs.into_iter().map(|rung| rung.name).collect::<Vec<_>>().join(" ")
        };
        let read = "mailbox:orders@contoso.example read:orders@contoso.example";
        let sign_in =
            "mailbox:orders@contoso.example sign-in:orders@contoso.example read:orders@contoso.example";
        let entra = "shapes clock network:sign-in network:mail tenant token roles credential";
        let own = "shapes clock network:mail credential";
        let sends = "send round-trip reply";
        for (kind, by_token, expected) in [
            (ConnectionKind::ExchangeOnline, true, format!("{entra} {read} refusal {sends} notice")),
            (ConnectionKind::Exchange, false, format!("{own} {read} refusal {sends} notice")),
            (ConnectionKind::Imap, true, format!("{entra} {sign_in} refusal reply notice")),
            (ConnectionKind::Imap, false, format!("{own} {sign_in} reply notice")),
            (ConnectionKind::Smtp, true, format!("{entra} size sign-in refusal {sends}")),
            (ConnectionKind::Smtp, false, format!("{own} size sign-in {sends}")),
        ] {
            assert_eq!(rungs(kind, by_token).await, expected);
        }
    }
}
