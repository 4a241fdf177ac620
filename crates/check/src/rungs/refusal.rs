//! The proof of least privilege: a mailbox that must not open is refused.

use postroom_model::EmailAddress;
use postroom_model::failure::{Failure, Origin};
use postroom_transport::Account;

use super::roles::mail_rights;
use super::{Means, ids_for, limit, nothing_to_go_on};
use crate::finding::{Finding, Service, Way, advice};
use crate::ladder::{Probed, Step};
use crate::{CheckRequest, Verdict};

/// The rung when no mailbox is named.
pub(crate) const REFUSAL: Step = Step::new("refusal", "Refusal of other mailboxes");

pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step::of("refusal", "Refusal of", mailbox)
}

/// Nothing proves that the application is limited.
pub(crate) fn none_named(request: &CheckRequest, granted: Option<&Vec<String>>) -> Finding {
    // What IMAP and SMTP open, each mailbox grants by itself.
    let by_mailbox = matches!(Service::of(&request.settings).way, Way::Imap | Way::Smtp);
    let wide = if by_mailbox { Vec::new() } else { tenant_wide(granted) };
    let got = match wide.as_slice() {
        [] => "No mailbox is named that must stay closed.".to_owned(),
        wide => format!(
            "No mailbox is named that must stay closed. In the token: {}, for every mailbox of the tenant, \
             unless a policy in Exchange cuts it.",
            wide.join(" and ")
        ),
    };
    let example = request.mailboxes.first().map_or("contoso.example", |mailbox| mailbox.domain());
    Finding::wrong(
        Verdict::Warn,
        "Nothing was asked.",
        got,
        "It is not proved that other mailboxes stay closed to this application.",
        format!(
            "Name one that must stay closed, of the management for instance: --must-not-open ceo@{example}."
        ),
    )
}

/// Tries to open a mailbox that must stay closed: to read it, or where mail is only sent to sign in as it.
pub(crate) async fn probe(
    request: &CheckRequest,
    means: Option<&Means>,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Probed<()> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let did = format!("Tried to open {mailbox}, which must stay closed.");
    let (settings, secret) = (&request.settings, request.secret.clone());
    let account = Account::of(mailbox.clone());
    let answer = match means.service.way {
        Way::Smtp => means.wire.sign_in_for(settings, secret, &account).await.map(drop),
        Way::Graph | Way::Ews | Way::Imap => match means.wire.source_for(settings, secret, &account) {
            Ok(source) => source.probe().await.map(drop),
            Err(failure) => Err(failure),
        },
    };
    match answer {
        Ok(()) => opened(request, did, mailbox, granted),
        Err(failure) if is_refusal(request, means, &failure, mailbox) => {
            let words = said(&failure);
            Finding::pass(did, format!("{mailbox} refused, as it should be: {words}"))
        }
        Err(failure) if is_missing(&failure) => Finding::wrong(
            Verdict::Warn,
            did,
            said(&failure),
            format!("There is no mailbox {mailbox}, so its refusal proves nothing."),
            "Name a mailbox that exists and must stay closed.",
        ),
        Err(failure) => Finding::refused_by(means.service, did, &failure, &ids_for(request, mailbox)),
    }
    .into()
}

/// Whether the service says that this mailbox is closed to the application.
fn is_refusal(request: &CheckRequest, means: &Means, failure: &Failure, mailbox: &EmailAddress) -> bool {
    if failure.origin != Origin::Provider {
        return false;
    }
    let row = advice(means.service, failure, &ids_for(request, mailbox)).map(|advice| advice.row);
    match means.service.way {
        Way::Graph => failure.status == Some(403),
        Way::Ews => {
            matches!(row, Some("ews-access-denied" | "ews-impersonation-denied" | "ews-status-403"))
        }
        // The token itself is known to be good: other mailboxes open with it, or Microsoft Entra gave it just now.
        Way::Imap => {
            matches!(row, Some("imap-sign-in-refused" | "imap-not-connected" | "imap-not-permitted"))
        }
        Way::Smtp => row == Some("smtp-sign-in-refused"),
    }
}

