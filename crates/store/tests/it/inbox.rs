//! Processing, threads, search, lists, records.

use postroom_model::event::Subject;
use postroom_model::inbox::{InboxState, Summary};
use postroom_model::record::{Direction, FiledMail};
use postroom_model::{InboxMessageId, MailboxId};
use postroom_store::{InboxFilter, NewInboxMessage, Page, Processed, StoreError};

use crate::bench::{Bench, in_state};

fn quarantined(reason: &str) -> Processed {
    Processed::Quarantined { reason: reason.into() }
}

pub(crate) async fn processing_shows_the_message_and_quarantine_keeps_it(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let viewer = bench.somebody();
    bench.collect(mailbox, bench.mail("1", "one").await).await;
    bench.collect(mailbox, bench.mail("2", "two").await).await;
    assert!(bench.subjects(&viewer, &InboxFilter::default()).await.is_empty(), "stored is not shown");
    assert_eq!(bench.subjects(&viewer, &in_state(InboxState::Stored)).await.len(), 2);
    let stored = bench.store.unprocessed(1).await.unwrap();
    let summary = Summary {
        subject: "Order\0 4711".into(),
        from: Some("Buyer <buyer@fabrikam.example>".parse().unwrap()),
        references: vec!["<a\0b@fabrikam.example>".into(), "<a\0b@fabrikam.example>".into()],
        ..Summary::default()
    };
    let read = Processed::Read { summary: summary.clone(), text: "Hello \0 there".into() };
    bench.store.finish_processing(stored[0].id, read).await.unwrap();
    let second = bench.store.unprocessed(10).await.unwrap();
    assert_eq!(second.len(), 1);
    bench.store.finish_processing(second[0].id, quarantined("the header ends nowhere")).await.unwrap();
    assert!(bench.store.unprocessed(10).await.unwrap().is_empty());
    let message = bench.store.inbox_message(&viewer, stored[0].id).await.unwrap().unwrap();
    assert_eq!((message.state, &message.summary), (InboxState::Processed, &summary));
    assert_eq!((message.mailboxes, message.thread), (vec![mailbox], stored[0].id));
    let kept = bench.store.inbox_message(&viewer, second[0].id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.reason.as_deref()),
        (InboxState::Quarantined, Some("the header ends nowhere"))
    );
    assert_eq!(bench.store.inbox_count(&viewer, &InboxFilter::default()).await.unwrap(), 2);
}

pub(crate) async fn only_the_first_processing_counts(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let id = bench.received(mailbox, "Order").await;
    bench.store.finish_processing(id, quarantined("late")).await.unwrap();
    assert_eq!(bench.subjects(&bench.somebody(), &in_state(InboxState::Processed)).await, ["Order"]);
    assert_eq!(bench.timeline(Subject::InboxMessage(id)).await, ["inbox.stored", "inbox.processed"]);
    let unknown = bench.store.finish_processing(bench.env.new_id(), quarantined("")).await;
    assert!(matches!(unknown, Err(StoreError::Untouched { .. })));
}

pub(crate) async fn quarantine_can_be_run_again(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let viewer = bench.somebody();
    bench.collect(mailbox, bench.mail("1", "one").await).await;
    let id = bench.store.unprocessed(1).await.unwrap()[0].id;
    bench.store.finish_processing(id, quarantined("too deep")).await.unwrap();
    bench.store.reprocess(&viewer, id, "user:admin").await.unwrap();
    let twice = bench.store.reprocess(&viewer, id, "user:admin").await;
    assert!(matches!(twice, Err(StoreError::Untouched { .. })));
    bench.process_last(Summary { subject: "Order".into(), ..Summary::default() }, "text").await;
    let message = bench.store.inbox_message(&viewer, id).await.unwrap().unwrap();
    assert_eq!((message.state, message.reason), (InboxState::Processed, None));
    assert_eq!(
        bench.timeline(Subject::InboxMessage(id)).await,
        ["inbox.stored", "inbox.quarantined", "inbox.reprocess", "inbox.processed"]
    );
}

