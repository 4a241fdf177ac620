//! Nobody sees what is not theirs.

use std::collections::BTreeSet;

use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{Availability, MailType};
use postroom_model::people::{Role, Viewer};
use postroom_model::{GroupId, InboxMessageId, MailboxId, UserId};
use postroom_store::{CollectedBatch, InboxFilter, Processed, SaveMailbox, StoreError};

use crate::bench::{Bench, in_state, only_users};
use crate::settings::with_secret;

/// Everything the store can be asked for one mailbox's message, as one viewer; all answers must agree.
async fn sees(bench: &Bench, viewer: &Viewer, mailbox: MailboxId, id: InboxMessageId) -> bool {
    let store = &bench.store;
    let filters = [
        InboxFilter::default(),
        InboxFilter { mailbox: Some(mailbox), ..InboxFilter::default() },
        InboxFilter { kind: Some(MailType::CustomerOrder), ..InboxFilter::default() },
        InboxFilter {
            mailbox: Some(mailbox),
            kind: Some(MailType::CustomerOrder),
            state: Some(InboxState::Processed),
            search: Some("Order".into()),
        },
        in_state(InboxState::Processed),
        InboxFilter { search: Some("Order".into()), ..InboxFilter::default() },
    ];
    let seen = store.inbox_message(viewer, id).await.unwrap().is_some();
    for filter in filters {
        assert_eq!(!bench.subjects(viewer, &filter).await.is_empty(), seen, "{filter:?}");
    }
    assert_eq!(store.inbox_raw(viewer, id).await.unwrap().is_some(), seen);
    assert_eq!(!store.records_of(viewer, id).await.unwrap().is_empty(), seen);
    let record = "Customer order 4711".parse().unwrap();
    assert_eq!(!store.log_entries(viewer, &record).await.unwrap().is_empty(), seen);
    let filed = store.file_on_record(viewer, id, &record, "user:x").await;
    assert!(if seen { filed.is_ok() } else { matches!(filed, Err(StoreError::Untouched { .. })) });
    let own = store.mailboxes_for(viewer).await.unwrap();
    assert_eq!(own.iter().any(|known| known.id == mailbox), seen);
    seen
}

fn only(groups: &[GroupId], roles: &[Role], users: &[UserId]) -> Availability {
    Availability::Only {
        groups: groups.iter().copied().collect(),
        roles: roles.iter().copied().collect(),
        users: users.iter().copied().collect(),
    }
}

pub(crate) async fn every_read_asks_who_may_see(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let connection = bench.connection().await;
    let mailbox: MailboxId = bench.env.new_id();
    bench.save_mailbox(mailbox, connection, "orders@contoso.example", Availability::All).await;
    let id = bench.received(mailbox, "Order").await;
    let stranger = bench.somebody();
    let group: GroupId = bench.env.new_id();
    let member = Viewer { groups: vec![bench.env.new_id(), group], ..bench.somebody() };
    let manager = Viewer { roles: vec![Role::User, Role::MailboxManager], ..bench.somebody() };
    let record = "Customer order 4711".parse().unwrap();
    bench.store.file_on_record(&stranger, id, &record, "user:x").await.unwrap();
    let everyone = [&stranger, &member, &manager];
    for (availability, expected) in [
        (Availability::All, [true, true, true]),
        (only(&[], &[], &[stranger.user]), [true, false, false]),
        (only(&[group], &[], &[]), [false, true, false]),
        (only(&[], &[Role::MailboxManager], &[]), [false, false, true]),
        (only(&[group], &[Role::Auditor, Role::MailboxManager], &[]), [false, true, true]),
        (only(&[], &[Role::Administrator], &[bench.env.new_id()]), [false, false, false]),
        (Availability::nobody(), [false, false, false]),
    ] {
        bench.save_mailbox(mailbox, connection, "orders@contoso.example", availability.clone()).await;
        let saved = bench.store.mailbox(mailbox).await.unwrap().unwrap();
        assert_eq!(saved.settings.availability, availability);
        for (viewer, expected) in everyone.into_iter().zip(expected) {
            assert_eq!(sees(&bench, viewer, mailbox, id).await, expected, "{availability:?} {viewer:?}");
            assert_eq!(availability.allows(viewer), expected);
        }
    }
}

