//! XOAUTH2 (<https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>):
//! a mailbox and a token, and whether the one opens the other. What was wrong is not told apart, as in the service.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sqlx::SqliteConnection;

use crate::directory::catalogue::EXCHANGE;
use crate::entra::bearer::{self, Caller};
use crate::exchange::access::{self, Target};
use crate::exchange::rights;
use crate::mail::{self, Mailbox};
use crate::state::Tenant;

/// A mailbox and the token that should open it. Has no `Debug`: a token is a secret.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) token: String,
}

impl Credentials {
    /// Reads `user=…^Aauth=Bearer …^A^A` in base64.
    pub(crate) fn read(encoded: &[u8]) -> Option<Self> {
        Self::read_plain(&STANDARD.decode(encoded.trim_ascii()).ok()?)
    }

    /// Reads the same without base64.
    pub(crate) fn read_plain(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.split('\u{1}');
        let user = parts.next()?.strip_prefix("user=")?;
        let (scheme, token) = parts.next()?.strip_prefix("auth=")?.split_once(' ')?;
        let ends = parts.next() == Some("") && parts.next() == Some("") && parts.next().is_none();
        (ends && scheme.eq_ignore_ascii_case("bearer"))
            .then(|| Self { user: user.to_owned(), token: token.trim().to_owned() })
    }
}

/// A mailbox that was opened.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) mailbox: Mailbox,
    /// Who opened it: application id, or object id of the person.
    pub(crate) by: Trustee,
    /// The second from which on the session is over.
    pub(crate) expires_at: i64,
}

/// Who acts at a mailbox.
#[derive(Debug, Clone)]
pub(crate) enum Trustee {
    Application(String),
    Person(String),
}

/// The end of a sign-in to IMAP.
pub(crate) enum Imap {
    Refused,
    /// The token is good, the mailbox does not open: every command that needs it fails.
    NotConnected {
        expires_at: i64,
    },
    Open(Opened),
}

/// Signs in to IMAP. Token, role and registration in Exchange are refused; a mailbox that does not open is not
/// connected, which comes out at the next command only.
pub(crate) async fn imap(tenant: &Tenant, credentials: &Credentials) -> sqlx::Result<Imap> {
    let Ok(caller) = bearer::verify(tenant, &credentials.token, EXCHANGE) else { return Ok(Imap::Refused) };
    if !caller.has(&["IMAP.AccessAsApp", "IMAP.AccessAsUser.All"]) {
        return Ok(Imap::Refused);
    }
    let mut tx = tenant.begin().await?;
    let by = trustee(&caller);
    if let Trustee::Application(app_id) = &by
        && !rights::registered(&mut tx, app_id).await?
    {
        return Ok(Imap::Refused);
    }
    let expires_at = caller.expires_at;
    let closed = Imap::NotConnected { expires_at };
    let Some(mailbox) = mail::mailbox(&mut tx, &credentials.user).await? else { return Ok(closed) };
    if !rights::imap_enabled(&mut tx, &mailbox.id).await? || !opens(&mut tx, &by, &mailbox).await? {
        return Ok(closed);
    }
    Ok(Imap::Open(Opened { mailbox, by, expires_at }))
}

/// The end of a sign-in to SMTP submission.
pub(crate) enum Smtp {
    Refused,
    /// Submission is switched off, for the `Tenant` or the `Mailbox`.
    Disabled(&'static str),
    Open(Opened),
}

/// Signs in to SMTP submission: by the role in the token and a permission at the mailbox, or by a role assignment of
/// Exchange; a token that carries the role is held to the permission.
pub(crate) async fn smtp(tenant: &Tenant, credentials: &Credentials) -> sqlx::Result<Smtp> {
    let Ok(caller) = bearer::verify(tenant, &credentials.token, EXCHANGE) else { return Ok(Smtp::Refused) };
    let mut tx = tenant.begin().await?;
    let Some(mailbox) = mail::mailbox(&mut tx, &credentials.user).await? else { return Ok(Smtp::Refused) };
    let by = trustee(&caller);
    let allowed = if caller.has(&["SMTP.SendAsApp", "SMTP.Send"]) {
        opens(&mut tx, &by, &mailbox).await?
    } else if let Trustee::Application(app_id) = &by {
        let target = Target { id: &mailbox.id, address: &mailbox.address };
        access::assigned(tenant, &mut tx, app_id, "SMTP.SendAsApp", target).await?
    } else {
        false
    };
    if !allowed {
        return Ok(Smtp::Refused);
    }
    if let Some(whose) = rights::submission_disabled(&mut tx, &mailbox.id).await? {
        return Ok(Smtp::Disabled(whose));
    }
    Ok(Smtp::Open(Opened { mailbox, by, expires_at: caller.expires_at }))
}

fn trustee(caller: &Caller) -> Trustee {
    match &caller.user {
        Some(id) => Trustee::Person(id.clone()),
        None => Trustee::Application(caller.app_id.clone()),
    }
}

/// Whether the whole mailbox stands open.
async fn opens(db: &mut SqliteConnection, by: &Trustee, mailbox: &Mailbox) -> sqlx::Result<bool> {
    match by {
        Trustee::Person(id) if *id == mailbox.id => Ok(true),
        by => rights::has(db, by, &mailbox.id, "FullAccess").await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_read() {
        let form = b"user=desk@contoso.example\x01auth=Bearer abc\x01\x01";
        let read = Credentials::read(STANDARD.encode(form).as_bytes()).unwrap();
        assert_eq!((read.user.as_str(), read.token.as_str()), ("desk@contoso.example", "abc"));
        for wrong in [
            &b"user=desk@contoso.example\x01auth=Bearer abc\x01"[..],
            b"user=desk@contoso.example\x01auth=Basic abc\x01\x01",
            b"auth=Bearer abc\x01user=x\x01\x01",
            b"\xff",
        ] {
            assert!(Credentials::read_plain(wrong).is_none());
        }
        assert!(Credentials::read(b"user=x").is_none());
    }
}