fn is_missing(failure: &Failure) -> bool {
    failure.origin == Origin::Provider
        && (failure.status == Some(404) || failure.code.as_deref() == Some("ErrorNonExistentMailbox"))
}

/// Status, code and words.
fn said(failure: &Failure) -> String {
    let status = failure.status.map(|status| format!("{status} ")).unwrap_or_default();
    let code = failure.code.as_deref().map(|code| format!("{code} ")).unwrap_or_default();
    format!("{status}{code}{}", failure.words)
}

fn opened(
    request: &CheckRequest,
    did: String,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Finding {
    let wide = tenant_wide(granted);
    if matches!(Service::of(&request.settings).way, Way::Imap | Way::Smtp) {
        let application = request.settings.application_id.trim();
        return Finding::wrong(
            Verdict::Fail,
            did,
            "It opened.",
            format!(
                "This application can open {mailbox}: Exchange has granted it a permission on that mailbox."
            ),
            format!(
                "An Exchange administrator runs `Get-MailboxPermission -Identity {mailbox}` and takes the permission of \
                 application {application} away with `Remove-MailboxPermission`."
            ),
        );
    }
    let cause = match wide.as_slice() {
        [] => format!("This application can open {mailbox}: a role in Exchange covers more than it should."),
        wide => format!(
            "This application can open {mailbox}, and every other mailbox: {} in the token is a grant for the whole \
             tenant, and it defeats any scope in Exchange.",
            wide.join(" and ")
        ),
    };
    Finding::wrong(Verdict::Fail, did, "It opened.", cause, way_out(request, mailbox, &wide))
}

/// Roles in the token that stand for every mailbox of the tenant.
fn tenant_wide(granted: Option<&Vec<String>>) -> Vec<&str> {
    granted.map(|granted| mail_rights(granted)).unwrap_or_default()
}

/// How the application is cut to its mailboxes, and what stands in the way of that.
fn way_out(request: &CheckRequest, mailbox: &EmailAddress, wide: &[&str]) -> String {
    let application = request.settings.application_id.trim();
    let last = match wide {
        [] => format!(
            "What covers too much shows in `Test-ServicePrincipalAuthorization -Identity {application} -Resource \
             {mailbox}`, and is removed there."
        ),
        wide => {
            format!("Then remove {} under API permissions of application {application}.", wide.join(" and "))
        }
    };
    format!("{} {last}", limit(request))
}

#[cfg(test)]
mod tests {
    use postroom_model::connection::{ConnectionKind, ConnectionSettings};

    use super::*;

    fn request() -> CheckRequest {
        let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
        settings.application_id = "app-1".into();
        settings.name = "Contoso 365".into();
        let mut request = CheckRequest::new(settings, None);
        request.mailboxes = vec!["orders@contoso.example".parse().unwrap()];
        request
    }

    #[test]
    fn a_grant_for_the_whole_tenant_is_named_with_the_way_out() {
        let ceo: EmailAddress = "ceo@contoso.example".parse().unwrap();
        let roles = vec!["Mail.ReadWrite".to_owned(), "User.Read.All".to_owned()];
        let finding = opened(&request(), String::new(), &ceo, Some(&roles));
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(
            finding.cause.unwrap().contains("Mail.ReadWrite in the token is a grant for the whole tenant")
        );
        let next_step = finding.next_step.unwrap();
        assert!(
            next_step.contains("`postroom setup scope-script --connection \"Contoso 365\"`"),
            "{next_step}"
        );
        assert!(next_step.contains("remove Mail.ReadWrite under API permissions of application app-1"));
        let finding = opened(&request(), String::new(), &ceo, None);
        assert!(finding.cause.unwrap().contains("a role in Exchange"));
    }

    #[test]
    fn without_a_named_mailbox_it_says_how_to_name_one() {
        let finding = none_named(&request(), None);
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.next_step.unwrap().contains("--must-not-open ceo@contoso.example"));
    }
}
