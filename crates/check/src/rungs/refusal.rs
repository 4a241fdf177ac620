//! The proof of least privilege: a mailbox that must not open is refused.

use postroom_graph::GraphError;
use postroom_model::EmailAddress;

use super::roles::mail_rights;
use super::{Client, limit, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::{Probed, Step};
use crate::{CheckRequest, Verdict};

/// The rung when no mailbox is named.
pub(crate) const REFUSAL: Step = Step::new("refusal", "Refusal of other mailboxes");

pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step::of("refusal", "Refusal of", mailbox)
}

/// Nothing proves that the application is limited.
pub(crate) fn none_named(request: &CheckRequest, granted: Option<&Vec<String>>) -> Finding {
    let wide = tenant_wide(granted);
    let got = match wide.as_slice() {
        [] => "No mailbox is named that must stay closed.".to_owned(),
        wide => format!(
            "No mailbox is named that must stay closed. {} in the token stands for every mailbox of the tenant, \
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

/// Tries to open a mailbox that must stay closed.
pub(crate) async fn probe(
    request: &CheckRequest,
    client: Option<&Client>,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Probed<()> {
    let Some(client) = client else { return nothing_to_go_on().into() };
    let did = format!("Tried to open {mailbox}, which must stay closed.");
    let answer = client.graph.folder(mailbox.as_str(), "inbox").await;
    match answer {
        Ok(_) => opened(request, did, mailbox, granted),
        Err(GraphError::Refused(refused)) if refused.status == 403 => {
            let got = format!("{mailbox} refused, as it should be: 403 {} {}", refused.code, refused.message);
            Finding::pass(did, got)
        }
        Err(GraphError::Refused(refused)) if refused.status == 404 => Finding::wrong(
            Verdict::Warn,
            did,
            format!("404 {} {}", refused.code, refused.message),
            format!("There is no mailbox {mailbox}, so its refusal proves nothing."),
            "Name a mailbox that exists and must stay closed.",
        ),
        Err(error) => {
            let failure = error.failure(&format!("open {mailbox}"));
            Finding::refused(did, &failure, &client.graph.ids(mailbox.as_str()))
        }
    }
    .into()
}

fn opened(
    request: &CheckRequest,
    did: String,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Finding {
    let wide = tenant_wide(granted);
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
