//! Subscriptions: made once, renewed in time, ended when nobody needs them; a call wakes a mailbox only when it proves
//! where it comes from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::subscriptions::{News, Notified};
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{Connection, ConnectionSettings};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{Mailbox, MailboxState};
use postroom_model::{EmailAddress, ExposeSecret, SecretString, Timestamp};
use postroom_transport::{Sender, Source, Subscribed, Subscriber, Transports};

use crate::house::{House, Running, raw};
use crate::provider::Door;

const AT: &str = "orders@contoso.example";
const DAY: i64 = 86_400;

/// What the provider knows of one subscription.
#[derive(Clone, Debug)]
struct Entry {
    mailbox: EmailAddress,
    address: String,
    state: String,
    until: Timestamp,
}

#[derive(Default)]
struct Book {
    entries: BTreeMap<String, Entry>,
    made: usize,
    refusal: Option<Failure>,
    /// Makes the subscription and never answers.
    hangs: bool,
}

/// A provider that subscribes.
#[derive(Clone)]
struct Office {
    book: Arc<Mutex<Book>>,
    door: Arc<Door>,
}

struct One(Arc<Mutex<Book>>, EmailAddress);

#[async_trait]
impl Subscriber for One {
    async fn subscribe(
        &self,
        address: &str,
        state: &SecretString,
        until: Timestamp,
    ) -> Result<Subscribed, Failure> {
        let (id, hangs) = {
            let mut book = self.0.lock().unwrap();
            if let Some(refusal) = book.refusal.clone() {
                return Err(refusal);
            }
            book.made += 1;
            let id = format!("sub-{}", book.made);
            let state = state.expose_secret().to_owned();
            let entry = Entry { mailbox: self.1.clone(), address: address.to_owned(), state, until };
            book.entries.insert(id.clone(), entry);
            (id, book.hangs)
        };
        if hangs {
            return std::future::pending().await;
        }
        Ok(Subscribed { id, until })
    }

    async fn renew(&self, id: &str, until: Timestamp) -> Result<Option<Subscribed>, Failure> {
        let mut book = self.0.lock().unwrap();
        let Some(entry) = book.entries.get_mut(id) else { return Ok(None) };
        entry.until = until;
        Ok(Some(Subscribed { id: id.to_owned(), until }))
    }

    async fn unsubscribe(&self, id: &str) -> Result<(), Failure> {
        self.0.lock().unwrap().entries.remove(id);
        Ok(())
    }

    async fn subscribed(&self, address: &str) -> Result<Vec<String>, Failure> {
        let book = self.0.lock().unwrap();
        let same = |entry: &Entry| entry.address == address && entry.mailbox == self.1;
        Ok(book.entries.iter().filter(|(_, entry)| same(entry)).map(|(id, _)| id.clone()).collect())
    }
}

#[async_trait]
impl Transports for Office {
    fn can_send(&self, settings: &ConnectionSettings) -> Result<(), String> {
        self.door.can_send(settings)
    }

    fn can_subscribe(&self, _: &ConnectionSettings) -> bool {
        true
    }

    async fn subscriber(
        &self,
        _: &Connection,
        mailbox: &EmailAddress,
    ) -> Result<Option<Box<dyn Subscriber>>, Failure> {
        Ok(Some(Box::new(One(self.book.clone(), mailbox.clone()))))
    }

    async fn sender(&self, connection: &Connection) -> Result<Box<dyn Sender>, Failure> {
        self.door.sender(connection).await
    }

    async fn source(&self, connection: &Connection, mailbox: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        self.door.source(connection, mailbox).await
    }
}

impl Office {
    fn of(house: &House) -> Self {
        Self { book: Arc::default(), door: Arc::new(Door(house.provider.clone(), house.env.clone())) }
    }

    fn run(&self, house: &House, public_url: Option<&str>) -> Running {
        let watch = WatchSettings { public_url: public_url.map(str::to_owned), ..WatchSettings::default() };
        let settings = EngineSettings {
            idle_poll_ms: 60_000,
            lease_seconds: 30 * 86_400,
            watch,
            ..EngineSettings::default()
        };
        house.run_engine(Engine::new(
            house.store.clone(),
            Arc::new(self.clone()),
            house.env.clone(),
            settings,
        ))
    }

    fn entries(&self) -> BTreeMap<String, Entry> {
        self.book.lock().unwrap().entries.clone()
    }

    /// Waits until exactly this subscription is there and written down.
    async fn has(&self, house: &House, id: &str) -> Entry {
        house
            .until(id, async || {
                let journal = house.store.journals("subscription/").await.unwrap();
                let entries = self.entries();
                let noted = journal.iter().any(|(_, content)| content.contains(&format!("\"id\":\"{id}\"")));
                match entries.get(id).filter(|_| noted && entries.len() == 1) {
                    Some(entry) => Ok(entry.clone()),
                    None => Err(format!("{entries:?} {journal:?}")),
                }
            })
            .await
    }
}

const URL: Option<&str> = Some("https://mail.contoso.example/");

fn call(subscription: &str, state: &str, news: News) -> Vec<Notified> {
    vec![Notified { subscription: subscription.to_owned(), state: state.to_owned().into(), news }]
}

async fn is_read(house: &House, id: postroom_model::MailboxId) {
    house
        .until("the mailbox is read", async || {
            let mailbox = house.mailbox_now(id).await;
            let rests = mailbox.next_due_at.is_some_and(|due| due > house.env.now());
            if mailbox.state == MailboxState::Running && rests { Ok(()) } else { Err(format!("{mailbox:?}")) }
        })
        .await;
}

