//! Nobody sees what is not theirs.

use std::collections::BTreeSet;

use postroom_model::inbox::InboxState;
use postroom_model::mailbox::{Availability, MailType};
use postroom_model::people::{Role, Viewer};
use postroom_model::{GroupId, InboxMessageId, MailboxId, UserId};
use postroom_store::{InboxFilter, Processed, StoreError};

use crate::bench::{Bench, in_state, only_users};

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

pub(crate) async fn a_removed_mailbox_shows_its_mail_to_nobody(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let viewer = Viewer { roles: Role::ALL.to_vec(), ..bench.somebody() };
    let one = bench.mailbox("orders@contoso.example").await;
    let two = bench.mailbox("service@contoso.example").await;
    let alone = bench.received(one, "Only here").await;
    let shared = bench.received(one, "In both").await;
    bench.collect(two, bench.mail("copy", "In both").await).await;
    bench.collect(one, bench.mail("bad", "bad").await).await;
    let bad = bench.store.unprocessed(1).await.unwrap()[0].id;
    bench.store.finish_processing(bad, Processed::Quarantined { reason: "bad".into() }).await.unwrap();
    bench.store.remove_mailbox(one, "user:admin").await.unwrap();
    assert!(matches!(bench.store.remove_mailbox(one, "cli").await, Err(StoreError::Untouched { .. })));
    assert!(bench.store.inbox_message(&viewer, alone).await.unwrap().is_none());
    assert!(bench.store.inbox_raw(&viewer, alone).await.unwrap().is_none());
    let again = bench.store.reprocess(&viewer, bad, "user:x").await;
    assert!(matches!(again, Err(StoreError::Untouched { .. })));
    assert_eq!(bench.subjects(&viewer, &InboxFilter::default()).await, ["In both"]);
    assert_eq!(bench.store.inbox_message(&viewer, shared).await.unwrap().unwrap().mailboxes, [two]);
    // Read again into a new mailbox, the message that stayed is found.
    let back = bench.mailbox("orders@contoso.example").await;
    assert_eq!(bench.collect(back, bench.mail("1", "Only here").await).await.delivered, 1);
    assert!(bench.store.inbox_message(&viewer, alone).await.unwrap().is_some());
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
