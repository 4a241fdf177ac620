//! Reads a document into elements, bounded in depth and number, and looks things up in it with errors that name
//! their path. Prefixes are ignored; DOCTYPE and entities of one's own are refused.

use std::borrow::Cow;
use std::fmt;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::writer::allowed;

/// Deepest nesting that is read. A restriction of Exchange's may have some ten levels in an envelope of four.
pub const MAX_DEPTH: usize = 64;
/// Most elements of one document. 512 changes of a page with ten properties each are far below.
pub const MAX_ELEMENTS: usize = 200_000;
/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 32;

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", Shown(.path))]
pub struct ReadError {
    /// The elements from the outermost one: `Envelope/Body/GetItem/ItemIds`; empty when it is no XML at all.
    pub path: String,
    /// What is wrong there.
    pub what: String,
    /// Where that element begins, or reading ended, in bytes from the beginning of the document.
    pub offset: usize,
}

struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl ReadError {
    fn at(stack: &[Element<'_>], what: impl Into<String>) -> Self {
        let names: Vec<&str> = stack.iter().map(|element| element.name.as_str()).collect();
        let offset = stack.last().map_or(0, |element| element.offset);
        Self { path: names.join("/"), what: what.into(), offset }
    }

    /// The line in the document that was read, and the byte in that line; both count from 1.
    pub fn place(&self, document: &[u8]) -> (u32, u32) {
        let before = &document[..self.offset.min(document.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        (number(line), number(before.len() - start))
    }
}

/// One element. Text that needs no change is borrowed from the document, so a message in base64 is there once.
#[derive(Debug, Default)]
pub(super) struct Element<'a> {
    name: String,
    attributes: Vec<(String, String)>,
    text: Cow<'a, str>,
    children: Vec<Element<'a>>,
    /// Where it begins in the document.
    offset: usize,
}

impl<'a> Element<'a> {
    /// Reads a document of UTF-8.
    pub(super) fn parse(document: &'a [u8]) -> Result<Self, ReadError> {
        let text = std::str::from_utf8(document).map_err(|_| ReadError::at(&[], "this is no UTF-8"))?;
        let mut reader = Reader::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(text));
        let mut stack: Vec<Element<'a>> = Vec::new();
        let mut count = 0_usize;
        loop {
            let offset = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let event = reader.read_event().map_err(|error| ReadError::at(&stack, error.to_string()))?;
            let closed = match event {
                Event::Start(start) => {
                    let element = Self::start(&start, offset, &stack, &mut count)?;
                    stack.push(element);
                    None
                }
                Event::Empty(start) => Some(Self::start(&start, offset, &stack, &mut count)?),
                Event::End(_) => stack.pop(),
                Event::Text(text) => append(&mut stack, text.into_inner())?,
                Event::CData(text) => append(&mut stack, text.into_inner())?,
                Event::GeneralRef(reference) => refer(&mut stack, &reference)?,
                Event::DocType(_) => return Err(ReadError::at(&stack, "a DOCTYPE is not accepted")),
                Event::Eof => return Err(ReadError::at(&stack, "the document is not complete")),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => None,
            };
            let Some(mut closed) = closed else { continue };
            if !closed.children.is_empty() {
                // Only the white space between the children.
                closed.text = Cow::Borrowed("");
            }
            match stack.last_mut() {
                Some(parent) => parent.children.push(closed),
                None => return Ok(closed),
            }
        }
    }

    fn start(
        start: &BytesStart<'_>,
        offset: usize,
        stack: &[Self],
        count: &mut usize,
    ) -> Result<Self, ReadError> {
        let fail = |what: &str| ReadError::at(stack, what);
        *count += 1;
        if stack.len() >= MAX_DEPTH {
            return Err(fail("elements are nested too deep"));
        }
        if *count > MAX_ELEMENTS {
            return Err(fail("there are too many elements"));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = text(start.local_name().as_ref());
        let mut element = Self { name, offset, ..Self::default() };
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| fail(&format!("<{}>: {error}", element.name)))?;
            if element.attributes.len() >= MAX_ATTRIBUTES {
                return Err(fail("an element has too many attributes"));
            }
            let value = unescape(&text(&attribute.value))
                .ok_or_else(|| fail(&format!("<{}>: unknown entity in an attribute", element.name)))?;
            element.attributes.push((text(attribute.key.local_name().as_ref()), value));
        }
        Ok(element)
    }
}

