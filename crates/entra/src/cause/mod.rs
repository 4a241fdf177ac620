//! Numbers and codes of Microsoft turned into a cause, the field it is about, and the next step with this
//! connection's ids filled in.
//!
//! One table in three files: signing in, Microsoft Graph, Exchange (EWS, IMAP, SMTP). How to add one more: a row there
//! with a name of its own; [`rows`] lists it, so the table of induced faults asks for it at once.

mod exchange;
mod graph;
mod row;
mod sign_in;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::SignedDuration;
use postroom_model::connection::Cloud;
use row::{Row, Says};

/// What the provider said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// An answer of Microsoft Graph with its sentence, which tells some policies apart that share a code.
    GraphSaid {
        /// HTTP status.
        status: u16,
        /// `error.code`, compared without regard to case.
        code: &'a str,
        /// `error.message`.
        message: &'a str,
    },
    /// An answer of EWS.
    Ews {
        /// HTTP status.
        status: u16,
        /// `ResponseCode`, the fault's code, or for 403 the header `X-EWS-Policy-Reason`; may be empty.
        code: &'a str,
    },
    /// A refusing reply of IMAP: `NO AUTHENTICATE failed.`
    Imap(&'a str),
    /// A refusing reply of SMTP with its numbers: `535 5.7.3 Authentication unsuccessful`.
    Smtp(&'a str),
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
    /// Portal of the cloud for links; the worldwide one without.
    pub portal: Option<&'static str>,
}

impl Ids {
    /// Ids of a connection, without a mailbox.
    pub fn of(tenant: &str, application: &str) -> Self {
        let (tenant, application) = (tenant.trim().to_owned(), application.trim().to_owned());
        Self { tenant, application, mailbox: None, portal: None }
    }

    /// The same, for a mailbox.
    #[must_use]
    pub fn with_mailbox(mut self, mailbox: &str) -> Self {
        self.mailbox = Some(mailbox.to_owned());
        self
    }

    /// The same, with links into the portal of this cloud.
    #[must_use]
    pub fn with_cloud(mut self, cloud: &Cloud) -> Self {
        self.portal = Some(cloud.portal());
        self
    }

    /// The same, with links into the portal of the cloud that this authority belongs to.
    #[must_use]
    pub fn with_authority(mut self, host: &str) -> Self {
        let at = |cloud: &&Cloud| cloud.endpoints().authority.host_str() == Some(host);
        self.portal = Cloud::MICROSOFT.iter().find(at).map(Cloud::portal);
        self
    }

    /// A page of the app registration: a link, or its way in words when the application is not known.
    fn page(&self, blade: &str, words: &str) -> String {
        if self.application.is_empty() {
            return format!("App registrations, the application, {words} in the Entra admin centre");
        }
        let portal = self.portal.unwrap_or("https://entra.microsoft.com");
        let application = percent_encoding::utf8_percent_encode(&self.application, ID);
        format!(
            "{portal}/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/{blade}/appId/{application}"
        )
    }

    fn fill(&self, template: &str) -> String {
        // In a command, between backticks, an unknown id is a gap to be filled in; in a sentence it is words.
        let sentence = ["of this connection", "of this connection", "this mailbox"];
        let command = ["<tenant id>", "<application id>", "<mailbox>"];
        let parts = template.split('`').enumerate();
        let filled = parts
            .map(|(number, part)| self.fill_part(part, if number % 2 == 1 { command } else { sentence }));
        filled.collect::<Vec<_>>().join("`")
    }

    fn fill_part(&self, part: &str, [tenant, application, mailbox]: [&str; 3]) -> String {
        let or = |text: &str, words: &str| if text.is_empty() { words.to_owned() } else { text.to_owned() };
        part.replace("{credentials}", &self.page("Credentials", "Certificates & secrets"))
            .replace("{permissions}", &self.page("CallAnAPI", "API permissions"))
            .replace("{authentication}", &self.page("Authentication", "Authentication"))
            .replace("{overview}", &self.page("Overview", "Overview"))
            .replace("{tenant}", &or(&self.tenant, tenant))
            .replace("{application}", &or(&self.application, application))
            .replace("{mailbox}", &or(self.mailbox.as_deref().unwrap_or_default(), mailbox))
    }
}

/// What an id may hold inside a link.
const ID: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-');

/// What is known about a failure, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Name of the row of the table; it never changes.
    pub row: &'static str,
    /// Why it failed, one sentence.
    pub cause: String,
    /// The field to look at: `secret`, `tenant_id`, `application_id`, `flow`, `user_name`, `cloud`, `mailbox`, `server`,
    /// `tls`, `kind`, `max_size_mb`; none when the cause is not in the settings.
    pub field: Option<&'static str>,
    /// What to do next, with the exact command or link.
    pub next_step: String,
    /// Whether it may come right by itself, because a recent change has not reached every server yet.
    pub waiting: bool,
    /// How long that may take, as Microsoft says.
    pub may_take: Option<SignedDuration>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cause, self.next_step)
    }
}

/// A row of the table, as it stands there: ids are not filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowInfo {
    /// Its name; it never changes: `aadsts-secret-wrong`.
    pub name: &'static str,
    /// One code it is recognised by. [`explain`] answers it with this row.
    pub example: Code<'static>,
    /// The field to look at.
    pub field: Option<&'static str>,
    /// Why it fails.
    pub cause: &'static str,
    /// What to do next.
    pub next_step: &'static str,
    /// How long it may take until it comes right by itself.
    pub may_take: Option<SignedDuration>,
}

