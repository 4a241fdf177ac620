//! One message on one connection: MAIL, RCPT, DATA, content, final dot; and which of the three outcomes it had.
//!
//! The line is crossed when the final dot has been handed over: until then whatever happens is *not sent*, and from
//! then on only a reply makes it certain. A reply to the dot is certain both ways: 2yz makes the message the server's,
//! 4yz and 5yz leave it ours (RFC 5321 section 4.2.5).

use postroom_model::EmailAddress;
use postroom_model::failure::{Decision, Failure, Origin};

use super::client::{Client, Stuck, Trouble};
use super::content::{Content, Header, Stuffed};
use super::refusal::{self, Stage};
use super::reply::Reply;

/// How many recipients go into one write: so few that no server's replies fill the line while we still write
/// (RFC 2920 section 3.1).
const WINDOW: usize = 100;
/// How much content goes into one write, in bytes. Most messages of business software fit.
const PIECE: usize = 64 * 1_024;

/// What ends the content. A server that lacks one byte of it cannot have taken the message.
const FINAL: &[u8] = b"\r\n.\r\n";

/// A message to be handed over.
pub(super) struct Mail<'a> {
    /// What is being done, for failures.
    pub(super) operation: &'a str,
    /// The server's name.
    pub(super) host: &'a str,
    /// Sender of the envelope.
    pub(super) from: &'a EmailAddress,
    /// The message.
    pub(super) raw: &'a [u8],
    /// What is known of it.
    pub(super) content: Content,
}

/// What became of it.
pub(super) enum Handed {
    /// The server took it.
    Taken {
        /// Its literal words.
        words: String,
        /// Recipients it did not take.
        refused: Vec<Refused>,
    },
    /// It certainly was not sent. The connection can be used again after [`Client::reset`] when `usable`.
    Refused {
        /// In which words.
        failure: Failure,
        /// Whether the connection still is in step.
        usable: bool,
    },
    /// Nothing was answered: the connection was dead before it began.
    Dead(Failure),
    /// It may have been sent.
    Unknown(Failure),
}

/// A recipient that was refused.
pub(super) struct Refused {
    /// Whom.
    pub(super) recipient: EmailAddress,
    /// In which words.
    pub(super) reply: Reply,
}

