//! Watches: a year of warnings, renewals that are killed at every point, renewals under load, and scope.

use std::sync::Arc;

use jiff::SignedDuration;
use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::renewal::Stage;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::Connection;
use postroom_model::credential::{Credential, CredentialKind, CredentialState};
use postroom_model::event::{EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::outbox::OutboxState;
use postroom_model::{ExposeSecret, OutboxMessageId, Timestamp};
use postroom_store::{SaveConnection, Store};
use tokio_util::sync::CancellationToken;

use crate::faulty::Faulty;
use crate::house::House;
use crate::office::{KillSwitch, Office, Signing, first, refused};

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

#[tokio::test]
async fn a_year_tells_each_warning_once() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(365)).await;
    let by_hand = WatchSettings { renew: false, ..WatchSettings::default() };
    for _ in 0..366 * 4 {
        // A new engine each time: nothing is remembered but what is stored.
        let engine = watched.engine_over(watched.house.store.clone(), by_hand.clone());
        engine.watch_credentials().await.unwrap();
        watched.pass(6 * 60);
    }
    let told = watched.told(EventKind::CredentialExpiring).await;
    let when: Vec<&str> = told.iter().map(|words| words.split(". ").next().unwrap()).collect();
    assert_eq!(
        when,
        [
            "the credential ends in 60 days, on 2027-11-23",
            "the credential ends in 30 days, on 2027-11-23",
            "the credential ends in 14 days, on 2027-11-23",
            "the credential ends in 7 days, on 2027-11-23",
            "the credential ends within one day, on 2027-11-23",
            "the credential ended on 2027-11-23",
        ]
    );
    assert!(told[0].contains("postroom credential stage"), "{}", told[0]);
    assert_eq!(watched.keys(), ["first"]);
}

#[tokio::test]
async fn an_unknown_end_is_asked_for_once_a_day_and_learned() {
    let watched = Watched::new(CredentialKind::ClientSecret, None).await;
    let engine = watched.engine();
    engine.watch_credentials().await.unwrap();
    assert_eq!(watched.credentials().await[0].expires_at, None);
    watched.office.state().tells_expiry = true;
    watched.pass(60);
    engine.watch_credentials().await.unwrap();
    assert_eq!(watched.credentials().await[0].expires_at, None, "not asked again so soon");
    watched.pass(23 * 60);
    engine.watch_credentials().await.unwrap();
    assert!(watched.credentials().await[0].expires_at.is_some());
    assert!(watched.told(EventKind::CredentialExpiring).await.is_empty());
}

#[tokio::test]
async fn nothing_is_written_while_nothing_is_due() {
    let watched = Watched::new(CredentialKind::Certificate, Some(200)).await;
    watched.engine().watch_credentials().await.unwrap();
    assert_eq!(watched.house.store.journals("").await.unwrap(), []);
}

#[tokio::test]
async fn a_renewal_killed_at_any_point_goes_on_and_happens_once() {
    for kind in [CredentialKind::Certificate, CredentialKind::ClientSecret] {
        let mut points = 0;
        for at in 1.. {
            if !killed_at(kind, at).await {
                break;
            }
            points = at;
        }
        assert!(points > 20, "{kind:?}: only {points} points");
    }
}

/// Renews while everything stops at one point. False when the renewal never came to it.
async fn killed_at(kind: CredentialKind, at: usize) -> bool {
    let watched = Watched::new(kind, Some(29)).await;
    let kill = KillSwitch::at(at);
    *watched.office.kill.lock().unwrap() = Some(kill.clone());
    let store = Arc::new(Faulty::killed(watched.house.store.clone(), kill.clone()));
    let doomed = watched.engine_over(store, WatchSettings::default());
    let died = tokio::select! {
        () = watched.renew(&doomed) => false,
        () = kill.reached.notified() => true,
    };
    drop(doomed);
    *watched.office.kill.lock().unwrap() = None;
    watched.renew(&watched.engine()).await;
    // The claim of the dead one ends, and another look finds nothing more to do.
    watched.pass(10);
    watched.renew(&watched.engine()).await;
    watched.is_renewed_once(&format!("{kind:?} at {at}")).await;
    died
}

