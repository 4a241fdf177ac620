//! Mailboxes, their claims, and the commit of a reading.

use bytes::Bytes;
use postroom_model::connection::ConnectionSettings;
use postroom_model::event::Subject;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{Availability, MailboxSettings, MailboxState, Validation};
use postroom_model::{ConnectionId, MailboxId, SecretString};
use postroom_store::{
    BlobRef, ClaimedMailbox, CollectedBatch, CommitReport, InboxFilter, NewInboxMessage, Page, PollFinish,
    SaveConnection, SaveMailbox, StoreError,
};

use crate::bench::{Bench, digest, in_state};
use crate::settings::with_secret;

fn batch(claimed: &ClaimedMailbox, cursor: &str, messages: Vec<NewInboxMessage>) -> CollectedBatch {
    CollectedBatch {
        mailbox: claimed.mailbox.id,
        lease: claimed.lease.clone(),
        cursor: Some(cursor.into()),
        messages,
        present: vec![],
        removed: vec![],
    }
}

fn report(stored: u32, delivered: u32, repeated: u32) -> CommitReport {
    CommitReport { stored, delivered, repeated }
}

pub(crate) async fn cursor_and_messages_are_committed_together(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let claimed = bench.claim_mailbox(mailbox).await;
    assert_eq!(claimed.cursor, None);
    let messages = vec![bench.mail("1", "one").await, bench.mail("2", "two").await];
    assert_eq!(bench.store.commit_batch(batch(&claimed, "page 1", messages)).await.unwrap(), report(2, 0, 0));
    let more = vec![bench.mail("3", "three").await];
    assert_eq!(bench.store.commit_batch(batch(&claimed, "page 2", more)).await.unwrap(), report(1, 0, 0));
    bench.finish_poll(&claimed, None).await;
    assert_eq!(bench.claim_mailbox(mailbox).await.cursor.as_deref(), Some("page 2"));
    let stored = bench.store.unprocessed(10).await.unwrap();
    assert_eq!(stored.len(), 3);
    assert_eq!(bench.store.blob(&stored[0].raw).await.unwrap(), Bytes::from_static(b"one"));
    assert_eq!(bench.timeline(Subject::InboxMessage(stored[2].id)).await, ["inbox.stored"]);
}

pub(crate) async fn a_lost_lease_commits_nothing(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let old = bench.claim_mailbox(mailbox).await;
    bench.pass(60);
    let new = bench.claim_mailbox(mailbox).await;
    let late = batch(&old, "late", vec![bench.mail("1", "one").await]);
    assert!(matches!(bench.store.commit_batch(late).await, Err(StoreError::LeaseLost { .. })));
    assert!(bench.store.unprocessed(10).await.unwrap().is_empty());
    let finish = PollFinish {
        mailbox,
        lease: old.lease,
        state: MailboxState::Failing,
        error: Some("late".into()),
        failures: 9,
        next_due_at: None,
        events: vec![],
    };
    assert!(matches!(bench.store.finish_poll(finish).await, Err(StoreError::LeaseLost { .. })));
    assert_eq!(bench.store.mailbox(mailbox).await.unwrap().unwrap().failures, 0);
    bench.finish_poll(&new, None).await;
    assert_eq!(bench.claim_mailbox(mailbox).await.cursor, None);
}

pub(crate) async fn a_known_provider_id_is_dropped(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let other = bench.mailbox("service@contoso.example").await;
    bench.collect(mailbox, bench.mail("1", "one").await).await;
    assert_eq!(bench.collect(mailbox, bench.mail("1", "changed").await).await, report(0, 0, 1));
    let ids = ["1".to_owned(), "2".to_owned()];
    assert_eq!(bench.store.known_provider_ids(mailbox, &ids).await.unwrap(), ["1".to_owned()].into());
    assert!(bench.store.known_provider_ids(other, &ids).await.unwrap().is_empty());
    assert_eq!(bench.store.unprocessed(10).await.unwrap().len(), 1);
}

