//! What can be said of a credential before anybody is asked: its shape.

use super::{SecretField, is_guid};
use crate::ExposeSecret;
use crate::problem::Problems;

/// The secret's *Value* is wanted; its *ID* is a GUID and stands right beside it in the portal.
pub(super) fn validate_secret(secret: SecretField<'_>, problems: &mut Problems) {
    match secret {
        SecretField::Missing => {
            problems.error("secret", "Client secret is missing");
        }
        SecretField::Typed(text) if text.expose_secret().trim().is_empty() => {
            problems.error("secret", "Client secret is missing");
        }
        SecretField::Typed(text) if is_guid(text.expose_secret().trim()) => {
            problems
                .error("secret", "Client secret looks like the Secret ID")
                .hint("This is the Secret ID; copy the Value column. It is shown only once: if it is gone, make a new secret.");
        }
        SecretField::Typed(text) if text.expose_secret().chars().any(char::is_whitespace) => {
            problems
                .error("secret", "Client secret holds a blank or a line end")
                .hint("Copy the Value again, without what stands around it.");
        }
        SecretField::Stored | SecretField::Typed(_) => {}
    }
}

/// Certificate and private key in one PEM text. What is in the blocks is judged where it is read.
pub(super) fn validate_certificate(secret: SecretField<'_>, problems: &mut Problems) {
    let text = match secret {
        SecretField::Stored => return,
        SecretField::Missing => "",
        SecretField::Typed(text) => text.expose_secret().trim(),
    };
    let hint = "Paste both blocks of the PEM text, give a PFX file, or let Postroom make the certificate.";
    if text.is_empty() {
        problems.error("secret", "Certificate is missing");
    } else if !text.contains("-----BEGIN CERTIFICATE-----") {
        problems.error("secret", "Certificate is not in the text: no BEGIN CERTIFICATE").hint(hint);
    } else if !text.contains("PRIVATE KEY-----") {
        problems.error("secret", "Certificate has no private key beside it").hint(hint);
    } else if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        problems
            .error("secret", "The certificate's private key is encrypted")
            .hint("Give a PFX file with its password, or decrypt the key first.");
    }
}

/// A place where another identity provider's token is found: `file:/path` or `env:NAME`.
pub(super) fn validate_federated(secret: SecretField<'_>, problems: &mut Problems) {
    let text = match secret {
        SecretField::Stored => return,
        SecretField::Missing => "",
        SecretField::Typed(text) => text.expose_secret().trim(),
    };
    let good = match text.split_once(':') {
        Some(("file", path)) => path.trim().starts_with('/') || path.trim().get(1..3) == Some(":\\"),
        Some(("env", name)) => !name.trim().is_empty() && !name.contains('='),
        _ => false,
    };
    if text.is_empty() {
        problems.error("secret", "Federated credential is missing");
    } else if !good {
        problems.error("secret", "Federated credential is not a place where the token is found").hint(
            "Write file:/path/of/the/token or env:NAME. The token itself is read there at each sign-in.",
        );
    }
}

/// A password for the server itself: as it is typed there, on one line.
pub(super) fn validate_password(secret: SecretField<'_>, problems: &mut Problems) {
    match secret {
        SecretField::Missing => {
            problems.error("secret", "Password is missing");
        }
        SecretField::Typed(text) if text.expose_secret().is_empty() => {
            problems.error("secret", "Password is missing");
        }
        SecretField::Typed(text) if text.expose_secret().chars().any(char::is_control) => {
            problems.error("secret", "Password holds a line end or another control character");
        }
        SecretField::Stored | SecretField::Typed(_) => {}
    }
}
