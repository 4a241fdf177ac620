//! Another identity provider's token, as proof for Microsoft Entra: read anew at each request, because whoever
//! issues it replaces it every hour or so.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use postroom_model::SecretString;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

/// Largest token that is read, in bytes. Real ones have 1 to 3 kilobytes.
pub const MAX_FEDERATED_TOKEN: u64 = 64 * 1024;

/// Where another identity provider's token is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FederatedToken {
    /// In a file, as Kubernetes projects it.
    File(PathBuf),
    /// In an environment variable of this process.
    Variable(String),
}

/// Why there is no token of the other identity provider.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FederatedError {
    /// The setting is none of the two forms.
    #[error("a federated credential is written `file:/path` or `env:NAME`")]
    Form,
    /// The file cannot be read.
    #[error("cannot read the federated token from {place}")]
    Read {
        /// The file.
        place: FederatedToken,
        /// What the system says.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The variable is not set, or not text.
    #[error("cannot read the federated token from {place}: it is not set, or not text")]
    Unset {
        /// The variable.
        place: FederatedToken,
    },
    /// Nothing stands there.
    #[error("the federated token in {place} is empty")]
    Empty {
        /// Where.
        place: FederatedToken,
    },
    /// More than any token needs.
    #[error("the federated token in {place} is larger than {MAX_FEDERATED_TOKEN} bytes")]
    TooLarge {
        /// Where.
        place: FederatedToken,
    },
    /// Something else than a token.
    #[error("what stands in {place} is no token: it must be one JWT of three parts")]
    NoToken {
        /// Where.
        place: FederatedToken,
    },
}

impl fmt::Display for FederatedToken {
    /// `file:/path` or `env:NAME`: the form that is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
        }
    }
}

impl FederatedToken {
    /// Reads `file:/path` or `env:NAME`. A relative path is refused: the working folder of a service is nobody's
    /// choice.
    ///
    /// # Errors
    /// [`FederatedError::Form`].
    pub fn parse(text: &str) -> Result<Self, FederatedError> {
        let (kind, rest) = text.trim().split_once(':').ok_or(FederatedError::Form)?;
        let rest = rest.trim();
        match kind {
            "file" if PathBuf::from(rest).is_absolute() && !rest.contains('\0') => {
                Ok(Self::File(rest.into()))
            }
            "env" if !rest.is_empty() && !rest.contains(['=', '\0']) => Ok(Self::Variable(rest.to_owned())),
            _ => Err(FederatedError::Form),
        }
    }

    /// The token, as it stands there now.
    ///
    /// # Errors
    /// [`FederatedError`], which names the place and never the contents.
    pub async fn read(&self) -> Result<SecretString, FederatedError> {
        let text = match self {
            Self::File(path) => self.read_file(path).await?,
            Self::Variable(name) => Zeroizing::new(
                std::env::var(name).map_err(|_| FederatedError::Unset { place: self.clone() })?,
            ),
        };
        self.judged(&text)
    }

    async fn read_file(&self, path: &PathBuf) -> Result<Zeroizing<String>, FederatedError> {
        let failed =
            |source: std::io::Error| FederatedError::Read { place: self.clone(), source: Arc::new(source) };
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FEDERATED_TOKEN + 1).read_to_string(&mut text).await.map_err(failed)?;
        Ok(text)
    }

    fn judged(&self, text: &str) -> Result<SecretString, FederatedError> {
        let place = || self.clone();
        if text.len() as u64 > MAX_FEDERATED_TOKEN {
            return Err(FederatedError::TooLarge { place: place() });
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(FederatedError::Empty { place: place() });
        }
        let parts = text.split('.').filter(|part| !part.is_empty()).count();
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
        if parts != 3 || !text.chars().all(known) {
            return Err(FederatedError::NoToken { place: place() });
        }
        Ok(SecretString::from(text))
    }
}

#[cfg(test)]
mod tests {
    use postroom_model::ExposeSecret;

    use super::*;

    #[test]
    fn two_forms_and_no_other() {
        for text in ["file:/var/run/token", "env:AZURE_TOKEN", " env: NAME "] {
            assert!(FederatedToken::parse(text).is_ok(), "{text}");
        }
        for text in ["", "file:", "file:token", "env:", "env:A=B", "/var/run/token", "eyJh.eyJh.c2ln"] {
            assert!(matches!(FederatedToken::parse(text), Err(FederatedError::Form)), "{text}");
        }
        let token = FederatedToken::parse("file:/var/run/token").unwrap();
        assert_eq!(FederatedToken::parse(&token.to_string()).unwrap(), token);
    }

    #[tokio::test]
    async fn the_file_is_read_anew_and_judged() {
        let path = std::env::temp_dir().join(format!("postroom-federated-{}", std::process::id()));
        let token = FederatedToken::File(path.clone());
        assert!(matches!(token.read().await, Err(FederatedError::Read { .. })));
        for (text, good) in [
            ("aGVhZA.Ym9keQ.SIGNATURE\n", true),
            ("aGVhZA.Ym9keQ.OTHER", true),
            (" \n", false),
            ("aGVhZA.Ym9keQ", false),
            ("a password: HIDDEN.HIDDEN.HIDDEN", false),
            (&format!("a.b.{}", "c".repeat(70_000)), false),
        ] {
            std::fs::write(&path, text).unwrap();
            match token.read().await {
                Ok(read) => assert!(good && read.expose_secret() == text.trim(), "{text}"),
                Err(error) => assert!(!good && !format!("{error} {error:?}").contains("HIDDEN"), "{error}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_variable_that_is_not_set_is_named() {
        let error = FederatedToken::Variable("POSTROOM_NO_SUCH_TOKEN".into()).read().await.unwrap_err();
        assert!(error.to_string().contains("env:POSTROOM_NO_SUCH_TOKEN"));
    }
}