#[tokio::test]
async fn a_credential_that_never_works_is_given_up_and_the_old_one_stays() {
    for kind in [CredentialKind::Certificate, CredentialKind::ClientSecret] {
        let watched = Watched::new(kind, Some(29)).await;
        watched.office.state().refuse_tests = true;
        for _ in 0..26 * 4 {
            watched.engine().watch_credentials().await.unwrap();
            assert_eq!(watched.current_secret().await, "first");
            watched.pass(15);
        }
        assert_eq!(watched.keys(), ["first"], "what never worked is taken back");
        let told = watched.told(EventKind::CredentialRenewalFailed).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("AADSTS700027") && told[0].contains("Next step: "), "{}", told[0]);
        assert!(watched.office.state().tests < 60, "{} tests", watched.office.state().tests);

        watched.office.state().refuse_tests = false;
        watched.pass(6 * 60);
        watched.renew(&watched.engine()).await;
        watched.is_renewed_once(&format!("{kind:?}")).await;
    }
}

#[tokio::test]
async fn what_the_application_may_not_do_waits_for_one_staged_by_hand() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(29)).await;
    let mut failure = refused("Insufficient privileges");
    failure.advice = Some("stage one by hand: postroom credential stage".into());
    watched.office.state().refuse_renewal = Some(failure);
    let engine = watched.engine();
    for _ in 0..8 {
        engine.watch_credentials().await.unwrap();
        watched.pass(60);
    }
    let told = watched.told(EventKind::CredentialRenewalFailed).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("Next step: stage one by hand: postroom credential stage"), "{}", told[0]);
    let end = watched.house.env.now().saturating_add(SignedDuration::from_hours(365 * DAY)).unwrap();
    watched.office.enter("by hand", "id of by hand", end);
    let staged = first(CredentialKind::ClientSecret, "by hand", Some(end));
    watched.house.store.stage_credential(watched.house.connection, staged, "cli").await.unwrap();
    watched.renew(&engine).await;
    assert_eq!(watched.current_secret().await, "by hand");
    watched.is_renewed_once("by hand").await;
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_not_told() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    let busy = Failure::new("add a key", Origin::Network, "no answer", Decision::Retry { after: None });
    watched.office.state().refuse_renewal = Some(busy);
    let engine = watched.engine();
    engine.watch_credentials().await.unwrap();
    let stands = engine.renewal(watched.house.connection).await.unwrap().unwrap();
    assert!(matches!(stands.stage, Stage::Made { .. }) && stands.tries == 1, "{stands:?}");
    watched.office.state().refuse_renewal = None;
    watched.renew(&engine).await;
    watched.is_renewed_once("after a busy provider").await;
    assert!(watched.told(EventKind::CredentialRenewalFailed).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_renew_once() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(29)).await;
    let engines = [watched.engine(), watched.engine(), watched.engine()];
    for _ in 0..20 {
        let looks = engines.iter().map(Engine::watch_credentials);
        for looked in futures_util::future::join_all(looks).await {
            looked.unwrap();
        }
        watched.pass(20);
    }
    watched.is_renewed_once("three processes").await;
    assert_eq!(watched.office.state().made, 1);
}

#[tokio::test]
async fn a_renewal_that_a_person_asks_for_begins_at_once() {
    let watched = Watched::new(CredentialKind::Certificate, Some(300)).await;
    let engine = watched.engine();
    let stands = engine.renew_credential(&watched.connection().await).await.unwrap().unwrap();
    assert!(matches!(stands.stage, Stage::Testing { .. }), "{stands:?}");
    watched.renew(&engine).await;
    watched.is_renewed_once("asked for").await;
    let current = &watched.in_state(CredentialState::Current).await[0];
    let said = engine.test_credential(&watched.connection().await, current).await.unwrap();
    assert_eq!(said, "signed in");
}

#[tokio::test]
async fn within_the_hour_a_person_returns_to_the_old_credential_and_it_is_not_removed() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    let engine = watched.engine();
    let (store, connection) = (&watched.house.store, watched.house.connection);
    for round in 0.. {
        engine.watch_credentials().await.unwrap();
        match engine.renewal(connection).await.unwrap() {
            Some(renewal) if renewal.stage == Stage::Removing => break,
            other => assert!(round < 100, "{other:?}"),
        }
        watched.pass(20);
    }
    assert_ne!(watched.current_secret().await, "first");
    store.switch_credential_back(connection, "cli").await.unwrap();
    assert_eq!(watched.current_secret().await, "first");
    for _ in 0..9 {
        watched.pass(20);
        engine.watch_credentials().await.unwrap();
    }
    assert_eq!(watched.current_secret().await, "first", "nothing goes forth again at once");
    assert!(watched.office.state().removed.is_empty());
    assert_eq!(watched.in_state(CredentialState::Former).await.len(), 1);
    // It still is time, so another is made hours later.
    watched.renew(&engine).await;
    assert_ne!(watched.current_secret().await, "first");
    assert_eq!(watched.office.state().removed, ["id of first"]);
    assert!(watched.in_state(CredentialState::Former).await.is_empty());
    assert_eq!(watched.in_state(CredentialState::Retired).await.len(), 2);
}

