//! How a type stands in a document, and the macros that say it once for both directions.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use jiff::Timestamp;

use super::tree::{Node, ReadError};
use super::writer::Writer;

/// The content of an element, or a text.
pub(super) trait Value: Sized {
    /// Writes the content into the element that is open.
    fn write(&self, writer: &mut Writer);

    /// Reads it from the element that has it.
    fn read(node: &Node<'_, '_>) -> Result<Self, ReadError>;

    /// Reads it from the element that may have it; for a [`Choice`] none when no child is one of it.
    fn read_any(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        Self::read(node).map(Some)
    }

    /// Reads it when `node` itself is one; only a [`Choice`] knows its names.
    fn read_itself(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        Self::read(node).map(Some)
    }

    /// As the value of an attribute; none for what is no text.
    fn to_text(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// From the value of an attribute.
    fn from_text(_: &str) -> Result<Self, String> {
        Err("this cannot be an attribute".to_owned())
    }
}

/// One of several elements, each with its own name.
pub(super) trait Choice: Sized {
    /// Its name with prefix.
    fn tag(&self) -> &'static str;
    /// Writes the content into the element of that name.
    fn write_content(&self, writer: &mut Writer);
    /// Reads it when `node` is one of its elements.
    fn read_element(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError>;
}

impl<T: Choice> Value for T {
    fn write(&self, writer: &mut Writer) {
        writer.open(self.tag());
        self.write_content(writer);
        writer.close();
    }

    fn read(node: &Node<'_, '_>) -> Result<Self, ReadError> {
        // An element that wraps a choice holds one of it.
        if node.is_strict() && node.children().count() > 1 {
            return Err(node.error("more than one of the elements of which one belongs here"));
        }
        Self::read_any(node)?.ok_or_else(|| node.error("none of the elements that belong here"))
    }