pub(crate) async fn the_same_mail_in_another_mailbox_is_one_message(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let one = bench.mailbox("orders@contoso.example").await;
    let two = bench.mailbox("service@contoso.example").await;
    bench.collect(one, bench.mail("1", "same").await).await;
    assert_eq!(bench.collect(two, bench.mail("a", "same").await).await, report(0, 1, 0));
    assert_eq!(bench.collect(one, bench.mail("copy", "same").await).await, report(0, 1, 0));
    // Each mailbox's server wrote its trace into its copy: other bytes, and still the same mail.
    let three = bench.mailbox("sales@contoso.example").await;
    let traced = NewInboxMessage {
        message_id: Some("<same@fabrikam.example>".into()),
        content: digest("same"),
        ..bench.mail("c", "Received: by sales; same").await
    };
    assert_eq!(bench.collect(three, traced).await, report(0, 1, 0));
    // The same Message-ID on another content is another mail: anybody can write any Message-ID.
    let forged = NewInboxMessage {
        message_id: Some("<same@fabrikam.example>".into()),
        ..bench.mail("b", "forged").await
    };
    assert_eq!(bench.collect(two, forged).await, report(1, 0, 0));
    let listed =
        bench.store.inbox(&bench.somebody(), &in_state(InboxState::Stored), Page::default()).await.unwrap();
    assert_eq!(listed.len(), 2);
    let first = listed.iter().find(|message| message.size == 4).unwrap();
    assert_eq!(first.mailboxes.len(), 3, "a second copy in the same mailbox is one place");
    assert_eq!(
        bench.timeline(Subject::InboxMessage(first.id)).await,
        ["inbox.stored", "inbox.delivered", "inbox.delivered", "inbox.delivered"]
    );
}

pub(crate) async fn mail_without_message_id_is_compared_by_content(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let one = bench.mailbox("orders@contoso.example").await;
    let two = bench.mailbox("service@contoso.example").await;
    let nameless =
        async |id: &str, content: &str| NewInboxMessage { message_id: None, ..bench.mail(id, content).await };
    bench.collect(one, nameless("1", "same").await).await;
    assert_eq!(bench.collect(two, nameless("a", "same").await).await, report(0, 1, 0));
    assert_eq!(bench.collect(two, nameless("b", "other").await).await, report(1, 0, 0));
}

pub(crate) async fn a_message_that_left_the_folder_stays(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let id = bench.received(mailbox, "Order").await;
    let claimed = bench.claim_mailbox(mailbox).await;
    for _ in 0..2 {
        let removed = vec!["id of Order".to_owned(), "never seen".to_owned()];
        let batch = CollectedBatch { removed, ..batch(&claimed, "later", vec![]) };
        assert_eq!(bench.store.commit_batch(batch).await.unwrap(), report(0, 0, 0));
    }
    assert_eq!(bench.subjects(&bench.somebody(), &InboxFilter::default()).await, ["Order"]);
    let told = bench.timeline(Subject::InboxMessage(id)).await;
    assert_eq!(told, ["inbox.stored", "inbox.processed", "inbox.removed-at-provider"]);
    let known = bench.store.known_provider_ids(mailbox, &["id of Order".to_owned()]).await.unwrap();
    assert_eq!(known.len(), 1, "moved back, it is not fetched again");
    for _ in 0..2 {
        let present = vec!["id of Order".to_owned(), "never seen".to_owned()];
        let batch = CollectedBatch { present, ..batch(&claimed, "back", vec![]) };
        assert_eq!(bench.store.commit_batch(batch).await.unwrap(), report(0, 0, 0));
    }
    assert_eq!(bench.timeline(Subject::InboxMessage(id)).await[3..], ["inbox.returned"], "told once");
}

pub(crate) async fn due_mailboxes_are_claimed_once_and_the_longest_due_first(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), None);
    let first = bench.mailbox("a@contoso.example").await;
    bench.pass(1);
    let second = bench.mailbox("b@contoso.example").await;
    let claim = async |limit| {
        let claimed = bench.store.claim_mailboxes(&bench.node(), bench.after(60), limit).await.unwrap();
        claimed.iter().map(|claimed| claimed.mailbox.id).collect::<Vec<MailboxId>>()
    };
    assert_eq!(claim(1).await, [first]);
    assert_eq!(claim(10).await, [second]);
    assert!(claim(10).await.is_empty());
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), Some(bench.after(60)), "when the leases end");
    bench.pass(60);
    assert_eq!(claim(10).await, [first, second]);
}

