//! `SEARCH`. What is compared without regard to case is text as a person reads it, decoded.

use imap_codec::imap_types::core::Charset;
use imap_codec::imap_types::search::SearchKey as Key;
use mail_parser::{Address, Message};
use postroom_model::Timestamp;

use super::session::{Done, Selected, Session, contains};
use super::structure;
use crate::mail::numbered::{self, Content, Entry, Flags};
use crate::mail::{header_value, parse};

/// Most keys of one command.
const MOST_KEYS: usize = 200;

impl Session {
    pub(super) async fn search(
        &mut self,
        charset: Option<&Charset<'_>>,
        keys: &[Key<'_>],
        uid: bool,
    ) -> Result<Done, Done> {
        let known = |charset: &&Charset<'_>| {
            ["UTF-8", "US-ASCII"].iter().any(|one| one.eq_ignore_ascii_case(charset.as_ref()))
        };
        if charset.is_some_and(|charset| !known(&charset)) {
            return Err(Done::said(
                "NO [BADCHARSET (US-ASCII UTF-8)] The specified charset is not supported.",
            ));
        }
        if keys.iter().map(count).sum::<usize>() > MOST_KEYS {
            return Err(Done::said("BAD Command Argument Error. 12"));
        }
        let lines = self.news(uid).await?;
        let selected = self.selected()?;
        let needs = keys.iter().map(needs).max().unwrap_or(Needs::Nothing);
        let mut found = Vec::new();
        let mut tx = self.tenant.begin().await?;
        for (at, entry) in selected.entries.iter().enumerate() {
            let content = match needs {
                Needs::Nothing => None,
                needs => {
                    let Some(content) = numbered::content(&mut tx, entry.seq, needs == Needs::Raw).await?
                    else {
                        continue;
                    };
                    Some(content)
                }
            };
            let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
            let candidate = Candidate::new(selected, number, *entry, content.as_ref());
            if keys.iter().all(|key| candidate.meets(key)) {
                found.push(if uid { entry.uid } else { number }.to_string());
            }
        }
        let space = if found.is_empty() { "" } else { " " };
        let answer = format!("* SEARCH{space}{}\r\n", found.join(" "));
        Ok(Done::with([lines, answer.into_bytes()].concat(), "OK SEARCH completed."))
    }
}

/// How much of a message a key looks at.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Needs {
    Nothing,
    Content,
    Raw,
}

fn inner<'a, 'k>(key: &'a Key<'k>) -> Vec<&'a Key<'k>> {
    match key {
        Key::And(keys) => keys.as_ref().iter().collect(),
        Key::Not(key) => vec![key.as_ref()],
        Key::Or(a, b) => vec![a.as_ref(), b.as_ref()],
        _ => Vec::new(),
    }
}

fn count(key: &Key<'_>) -> usize {
    1 + inner(key).into_iter().map(count).sum::<usize>()
}

fn needs(key: &Key<'_>) -> Needs {
    let own = match key {
        Key::Before(_) | Key::On(_) | Key::Since(_) | Key::Larger(_) | Key::Smaller(_) => Needs::Content,
        Key::Bcc(_)
        | Key::Body(_)
        | Key::Cc(_)
        | Key::From(_)
        | Key::Header(..)
        | Key::SentBefore(_)
        | Key::SentOn(_)
        | Key::SentSince(_)
        | Key::Subject(_)
        | Key::Text(_)
        | Key::To(_) => Needs::Raw,
        _ => Needs::Nothing,
    };
    inner(key).into_iter().map(needs).max().map_or(own, |deeper| deeper.max(own))
}

/// The day of a second in UTC, in a form that sorts.
fn day(second: i64) -> String {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%d").to_string()
}

/// A message that is held against the keys.
struct Candidate<'a> {
    selected: &'a Selected,
    number: u32,
    entry: Entry,
    content: Option<&'a Content>,
    message: Option<Message<'a>>,
}

impl<'a> Candidate<'a> {
    fn new(selected: &'a Selected, number: u32, entry: Entry, content: Option<&'a Content>) -> Self {
        let message =
            content.filter(|content| !content.raw.is_empty()).and_then(|content| parse(&content.raw));
        Self { selected, number, entry, content, message }
    }

