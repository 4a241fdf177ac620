//! IMAP4rev1 as Exchange Online speaks it at `outlook.office365.com:993` (RFC 3501 with UIDPLUS, MOVE, IDLE, ID,
//! NAMESPACE, UNSELECT, LITERAL+), over the same mailboxes as Graph. Sign-in by XOAUTH2 only.
//!
//! | module | what is inside |
//! |---|---|
//! | `framing` | bytes to commands, within bounds |
//! | `session` | what a session is, and the way from a command to its function |
//! | `folders` | LIST, STATUS, SELECT, CREATE and their kin |
//! | `messages` | STORE, COPY, MOVE, APPEND, EXPUNGE |
//! | `fetch`, `structure` | FETCH: parts of a message, envelope and structure |
//! | `search` | SEARCH |
//! | `names` | modified UTF-7, strings, patterns |
//! | here | the connection: challenges, IDLE, faults, the log |
//!
//! One more command is one more arm in `Session::run`. Its lines are parsed by `imap-codec`, which shares no code with
//! the client of this product.

mod fetch;
mod folders;
mod framing;
mod messages;
mod names;
mod search;
mod session;
mod structure;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use tokio::sync::watch;

use crate::doors::sign_in::Credentials;
use crate::doors::{self, Door, Socket};
use crate::faults::{self, Fault};
use crate::state::Tenant;
use crate::tls::Tls;

use framing::{Frame, Framer, tag};
use session::{Done, Session};

/// Longest wait for the next bytes; then the line is dropped without a word, as the service and what stands before it
/// do.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The same before the sign-in.
const EARLY_PATIENCE: Duration = Duration::from_secs(3 * 60);
/// How often a session in IDLE looks at the clock of the tenant.
const TICK: Duration = Duration::from_secs(1);
/// Most commands before the sign-in.
const MAX_EARLY: u32 = 20;
/// Most commands that could not be read.
const MAX_ERRORS: u32 = 50;

/// Why a connection is over.
enum End {
    /// Closed in order, or by the client.
    Closed,
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection.
struct Connection<'a> {
    tenant: &'a Arc<Tenant>,
    socket: Socket,
    framer: Framer,
    session: Session,
    news: watch::Receiver<()>,
    commands: u32,
    errors: u32,
}

/// Serves one connection to its end.
pub(crate) async fn serve(socket: Socket, tenant: &Arc<Tenant>, tls: Option<Tls>) -> io::Result<()> {
    let socket = match tls {
        None => socket,
        Some(tls) => match socket.protect(&tls).await {
            Some(socket) => socket,
            None => return Ok(()),
        },
    };
    let session = Session::new(Arc::clone(tenant));
    let framer = Framer::default();
    let news = tenant.news();
    let mut connection = Connection { tenant, socket, framer, session, news, commands: 0, errors: 0 };
    match connection.run().await {
        Err(End::Io(error)) => Err(error),
        Ok(()) | Err(End::Closed) => {
            connection.socket.close().await;
            Ok(())
        }
    }
}

/// What a fault leaves of an answer.
enum Left {
    All,
    /// Another tagged reply, or an untagged one after which the line ends.
    Reply(String),
    Half,
    Nothing,
}

async fn left(fault: Option<&Fault>) -> Left {
    let Some(fault) = fault else { return Left::All };
    doors::delay(fault).await;
    match &fault.reply {
        _ if fault.cut => Left::Nothing,
        _ if fault.half => Left::Half,
        Some(reply) => Left::Reply(reply.clone()),
        None => Left::All,
    }
}