pub(crate) async fn a_mailbox_can_be_claimed_before_it_is_due(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let claimed = bench.claim_mailbox(mailbox).await;
    assert!(bench.store.claim_mailbox(mailbox, &bench.node(), bench.after(60)).await.unwrap().is_none());
    pace(&bench, claimed.connection.id, "0").await;
    bench.finish_poll(&claimed, None).await;
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), None, "polling is off");
    bench.claim_mailbox(mailbox).await;
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), None);
    let unknown = bench.store.claim_mailbox(bench.env.new_id(), &bench.node(), bench.after(60)).await;
    assert!(matches!(unknown, Err(StoreError::Untouched { .. })));
}

pub(crate) async fn a_finished_reading_sets_state_and_time(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let claimed = bench.claim_mailbox(mailbox).await;
    bench.pass(2);
    let (at, due) = (bench.env.now(), bench.after(120));
    bench.finish_poll(&claimed, Some(due)).await;
    let claimed = bench.claim_mailbox(mailbox).await;
    bench.pass(5);
    let finish = PollFinish {
        mailbox,
        lease: claimed.lease,
        state: MailboxState::Failing,
        error: Some("503 Service Unavailable".into()),
        failures: 1,
        next_due_at: Some(bench.after(300)),
        events: vec![],
    };
    bench.store.finish_poll(finish).await.unwrap();
    let now = bench.store.mailbox(mailbox).await.unwrap().unwrap();
    assert_eq!((now.state, now.failures), (MailboxState::Failing, 1));
    assert_eq!(now.last_error.as_deref(), Some("503 Service Unavailable"));
    assert_eq!((now.last_success_at, now.next_due_at), (Some(at), Some(bench.after(300))));
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), now.next_due_at);
}

pub(crate) async fn moving_an_empty_mailbox_forgets_the_cursor_and_ends_the_lease(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let (here, there) = (bench.connection().await, bench.connection().await);
    let mailbox = bench.save_mailbox(bench.env.new_id(), here, "a@contoso.example", Availability::All).await;
    let claimed = bench.claim_mailbox(mailbox).await;
    // Other settings leave the reading alone.
    bench.save_mailbox(mailbox, here, "A@contoso.example", Availability::nobody()).await;
    bench.store.commit_batch(batch(&claimed, "further", vec![])).await.unwrap();
    bench.save_mailbox(mailbox, there, "a@contoso.example", Availability::All).await;
    let mail = bench.mail("1", "one").await;
    let late = bench.store.commit_batch(batch(&claimed, "of the old account", vec![mail])).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })));
    let claimed = bench.claim_mailbox(mailbox).await;
    assert_eq!((claimed.cursor, claimed.connection.id), (None, there));
    assert_eq!(claimed.mailbox.state, MailboxState::New);
}

pub(crate) async fn a_mailbox_with_mail_stays_the_account_it_is(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let (here, there) = (bench.connection().await, bench.connection().await);
    let mailbox =
        bench.save_mailbox(bench.env.new_id(), here, "hr@contoso.example", Availability::nobody()).await;
    let id = bench.received(mailbox, "Sick note").await;
    for (connection, address) in [(here, "quotes@contoso.example"), (there, "hr@contoso.example")] {
        let settings = Bench::mailbox_settings(address, Availability::All);
        let save = SaveMailbox { id: mailbox, connection, settings, password: None, actor: "cli".into() };
        let refused = bench.store.save_mailbox(save).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the address and connection of hr@contoso.example cannot be changed: it has collected mail"
        );
        assert_eq!(refused.hint(), Some("remove it and add another"));
    }
    assert!(bench.store.inbox_message(&bench.somebody(), id).await.unwrap().is_none(), "still nobody's");
    // Its spelling is not its address.
    bench.save_mailbox(mailbox, here, "HR@contoso.example", Availability::nobody()).await;
    assert_eq!(bench.claim_mailbox(mailbox).await.cursor.as_deref(), Some("next"));
}