    fn meets(&self, key: &Key<'_>) -> bool {
        let flag = |bit: u8| self.entry.flags.has(bit);
        match key {
            Key::And(keys) => keys.as_ref().iter().all(|key| self.meets(key)),
            Key::Not(key) => !self.meets(key),
            Key::Or(a, b) => self.meets(a) || self.meets(b),
            Key::All | Key::Old => true,
            // Nothing is ever recent: the service does not say so either.
            Key::New | Key::Recent => false,
            Key::Seen => flag(Flags::SEEN),
            Key::Unseen => !flag(Flags::SEEN),
            Key::Answered => flag(Flags::ANSWERED),
            Key::Unanswered => !flag(Flags::ANSWERED),
            Key::Flagged => flag(Flags::FLAGGED),
            Key::Unflagged => !flag(Flags::FLAGGED),
            Key::Deleted => flag(Flags::DELETED),
            Key::Undeleted => !flag(Flags::DELETED),
            Key::Draft => flag(Flags::DRAFT),
            Key::Undraft => !flag(Flags::DRAFT),
            Key::Keyword(name) => flag(Flags::bit(name.as_ref())),
            Key::Unkeyword(name) => !flag(Flags::bit(name.as_ref())),
            Key::Uid(set) => {
                let highest = self.selected.entries.last().map_or(0, |entry| entry.uid);
                contains(set, self.entry.uid, highest)
            }
            Key::SequenceSet(set) => {
                let highest = u32::try_from(self.selected.entries.len()).unwrap_or(u32::MAX);
                contains(set, self.number, highest)
            }
            Key::Larger(size) => self.content.is_some_and(|content| content.size > i64::from(*size)),
            Key::Smaller(size) => self.content.is_some_and(|content| content.size < i64::from(*size)),
            Key::Before(date) => self.received().is_some_and(|day| day < date.as_ref().to_string()),
            Key::On(date) => self.received().is_some_and(|day| day == date.as_ref().to_string()),
            Key::Since(date) => self.received().is_some_and(|day| day >= date.as_ref().to_string()),
            Key::SentBefore(date) => self.sent().is_some_and(|day| day < date.as_ref().to_string()),
            Key::SentOn(date) => self.sent().is_some_and(|day| day == date.as_ref().to_string()),
            Key::SentSince(date) => self.sent().is_some_and(|day| day >= date.as_ref().to_string()),
            key => self.says(key),
        }
    }

    fn received(&self) -> Option<String> {
        self.content.map(|content| day(content.received_at))
    }

    fn sent(&self) -> Option<String> {
        self.message.as_ref().and_then(Message::date).map(|date| day(date.to_timestamp()))
    }

    /// Keys that look at the text of a message.
    fn says(&self, key: &Key<'_>) -> bool {
        let (Some(content), Some(message)) = (self.content, &self.message) else { return false };
        let header = structure::split(&content.raw).0;
        let holds = |text: &str, wanted: &[u8]| {
            text.to_lowercase().contains(&String::from_utf8_lossy(wanted).to_lowercase())
        };
        let people = |field: Option<&Address<'_>>, wanted: &[u8]| {
            field.into_iter().flat_map(Address::iter).any(|one| {
                let (name, address) = (one.name.as_deref(), one.address.as_deref());
                holds(&format!("{} <{}>", name.unwrap_or_default(), address.unwrap_or_default()), wanted)
            })
        };
        let text = |wanted: &[u8]| {
            let texts = (0..message.text_body_count()).filter_map(|at| message.body_text(at));
            texts.into_iter().any(|text| holds(&text, wanted))
        };
        match key {
            Key::From(wanted) => people(message.from(), wanted.as_ref()),
            Key::To(wanted) => people(message.to(), wanted.as_ref()),
            Key::Cc(wanted) => people(message.cc(), wanted.as_ref()),
            Key::Bcc(wanted) => people(message.bcc(), wanted.as_ref()),
            Key::Subject(wanted) => holds(message.subject().unwrap_or_default(), wanted.as_ref()),
            Key::Body(wanted) => text(wanted.as_ref()),
            Key::Text(wanted) => {
                text(wanted.as_ref())
                    || holds(message.subject().unwrap_or_default(), wanted.as_ref())
                    || holds(&String::from_utf8_lossy(header), wanted.as_ref())
            }
            Key::Header(name, wanted) => {
                let name = String::from_utf8_lossy(name.as_ref());
                header_value(header, &name).is_some_and(|value| holds(&value, wanted.as_ref()))
            }
            _ => false,
        }
    }
}
