//! Renewals: killed at every point, refused in every way, by two processes at once, and taken back.

use std::sync::Arc;

use jiff::SignedDuration;
use postroom_engine::Engine;
use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::renewal::Stage;
use postroom_model::credential::{CredentialKind, CredentialState};
use postroom_model::event::EventKind;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_store::SaveConnection;

use super::{DAY, Watched};
use crate::faulty::Faulty;
use crate::office::{KillSwitch, first, refused};

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
    watched.switched(&engine).await;
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
