//! What a mailbox is, in words: what it means for a connection, and why some addresses have none. Pure.

use postroom_graph::wire::Licence;
use postroom_model::EmailAddress;

use crate::Verdict;
use crate::finding::{Finding, Way};

/// What can see the type of a mailbox where the interface of the connection cannot.
const BY_HAND: &str = "an Exchange administrator sees it with `Get-EXOMailbox -Identity";

/// The finding for a mailbox that opened, with what it is for; else why that could not be asked: status and words.
pub(crate) fn told(
    mailbox: &EmailAddress,
    found: &Finding,
    purpose: &Result<String, (Option<u16>, String)>,
) -> Finding {
    let also = |words: &str| Finding { got: format!("{} {words}", found.got), ..found.clone() };
    let books = |what: &str| Finding {
        verdict: Verdict::Warn,
        got: format!("{} It is the mailbox of {what}.", found.got),
        cause: Some(format!(
            "{mailbox} belongs to {what}: Exchange answers meeting requests there by itself and removes other mail, \
             unless that is switched off."
        )),
        next_step: Some(format!(
            "Use a shared mailbox; or have mail kept: `Set-CalendarProcessing -Identity {mailbox} -DeleteNonCalendarItems \
             $false`."
        )),
        ..found.clone()
    };
    match purpose.as_deref() {
        Ok("user") => also("It is the mailbox of a user."),
        Ok("shared") => also("It is a shared mailbox."),
        Ok("linked") => also("It is the mailbox of a user of another forest (linked)."),
        Ok("room") => books("a room"),
        Ok("equipment") => books("a piece of equipment"),
        Ok(other) => {
            let other: String = other.chars().take(40).collect();
            also(&format!("Microsoft calls its type {other}."))
        }
        Err((Some(403), _)) => also(
            "Its type (user, shared, room, equipment) cannot be checked: that needs MailboxSettings.Read, which the \
             application does not have and does not need otherwise.",
        ),
        Err((_, words)) => also(&format!("Its type cannot be checked now: {words}.")),
    }
}

/// The address is a group's.
pub(crate) fn group(mailbox: &EmailAddress, found: Finding) -> Finding {
    Finding {
        verdict: Verdict::Fail,
        cause: Some(format!(
            "{mailbox} is a group: it passes mail on to its members and has no mailbox that an application opens in this \
             way."
        )),
        next_step: Some(format!(
            "Use a shared mailbox: give it an address of its own and make it a member of {mailbox}, or make it in place of \
             the group."
        )),
        ..found
    }
}

/// The directory knows a user of this address, and Exchange has no mailbox for it.
pub(crate) fn without_mailbox(
    mailbox: &EmailAddress,
    found: Finding,
    licences: Option<&[Licence]>,
) -> Finding {
    let (cause, next_step) = match licences {
        Some([]) => (
            format!("{mailbox} is a user without any licence, so it has no mailbox in Exchange Online."),
            format!(
                "Give {mailbox} a licence with Exchange Online in the Microsoft 365 admin center, which takes up to a day to \
                 make the mailbox; a shared mailbox needs none."
            ),
        ),
        Some(_) => (
            format!(
                "{mailbox} is a user with a licence, and its mailbox is inactive (kept after it was removed), was just \
                 removed, or is on premises."
            ),
            format!(
                "Look at it: `Get-EXOMailbox -Identity {mailbox} -InactiveMailboxOnly` and `Get-EXORecipient -Identity \
                 {mailbox}`; a mailbox on premises is reached through a connection of kind Exchange."
            ),
        ),
        None => return not_told(found, false),
    };
    Finding { verdict: Verdict::Fail, cause: Some(cause), next_step: Some(next_step), ..found }
}

/// What an address without a mailbox is could not be found out.
pub(crate) fn not_told(found: Finding, asked: bool) -> Finding {
    let words = match asked {
        true => "The directory knows neither a user nor a group of this address.",
        false => {
            "Whether it is a group, has no licence, is inactive or is on premises cannot be checked: that needs \
             Directory.Read.All, which the application does not have and does not need otherwise."
        }
    };
    Finding { got: format!("{} {words}", found.got), ..found }
}

/// The rung where the interface does not tell.
pub(crate) fn cannot_be_checked(way: Way, mailbox: &EmailAddress) -> Finding {
    let who = match way {
        Way::Ews => "Exchange Web Services do not",
        Way::Imap => "IMAP does not",
        Way::Graph | Way::Smtp => "this interface does not",
    };
    Finding::skipped(format!(
        "Its type (user, shared, room, equipment) cannot be checked: {who} tell it; {BY_HAND} {mailbox} | Format-List \
         RecipientTypeDetails`. That it opens is checked next."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_words_and_only_rooms_and_equipment_are_warned_of() {
        let office: EmailAddress = "office@contoso.example".parse().unwrap();
        let found = || Finding::pass("Asked.", "It is there.");
        for (purpose, verdict, words) in [
            ("user", Verdict::Pass, "the mailbox of a user"),
            ("shared", Verdict::Pass, "a shared mailbox"),
            ("linked", Verdict::Pass, "another forest"),
            ("room", Verdict::Warn, "a room"),
            ("equipment", Verdict::Warn, "a piece of equipment"),
            ("others", Verdict::Pass, "calls its type others"),
            ("somethingNew", Verdict::Pass, "calls its type somethingNew"),
        ] {
            let told = told(&office, &found(), &Ok(purpose.to_owned()));
            assert_eq!(told.verdict, verdict, "{purpose}");
            assert!(told.got.contains(words), "{told:?}");
            assert_eq!(told.next_step.is_some(), verdict == Verdict::Warn);
        }
        let denied = told(&office, &found(), &Err((Some(403), "no".to_owned())));
        assert!(denied.verdict == Verdict::Pass && denied.got.contains("cannot be checked: that needs"));
        let silent = told(&office, &found(), &Err((None, "no answer".to_owned())));
        assert!(silent.got.ends_with("cannot be checked now: no answer."), "{silent:?}");
    }
}
