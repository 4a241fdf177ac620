//! When credentials end: learned, and told in time.

use postroom_engine::watch::WatchSettings;
use postroom_model::credential::CredentialKind;
use postroom_model::event::EventKind;

use super::Watched;
use crate::office::refused;

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
