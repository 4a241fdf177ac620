//! An IMAP server that says what a test tells it to say.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What a server does after so many lines of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Cut,
    Stall,
}

/// What a client said, and how many sessions began.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard(Arc<Mutex<(usize, Vec<String>)>>);

impl Heard {
    pub(crate) fn sessions(&self) -> usize {
        self.0.lock().unwrap().0
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
}

/// A server on loopback.
pub(crate) struct Script {
    pub(crate) port: u16,
    pub(crate) heard: Heard,
}

impl Script {
    /// Starts one. `answer` gives what is said to a command (without its tag) in a session (counted from 1); `{tag}`
    /// in it becomes the tag. An empty command asks for the greeting; a line that the server asked for comes with `+`.
    pub(crate) async fn start(
        end: Option<(usize, End)>,
        answer: impl Fn(usize, &str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Heard::default();
        let answer = Arc::new(answer);
        let ears = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(session(stream, end, Arc::clone(&answer), ears.clone()));
            }
        });
        Self { port, heard }
    }
}

pub(crate) async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    end: Option<(usize, End)>,
    answer: Arc<impl Fn(usize, &str) -> String>,
    heard: Heard,
) {
    let number = {
        let mut heard = heard.0.lock().unwrap();
        heard.0 += 1;
        heard.0
    };
    let mut stream = BufReader::new(stream);
    let (mut said, mut tag, mut asked) = (0, String::new(), false);
    let mut line = String::new();
    loop {
        let command = match (line.trim_end_matches(['\r', '\n']), asked) {
            (reply, true) => format!("+{reply}"),
            (command, false) => match command.split_once(' ') {
                Some((first, rest)) => {
                    tag = first.to_owned();
                    rest.to_owned()
                }
                None => String::new(),
            },
        };
        let text = answer(number, &command).replace("{tag}", &tag);
        asked = text.starts_with('+');
        // What comes at once is one segment, unless lines are counted.
        let pieces = if end.is_some() { text.split_inclusive('\n').collect() } else { vec![text.as_str()] };
        for piece in pieces {
            match end {
                Some((after, End::Cut)) if said >= after => return,
                Some((after, End::Stall)) if said >= after => std::future::pending().await,
                _ => {}
            }
            if stream.get_mut().write_all(piece.as_bytes()).await.is_err() {
                return;
            }
            said += 1;
        }
        // Nothing to say is a cut.
        if text.is_empty() {
            return;
        }
        line.clear();
        if !stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            return;
        }
        heard.0.lock().unwrap().1.push(line.trim_end().to_owned());
    }
}

pub(crate) const FIRST: &str = "Message-ID: <a@x>\r\n\r\nfirst\r\n";
pub(crate) const SECOND: &str = "Message-ID: <b@x>\r\n\r\nthe second\r\n";

/// A well-behaved server with two messages, UIDs 1 and 2 of UIDVALIDITY 7.
pub(crate) fn good(command: &str) -> String {
    let header = |id: &str| format!("Message-ID: <{id}@x>\r\n\r\n");
    let told = |number: u32, id: &str, size: usize| {
        let header = header(id);
        format!(
            "* {number} FETCH (UID {number} FLAGS (\\Seen) INTERNALDATE \" 7-Feb-2026 09:05:00 +0100\" RFC822.SIZE {size} BODY[HEADER.FIELDS (MESSAGE-ID)] {{{}}}\r\n{header})\r\n",
            header.len()
        )
    };
    let body = |number: u32, text: &str| {
        format!("* {number} FETCH (UID {number} BODY[] {{{}}}\r\n{text})\r\n", text.len())
    };
    match command {
        "" => "* OK ready\r\n".to_owned(),
        "CAPABILITY" => "* CAPABILITY IMAP4rev1 AUTH=PLAIN IDLE\r\n{tag} OK done\r\n".to_owned(),
        "AUTHENTICATE PLAIN" => "+ \r\n".to_owned(),
        "EXAMINE \"INBOX\"" => "* FLAGS (\\Seen)\r\n* 2 EXISTS\r\n* OK [UIDVALIDITY 7] here\r\n* OK [UIDNEXT 3] here\r\n{tag} OK [READ-ONLY] open\r\n".to_owned(),
        "UID FETCH 1:* (UID)" => "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n{tag} OK done\r\n".to_owned(),
        "FETCH 2 (UID)" => "* 2 FETCH (UID 2)\r\n{tag} OK done\r\n".to_owned(),
        "UID FETCH 3:* (UID)" => "* 2 FETCH (UID 2)\r\n{tag} OK done\r\n".to_owned(),
        "UID FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.2000>)" => {
            format!("{}{}{{tag}} OK done\r\n", told(1, "a", FIRST.len()), told(2, "b", SECOND.len()))
        }
        "UID FETCH 1:2 (UID BODY.PEEK[])" => {
            // Out of order, as a server may.
            format!("{}{}{{tag}} OK done\r\n", body(2, SECOND), body(1, FIRST))
        }
        "UID FETCH 1 (UID RFC822.SIZE)" => format!("* 1 FETCH (UID 1 RFC822.SIZE {})\r\n{{tag}} OK done\r\n", FIRST.len()),
        "UID FETCH 1 (UID BODY.PEEK[])" => format!("{}{{tag}} OK done\r\n", body(1, FIRST)),
        reply if reply.starts_with('+') => "{tag} OK welcome\r\n".to_owned(),
        other => format!("{{tag}} BAD what is {other}\r\n"),
    }
}
