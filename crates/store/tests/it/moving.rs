//! An installation moved from a data folder to PostgreSQL.

use postroom_model::outbox::OutboxState;
use postroom_model::{Env, ExposeSecret as _};
use postroom_store::{
    BlobStore as _, CredentialStore as _, EventFilter, InboxFilter, PostgresOptions, SqlStore, StoreError,
};

use crate::bench::{Bench, on_postgres, options};
use crate::server::Postgres;
use crate::settings::with_secret;

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_whole_installation_is_moved_compared_and_goes_on() {
    let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let (env, clock) = Env::for_test(1);
    let source = SqlStore::open(options(folder.path(), &env)).await.unwrap();
    let again = SqlStore::open(options(folder.path(), &env)).await.unwrap();
    let bench = Bench::around(again, env.clone(), clock.clone());
    let connection = env.new_id();
    bench.store.save_connection(with_secret(connection, "hidden")).await.unwrap();
    let mailbox = bench.mailbox("orders@contoso.example").await;
    bench.received(mailbox, "Straße nach Ängelholm").await;
    for number in 0..230 {
        bench.accept(connection, &format!("sender{number}@contoso.example")).await;
    }
    let claimed = bench.claim().await.remove(0);
    bench.finish(&claimed, OutboxState::Sent, None).await.unwrap();
    bench.received(mailbox, "Another").await;

    // To a folder of its own: the raw messages are copied.
    let elsewhere = tempfile::tempdir().unwrap();
    let url = server.database();
    let target =
        PostgresOptions { folder: elsewhere.path().join("data"), ..on_postgres(&url, folder.path(), &env) };
    let target = SqlStore::open_postgres(target).await.unwrap();
    let moved = source.copy_to(&target).await.unwrap();
    let rows = |name: &str| moved.tables.iter().find(|table| table.name == name).unwrap().rows;
    assert_eq!((rows("outbox"), rows("inbox"), rows("mailboxes")), (230, 2, 1));
    assert_eq!((moved.searchable, moved.raw_messages), (2, 232));
    let twice = source.copy_to(&target).await.unwrap_err();
    assert!(matches!(&twice, StoreError::Refused { what, .. } if what.contains("not empty")), "{twice:?}");

    let secret = target.credential_secret(connection).await.unwrap().unwrap();
    assert_eq!(secret.1.expose_secret(), "hidden");
    let there = Bench::around(target, env.clone(), clock);
    for typed in ["strasse", "straße nach", "ANGELHOLM"] {
        let found = InboxFilter { search: Some(typed.into()), ..InboxFilter::default() };
        let here = bench.subjects(&bench.somebody(), &found).await;
        assert_eq!(there.subjects(&there.somebody(), &found).await, here, "{typed}");
    }
    let raw = there.store.outbox_raw(claimed.message.id).await.unwrap();
    assert_eq!(raw, source.blob(&claimed.raw).await.unwrap());
    let all = EventFilter { subject: None, after: 0 };
    let events = bench.store.events(&all, 10_000).await.unwrap();
    assert_eq!(there.store.events(&all, 10_000).await.unwrap(), events, "the same feed");
    // Numbers go on where they were.
    let last = events.last().unwrap().sequence;
    there.accept(connection, "new@contoso.example").await;
    let next = there.store.events(&EventFilter { subject: None, after: last }, 10).await.unwrap();
    assert_eq!(next.len(), 1);
    there.received(mailbox, "After the move").await;
}