/// Adds text to the innermost element. Line ends become one character, as XML 1.0 section 2.11 asks.
fn append<'a>(stack: &mut [Element<'a>], bytes: Cow<'a, [u8]>) -> Result<Option<Element<'a>>, ReadError> {
    let utf8 = |_| ReadError::at(&[], "this is no UTF-8");
    let mut text = match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(utf8)?),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).map_err(|error| utf8(error.utf8_error()))?),
    };
    if text.contains('\r') {
        text = text.replace("\r\n", "\n").replace('\r', "\n").into();
    }
    let Some(top) = stack.last_mut() else { return Ok(None) };
    if top.text.is_empty() {
        top.text = text;
    } else {
        top.text.to_mut().push_str(&text);
    }
    Ok(None)
}

fn refer<'a>(stack: &mut [Element<'a>], name: &[u8]) -> Result<Option<Element<'a>>, ReadError> {
    let name = String::from_utf8_lossy(name);
    let Some(c) = referred(&name) else {
        return Err(ReadError::at(
            stack,
            format!("unknown entity &{};", name.chars().take(40).collect::<String>()),
        ));
    };
    if let Some(top) = stack.last_mut() {
        top.text.to_mut().push(c);
    }
    Ok(None)
}

/// The character a reference means; none for entities that XML does not know by itself. Exchange refers to characters
/// that XML 1.0 forbids (`&#x1F;`), which a strict reader refuses: they become the replacement character.
fn referred(name: &str) -> Option<char> {
    let number = match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => number.parse().ok(),
    };
    let known = code.and_then(char::from_u32).filter(|c| allowed(*c));
    Some(known.unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';')?;
        plain.push_str(before);
        plain.push(referred(name)?);
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// An element and the way to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'n, 'a> {
    element: &'n Element<'a>,
    parent: Option<&'n Node<'n, 'a>>,
    /// Whether the order of elements is looked at, as a server's schema does.
    strict: bool,
}

impl<'n, 'a> Node<'n, 'a> {
    /// The outermost element.
    pub(super) fn root(element: &'n Element<'a>, strict: bool) -> Self {
        Self { element, parent: None, strict }
    }

    /// Name without prefix.
    pub(super) fn name(&self) -> &'n str {
        &self.element.name
    }

    /// Its own text.
    pub(super) fn text(&self) -> &'n str {
        &self.element.text
    }

    /// The value of an attribute, looked up without prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<&'n str> {
        let found = self.element.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is read as a server does.
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// The children in their order.
    pub(super) fn children<'s>(&'s self) -> impl Iterator<Item = Node<'s, 'a>> + use<'s, 'n, 'a>
    where
        'n: 's,
    {
        let strict = self.strict;
        self.element.children.iter().map(move |element| Node { element, parent: Some(self), strict })
    }

    /// The first child of this name.
    pub(super) fn child<'s>(&'s self, name: &str) -> Option<Node<'s, 'a>>
    where
        'n: 's,
    {
        self.children().find(|child| child.element.name == name)
    }

    /// The first child of this name.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn need<'s>(&'s self, name: &str) -> Result<Node<'s, 'a>, ReadError>
    where
        'n: 's,
    {
        self.child(name).ok_or_else(|| self.error(format!("{name} is missing")))
    }

    /// An error at this place.
    pub(super) fn error(&self, what: impl Into<String>) -> ReadError {
        let mut names = vec![self.name()];
        let mut above = self.parent;
        while let Some(node) = above {
            names.push(node.name());
            above = node.parent;
        }
        names.reverse();
        ReadError { path: names.join("/"), what: what.into(), offset: self.element.offset }
    }

    /// Looks at the order of those children that are known, when order counts.
    ///
    /// # Errors
    /// One stands after another that comes later in the schema.
    pub(super) fn in_order(&self, order: &[&str]) -> Result<(), ReadError> {
        if !self.strict {
            return Ok(());
        }
        let mut last = (0, "");
        for child in self.children() {
            let Some(place) = order.iter().position(|name| *name == child.name()) else { continue };
            if place < last.0 {
                return Err(self.error(format!("{} must stand before {}", order[place], last.1)));
            }
            last = (place, order[place]);
        }
        Ok(())
    }
}