/// Messages leave all the time while the credential is renewed three times, each shortly before its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_renewals_under_load_fail_no_send() {
    let watched = Watched::new(CredentialKind::Certificate, Some(90)).await;
    let engine = watched.engine();
    let running = watched.house.run_engine(engine.clone());
    let stop = CancellationToken::new();
    let load = async {
        let mut sent: Vec<OutboxMessageId> = Vec::new();
        while !stop.is_cancelled() {
            sent.push(watched.house.submit(&engine).await);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        sent
    };
    let renewals = async {
        let mut used = vec![watched.current_secret().await];
        let mut ends: Option<Timestamp> = None;
        while used.len() < 4 || !watched.office.state().removed.len().eq(&3) {
            running.engine.nudge();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let secret = watched.current_secret().await;
            if used.last() != Some(&secret) {
                used.push(secret);
                ends = None;
            }
            // A send takes no hour: those that began with an older credential end before time goes on.
            let older = |state: &crate::office::Register| {
                state
                    .senders
                    .iter()
                    .any(|(with, alive)| with != used.last().unwrap() && alive.strong_count() > 0)
            };
            while older(&watched.office.state()) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let under_way = engine.renewal(watched.house.connection).await.unwrap().is_some();
            let now = watched.house.env.now();
            let end = *ends.get_or_insert_with(|| {
                watched.office.state().keys.values().map(|known| known.ends_at).max().unwrap_or(now)
            });
            let far = end.duration_since(now) > SignedDuration::from_hours(31 * DAY);
            watched.house.clock.advance(match (under_way, far) {
                (false, true) => SignedDuration::from_hours(10 * DAY),
                _ => SignedDuration::from_mins(10),
            });
        }
        stop.cancel();
    };
    let (sent, ()) = tokio::join!(load, renewals);
    for id in &sent {
        watched.house.becomes(*id, OutboxState::Sent).await;
    }
    running.stop().await;
    let state = watched.office.state();
    assert_eq!((state.refused_sends, state.sent as usize), (0, sent.len()));
    assert!(sent.len() > 50, "{} messages", sent.len());
    assert_eq!((state.made, state.removed.len(), state.keys.len()), (3, 3, 1));
}

#[tokio::test]
async fn a_mailbox_that_must_be_refused_is_told_when_it_opens_and_when_it_is_refused_again() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    let ceo = "ceo@contoso.example";
    engine
        .must_not_open(connection, vec![ceo.parse().unwrap(), "hr@contoso.example".parse().unwrap()])
        .await
        .unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), None);
    let subject = Subject::Connection(connection);
    let look = async |open: bool| {
        watched.office.state().open = if open { vec![ceo.into()] } else { Vec::new() };
        watched.pass(61);
        engine.watch_scope().await.unwrap();
        engine.scope_watch(connection).await.unwrap().held()
    };
    assert_eq!(look(false).await, Some(true));
    assert_eq!(watched.house.timeline(subject).await.last(), Some(&"connection.saved"));
    assert_eq!(look(true).await, Some(false));
    assert_eq!(look(true).await, Some(false));
    assert_eq!(look(false).await, Some(true));
    assert_eq!(look(false).await, Some(true));
    let timeline = watched.house.timeline(subject).await;
    assert_eq!(timeline[timeline.len() - 2..], ["scope.exceeded", "scope.held"]);
    assert_eq!(timeline.iter().filter(|kind| kind.starts_with("scope")).count(), 2);
    // An empty list ends the watch.
    engine.must_not_open(connection, Vec::new()).await.unwrap();
    assert_eq!(look(true).await, None);
}

#[tokio::test]
async fn a_right_for_the_whole_tenant_that_defeats_the_limit_is_told_once_and_when_it_is_gone() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    let look = async |wide: &[&str]| {
        watched.office.state().wide = wide.iter().map(|value| (*value).to_owned()).collect();
        watched.pass(61);
        engine.watch_scope().await.unwrap();
        engine.scope_watch(connection).await.unwrap().held()
    };
    assert_eq!(look(&["Mail.Read"]).await, None, "nothing says that the application is limited");
    engine.watch_limit(connection, Some(vec!["Mail.Send".into()])).await.unwrap();
    assert_eq!(look(&["Mail.Send"]).await, Some(true));
    for _ in 0..2 {
        assert_eq!(look(&["Mail.Send", "Mail.Read"]).await, Some(false));
    }
    assert_eq!(look(&[]).await, Some(true));
    let events = watched.house.events(Subject::Connection(connection)).await;
    let told: Vec<_> = events.iter().filter(|one| one.event.kind.as_str().starts_with("scope")).collect();
    let kinds: Vec<_> = told.iter().map(|one| one.event.kind.as_str()).collect();
    assert_eq!(kinds, ["scope.exceeded", "scope.held"]);
    let words = told[0].event.words.as_deref().unwrap();
    assert!(words.contains("Mail.Read (to read every mailbox)") && words.contains("Next step"), "{words}");
    engine.watch_limit(connection, None).await.unwrap();
    assert_eq!(look(&["Mail.Read"]).await, None);
}

