//! A connection switched between the two interfaces of Exchange Online: no mail is lost, doubled or told of again.

use postroom_model::connection::{ConnectionKind, ConnectionSettings, ExchangeApi};
use postroom_model::event::Subject;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{Availability, Mailbox};
use postroom_model::outbox::OutboxState;
use postroom_model::{ConnectionId, InboxMessageId, MailboxId};
use postroom_store::{
    CollectedBatch, CommitReport, InterfaceSwitch, NewInboxMessage, Page, SaveConnection, StoreError,
};

use crate::bench::{Bench, digest, in_state};

async fn found(bench: &Bench, mailbox: MailboxId) -> Mailbox {
    bench.store.mailbox(mailbox).await.unwrap().unwrap()
}

async fn switch(bench: &Bench, connection: ConnectionId, to: ExchangeApi) -> InterfaceSwitch {
    bench.store.switch_interface(connection, to, "cli").await.unwrap()
}

fn repeated(count: u32) -> CommitReport {
    CommitReport { repeated: count, ..CommitReport::default() }
}

async fn stored(bench: &Bench) -> Vec<InboxMessageId> {
    let listed =
        bench.store.inbox(&bench.somebody(), &in_state(InboxState::Stored), Page::default()).await.unwrap();
    listed.iter().map(|message| message.id).collect()
}

pub(crate) async fn what_was_collected_is_recognised_by_its_new_id_and_makes_no_event(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    let id = {
        bench.collect(mailbox, bench.mail("ews 1", "one").await).await;
        stored(&bench).await[0]
    };
    assert_eq!(bench.store.plan_interface_switch(connection).await.unwrap().messages, 1);
    let done = switch(&bench, connection, ExchangeApi::Ews).await;
    assert_eq!((done.mailboxes, done.messages, done.drafts), (1, 1, 0));
    let settings = bench.store.connection(connection).await.unwrap().unwrap().settings;
    assert_eq!(settings.api, ExchangeApi::Ews);
    let claimed = bench.claim_mailbox(mailbox).await;
    assert_eq!(claimed.cursor, None, "the cursor of one interface means nothing to the other");
    bench.finish_poll(&claimed, None).await;
    let known = bench.store.known_provider_ids(mailbox, &["graph 1".to_owned()]).await.unwrap();
    assert!(known.is_empty());
    assert_eq!(bench.collect(mailbox, bench.mail("graph 1", "one").await).await, repeated(1));
    assert_eq!(stored(&bench).await, [id]);
    assert_eq!(bench.timeline(Subject::InboxMessage(id)).await, ["inbox.stored"]);
    // It left the folder, and is known by its new id alone.
    let claimed = bench.claim_mailbox(mailbox).await;
    let batch = CollectedBatch {
        mailbox,
        lease: claimed.lease.clone(),
        cursor: Some("later".into()),
        messages: vec![],
        present: vec![],
        removed: vec!["ews 1".into(), "graph 1".into()],
    };
    bench.store.commit_batch(batch).await.unwrap();
    assert_eq!(
        bench.timeline(Subject::InboxMessage(id)).await,
        ["inbox.stored", "inbox.removed-at-provider"]
    );
    assert!(bench.timeline(Subject::Connection(connection)).await.contains(&"connection.switched"));
}

pub(crate) async fn the_same_message_written_otherwise_is_known_by_its_id_and_second(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    let collected = bench.mail("ews 1", "one").await;
    let (message_id, received_at) = (collected.message_id.clone(), collected.received_at);
    bench.collect(mailbox, collected).await;
    switch(&bench, connection, ExchangeApi::Ews).await;
    bench.pass(3600);
    let otherwise = |provider_id: &'static str| {
        let (bench, message_id) = (&bench, message_id.clone());
        async move {
            let content = digest(provider_id);
            NewInboxMessage {
                message_id,
                received_at,
                content,
                ..bench.mail(provider_id, "other boundary").await
            }
        }
    };
    let later = NewInboxMessage { received_at: bench.env.now(), ..otherwise("later").await };
    assert_eq!(bench.collect(mailbox, later).await.stored, 1, "one id, another time: another mail");
    assert_eq!(bench.collect(mailbox, otherwise("graph 1").await).await, repeated(1));
    assert_eq!(bench.collect(mailbox, otherwise("graph 2").await).await.stored, 1, "each is found once");
}

