//! What the token says: rights needed and rights granted.

use postroom_entra::AccessToken;
use postroom_entra::token::Claims;
use postroom_model::connection::AuthenticationFlow;

use super::nothing_to_go_on;
use crate::finding::Finding;
use crate::ladder::Probed;
use crate::{CheckRequest, Verdict};

const DID: &str = "Read the token: tenant, application, rights.";
/// Rights without which nothing is read or sent.
const NEEDED: [&str; 2] = ["Mail.ReadWrite", "Mail.Send"];

pub(crate) async fn probe(request: &CheckRequest, token: Option<&AccessToken>) -> Probed<()> {
    let Some(token) = token else { return nothing_to_go_on().into() };
    let Some(claims) = token.claims() else {
        return Finding::wrong(
            Verdict::Warn,
            DID,
            "A token that does not show what is in it.",
            "The rights cannot be seen.",
            "Nothing is to be done; the rungs below decide.",
        )
        .into();
    };
    compare(request, &claims).into()
}

fn compare(request: &CheckRequest, claims: &Claims) -> Finding {
    let delegated = request.settings.flow == AuthenticationFlow::Password;
    let granted = if delegated { &claims.scp } else { &claims.roles };
    let list = if granted.is_empty() { "no rights".to_owned() } else { granted.join(", ") };
    let name = claims.app_display_name.as_deref().or(claims.appid.as_deref()).unwrap_or("unknown");
    let got = format!("Application {name}: {list}.");
    let application = request.settings.application_id.trim();
    if claims.appid.as_deref().is_some_and(|id| !id.eq_ignore_ascii_case(application)) {
        let next_step = "Copy Application (client) ID from the app registration's Overview page.";
        return Finding::wrong(Verdict::Warn, DID, got, "The token is for another application.", next_step);
    }
    // `Mail.ReadWrite.Shared` is what a user needs for the mailboxes of others; both forms do.
    let has = |needed: &str| {
        granted.iter().any(|right| right == needed || right.strip_suffix(".Shared") == Some(needed))
    };
    let missing: Vec<&str> = NEEDED.into_iter().filter(|needed| !has(needed)).collect();
    if missing.is_empty() {
        return Finding::pass(DID, got);
    }
    Finding::wrong(
        Verdict::Warn,
        DID,
        got,
        format!("The token holds no {}.", missing.join(" and no ")),
        "Either the rights come from Exchange (RBAC for Applications), which no token shows, and the mailboxes below \
         decide; or grant them to the application under API permissions, with admin consent.",
    )
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};

    use super::*;

    fn verdict(flow: AuthenticationFlow, claims: &Claims) -> (Verdict, Option<String>) {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = "app-1".into();
        settings.flow = flow;
        let request = CheckRequest { settings, secret: None, mailboxes: Vec::new(), test_message: None };
        let finding = compare(&request, claims);
        (finding.verdict, finding.cause)
    }

    fn claims(roles: &[&str], scp: &[&str], application: &str) -> Claims {
        let owned = |list: &[&str]| list.iter().map(|right| (*right).to_owned()).collect();
        Claims {
            roles: owned(roles),
            scp: owned(scp),
            appid: Some(application.to_owned()),
            ..Claims::default()
        }
    }

    #[test]
    fn needed_rights_are_compared_with_granted_ones() {
        use AuthenticationFlow::{ClientSecret, Password};
        let both = ["Mail.Send", "Mail.ReadWrite"];
        for (flow, claims, expected) in [
            (ClientSecret, claims(&both, &[], "APP-1"), None),
            (ClientSecret, claims(&both[..1], &[], "app-1"), Some("The token holds no Mail.ReadWrite.")),
            (
                ClientSecret,
                claims(&[], &both, "app-1"),
                Some("The token holds no Mail.ReadWrite and no Mail.Send."),
            ),
            (ClientSecret, claims(&both, &[], "app-2"), Some("The token is for another application.")),
            (Password, claims(&[], &["Mail.ReadWrite.Shared", "Mail.Send"], "app-1"), None),
            (Password, claims(&both, &["Mail.Send"], "app-1"), Some("The token holds no Mail.ReadWrite.")),
        ] {
            let wanted = if expected.is_some() { Verdict::Warn } else { Verdict::Pass };
            assert_eq!(verdict(flow, &claims), (wanted, expected.map(str::to_owned)));
        }
    }
}