#[tokio::test]
async fn a_mailbox_that_does_not_exist_proves_nothing() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    let (ceo, nobody) = ("ceo@contoso.example", "nobody@contoso.example");
    watched.office.state().open = vec![ceo.into()];
    let named = vec![ceo.parse().unwrap(), nobody.parse().unwrap()];
    engine.must_not_open(connection, named).await.unwrap();
    engine.watch_scope().await.unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), Some(false));
    (watched.office.state().open, watched.office.state().missing) = (Vec::new(), vec![nobody.into()]);
    watched.pass(61);
    engine.watch_scope().await.unwrap();
    let watch = engine.scope_watch(connection).await.unwrap();
    assert_eq!((watch.held(), watch.refused.len(), watch.missing.len()), (None, 1, 1), "{watch:?}");
    assert!(watch.trouble.unwrap().contains("there is no mailbox nobody@contoso.example"));
    let timeline = watched.house.timeline(Subject::Connection(connection)).await;
    assert_eq!(timeline.last(), Some(&"scope.exceeded"), "nothing says that all are refused");
    watched.office.state().missing = Vec::new();
    watched.pass(61);
    engine.watch_scope().await.unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), Some(true));
    assert_eq!(watched.house.timeline(Subject::Connection(connection)).await.last(), Some(&"scope.held"));
}

#[tokio::test]
async fn a_look_that_never_happened_is_not_a_refusal() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    // A process was killed while it looked: its claim stays for a while.
    let until = watched.house.env.now().saturating_add(SignedDuration::from_mins(5)).unwrap();
    let claim = format!("turn/scope/{connection}/of-one-that-was-killed");
    let content = format!(r#"{{"until":"{until}"}}"#);
    watched.house.store.save_journal(&claim, Some(&content)).await.unwrap();
    engine.must_not_open(connection, vec!["ceo@contoso.example".parse().unwrap()]).await.unwrap();
    engine.watch_scope().await.unwrap();
    let watch = engine.scope_watch(connection).await.unwrap();
    assert_eq!((watch.held(), watch.looked_at), (None, None));
    watched.pass(6);
    engine.watch_scope().await.unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), Some(true));
}

#[tokio::test]
async fn no_key_is_made_while_no_renewal_is_possible() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    let mut failure = refused("the object id of the application is not known");
    failure.advice = Some("name it".into());
    watched.office.state().impossible = Some(failure);
    let engine = watched.engine();
    let stands = engine.renew_credential(&watched.connection().await).await.unwrap().unwrap();
    assert!(stands.for_person && stands.stage == Stage::Begun, "{stands:?}");
    assert!(stands.trouble.unwrap().ends_with("Next step: name it"));
    assert_eq!((watched.credentials().await.len(), watched.office.state().made), (1, 0));
    watched.office.state().impossible = None;
    engine.renew_credential(&watched.connection().await).await.unwrap();
    watched.renew(&engine).await;
    watched.is_renewed_once("once it is possible").await;
}

#[tokio::test]
async fn a_key_that_the_provider_refused_to_take_is_retired() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    watched.office.state().refuse_renewal = Some(refused("no such application"));
    let engine = watched.engine();
    let stands = engine.renew_credential(&watched.connection().await).await.unwrap().unwrap();
    assert!(stands.for_person && stands.trouble.is_some(), "{stands:?}");
    assert!(watched.in_state(CredentialState::Next).await.is_empty());
    assert_eq!(watched.in_state(CredentialState::Retired).await.len(), 1);
    assert_eq!(watched.current_secret().await, "first");
    // One that may have arrived, because the answer was lost, is kept for the next try.
    let lost = Failure::new("add a key", Origin::Network, "no answer", Decision::Retry { after: None });
    watched.office.state().refuse_renewal = Some(lost);
    engine.renew_credential(&watched.connection().await).await.unwrap();
    assert_eq!(watched.in_state(CredentialState::Next).await.len(), 1);
    watched.office.state().refuse_renewal = None;
    watched.renew(&engine).await;
    watched.is_renewed_once("after refusals").await;
}