pub(crate) async fn two_copies_of_one_mail_stay_two_and_a_new_one_is_new(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    bench.collect(mailbox, bench.mail("ews 1", "same").await).await;
    bench.collect(mailbox, bench.mail("ews 2", "same").await).await;
    switch(&bench, connection, ExchangeApi::Ews).await;
    for (id, report) in [
        ("graph 1", repeated(1)),
        ("graph 2", repeated(1)),
        ("graph 3", CommitReport { delivered: 1, ..CommitReport::default() }),
    ] {
        assert_eq!(bench.collect(mailbox, bench.mail(id, "same").await).await, report, "{id}");
    }
    assert_eq!(bench.collect(mailbox, bench.mail("graph 4", "new").await).await.stored, 1);
    let plan = bench.store.plan_interface_switch(connection).await.unwrap();
    assert_eq!(plan.messages, 4, "every id of before found its new one");
}

pub(crate) async fn there_and_back_the_first_ids_are_in_use_again(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    for (id, content) in [("ews 1", "one"), ("ews 2", "two")] {
        bench.collect(mailbox, bench.mail(id, content).await).await;
    }
    switch(&bench, connection, ExchangeApi::Ews).await;
    bench.collect(mailbox, bench.mail("graph 1", "one").await).await;
    switch(&bench, connection, ExchangeApi::Graph).await;
    // The second was not read in between: its id is as it was, and it is not even fetched.
    let known = bench.store.known_provider_ids(mailbox, &["ews 1".into(), "ews 2".into()]).await.unwrap();
    assert_eq!(known, ["ews 2".to_owned()].into());
    let claimed = bench.claim_mailbox(mailbox).await;
    let batch = CollectedBatch {
        mailbox,
        lease: claimed.lease.clone(),
        cursor: Some("back".into()),
        messages: vec![bench.mail("ews 1", "one").await],
        present: vec!["ews 2".into()],
        removed: vec![],
    };
    assert_eq!(bench.store.commit_batch(batch).await.unwrap(), repeated(1));
    assert_eq!(stored(&bench).await.len(), 2);
    let plan = bench.store.plan_interface_switch(connection).await.unwrap();
    assert_eq!(plan.messages, 2, "both ids are in use");
}

pub(crate) async fn a_placeholder_gives_way_to_the_mail(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    let mail = bench.mail("graph 1", "one").await;
    let placeholder = NewInboxMessage {
        message_id: mail.message_id.clone(),
        placeholder: true,
        ..bench.mail("ews 1", "could not be fetched").await
    };
    bench.collect(mailbox, placeholder).await;
    let id = stored(&bench).await[0];
    switch(&bench, connection, ExchangeApi::Ews).await;
    assert_eq!(bench.collect(mailbox, mail).await.stored, 1);
    let now = bench.store.unprocessed(10).await.unwrap();
    assert_eq!(now.len(), 1);
    assert_eq!((now[0].id, now[0].raw.size), (id, 3));
}

pub(crate) async fn a_reading_by_the_former_interface_commits_nothing(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    let claimed = bench.claim_mailbox(mailbox).await;
    switch(&bench, connection, ExchangeApi::Ews).await;
    let batch = CollectedBatch {
        mailbox,
        lease: claimed.lease.clone(),
        cursor: Some("of the former interface".into()),
        messages: vec![bench.mail("ews 1", "one").await],
        present: vec![],
        removed: vec![],
    };
    assert!(matches!(bench.store.commit_batch(batch).await, Err(StoreError::LeaseLost { .. })));
    assert!(stored(&bench).await.is_empty());
}

pub(crate) async fn an_open_outcome_forbids_the_switch_and_a_draft_is_forgotten(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let connection = bench.connection().await;
    let message = bench.accept(connection, "orders@contoso.example").await;
    let claimed = bench.claim().await.remove(0);
    let event = postroom_model::event::Event::new(
        bench.env.new_id(),
        bench.env.now(),
        Subject::OutboxMessage(message),
        postroom_model::event::EventKind::OutboxDraftCreated,
    );
    bench.store.note_provider_draft(message, &claimed.lease, "draft of ews", event).await.unwrap();
    for state in [OutboxState::Sending, OutboxState::Unknown] {
        if state == OutboxState::Unknown {
            bench.finish(&claimed, state, Some(bench.after(10))).await.unwrap();
        }
        assert_eq!(bench.store.plan_interface_switch(connection).await.unwrap().open, [message]);
        let refused = bench.store.switch_interface(connection, ExchangeApi::Ews, "cli").await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
        assert!(refused.to_string().contains(&message.to_string()), "it is named: {refused}");
    }
    bench.pass(60);
    let claimed = bench.claim().await.remove(0);
    bench.finish(&claimed, OutboxState::Deferred, Some(bench.after(10))).await.unwrap();
    let draft = bench.store.outbox_message(message).await.unwrap().unwrap().provider_id;
    assert_eq!(draft.as_deref(), Some("draft of ews"));
    assert_eq!(switch(&bench, connection, ExchangeApi::Ews).await.drafts, 1);
    assert_eq!(bench.store.outbox_message(message).await.unwrap().unwrap().provider_id, None);
}