/// Collects and processes the message `name`, received at second `at`, which refers to `references`.
async fn arrive(
    bench: &Bench,
    mailbox: MailboxId,
    (name, at, references): (&str, i64, &[&str]),
) -> InboxMessageId {
    let new = NewInboxMessage { received_at: bench.after(at), ..bench.mail(name, name).await };
    bench.collect(mailbox, new).await;
    let header = |name: &str| format!("<{name}@fabrikam.example>");
    let summary = Summary {
        subject: name.into(),
        message_id: Some(header(name)),
        references: references.iter().map(|name| header(name)).collect(),
        ..Summary::default()
    };
    bench.process_last(summary, name).await
}

async fn thread_of(bench: &Bench, id: InboxMessageId) -> InboxMessageId {
    bench.store.inbox_message(&bench.somebody(), id).await.unwrap().unwrap().thread
}

pub(crate) async fn a_thread_is_the_same_in_whatever_order_it_arrives(make: impl AsyncFn() -> Bench) {
    let mails: [(&str, i64, &[&str]); 3] =
        [("question", 1, &[]), ("answer", 2, &["question"]), ("thanks", 3, &["question", "answer"])];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2]] {
        let bench = make().await;
        let mailbox = bench.mailbox("orders@contoso.example").await;
        let mut ids = vec![];
        for index in order {
            ids.push((index, arrive(&bench, mailbox, mails[index]).await));
        }
        let question = ids.iter().find(|(index, _)| *index == 0).unwrap().1;
        for (index, id) in ids {
            assert_eq!(thread_of(&bench, id).await, question, "{index} in {order:?}");
        }
        let other = arrive(&bench, mailbox, ("other", 4, &["elsewhere"])).await;
        assert_eq!(thread_of(&bench, other).await, other);
    }
}

pub(crate) async fn two_threads_are_joined_under_the_oldest(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let newer = arrive(&bench, mailbox, ("newer", 10, &[])).await;
    let older = arrive(&bench, mailbox, ("older", 5, &[])).await;
    let reply = arrive(&bench, mailbox, ("reply", 11, &["newer"])).await;
    assert_eq!(thread_of(&bench, reply).await, newer);
    // A reply whose sender's clock is slow does not begin the thread it answers in.
    let both = arrive(&bench, mailbox, ("both", 1, &["newer", "older"])).await;
    for id in [newer, older, reply, both] {
        assert_eq!(thread_of(&bench, id).await, older);
    }
}

pub(crate) async fn search_finds_words_and_never_fails_on_syntax(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let viewer = bench.somebody();
    bench.collect(mailbox, bench.mail("1", "one").await).await;
    let summary = Summary {
        subject: "Größe der Bestellung".into(),
        from: Some("Buyer <buyer@fabrikam.example>".parse().unwrap()),
        ..Summary::default()
    };
    bench.process_last(summary, "part A-100/7 costs 5 EUR").await;
    bench.received(mailbox, "Something else").await;
    let found = async |words: &str| {
        let filter = InboxFilter { search: Some(words.into()), ..InboxFilter::default() };
        bench.subjects(&viewer, &filter).await.len()
    };
    for words in ["größe", "BESTELLUNG eur", "grosse", "buyer@fabrikam.example", "A-100/7", "eur größe part"]
    {
        let expected = usize::from(words != "grosse");
        assert_eq!(found(words).await, expected, "{words}");
    }
    assert_eq!(found("part missing").await, 0);
    assert_eq!(found("").await, 2);
    assert_eq!(found(" \t").await, 2);
    for syntax in [
        "\"",
        "\"\"",
        "*",
        "NEAR(",
        "a AND",
        "OR",
        "NOT part",
        "subject:part",
        "-part",
        "^part",
        "(",
        "--",
        "{a b}:c",
        "'; DROP TABLE inbox; --",
        "\0",
        "a\0b",
    ] {
        found(syntax).await;
    }
    assert_eq!(found("subject:größe").await, 0, "a column is not syntax");
    assert_eq!(found("PART OR missing").await, 0, "OR is a word");
    let many = "part ".repeat(1_000);
    assert_eq!(found(&many).await, 1);
}