pub(crate) async fn a_message_in_two_mailboxes_shows_only_those_the_viewer_may_see(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let (anna, bert, stranger) = (bench.somebody(), bench.somebody(), bench.somebody());
    let one = bench.mailbox_for("orders@contoso.example", only_users([anna.user])).await;
    let two = bench.mailbox_for("hr@contoso.example", only_users([anna.user, bert.user])).await;
    let id = bench.received(one, "Order").await;
    bench.collect(two, bench.mail("copy", "Order").await).await;
    let mailboxes = async |viewer: &Viewer| {
        let message = bench.store.inbox_message(viewer, id).await.unwrap();
        message.map(|message| message.mailboxes.into_iter().collect::<BTreeSet<_>>())
    };
    assert_eq!(mailboxes(&anna).await, Some([one, two].into()));
    assert_eq!(mailboxes(&bert).await, Some([two].into()));
    assert_eq!(mailboxes(&stranger).await, None);
    assert_eq!(bench.subjects(&anna, &InboxFilter::default()).await, ["Order"], "listed once");
    let hidden = InboxFilter { mailbox: Some(one), ..InboxFilter::default() };
    assert!(bench.subjects(&bert, &hidden).await.is_empty(), "not even that it is in the other mailbox");
}

pub(crate) async fn a_removed_mailbox_keeps_its_mail_with_those_who_could_see_it(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let (anna, stranger) = (bench.somebody(), bench.somebody());
    let connection = bench.connection().await;
    let (one, address, only_anna) = (bench.env.new_id(), "hr@contoso.example", only_users([anna.user]));
    bench.save_mailbox(one, connection, address, only_anna).await;
    let id = bench.received(one, "Order").await;
    let record = "Customer order 4711".parse().unwrap();
    bench.store.file_on_record(&anna, id, &record, "user:anna").await.unwrap();
    bench.collect(one, bench.mail("bad", "bad").await).await;
    let bad = bench.store.unprocessed(1).await.unwrap()[0].id;
    bench.store.finish_processing(bad, Processed::Quarantined { reason: "bad".into() }).await.unwrap();
    bench.store.remove_mailbox(one, "user:admin").await.unwrap();
    assert!(matches!(bench.store.remove_mailbox(one, "cli").await, Err(StoreError::Untouched { .. })));
    bench.store.reprocess(&anna, bad, "user:anna").await.unwrap();
    bench.store.finish_processing(bad, Processed::Quarantined { reason: "bad".into() }).await.unwrap();
    assert!(bench.store.inbox_message(&anna, bad).await.unwrap().is_some());
    assert!(sees(&bench, &anna, one, id).await, "mail and log entries stay");
    assert!(!sees(&bench, &stranger, one, id).await);
    assert!(bench.store.mailboxes_for(&anna).await.unwrap()[0].removed_at.is_some());
}

pub(crate) async fn a_removed_mailbox_is_out_of_use_and_comes_back_as_it_was(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let (anna, bert) = (bench.somebody(), bench.somebody());
    let connection = bench.connection().await;
    let address = "orders@contoso.example";
    let one: MailboxId =
        bench.save_mailbox(bench.env.new_id(), connection, address, only_users([anna.user])).await;
    let id = bench.received(one, "Order").await;
    let held = bench.claim_mailbox(one).await;
    bench.store.remove_mailbox(one, "cli").await.unwrap();
    assert_eq!(bench.store.mailbox(one).await.unwrap(), None);
    assert!(bench.store.mailboxes().await.unwrap().is_empty());
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), None);
    bench.pass(86_400);
    assert!(bench.store.claim_mailboxes(&bench.node(), bench.after(60), 10).await.unwrap().is_empty());
    let claimed = bench.store.claim_mailbox(one, &bench.node(), bench.after(60)).await;
    assert!(matches!(claimed, Err(StoreError::Untouched { .. })));
    let late = CollectedBatch {
        mailbox: one,
        lease: held.lease,
        cursor: Some("late".into()),
        messages: vec![],
        present: vec![],
        removed: vec![],
    };
    assert!(matches!(bench.store.commit_batch(late).await, Err(StoreError::LeaseLost { .. })));
    // The address belongs to the removed mailbox: no other one may take it over, only bring it back.
    let other = bench
        .save_mailbox(bench.env.new_id(), connection, "quotes@contoso.example", only_users([bert.user]))
        .await;
    let settings = Bench::mailbox_settings(address, only_users([bert.user]));
    let renamed = SaveMailbox { id: other, connection, settings, password: None, actor: "cli".into() };
    assert!(matches!(bench.store.save_mailbox(renamed).await, Err(StoreError::Refused { .. })));
    let settings = Bench::mailbox_settings(address, Availability::All);
    let stale = SaveMailbox { id: one, connection, settings, password: None, actor: "cli".into() };
    assert!(matches!(bench.store.save_mailbox(stale).await, Err(StoreError::Untouched { .. })));

    let fresh = bench.env.new_id();
    let back = bench.save_mailbox(fresh, connection, "Orders@contoso.example", only_users([bert.user])).await;
    assert_eq!(back, one);
    let claimed = bench.claim_mailbox(one).await;
    assert_eq!(claimed.cursor.as_deref(), Some("next"), "it goes on where it ended");
    assert_eq!((claimed.mailbox.removed_at, claimed.mailbox.next_due_at), (None, Some(bench.env.now())));
    let sees = async |viewer| bench.store.inbox_message(viewer, id).await.unwrap().is_some();
    assert_eq!((sees(&anna).await, sees(&bert).await), (false, true), "as it was given now");
}

