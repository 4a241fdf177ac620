//! What is done with the objects that a command gives: removed by another command, or asked whether there is any.

use serde_json::{Map, Value};

use super::{Command, Filled, Piece, Token, Word, command, fill};

/// `| Where-Object { $_.Property -eq 'value' } | Verb-Noun …`: the command at the end runs once for each object whose
/// property has the value, with the object as its identity.
#[derive(Debug)]
pub(in crate::exchange) struct Pipe {
    filter: Filter<Word>,
    pub(in crate::exchange) then: Box<Command>,
}

/// `if (-not (Get-X … | Where-Object { $_.Property -eq 'value' })) { … }`: what is in the braces runs when there is no
/// such object.
#[derive(Debug)]
pub(in crate::exchange) struct Unless {
    pub(in crate::exchange) asked: Box<Command>,
    filter: Filter<Word>,
}

/// A property and what it must be.
#[derive(Debug)]
struct Filter<T> {
    property: String,
    value: T,
}

impl Filter<Word> {
    fn filled(self, variables: &Map<String, Value>) -> Result<Filter<String>, String> {
        Ok(Filter { property: self.property, value: fill(&self.value, variables)? })
    }
}

impl Filter<String> {
    /// `-eq` does not tell case.
    fn fits(&self, object: &Value) -> bool {
        let found = object.as_object().and_then(|map| {
            map.iter().find(|(key, _)| key.eq_ignore_ascii_case(&self.property)).map(|(_, value)| value)
        });
        found.and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(&self.value))
    }
}

/// A pipe with its variables filled in.
#[derive(Debug)]
pub(in crate::exchange) struct FilledPipe {
    filter: Filter<String>,
    then: Filled,
}

/// A condition with its variables filled in.
#[derive(Debug)]
pub(in crate::exchange) struct FilledUnless {
    pub(in crate::exchange) asked: Filled,
    filter: Filter<String>,
}

impl Pipe {
    pub(super) fn filled(self, variables: &Map<String, Value>) -> Result<FilledPipe, String> {
        Ok(FilledPipe { filter: self.filter.filled(variables)?, then: self.then.filled(variables)? })
    }
}

impl FilledPipe {
    /// The command at the end for this object; none where the filter leaves it out.
    pub(in crate::exchange) fn for_object(&self, object: &Value) -> Option<Filled> {
        let identity = object.get("Identity").and_then(Value::as_str).filter(|_| self.filter.fits(object))?;
        let mut parameters = vec![("Identity".to_owned(), identity.to_owned())];
        parameters.extend(self.then.parameters.iter().cloned());
        let cmdlet = self.then.cmdlet.clone();
        Some(Filled { cmdlet, into: None, text: String::new(), parameters, pipe: None, unless: None })
    }
}

impl Unless {
    /// A command, a bar and a filter.
    pub(super) fn read(line: usize, mut tokens: Vec<Token>) -> Result<Self, String> {
        let bar = tokens.iter().position(|token| *token == Token::Pipe).ok_or_else(misunderstood)?;
        let mut rest = tokens.split_off(bar).into_iter().skip(1);
        let filter = filter(&mut rest)?;
        let asked = command(line, tokens)?.filter(|asked| asked.into.is_none() && rest.next().is_none());
        Ok(Self { asked: Box::new(asked.ok_or_else(misunderstood)?), filter })
    }

    pub(super) fn filled(self, variables: &Map<String, Value>) -> Result<FilledUnless, String> {
        Ok(FilledUnless { asked: self.asked.filled(variables)?, filter: self.filter.filled(variables)? })
    }
}

impl FilledUnless {
    /// Whether one of these objects is there already.
    pub(in crate::exchange) fn is_met(&self, objects: &[Value]) -> bool {
        objects.iter().any(|object| self.filter.fits(object))
    }
}

/// The two parts of a line that stands under a condition: what is asked, and what is in the braces.
pub(super) fn condition(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim().strip_prefix("if (-not (")?;
    let mut literal = false;
    let end = rest.char_indices().find(|(at, c)| {
        literal ^= *c == '\'';
        !literal && rest[*at..].starts_with("))")
    })?;
    let (asked, tail) = rest.split_at(end.0);
    let then = tail.strip_prefix("))")?.trim_start().strip_prefix('{')?.strip_suffix('}')?.trim();
    (!then.is_empty()).then_some((asked, then))
}

fn misunderstood() -> String {
    "This pipe is not understood.".to_owned()
}

/// The name of a command.
fn named(token: Option<Token>) -> Option<String> {
    match token {
        Some(Token::Word(word)) => match word.as_slice() {
            [Piece::Text(name)] => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// `Where-Object { $_.Property -eq 'value' }`.
fn filter(tokens: &mut impl Iterator<Item = Token>) -> Result<Filter<Word>, String> {
    let name = named(tokens.next()).ok_or_else(misunderstood)?;
    let opens = name.eq_ignore_ascii_case("Where-Object") && tokens.next() == Some(Token::Open);
    let Some(Token::Object(property)) = tokens.next().filter(|_| opens) else { return Err(misunderstood()) };
    if property.is_empty() || tokens.next() != Some(Token::Parameter("eq".to_owned())) {
        return Err(misunderstood());
    }
    match (tokens.next(), tokens.next()) {
        (Some(Token::Word(value)), Some(Token::Close)) => Ok(Filter { property, value }),
        _ => Err(misunderstood()),
    }
}

/// What follows the first bar: what shapes the print, or the filter and the removal.
pub(super) fn piped(mut before: Command, tokens: Vec<Token>) -> Result<Command, String> {
    let shapes = ["Format-Table", "Format-List", "Out-Null", "ft", "fl"];
    let shown = matches!(tokens.first(), Some(Token::Word(word)) if matches!(
        word.as_slice(),
        [Piece::Text(name)] if shapes.iter().any(|known| known.eq_ignore_ascii_case(name))
    ));
    if shown {
        return Ok(before);
    }
    let mut tokens = tokens.into_iter();
    let filter = filter(&mut tokens)?;
    if tokens.next() != Some(Token::Pipe) {
        return Err(misunderstood());
    }
    let rest: Vec<Token> = tokens.collect();
    let ends = !rest.contains(&Token::Pipe);
    let then = command(before.line, rest)?.filter(|then| ends && then.into.is_none());
    before.pipe = Some(Pipe { filter, then: Box::new(then.ok_or_else(misunderstood)?) });
    Ok(before)
}
