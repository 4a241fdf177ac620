//! Words in output: data to stdout, talk to stderr, hints after errors. The only place that prints.

use std::io::Write;

use serde::Serialize;

/// Data: one line to stdout. A closed pipe ends the output, not the work.
pub(crate) fn data(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", line.as_ref());
}

/// Data for programs: pretty JSON to stdout.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Data as it is: a file to stdout.
pub(crate) fn bytes(content: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(content)?;
    Ok(out.flush()?)
}

/// Talk: one line to stderr.
pub(crate) fn talk(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}

/// Talk that is written over the line before: a countdown. Only for a terminal.
pub(crate) fn status(line: impl AsRef<str>) {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "\r\x1b[2K{}", line.as_ref());
    let _ = out.flush();
}

/// An error with its chain of causes, then its hint.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    talk(text);
    if let Some(hint) = hint(error) {
        talk(format!("\nhint: {hint}"));
    }
}

/// What the deepest error that knows it says to do next.
fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(Hinted { hint, .. }) = cause.downcast_ref::<Hinted>() {
            return Some(hint.clone());
        }
        if let Some(setup) = cause.downcast_ref::<postroom_setup::SetupError>() {
            return setup.hint();
        }
        let store = cause.downcast_ref::<postroom_store::StoreError>()?;
        store.hint().map(str::to_owned)
    })
}

/// An error of a command that knows what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Hinted {
    message: String,
    hint: String,
}

/// An error with its hint.
pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { message: message.into(), hint: hint.into() }.into()
}

/// A table for people.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for line in table.to_string().lines() {
        data(line.trim_end());
    }
}