pub(crate) async fn a_removed_connection_leaves_the_mail_of_its_removed_mailboxes(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let anna = bench.somebody();
    let connection = bench.env.new_id();
    bench.store.save_connection(with_secret(connection, "a secret")).await.unwrap();
    let address = "orders@contoso.example";
    let one = bench.save_mailbox(bench.env.new_id(), connection, address, Availability::All).await;
    let id = bench.received(one, "Order").await;
    let used = bench.store.remove_connection(connection, "cli").await;
    assert!(matches!(used, Err(StoreError::InUse { .. })));
    bench.store.remove_mailbox(one, "cli").await.unwrap();
    bench.store.remove_connection(connection, "cli").await.unwrap();
    assert!(bench.store.inbox_message(&anna, id).await.unwrap().is_some());
    assert_eq!(bench.store.connection(connection).await.unwrap(), None);
    assert!(bench.store.connections().await.unwrap().is_empty());
    assert!(bench.store.credentials(connection).await.unwrap().is_empty(), "its secrets are erased");
    let again = with_secret(connection, "a secret");
    let staged =
        bench.store.stage_credential(connection, with_secret(connection, "x").credential.unwrap(), "cli");
    assert!(matches!(staged.await, Err(StoreError::Untouched { .. })));
    assert!(matches!(bench.store.save_connection(again).await, Err(StoreError::Untouched { .. })));
    let gone = bench.store.remove_connection(connection, "cli").await;
    assert!(matches!(gone, Err(StoreError::Untouched { .. })));
}

pub(crate) async fn the_query_agrees_with_the_model(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let groups: [GroupId; 2] = [bench.env.new_id(), bench.env.new_id()];
    let users: [UserId; 2] = [bench.env.new_id(), bench.env.new_id()];
    let roles = [Role::User, Role::Auditor];
    let pick = |bits: usize| [bits & 1 != 0, bits & 2 != 0];
    fn chosen<T: Copy>(all: [T; 2], picked: [bool; 2]) -> Vec<T> {
        all.into_iter().zip(picked).filter_map(|(one, picked)| picked.then_some(one)).collect()
    }
    let mut mailboxes = vec![];
    for bits in 0..64 {
        let availability = only(
            &chosen(groups, pick(bits)),
            &chosen(roles, pick(bits >> 2)),
            &chosen(users, pick(bits >> 4)),
        );
        let address = format!("m{bits}@contoso.example");
        mailboxes.push((bench.mailbox_for(&address, availability.clone()).await, availability));
    }
    for bits in 0..32 {
        let viewer = Viewer {
            groups: chosen(groups, pick(bits)),
            roles: chosen(roles, pick(bits >> 2)),
            user: users[bits >> 4],
        };
        let shown: BTreeSet<_> =
            bench.store.mailboxes_for(&viewer).await.unwrap().iter().map(|mailbox| mailbox.id).collect();
        let allowed = mailboxes.iter().filter(|(_, availability)| availability.allows(&viewer));
        assert_eq!(shown, allowed.map(|(id, _)| *id).collect(), "{viewer:?}");
    }
}
