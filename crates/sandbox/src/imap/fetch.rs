//! `FETCH`: what is asked for of each message, and the parts of a message by their numbers.

use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::fetch::{
    Macro, MacroOrMessageDataItemNames, MessageDataItemName as Item, Part, Section,
};
use imap_codec::imap_types::sequence::SequenceSet;
use postroom_model::Timestamp;

use super::names::literal;
use super::session::{Done, Session};
use super::structure::{self, Place};
use crate::mail::numbered::{self, Content, Entry, Flags};

/// Largest answer of one command, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// A second as `INTERNALDATE` (RFC 3501 section 9, `date-time`).
fn internal_date(second: i64) -> String {
    let instant = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    instant.strftime("\"%d-%b-%Y %H:%M:%S +0000\"").to_string()
}

fn needs_raw(item: &Item<'_>) -> bool {
    !matches!(item, Item::Flags | Item::Uid | Item::InternalDate | Item::Rfc822Size)
}

/// Whether reading it marks the message as seen.
fn sees(item: &Item<'_>) -> bool {
    matches!(item, Item::Rfc822 | Item::Rfc822Text | Item::BodyExt { peek: false, .. })
}

fn items<'a>(asked: &MacroOrMessageDataItemNames<'a>, uid: bool) -> Vec<Item<'a>> {
    let mut items = match asked {
        MacroOrMessageDataItemNames::Macro(short) => {
            let mut items = vec![Item::Flags, Item::InternalDate, Item::Rfc822Size];
            if !matches!(short, Macro::Fast) {
                items.push(Item::Envelope);
            }
            if matches!(short, Macro::Full) {
                items.push(Item::Body);
            }
            items
        }
        MacroOrMessageDataItemNames::MessageDataItemNames(items) => items.clone(),
    };
    if uid && !items.contains(&Item::Uid) {
        items.insert(0, Item::Uid);
    }
    items
}

impl Session {
    pub(super) async fn fetch(
        &mut self,
        messages: &SequenceSet,
        asked: &MacroOrMessageDataItemNames<'_>,
        uid: bool,
    ) -> Result<Done, Done> {
        let mut items = items(asked, uid);
        let served = |item: &Item<'_>| !matches!(item, Item::Binary { .. } | Item::BinarySize { .. });
        if items.len() > 50 || !items.iter().all(served) {
            return Err(Done::said("BAD Command Argument Error. 12"));
        }
        let places = self.selected()?.places(messages, uid)?;
        let raw = items.iter().any(needs_raw);
        let sees = items.iter().any(sees) && !self.selected()?.read_only;
        // The mark that reading puts is told with the rest.
        if sees && !items.contains(&Item::Flags) {
            items.push(Item::Flags);
        }
        let tenant = std::sync::Arc::clone(&self.tenant);
        let mut lines = Vec::new();
        let mut tx = tenant.begin().await?;
        for at in places {
            let Some(entry) = self.selected.as_mut().and_then(|selected| selected.entries.get_mut(at)) else {
                continue;
            };
            // A message that went meanwhile has nothing to tell; its end is told where numbers may change.
            let Some(content) = numbered::content(&mut tx, entry.seq, raw).await? else { continue };
            if sees && !entry.flags.has(Flags::SEEN) {
                entry.flags.0 |= Flags::SEEN;
                numbered::mark(&tenant, &mut tx, entry.seq, entry.flags).await?;
            }
            lines.extend(format!("* {} FETCH (", at + 1).into_bytes());
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    lines.push(b' ');
                }
                lines.extend(value(item, entry, &content));
            }
            lines.extend(b")\r\n");
            if lines.len() > MAX_ANSWER {
                return Err(Done::said("NO The answer is too large; ask for fewer messages."));
            }
        }
        tx.commit().await?;
        if sees {
            self.tenant.nudge();
        }
        lines.extend(self.news(uid).await?);
        Ok(Done::with(lines, "OK FETCH completed."))
    }
}

