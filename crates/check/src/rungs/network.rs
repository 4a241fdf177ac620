//! The way to sign-in and mail: name, connection, TLS with the certificate's issuer.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use postroom_entra::http;
use postroom_model::connection::is_loopback;
use postroom_model::{Env, Timestamp};
use postroom_transport::Seen;
use reqwest::header::DATE;
use reqwest::tls::TlsInfo;
use url::Url;

use super::{Means, certificate, nothing_to_go_on, server};
use crate::finding::{Finding, Service, Way, sentence};
use crate::ladder::Probed;
use crate::{CheckRequest, Verdict};

/// Longest look-up of a name.
const NAME_PATIENCE: Duration = Duration::from_secs(10);

/// What a host showed of itself, or why it could not be reached.
pub(crate) type Reach = Result<Reached, Unreached>;

/// A host that answered; what it answered does not matter here.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    /// Its clock.
    pub(crate) date: Option<Timestamp>,
    /// Who issued its certificate; none without TLS.
    issuer: Option<String>,
    /// When that ends.
    ends: Option<Timestamp>,
}

/// A host that did not answer.
#[derive(Debug, Clone)]
pub(crate) struct Unreached {
    words: String,
    name_unknown: bool,
}

/// The host of an address, for people.
pub(crate) fn host(address: &Url) -> String {
    address.host_str().unwrap_or("the server").to_owned()
}

/// Asks a host for its first page; any answer is one.
pub(crate) async fn reach(http: &reqwest::Client, address: &Url) -> Reach {
    let mut first_page = address.clone();
    first_page.set_path("/");
    match http.get(first_page).send().await {
        Ok(response) => {
            let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
            let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
            let tls = response.extensions().get::<TlsInfo>();
            let shown = tls.and_then(TlsInfo::peer_certificate);
            let (issuer, ends) = (shown.and_then(certificate::of), shown.and_then(certificate::end));
            Ok(Reached { date, issuer, ends })
        }
        Err(error) => {
            let words = http::tidy(http::chain(&error.without_url()), 500);
            Err(Unreached { words, name_unknown: !resolves(address).await })
        }
    }
}

/// Whether this machine finds the name. Behind a proxy it need not, so this is asked only after a failure.
async fn resolves(address: &Url) -> bool {
    let (Some(host), Some(port)) = (address.host_str(), address.port_or_known_default()) else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::time::timeout(NAME_PATIENCE, tokio::net::lookup_host((host, port))).await;
    found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
}

/// The way to the sign-in host, asked for the clock already.
pub(crate) fn sign_in(request: &CheckRequest, reach: Option<&Reach>) -> Probed<()> {
    let Some(reach) = reach else { return nothing_to_go_on().into() };
    found(&request.settings.cloud.endpoints().authority, reach).into()
}

/// Whose clock is compared: that of the sign-in, else that of Exchange on premises; none where nobody speaks HTTP.
pub(crate) fn clock(request: &CheckRequest, service: Service) -> Option<Url> {
    match (service.entra, service.way) {
        (true, _) => Some(request.settings.cloud.endpoints().authority),
        (false, Way::Ews) => request.settings.ews_url().ok(),
        (false, _) => None,
    }
}

/// The way to the host of the mail; for IMAP and SMTP what the server shows of itself.
pub(crate) async fn mail(request: &CheckRequest, means: Option<&Means>, env: &Env) -> Probed<Seen> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let address = match means.service.way {
        Way::Graph => Ok(request.settings.cloud.endpoints().graph),
        Way::Ews => request.settings.ews_url(),
        Way::Imap | Way::Smtp => return server::look(request, means, env).await,
    };
    match address {
        Ok(address) => found(&address, &reach(&means.http, &address).await).into(),
        Err(words) => Finding::wrong(
            Verdict::Fail,
            "Looked for the address of the mail.",
            words.clone(),
            sentence(&words),
            "Correct the server address and press Test again.",
        )
        .into(),
    }
}

fn found(address: &Url, reach: &Reach) -> Finding {
    let host = host(address);
    let did = format!("Connected to {host}.");
    let trouble = match reach {
        Ok(reached) => return Finding::pass(did, line(address, reached)),
        Err(trouble) => trouble,
    };
    let words = trouble.words.to_ascii_lowercase();
    let (cause, next_step) = if words.contains("certificate") || words.contains("unknownissuer") {
        (
            format!(
                "The certificate that answers for {host} is not trusted; usually a proxy on the way replaces it."
            ),
            "Add the proxy's root certificate to this machine, or exempt the host from its inspection; then press Test again.",
        )
    } else if trouble.name_unknown {
        (
            format!("The name {host} cannot be found."),
            "Check the address, and the name service of this machine; behind a proxy set HTTPS_PROXY.",
        )
    } else {
        (
            format!("{host} cannot be reached from this machine."),
            "Allow outgoing https to it in the firewall, or set HTTPS_PROXY to your proxy; then press Test again.",
        )
    };
    Finding::wrong(Verdict::Fail, did, trouble.words.clone(), cause, next_step)
}

fn line(address: &Url, reached: &Reached) -> String {
    let plain = address.scheme() == "http";
    match &reached.issuer {
        Some(issuer) => {
            let ends = reached.ends.map(|ends| format!(" and ends on {}", ends.strftime("%Y-%m-%d")));
            format!(
                "It answers by https; its certificate was issued by {issuer}{}.",
                ends.unwrap_or_default()
            )
        }
        None if plain && address.host_str().is_some_and(is_loopback) => {
            "It answers by plain http on this machine.".to_owned()
        }
        None => format!("It answers by {}.", address.scheme()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_told_apart() {
        let graph = Url::parse("https://graph.example").unwrap();
        for (words, name_unknown, expected) in [
            ("invalid peer certificate: UnknownIssuer", false, "is not trusted"),
            ("dns error", true, "The name graph.example cannot be found."),
            ("connection refused", false, "cannot be reached"),
        ] {
            let finding = found(&graph, &Err(Unreached { words: words.to_owned(), name_unknown }));
            assert_eq!(finding.verdict, Verdict::Fail);
            assert!(finding.cause.unwrap().contains(expected), "{words}");
        }
        let issuer = Some("Example Root".to_owned());
        let finding = found(&graph, &Ok(Reached { date: None, issuer, ends: Some(Timestamp::UNIX_EPOCH) }));
        assert!(finding.got.ends_with("issued by Example Root and ends on 1970-01-01."), "{}", finding.got);
        let sandbox = Url::parse("http://127.0.0.1:8080").unwrap();
        let finding = found(&sandbox, &Ok(Reached { date: None, issuer: None, ends: None }));
        assert_eq!(finding.got, "It answers by plain http on this machine.");
    }
}
