//! The protocol of submission without sockets and mailboxes: bytes go in, [`Step`]s come out, and handling a step gives
//! an [`Action`]. Everything that comes from outside is bounded here.

use std::borrow::Cow;

use postroom_model::EmailAddress;
use smtp_proto::request::receiver::{BdatReceiver, DataReceiver};
use smtp_proto::{AUTH_LOGIN, AUTH_XOAUTH2, Error, Request};

use super::HOST;
use crate::doors::sign_in::Credentials;

/// Longest line, with CR LF; a token makes a long one (RFC 4954 section 4 asks for 12288 bytes).
const MAX_LINE: usize = 16 * 1024;
/// The service's ceiling for a message, as `EHLO` tells it; the mailbox's own limit is lower.
const CEILING: usize = 157_286_400;
/// Most recipients of one message.
const MAX_RECIPIENTS: usize = 500;
/// Most commands before authentication.
const MAX_EARLY: u32 = 30;
/// Most refused commands of a connection.
const MAX_ERRORS: u32 = 20;

/// What the tenant allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of the largest message.
    pub(super) message: usize,
    /// Whether TLS is offered, and needed before a sign-in.
    pub(super) starttls: bool,
}

/// A message with its envelope.
pub(super) struct Message {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) raw: Vec<u8>,
}

/// Something whole that came from the client.
pub(super) enum Step {
    /// A command without its line end.
    Line(Vec<u8>),
    /// The answer to a challenge.
    Response(Vec<u8>),
    /// Bytes that are no line: the reply, after which the connection ends.
    Broken(&'static str),
    /// The message by `DATA`, dots unstuffed.
    Content(Content),
    /// One chunk by `BDAT`.
    Chunk { last: bool, fits: bool },
}

/// What came after `DATA`.
pub(super) enum Content {
    Whole(Vec<u8>),
    TooLarge,
}

/// What a step leads to.
pub(super) enum Action {
    /// Nothing is said: more bytes belong to the step.
    Wait,
    Reply(String),
    Close(String),
    StartTls,
    SignIn(Credentials),
    Submit(Message),
}

enum Mode {
    Command,
    Response,
    Data { receiver: DataReceiver, content: Vec<u8>, too_large: bool },
    Chunk { receiver: BdatReceiver, fits: bool },
}

#[derive(Default)]
struct Transaction {
    from: String,
    to: Vec<String>,
    /// What the chunks have brought so far.
    chunks: Vec<u8>,
    chunked: bool,
}

/// One connection's protocol.
pub(super) struct Machine {
    bounds: Bounds,
    buffer: Vec<u8>,
    mode: Mode,
    greeted: bool,
    protected: bool,
    signed_in: bool,
    transaction: Option<Transaction>,
    commands: u32,
    errors: u32,
}

impl Step {
    /// Name of the step for faults; none where a fault would leave bytes that nobody reads.
    pub(super) fn name(&self) -> Option<&'static str> {
        const VERBS: [&str; 11] =
            ["EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY"];
        match self {
            Self::Line(line) => {
                let verb = line.split(|byte| *byte == b' ').next().unwrap_or_default();
                VERBS.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(verb))
            }
            Self::Response(_) => Some("AUTH"),
            Self::Content(_) | Self::Chunk { last: true, .. } => Some("DATA-END"),
            Self::Chunk { .. } => Some("BDAT"),
            Self::Broken(_) => None,
        }
    }

    /// As the log shows it: without tokens and passwords.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Line(line) => {
                let text = String::from_utf8_lossy(line);
                match self.name() {
                    Some("AUTH") => {
                        let mechanism = text.split_whitespace().nth(1).unwrap_or_default();
                        let more = if text.split_whitespace().count() > 2 { " ***" } else { "" };
                        format!("AUTH {}{more}", mechanism.chars().take(20).collect::<String>())
                    }
                    Some(_) => text.into_owned(),
                    // Whatever it is, it may be a secret that came at the wrong time.
                    None => text.split_whitespace().next().unwrap_or_default().chars().take(8).collect(),
                }
            }
            Self::Response(_) => "***".to_owned(),
            Self::Broken(_) => "(no line)".to_owned(),
            Self::Content(_) => "DATA-END".to_owned(),
            Self::Chunk { last, .. } => if *last { "DATA-END" } else { "BDAT" }.to_owned(),
        }
    }
}