impl Mail<'_> {
    /// What the server's offers forbid beforehand.
    fn check(&self, client: &Client) -> Result<(), Failure> {
        let offers = &client.offers;
        if let Some(limit) = offers.max_size.filter(|limit| self.content.size > *limit) {
            return Err(refusal::too_large(self.operation, self.host, self.content.size, limit));
        }
        if self.content.eight_bit && !offers.eight_bit {
            return Err(refusal::not_eight_bit(self.operation, self.host));
        }
        match self.content.header {
            Header::Other => Err(refusal::no_header(self.operation, self.host)),
            Header::Utf8 if !offers.utf8 => Err(refusal::header_not_utf8(self.operation, self.host)),
            Header::Ascii | Header::Utf8 => Ok(()),
        }
    }

    /// Hands it over to `recipients`, of whom there is at least one.
    pub(super) async fn hand_over(&self, client: &mut Client, recipients: &[EmailAddress]) -> Handed {
        if let Err(failure) = self.check(client).and_then(|()| self.check_addresses(client, recipients)) {
            return Handed::Refused { failure, usable: true };
        }
        match self.envelope(client, recipients).await {
            Ok(refused) => self.content(client, refused).await,
            Err(handed) => handed,
        }
    }

    fn check_addresses(&self, client: &Client, recipients: &[EmailAddress]) -> Result<(), Failure> {
        let beyond = std::iter::once(self.from).chain(recipients).find(|one| !one.as_str().is_ascii());
        match beyond {
            Some(address) if !client.offers.utf8 => {
                Err(refusal::not_utf8(self.operation, self.host, address.as_str()))
            }
            _ => Ok(()),
        }
    }

    /// MAIL, RCPT and DATA: in one write where the server takes that. Gives the refused recipients when the server waits
    /// for the content.
    async fn envelope(
        &self,
        client: &mut Client,
        recipients: &[EmailAddress],
    ) -> Result<Vec<Refused>, Handed> {
        let pipelining = client.offers.pipelining;
        let window = if pipelining { WINDOW } else { 1 };
        self.say_mail(client, recipients);
        let mut refused = Vec::new();
        if !pipelining {
            self.sender_taken(client, 0).await?;
        }
        for (index, group) in recipients.chunks(window).enumerate() {
            for recipient in group {
                say(client, &["RCPT TO:<", recipient.as_str(), ">"]);
            }
            let with_data = pipelining && (index + 1) * window >= recipients.len();
            if with_data {
                say(client, &["DATA"]);
            }
            if pipelining && index == 0 {
                self.sender_taken(client, group.len() + usize::from(with_data)).await?;
            } else {
                self.flush(client, Stage::Rcpt).await?;
            }
            for recipient in group {
                let reply = self.reply(client, Stage::Rcpt).await?;
                if !reply.is_done() {
                    refused.push(Refused { recipient: recipient.clone(), reply });
                }
            }
        }
        let nobody = refused.len() == recipients.len();
        if !pipelining && !nobody {
            say(client, &["DATA"]);
            self.flush(client, Stage::Data).await?;
        }
        if nobody {
            // A server that wants the content all the same is not given any: the connection ends instead.
            let usable = !pipelining || self.reply(client, Stage::Data).await?.code != 354;
            return Err(Handed::Refused { failure: self.nobody_taken(&refused), usable });
        }
        let reply = self.reply(client, Stage::Data).await?;
        if reply.code == 354 {
            // What is said already could be taken for the reply to a dot that was not sent yet.
            return match client.early() {
                None => Ok(refused),
                Some(trouble) => {
                    let failure = trouble.failure(self.operation, Stage::Data);
                    Err(Handed::Refused { failure, usable: false })
                }
            };
        }
        let failure = refusal::failure(self.operation, Stage::Data, &reply);
        Err(Handed::Refused { failure, usable: reply.code >= 400 })
    }

    fn say_mail(&self, client: &mut Client, recipients: &[EmailAddress]) {
        client.output.clear();
        let size = if client.offers.size { format!(" SIZE={}", self.content.size) } else { String::new() };
        let body = if self.content.eight_bit { " BODY=8BITMIME" } else { "" };
        let ascii = std::iter::once(self.from).chain(recipients).all(|one| one.as_str().is_ascii());
        // Of addresses and of header fields (RFC 6531 section 3.4); it is told only where it is offered.
        let utf8 = if ascii && self.content.header == Header::Ascii { "" } else { " SMTPUTF8" };
        say(client, &["MAIL FROM:<", self.from.as_str(), ">", &size, body, utf8]);
    }

    /// Writes what was said and reads the reply to MAIL, the first of this message. A refusal is followed by the
    /// replies to `more` commands of the same write.
    async fn sender_taken(&self, client: &mut Client, more: usize) -> Result<(), Handed> {
        let dead = |handed| match handed {
            Handed::Refused { failure, .. } => Handed::Dead(failure),
            other => other,
        };
        self.flush(client, Stage::Mail).await.map_err(dead)?;
        let reply = self.reply(client, Stage::Mail).await.map_err(dead)?;
        if reply.is_done() {
            return Ok(());
        }
        let failure = refusal::failure(self.operation, Stage::Mail, &reply);
        let mut usable = true;
        for _ in 0..more {
            usable &= self.reply(client, Stage::Mail).await.is_ok_and(|reply| reply.code != 354);
            if !usable {
                break;
            }
        }
        Err(Handed::Refused { failure, usable })
    }

    /// Writes what was said.
    async fn flush(&self, client: &mut Client, stage: Stage) -> Result<(), Handed> {
        match client.flush().await {
            Ok(()) => Ok(()),
            Err(stuck) => {
                Err(Handed::Refused { failure: self.stuck(client, &stuck, stage).await, usable: false })
            }
        }
    }

    /// The next reply. 421 ends the connection whatever was asked (RFC 5321 section 3.8).
    async fn reply(&self, client: &mut Client, stage: Stage) -> Result<Reply, Handed> {
        let failure = match client.reply(client.limits().command).await {
            Ok(reply) if reply.code != 421 => return Ok(reply),
            Ok(reply) => refusal::failure(self.operation, stage, &reply),
            Err(trouble) => trouble.failure(self.operation, stage),
        };
        Err(Handed::Refused { failure, usable: false })
    }

    /// Why a write went no further: what the server said before it hung up, if it said anything.
    async fn stuck(&self, client: &mut Client, stuck: &Stuck, stage: Stage) -> Failure {
        match client.reply(client.limits().farewell).await {
            Ok(reply) if !reply.is_done() => refusal::failure(self.operation, stage, &reply),
            _ => stuck.trouble.failure(self.operation, stage),
        }
    }

    /// The content and the final dot.
    async fn content(&self, client: &mut Client, refused: Vec<Refused>) -> Handed {
        let mut stuffed = Stuffed::new(self.raw);
        loop {
            let last = stuffed.fill(&mut client.output, PIECE);
            match client.flush().await {
                Ok(()) if last => break,
                Ok(()) => {}
                Err(stuck) if last && stuck.left < FINAL.len() => return self.unknown(&stuck.trouble),
                Err(stuck) => {
                    let failure = self.stuck(client, &stuck, Stage::Data).await;
                    return Handed::Refused { failure, usable: false };
                }
            }
        }
        match client.reply(client.limits().end).await {
            Ok(reply) if reply.is_done() => Handed::Taken { words: reply.literal(), refused },
            Ok(reply) if reply.code >= 400 => {
                let failure = refusal::failure(self.operation, Stage::End, &reply);
                Handed::Refused { failure, usable: reply.code != 421 }
            }
            Ok(reply) => self.unknown(&Trouble::Garbage(reply.literal())),
            Err(trouble) => self.unknown(&trouble),
        }
    }

    fn unknown(&self, trouble: &Trouble) -> Handed {
        let words = format!("{}: the whole message was handed over, then: {trouble}", Stage::End);
        Handed::Unknown(Failure::new(self.operation, Origin::Network, words, Decision::Reconcile))
    }

    /// Nobody was taken: tried again when that can help one of them, else waiting when it can help one, else final.
    fn nobody_taken(&self, refused: &[Refused]) -> Failure {
        let mut failures: Vec<Failure> =
            refused.iter().map(|one| refusal::failure(self.operation, Stage::Rcpt, &one.reply)).collect();
        failures.sort_by_key(|failure| match failure.decision() {
            Decision::Retry { .. } | Decision::Reconcile => 0,
            Decision::Hold => 1,
            Decision::Fail => 2,
        });
        let first = failures.swap_remove(0);
        let [_, _, ..] = refused else { return first };
        let all: Vec<String> =
            refused.iter().map(|one| format!("{}: {}", one.recipient, one.reply.literal())).collect();
        let mut failure = Failure::new(self.operation, first.origin, all.join("; "), first.decision());
        failure.advice = first.advice;
        failure
    }
}

/// Puts one command among those to be written.
fn say(client: &mut Client, parts: &[&str]) {
    for part in parts {
        client.output.extend_from_slice(part.as_bytes());
    }
    client.output.extend_from_slice(b"\r\n");
}
