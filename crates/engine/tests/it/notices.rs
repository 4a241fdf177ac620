//! Notices by mail.

use std::sync::Arc;

use postroom_engine::watch::WatchSettings;
use postroom_engine::watch::mail::{MailNotifier, MailSettings};
use postroom_model::credential::CredentialKind;
use postroom_model::outbox::OutboxMessage;
use postroom_store::{OutboxFilter, Page, SaveConnection};

use crate::watch::Watched;

/// Mails that wait in the outbox, oldest first.
async fn mails(watched: &Watched) -> Vec<OutboxMessage> {
    let page = Page { limit: 100, offset: 0 };
    let mut all = watched.house.store.outbox(&OutboxFilter::default(), page).await.unwrap();
    all.sort_by_key(|message| message.accepted_at);
    all
}

#[tokio::test]
async fn a_year_mails_each_warning_once_by_another_connection_where_there_is_one() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(365)).await;
    let other = watched.house.env.new_id();
    let connection = watched.connection().await;
    let by_hand = WatchSettings { renew: false, ..WatchSettings::default() };
    for hour in 0..366 * 4 {
        let engine = watched.engine_over(watched.house.store.clone(), by_hand.clone());
        let settings = MailSettings {
            to: "admin@contoso.example".parse().unwrap(),
            from: "orders@contoso.example".parse().unwrap(),
            connection: None,
        };
        let store = watched.house.store.clone();
        let notifier = MailNotifier::new(engine.intake(), store, watched.house.env.clone(), settings);
        engine.with_notifier(Arc::new(notifier)).watch_credentials().await.unwrap();
        if hour == 340 * 4 {
            let mut settings = connection.settings.clone();
            settings.name = "Fabrikam".into();
            let save = SaveConnection { id: other, settings, credential: None, actor: "cli".into() };
            watched.house.store.save_connection(save).await.unwrap();
        }
        watched.pass(6 * 60);
    }
    let mails = mails(&watched).await;
    let days = ["60 days", "30 days", "14 days", "7 days", "one day", "ended on"];
    assert_eq!(mails.len(), days.len(), "{mails:#?}");
    for (mail, day) in mails.iter().zip(days) {
        assert!(mail.subject.contains(day), "{} is not about {day}", mail.subject);
        let raw = watched.house.store.outbox_raw(mail.id).await.unwrap();
        let raw = String::from_utf8(raw.to_vec()).unwrap();
        assert!(raw.contains("Auto-Submitted: auto-generated\r\n"), "{raw}");
        assert!(raw.contains("To: <admin@contoso.example>") && raw.contains("Next step: "), "{raw}");
    }
    // The second connection came between the warnings of 30 and 14 days.
    let roads: Vec<_> = mails.iter().map(|mail| mail.connection == other).collect();
    assert_eq!(roads, [false, false, true, true, true, true]);
}
