//! Numbers and codes of Microsoft turned into a cause, the field it is about, and the next step with this
//! connection's ids filled in.
//!
//! One table, in `table.rs`. How to add one more: a row there, in the order of the numbers.

mod table;

use std::fmt;

use table::{GRAPH, GraphRow, SIGN_IN, SignInRow};

/// What the provider said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code<'a> {
    /// The number of `AADSTS7000215`.
    Aadsts(u32),
    /// An answer of Microsoft Graph.
    Graph {
        /// HTTP status.
        status: u16,
        /// `error.code`, compared without regard to case.
        code: &'a str,
    },
}

/// The ids that are filled into a next step. A blank one is replaced by words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// Directory (tenant) ID.
    pub tenant: String,
    /// Application (client) ID.
    pub application: String,
    /// Address of the mailbox it is about.
    pub mailbox: Option<String>,
}

impl Ids {
    /// Ids of a connection, without a mailbox.
    pub fn of(tenant: &str, application: &str) -> Self {
        Self { tenant: tenant.to_owned(), application: application.to_owned(), mailbox: None }
    }

    /// The same, for a mailbox.
    #[must_use]
    pub fn with_mailbox(mut self, mailbox: &str) -> Self {
        self.mailbox = Some(mailbox.to_owned());
        self
    }

    fn fill(&self, template: &str) -> String {
        let or =
            |text: &str, words: &str| if text.trim().is_empty() { words.to_owned() } else { text.to_owned() };
        template
            .replace("{tenant}", &or(&self.tenant, "of this connection"))
            .replace("{application}", &or(&self.application, "of this connection"))
            .replace("{mailbox}", &or(self.mailbox.as_deref().unwrap_or_default(), "this mailbox"))
    }
}

/// What is known about a failure, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Why it failed, one sentence.
    pub cause: String,
    /// The field to look at: `secret`, `tenant_id`, `application_id`, `flow`, `user_name`, `cloud`, `mailbox`; none
    /// when the cause is not in the settings.
    pub field: Option<&'static str>,
    /// What to do next.
    pub next_step: String,
    /// Whether it may come right by itself, because a recent change has not reached every server yet.
    pub waiting: bool,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cause, self.next_step)
    }
}

/// Cause and next step for a code, where known. For a Graph code that is not in the table, the HTTP status decides.
pub fn explain(code: Code<'_>, ids: &Ids) -> Option<Advice> {
    let (cause, field, next_step, waiting) = match code {
        Code::Aadsts(number) => {
            let SignInRow { cause, field, next_step, waiting, .. } =
                SIGN_IN.iter().find(|row| row.numbers.contains(&number))?;
            (cause, field, next_step, waiting)
        }
        Code::Graph { status, code } => {
            let named =
                GRAPH.iter().find(|row| row.codes.iter().any(|known| known.eq_ignore_ascii_case(code)));
            let GraphRow { cause, field, next_step, waiting, .. } = named.or_else(|| {
                GRAPH.iter().find(|row| row.codes.is_empty() && row.statuses.contains(&status))
            })?;
            (cause, field, next_step, waiting)
        }
    };
    Some(Advice { cause: ids.fill(cause), field: *field, next_step: ids.fill(next_step), waiting: *waiting })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_complete_and_fills_in_its_ids() {
        assert!(SIGN_IN.len() + GRAPH.len() >= 40);
        let mut seen = HashSet::new();
        for ids in [Ids::of("tenant-1", "app-1").with_mailbox("orders@contoso.example"), Ids::default()] {
            let advice = SIGN_IN
                .iter()
                .flat_map(|row| row.numbers)
                .map(|number| explain(Code::Aadsts(*number), &ids).unwrap())
                .chain(GRAPH.iter().map(|row| {
                    let code = row.codes.first().copied().unwrap_or("unheard-of");
                    explain(Code::Graph { status: row.statuses[0], code }, &ids).unwrap()
                }));
            for advice in advice {
                let text = advice.to_string();
                assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
                assert!(advice.cause.ends_with('.') && advice.next_step.ends_with('.'), "{text}");
            }
        }
        for number in SIGN_IN.iter().flat_map(|row| row.numbers) {
            assert!(seen.insert(*number), "{number} stands in two rows");
        }
    }

    #[test]
    fn the_guides_first_mistake_names_its_field() {
        let ids = Ids::of("contoso.example", "5a1b2c3d-0000-4000-8000-00000000a001");
        let advice = explain(Code::Aadsts(7_000_215), &ids).unwrap();
        assert_eq!(advice.field, Some("secret"));
        assert!(advice.next_step.contains("5a1b2c3d-0000-4000-8000-00000000a001"));
    }

    #[test]
    fn denied_may_be_propagation() {
        let advice =
            explain(Code::Graph { status: 403, code: "erroraccessdenied" }, &Ids::default()).unwrap();
        assert!(advice.waiting);
        assert_eq!(explain(Code::Graph { status: 418, code: "Teapot" }, &Ids::default()), None);
        assert_eq!(explain(Code::Aadsts(1), &Ids::default()), None);
    }
}