impl Machine {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            buffer: Vec::new(),
            mode: Mode::Command,
            greeted: false,
            protected: false,
            signed_in: false,
            transaction: None,
            commands: 0,
            errors: 0,
        }
    }

    /// Takes bytes that came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// TLS has begun: everything before it is forgotten, what was buffered too (RFC 3207 section 4.2).
    pub(super) fn protected(&mut self) {
        *self = Self { protected: true, ..Self::new(self.bounds) };
    }

    /// A mailbox was opened.
    pub(super) fn signed_in(&mut self) {
        self.signed_in = true;
    }

    /// A step is not handled: the message it ends is dropped.
    pub(super) fn skip(&mut self, step: &Step) {
        if matches!(step, Step::Content(_) | Step::Chunk { .. }) {
            self.transaction = None;
        }
    }

    /// The next whole thing among the bytes that came.
    pub(super) fn next(&mut self) -> Option<Step> {
        match &mut self.mode {
            Mode::Command | Mode::Response => self.line(),
            Mode::Data { receiver, content, too_large } => {
                let bytes = std::mem::take(&mut self.buffer);
                let mut rest = bytes.iter();
                let ended = receiver.ingest(&mut rest, content);
                self.buffer = rest.as_slice().to_vec();
                // Two bytes stand before the message: see where the receiver is made.
                if content.len() > self.bounds.message + 2 {
                    *too_large = true;
                    content.clear();
                }
                if !ended {
                    return None;
                }
                let whole = if *too_large {
                    Content::TooLarge
                } else {
                    Content::Whole(content.split_off(2.min(content.len())))
                };
                self.mode = Mode::Command;
                Some(Step::Content(whole))
            }
            Mode::Chunk { receiver, fits } => {
                let mut ignored = Vec::new();
                let chunks = match &mut self.transaction {
                    Some(transaction) if *fits => &mut transaction.chunks,
                    _ => &mut ignored,
                };
                let bytes = std::mem::take(&mut self.buffer);
                let mut rest = bytes.iter();
                let ended = receiver.ingest(&mut rest, chunks);
                self.buffer = rest.as_slice().to_vec();
                let step = Step::Chunk { last: receiver.is_last, fits: *fits };
                ended.then(|| {
                    self.mode = Mode::Command;
                    step
                })
            }
        }
    }

    fn line(&mut self) -> Option<Step> {
        let end = self.buffer.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            if self.buffer.len() < MAX_LINE {
                return None;
            }
            self.buffer.clear();
            return Some(Step::Broken("500 5.5.2 Line too long"));
        };
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        // A line of one kind here and of another kind elsewhere is how mail is smuggled.
        if !line.ends_with(b"\r\n") || line[..line.len() - 2].contains(&b'\r') {
            self.buffer.clear();
            return Some(Step::Broken("500 5.5.2 A line must end with CR LF"));
        }
        line.truncate(line.len() - 2);
        if matches!(self.mode, Mode::Response) {
            self.mode = Mode::Command;
            return Some(Step::Response(line));
        }
        Some(Step::Line(line))
    }

    /// Handles a step.
    pub(super) fn handle(&mut self, step: Step) -> Action {
        let action = match step {
            Step::Broken(reply) => Action::Close(reply.to_owned()),
            Step::Response(line) => Self::response(&line),
            Step::Content(content) => self.content(content),
            Step::Chunk { last, fits } => self.chunk(last, fits),
            Step::Line(mut line) => {
                self.commands += 1;
                if !self.signed_in && self.commands > MAX_EARLY {
                    return Action::Close("421 4.7.0 Too many commands before authentication".to_owned());
                }
                line.extend_from_slice(b"\r\n");
                match Request::parse(&mut line.iter()) {
                    Ok(request) => self.command(request),
                    Err(error) => Action::Reply(misread(&error).to_owned()),
                }
            }
        };
        match action {
            Action::Reply(reply) if reply.starts_with('5') => {
                self.errors += 1;
                if self.errors > MAX_ERRORS {
                    return Action::Close("421 4.7.0 Too many errors on this connection".to_owned());
                }
                Action::Reply(reply)
            }
            action => action,
        }
    }

    fn command(&mut self, request: Request<Cow<'_, str>>) -> Action {
        let reply = match request {
            Request::Ehlo { .. } => {
                (self.greeted, self.transaction) = (true, None);
                self.extensions()
            }
            Request::Helo { .. } => {
                (self.greeted, self.transaction) = (true, None);
                format!("250 {HOST} Hello")
            }
            Request::StartTls if self.bounds.starttls && !self.protected => return Action::StartTls,
            Request::Auth { mechanism, initial_response } => return self.auth(mechanism, &initial_response),
            Request::Mail { from } => return Action::Reply(self.mail(&from.address, from.size).to_owned()),
            Request::Rcpt { to } => self.rcpt(&to.address).to_owned(),
            Request::Data => match self.ready() {
                Ok(transaction) if transaction.chunked => "503 5.5.1 BDAT was begun".to_owned(),
                Ok(_) => {
                    // The receiver ends at CR LF dot CR LF; the CR LF of the command counts (RFC 5321 section 4.1.1.4).
                    let (mut receiver, mut content) = (DataReceiver::new(), Vec::new());
                    receiver.ingest(&mut b"\r\n".iter(), &mut content);
                    self.mode = Mode::Data { receiver, content, too_large: false };
                    "354 Start mail input; end with <CRLF>.<CRLF>".to_owned()
                }
                Err(reply) => reply.to_owned(),
            },
            Request::Bdat { chunk_size, is_last } => return self.bdat(chunk_size, is_last),
            Request::Rset => {
                self.transaction = None;
                "250 2.0.0 Resetting".to_owned()
            }
            Request::Noop { .. } => "250 2.0.0 OK".to_owned(),
            Request::Vrfy { .. } => "252 2.1.5 Cannot VRFY user".to_owned(),
            Request::Quit => {
                return Action::Close("221 2.0.0 Service closing transmission channel".to_owned());
            }
            _ => "502 5.3.3 Command not implemented".to_owned(),
        };
        Action::Reply(reply)
    }

    fn extensions(&self) -> String {
        let mut lines = vec![format!("{HOST} Hello"), format!("SIZE {CEILING}")];
        lines.extend(["PIPELINING", "DSN", "ENHANCEDSTATUSCODES"].map(str::to_owned));
        if self.bounds.starttls && !self.protected {
            lines.push("STARTTLS".to_owned());
        } else {
            lines.push("AUTH LOGIN XOAUTH2".to_owned());
        }
        lines.extend(["8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8"].map(str::to_owned));
        let last = lines.len() - 1;
        let lines = lines.iter().enumerate();
        let marked = lines.map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }));
        marked.collect::<Vec<_>>().join("\r\n")
    }

    fn auth(&mut self, mechanism: u64, initial: &str) -> Action {
        let reply = if !self.greeted {
            "503 5.5.2 Send hello first"
        } else if self.bounds.starttls && !self.protected {
            "530 5.7.0 Must issue a STARTTLS command first"
        } else if self.signed_in {
            "503 5.5.2 Already authenticated"
        } else if mechanism == AUTH_LOGIN {
            "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."
        } else if mechanism != AUTH_XOAUTH2 {
            "504 5.7.4 Unrecognized authentication type"
        } else if initial.is_empty() {
            self.mode = Mode::Response;
            "334 "
        } else {
            return Self::response(initial.as_bytes());
        };
        Action::Reply(reply.to_owned())
    }

    /// Credentials, from the command's line or from one of their own.
    fn response(line: &[u8]) -> Action {
        match Credentials::read(line) {
            Some(credentials) => Action::SignIn(credentials),
            None if line == b"*" => Action::Reply("501 5.7.0 Authentication cancelled".to_owned()),
            None => Action::Reply(format!("535 5.7.3 Authentication unsuccessful [{HOST}]")),
        }
    }

    fn mail(&mut self, from: &str, size: usize) -> &'static str {
        if !self.greeted {
            return "503 5.5.2 Send hello first";
        }
        if !self.signed_in {
            return "530 5.7.57 Client not authenticated to send mail.";
        }
        if self.transaction.is_some() {
            return "503 5.5.2 Sender already specified";
        }
        if size > self.bounds.message {
            return "552 5.3.4 Message size exceeds fixed maximum message size";
        }
        if !from.is_empty() && from.parse::<EmailAddress>().is_err() {
            return "501 5.1.7 Invalid address";
        }
        self.transaction = Some(Transaction { from: from.to_owned(), ..Transaction::default() });
        "250 2.1.0 Sender OK"
    }

    fn rcpt(&mut self, to: &str) -> &'static str {
        let Some(transaction) = &mut self.transaction else { return "503 5.5.2 Need mail command" };
        if transaction.to.len() >= MAX_RECIPIENTS {
            return "452 4.5.3 Too many recipients";
        }
        if to.parse::<EmailAddress>().is_err() {
            return "501 5.1.3 Invalid address";
        }
        if !transaction.to.iter().any(|have| have.eq_ignore_ascii_case(to)) {
            transaction.to.push(to.to_owned());
        }
        "250 2.1.5 Recipient OK"
    }

    /// The transaction, when content may follow.
    fn ready(&mut self) -> Result<&mut Transaction, &'static str> {
        match &mut self.transaction {
            None => Err("503 5.5.2 Need mail command"),
            Some(transaction) if transaction.to.is_empty() => Err("503 5.5.2 Need rcpt command"),
            Some(transaction) => Ok(transaction),
        }
    }

    /// The bytes of a chunk come in any case (RFC 3030 section 2), so a refusal follows them.
    fn bdat(&mut self, size: usize, last: bool) -> Action {
        let most = self.bounds.message;
        if size > CEILING {
            return Action::Close("552 5.3.4 Message size exceeds fixed maximum message size".to_owned());
        }
        let fits = match self.ready() {
            Ok(transaction) => {
                transaction.chunked = true;
                transaction.chunks.len().saturating_add(size) <= most
            }
            Err(_) => false,
        };
        self.mode = Mode::Chunk { receiver: BdatReceiver::new(size, last), fits };
        Action::Wait
    }

    fn chunk(&mut self, last: bool, fits: bool) -> Action {
        if let Err(reply) = self.ready() {
            return Action::Reply(reply.to_owned());
        }
        if !fits {
            self.transaction = None;
            return Action::Reply("552 5.3.4 Message size exceeds fixed maximum message size".to_owned());
        }
        if !last {
            return Action::Reply("250 2.6.0 CHUNK received OK".to_owned());
        }
        let Transaction { from, to, chunks, .. } = self.transaction.take().unwrap_or_default();
        Action::Submit(Message { from, to, raw: chunks })
    }

    fn content(&mut self, content: Content) -> Action {
        let Transaction { from, to, .. } = self.transaction.take().unwrap_or_default();
        match content {
            Content::TooLarge => {
                Action::Reply("552 5.3.4 Message size exceeds fixed maximum message size".to_owned())
            }
            Content::Whole(raw) if has_bare_ends(&raw) => Action::Reply(
                "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds, which cannot be sent via DATA"
                    .to_owned(),
            ),
            Content::Whole(raw) => Action::Submit(Message { from, to, raw }),
        }
    }
}

/// Whether a CR stands without LF or an LF without CR.
fn has_bare_ends(raw: &[u8]) -> bool {
    let mut before = 0;
    for &byte in raw {
        if (byte == b'\n') != (before == b'\r') {
            return true;
        }
        before = byte;
    }
    before == b'\r'
}

fn misread(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand => "500 5.3.3 Unrecognized command",
        Error::InvalidSenderAddress => "501 5.1.7 Invalid address",
        Error::InvalidRecipientAddress => "501 5.1.3 Invalid address",
        Error::UnsupportedParameter { .. } => "504 5.5.4 Unsupported parameter",
        _ => "501 5.5.4 Invalid arguments",
    }
}

#[cfg(test)]
mod tests;
