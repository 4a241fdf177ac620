//! A verdict that has never been against anybody proves nothing: each promise is broken once here.

use super::super::ledger::{Delivered, LeftMail};
use super::*;

fn step(kind: EventKind, attempt: Option<u32>) -> Step {
    Step { kind, attempt, words: String::new() }
}

fn sound() -> (Ledger, Record) {
    let mut seen = Ledger::default();
    let accepted = Accepted { message_id: "<1>".into(), subject: "c0-1".into(), body: hash(b"hello") };
    seen.accept("one", accepted);
    seen.left.push(LeftMail { message_id: "<1>".into(), subject: "c0-1".into(), body: hash(b"hello") });
    let mailboxes = BTreeSet::from(["orders@contoso.example".to_owned()]);
    let copies = vec![("orders@contoso.example".to_owned(), "AAMk1".to_owned())];
    let delivered = Delivered { copies, contents: BTreeSet::from([hash(b"in")]) };
    seen.delivered.insert("<in>".into(), delivered);
    seen.refused.insert("c0-2".into());
    let timeline = vec![
        step(EventKind::OutboxAccepted, None),
        step(EventKind::OutboxAttempt, Some(1)),
        step(EventKind::OutboxInterrupted, Some(1)),
        step(EventKind::OutboxAttempt, Some(2)),
        step(EventKind::OutboxSent, Some(2)),
    ];
    let row = OutboxRow {
        id: "one".into(),
        message_id: "<1>".into(),
        state: OutboxState::Sent,
        attempts: 2,
        words: "202 Accepted".into(),
        timeline,
    };
    let mail =
        InboxRow { message_id: "<in>".into(), content: hash(b"in"), state: InboxState::Processed, mailboxes };
    (seen, Record { outbox: vec![row], inbox: vec![mail] })
}

/// Breaks one thing and gives how much is lost, doubled and otherwise wrong.
fn broken(breaks: impl FnOnce(&mut Ledger, &mut Record)) -> (usize, usize, usize) {
    let (mut seen, mut record) = sound();
    breaks(&mut seen, &mut record);
    let verdict = compare(&seen, &record);
    (verdict.lost.len(), verdict.doubled.len(), verdict.other.len())
}

#[test]
fn what_is_as_promised_is_found_to_be() {
    assert_eq!(broken(|_, _| {}), (0, 0, 0));
}

#[test]
fn whatever_is_lost_is_found() {
    assert_eq!(broken(|_, record| record.outbox.clear()), (1, 0, 0));
    assert_eq!(broken(|seen, _| seen.left.clear()), (1, 0, 0));
    assert_eq!(broken(|_, record| record.inbox.clear()), (1, 0, 0));
    assert_eq!(broken(|_, record| record.inbox[0].mailboxes.clear()), (1, 0, 0));
    for state in [OutboxState::Deferred, OutboxState::Unknown, OutboxState::Held, OutboxState::Sending] {
        let lost = broken(|seen, record| {
            seen.left.clear();
            record.outbox[0].state = state;
            record.outbox[0].timeline.pop();
        });
        assert_eq!(lost, (1, 0, 0), "{state}");
    }
}

#[test]
fn whatever_is_doubled_is_found() {
    assert_eq!(broken(|seen, _| seen.left.push(seen.left[0].clone())), (0, 1, 0));
    assert_eq!(broken(|_, record| record.inbox.push(record.inbox[0].clone())), (0, 1, 0));
}

#[test]
fn a_refusal_must_be_the_tenants_and_nothing_may_leave() {
    let refuse = |words: &'static str, left: bool| {
        broken(move |seen, record| {
            let row = &mut record.outbox[0];
            row.state = OutboxState::Failed;
            row.words = words.into();
            row.timeline[4].kind = EventKind::OutboxFailed;
            if !left {
                seen.left.clear();
            }
        })
    };
    assert_eq!(refuse("400 ErrorInvalidRecipients no", false), (0, 0, 0));
    assert_eq!(refuse("400 ErrorInvalidRecipients no", true), (0, 0, 1));
    assert_eq!(refuse("the disk is full", false), (1, 0, 0));
}

#[test]
fn other_bytes_other_texts_and_what_nobody_asked_for_are_found() {
    assert_eq!(broken(|seen, _| seen.left[0].body = hash(b"other")), (0, 0, 1));
    assert_eq!(broken(|_, record| record.inbox[0].content = hash(b"other")), (0, 0, 1));
    assert_eq!(broken(|seen, _| seen.left[0].subject = "c0-2".into()), (0, 0, 1));
    assert_eq!(broken(|_, record| record.inbox[0].state = InboxState::Quarantined), (0, 0, 1));
    let unasked = |seen: &mut Ledger, record: &mut Record| {
        seen.accepted.clear();
        record.inbox[0].message_id = "<in>".into();
    };
    assert_eq!(broken(unasked), (0, 0, 2), "one mail and one row");
}

#[test]
fn a_timeline_with_a_gap_or_two_ends_is_found() {
    assert_eq!(broken(|_, record| drop(record.outbox[0].timeline.remove(1))), (0, 0, 1));
    assert_eq!(broken(|_, record| drop(record.outbox[0].timeline.remove(0))), (0, 0, 1));
    assert_eq!(broken(|_, record| record.outbox[0].attempts = 3), (0, 0, 1));
    let twice = |_: &mut Ledger, record: &mut Record| {
        record.outbox[0].timeline.push(step(EventKind::OutboxSent, Some(2)));
    };
    assert_eq!(broken(twice), (0, 0, 1));
}
