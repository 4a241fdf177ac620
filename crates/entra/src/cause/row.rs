//! What a row of the table is.

use jiff::SignedDuration;

/// An object just made in the directory.
pub(super) const ONE_MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// A new secret, certificate or service principal.
pub(super) const TWO_MINUTES: SignedDuration = SignedDuration::from_mins(2);
/// A new federated credential.
pub(super) const TEN_MINUTES: SignedDuration = SignedDuration::from_mins(10);
/// `EwsEnabled`, an application access policy, a permission on a mailbox.
pub(super) const ONE_HOUR: SignedDuration = SignedDuration::from_hours(1);
/// A scope of RBAC for Applications, a consent as Exchange sees it.
pub(super) const TWO_HOURS: SignedDuration = SignedDuration::from_hours(2);
/// `EwsAllowedAppIDs`, a new mailbox.
pub(super) const ONE_DAY: SignedDuration = SignedDuration::from_hours(24);

/// How a row is recognised.
#[derive(Clone, Copy)]
pub(super) enum Says {
    /// One of these AADSTS numbers.
    Aadsts(&'static [u32]),
    /// One of these codes of Microsoft Graph, or, without codes, one of these statuses.
    Graph(&'static [&'static str], &'static [u16]),
    /// One of these words in the sentence of Microsoft Graph.
    GraphWords(&'static [&'static str]),
    /// One of these response codes or policy reasons of EWS, or, without any, one of these HTTP statuses.
    Ews(&'static [&'static str], &'static [u16]),
    /// One of these words in a reply of IMAP.
    Imap(&'static [&'static str]),
    /// One of these words in a reply of SMTP.
    Smtp(&'static [&'static str]),
}

/// A cause.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) says: Says,
    pub(super) cause: &'static str,
    pub(super) field: Option<&'static str>,
    pub(super) next_step: &'static str,
    pub(super) may_take: Option<SignedDuration>,
}

const fn row(
    name: &'static str,
    says: Says,
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    let field = if field.is_empty() { None } else { Some(field) };
    Row { name, says, cause, field, next_step, may_take: None }
}

pub(super) const fn aadsts(
    name: &'static str,
    numbers: &'static [u32],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    row(name, Says::Aadsts(numbers), field, cause, next_step)
}

pub(super) const fn graph(
    name: &'static str,
    codes: &'static [&'static str],
    statuses: &'static [u16],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    row(name, Says::Graph(codes, statuses), field, cause, next_step)
}

pub(super) const fn graph_said(
    name: &'static str,
    words: &'static [&'static str],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    row(name, Says::GraphWords(words), field, cause, next_step)
}

pub(super) const fn ews(
    name: &'static str,
    codes: &'static [&'static str],
    statuses: &'static [u16],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    row(name, Says::Ews(codes, statuses), field, cause, next_step)
}

pub(super) const fn imap(
    name: &'static str,
    words: &'static [&'static str],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    row(name, Says::Imap(words), field, cause, next_step)
}

pub(super) const fn smtp(
    name: &'static str,
    words: &'static [&'static str],
    field: &'static str,
    cause: &'static str,
    next_step: &'static str,
) -> Row {
    row(name, Says::Smtp(words), field, cause, next_step)
}

/// A recent change may not have reached every server yet; Microsoft says it may take this long.
pub(super) const fn soon(may_take: SignedDuration, row: Row) -> Row {
    Row { may_take: Some(may_take), ..row }
}