    fn read_any(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        for child in node.children() {
            if let Some(found) = Self::read_element(&child)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn read_itself(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
        Self::read_element(node)
    }
}

/// How a field stands in its record. `place` is one of
///
/// | place | meaning |
/// |---|---|
/// | `@Name` | an attribute |
/// | `#` | the text of the element itself |
/// | `p:Name` | a child |
/// | `*` | directly in the record: a choice, or the fields of another record |
/// | `p:List/p:Name`, `p:List/*` | a list in a wrapper that is left out when empty; `*` for a choice |
/// | `!p:List/...` | the same, with a wrapper that is always there |
/// | `/p:Name`, `/*` | a list without wrapper |
pub(super) trait Member: Sized {
    /// Writes the field.
    fn put(&self, place: &'static str, writer: &mut Writer);
    /// Reads the field.
    fn take(place: &'static str, node: &Node<'_, '_>) -> Result<Self, ReadError>;
}

/// A name without its prefix.
pub(super) fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// The child that a place names, without prefix; blank for attributes and the like.
pub(super) fn child_of(place: &'static str) -> &'static str {
    let place = place.strip_prefix('!').unwrap_or(place);
    let name = match place.split_once('/') {
        Some(("", child)) => child,
        Some((wrapper, _)) => wrapper,
        None => place,
    };
    if name.starts_with(['@', '#', '*']) { "" } else { local(name) }
}

fn parsed<T: Value>(node: &Node<'_, '_>, name: &str, text: &str) -> Result<T, ReadError> {
    T::from_text(text).map_err(|what| node.error(format!("{name} {what}")))
}

fn find<T: Value>(place: &'static str, node: &Node<'_, '_>) -> Result<Option<T>, ReadError> {
    if let Some(name) = place.strip_prefix('@') {
        return node.attribute(name).map(|text| parsed(node, name, text)).transpose();
    }
    match place {
        "#" => parsed(node, "text", node.text()).map(Some),
        "*" => T::read_any(node),
        _ => node.child(local(place)).map(|child| T::read(&child)).transpose(),
    }
}

impl<T: Value> Member for T {
    fn put(&self, place: &'static str, writer: &mut Writer) {
        if let Some(name) = place.strip_prefix('@') {
            writer.attribute(name, &self.to_text().unwrap_or_default());
            return;
        }
        match place {
            "#" | "*" => self.write(writer),
            _ => {
                writer.open(place);
                self.write(writer);
                writer.close();
            }
        }
    }

    fn take(place: &'static str, node: &Node<'_, '_>) -> Result<Self, ReadError> {
        find(place, node)?.ok_or_else(|| {
            let name = place.trim_start_matches('@');
            match name {
                "*" => node.error("none of the elements that belong here"),
                _ => node.error(format!("{} is missing", local(name))),
            }
        })
    }
}

impl<T: Value> Member for Option<T> {
    fn put(&self, place: &'static str, writer: &mut Writer) {
        if let Some(value) = self {
            value.put(place, writer);
        }
    }

    fn take(place: &'static str, node: &Node<'_, '_>) -> Result<Self, ReadError> {
        find(place, node)
    }
}

impl<T: Value> Member for Vec<T> {
    fn put(&self, place: &'static str, writer: &mut Writer) {
        let (always, place) = place.strip_prefix('!').map_or((false, place), |place| (true, place));
        let (wrapper, child) = place.split_once('/').unwrap_or(("", place));
        if self.is_empty() && !always {
            return;
        }
        if !wrapper.is_empty() {
            writer.open(wrapper);
        }
        for value in self {
            value.put(child, writer);
        }
        if !wrapper.is_empty() {
            writer.close();
        }
    }

    fn take(place: &'static str, node: &Node<'_, '_>) -> Result<Self, ReadError> {
        let place = place.strip_prefix('!').unwrap_or(place);
        let (wrapper, child) = place.split_once('/').unwrap_or(("", place));
        let of = |node: &Node<'_, '_>| {
            let mut values = Self::new();
            for element in node.children() {
                if child == "*" {
                    values.extend(T::read_itself(&element)?);
                } else if element.name() == local(child) {
                    values.push(T::read(&element)?);
                }
            }
            Ok(values)
        };
        match wrapper {
            "" => of(node),
            _ => node.child(local(wrapper)).map_or(Ok(Self::new()), |list| of(&list)),
        }
    }
}

macro_rules! text_value {
    ($type:ty, $to:expr, $from:expr) => {
        impl $crate::wire::value::Value for $type {
            fn write(&self, writer: &mut $crate::wire::writer::Writer) {
                let to: fn(&Self) -> std::borrow::Cow<'_, str> = $to;
                writer.text(&to(self));
            }
            fn read(node: &$crate::wire::tree::Node<'_, '_>) -> Result<Self, $crate::wire::tree::ReadError> {
                <Self as $crate::wire::value::Value>::from_text(node.text()).map_err(|what| node.error(what))
            }
            fn to_text(&self) -> Option<std::borrow::Cow<'_, str>> {
                let to: fn(&Self) -> std::borrow::Cow<'_, str> = $to;
                Some(to(self))
            }
            fn from_text(text: &str) -> Result<Self, String> {
                let from: fn(&str) -> Result<Self, String> = $from;
                from(text)
            }
        }
    };
}

fn clipped(text: &str) -> String {
    text.chars().take(60).collect()
}

text_value!(String, |text| Cow::Borrowed(text.as_str()), |text| Ok(text.to_owned()));
text_value!(bool, |value| Cow::Borrowed(if *value { "true" } else { "false" }), |text| match text.trim() {
    "true" | "1" => Ok(true),
    "false" | "0" => Ok(false),
    other => Err(format!("is not a boolean: {}", clipped(other))),
});
text_value!(u32, |value| value.to_string().into(), |text| {
    text.trim().parse().map_err(|_| format!("is not a number that is allowed here: {}", clipped(text)))
});
text_value!(i32, |value| value.to_string().into(), |text| {
    text.trim().parse().map_err(|_| format!("is not a number that is allowed here: {}", clipped(text)))
});
text_value!(Timestamp, |value| value.to_string().into(), |text| {
    let text = text.trim();
    // A time without zone is one in UTC; that is the zone of the server unless a request says otherwise.
    let zoned = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse()
        .ok()
        .or_else(|| zoned().map(|zoned| zoned.timestamp()))
        .ok_or_else(|| format!("is not a time: {}", clipped(text)))
});

/// Base64 as it is met: with or without padding.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Value for Bytes {
    fn write(&self, writer: &mut Writer) {
        writer.base64(self);
    }

    fn read(node: &Node<'_, '_>) -> Result<Self, ReadError> {
        Self::from_text(node.text()).map_err(|what| node.error(what))
    }

    fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(STANDARD.encode(self).into())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let decoded = if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
            let dense: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            LENIENT.decode(dense)
        } else {
            LENIENT.decode(text)
        };
        decoded.map(Self::from).map_err(|error| format!("is not base64: {error}"))
    }
}

/// A struct whose fields are named with their [`Member`] place, in the order of the schema.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty = $place:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::wire::value::Value for $name {
            fn write(&self, writer: &mut $crate::wire::writer::Writer) {
                $($crate::wire::value::Member::put(&self.$field, $place, writer);)*
                let _ = writer;
            }
            fn read(
                node: &$crate::wire::tree::Node<'_, '_>,
            ) -> Result<Self, $crate::wire::tree::ReadError> {
                node.in_order(&[$($crate::wire::value::child_of($place)),*])?;
                Ok(Self { $($field: $crate::wire::value::Member::take($place, node)?,)* })
            }
        }
    };
}

/// An enum of words.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$word_meta:meta])* $word:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$word_meta])* $word,)* }

        impl $name {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word),)* }
            }
        }

        $crate::wire::value::text_value!(
            $name,
            |word| std::borrow::Cow::Borrowed(word.as_str()),
            |text| match text.trim() {
                $(stringify!($word) => Ok(Self::$word),)*
                other => Err(format!(
                    "is not one of the words allowed here: {}",
                    other.chars().take(60).collect::<String>()
                )),
            }
        );
    };
}

/// An enum of elements, each with the type of its content.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident($type:ty) = $tag:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name { $($(#[$variant_meta])* $variant($type),)* }

        impl $crate::wire::value::Choice for $name {
            fn tag(&self) -> &'static str {
                match self { $(Self::$variant(_) => $tag,)* }
            }
            fn write_content(&self, writer: &mut $crate::wire::writer::Writer) {
                match self { $(Self::$variant(content) => {
                    $crate::wire::value::Value::write(content, writer);
                })* }
            }
            fn read_element(
                node: &$crate::wire::tree::Node<'_, '_>,
            ) -> Result<Option<Self>, $crate::wire::tree::ReadError> {
                $(if node.name() == $crate::wire::value::local($tag) {
                    return Ok(Some(Self::$variant($crate::wire::value::Value::read(node)?)));
                })*
                Ok(None)
            }
        }
    };
}

pub(super) use {choice, record, text_value, words};