pub(crate) async fn only_exchange_online_has_another_interface(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let online = bench.connection().await;
    let id = bench.env.new_id();
    let settings = ConnectionSettings {
        server: "mail.contoso.example".into(),
        ..ConnectionSettings::new(ConnectionKind::Imap)
    };
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    bench.store.save_connection(save).await.unwrap();
    bench.save_mailbox(bench.env.new_id(), online, "orders@contoso.example", Availability::All).await;
    for (connection, to) in [(id, ExchangeApi::Ews), (id, ExchangeApi::Graph), (online, ExchangeApi::Graph)] {
        let refused = bench.store.switch_interface(connection, to, "cli").await.unwrap_err();
        assert!(matches!(refused, StoreError::Untouched { .. }), "{refused:?}");
    }
}

async fn save(bench: &Bench, id: ConnectionId, settings: ConnectionSettings) -> Result<(), StoreError> {
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    bench.store.save_connection(save).await.map(drop)
}

pub(crate) async fn another_interface_is_not_saved_past_the_switch(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let connection = found(&bench, mailbox).await.connection;
    bench.collect(mailbox, bench.mail("graph 1", "one").await).await;
    let known = bench.store.connection(connection).await.unwrap().unwrap().settings;
    let other = ConnectionSettings { api: ExchangeApi::Ews, ..known.clone() };
    let refused = save(&bench, connection, other.clone()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { hint, .. } if hint.contains("migrate")), "{refused:?}");
    assert_eq!(bench.store.connection(connection).await.unwrap().unwrap().settings, known);
    // Where nothing is known yet, there is nothing to lose.
    let empty = bench.env.new_id();
    save(&bench, empty, known).await.unwrap();
    save(&bench, empty, other).await.unwrap();
}

pub(crate) async fn another_imap_server_is_read_from_its_beginning_and_no_mail_is_hidden_or_told_twice(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let connection = bench.env.new_id();
    let first = ConnectionSettings {
        server: "mail.contoso.example".into(),
        ..ConnectionSettings::new(ConnectionKind::Imap)
    };
    save(&bench, connection, first.clone()).await.unwrap();
    let mailbox = bench.env.new_id();
    bench.save_mailbox(mailbox, connection, "orders@contoso.example", Availability::All).await;
    for (round, change) in [
        ConnectionSettings { server: "imap.contoso.example".into(), ..first.clone() },
        ConnectionSettings { server: "imap.contoso.example".into(), port: 1993, ..first.clone() },
    ]
    .into_iter()
    .enumerate()
    {
        // The same numbers name other messages there, and the old one is there under another.
        let (old, new) = (format!("old {round}"), format!("new {round}"));
        let [first, second] = [1, 2].map(|uid| format!("{round}:{uid}"));
        bench.collect(mailbox, bench.mail(&first, &old).await).await;
        let before = stored(&bench).await.len();
        save(&bench, connection, change).await.unwrap();
        let claimed = bench.claim_mailbox(mailbox).await;
        assert_eq!(claimed.cursor, None);
        bench.finish_poll(&claimed, None).await;
        let known = bench.store.known_provider_ids(mailbox, std::slice::from_ref(&first)).await.unwrap();
        assert!(known.is_empty(), "{known:?}");
        assert_eq!(bench.collect(mailbox, bench.mail(&first, &new).await).await.stored, 1);
        assert_eq!(bench.collect(mailbox, bench.mail(&second, &old).await).await, repeated(1));
        assert_eq!(stored(&bench).await.len(), before + 1);
        let spelled = bench.store.connection(connection).await.unwrap().unwrap().settings;
        let same = ConnectionSettings { server: spelled.server.to_uppercase(), ..spelled };
        save(&bench, connection, same).await.unwrap();
        let claimed = bench.claim_mailbox(mailbox).await;
        assert!(claimed.cursor.is_some(), "the same server, spelled otherwise");
        bench.finish_poll(&claimed, None).await;
    }
}