pub(crate) async fn lists_are_newest_first_and_paged(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    for (name, at) in [("b", 2), ("c", 3), ("a", 1)] {
        arrive(&bench, mailbox, (name, at, &[])).await;
    }
    let viewer = bench.somebody();
    for filter in [InboxFilter::default(), InboxFilter { mailbox: Some(mailbox), ..InboxFilter::default() }] {
        assert_eq!(bench.subjects(&viewer, &filter).await, ["c", "b", "a"]);
        let page = Page { limit: 1, offset: 1 };
        let page = bench.store.inbox(&viewer, &filter, page).await.unwrap();
        assert_eq!(page.iter().map(|message| message.summary.subject.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}

pub(crate) async fn filing_twice_gives_the_first_entry(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let viewer = bench.somebody();
    bench.collect(mailbox, bench.mail("1", "one").await).await;
    let summary = Summary {
        subject: "Order".into(),
        from: Some("Buyer <buyer@fabrikam.example>".parse().unwrap()),
        to: vec!["orders@contoso.example".parse().unwrap(), "sales@contoso.example".parse().unwrap()],
        ..Summary::default()
    };
    let id = bench.process_last(summary, "text").await;
    let record = "Customer order 4711".parse().unwrap();
    let first = bench.store.file_on_record(&viewer, id, &record, "user:anna").await.unwrap();
    bench.pass(60);
    let again = bench.store.file_on_record(&viewer, id, &record, "user:bert").await.unwrap();
    assert_eq!(again, first);
    assert_eq!((first.mail, first.direction), (FiledMail::Inbox(id), Direction::In));
    assert_eq!(first.from, "Buyer <buyer@fabrikam.example>");
    assert_eq!(first.to, "orders@contoso.example, sales@contoso.example");
    let case = bench.store.file_on_record(&viewer, id, &"case:1".parse().unwrap(), "cli").await.unwrap();
    assert_eq!(bench.store.log_entries(&viewer, &record).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(bench.store.records_of(&viewer, id).await.unwrap(), [first, case]);
    let told = bench.timeline(Subject::InboxMessage(id)).await;
    assert_eq!(told[2..], ["inbox.filed", "inbox.filed"]);
}

pub(crate) async fn a_placeholder_that_is_run_again_is_fetched_once_more(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let mailbox = bench.mailbox("orders@contoso.example").await;
    let placeholder = NewInboxMessage { placeholder: true, ..bench.mail("1", "too large").await };
    bench.collect(mailbox, placeholder).await;
    let id = bench.store.unprocessed(10).await.unwrap()[0].id;
    let quarantined = || Processed::Quarantined { reason: "too large".into() };
    bench.store.finish_processing(id, quarantined()).await.unwrap();
    assert!(bench.store.to_refetch(mailbox, 10).await.unwrap().is_empty());
    assert!(bench.store.next_mailbox_due().await.unwrap().unwrap() > bench.env.now());

    bench.store.reprocess(&bench.somebody(), id, "user:admin").await.unwrap();
    let wanted = bench.store.to_refetch(mailbox, 10).await.unwrap();
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].provider_id, "1");
    assert!(bench.store.known_provider_ids(mailbox, &["1".to_owned()]).await.unwrap().is_empty());
    assert_eq!(bench.store.next_mailbox_due().await.unwrap(), Some(bench.env.now()), "due at once");
    assert!(bench.store.unprocessed(10).await.unwrap().is_empty(), "there is nothing to read yet");

    assert_eq!(bench.collect(mailbox, bench.mail("1", "the mail").await).await.stored, 1);
    assert!(bench.store.to_refetch(mailbox, 10).await.unwrap().is_empty());
    let stored = bench.store.unprocessed(10).await.unwrap();
    assert_eq!(stored[0].id, id, "it keeps its id");
    assert_eq!(&bench.store.blob(&stored[0].raw).await.unwrap()[..], b"the mail");
    assert_eq!(
        bench.timeline(Subject::InboxMessage(id)).await,
        ["inbox.stored", "inbox.quarantined", "inbox.reprocess", "inbox.stored"]
    );
    // What was fetched whole is only read again.
    bench.store.finish_processing(id, quarantined()).await.unwrap();
    bench.store.reprocess(&bench.somebody(), id, "user:admin").await.unwrap();
    assert!(bench.store.to_refetch(mailbox, 10).await.unwrap().is_empty());
    assert_eq!(bench.store.unprocessed(10).await.unwrap().len(), 1);
}
