//! Watches: the ends of credentials, their renewals, renewals under load, and scope. Here: a house with one of them.

mod ends;
mod load;
mod renewal;
mod scope;

use std::sync::Arc;

use jiff::SignedDuration;
use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::renewal::Stage;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::ExposeSecret;
use postroom_model::connection::Connection;
use postroom_model::credential::{Credential, CredentialKind, CredentialState};
use postroom_model::event::{EventKind, Subject};
use postroom_store::{SaveConnection, Store};

use crate::house::House;
use crate::office::{Office, Signing, first};

const DAY: i64 = 24;

pub(crate) struct Watched {
    pub(crate) house: House,
    office: Arc<Office>,
}

impl Watched {
    /// A house whose connection has a credential that ends in `days`.
    pub(crate) async fn new(kind: CredentialKind, days: Option<i64>) -> Self {
        let house = House::new().await;
        let office = Office::new(&house.env);
        let end =
            house.env.now().saturating_add(SignedDuration::from_hours(days.unwrap_or(400) * DAY)).unwrap();
        office.enter("first", "id of first", end);
        let connection = house.store.connection(house.connection).await.unwrap().unwrap();
        let save = SaveConnection {
            id: connection.id,
            settings: connection.settings,
            credential: Some(first(kind, "first", days.map(|_| end))),
            actor: "cli".into(),
        };
        house.store.save_connection(save).await.unwrap();
        Self { house, office }
    }

    fn engine(&self) -> Engine {
        self.engine_over(self.house.store.clone(), WatchSettings::default())
    }

    pub(crate) fn engine_over(&self, store: Arc<dyn Store>, watch: WatchSettings) -> Engine {
        // Leases outlast every jump of the clock, as in `House::engine`.
        let lease_seconds = 5 * 365 * 24 * 3_600;
        let settings = EngineSettings { idle_poll_ms: 10, lease_seconds, watch, ..EngineSettings::default() };
        let transports = Arc::new(Signing { office: self.office.clone(), store: self.house.store.clone() });
        Engine::new(store, transports, self.house.env.clone(), settings).with_office(self.office.clone())
    }

    pub(crate) fn pass(&self, minutes: i64) {
        self.house.clock.advance(SignedDuration::from_mins(minutes));
    }

    pub(crate) async fn connection(&self) -> Connection {
        self.house.store.connection(self.house.connection).await.unwrap().unwrap()
    }

    async fn credentials(&self) -> Vec<Credential> {
        self.house.store.credentials(self.house.connection).await.unwrap()
    }

    async fn in_state(&self, state: CredentialState) -> Vec<Credential> {
        self.credentials().await.into_iter().filter(|one| one.state == state).collect()
    }

    async fn current_secret(&self) -> String {
        let (_, secret) = self.house.store.credential_secret(self.house.connection).await.unwrap().unwrap();
        secret.expose_secret().to_owned()
    }

    /// Words of the events of one kind about any credential.
    async fn told(&self, kind: EventKind) -> Vec<String> {
        let mut words = Vec::new();
        for credential in self.credentials().await {
            for stored in self.house.events(Subject::Credential(credential.id)).await {
                if stored.event.kind == kind {
                    words.push(stored.event.words.unwrap());
                }
            }
        }
        words
    }

    /// Looks and lets time pass until no renewal is under way.
    async fn renew(&self, engine: &Engine) {
        for _ in 0..100 {
            engine.watch_credentials().await.unwrap();
            if engine.renewal(self.house.connection).await.unwrap().is_none() {
                return;
            }
            self.pass(20);
        }
        panic!("{:?}", engine.renewal(self.house.connection).await.unwrap());
    }

    /// Renews until the new credential is in use. Gives its secret.
    async fn switched(&self, engine: &Engine) -> String {
        for _ in 0..100 {
            engine.watch_credentials().await.unwrap();
            match engine.renewal(self.house.connection).await.unwrap() {
                Some(renewal) if renewal.stage == Stage::Removing => return self.current_secret().await,
                _ => self.pass(6),
            }
        }
        panic!("{:?}", engine.renewal(self.house.connection).await.unwrap());
    }

    /// What happened to all credentials.
    async fn events(&self) -> Vec<EventKind> {
        let mut kinds = Vec::new();
        for credential in self.credentials().await {
            let events = self.house.events(Subject::Credential(credential.id)).await;
            kinds.extend(events.iter().map(|stored| stored.event.kind));
        }
        kinds
    }

    fn keys(&self) -> Vec<String> {
        self.office.state().keys.keys().cloned().collect()
    }

    /// One credential here and at the provider, the same; the first one removed once; told once.
    async fn is_renewed_once(&self, what: &str) {
        let current = self.in_state(CredentialState::Current).await;
        assert_eq!(current.len(), 1, "{what}");
        assert!(self.in_state(CredentialState::Next).await.is_empty(), "{what}");
        assert!(self.in_state(CredentialState::Former).await.is_empty(), "{what}");
        assert_eq!(self.keys(), [self.current_secret().await], "{what}");
        assert_ne!(self.current_secret().await, "first", "{what}");
        let removed = self.office.state().removed.clone();
        assert_eq!(removed.iter().filter(|id| *id == "id of first").count(), 1, "{what}: {removed:?}");
        assert_eq!(self.told(EventKind::CredentialRenewed).await.len(), 1, "{what}");
        assert!(current[0].key_id.is_some() && current[0].expires_at.is_some(), "{what}");
    }
}