/// One item with its name.
fn value(item: &Item<'_>, entry: &Entry, content: &Content) -> Vec<u8> {
    let raw = &content.raw;
    let named = |name: &str, value: &[u8]| [name.as_bytes(), b" ", value].concat();
    match item {
        Item::Flags => named("FLAGS", entry.flags.shown().as_bytes()),
        Item::Uid => named("UID", entry.uid.to_string().as_bytes()),
        Item::InternalDate => named("INTERNALDATE", internal_date(content.received_at).as_bytes()),
        Item::Rfc822Size => named("RFC822.SIZE", content.size.to_string().as_bytes()),
        Item::Envelope => named("ENVELOPE", &structure::envelope(raw)),
        Item::Body => named("BODY", &structure::body(raw, false)),
        Item::BodyStructure => named("BODYSTRUCTURE", &structure::body(raw, true)),
        Item::Rfc822 => named("RFC822", &literal(raw)),
        Item::Rfc822Header => named("RFC822.HEADER", &literal(structure::split(raw).0)),
        Item::Rfc822Text => named("RFC822.TEXT", &literal(structure::split(raw).1)),
        Item::BodyExt { section, partial, .. } => {
            let mut name = format!("BODY[{}]", section.as_ref().map(section_name).unwrap_or_default());
            let bytes = part(raw, section.as_ref());
            let Some(bytes) = bytes else { return named(&name, b"NIL") };
            let Some((start, length)) = partial else { return named(&name, &literal(&bytes)) };
            name.push_str(&format!("<{start}>"));
            let start = usize::try_from(*start).unwrap_or(usize::MAX).min(bytes.len());
            let length = usize::try_from(length.get()).unwrap_or(usize::MAX);
            named(&name, &literal(&bytes[start..bytes.len().min(start.saturating_add(length))]))
        }
        Item::Binary { .. } | Item::BinarySize { .. } => Vec::new(),
    }
}

fn numbers(part: &Part) -> Vec<u32> {
    part.0.as_ref().iter().map(|number| number.get()).collect()
}

fn section_name(section: &Section<'_>) -> String {
    let prefix = |part: Option<&Part>| {
        part.map(|part| numbers(part).iter().map(|n| format!("{n}.")).collect::<String>()).unwrap_or_default()
    };
    let list = |names: &[AString<'_>]| {
        let names: Vec<String> =
            names.iter().map(|name| String::from_utf8_lossy(name.as_ref()).to_uppercase()).collect();
        format!(" ({})", names.join(" "))
    };
    match section {
        Section::Part(part) => prefix(Some(part)).trim_end_matches('.').to_owned(),
        Section::Header(part) => format!("{}HEADER", prefix(part.as_ref())),
        Section::HeaderFields(part, names) => {
            format!("{}HEADER.FIELDS{}", prefix(part.as_ref()), list(names.as_ref()))
        }
        Section::HeaderFieldsNot(part, names) => {
            format!("{}HEADER.FIELDS.NOT{}", prefix(part.as_ref()), list(names.as_ref()))
        }
        Section::Text(part) => format!("{}TEXT", prefix(part.as_ref())),
        Section::Mime(part) => format!("{}MIME", prefix(Some(part))),
    }
}

/// The bytes of a section; none when there is no such part.
fn part(raw: &[u8], section: Option<&Section<'_>>) -> Option<Vec<u8>> {
    let place = |part: Option<&Part>| match part {
        None => Some(Place { header: &[], body: raw, message: true }),
        Some(part) => structure::locate(raw, &numbers(part)),
    };
    // Header and text are those of a message, the whole one or one that is a part.
    let message = |part: Option<&Part>| {
        place(part).filter(|place| place.message).map(|place| structure::split(place.body))
    };
    Some(match section {
        None => raw.to_vec(),
        Some(Section::Part(part)) => place(Some(part))?.body.to_vec(),
        Some(Section::Mime(part)) => place(Some(part))?.header.to_vec(),
        Some(Section::Header(part)) => message(part.as_ref())?.0.to_vec(),
        Some(Section::Text(part)) => message(part.as_ref())?.1.to_vec(),
        Some(Section::HeaderFields(part, names)) => {
            structure::fields(message(part.as_ref())?.0, |field| named(names.as_ref(), field))
        }
        Some(Section::HeaderFieldsNot(part, names)) => {
            structure::fields(message(part.as_ref())?.0, |field| !named(names.as_ref(), field))
        }
    })
}

fn named(names: &[AString<'_>], field: &[u8]) -> bool {
    names.iter().any(|name| name.as_ref().eq_ignore_ascii_case(field))
}
