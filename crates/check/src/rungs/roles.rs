//! What the token says: whose it is, what for, rights needed and rights granted.

use postroom_entra::AccessToken;
use postroom_entra::token::Claims;
use postroom_model::connection::{AuthenticationFlow, is_guid};

use super::{limit, nothing_to_go_on};
use crate::finding::{Finding, Service, Way};
use crate::ladder::Probed;
use crate::{CheckRequest, Verdict};

const DID: &str = "Read the token: tenant, application, audience, rights.";
/// Rights of an application without which nothing is read or sent. EWS by RBAC for Applications and SMTP by it need none
/// in the token: then Exchange decides at the mailbox.
fn needed(way: Way, delegated: bool) -> &'static [&'static str] {
    match (way, delegated) {
        (Way::Graph, _) => &["Mail.ReadWrite", "Mail.Send"],
        (Way::Ews, true) => &["EWS.AccessAsUser.All"],
        (Way::Ews, false) => &["full_access_as_app"],
        (Way::Imap, _) => &["IMAP.AccessAsApp"],
        (Way::Smtp, _) => &["SMTP.SendAsApp"],
    }
}

/// Rights that do no more than what is needed: one application often serves both directions.
fn alike(way: Way) -> &'static [&'static str] {
    match way {
        Way::Graph | Way::Ews => &[],
        Way::Imap | Way::Smtp => &["IMAP.AccessAsApp", "SMTP.SendAsApp"],
    }
}
/// Said of a token without any right to mail, as it is when the application is limited to its mailboxes.
const NEUTRAL: &str = "No mail rights in the token: either they come from Exchange (RBAC for Applications), and the \
                       mailboxes below decide, or they are missing.";
/// Rights that Postroom has a use for: names of mailboxes, and the renewal of its own credential.
const USEFUL: [&str; 5] = [
    "User.ReadBasic.All",
    "User.Read.All",
    "Application.ReadWrite.OwnedBy",
    "Organization.Read.All",
    "User.Read",
];
/// Application ids of Microsoft Graph and of Exchange Online, which stand in tokens of version 2.
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";

/// Gives the rights of the application in the token; a person's rights are no such.
pub(crate) fn probe(request: &CheckRequest, token: Option<&AccessToken>) -> Probed<Vec<String>> {
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
    Probed::with(compare(request, &claims), claims.roles)
}

fn compare(request: &CheckRequest, claims: &Claims) -> Finding {
    let delegated = request.settings.flow == AuthenticationFlow::Password;
    let granted = if delegated { &claims.scp } else { &claims.roles };
    let list = if granted.is_empty() { "no rights".to_owned() } else { granted.join(", ") };
    let name = claims.app_display_name.as_deref().or(claims.appid.as_deref()).unwrap_or("unknown");
    let audience = claims.aud.as_deref().unwrap_or("nobody");
    let got = format!("Application {name} for {audience}: {list}.");
    if let Some((cause, next_step)) = of_another(request, claims) {
        return Finding::wrong(Verdict::Warn, DID, got, cause, next_step);
    }
    // `Mail.ReadWrite.Shared` is what a user needs for the mailboxes of others; both forms do.
    let way = Service::of(&request.settings).way;
    let needed = needed(way, delegated);
    let has = |needed: &str| {
        granted.iter().any(|right| right == needed || right.strip_suffix(".Shared") == Some(needed))
    };
    let missing: Vec<&str> = needed.iter().copied().filter(|needed| !has(needed)).collect();
    // IMAP has no rights but those in the token.
    let from_exchange = !delegated && way != Way::Imap && mail_rights(granted).is_empty();
    if !missing.is_empty() && (!from_exchange || request.mailboxes.is_empty()) {
        let next_step = match (delegated, from_exchange) {
            _ if way == Way::Imap || way == Way::Smtp => format!(
                "An administrator opens API permissions of application {}, adds {} of Office 365 Exchange Online and \
                 grants admin consent; a new token is needed then.",
                request.settings.application_id.trim(),
                missing.join(" and ")
            ),
            (true, _) => {
                "Have the user consent to them, as delegated permissions of the application.".to_owned()
            }
            (false, true) => format!(
                "Add a mailbox and press Test again: it shows whether the rights come from Exchange. {}",
                limit(request)
            ),
            (false, false) => format!(
                "Either the rest comes from Exchange (RBAC for Applications), which no token shows, and the mailboxes \
                 below decide; or it is missing. {}",
                limit(request)
            ),
        };
        let cause = format!("The token holds no {}.", missing.join(" and no "));
        return Finding::wrong(Verdict::Warn, DID, got, cause, next_step);
    }
    // What a person's token holds was consented to by that person, and limits itself.
    let spare: Vec<&str> =
        granted.iter().map(String::as_str).filter(|right| !delegated && superfluous(way, right)).collect();
    if spare.is_empty() {
        return Finding::pass(DID, if from_exchange { format!("{got} {NEUTRAL}") } else { got });
    }
    let spare = spare.join(", ");
    let cause = format!("The application has more rights than Postroom needs: {spare}.");
    let next_step = format!("Remove {spare} under API permissions of the application.");
    Finding::wrong(Verdict::Warn, DID, got, cause, next_step)
}

