//! Renewals while messages leave all the time, and what becomes of a message that meets a refused credential.

use std::future::Future;

use jiff::SignedDuration;
use postroom_engine::Engine;
use postroom_engine::watch::WatchSettings;
use postroom_model::credential::{CredentialKind, CredentialState};
use postroom_model::event::EventKind;
use postroom_model::outbox::OutboxState;
use postroom_model::{OutboxMessageId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{DAY, Watched};
use crate::office::first;

/// Messages on their way at the same time.
const UNDER_WAY: usize = 4;

impl Watched {
    /// Messages leave all the time until `work` is done, as fast as they are sent. Gives them.
    async fn under_load(&self, engine: &Engine, work: impl Future<Output = ()>) -> Vec<OutboxMessageId> {
        let done = CancellationToken::new();
        let load = async {
            let mut sent = Vec::new();
            while !done.is_cancelled() {
                sent.push(self.house.submit(engine).await);
                self.office.until(|state| state.ended() + UNDER_WAY > sent.len()).await;
            }
            sent
        };
        let work = async {
            work.await;
            done.cancel();
        };
        let (sent, ()) = tokio::join!(load, work);
        for id in &sent {
            self.house.becomes(*id, OutboxState::Sent).await;
        }
        sent
    }
}

/// Each renewal begins shortly before the end of the credential before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_renewals_under_load_fail_no_send() {
    let watched = Watched::new(CredentialKind::Certificate, Some(90)).await;
    let engine = watched.engine();
    let running = watched.house.run_engine(engine.clone());
    let renewals = async {
        let mut used = vec![watched.current_secret().await];
        let mut ends: Option<Timestamp> = None;
        while used.len() < 4 || !watched.office.state().removed.len().eq(&3) {
            engine.watch_credentials().await.unwrap();
            let secret = watched.current_secret().await;
            if used.last() != Some(&secret) {
                used.push(secret);
                ends = None;
            }
            // A send takes no hour: those that began with an older credential end before time goes on. And some leave
            // at every point of a renewal.
            let last = used.last().unwrap().clone();
            watched.office.until(|state| state.senders.keys().all(|with| *with == last)).await;
            let sent = watched.office.state().sent;
            watched.office.until(|state| state.sent > sent).await;
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
    };
    let sent = watched.under_load(&engine, renewals).await;
    running.stop().await;
    let state = watched.office.state();
    assert_eq!((state.refused_sends, state.sent as usize), (0, sent.len()));
    assert!(sent.len() > 50, "{} messages", sent.len());
    assert_eq!((state.made, state.removed.len(), state.keys.len()), (3, 3, 1));
}

/// The provider takes the new credential away at once after the switch, and messages leave all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_credential_that_is_refused_under_load_is_put_out_of_use_once_and_every_message_leaves() {
    for kind in [CredentialKind::Certificate, CredentialKind::ClientSecret] {
        let watched = Watched::new(kind, Some(29)).await;
        let engine = watched.engine();
        let running = watched.house.run_engine(engine.clone());
        let mut revoked = String::new();
        let work = async {
            revoked = watched.switched(&engine).await;
            watched.office.state().keys.remove(&revoked);
            // The first message that is refused brings the old one back, without waiting for anything else.
            watched.office.until(|state| state.refused_sends > 0).await;
            watched
                .house
                .until("the old one is in use", async || match watched.current_secret().await.as_str() {
                    "first" => Ok(()),
                    other => Err(other.to_owned()),
                })
                .await;
            let sent = watched.office.state().sent;
            watched.office.until(|state| state.sent > sent + 10).await;
        };
        let sent = watched.under_load(&engine, work).await;
        running.stop().await;
        for id in &sent {
            let timeline = watched.house.outbox_timeline(*id).await;
            assert_eq!(timeline, ["outbox.accepted", "outbox.attempt", "outbox.sent"], "{kind:?}");
        }
        assert_eq!(watched.office.state().sent as usize, sent.len());
        let told = watched.told(EventKind::CredentialRenewalFailed).await;
        assert_eq!(told.len(), 1, "{told:?}");
        for words in ["AADSTS7000215", "the old one", "is in use again", "Next step: "] {
            assert!(told[0].contains(words), "{words}: {}", told[0]);
        }
        let events = watched.events().await;
        let count = |kind: EventKind| events.iter().filter(|known| **known == kind).count();
        assert_eq!((count(EventKind::CredentialSwitched), count(EventKind::CredentialSwitchedBack)), (1, 1));
        assert!(
            watched.in_state(CredentialState::Former).await.is_empty(),
            "what is refused is kept nowhere"
        );

        // Bounded: hours later another is made, and nothing goes to and fro meanwhile.
        watched.pass(5 * 60);
        engine.watch_credentials().await.unwrap();
        assert_eq!((watched.keys(), watched.office.state().made), (vec!["first".to_owned()], 1), "{kind:?}");
        watched.pass(61);
        watched.renew(&engine).await;
        let current = watched.current_secret().await;
        assert!(current != "first" && current != revoked, "{kind:?}: {current}");
    }
}

/// A provider that refuses everybody proves nothing about the new credential.
#[tokio::test]
async fn nothing_is_switched_back_while_the_old_credential_is_refused_too_or_nobody_answers() {
    let watched = Watched::new(CredentialKind::Certificate, Some(29)).await;
    let engine = watched.engine();
    let running = watched.house.run_engine(engine.clone());
    let renewed = watched.switched(&engine).await;
    let (new, old) = {
        let mut state = watched.office.state();
        (state.keys.remove(&renewed).unwrap(), state.keys.remove("first").unwrap())
    };
    let before = watched.office.state().tests;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let id = watched.house.submit(&engine).await;
        waiting.push(watched.house.becomes(id, OutboxState::Deferred).await.id);
    }
    assert_eq!(watched.current_secret().await, renewed);
    assert_eq!(watched.office.state().tests - before, 2, "both were tried once, not for each message");
    watched.office.state().keys.extend([(renewed.clone(), new), ("first".to_owned(), old)]);
    watched.pass(61);
    running.engine.nudge();
    for id in waiting {
        watched.house.becomes(id, OutboxState::Sent).await;
    }
    watched.renew(&engine).await;
    running.stop().await;
    assert_eq!(watched.current_secret().await, renewed);
    assert!(watched.told(EventKind::CredentialRenewalFailed).await.is_empty());
}

/// Without a single message, the old credential is not removed while it is the only one that works.
#[tokio::test]
async fn the_new_credential_is_tried_once_more_before_the_old_one_is_removed() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(29)).await;
    let engine = watched.engine();
    let renewed = watched.switched(&engine).await;
    watched.office.state().keys.remove(&renewed);
    watched.pass(61);
    engine.watch_credentials().await.unwrap();
    assert_eq!(
        (watched.current_secret().await.as_str(), watched.keys()),
        ("first", vec!["first".to_owned()])
    );
    assert_eq!(watched.told(EventKind::CredentialRenewalFailed).await.len(), 1);
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
