//! The fields of a posted form. Names may repeat (check boxes), so they are kept as a list.

use axum::extract::{Form, FromRequest, Request};
use postroom_model::SecretString;

use crate::error::PageError;

/// The fields of a posted form, in order. Not `Debug`: among them are secrets.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first value of `name`, blank when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The first value of `name`.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A secret that was typed; none when its field is blank or was not sent.
    pub(crate) fn secret(&self, name: &str) -> Option<SecretString> {
        Some(self.get(name).trim()).filter(|text| !text.is_empty()).map(SecretString::from)
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageError> {
        let Form(list) = Form::<Vec<(String, String)>>::from_request(request, state)
            .await
            .map_err(|_| PageError::wrong_form("The form could not be read."))?;
        Ok(Self(list))
    }
}
