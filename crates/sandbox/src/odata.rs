//! Query options: `$filter`, `$select`, `$top`, `$skip`, `$orderby`
//! (<https://learn.microsoft.com/graph/query-parameters>). Filters are comparisons joined by `and`.

use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::call::Call;

/// Longest filter read.
const MAX_FILTER: usize = 2000;

/// How a property is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Ge,
    Gt,
    Le,
    Lt,
}

impl Operator {
    /// The operator in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Eq => " = ",
            Self::Ne => " <> ",
            Self::Ge => " >= ",
            Self::Gt => " > ",
            Self::Le => " <= ",
            Self::Lt => " < ",
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    pub(crate) property: String,
    pub(crate) operator: Operator,
    /// The literal without its quotes.
    pub(crate) value: String,
}

fn unsupported(filter: &str) -> Refusal {
    let shown: String = filter.chars().take(120).collect();
    Refusal::new(400, "BadRequest", format!("Invalid filter clause: '{shown}' cannot be evaluated here."))
}

/// Reads a filter.
pub(crate) fn filter(text: &str) -> Result<Vec<Clause>, Refusal> {
    if text.len() > MAX_FILTER {
        return Err(unsupported(text));
    }
    let words = words(text).ok_or_else(|| unsupported(text))?;
    let mut clauses = Vec::new();
    for group in words.chunks(4) {
        let (property, operator, value) = match group {
            [property, operator, value] => (property, operator, value),
            [property, operator, value, and] if and.eq_ignore_ascii_case("and") => {
                (property, operator, value)
            }
            _ => return Err(unsupported(text)),
        };
        let operator = match operator.to_ascii_lowercase().as_str() {
            "eq" => Operator::Eq,
            "ne" => Operator::Ne,
            "ge" => Operator::Ge,
            "gt" => Operator::Gt,
            "le" => Operator::Le,
            "lt" => Operator::Lt,
            _ => return Err(unsupported(text)),
        };
        clauses.push(Clause { property: property.clone(), operator, value: value.clone() });
    }
    if clauses.is_empty() || words.len() % 4 != 3 { Err(unsupported(text)) } else { Ok(clauses) }
}

/// Splits at blanks outside quotes; takes quotes off (`''` inside is one quote).
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('\'') {
            let mut word = String::new();
            let mut tail = after;
            loop {
                let (piece, next) = tail.split_once('\'')?;
                word.push_str(piece);
                match next.strip_prefix('\'') {
                    Some(next) => {
                        word.push('\'');
                        tail = next;
                    }
                    None => {
                        rest = next.trim_start();
                        break;
                    }
                }
            }
            words.push(word);
        } else {
            let (word, next) = rest.split_once(' ').unwrap_or((rest, ""));
            words.push(word.to_owned());
            rest = next.trim_start();
        }
    }
    Some(words)
}

/// Whether a directory object meets the clauses; only `eq` is known there.
pub(crate) fn meets(object: &Value, clauses: &[Clause]) -> Result<bool, Refusal> {
    for clause in clauses {
        let have = object.get(&clause.property);
        if clause.operator != Operator::Eq || have.is_none() {
            return Err(Refusal::new(
                400,
                "Request_UnsupportedQuery",
                format!("Unsupported property filter clause for property '{}'.", clause.property),
            ));
        }
        let equal = match have {
            Some(Value::String(text)) => text.eq_ignore_ascii_case(&clause.value),
            Some(Value::Bool(flag)) => clause.value.parse() == Ok(*flag),
            _ => false,
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Properties named by `$select`; none means all that come by default.
pub(crate) fn select(call: &Call) -> Option<Vec<String>> {
    let names: Vec<String> = call
        .param("$select")?
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .take(100)
        .collect();
    (!names.is_empty()).then_some(names)
}

/// Leaves the selected properties, `id` and annotations.
pub(crate) fn narrow(object: &mut Map<String, Value>, selected: Option<&[String]>) {
    if let Some(names) = selected {
        object.retain(|key, _| key == "id" || key.starts_with('@') || names.iter().any(|name| name == key));
    }
}

/// `$top` and `$skip` within bounds.
pub(crate) fn page(call: &Call, default: u32, most: u32) -> Result<(u32, u32), Refusal> {
    let number = |name: &str| match call.param(name) {
        None => Ok(None),
        Some(text) => text.parse::<u32>().map(Some).map_err(|_| {
            Refusal::new(400, "BadRequest", format!("Invalid value for the query parameter {name}."))
        }),
    };
    let top = number("$top")?.unwrap_or(default);
    if top == 0 || top > most {
        let message = format!("The limit of '{most}' for Top query has been exceeded, or it is zero.");
        return Err(Refusal::new(400, "ErrorInvalidRequest", message));
    }
    Ok((top, number("$skip")?.unwrap_or(0).min(10_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    postroom_fuzz::targets! {
        sandbox_odata: ["internetMessageId eq '<a''b@x>' and isRead eq false and receivedDateTime ge 2026-11-23T09:00:00Z"] =>
            |bytes| filter(&String::from_utf8_lossy(bytes)).map(|clauses| clauses.len()).map_err(|refusal| refusal.message),
    }

    #[test]
    fn filters_are_read_with_their_quotes_and_refused_when_they_are_none() {
        let clauses =
            filter("displayName eq 'It''s and more' and receivedDateTime ge 2026-11-23T10:00:00Z").unwrap();
        assert_eq!(clauses[0].value, "It's and more");
        assert_eq!(clauses[1].operator, Operator::Ge);
        for text in ["", "a", "a eq", "a eq 'b", "a eq b and", "a eq b or c eq d", "startswith(a,'b')"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
