//! An application that comes by IMAP and SMTP, a bare line to a door, and Python's own clients as foreign counterparts.

use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::{App, MAIL, World};

pub(crate) const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";
pub(crate) const EXCHANGE_SCOPE: &str = "https://outlook.office365.com/.default";
pub(crate) const ORDERS: &str = "orders@contoso.example";

/// An application with these roles of Exchange and Graph's for mail, known to Exchange, without any mailbox.
pub(crate) async fn app(world: &World, roles: &[&str]) -> App {
    let app = world.app(MAIL).await;
    world.grant(&app, EXCHANGE, roles).await;
    world.script(&format!("New-ServicePrincipal -AppId {} -ObjectId {}", app.id, app.principal)).await;
    app
}

/// The same with full access to this mailbox, and the token that opens it.
pub(crate) async fn opened(world: &World, roles: &[&str], mailbox: &str) -> (App, String) {
    let app = app(world, roles).await;
    permit(world, &app, mailbox).await;
    let token = world.app_token_for(&app, EXCHANGE_SCOPE).await;
    (app, token)
}

pub(crate) async fn permit(world: &World, app: &App, mailbox: &str) {
    let text =
        format!("Add-MailboxPermission -Identity {mailbox} -User {} -AccessRights FullAccess", app.principal);
    world.script(&text).await;
}

/// The answer to XOAUTH2.
pub(crate) fn xoauth2(mailbox: &str, token: &str) -> String {
    STANDARD.encode(format!("user={mailbox}\x01auth=Bearer {token}\x01\x01"))
}

/// A connection without a client.
pub(crate) struct Line(BufReader<TcpStream>);

impl Line {
    pub(crate) async fn to(address: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// To IMAP, signed in.
    pub(crate) async fn imap(world: &World, mailbox: &str, token: &str) -> Self {
        let mut line = Self::to(&world.sandbox.ready().imap).await;
        assert!(line.read().await.starts_with("* OK The Microsoft Exchange IMAP4 service is ready."));
        let answer = line.ask(&format!("a1 AUTHENTICATE XOAUTH2 {}", xoauth2(mailbox, token))).await;
        assert_eq!(answer, ["a1 OK AUTHENTICATE completed."]);
        line
    }

    /// To SMTP, signed in.
    pub(crate) async fn smtp(world: &World, mailbox: &str, token: &str) -> Self {
        let mut line = Self::to(&world.sandbox.ready().smtp).await;
        assert!(line.read().await.starts_with("220 "));
        line.say("EHLO client.example").await;
        while line.read().await.starts_with("250-") {}
        let reply = line.reply(&format!("AUTH XOAUTH2 {}", xoauth2(mailbox, token))).await;
        assert_eq!(reply, "235 2.7.0 Authentication successful");
        line
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(format!("{text}\r\n").as_bytes()).await;
    }

    /// One line without its end; empty when the connection is over.
    pub(crate) async fn read(&mut self) -> String {
        let mut text = String::new();
        // A line that was cut is over too.
        let _ = self.0.read_line(&mut text).await;
        text.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Says something and reads the one line that answers it.
    pub(crate) async fn reply(&mut self, text: &str) -> String {
        self.say(text).await;
        self.read().await
    }

    /// Says an IMAP command and reads to its tagged reply, or to the end.
    pub(crate) async fn ask(&mut self, command: &str) -> Vec<String> {
        self.say(command).await;
        let tag = format!("{} ", command.split(' ').next().unwrap());
        let mut lines = Vec::new();
        loop {
            let line = self.read().await;
            let last = line.is_empty() && lines.last().is_none_or(String::is_empty) || line.starts_with(&tag);
            let ended = line.starts_with("* BYE");
            lines.push(line);
            if last || ended {
                return lines;
            }
        }
    }

    /// Everything to the end of the connection.
    pub(crate) async fn rest(mut self) -> String {
        let mut text = Vec::new();
        let _ = self.0.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }
}

/// Runs a Python program with arguments; gives the JSON it prints.
pub(crate) async fn python(program: &'static str, arguments: &[&str]) -> Value {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let run = move || {
        Command::new("python3")
            .arg("-c")
            .arg(program)
            .args(arguments)
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}
