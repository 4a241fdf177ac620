//! One mailbox: it is there, and what it is: its own address or an alias, a person's, shared, a room, a group, gone. Then
//! one header is read, as the collector will.

use postroom_graph::GraphError;
use postroom_model::EmailAddress;

use super::{Client, Means, ids_for, mailbox_kind as kind, nothing_to_go_on, refused};
use crate::finding::Finding;
use crate::ladder::{Probed, Step};
use crate::{CheckRequest, Verdict};

/// Either lets an application look an address up in the directory.
const DIRECTORY: [&str; 3] = ["User.Read.All", "User.ReadBasic.All", "Directory.Read.All"];

/// Either lets an application look for a group by its address.
const GROUPS: [&str; 3] = ["GroupMember.Read.All", "Group.Read.All", "Directory.Read.All"];

pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step::of("mailbox", "Mailbox", mailbox)
}

pub(crate) fn read_step(mailbox: &EmailAddress) -> Step {
    Step::of("read", "Reading", mailbox)
}

/// Whether the mailbox is there, whether its address is its own, and what it is for.
pub(crate) async fn exists(
    request: &CheckRequest,
    client: Option<&Client>,
    mailbox: &EmailAddress,
    granted: Option<&Vec<String>>,
) -> Probed<()> {
    let Some(client) = client else { return nothing_to_go_on().into() };
    let did = format!("Asked for the inbox of {mailbox}, and what it is.");
    let may = |rights: &[&str]| {
        granted.is_some_and(|granted| granted.iter().any(|right| rights.contains(&right.as_str())))
    };
    if let Err(error) = client.graph.folder(mailbox.as_str(), "inbox").await {
        let failure = error.failure(&format!("open the inbox of {mailbox}"));
        let ids = client.graph.ids(mailbox.as_str());
        let finding = refused(request, granted, did, &failure, &ids);
        return match error.status() {
            Some(404) => absent(client, mailbox, finding, may(&DIRECTORY), may(&GROUPS)).await,
            _ => finding,
        }
        .into();
    }
    let found = match may(&DIRECTORY) {
        false => {
            let got = "It is there. Whether the address is an alias of another mailbox cannot be seen: that needs \
                       User.ReadBasic.All, which the application does not have and does not need otherwise.";
            Finding::pass(did, got)
        }
        true => match client.graph.directory_user(mailbox.as_str()).await {
            Ok(user) => {
                own_address(did, mailbox, user.mail.as_deref().or(user.user_principal_name.as_deref()))
            }
            // An alias is not found by name: the mailbox opened all the same.
            Err(GraphError::Refused(refused)) if refused.status == 404 => own_address(did, mailbox, None),
            Err(error) => {
                let got = format!("It is there; the directory did not answer: {error}");
                Finding::pass(did, got)
            }
        },
    };
    if found.verdict != Verdict::Pass {
        return found.into();
    }
    let purpose = client.graph.mailbox_purpose(mailbox.as_str()).await;
    kind::told(mailbox, &found, &purpose.map_err(|error| (error.status(), error.to_string()))).into()
}

/// Why an address has no mailbox to be opened, as far as the directory may be asked.
async fn absent(
    client: &Client,
    mailbox: &EmailAddress,
    finding: Finding,
    may_ask_users: bool,
    may_ask_groups: bool,
) -> Finding {
    if may_ask_groups && let Ok(Some(_)) = client.graph.directory_group(mailbox.as_str()).await {
        return kind::group(mailbox, finding);
    }
    let user = match may_ask_users {
        true => client.graph.directory_user(mailbox.as_str()).await.ok(),
        false => None,
    };
    match user {
        Some(user) => kind::without_mailbox(mailbox, finding, user.assigned_licenses.as_deref()),
        None => kind::not_told(finding, may_ask_users && may_ask_groups),
    }
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
