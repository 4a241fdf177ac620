//! One mailbox: it is there, and it is what its address says; then one header is read, as the collector will.

use postroom_graph::GraphError;
use postroom_model::EmailAddress;

use super::{Client, Means, ids_for, nothing_to_go_on, refused};
use crate::finding::Finding;
use crate::ladder::{Probed, Step};
use crate::{CheckRequest, Verdict};

/// Either lets an application look an address up in the directory.
const DIRECTORY: [&str; 3] = ["User.Read.All", "User.ReadBasic.All", "Directory.Read.All"];

pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step::of("mailbox", "Mailbox", mailbox)
}

pub(crate) fn read_step(mailbox: &EmailAddress) -> Step {
    Step::of("read", "Reading", mailbox)
}

/// Whether the mailbox is there, and whether its address is its own.
pub(crate) async fn exists(
    request: &CheckRequest,
    client: Option<&Client>,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Probed<()> {
    let Some(client) = client else { return nothing_to_go_on().into() };
    let did = format!("Asked for the inbox of {mailbox}.");
    if let Err(error) = client.graph.folder(mailbox.as_str(), "inbox").await {
        let failure = error.failure(&format!("open the inbox of {mailbox}"));
        return refused(request, granted, did, &failure, &client.graph.ids(mailbox.as_str())).into();
    }
    let may_ask =
        granted.is_some_and(|granted| granted.iter().any(|right| DIRECTORY.contains(&right.as_str())));
    if !may_ask {
        let got = "It is there. Whether the address is an alias of another mailbox cannot be seen: that needs \
                   User.ReadBasic.All, which the application does not have and does not need otherwise.";
        return Finding::pass(did, got).into();
    }
    match client.graph.directory_user(mailbox.as_str()).await {
        Ok(user) => own_address(did, mailbox, user.mail.as_deref().or(user.user_principal_name.as_deref())),
        // An alias is not found by name: the mailbox opened all the same.
        Err(GraphError::Refused(refused)) if refused.status == 404 => own_address(did, mailbox, None),
        Err(error) => {
            let got = format!("It is there; the directory did not answer: {error}");
            Finding::pass(did, got)
        }
    }
    .into()
}

fn own_address(did: String, mailbox: &EmailAddress, primary: Option<&str>) -> Finding {
    let Some(primary) = primary else {
        return Finding::wrong(
            Verdict::Warn,
            did,
            "It opens, but the directory knows no user of this address.",
            format!("{mailbox} is probably an alias of another mailbox."),
            "Use the primary address of the mailbox; under an alias it would be read twice, and sent under another name.",
        );
    };
    if primary.eq_ignore_ascii_case(mailbox.as_str()) {
        return Finding::pass(did, "It is there, under its own address.");
    }
    Finding::wrong(
        Verdict::Warn,
        did,
        format!("The directory gives {primary} as its address."),
        format!("{mailbox} is an alias of {primary}."),
        format!("Use {primary}; under an alias it would be read twice, and sent under another name."),
    )
}

/// Opens the inbox and reads one header.
pub(crate) async fn read(
    request: &CheckRequest,
    means: Option<&Means>,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Probed<()> {
    let Some(means) = means else { return nothing_to_go_on().into() };
    let did = format!("Opened the inbox of {mailbox} and read one header.");
    let secret = request.secret.clone();
    let answer = match means.wire.source_for(&request.settings, secret, &request.account(mailbox)) {
        Ok(source) => source.probe().await,
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(sentence) => Finding::pass(did, sentence).into(),
        Err(failure) => refused(request, granted, did, &failure, &ids_for(request, mailbox)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_named_with_the_address_to_use() {
        let info: EmailAddress = "info@contoso.example".parse().unwrap();
        let verdict = |primary| own_address(String::new(), &info, primary);
        assert_eq!(verdict(Some("Info@contoso.example")).verdict, Verdict::Pass);
        let alias = verdict(Some("office@contoso.example"));
        assert_eq!(
            alias.cause.as_deref(),
            Some("info@contoso.example is an alias of office@contoso.example.")
        );
        assert_eq!(verdict(None).verdict, Verdict::Warn);
    }
}
