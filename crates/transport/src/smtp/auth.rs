//! Signing in (RFC 4954): PLAIN, else LOGIN, with a password; XOAUTH2 and nothing else with a token, because Exchange
//! answers each other mechanism with a long wait.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroom_entra::AccessToken;
use postroom_entra::http::tidy;
use postroom_model::failure::Failure;
use postroom_model::{ExposeSecret, SecretString};

use super::client::{Client, Target, Trouble};
use super::refusal::{self, Stage};
use super::reply::Reply;
use crate::secrets::Said;

/// The longest line with an initial response, in bytes (RFC 5321 section 4.5.3.1.4); beyond it the server is asked first.
const MAX_LINE: usize = 512;

/// As whom one signs in.
pub(super) enum Login {
    /// As nobody.
    Nobody,
    /// With a password.
    Password {
        /// User name.
        user: String,
        /// Password.
        password: SecretString,
    },
    /// With a token of Microsoft Entra.
    Token {
        /// The mailbox to send from.
        user: String,
        /// The token.
        token: AccessToken,
    },
}

/// Signs in.
///
/// # Errors
/// A failure of `operation`; its words never hold what was sent.
pub(super) async fn sign_in(
    client: &mut Client,
    target: &Target,
    login: &Login,
    operation: &str,
) -> Result<(), Failure> {
    if matches!(login, Login::Nobody) {
        return Ok(());
    }
    let host = &target.peer.host;
    if !client.may_tell(target) {
        return Err(refusal::unprotected(operation, host));
    }
    let offered = client.offers.mechanisms.clone();
    let offers = |name: &str| offered.as_deref().is_some_and(|all| all.iter().any(|one| one == name));
    let none = |wanted| refusal::no_mechanism(operation, host, wanted, offered.as_deref());
    let reply = match login {
        Login::Nobody => return Ok(()),
        Login::Token { user, token } if offers("XOAUTH2") => {
            let said = encoded(&format!("user={user}\u{1}auth=Bearer {}\u{1}\u{1}", token.expose()));
            client.said = Said::new(&token.expose().to_owned().into(), [&said]);
            let reply = first(client, "XOAUTH2", &said).await;
            client.until = Some(token.expires_at());
            challenged(client, reply).await
        }
        Login::Token { .. } => return Err(none("XOAUTH2")),
        Login::Password { user, password } if offers("PLAIN") => {
            let said = encoded(&format!("\0{user}\0{}", password.expose_secret()));
            client.said = Said::new(password, [&said]);
            first(client, "PLAIN", &said).await
        }
        Login::Password { user, password } if offers("LOGIN") => {
            client.said = Said::new(password, []);
            login_by_name(client, user, password).await
        }
        Login::Password { .. } => return Err(none("PLAIN or LOGIN")),
    };
    match reply {
        Ok(reply) if reply.is_done() => Ok(()),
        Ok(reply) => Err(refusal::failure(operation, Stage::Auth, &reply)),
        Err(trouble) => Err(trouble.failure(operation, Stage::Auth)),
    }
}

/// AUTH with its first response: on the same line where that is short enough.
async fn first(client: &mut Client, mechanism: &str, said: &SecretString) -> Result<Reply, Trouble> {
    let (said, start) = (said.expose_secret(), format!("AUTH {mechanism}"));
    if start.len() + said.len() + 3 <= MAX_LINE {
        return client.secret_line(&SecretString::from(format!("{start} {said}\r\n"))).await;
    }
    let reply = client.command(&format!("{start}\r\n")).await?;
    if reply.code != 334 {
        return asked(reply);
    }
    client.secret_line(&SecretString::from(format!("{said}\r\n"))).await
}

async fn login_by_name(client: &mut Client, user: &str, password: &SecretString) -> Result<Reply, Trouble> {
    let mut reply = client.command("AUTH LOGIN\r\n").await?;
    for said in [user, password.expose_secret()] {
        if reply.code != 334 {
            return asked(reply);
        }
        let line = SecretString::from(format!("{}\r\n", encoded(said).expose_secret()));
        reply = client.secret_line(&line).await?;
    }
    Ok(reply)
}

/// A refusal, where the server should have asked for more. A success before anything secret was said is none.
fn asked(reply: Reply) -> Result<Reply, Trouble> {
    if reply.is_done() { Err(Trouble::Garbage(reply.literal())) } else { Ok(reply) }
}

/// XOAUTH2 says why it refuses in a challenge, and refuses after an empty answer. Both are kept.
async fn challenged(client: &mut Client, reply: Result<Reply, Trouble>) -> Result<Reply, Trouble> {
    let challenge = match reply {
        Ok(reply) if reply.code == 334 => reply.text,
        other => return other,
    };
    let mut reply = client.command("\r\n").await?;
    let told = STANDARD.decode(challenge.trim()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let told = tidy(client.said.hide(told.unwrap_or(challenge)), 300);
    if !told.is_empty() {
        reply.text.push(' ');
        reply.text.push_str(&told);
    }
    Ok(reply)
}

fn encoded(text: &str) -> SecretString {
    SecretString::from(STANDARD.encode(text))
}
