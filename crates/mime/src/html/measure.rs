//! How deep and how large a document becomes, measured by the real parser with a tree that keeps nothing but depths.
//! It is fed piece by piece, so that it can be stopped: time grows with the square of the depth, and a few kilobytes
//! of unclosed `<b>` before many `<p>` become gigabytes of elements.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, ExpandedName, ParseOpts, QualName, local_name, ns, parse_document};

use super::{MAX_DEPTH, MAX_HTML};

/// Most elements of one document: a long newsletter has some thousands.
const MAX_ELEMENTS: usize = 100_000;
/// Most pieces of text, one for each entity and each stretch between them: sticking them together takes the square of
/// their number, and half a megabyte of `&` five seconds.
const MAX_TEXTS: usize = 100_000;
/// Bytes fed before the measure is looked at.
const PIECE: usize = 2_048;

/// Whether this HTML may be parsed by those who build a tree of it.
pub(super) fn within_limits(html: &str) -> bool {
    if html.len() > MAX_HTML {
        return false;
    }
    let mut parser = parse_document(Depths::default(), ParseOpts::default());
    let mut rest = html;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE.min(rest.len())));
        parser.process(StrTendril::from(piece));
        if parser.tokenizer.sink.sink.beyond() {
            return false;
        }
        rest = after;
    }
    !parser.finish().beyond()
}

/// A tree of which only parents are known.
struct Depths {
    nodes: RefCell<Vec<Node>>,
    deepest: Cell<usize>,
    texts: Cell<usize>,
}

struct Node {
    name: QualName,
    depth: usize,
    integration_point: bool,
}

impl Default for Depths {
    fn default() -> Self {
        let document =
            Node { name: QualName::new(None, ns!(), local_name!("")), depth: 0, integration_point: false };
        Self { nodes: RefCell::new(vec![document]), deepest: Cell::new(0), texts: Cell::new(0) }
    }
}

impl Depths {
    fn beyond(&self) -> bool {
        self.deepest.get() > MAX_DEPTH
            || self.nodes.borrow().len() > MAX_ELEMENTS
            || self.texts.get() > MAX_TEXTS
    }

    fn add(&self, name: QualName, integration_point: bool) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { name, depth: 0, integration_point });
        nodes.len() - 1
    }

    fn depth(&self, node: usize) -> usize {
        self.nodes.borrow().get(node).map_or(0, |node| node.depth)
    }

    fn set_depth(&self, child: &NodeOrText<usize>, depth: usize) {
        let NodeOrText::AppendNode(child) = child else {
            self.texts.set(self.texts.get() + 1);
            return;
        };
        if let Some(node) = self.nodes.borrow_mut().get_mut(*child) {
            // What moved up keeps the depth it once had: misnested elements count as they were written.
            node.depth = node.depth.max(depth);
        }
        self.deepest.set(self.deepest.get().max(depth));
    }
}

/// A name as the parser wants to see it.
#[derive(Debug)]
struct Name(QualName);

impl html5ever::interface::ElemName for Name {
    fn ns(&self) -> &html5ever::Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &html5ever::LocalName {
        &self.0.local
    }

    fn expanded(&self) -> ExpandedName<'_> {
        self.0.expanded()
    }
}

impl TreeSink for Depths {
    type Handle = usize;
    type Output = Self;
    type ElemName<'a> = Name;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> usize {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a usize) -> Name {
        let nodes = self.nodes.borrow();
        let name = nodes.get(*target).map(|node| node.name.clone());
        Name(name.unwrap_or_else(|| QualName::new(None, ns!(), local_name!(""))))
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, flags: ElementFlags) -> usize {
        self.add(name, flags.mathml_annotation_xml_integration_point)
    }

    fn create_comment(&self, _: StrTendril) -> usize {
        self.add(QualName::new(None, ns!(), local_name!("")), false)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> usize {
        self.add(QualName::new(None, ns!(), local_name!("")), false)
    }

    fn append(&self, parent: &usize, child: NodeOrText<usize>) {
        self.set_depth(&child, self.depth(*parent) + 1);
    }

    fn append_based_on_parent_node(&self, element: &usize, _: &usize, child: NodeOrText<usize>) {
        self.set_depth(&child, self.depth(*element) + 1);
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &usize) -> usize {
        *target
    }

    fn same_node(&self, x: &usize, y: &usize) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &usize, new_node: NodeOrText<usize>) {
        // One deeper than it will be: elements put before a table still make the table's level deeper to walk.
        self.set_depth(&new_node, self.depth(*sibling) + 1);
    }

    fn add_attrs_if_missing(&self, _: &usize, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, _: &usize) {}

    fn reparent_children(&self, _: &usize, _: &usize) {}

    fn is_mathml_annotation_xml_integration_point(&self, handle: &usize) -> bool {
        self.nodes.borrow().get(*handle).is_some_and(|node| node.integration_point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_documents_pass_and_bombs_do_not() {
        let paragraphs = "<p>one <b>two</b><br>".repeat(8_000);
        let rows = format!("<table>{}</table>", "<tr><td>1<td>2".repeat(8_000));
        let office = format!("<!--[if gte mso 9]>{}<![endif]--><p>x", "<w:x>".repeat(5_000));
        for honest in ["", "<p>x", &paragraphs, &rows, &office, &"<div>".repeat(500)] {
            assert!(within_limits(honest), "{}", &honest[..honest.len().min(40)]);
        }
        let formatting: String = (0..500).map(|n| format!("<b id={n}>")).collect();
        for bomb in [
            "<div>".repeat(20_000),
            "<div></b>".repeat(20_000),
            "<div><!--</div>-->".repeat(5_000),
            "<table><tr><td>".repeat(5_000),
            "<svg><g>".repeat(5_000),
            format!("{formatting}{}", "<p>x".repeat(100_000)),
            "&".repeat(500_000),
            "x".repeat(MAX_HTML + 1),
        ] {
            assert!(!within_limits(&bomb), "{}", &bomb[..40]);
        }
    }
}
