//! The embedded templates. Strict: a value that a handler did not give is an error, not an empty place.

use std::sync::LazyLock;

use axum::response::Html;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use postroom_model::people::Role;
use rust_embed::RustEmbed;

use crate::error::PageError;
use crate::session::SignedIn;

#[derive(RustEmbed)]
#[folder = "templates/"]
struct Templates;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_loader(|name| {
        let Some(file) = Templates::get(name) else { return Ok(None) };
        String::from_utf8(file.data.into_owned())
            .map(Some)
            .map_err(|error| Error::new(ErrorKind::SyntaxError, "template is not UTF-8").with_source(error))
    });
    environment
});

/// Who the page is for, and where in the navigation it is.
pub(crate) fn shell(user: Option<&SignedIn>, place: &str) -> serde_json::Value {
    let user = user.map(|signed_in| {
        serde_json::json!({
            "name": signed_in.user.name,
            "display_name": signed_in.user.display_name,
            "administrator": signed_in.user.has(Role::Administrator),
            "manager": signed_in.manages(),
        })
    });
    serde_json::json!({ "user": user, "place": place })
}

/// A template filled with `values`. As page or as fragment: that is the template's choice.
pub(crate) fn render(name: &str, values: &serde_json::Value) -> Result<Html<String>, PageError> {
    fill(name, values).map(Html).map_err(|error| {
        tracing::error!(template = name, error = &error as &dyn std::error::Error, "a template failed");
        PageError::internal()
    })
}

/// The same without a page error around it, for the error page itself.
pub(crate) fn fill(name: &str, values: &serde_json::Value) -> Result<String, Error> {
    ENVIRONMENT.get_template(name)?.render(Value::from(Serde(values)))
}