impl Connection<'_> {
    async fn run(&mut self) -> Result<(), End> {
        let fault = faults::take_at(self.tenant, Door::Imap, "CONNECT");
        match left(fault.as_ref()).await {
            Left::All => {
                let greeting = "* OK The Microsoft Exchange IMAP4 service is ready. [UE9TVFJPT00=]\r\n";
                self.send("CONNECT", greeting.as_bytes()).await?;
            }
            Left::Reply(reply) => {
                let reply = reply.strip_prefix("* ").unwrap_or(&reply);
                self.send("CONNECT", format!("* {reply}\r\n").as_bytes()).await?;
                return Err(End::Closed);
            }
            Left::Half | Left::Nothing => return Err(End::Closed),
        }
        loop {
            match self.framer.next() {
                None => self.more().await?,
                Some(Frame::Prompt) => {
                    self.socket.write(b"+ Ready for additional command text.\r\n").await?;
                }
                Some(Frame::Refused(tag)) => self.bad(&tag, "(no line)").await?,
                Some(Frame::Fatal(why)) => {
                    self.send("(no line)", format!("* BYE {why}\r\n").as_bytes()).await?;
                    return Err(End::Closed);
                }
                Some(Frame::Command(bytes)) => self.command(&bytes).await?,
            }
        }
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> Result<(), End> {
        let patience = if self.session.is_signed_in() { PATIENCE } else { EARLY_PATIENCE };
        match self.socket.read_within(patience).await {
            Ok(Some(bytes)) => {
                self.framer.push(&bytes);
                Ok(())
            }
            Ok(None) => Err(End::Closed),
            Err(error) => Err(End::Io(error)),
        }
    }

    /// Sends an answer and notes its last line.
    async fn send(&mut self, command: &str, answer: &[u8]) -> Result<(), End> {
        let last = answer.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        doors::remember(self.tenant, Door::Imap, command, &String::from_utf8_lossy(last));
        Ok(self.socket.write(answer).await?)
    }

    async fn bad(&mut self, tag: &str, shown: &str) -> Result<(), End> {
        self.errors += 1;
        self.send(shown, format!("{tag} BAD Command Argument Error. 12\r\n").as_bytes()).await?;
        if self.errors > MAX_ERRORS {
            return self.bye("Too many invalid commands.").await;
        }
        Ok(())
    }

    async fn bye(&mut self, why: &str) -> Result<(), End> {
        self.send("", format!("* BYE {why}\r\n").as_bytes()).await?;
        Err(End::Closed)
    }

    async fn command(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.commands += 1;
        if !self.session.is_signed_in() && self.commands > MAX_EARLY {
            return self.bye("Too many commands before authentication.").await;
        }
        if self.session.is_expired() {
            return self.bye("Session invalidated - AccessTokenExpired").await;
        }
        let codec = CommandCodec::default();
        let Some(command) =
            codec.decode(bytes).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, command)| command)
        else {
            let shown = shown(bytes, &name_of(bytes));
            return self.bad(&tag(bytes), &shown).await;
        };
        let name = name_of(bytes);
        let shown = shown(bytes, &name);
        let tag = command.tag.inner();
        let fault = faults::take_at(self.tenant, Door::Imap, &name);
        let replaces = |fault: &Fault| !fault.after && !fault.half && (fault.cut || fault.reply.is_some());
        let done = if fault.as_ref().is_some_and(replaces) {
            Done::said("")
        } else {
            match &command.body {
                CommandBody::Authenticate { mechanism, initial_response } => {
                    let initial = initial_response.as_ref().map(|secret| secret.declassify().as_ref());
                    self.authenticate(mechanism.as_ref(), initial).await?
                }
                CommandBody::Idle if self.session.opened().is_ok() => self.idle().await?,
                body => Box::pin(self.session.run(body)).await,
            }
        };
        self.finish(tag, &shown, done, left(fault.as_ref()).await).await
    }

    /// Sends what a command came to, or what a fault leaves of it.
    async fn finish(&mut self, tag: &str, shown: &str, done: Done, left: Left) -> Result<(), End> {
        if self.session.is_signed_in() {
            self.framer.trust(self.tenant.limits.message_bytes);
        }
        let mut answer = done.lines;
        answer.extend_from_slice(format!("{tag} {}\r\n", done.tagged).as_bytes());
        match left {
            Left::All => self.send(shown, &answer).await?,
            Left::Reply(reply) if reply.starts_with('*') => {
                self.send(shown, format!("{reply}\r\n").as_bytes()).await?;
                return Err(End::Closed);
            }
            Left::Reply(reply) => self.send(shown, format!("{tag} {reply}\r\n").as_bytes()).await?,
            Left::Half => {
                self.send(shown, &answer[..answer.len() / 2]).await?;
                return Err(End::Closed);
            }
            Left::Nothing => {
                doors::remember(self.tenant, Door::Imap, shown, "");
                return Err(End::Closed);
            }
        }
        if done.ends { Err(End::Closed) } else { Ok(()) }
    }

    /// The next line, whatever it means.
    async fn line(&mut self) -> Result<Vec<u8>, End> {
        loop {
            match self.framer.line() {
                Some(Ok(line)) => return Ok(line),
                Some(Err(why)) => {
                    self.bye(why).await?;
                }
                None => self.more().await?,
            }
        }
    }

    async fn authenticate(&mut self, mechanism: &str, initial: Option<&[u8]>) -> Result<Done, End> {
        if self.session.is_signed_in() {
            return Ok(Done::said("BAD Command received in Invalid state."));
        }
        let credentials = match initial {
            Some(bytes) => Credentials::read_plain(bytes),
            None => {
                self.socket.write(b"+ \r\n").await?;
                let line = self.line().await?;
                if line == b"*" {
                    return Ok(Done::said("BAD AUTHENTICATE cancelled."));
                }
                Credentials::read(&line)
            }
        };
        // Basic authentication is off, whatever the mechanism is called.
        let credentials = credentials.filter(|_| mechanism.eq_ignore_ascii_case("XOAUTH2"));
        Ok(match credentials {
            Some(credentials) => self.session.sign_in(&credentials).await,
            None => Done::said("NO AUTHENTICATE failed."),
        })
    }

    /// RFC 2177: says what comes in until the client says `DONE`.
    async fn idle(&mut self) -> Result<Done, End> {
        self.news.mark_unchanged();
        self.socket.write(b"+ IDLE accepted, awaiting DONE command.\r\n").await?;
        let mut quiet = Duration::ZERO;
        loop {
            let lines = match self.session.news(true).await {
                Ok(lines) => lines,
                Err(done) => return Ok(done),
            };
            if !lines.is_empty() {
                self.socket.write(&lines).await?;
            }
            if self.session.is_expired() {
                self.bye("Session invalidated - AccessTokenExpired").await?;
            }
            match self.framer.line() {
                Some(Ok(line)) if line.eq_ignore_ascii_case(b"DONE") => {
                    return Ok(Done::said("OK IDLE completed."));
                }
                Some(_) => return Ok(Done::said("BAD Command Argument Error. 12")),
                None => {}
            }
            tokio::select! {
                read = self.socket.read() => match read? {
                    Some(bytes) => {
                        self.framer.push(&bytes);
                        quiet = Duration::ZERO;
                    }
                    None => return Err(End::Closed),
                },
                changed = self.news.changed() => {
                    if changed.is_err() {
                        return Err(End::Closed);
                    }
                }
                () = tokio::time::sleep(TICK) => {
                    quiet += TICK;
                    if quiet > PATIENCE {
                        return Err(End::Closed);
                    }
                }
            }
        }
    }
}

