//! What was seen from outside: by the clients, by those who write to us, by the tenant.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By id: what a client was told is accepted.
    pub(crate) accepted: BTreeMap<String, Accepted>,
    /// Subjects of what was refused at once: not valid.
    pub(crate) refused: BTreeSet<String>,
    /// By `Message-ID`: what was dropped into mailboxes.
    pub(crate) delivered: BTreeMap<String, Delivered>,
    /// What left the tenant, in order.
    pub(crate) left: Vec<LeftMail>,
    /// Answers that must not be.
    pub(crate) wrong: Vec<String>,
    /// Requests that broke off, and were repeated under their key.
    pub(crate) cut: u64,
    /// Requests answered with a repeat of the first answer.
    pub(crate) repeated: u64,
    /// Requests refused for now (503), and repeated.
    pub(crate) refused_for_now: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) message_id: String,
    pub(crate) subject: String,
    pub(crate) body: Hash,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Mailbox and id there; each mailbox once.
    pub(crate) copies: Vec<(String, String)>,
    /// Of its copies, as the tenant hands them out: each has trace fields of its own.
    pub(crate) contents: BTreeSet<Hash>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftMail {
    pub(crate) message_id: String,
    pub(crate) subject: String,
    pub(crate) body: Hash,
}

/// SHA-256 in hexadecimal.
pub(crate) type Hash = String;

pub(crate) fn hash(content: &[u8]) -> Hash {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the text of a body, without the line ends around it, which mail programs are free to add.
pub(crate) fn hash_text(text: &str) -> Hash {
    hash(text.trim().replace("\r\n", "\n").as_bytes())
}

impl Ledger {
    /// A client was told that its message is accepted.
    pub(crate) fn accept(&mut self, id: &str, accepted: Accepted) {
        match self.accepted.get(id) {
            Some(first) if *first == accepted => self.repeated += 1,
            Some(first) => {
                self.wrong.push(format!("{id} was accepted for two messages: {first:?}, {accepted:?}"))
            }
            None => {
                let twice = self.accepted.values().any(|other| other.subject == accepted.subject);
                if twice {
                    self.wrong.push(format!("{} was accepted twice under one key", accepted.subject));
                }
                self.accepted.insert(id.to_owned(), accepted);
            }
        }
    }

    /// A mail left the tenant.
    pub(crate) fn leave(&mut self, raw: &str) {
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((raw, ""));
        let field = |name: &str| {
            let line = head
                .lines()
                .find(|line| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        self.left.push(LeftMail {
            message_id: field("message-id"),
            subject: field("subject"),
            body: hash_text(body),
        });
    }

    /// How many accepted messages have not left yet.
    pub(crate) fn waiting(&self) -> usize {
        self.accepted.len().saturating_sub(self.left.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_left_is_known_by_its_message_id_and_its_text() {
        let mut ledger = Ledger::default();
        ledger.leave("Subject: c0-1\r\nMessage-ID: <1@contoso.example>\r\n\r\nHello\r\nyou\r\n");
        let expected = LeftMail {
            message_id: "<1@contoso.example>".into(),
            subject: "c0-1".into(),
            body: hash_text("Hello\nyou"),
        };
        assert_eq!(ledger.left, [expected]);
    }

    #[test]
    fn one_key_accepted_as_two_messages_is_wrong_and_a_repeat_is_not() {
        let accepted =
            |id: &str| Accepted { message_id: id.into(), subject: "c0-1".into(), body: hash(b"1") };
        let mut ledger = Ledger::default();
        ledger.accept("a", accepted("<1>"));
        ledger.accept("a", accepted("<1>"));
        assert_eq!((ledger.wrong.len(), ledger.repeated), (0, 1));
        ledger.accept("b", accepted("<2>"));
        assert_eq!(ledger.wrong.len(), 1);
    }
}
