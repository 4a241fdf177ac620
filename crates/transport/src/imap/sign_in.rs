//! Signing in: PLAIN (RFC 4616) or LOGIN with a password, XOAUTH2 or OAUTHBEARER (RFC 7628) with a token of
//! Microsoft Entra.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postroom_entra::http::tidy;
use postroom_entra::{AccessToken, TokenClient, TokenRequest};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ExposeSecret, SecretString};

use super::meter::Bounds;
use super::session::{Event, Session};
use super::words::{After, Trouble};
use crate::secrets::Said;

/// With what a session signs in.
pub(super) enum Signing {
    Password { user: String, password: SecretString },
    Token { user: String, request: Box<TokenRequest>, tokens: Arc<TokenClient> },
}

/// What is shown to the server this time.
pub(super) enum Secret {
    Password(SecretString),
    Token(AccessToken),
}

impl Secret {
    pub(super) fn token(&self) -> Option<&AccessToken> {
        match self {
            Self::Token(token) => Some(token),
            Self::Password(_) => None,
        }
    }

    pub(super) fn into_token(self) -> Option<AccessToken> {
        match self {
            Self::Token(token) => Some(token),
            Self::Password(_) => None,
        }
    }
}

impl Signing {
    /// The password, or a token that works now.
    pub(super) async fn secret(&self, operation: &str) -> Result<Secret, Failure> {
        match self {
            Self::Password { password, .. } => Ok(Secret::Password(password.clone())),
            Self::Token { request, tokens, .. } => {
                let token = tokens.token(request).await.map_err(|error| error.failure(operation))?;
                Ok(Secret::Token(token))
            }
        }
    }

    /// Forgets a token that the server refused; false when there is none to forget.
    pub(super) fn forget(&self, token: Option<&AccessToken>) -> bool {
        match (self, token) {
            (Self::Token { tokens, .. }, Some(token)) => {
                tokens.invalidate(token);
                true
            }
            _ => false,
        }
    }

    fn user(&self) -> &str {
        match self {
            Self::Password { user, .. } | Self::Token { user, .. } => user,
        }
    }
}

impl Session {
    /// Signs in by the best way that the server offers.
    pub(super) async fn sign_in(&mut self, signing: &Signing, secret: &Secret) -> Result<(), Trouble> {
        let user = signing.user();
        match secret {
            Secret::Password(password) if self.offers("AUTH=PLAIN") => {
                let answer = secret_line(&format!("\0{user}\0{}", password.expose_secret()));
                self.said = Said::new(password, [&answer]);
                self.converse("AUTHENTICATE PLAIN", &[answer]).await
            }
            Secret::Password(_) if self.offers("LOGINDISABLED") => Err(self.no_way(
                "the server offers neither AUTH=PLAIN nor LOGIN",
                "The server takes no password on this line: choose TLS or STARTTLS, or sign in with a token.",
            )),
            Secret::Password(password) => {
                self.said = Said::new(password, []);
                self.login(user, password.expose_secret()).await
            }
            Secret::Token(token) if self.offers("AUTH=XOAUTH2") => {
                let answer = secret_line(&format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose()));
                self.said = Said::new(&token.expose().to_owned().into(), [&answer]);
                self.converse("AUTHENTICATE XOAUTH2", &[answer, String::new().into()]).await
            }
            Secret::Token(token) if self.offers("AUTH=OAUTHBEARER") => {
                let (host, port) = self.peer();
                // A name in this place writes `,` and `=` as RFC 5801 section 4 says.
                let user = user.replace('=', "=3D").replace(',', "=2C");
                let token = token.expose();
                let answer =
                    format!("n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01");
                let answer = secret_line(&answer);
                self.said = Said::new(&token.to_owned().into(), [&answer]);
                self.converse("AUTHENTICATE OAUTHBEARER", &[answer, secret_line("\x01")]).await
            }
            Secret::Token(_) => Err(self.no_way(
                "the server offers neither AUTH=XOAUTH2 nor AUTH=OAUTHBEARER",
                "This server takes no token: choose User name/Password.",
            )),
        }
    }

    /// LOGIN with quoted strings, or with literals where the standard allows no quoted string.
    async fn login(&mut self, user: &str, password: &str) -> Result<(), Trouble> {
        let quotable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if quotable(user) && quotable(password) {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let line = SecretString::from(format!("LOGIN {} {}", quoted(user), quoted(password)));
            return self.converse(line.expose_secret(), &[]).await;
        }
        let first = SecretString::from(format!("{user} {{{}}}", password.len()));
        let command = format!("LOGIN {{{}}}", user.len());
        self.converse(&command, &[first, password.to_owned().into()]).await
    }

    /// Runs a command that the server answers with continuations, to each of which the next line is the answer. What
    /// it said in a second one is why it refuses (an error as JSON in base64), and becomes part of the words.
    async fn converse(&mut self, command: &str, answers: &[SecretString]) -> Result<(), Trouble> {
        let tag = self.begin(command, Bounds::SMALL).await?;
        let mut answers = answers.iter();
        let mut reason = None;
        loop {
            let event = self.next(&mut |_| ()).await?;
            if let Event::Question(challenge) = &event {
                reason = BASE64.decode(challenge.trim()).ok().filter(|bytes| !bytes.is_empty()).or(reason);
                let Some(answer) = answers.next() else {
                    return Err(self.garbage("one question too many while signing in"));
                };
                self.send(answer.expose_secret()).await?;
                continue;
            }
            match self.is_done(&tag, &event, true) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(mut trouble) => {
                    if let Some(reason) = reason {
                        let reason = self.said.hide(String::from_utf8_lossy(&reason).into_owned());
                        let reason = tidy(reason, 300);
                        trouble.failure.words = format!("{} ({reason})", trouble.failure.words);
                    }
                    return Err(trouble);
                }
            }
        }
    }

    fn no_way(&self, words: &str, advice: &str) -> Trouble {
        let mut failure = Failure::new(&self.operation, Origin::Provider, words, Decision::Hold);
        failure.advice = Some(advice.to_owned());
        Trouble::new(failure, After::Dead)
    }
}

fn secret_line(text: &str) -> SecretString {
    BASE64.encode(text).into()
}
