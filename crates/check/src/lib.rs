//! The ladder of checks, used by the page, the command line and the timer alike: from the settings up to a message
//! that was sent and came back, each rung with what was done, what came back, the cause and the next step.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | here | the sixteen rungs in their order, and what each depends on |
//! | `request` | what is asked |
//! | `report` | what is reported; a page of it that can be shared |
//! | `ladder` | runs one probe after the other and skips what depends on a failed one |
//! | `finding` | what a probe found; a provider's refusal turned into verdict, cause and next step |
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

pub use report::{Report, Rung, Verdict};
pub use request::{CheckRequest, Mode, TestMessage};

use crate::ladder::{Ladder, Step};
use crate::rungs::{Client, file_away, mailbox, refusal};

/// Runs the ladder from top to bottom. `progress` sees each rung as it ends. A failure stops only the rungs that
/// depend on it.
///
/// With a test message it changes something: a message is sent, and its copies are removed again when it has arrived
/// in one of `mailboxes`. In full mode a folder and a draft are made and removed besides.
pub async fn run(request: &CheckRequest, env: &Env, progress: &mut (dyn FnMut(&Rung) + Send)) -> Report {
    // A federated credential is stored as the place of its token (`file:...`): that place is no secret, and a message
    // about it must name it. The token itself is masked by its shape.
    let place = request.settings.flow == AuthenticationFlow::Federated;
    let masked = request.secret.as_ref().filter(|_| !place);
    let mut ladder = Ladder::new(env, masked, progress);
    let asked = Asked { request, env };
    let client = Box::pin(asked.sign_in(&mut ladder)).await;
    let granted = client.granted.as_ref();
    let client = client.client.as_ref();
    Box::pin(asked.mailboxes(&mut ladder, client, granted)).await;
    Box::pin(asked.refusals(&mut ladder, client, granted)).await;
    Box::pin(asked.messages(&mut ladder, client, granted)).await;
    ladder.climb(rungs::NOTICE, &[], async { rungs::notice::probe(request).into() }).await.unwrap_or(());
    Report { connection: request.settings.display_name().to_owned(), rungs: ladder.end() }
}

/// What is checked, and with which clock.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a CheckRequest,
    env: &'a Env,
}

/// What signing in gave.
struct SignedIn {
    client: Option<Client>,
    /// Rights of the application in the token.
    granted: Option<Vec<String>>,
}

impl Asked<'_> {
    /// Rungs 1 to 7: what concerns the connection as a whole.
    async fn sign_in(self, ladder: &mut Ladder<'_>) -> SignedIn {
        use rungs::{CLOCK, CREDENTIAL, NETWORK, NETWORK_MAIL, ROLES, SHAPES, TENANT, TOKEN};

        let Self { request, env } = self;
        let made = ladder.climb(SHAPES, &[], rungs::shapes::probe(request, env)).await;
        let client = made.as_ref();
        let reach = ladder.climb(CLOCK, &[SHAPES], rungs::clock::probe(request, client, env)).await;
        let reached = async { rungs::network::sign_in(request, reach.as_ref()) };
        ladder.climb(NETWORK, &[SHAPES], reached).await;
        ladder.climb(NETWORK_MAIL, &[SHAPES], rungs::network::mail(request, client)).await;
        ladder.climb(TENANT, &[SHAPES, NETWORK], rungs::tenant::probe(request, client)).await;
        let needs = [SHAPES, NETWORK, TENANT];
        let token = ladder.climb(TOKEN, &needs, rungs::token::probe(request, client)).await;
        let read = async { rungs::roles::probe(request, token.as_ref()) };
        let granted = ladder.climb(ROLES, &[TOKEN], read).await;
        let life = async { rungs::credential::probe(request, env.now()).into() };
        ladder.climb::<()>(CREDENTIAL, &[], life).await;
        SignedIn { client: made, granted }
    }

    /// Rungs 8 to 10, for each mailbox.
    async fn mailboxes(
        self,
        ladder: &mut Ladder<'_>,
        client: Option<&Client>,
        granted: Option<&Vec<String>>,
    ) {
        let Self { request, env } = self;
        for address in &request.mailboxes {
            let exists = mailbox::exists(request, client, address, granted);
            ladder.climb(mailbox::step(address), &[rungs::TOKEN, rungs::NETWORK_MAIL], exists).await;
            let read = mailbox::read(request, client, address, granted, env);
            ladder.climb(mailbox::read_step(address), &[mailbox::step(address)], read).await;
            let filed = file_away::probe(client, address, request.mode, env);
            ladder.climb(file_away::step(address), &[mailbox::read_step(address)], filed).await;
        }
    }

    /// Rung 11, for each mailbox that must stay closed.
    async fn refusals(self, ladder: &mut Ladder<'_>, client: Option<&Client>, granted: Option<&Vec<String>>) {
        let request = self.request;
        let needs = [rungs::TOKEN, rungs::NETWORK_MAIL];
        if request.must_not_open.is_empty() {
            let unproved = async { refusal::none_named(request, granted).into() };
            ladder.climb::<()>(refusal::REFUSAL, &needs, unproved).await;
        }
        for address in &request.must_not_open {
            let refused = refusal::probe(request, client, address, granted);
            ladder.climb(refusal::step(address), &needs, refused).await;
        }
    }

    /// Rungs 12 to 15: a message on its way.
    async fn messages(self, ladder: &mut Ladder<'_>, client: Option<&Client>, granted: Option<&Vec<String>>) {
        use rungs::{NETWORK_MAIL, REPLY, ROUND_TRIP, SEND, SEND_LARGE, TOKEN};

        let Self { request, env } = self;
        let message = request.message();
        let message = message.as_ref();
        let needs = [TOKEN, NETWORK_MAIL];
        let sent = ladder.climb(SEND, &needs, rungs::send::probe(request, client, granted, env)).await;
        let large = rungs::send_large::probe(request, client, message, env);
        ladder.climb(SEND_LARGE, &needs, large).await;
        let known = message.is_some_and(|message| request.mailboxes.contains(&message.recipient));
        let mut needs = vec![SEND];
        needs.extend(message.filter(|_| known).map(|message| read_step(&message.recipient)));
        let back = rungs::round_trip::probe(client, message, sent.as_ref(), known);
        let arrived = ladder.climb(ROUND_TRIP, &needs, back).await;
        let matched = async { rungs::reply::probe(arrived.as_deref()).into() };
        ladder.climb::<()>(REPLY, &[], matched).await;
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
    async fn what_cannot_be_checked_yet_is_no_ok() {
        let (env, _) = Env::for_test(1);
        let mut settings = ConnectionSettings::new(ConnectionKind::Imap);
        settings.server = "imap.fabrikam.example".into();
        let report = run(&CheckRequest::new(settings, None), &env, &mut |_: &Rung| ()).await;
        assert!(!report.ok());
        assert!(report.summary().contains("IMAP is not available yet"), "{}", report.summary());
    }
}
