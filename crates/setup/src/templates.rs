//! The embedded templates. A value that a template prints is quoted for the language the template is in, without
//! anybody having to remember it: PowerShell and Bash get literals, HTML gets entities. `|safe` is only for lines
//! that [`limits`](crate::limits) has already quoted.

use std::borrow::Cow;
use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter};

use crate::error::SetupError;
use crate::quote;

const FILES: [(&str, &str); 5] = [
    ("setup.ps1", include_str!("../templates/setup.ps1")),
    ("undo.ps1", include_str!("../templates/undo.ps1")),
    ("setup.sh", include_str!("../templates/setup.sh")),
    ("undo.sh", include_str!("../templates/undo.sh")),
    ("handover.html", include_str!("../templates/handover.html")),
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name.rsplit_once('.').map(|(_, end)| end) {
        Some("ps1") => AutoEscape::Custom(Cow::Borrowed("ps1")),
        Some("sh") => AutoEscape::Custom(Cow::Borrowed("sh")),
        _ => AutoEscape::Html,
    });
    environment.set_formatter(|out, state, value| {
        let quoted = match state.auto_escape() {
            _ if value.is_safe() => return escape_formatter(out, state, value),
            AutoEscape::Custom(name) if name == "ps1" => quote::powershell(&text(value)?),
            AutoEscape::Custom(name) if name == "sh" => quote::bash(&text(value)?),
            _ => return escape_formatter(out, state, value),
        };
        out.write_str(&quoted).map_err(Error::from)
    });
    // A comment ends with its line, and these values hold no line ends.
    environment.add_filter("comment", |text: String| {
        Value::from_safe_string(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    });
    environment.set_loader(|name| {
        Ok(FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    });
    environment
});

/// What stands in a literal. Only texts do: a list or nothing at all would be a mistake in the template.
fn text(value: &Value) -> Result<String, Error> {
    let text = value
        .as_str()
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "only a text can be written as a literal"))?;
    // The plan was validated; this is the second lock on the same door.
    if text.chars().any(char::is_control) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a literal may hold no control characters"));
    }
    Ok(text.to_owned())
}

/// A template filled with `values`.
pub(crate) fn fill(name: &str, values: &serde_json::Value) -> Result<String, SetupError> {
    ENVIRONMENT
        .get_template(name)
        .and_then(|template| template.render(Value::from(Serde(values))))
        .map(|text| text + "\n")
        .map_err(|source| SetupError::Page { source })
}
