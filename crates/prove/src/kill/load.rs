//! The load: programs that hand messages in, and the world that writes to the mailboxes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ledger::{Accepted, Delivered, Ledger, hash, hash_text};
use crate::chance::Chance;
use crate::tenant::Tenant;

/// Clients hold back while so many messages have not left: the load is bounded by what is sent.
const MOST_WAITING: usize = 150;
/// Longest time a client waits for an answer; a frozen node does not answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Somebody outside the tenant: what they get is seen in the order in which it left.
const OUTSIDE: &str = "purchasing@fabrikam.example";

/// What clients and writers share.
pub(crate) struct Load {
    pub(crate) http: Client,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) urls: watch::Receiver<Vec<String>>,
    pub(crate) api_key: String,
    pub(crate) senders: Vec<String>,
    pub(crate) mailboxes: Vec<String>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) over: AtomicBool,
}

impl Load {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Hands messages in, one after the other, until the load is over. Each is repeated under its key until it is
    /// answered: that is what a client is told to do.
    pub(crate) async fn client(self: Arc<Self>, name: usize, chance: Chance) {
        for number in 1.. {
            while self.ledger().waiting() >= MOST_WAITING && !self.is_over() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if self.is_over() {
                return;
            }
            let key = format!("c{name}-{number}");
            if chance.once_in(25) {
                self.hand_in_invalid(&key, &chance).await;
            } else {
                self.hand_in(&key, &chance).await;
            }
            tokio::time::sleep(chance.millis(0..100)).await;
        }
    }

    async fn hand_in(&self, key: &str, chance: &Chance) {
        let lines: Vec<String> = (0..chance.within(1..60)).map(|_| chance.text(60)).collect();
        let text = lines.join("\n");
        let from = chance.one_of(&self.senders);
        let request = json!({"from": from, "to": [OUTSIDE], "subject": key, "text": text});
        // Some clients lose the answer and ask again.
        let times = if chance.once_in(10) { 2 } else { 1 };
        for _ in 0..times {
            let (status, answer) = self.answered(key, &request, chance).await;
            let word = |name: &str| answer[name].as_str().map(str::to_owned);
            let (Some(id), Some(message_id), 202) = (word("id"), word("message_id"), status) else {
                self.ledger().wrong.push(format!("{key} was answered {status}: {answer}"));
                return;
            };
            let accepted = Accepted { message_id, subject: key.to_owned(), body: hash_text(&text) };
            self.ledger().accept(&id, accepted);
        }
    }

    async fn hand_in_invalid(&self, key: &str, chance: &Chance) {
        let from = chance.one_of(&self.senders);
        let request = json!({"from": from, "to": ["nobody at all"], "subject": key, "text": "Hello"});
        let (status, answer) = self.answered(key, &request, chance).await;
        let mut ledger = self.ledger();
        if status == 422 {
            ledger.refused.insert(key.to_owned());
        } else {
            ledger.wrong.push(format!("{key} is not valid and was answered {status}: {answer}"));
        }
    }

    /// The first answer that is not "not now".
    async fn answered(&self, key: &str, request: &Value, chance: &Chance) -> (u16, Value) {
        let mut urls = self.urls.clone();
        loop {
            let known = urls.borrow_and_update().clone();
            if known.is_empty() {
                // An end of the channel is the end of the run, which the next look notices.
                let _ = tokio::time::timeout(Duration::from_millis(50), urls.changed()).await;
                continue;
            }
            let url = format!("{}/api/v1/messages", chance.one_of(&known));
            let post = self.http.post(url).bearer_auth(&self.api_key).header("idempotency-key", key);
            let answer = async {
                let answer = post.timeout(ANSWER_PATIENCE).json(request).send().await?;
                let status = answer.status().as_u16();
                Ok::<_, reqwest::Error>((status, answer.json::<Value>().await?))
            };
            match answer.await {
                Ok((503, _)) => self.ledger().refused_for_now += 1,
                Ok((status, answer)) => return (status, answer),
                Err(_) => self.ledger().cut += 1,
            }
            tokio::time::sleep(chance.millis(1..20)).await;
        }
    }

    /// Writes to the mailboxes until the load is over; some mails go to two of them.
    pub(crate) async fn writer(self: Arc<Self>, chance: Chance) {
        for number in 1.. {
            if self.is_over() {
                return;
            }
            let message_id = format!("<in-{number}@fabrikam.example>");
            let lines: Vec<String> = (0..chance.within(1..80)).map(|_| chance.text(60)).collect();
            let mail = format!(
                "From: purchasing@fabrikam.example\r\nTo: orders@contoso.example\r\nSubject: Matter {number}\r\n\
                 Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: {message_id}\r\n\r\n{}\r\n",
                lines.join("\r\n")
            );
            let mut delivered = Delivered::default();
            for _ in 0..if chance.once_in(6) { 2 } else { 1 } {
                let mailbox = chance.one_of(&self.mailboxes).clone();
                if delivered.copies.iter().any(|(known, _)| *known == mailbox) {
                    continue;
                }
                match self.tenant.deliver(&mailbox, &mail).await {
                    Ok(id) => delivered.copies.push((mailbox, id)),
                    Err(error) => {
                        self.ledger().wrong.push(format!("the tenant took no mail: {error:#}"));
                        return;
                    }
                }
            }
            self.ledger().delivered.insert(message_id, delivered);
            tokio::time::sleep(chance.millis(50..250)).await;
        }
    }

    /// Asks the tenant for the bytes of everything that was delivered.
    pub(crate) async fn look_inside(&self) -> anyhow::Result<()> {
        let token = self.tenant.application_token().await?;
        let all = self.ledger().delivered.clone();
        for (message_id, delivered) in all {
            let mut contents = BTreeSet::new();
            for (mailbox, id) in &delivered.copies {
                contents.insert(hash(&self.tenant.content(&token, mailbox, id).await?));
            }
            self.ledger().delivered.insert(message_id, Delivered { contents, ..delivered });
        }
        Ok(())
    }
}