#[tokio::test]
async fn a_new_credential_passes_several_tests_over_a_minute_before_it_is_used() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    let engine = watched.engine();
    engine.watch_credentials().await.unwrap();
    watched.pass(6); // it has come to be known
    let second = |seconds| watched.house.clock.advance(SignedDuration::from_secs(seconds));
    engine.watch_credentials().await.unwrap();
    second(29);
    engine.watch_credentials().await.unwrap();
    let passes = async || engine.renewal(watched.house.connection).await.unwrap().unwrap().passes;
    assert_eq!(passes().await, 1, "not tested again so soon");
    second(1);
    engine.watch_credentials().await.unwrap();
    assert_eq!((passes().await, watched.current_secret().await.as_str()), (2, "first"));
    // Another front end does not know it yet: all passes count anew.
    watched.office.state().refuse_tests = true;
    second(30);
    engine.watch_credentials().await.unwrap();
    assert_eq!((passes().await, watched.current_secret().await.as_str()), (0, "first"));
    watched.office.state().refuse_tests = false;
    for expected in ["first", "first", "key 1"] {
        second(30);
        engine.watch_credentials().await.unwrap();
        assert_eq!(watched.current_secret().await, expected);
    }
    watched.renew(&engine).await;
    watched.is_renewed_once("after several tests").await;
}

#[tokio::test]
async fn a_credential_that_another_connection_signs_in_with_stays_at_the_provider() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    let connection = watched.connection().await;
    let mut settings = connection.settings.clone();
    settings.name = "Second".into();
    let end = watched.credentials().await[0].expires_at;
    let save = SaveConnection {
        id: watched.house.env.new_id(),
        settings,
        credential: Some(first(CredentialKind::Certificate, "first", end)),
        actor: "cli".into(),
    };
    watched.house.store.save_connection(save).await.unwrap();
    let by_hand = watched.engine();
    by_hand.renew_credential(&connection).await.unwrap();
    for _ in 0..10 {
        watched.pass(20);
        if by_hand.renewal(connection.id).await.unwrap().is_some() {
            by_hand.renew_credential(&connection).await.unwrap();
        }
    }
    assert!(by_hand.renewal(connection.id).await.unwrap().is_none());
    assert_ne!(watched.current_secret().await, "first");
    assert!(watched.keys().contains(&"first".to_owned()) && watched.office.state().removed.is_empty());
    let told = watched.told(EventKind::CredentialRenewed).await;
    assert!(told.iter().any(|words| words.contains("because Second signs in with it too")), "{told:?}");
}

#[tokio::test]
async fn a_renewal_is_promised_only_where_it_is_possible() {
    for (kind, what) in [
        (CredentialKind::ClientSecret, "--secret-file FILE"),
        (CredentialKind::Certificate, "--make-certificate"),
    ] {
        for possible in [true, false] {
            let watched = Watched::new(kind, Some(59)).await;
            watched.office.state().impossible = (!possible).then(|| refused("it may not"));
            watched.engine().watch_credentials().await.unwrap();
            let told = watched.told(EventKind::CredentialExpiring).await;
            assert_eq!(told[0].contains("Postroom renews it 30 days before its end"), possible, "{told:?}");
            assert_eq!(told[0].contains("postroom credential stage --connection"), !possible, "{told:?}");
            assert_eq!(told[0].contains(what), !possible, "{told:?}");
        }
    }
}

#[tokio::test]
async fn a_send_that_meets_a_place_where_the_new_credential_is_not_known_is_tried_again() {
    let watched = Watched::new(CredentialKind::Certificate, Some(300)).await;
    let staged = first(CredentialKind::Certificate, "second", None);
    watched.house.store.stage_credential(watched.house.connection, staged, "cli").await.unwrap();
    watched.house.store.switch_credential(watched.house.connection, "cli").await.unwrap();
    let engine = watched
        .engine_over(watched.house.store.clone(), WatchSettings { renew: false, ..WatchSettings::default() });
    let running = watched.house.run_engine(engine.clone());
    let id = watched.house.submit(&engine).await;
    watched.house.becomes(id, OutboxState::Deferred).await;
    let end = watched.house.env.now().saturating_add(SignedDuration::from_hours(300 * DAY)).unwrap();
    watched.office.enter("second", "id of second", end);
    watched.pass(120);
    running.engine.nudge();
    watched.house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
    let state = watched.office.state();
    assert_eq!((state.refused_sends, state.sent), (1, 1));
}
