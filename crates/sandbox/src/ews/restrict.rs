//! What a restriction means for something whose properties are known.

use std::cmp::Ordering;

use postroom_ews::wire::{Comparison, Contains, Operand, Path, Restriction};

use super::refusal::Trouble;

/// Deepest restriction that is answered.
const DEEPEST: usize = 20;

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Text(String),
    Flag(bool),
    Number(i64),
    /// Seconds since 1970.
    Time(i64),
}

impl Known {
    /// How it stands to a constant of the request.
    fn against(&self, constant: &str) -> Option<Ordering> {
        match self {
            // Exchange compares texts without regard to case.
            Self::Text(text) => Some(text.to_lowercase().cmp(&constant.to_lowercase())),
            Self::Flag(flag) => match constant.trim() {
                "true" | "1" => Some(flag.cmp(&true)),
                "false" | "0" => Some(flag.cmp(&false)),
                _ => None,
            },
            Self::Number(number) => constant.trim().parse().ok().map(|other| number.cmp(&other)),
            Self::Time(second) => {
                let instant = constant.trim().parse::<postroom_model::Timestamp>().ok()?;
                Some(second.cmp(&instant.as_second()))
            }
        }
    }
}

/// How things stand when sorted: what has no value comes first.
pub(super) fn order(one: Option<&Known>, other: Option<&Known>) -> Ordering {
    match (one, other) {
        (Some(Known::Text(one)), Some(Known::Text(other))) => one.to_lowercase().cmp(&other.to_lowercase()),
        (Some(Known::Flag(one)), Some(Known::Flag(other))) => one.cmp(other),
        (Some(Known::Number(one) | Known::Time(one)), Some(Known::Number(other) | Known::Time(other))) => {
            one.cmp(other)
        }
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// Refuses what is nested deeper than it is answered.
pub(super) fn check(restriction: &Restriction) -> Result<(), Trouble> {
    if depth(restriction, 0) > DEEPEST {
        let text = "The restriction or sort order is too complex for this operation.";
        return Err(Trouble::new("ErrorRestrictionTooComplex", text));
    }
    Ok(())
}

fn depth(restriction: &Restriction, above: usize) -> usize {
    match restriction {
        Restriction::And(group) | Restriction::Or(group) | Restriction::Not(group) => {
            group.terms.iter().map(|term| depth(term, above + 1)).max().unwrap_or(above + 1)
        }
        _ => above,
    }
}

/// Whether any term names a property for which this holds.
pub(super) fn names(restriction: &Restriction, is: &dyn Fn(&Path) -> bool) -> bool {
    match restriction {
        Restriction::And(group) | Restriction::Or(group) | Restriction::Not(group) => {
            group.terms.iter().any(|term| names(term, is))
        }
        Restriction::Equal(one)
        | Restriction::NotEqual(one)
        | Restriction::Greater(one)
        | Restriction::GreaterOrEqual(one)
        | Restriction::Less(one)
        | Restriction::LessOrEqual(one) => is(&one.path),
        Restriction::Contains(one) => is(&one.path),
        Restriction::Exists(one) => is(&one.path),
    }
}

/// Whether something with these properties is meant.
pub(super) fn meets(restriction: &Restriction, known: &dyn Fn(&Path) -> Option<Known>) -> bool {
    let compared = |one: &Comparison, fits: fn(Ordering) -> bool| {
        let Operand::Constant(constant) = &one.operand else { return false };
        known(&one.path).and_then(|value| value.against(&constant.value)).is_some_and(fits)
    };
    match restriction {
        Restriction::Equal(one) => compared(one, Ordering::is_eq),
        Restriction::NotEqual(one) => !compared(one, Ordering::is_eq),
        Restriction::Greater(one) => compared(one, Ordering::is_gt),
        Restriction::GreaterOrEqual(one) => compared(one, Ordering::is_ge),
        Restriction::Less(one) => compared(one, Ordering::is_lt),
        Restriction::LessOrEqual(one) => compared(one, Ordering::is_le),
        Restriction::Contains(one) => contains(one, known),
        Restriction::Exists(one) => known(&one.path).is_some(),
        Restriction::And(group) => group.terms.iter().all(|term| meets(term, known)),
        Restriction::Or(group) => group.terms.iter().any(|term| meets(term, known)),
        Restriction::Not(group) => !group.terms.iter().any(|term| meets(term, known)),
    }
}

fn contains(one: &Contains, known: &dyn Fn(&Path) -> Option<Known>) -> bool {
    let Some(Known::Text(text)) = known(&one.path) else { return false };
    let exact = one.comparison.as_deref() == Some("Exact");
    let folded = |text: &str| if exact { text.to_owned() } else { text.to_lowercase() };
    let (text, wanted) = (folded(&text), folded(&one.constant.value));
    match one.mode.as_deref() {
        Some("FullString") => text == wanted,
        Some("Prefixed") => text.starts_with(&wanted),
        Some("PrefixOnWords") => text.split_whitespace().any(|word| word.starts_with(&wanted)),
        _ => text.contains(&wanted),
    }
}