#[tokio::test]
async fn a_call_that_proves_itself_has_the_mailbox_read_at_once_and_no_other_does() {
    let house = House::new().await;
    let mailbox = house.mailbox(AT).await;
    let office = Office::of(&house);
    let running = office.run(&house, URL);
    let entry = office.has(&house, "sub-1").await;
    assert_eq!(entry.address, "https://mail.contoso.example/api/v1/notifications/graph");
    assert!(entry.state.len() >= 43, "it cannot be guessed");
    let journals = house.store.journals("subscription/").await.unwrap();
    assert!(!format!("{journals:?}").contains(&entry.state), "it is not kept");
    is_read(&house, mailbox).await;

    let now = house.env.now();
    house.provider.folder(AT, |folder| folder.messages.push(("m1".into(), now, raw("a"))));
    let before = house.mailbox_now(mailbox).await;
    for (subscription, state) in [("sub-1", ""), ("sub-1", "guessed"), ("sub-2", &*entry.state), ("", "")] {
        for news in [News::Arrived, News::Renew, News::Gone] {
            assert_eq!(running.engine.notified(call(subscription, state, news)).await.unwrap(), 0);
        }
    }
    assert_eq!(house.mailbox_now(mailbox).await.next_due_at, before.next_due_at);
    assert_eq!(house.store.journals("subscription/").await.unwrap(), journals);
    assert!(house.inbox(InboxState::Processed).await.is_empty());

    // So many that do not prove themselves are enough: the rest of such a call is not looked at.
    let mut flood: Vec<Notified> = (0..500).flat_map(|_| call("sub-1", "guessed", News::Arrived)).collect();
    flood.extend((0..20).flat_map(|_| call("sub-1", &format!("{mailbox}.guessed"), News::Gone)));
    flood.extend(call("sub-1", &entry.state, News::Arrived));
    assert_eq!(running.engine.notified(flood).await.unwrap(), 0);
    assert_eq!(house.store.journals("subscription/").await.unwrap(), journals);

    let mut calls = call("sub-1", &entry.state, News::Arrived);
    calls.extend(call("sub-1", &entry.state, News::Arrived));
    assert_eq!(running.engine.notified(calls).await.unwrap(), 1, "each mailbox once");
    house.inbox_holds(InboxState::Processed, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn it_is_renewed_in_time_replaced_when_it_is_gone_and_ended_when_nobody_needs_it() {
    let house = House::new().await;
    house.mailbox(AT).await;
    let office = Office::of(&house);
    let running = office.run(&house, URL);
    let first = office.has(&house, "sub-1").await;
    let later = async |than: Timestamp| {
        house
            .until("it is renewed", async || {
                let until = office.entries()["sub-1"].until;
                if until > than { Ok(until) } else { Err(until) }
            })
            .await
    };
    house.pass(&running, 5 * DAY);
    let renewed = later(first.until).await;
    office.has(&house, "sub-1").await;
    // The provider asks for it before its time.
    house.clock.advance(jiff::SignedDuration::from_hours(1));
    running.engine.notified(call("sub-1", &first.state, News::Renew)).await.unwrap();
    later(renewed).await;
    office.has(&house, "sub-1").await;

    office.book.lock().unwrap().entries.clear();
    house
        .until("the end is known", async || {
            let woken = running.engine.notified(call("sub-1", &first.state, News::Gone)).await.unwrap();
            if woken == 1 { Ok(()) } else { Err(woken) }
        })
        .await;
    let second = office.has(&house, "sub-2").await;
    assert_ne!(second.state, first.state);
    running.stop().await;

    // Killed between "made" and "written down": the one that nobody knows is ended.
    office.book.lock().unwrap().entries.clear();
    office.book.lock().unwrap().hangs = true;
    let running = office.run(&house, Some("https://other.contoso.example"));
    house
        .until(
            "it is made",
            async || if office.entries().contains_key("sub-3") { Ok(()) } else { Err("not yet") },
        )
        .await;
    running.kill().await;
    office.book.lock().unwrap().hangs = false;
    house.clock.advance(jiff::SignedDuration::from_mins(10)); // the turn of the killed one ends
    let running = office.run(&house, Some("https://other.contoso.example"));
    office.has(&house, "sub-4").await;
    running.stop().await;

    house.clock.advance(jiff::SignedDuration::from_mins(10)); // it may have been stopped in its turn
    let running = office.run(&house, None);
    house
        .until("it is ended", async || {
            let journals = house.store.journals("subscription/").await.unwrap();
            if office.entries().is_empty() && journals.is_empty() {
                Ok(())
            } else {
                Err(format!("{journals:?}"))
            }
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_provider_that_refuses_is_polled_and_asked_again_later() {
    let house = House::new().await;
    let mailbox = house.mailbox(AT).await;
    let office = Office::of(&house);
    let words = "Subscription validation request failed.";
    office.book.lock().unwrap().refusal =
        Some(Failure::new("subscribe", Origin::Provider, words, Decision::Hold));
    let running = office.run(&house, URL);
    house
        .until("the refusal is remembered", async || {
            let journals = house.store.journals("subscription/").await.unwrap();
            if journals.iter().any(|(_, content)| content.contains(words)) { Ok(()) } else { Err("not yet") }
        })
        .await;
    is_read(&house, mailbox).await;
    office.book.lock().unwrap().refusal = None;
    house.pass(&running, 120);
    office.has(&house, "sub-1").await;
    running.stop().await;
}