/// Saves the polling interval of a connection.
async fn pace(bench: &Bench, id: ConnectionId, interval: &str) {
    let settings = ConnectionSettings {
        polling_interval: interval.parse().unwrap(),
        ..bench.store.connection(id).await.unwrap().unwrap().settings
    };
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    bench.store.save_connection(save).await.unwrap();
}

pub(crate) async fn the_connections_interval_reaches_the_mailboxes_that_have_none(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let connection = bench.connection().await;
    pace(&bench, connection, "60").await;
    let heir =
        bench.save_mailbox(bench.env.new_id(), connection, "a@contoso.example", Availability::All).await;
    let own = bench.env.new_id();
    let settings = MailboxSettings {
        polling_interval: "30".parse().unwrap(),
        ..Bench::mailbox_settings("b@contoso.example", Availability::All)
    };
    let save = SaveMailbox { id: own, connection, settings, password: None, actor: "cli".into() };
    bench.store.save_mailbox(save).await.unwrap();
    let (hour, half) = (bench.after(3_600), bench.after(1_800));
    for (id, due) in [(heir, hour), (own, half)] {
        bench.finish_poll(&bench.claim_mailbox(id).await, Some(due)).await;
    }
    let due = async |id| bench.store.mailbox(id).await.unwrap().unwrap().next_due_at;
    pace(&bench, connection, "0").await;
    assert_eq!((due(heir).await, due(own).await), (None, Some(half)), "off");
    bench.pass(10);
    pace(&bench, connection, "60").await;
    assert_eq!((due(heir).await, due(own).await), (Some(bench.env.now()), Some(half)), "on again");
    bench.finish_poll(&bench.claim_mailbox(heir).await, Some(bench.after(3_600))).await;
    pace(&bench, connection, "5").await;
    assert_eq!((due(heir).await, due(own).await), (Some(bench.after(300)), Some(half)), "shorter");
    let before = due(heir).await;
    bench.pass(10);
    pace(&bench, connection, "5").await;
    pace(&bench, connection, "120").await;
    assert_eq!(due(heir).await, before, "the same, and longer");
}

pub(crate) async fn polling_switched_off_or_on_during_a_reading_wins(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let connection = bench.connection().await;
    let id = bench.save_mailbox(bench.env.new_id(), connection, "a@contoso.example", Availability::All).await;
    let due = async || bench.store.mailbox(id).await.unwrap().unwrap().next_due_at;
    let claimed = bench.claim_mailbox(id).await;
    pace(&bench, connection, "0").await;
    bench.finish_poll(&claimed, Some(bench.after(120))).await;
    assert_eq!(due().await, None);
    let claimed = bench.claim_mailbox(id).await;
    pace(&bench, connection, "5").await;
    bench.finish_poll(&claimed, None).await;
    assert_eq!(due().await, Some(bench.after(300)));
}

pub(crate) async fn a_woken_mailbox_is_due_now_and_no_wake_is_lost_during_a_reading(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let id = bench.mailbox("orders@contoso.example").await;
    let due = async || bench.store.mailbox(id).await.unwrap().unwrap().next_due_at;
    let read = async || {
        let claimed = bench.claim_mailbox(id).await;
        bench.finish_poll(&claimed, Some(bench.after(120))).await;
    };
    read().await;
    bench.pass(5);
    bench.store.wake_mailbox(id).await.unwrap();
    assert_eq!(due().await, Some(bench.env.now()));
    // The reading that it asked for answers it.
    read().await;
    assert_eq!(due().await, Some(bench.after(120)));
    let claimed = bench.claim_mailbox(id).await;
    bench.store.wake_mailbox(id).await.unwrap();
    assert!(bench.store.claim_mailboxes(&bench.node(), bench.after(60), 10).await.unwrap().is_empty());
    bench.store.commit_batch(batch(&claimed, "further", vec![])).await.unwrap();
    bench.finish_poll(&claimed, Some(bench.after(120))).await;
    assert_eq!(due().await, Some(bench.env.now()), "that reading may have looked too early");
    read().await;
    assert_eq!(due().await, Some(bench.after(120)), "once");
}

