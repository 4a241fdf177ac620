//! SMTP submission as Exchange Online offers it at `smtp.office365.com:587`: RFC 5321 and RFC 6409, XOAUTH2 only.
//!
//! | module | what is inside |
//! |---|---|
//! | `machine` | the protocol, bytes in and steps out, without sockets or mailboxes |
//! | here | the connection: what a step needs from the tenant, faults, the log |
//!
//! One more command is one more arm in `Machine::command`; one that needs the tenant gets an `Action` of its own.

mod machine;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::Refusal;
use crate::doors::sign_in::{self, Credentials, Opened};
use crate::doors::{self, Door, Socket};
use crate::faults::{self, Fault};
use crate::limits::Submission;
use crate::mail::submission::{self, Submitted};
use crate::state::Tenant;
use crate::tls::Tls;

use machine::{Action, Bounds, Machine, Message};

/// Longest wait for the next bytes (RFC 5321 section 4.5.3.2.7).
const PATIENCE: Duration = Duration::from_secs(300);
/// What the machine in the replies is called.
pub(super) const HOST: &str = "SANDBOX.PROD.OUTLOOK.COM";

/// A connection and what it has come to.
struct Session<'a> {
    tenant: &'a Arc<Tenant>,
    machine: Machine,
    opened: Option<(Opened, Submission)>,
}

/// What follows a step.
enum After {
    Silence,
    Reply(String),
    Close(String),
    /// The same as `Reply`, then the handshake.
    Protect(String),
}

