//! An IMAP or SMTP server by itself: the line and its certificate, the largest message, the sign-in.

use postroom_model::connection::{TlsMode, is_loopback};
use postroom_model::{EmailAddress, Env, Timestamp};
use postroom_transport::{Account, Seen};

use super::{Means, certificate, ids, ids_for, nothing_to_go_on};
use crate::finding::{Finding, Way};
use crate::ladder::{Probed, Step};
use crate::{CheckRequest, Verdict};

const DAY: i64 = 24 * 3600;
/// Days below which the end of a server's certificate is to be looked at. Many are renewed 30 days before.
const SOON: i64 = 14;

/// The rung of the sign-in to one mailbox.
pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step::of("sign-in", "Sign-in to", mailbox)
}

/// What the server shows to somebody who has not signed in.
pub(crate) async fn look(request: &CheckRequest, means: &Means, env: &Env) -> Probed<Seen> {
    let settings = &request.settings;
    let (server, port) = (settings.server.trim(), settings.effective_port());
    let did = format!("Connected to {server}, port {port}, TLS mode {}.", settings.tls.label());
    match means.wire.look(settings).await {
        Ok(seen) => {
            let finding = shown(did, settings.tls, &seen, env.now());
            Probed::with(finding, seen)
        }
        Err(failure) => Finding::refused_by(means.service, did, &failure, &ids(request)).into(),
    }
}

fn shown(did: String, mode: TlsMode, seen: &Seen, now: Timestamp) -> Finding {
    let server = &seen.server;
    let Some(shown) = &seen.certificate else { return plain(did, seen) };
    let begins = if mode == TlsMode::Implicit { "from the first byte" } else { "after STARTTLS" };
    let issuer = certificate::of(shown).unwrap_or_else(|| "somebody unnamed".to_owned());
    let Some(end) = certificate::end(shown) else {
        let got = format!("{server} answers under TLS {begins}; its certificate was issued by {issuer}.");
        return Finding::pass(did, got);
    };
    let days = (end.as_second() - now.as_second()).div_euclid(DAY);
    let date = end.strftime("%Y-%m-%d");
    let got = format!(
        "{server} answers under TLS {begins}; its certificate was issued by {issuer} and ends on {date}, {days} days left."
    );
    if days >= SOON {
        return Finding::pass(did, got);
    }
    Finding::wrong(
        Verdict::Warn,
        did,
        got,
        format!("The certificate of {server} ends in {days} days; then nothing is read or sent."),
        "Its administrator must renew it before.",
    )
}

/// A line without TLS: fine within this machine.
fn plain(did: String, seen: &Seen) -> Finding {
    let server = &seen.server;
    let offered = seen.offers.iter().any(|offer| offer == "STARTTLS");
    let also = if offered { "STARTTLS is offered" } else { "STARTTLS is not offered" };
    let got = format!("{server} answers without TLS; {also}.");
    let host = server.rsplit_once(':').map_or(server.as_str(), |(host, _)| host);
    if is_loopback(host) {
        return Finding::pass(did, got);
    }
    let next_step = if offered {
        "Choose the TLS mode STARTTLS."
    } else {
        "Ask the server's administrator for TLS, and choose it as soon as it is there."
    };
    let cause = format!("Whatever crosses the network to {server} can be read on the way.");
    Finding::wrong(Verdict::Warn, did, got, cause, next_step)
}

/// The largest message of the server against *Maximum size for files in e-mail*.
pub(crate) fn size(request: &CheckRequest, seen: Option<&Seen>) -> Probed<()> {
    let Some(seen) = seen else { return nothing_to_go_on().into() };
    let ours = request.settings.max_size_bytes();
    let did = "Compared the largest message of the server with the maximum size in the settings.";
    let Some(theirs) = seen.max_size else {
        let got = format!("The server names no largest message; the settings allow {ours} bytes.");
        return Finding::pass(did, got).into();
    };
    let got = format!("The server takes {theirs} bytes; the settings allow {ours} bytes.");
    if theirs >= ours {
        return Finding::pass(did, got).into();
    }
    let next_step = match theirs / 1_000_000 {
        0 => "Ask the server's administrator to raise its limit.".to_owned(),
        megabytes => format!("Set the maximum size for files in e-mail to {megabytes} MB."),
    };
    let cause =
        format!("A message between {theirs} and {ours} bytes is accepted here and refused by the server.");
    Finding::wrong(Verdict::Warn, did, got, cause, next_step).into()
}

/// As whom a server that only sends is signed in to: the sender of the test message, else a mailbox.
pub(crate) fn sender(request: &CheckRequest) -> Option<EmailAddress> {
    let message = request.message().map(|message| message.sender);
    let named = || request.settings.user_name.trim().parse().ok();
    message.or_else(|| request.mailboxes.first().cloned()).or_else(named)
}

/// Signs in and does nothing more.
pub(crate) async fn sign_in(
    request: &CheckRequest,
    means: Option<&Means>,
    mailbox: Option<&EmailAddress>,
) -> Probed<Seen> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let settings = &request.settings;
    let own_name = !settings.uses_entra() && means.service.way == Way::Smtp;
    let nobody = own_name && settings.user_name.trim().is_empty();
    if nobody {
        return Finding::skipped("Not checked, because the settings name nobody: the server is a relay.")
            .into();
    }
    let Some(mailbox) = mailbox else {
        return Finding::skipped("Not checked, because no mailbox is named to sign in as.").into();
    };
    let account = if own_name { Account::of(mailbox.clone()) } else { request.account(mailbox) };
    let names =
        [account.user_name.trim(), if settings.uses_entra() { "" } else { settings.user_name.trim() }];
    let user = names.into_iter().find(|name| !name.is_empty()).unwrap_or(mailbox.as_str()).to_owned();
    let how = if settings.uses_entra() { "a token" } else { "a password" };
    let did = format!("Signed in as {user} with {how}.");
    match means.wire.sign_in_for(settings, request.secret.clone(), &account).await {
        Ok(Some(seen)) => Probed::with(Finding::pass(did, "The server took it."), seen),
        Ok(None) => Finding::skipped("Not checked, because nobody signs in.").into(),
        Err(failure) => Finding::refused_by(means.service, did, &failure, &ids_for(request, mailbox)).into(),
    }
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};

    use super::*;

    #[test]
    fn a_server_that_takes_less_than_the_settings_allow_is_named_with_the_figure() {
        let request = CheckRequest::new(ConnectionSettings::new(ConnectionKind::Smtp), None);
        let told = |max_size| size(&request, Some(&Seen { max_size, ..Seen::default() })).finding;
        assert_eq!(told(None).verdict, Verdict::Pass);
        assert_eq!(told(Some(10_000_000)).verdict, Verdict::Pass);
        let small = told(Some(9_999_999));
        assert_eq!(small.verdict, Verdict::Warn);
        assert!(small.next_step.unwrap().contains("9 MB"));
    }

    #[test]
    fn a_readable_line_is_fine_within_this_machine_only() {
        let line = |server: &str| {
            let seen = Seen { server: server.to_owned(), ..Seen::default() };
            shown(String::new(), TlsMode::Plain, &seen, Timestamp::UNIX_EPOCH).verdict
        };
        assert_eq!(line("127.0.0.1:2525"), Verdict::Pass);
        assert_eq!(line("mail.contoso.example:25"), Verdict::Warn);
    }
}