/// Name of a command in capitals; with `UID` in front where it is one of those.
fn name_of(command: &[u8]) -> String {
    let line = command.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let mut word = || {
        let word = words.next().unwrap_or_default();
        String::from_utf8_lossy(&word[..word.len().min(20)]).to_ascii_uppercase()
    };
    match word() {
        uid if uid == "UID" => format!("UID {}", word()),
        name => name,
    }
}

/// A command as the log shows it: its first line, without passwords and tokens.
fn shown(command: &[u8], name: &str) -> String {
    let line = command.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(400)]);
    let mut words = line.split(' ').skip(1);
    match name {
        "LOGIN" => "LOGIN ***".to_owned(),
        "AUTHENTICATE" => {
            let mechanism: String = words.nth(1).unwrap_or_default().chars().take(20).collect();
            let more = if words.next().is_some() { " ***" } else { "" };
            format!("AUTHENTICATE {mechanism}{more}")
        }
        _ => words.collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_command_is_read_or_refused(
            words in proptest::collection::vec(0..18usize, 0..10),
            noise in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let known: [&[u8]; 18] = [
                b"a1 ", b"UID ", b"FETCH ", b"1:*,3 ", b"(FLAGS BODY[", b"HEADER.FIELDS (A)]<0.1>)", b"SEARCH ", b"OR ", b"NOT ",
                b"(", b") ", b"APPEND ", b"{3}\r\nabc", b"\"q\\\"\" ", b"AUTHENTICATE XOAUTH2 ", b"STORE 1 +FLAGS (\\Seen)",
                b"LIST \"\" *", b"SINCE 1-Jan-2020 ",
            ];
            let mut line: Vec<u8> = words.iter().flat_map(|at| known[*at].to_vec()).collect();
            line.extend(noise);
            line.extend(b"\r\n");
            let read = CommandCodec::default().decode(&line).is_ok();
            prop_assert!(!read || !tag(&line).is_empty());
            let _ = shown(&line, &name_of(&line));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (line, expected) in [
            ("a login x secret\r\n", "LOGIN ***"),
            ("a AUTHENTICATE XOAUTH2 c2VjcmV0\r\n", "AUTHENTICATE XOAUTH2 ***"),
            ("a uid fetch 1 FLAGS\r\n", "uid fetch 1 FLAGS"),
            ("\r\n", ""),
        ] {
            assert_eq!(shown(line.as_bytes(), &name_of(line.as_bytes())), expected);
        }
        assert_eq!(name_of(b"a uid fetch 1 FLAGS\r\n"), "UID FETCH");
    }
}