impl After {
    fn reply(&self) -> &str {
        match self {
            Self::Silence => "",
            Self::Reply(text) | Self::Close(text) | Self::Protect(text) => text,
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(mut socket: Socket, tenant: &Arc<Tenant>, tls: Option<Tls>) -> io::Result<()> {
    let bounds = Bounds { message: tenant.limits.message_bytes, starttls: tls.is_some() };
    let mut session = Session { tenant, machine: Machine::new(bounds), opened: None };
    let fault = faults::take_at(tenant, Door::Smtp, "CONNECT");
    let greeting = format!("220 {HOST} Microsoft ESMTP MAIL Service ready");
    let greeting = match faulty(fault, After::Reply(greeting)).await {
        Some(greeting) => greeting,
        None => return Ok(()),
    };
    doors::remember(tenant, Door::Smtp, "CONNECT", greeting.reply());
    socket.write(format!("{}\r\n", greeting.reply()).as_bytes()).await?;
    if !greeting.reply().starts_with("220") {
        socket.close().await;
        return Ok(());
    }
    loop {
        while let Some(step) = session.machine.next() {
            let shown = step.shown();
            let Some(after) = session.step(step).await else {
                doors::remember(tenant, Door::Smtp, &shown, "");
                return Ok(());
            };
            if matches!(after, After::Silence) {
                continue;
            }
            if matches!(after, After::Close(_)) {
                // Whoever reads the farewell may come again at once.
                session.opened = None;
            }
            doors::remember(tenant, Door::Smtp, &shown, after.reply());
            socket.write(format!("{}\r\n", after.reply()).as_bytes()).await?;
            match after {
                After::Silence | After::Reply(_) => {}
                After::Close(_) => {
                    socket.close().await;
                    return Ok(());
                }
                After::Protect(_) => {
                    let Some(tls) = &tls else { return Ok(()) };
                    let Some(protected) = socket.protect(tls).await else { return Ok(()) };
                    socket = protected;
                    session.machine.protected();
                }
            }
        }
        match socket.read_within(PATIENCE).await {
            Ok(Some(bytes)) => session.machine.push(&bytes),
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                socket.write(b"421 4.4.1 Connection timed out\r\n").await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

/// The reply a fault puts in the place of another; none cuts the line.
async fn faulty(fault: Option<Fault>, honest: After) -> Option<After> {
    let Some(fault) = fault else { return Some(honest) };
    doors::delay(&fault).await;
    if fault.cut {
        return None;
    }
    Some(match fault.reply {
        // 421 announces the end of the connection (RFC 5321 section 3.8).
        Some(reply) if reply.starts_with("421") => After::Close(reply),
        Some(reply) => After::Reply(reply),
        None => honest,
    })
}

impl Session<'_> {
    /// Does one step, or what a fault wants instead; none cuts the line.
    async fn step(&mut self, step: machine::Step) -> Option<After> {
        let fault = step.name().and_then(|name| faults::take_at(self.tenant, Door::Smtp, name));
        let replaces = |fault: &Fault| !fault.after && (fault.cut || fault.reply.is_some());
        if fault.as_ref().is_some_and(replaces) {
            self.machine.skip(&step);
            return faulty(fault, After::Reply(String::new())).await;
        }
        let done = match self.machine.handle(step) {
            Action::Wait => After::Silence,
            Action::Reply(reply) => After::Reply(reply),
            Action::Close(reply) => After::Close(reply),
            Action::StartTls => After::Protect("220 2.0.0 SMTP server ready".to_owned()),
            Action::SignIn(credentials) => self.sign_in(&credentials).await,
            Action::Submit(message) => After::Reply(self.submit(message).await),
        };
        faulty(fault, done).await
    }

    async fn sign_in(&mut self, credentials: &Credentials) -> After {
        let reply = match sign_in::smtp(self.tenant, credentials).await {
            Ok(sign_in::Smtp::Open(opened)) => match Submission::take(self.tenant, &opened.mailbox.id) {
                Some(slot) => {
                    self.opened = Some((opened, slot));
                    self.machine.signed_in();
                    return After::Reply("235 2.7.0 Authentication successful".to_owned());
                }
                None => format!(
                    "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more \
                     information. [Hostname={HOST}]"
                ),
            },
            Ok(sign_in::Smtp::Refused) => format!("535 5.7.3 Authentication unsuccessful [{HOST}]"),
            Ok(sign_in::Smtp::Disabled(whose)) => format!(
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the {whose}. Visit \
                 https://aka.ms/smtp_auth_disabled for more information. [{HOST}]"
            ),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the sandbox's database failed");
                "454 4.7.0 Temporary authentication failure".to_owned()
            }
        };
        After::Reply(reply)
    }

    /// Hands the message over; gives the reply to its end.
    async fn submit(&self, message: Message) -> String {
        let Some((opened, _)) = &self.opened else {
            return "530 5.7.57 Client not authenticated to send mail.".to_owned();
        };
        match taken(self.tenant, opened, message).await {
            Ok(Submitted::Taken(id)) => format!("250 2.0.0 OK {id} [Hostname={HOST}]"),
            Ok(Submitted::Denied(sender)) => format!(
                "554 5.2.252 SendAsDenied; {} not allowed to send as {}; STOREDRV.Submission.Exception:\
                 SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception \
                 [Hostname={HOST}]",
                opened.mailbox.address,
                printable(&sender),
            ),
            // What is too much is carried over to the following minutes; the wording is not documented.
            Ok(Submitted::Throttled) => {
                format!("451 4.3.2 STOREDRV.ClientSubmit; message rate limit exceeded [Hostname={HOST}]")
            }
            Err(refusal) if refusal.status < 500 => {
                format!("554 5.6.0 {} [Hostname={HOST}]", printable(&refusal.message))
            }
            Err(_) => format!("451 4.3.0 Temporary server error. Please try again later [Hostname={HOST}]"),
        }
    }
}

/// In one transaction: taken and delivered, or nothing.
async fn taken(tenant: &Tenant, opened: &Opened, message: Message) -> Result<Submitted, Refusal> {
    let Message { from, to, raw } = message;
    let mut tx = tenant.begin().await?;
    let submitted = Box::pin(submission::submit(tenant, &mut tx, opened, &from, to, &raw)).await?;
    if matches!(submitted, Submitted::Taken(_)) {
        tx.commit().await?;
        tenant.nudge();
    }
    Ok(submitted)
}

/// Text from outside as it may stand in a reply.
fn printable(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}
