//! Two owners and a clock in every order. Each call of a store is one transaction, so the orders of the calls are all
//! the orders there are. A schedule is a list of choices; the next one changes the last choice that has another left,
//! until all were made: nothing is left to chance, and what fails can be run again by its choices.

use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::mailbox::MailboxState;
use postroom_model::outbox::OutboxState;
use postroom_model::{MailboxId, OutboxMessageId};
use postroom_store::{
    ClaimedMailbox, ClaimedMessage, CollectedBatch, FinishAttempt, NodeId, PollFinish, StoreError,
};

use crate::bench::Bench;

/// How often the clock passes the end of every lease within one schedule: once in every run of the tests, more often
/// when `POSTROOM_PROVE_CLOCK_STEPS` says so.
fn clock_steps() -> usize {
    std::env::var("POSTROOM_PROVE_CLOCK_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(1)
}

const LEASE: i64 = 60;

/// The choices of one run, and how many there were at each.
#[derive(Debug, Default)]
struct Schedule {
    choices: Vec<(usize, usize)>,
    at: usize,
}

impl Schedule {
    fn choose(&mut self, options: usize) -> usize {
        if self.at == self.choices.len() {
            self.choices.push((0, options));
        }
        let (chosen, known) = self.choices[self.at];
        assert_eq!(known, options, "the same choices lead to the same place");
        self.at += 1;
        chosen
    }

    /// Turns to the next one; false when there is none.
    fn next(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, options)) = self.choices.pop() {
            if chosen + 1 < options {
                self.choices.push((chosen + 1, options));
                return true;
            }
        }
        false
    }
}

/// What an owner does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Claim,
    LookUp,
    Extend,
    Note,
    Send,
    Finish,
    Nothing,
}

/// A provider that keeps drafts, sends each once, and can be asked.
#[derive(Debug, Default)]
struct Provider {
    /// Whether each draft was sent.
    drafts: Vec<bool>,
}

/// A worker that goes by the rules of the engine.
struct Sender<'a> {
    bench: &'a Bench,
    node: NodeId,
    next: Next,
    claimed: Option<ClaimedMessage>,
    draft: Option<usize>,
}

impl<'a> Sender<'a> {
    fn new(bench: &'a Bench) -> Self {
        Self { bench, node: bench.node(), next: Next::Claim, claimed: None, draft: None }
    }

    fn event(&self, kind: EventKind) -> Event {
        let message = &self.claimed.as_ref().unwrap().message;
        let subject = Subject::OutboxMessage(message.id);
        Event::new(self.bench.env.new_id(), self.bench.env.now(), subject, kind).attempt(message.attempts)
    }

    /// The next, unless the lease was lost: then whoever took over goes on.
    fn unless_lost(done: Result<(), StoreError>, next: Next) -> Next {
        match done {
            Ok(()) => next,
            Err(StoreError::LeaseLost { .. }) => Next::Nothing,
            Err(other) => panic!("{other}"),
        }
    }

    async fn step(&mut self, provider: &mut Provider) {
        let store = &self.bench.store;
        if self.next == Next::Claim {
            let claimed = store.claim_outbox(&self.node, self.bench.after(LEASE), 1).await.unwrap();
            self.claimed = claimed.into_iter().next();
            self.next = match &self.claimed {
                None => Next::Nothing,
                Some(claimed) if claimed.previous == OutboxState::Sending => Next::LookUp,
                Some(_) => Next::Note,
            };
            return;
        }
        let claimed = self.claimed.clone().unwrap();
        let id = claimed.message.id;
        self.next = match self.next {
            Next::LookUp => {
                let noted = claimed.message.provider_id.as_ref().map(|id| id.parse().unwrap());
                // A draft that nobody wrote down is found by its mark.
                self.draft = noted.or_else(|| provider.drafts.len().checked_sub(1));
                if self.draft.is_some_and(|draft| provider.drafts[draft]) {
                    Next::Finish
                } else {
                    Next::Extend
                }
            }
            Next::Extend => {
                let extended = store.extend_outbox_lease(id, &claimed.lease, self.bench.after(LEASE)).await;
                Self::unless_lost(extended, Next::Note)
            }
            Next::Note => {
                let draft = self.draft.unwrap_or_else(|| {
                    provider.drafts.push(false);
                    provider.drafts.len() - 1
                });
                self.draft = Some(draft);
                let event = self.event(EventKind::OutboxDraftCreated);
                let noted = store.note_provider_draft(id, &claimed.lease, &draft.to_string(), event).await;
                Self::unless_lost(noted, Next::Send)
            }
            Next::Send => {
                // Whatever was sent is a draft no more, and cannot be sent again.
                provider.drafts[self.draft.unwrap()] = true;
                Next::Finish
            }
            Next::Finish => {
                let finish = FinishAttempt {
                    id,
                    lease: claimed.lease.clone(),
                    state: OutboxState::Sent,
                    next_attempt_at: None,
                    provider_id: None,
                    words: None,
                    events: vec![self.event(EventKind::OutboxSent)],
                    follow_up: None,
                };
                Self::unless_lost(store.finish_attempt(finish).await, Next::Nothing)
            }
            Next::Claim | Next::Nothing => Next::Nothing,
        };
    }
}