/// Every row of the table.
pub fn rows() -> impl Iterator<Item = RowInfo> {
    all().map(|row| RowInfo {
        name: row.name,
        example: example(&row.says),
        field: row.field,
        cause: row.cause,
        next_step: row.next_step,
        may_take: row.may_take,
    })
}

fn all() -> impl Iterator<Item = &'static Row> {
    sign_in::ROWS.iter().chain(graph::ROWS).chain(exchange::EWS).chain(exchange::IMAP).chain(exchange::SMTP)
}

fn example(says: &Says) -> Code<'static> {
    let status = |statuses: &[u16], usual: u16| statuses.first().copied().unwrap_or(usual);
    let first = |words: &'static [&'static str]| words.first().copied().unwrap_or_default();
    match *says {
        Says::Aadsts(numbers) => Code::Aadsts(numbers.first().copied().unwrap_or(0)),
        Says::Graph(codes, statuses) => Code::Graph { status: status(statuses, 400), code: first(codes) },
        Says::GraphWords(words) => {
            Code::GraphSaid { status: 403, code: "ErrorAccessDenied", message: first(words) }
        }
        Says::Ews(codes, statuses) => Code::Ews { status: status(statuses, 200), code: first(codes) },
        Says::Imap(words) => Code::Imap(first(words)),
        Says::Smtp(words) => Code::Smtp(first(words)),
    }
}

/// Cause and next step for a code, where known. For a code of Graph or EWS that is not in the table, the HTTP status
/// decides.
pub fn explain(code: Code<'_>, ids: &Ids) -> Option<Advice> {
    let row = match code {
        Code::Aadsts(number) => {
            find(sign_in::ROWS, |says| matches!(says, Says::Aadsts(numbers) if numbers.contains(&number)))
        }
        Code::Graph { status, code } => graph_row(status, code, ""),
        Code::GraphSaid { status, code, message } => graph_row(status, code, message),
        Code::Ews { status, code } => ews_row(status, code),
        Code::Imap(reply) => find(
            exchange::IMAP,
            |says| matches!(says, Says::Imap(words) if words.iter().any(|word| holds(reply, word))),
        ),
        Code::Smtp(reply) => smtp_row(reply),
    }?;
    Some(Advice {
        row: row.name,
        cause: ids.fill(row.cause),
        field: row.field,
        next_step: ids.fill(row.next_step),
        waiting: row.may_take.is_some(),
        may_take: row.may_take,
    })
}

fn find(rows: &'static [Row], fits: impl Fn(&Says) -> bool) -> Option<&'static Row> {
    rows.iter().find(|row| fits(&row.says))
}

fn graph_row(status: u16, code: &str, message: &str) -> Option<&'static Row> {
    let said = |says: &Says| matches!(says, Says::GraphWords(words) if words.iter().any(|word| holds(message, word)));
    let named = |says: &Says| matches!(says, Says::Graph(codes, _) if among(codes, code));
    let by_status = |says: &Says| matches!(says, Says::Graph(codes, statuses) if codes.is_empty() && statuses.contains(&status));
    find(graph::ROWS, said).or_else(|| find(graph::ROWS, named)).or_else(|| find(graph::ROWS, by_status))
}

fn ews_row(status: u16, code: &str) -> Option<&'static Row> {
    // A fault's code comes with its namespace: `a:ErrorServerBusy`.
    let code = code.rsplit(':').next().unwrap_or_default().trim();
    let named = |says: &Says| matches!(says, Says::Ews(codes, _) if among(codes, code));
    let by_status = |says: &Says| matches!(says, Says::Ews(codes, statuses) if codes.is_empty() && statuses.contains(&status));
    find(exchange::EWS, named).or_else(|| find(exchange::EWS, by_status))
}

fn smtp_row(reply: &str) -> Option<&'static Row> {
    // Lines before the last have a hyphen after their number (RFC 5321 section 4.2.1).
    let mut line = reply.trim_start().to_owned();
    if line.as_bytes().get(3) == Some(&b'-') && line.is_char_boundary(4) {
        line.replace_range(3..4, " ");
    }
    find(
        exchange::SMTP,
        |says| matches!(says, Says::Smtp(words) if words.iter().any(|word| spoken(&line, word))),
    )
}

/// Whether a reply says this: a number at its beginning, a status code as a whole word, or words anywhere.
fn spoken(line: &str, word: &str) -> bool {
    let bytes = word.as_bytes();
    if !bytes.first().is_some_and(u8::is_ascii_digit) {
        return holds(line, word);
    }
    let free = |neighbour: Option<char>| !neighbour.is_some_and(|c| c.is_ascii_digit() || c == '.');
    // `535 5.7.3` and `421 ` begin with the reply's number and stand at its beginning only.
    let at_start = bytes.get(3) == Some(&b' ');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends = word.ends_with(' ') || free(after);
        if at_start { at == 0 && ends } else { free(before) && ends }
    })
}

fn among(codes: &[&str], code: &str) -> bool {
    codes.iter().any(|known| known.eq_ignore_ascii_case(code))
}

fn holds(text: &str, words: &str) -> bool {
    text.to_ascii_lowercase().contains(&words.to_ascii_lowercase())
}