pub(crate) async fn a_wake_changes_neither_what_is_off_nor_the_rest_of_what_fails(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let connection = bench.connection().await;
    let id = bench.save_mailbox(bench.env.new_id(), connection, "a@contoso.example", Availability::All).await;
    let due = async || bench.store.mailbox(id).await.unwrap().unwrap().next_due_at;
    let rest = Some(bench.after(900));
    let fail = async |claimed: ClaimedMailbox| {
        let finish = PollFinish {
            mailbox: id,
            lease: claimed.lease,
            state: MailboxState::Failing,
            error: Some("429 Too Many Requests".into()),
            failures: 1,
            next_due_at: rest,
            events: vec![],
        };
        bench.store.finish_poll(finish).await.unwrap();
    };
    let claimed = bench.claim_mailbox(id).await;
    bench.store.wake_mailbox(id).await.unwrap();
    fail(claimed).await;
    assert_eq!(due().await, rest, "woken while the reading failed");
    bench.store.wake_mailbox(id).await.unwrap();
    assert_eq!(due().await, rest, "woken while it rests");
    // A reading that ends the trouble is as good as any: what came during it is not lost.
    let claimed = bench.claim_mailbox(id).await;
    bench.store.wake_mailbox(id).await.unwrap();
    bench.finish_poll(&claimed, Some(bench.after(120))).await;
    assert_eq!(due().await, Some(bench.env.now()));
    pace(&bench, connection, "0").await;
    bench.store.wake_mailbox(id).await.unwrap();
    assert_eq!(due().await, None, "off");
    bench.store.remove_mailbox(id, "cli").await.unwrap();
    bench.store.wake_mailbox(id).await.unwrap();
    bench.store.wake_mailbox(bench.env.new_id()).await.unwrap();
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), None);
}

pub(crate) async fn whatever_changes_how_a_polled_mailbox_is_opened_can_be_seen(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let connection = bench.connection().await;
    let address = "a@contoso.example";
    let id = bench.save_mailbox(bench.env.new_id(), connection, address, Availability::All).await;
    let polled = async || bench.store.polled_mailboxes().await.unwrap();
    let mut before = polled().await;
    assert_eq!(
        before.iter().map(|known| (known.id, known.connection)).collect::<Vec<_>>(),
        [(id, connection)]
    );
    bench.finish_poll(&bench.claim_mailbox(id).await, Some(bench.after(120))).await;
    assert_eq!(polled().await, before, "a reading changes nothing");
    let mut changed = async |what: &str| {
        let now = polled().await;
        assert_ne!(now, before, "{what}");
        before = now;
    };
    let settings = Bench::mailbox_settings(address, Availability::All);
    let password = Some(SecretString::from("of its own"));
    let save = SaveMailbox { id, connection, settings, password, actor: "cli".into() };
    bench.store.save_mailbox(save).await.unwrap();
    changed("its password").await;
    pace(&bench, connection, "5").await;
    changed("the connection").await;
    let secret = with_secret(connection, "a secret").credential.unwrap();
    bench.store.stage_credential(connection, secret, "cli").await.unwrap();
    bench.store.switch_credential(connection, "cli").await.unwrap();
    changed("the credential").await;
    pace(&bench, connection, "0").await;
    assert!(polled().await.is_empty(), "off");
    pace(&bench, connection, "5").await;
    bench.store.remove_mailbox(id, "cli").await.unwrap();
    assert!(polled().await.is_empty(), "removed");
}