/// Rights to mail that stand, where an application has them, for every mailbox of the tenant. Those of IMAP and SMTP open
/// only what each mailbox grants besides.
pub(crate) fn mail_rights(granted: &[String]) -> Vec<&str> {
    let mail = |right: &&str| right.starts_with("Mail.") || *right == "full_access_as_app";
    granted.iter().map(String::as_str).filter(mail).collect()
}

fn superfluous(way: Way, right: &str) -> bool {
    !needed(way, false).contains(&right) && !alike(way).contains(&right) && !USEFUL.contains(&right)
}

/// What the token is for, when it is not for this: cause and next step.
fn of_another(request: &CheckRequest, claims: &Claims) -> Option<(&'static str, &'static str)> {
    let settings = &request.settings;
    let differs = |found: &Option<String>, wanted: &str| {
        found.as_deref().is_some_and(|found| !found.trim_end_matches('/').eq_ignore_ascii_case(wanted))
    };
    if differs(&claims.appid, settings.application_id.trim()) {
        let next_step = "Copy Application (client) ID from the app registration's Overview page.";
        return Some(("The token is for another application.", next_step));
    }
    let tenant = settings.tenant_id.trim();
    if is_guid(tenant) && differs(&claims.tid, tenant) {
        let next_step = "Copy Directory (tenant) ID from the app registration's Overview page.";
        return Some(("The token is of another tenant.", next_step));
    }
    let scope = settings.token_scope();
    let resource = scope.trim_end_matches("/.default");
    let (id, words) = match Service::of(settings).way {
        Way::Graph => (GRAPH, "The token is for another service than Microsoft Graph."),
        Way::Ews | Way::Imap | Way::Smtp => {
            (EXCHANGE, "The token is for another service than Exchange Online.")
        }
    };
    if differs(&claims.aud, resource) && differs(&claims.aud, id) {
        return Some((words, "Check the cloud in the settings."));
    }
    None
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};

    use super::*;

    fn verdict(flow: AuthenticationFlow, claims: &Claims) -> (Verdict, Option<String>) {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = "app-1".into();
        settings.flow = flow;
        let mut request = CheckRequest::new(settings, None);
        request.mailboxes = vec!["orders@contoso.example".parse().unwrap()];
        let finding = compare(&request, claims);
        (finding.verdict, finding.cause)
    }

    fn claims(roles: &[&str], scp: &[&str], application: &str) -> Claims {
        let owned = |list: &[&str]| list.iter().map(|right| (*right).to_owned()).collect();
        Claims {
            roles: owned(roles),
            scp: owned(scp),
            appid: Some(application.to_owned()),
            aud: Some("https://graph.microsoft.com/".to_owned()),
            ..Claims::default()
        }
    }

    #[test]
    fn needed_rights_are_compared_with_granted_ones() {
        use AuthenticationFlow::{ClientSecret, Password};
        let both = ["Mail.Send", "Mail.ReadWrite"];
        let more = ["Mail.Send", "Mail.ReadWrite", "User.Read.All", "Calendars.Read"];
        for (flow, claims, expected) in [
            (ClientSecret, claims(&both, &[], "APP-1"), None),
            (ClientSecret, claims(&both[..1], &[], "app-1"), Some("The token holds no Mail.ReadWrite.")),
            // Rights from Exchange are in no token: the mailboxes decide.
            (ClientSecret, claims(&[], &both, "app-1"), None),
            (ClientSecret, claims(&["User.ReadBasic.All"], &[], "app-1"), None),
            (
                Password,
                claims(&both, &[], "app-1"),
                Some("The token holds no Mail.ReadWrite and no Mail.Send."),
            ),
            (ClientSecret, claims(&both, &[], "app-2"), Some("The token is for another application.")),
            (
                ClientSecret,
                claims(&more, &[], "app-1"),
                Some("The application has more rights than Postroom needs: Calendars.Read."),
            ),
            (Password, claims(&[], &["Mail.ReadWrite.Shared", "Mail.Send", "openid"], "app-1"), None),
            (Password, claims(&both, &["Mail.Send"], "app-1"), Some("The token holds no Mail.ReadWrite.")),
        ] {
            let wanted = if expected.is_some() { Verdict::Warn } else { Verdict::Pass };
            assert_eq!(verdict(flow, &claims), (wanted, expected.map(str::to_owned)));
        }
    }

    #[test]
    fn without_mail_rights_the_mailboxes_decide_and_without_mailboxes_nothing_does() {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = "app-1".into();
        settings.flow = AuthenticationFlow::ClientSecret;
        let mut request = CheckRequest::new(settings, None);
        let none = claims(&[], &[], "app-1");
        let finding = compare(&request, &none);
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(!finding.next_step.unwrap().contains("consent"));
        request.mailboxes = vec!["orders@contoso.example".parse().unwrap()];
        let finding = compare(&request, &none);
        assert_eq!((finding.verdict, finding.next_step), (Verdict::Pass, None));
        assert!(finding.got.ends_with(NEUTRAL), "{}", finding.got);
    }

    #[test]
    fn each_way_has_its_right_and_a_wider_one_is_named() {
        let judged = |kind, roles: &[&str]| {
            let mut settings = ConnectionSettings::new(kind);
            settings.application_id = "app-1".into();
            settings.flow = AuthenticationFlow::ClientSecret;
            settings.api = postroom_model::connection::ExchangeApi::Ews;
            let mut request = CheckRequest::new(settings, None);
            request.mailboxes = vec!["orders@contoso.example".parse().unwrap()];
            let mut claims = claims(roles, &[], "app-1");
            claims.aud = Some("https://outlook.office365.com".to_owned());
            let finding = compare(&request, &claims);
            (finding.verdict, finding.cause.unwrap_or_default())
        };
        use ConnectionKind::{ExchangeOnline, Imap, Smtp};
        let both = ["IMAP.AccessAsApp", "SMTP.SendAsApp"];
        let wide = ["IMAP.AccessAsApp", "full_access_as_app"];
        for (kind, roles, verdict, cause) in [
            (Imap, &both[..], Verdict::Pass, ""),
            (Smtp, &both[..], Verdict::Pass, ""),
            (Imap, &both[1..], Verdict::Warn, "The token holds no IMAP.AccessAsApp."),
            (Imap, &[], Verdict::Warn, "The token holds no IMAP.AccessAsApp."),
            // By RBAC for Applications, and so is EWS.
            (Smtp, &[], Verdict::Pass, ""),
            (ExchangeOnline, &[], Verdict::Pass, ""),
            (ExchangeOnline, &wide[1..], Verdict::Pass, ""),
            (
                ExchangeOnline,
                &both[..1],
                Verdict::Warn,
                "The application has more rights than Postroom needs: IMAP.AccessAsApp.",
            ),
            (
                Imap,
                &wide[..],
                Verdict::Warn,
                "The application has more rights than Postroom needs: full_access_as_app.",
            ),
        ] {
            assert_eq!(judged(kind, roles), (verdict, cause.to_owned()), "{kind:?} {roles:?}");
        }
    }

    #[test]
    fn a_token_for_another_service_is_named() {
        let mut other = claims(&["Mail.Send", "Mail.ReadWrite"], &[], "app-1");
        other.aud = Some("https://outlook.office365.com".to_owned());
        let (verdict, cause) = verdict(AuthenticationFlow::ClientSecret, &other);
        assert_eq!(verdict, Verdict::Warn);
        assert!(cause.unwrap().contains("another service"));
    }
}
