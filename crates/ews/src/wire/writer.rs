//! Writes elements. What XML 1.0 forbids is left out, so that no subject of a stranger spoils a document.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A document that grows. A start tag stays open until its first content, so that attributes can be added.
#[derive(Debug)]
pub(super) struct Writer {
    out: String,
    open: Vec<&'static str>,
    in_tag: bool,
}

impl Writer {
    /// Begins a document with the XML declaration.
    pub(super) fn new() -> Self {
        let out = "<?xml version=\"1.0\" encoding=\"utf-8\"?>".to_owned();
        Self { out, open: Vec::new(), in_tag: false }
    }

    /// Opens an element; `name` is with its prefix.
    pub(super) fn open(&mut self, name: &'static str) {
        self.end_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name);
        self.in_tag = true;
    }

    /// Closes the element that was opened last.
    pub(super) fn close(&mut self) {
        let Some(name) = self.open.pop() else { return };
        if self.in_tag {
            self.out.push_str("/>");
            self.in_tag = false;
        } else {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
    }

    /// Adds an attribute to the element just opened.
    pub(super) fn attribute(&mut self, name: &str, value: &str) {
        debug_assert!(self.in_tag, "attributes come before content");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.escape(value, true);
        self.out.push('"');
    }

    /// Adds text.
    pub(super) fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.end_tag();
        self.escape(text, false);
    }

    /// Adds bytes as base64, straight into the document: a message may be large.
    pub(super) fn base64(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end_tag();
        STANDARD.encode_string(bytes, &mut self.out);
    }

    /// An element with nothing but text.
    pub(super) fn leaf(&mut self, name: &'static str, text: &str) {
        self.open(name);
        self.text(text);
        self.close();
    }

    /// The document.
    pub(super) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out.into_bytes()
    }

    fn end_tag(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }

    /// A reader turns line ends in text, and all white space in attributes, into something else unless they are
    /// references (XML 1.0 sections 2.11 and 3.3.3).
    fn escape(&mut self, text: &str, attribute: bool) {
        // Base64 of a whole message passes here: what needs nothing is copied in runs.
        let mut rest = text;
        while let Some(at) = rest.find(|c| needs_care(c, attribute)) {
            self.out.push_str(&rest[..at]);
            let mut chars = rest[at..].chars();
            match chars.next() {
                Some('&') => self.out.push_str("&amp;"),
                Some('<') => self.out.push_str("&lt;"),
                Some('>') => self.out.push_str("&gt;"),
                Some('"') => self.out.push_str("&quot;"),
                Some('\r') => self.out.push_str("&#xD;"),
                Some('\n') => self.out.push_str("&#xA;"),
                Some('\t') => self.out.push_str("&#x9;"),
                _ => {}
            }
            rest = chars.as_str();
        }
        self.out.push_str(rest);
    }
}

fn needs_care(c: char, attribute: bool) -> bool {
    matches!(c, '&' | '<' | '>' | '\r') || (attribute && matches!(c, '"' | '\n' | '\t')) || !allowed(c)
}

/// Whether XML 1.0 allows this character (section 2.2).
pub(super) fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The text as it arrives after writing and reading: without what XML 1.0 forbids.
pub fn sanitised(text: &str) -> Cow<'_, str> {
    if text.chars().all(allowed) { text.into() } else { text.chars().filter(|c| allowed(*c)).collect() }
}