pub(crate) async fn two_owners_in_every_order_send_a_message_once(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let (mut schedule, mut runs) = (Schedule::default(), 0);
    loop {
        let id = bench.accept(bench.env.new_id(), "sales@contoso.example").await;
        let mut provider = Provider::default();
        let mut owners = [Sender::new(&bench), Sender::new(&bench)];
        let mut clock = clock_steps();
        while owners.iter().any(|owner| owner.next != Next::Nothing) {
            let busy: Vec<usize> = (0..2).filter(|owner| owners[*owner].next != Next::Nothing).collect();
            // Each busy owner may go on, the first may die, the clock may pass the end of all leases.
            let chosen = schedule.choose(busy.len() + usize::from(busy[0] == 0) + usize::from(clock > 0));
            match chosen {
                owner if owner < busy.len() => owners[busy[owner]].step(&mut provider).await,
                other if other == busy.len() && clock > 0 => {
                    bench.pass(LEASE);
                    clock -= 1;
                }
                _ => owners[0].next = Next::Nothing,
            }
        }
        sent_once(&bench, id, provider, &schedule).await;
        runs += 1;
        if !schedule.next() {
            break;
        }
    }
    println!(
        "one message, two owners, a death, {} ends of all leases: all {runs} orders, sent once in each",
        clock_steps()
    );
}

/// Whatever was left is taken up by a third, and in the end it was sent once and told once.
async fn sent_once(bench: &Bench, id: OutboxMessageId, mut provider: Provider, schedule: &Schedule) {
    bench.pass(LEASE);
    let mut third = Sender::new(bench);
    while third.next != Next::Nothing {
        third.step(&mut provider).await;
    }
    let what = format!("{:?} {:?}", schedule.choices, bench.timeline(Subject::OutboxMessage(id)).await);
    assert_eq!(bench.state(id).await, OutboxState::Sent, "{what}");
    assert_eq!(provider.drafts.iter().filter(|sent| **sent).count(), 1, "{what}");
    let told = bench.timeline(Subject::OutboxMessage(id)).await;
    assert_eq!(told.iter().filter(|kind| **kind == "outbox.sent").count(), 1, "{what}");
}

/// A worker that reads a mailbox of three mails, two to a page.
struct Reader<'a> {
    bench: &'a Bench,
    mailbox: MailboxId,
    node: NodeId,
    claimed: Option<ClaimedMailbox>,
    /// Mails it has committed, as far as it knows.
    read: usize,
    done: bool,
}

const MAILS: usize = 3;

impl<'a> Reader<'a> {
    fn new(bench: &'a Bench, mailbox: MailboxId) -> Self {
        Self { bench, mailbox, node: bench.node(), claimed: None, read: 0, done: false }
    }

    async fn step(&mut self) {
        let store = &self.bench.store;
        let Some(claimed) = &self.claimed else {
            let claim = store.claim_mailbox(self.mailbox, &self.node, self.bench.after(LEASE));
            self.claimed = claim.await.unwrap();
            let cursor = self.claimed.as_ref().and_then(|claimed| claimed.cursor.clone());
            self.read = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            self.done = self.claimed.is_none();
            return;
        };
        let lease = claimed.lease.clone();
        let done = if self.read < MAILS {
            let to = (self.read + 2).min(MAILS);
            let mut messages = Vec::new();
            for number in self.read..to {
                let content = format!("{number} of {}", self.mailbox);
                messages.push(self.bench.mail(&number.to_string(), &content).await);
            }
            let batch = CollectedBatch {
                mailbox: self.mailbox,
                lease,
                cursor: Some(to.to_string()),
                messages,
                present: vec![],
                removed: vec![],
            };
            self.read = to;
            store.commit_batch(batch).await.map(|_| false)
        } else {
            let finish = PollFinish {
                mailbox: self.mailbox,
                lease,
                state: MailboxState::Running,
                error: None,
                failures: 0,
                next_due_at: Some(self.bench.after(120)),
                events: vec![],
            };
            store.finish_poll(finish).await.map(|()| true)
        };
        self.done = match done {
            Ok(done) => done,
            Err(StoreError::LeaseLost { .. }) => true,
            Err(other) => panic!("{other}"),
        };
    }
}

pub(crate) async fn two_owners_in_every_order_store_a_mail_once(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let (mut schedule, mut runs) = (Schedule::default(), 0);
    let connection = bench.connection().await;
    loop {
        let (address, all) =
            (format!("box{runs}@contoso.example"), postroom_model::mailbox::Availability::All);
        let mailbox = bench.save_mailbox(bench.env.new_id(), connection, &address, all).await;
        let mut owners = [Reader::new(&bench, mailbox), Reader::new(&bench, mailbox)];
        let mut clock = clock_steps();
        while owners.iter().any(|owner| !owner.done) {
            let busy: Vec<usize> = (0..2).filter(|owner| !owners[*owner].done).collect();
            match schedule.choose(busy.len() + usize::from(clock > 0)) {
                owner if owner < busy.len() => owners[busy[owner]].step().await,
                _ => {
                    bench.pass(LEASE);
                    clock -= 1;
                }
            }
        }
        bench.pass(LEASE);
        let mut third = Reader::new(&bench, mailbox);
        while !third.done {
            third.step().await;
        }
        let names: Vec<String> = (0..MAILS).map(|number| number.to_string()).collect();
        let known = bench.store.known_provider_ids(mailbox, &names).await.unwrap();
        let filter = postroom_store::InboxFilter {
            mailbox: Some(mailbox),
            ..crate::bench::in_state(postroom_model::inbox::InboxState::Stored)
        };
        let stored = bench.store.inbox_count(&bench.somebody(), &filter).await.unwrap();
        assert_eq!((known.len(), stored), (MAILS, MAILS as u64), "{:?}", schedule.choices);
        assert_eq!(third.read, MAILS, "the cursor stands at the end: {:?}", schedule.choices);
        runs += 1;
        if !schedule.next() {
            break;
        }
    }
    println!(
        "one mailbox, two owners, {} ends of all leases: all {runs} orders, every mail stored once in each",
        clock_steps()
    );
}