pub(crate) async fn saving_a_mailbox_touches_no_other(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let connection = bench.connection().await;
    let one =
        bench.save_mailbox(bench.env.new_id(), connection, "a@contoso.example", Availability::All).await;
    let two =
        bench.save_mailbox(bench.env.new_id(), connection, "b@contoso.example", Availability::All).await;
    let validation = Validation { at: bench.env.now(), ok: true, words: "opened, 3 messages".into() };
    bench.store.save_validation(one, &validation, "cli").await.unwrap();
    let before = bench.store.mailbox(one).await.unwrap().unwrap();
    assert_eq!(before.validation, Some(validation.clone()));
    bench.save_mailbox(two, connection, "c@contoso.example", Availability::nobody()).await;
    assert_eq!(bench.store.mailbox(one).await.unwrap().unwrap(), before);
    let settings = Bench::mailbox_settings("A@Contoso.example", Availability::All);
    let save =
        postroom_store::SaveMailbox { id: two, connection, settings, password: None, actor: "cli".into() };
    let taken = bench.store.save_mailbox(save).await.unwrap_err();
    assert_eq!(taken.to_string(), "the mailbox A@Contoso.example is already there");
    let all = bench.store.mailboxes().await.unwrap();
    let addresses: Vec<_> = all.iter().map(|mailbox| mailbox.address.as_str()).collect();
    assert_eq!(addresses, ["a@contoso.example", "c@contoso.example"]);
    assert_eq!(bench.timeline(Subject::Mailbox(one)).await, ["mailbox.saved", "mailbox.validated"]);
    let nowhere = bench.store.save_validation(bench.env.new_id(), &validation, "cli").await;
    assert!(matches!(nowhere, Err(StoreError::Untouched { .. })));
}

pub(crate) async fn blobs_are_kept_once_and_compared_with_their_name(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let first = bench.store.put_blob(Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(first.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(bench.store.put_blob(Bytes::from_static(b"abc")).await.unwrap(), first);
    assert_eq!(bench.store.blob(&first).await.unwrap(), Bytes::from_static(b"abc"));
    let empty = bench.store.put_blob(Bytes::new()).await.unwrap();
    assert!(bench.store.blob(&empty).await.unwrap().is_empty());
    for (sha256, size) in [(first.sha256.as_str(), 4), ("../../../etc/passwd", 3), ("", 0), ("é", 3)] {
        let wrong = BlobRef { sha256: sha256.into(), size };
        assert!(matches!(bench.store.blob(&wrong).await, Err(StoreError::Contradiction { .. })), "{sha256}");
    }
    let missing = BlobRef { sha256: "00".repeat(32), size: 1 };
    assert!(matches!(bench.store.blob(&missing).await, Err(StoreError::File { .. })));
}

pub(crate) async fn a_content_that_comes_in_pieces_is_the_same_content(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let content: Bytes = (0..1_000_003u32).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>().into();
    for piece in [1_000, 65_536, 262_144, 2_000_000] {
        let mut writer = bench.store.write_blob().await.unwrap();
        for start in (0..content.len()).step_by(piece) {
            writer.write(content.slice(start..(start + piece).min(content.len()))).await.unwrap();
        }
        let written = writer.finish().await.unwrap();
        assert_eq!(bench.store.blob(&written).await.unwrap(), content, "by {piece}");
        assert_eq!(bench.store.put_blob(content.clone()).await.unwrap(), written);
    }
    let nothing = bench.store.write_blob().await.unwrap().finish().await.unwrap();
    assert_eq!(bench.store.put_blob(Bytes::new()).await.unwrap(), nothing);
}

pub(crate) async fn several_contents_are_stored_at_once_each_under_its_own_name(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let contents: Vec<Bytes> = (0..99).map(|number| format!("message {}", number % 50).into()).collect();
    let names = bench.store.put_blobs(contents.clone()).await.unwrap();
    assert_eq!(names.len(), contents.len());
    for (name, content) in names.iter().zip(&contents) {
        assert_eq!(bench.store.blob(name).await.unwrap(), content);
    }
    assert_eq!(bench.store.put_blobs(contents).await.unwrap(), names);
    assert!(bench.store.put_blobs(vec![]).await.unwrap().is_empty());
}

pub(crate) async fn the_beginning_of_a_content_is_read_without_the_rest(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let blob = bench.store.put_blob(Bytes::from_static(b"abcdef")).await.unwrap();
    for (limit, expected) in [(0, ""), (3, "abc"), (6, "abcdef"), (7, "abcdef"), (u64::MAX, "abcdef")] {
        assert_eq!(bench.store.blob_beginning(&blob, limit).await.unwrap(), expected, "{limit}");
    }
    let longer = BlobRef { size: 7, ..blob };
    let wrong = bench.store.blob_beginning(&longer, 3).await;
    assert!(matches!(wrong, Err(StoreError::Contradiction { .. })));
}
