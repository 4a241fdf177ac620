//! Mailboxes: claim by two owners, commit with what is new and what is known, finish, wake, time, the end of all leases.

use std::collections::BTreeMap;

use postroom_model::MailboxId;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::MailboxState;
use postroom_store::{
    ClaimedMailbox, CollectedBatch, CommitReport, InboxFilter, Lease, NodeId, Page, PollFinish, StoreError,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{holds, same};
use crate::bench::Bench;

const ADDRESSES: [&str; 3] = ["orders@contoso.example", "quotes@contoso.example", "cases@contoso.example"];

#[derive(Debug, Clone)]
enum Step {
    ClaimDue {
        owner: usize,
        seconds: i64,
        limit: u32,
    },
    ClaimOne {
        owner: usize,
        mailbox: usize,
        seconds: i64,
    },
    /// These mails; the same mail may be in several mailboxes, and named again by a later page.
    Commit {
        claim: Index,
        mails: Vec<u8>,
    },
    Finish {
        claim: Index,
        wait: i64,
        fails: bool,
    },
    Wake {
        mailbox: usize,
    },
    Pass {
        seconds: i64,
    },
    EndLeases,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mailbox = 0..ADDRESSES.len();
    let step = prop_oneof![
        4 => (0..2usize, 1..60i64, 1..4u32)
            .prop_map(|(owner, seconds, limit)| Step::ClaimDue { owner, seconds, limit }),
        2 => (0..2usize, mailbox.clone(), 1..60i64)
            .prop_map(|(owner, mailbox, seconds)| Step::ClaimOne { owner, mailbox, seconds }),
        5 => (any::<Index>(), proptest::collection::vec(0..8u8, 0..4))
            .prop_map(|(claim, mails)| Step::Commit { claim, mails }),
        3 => (any::<Index>(), 0..90i64, any::<bool>())
            .prop_map(|(claim, wait, fails)| Step::Finish { claim, wait, fails }),
        2 => mailbox.prop_map(|mailbox| Step::Wake { mailbox }),
        3 => (1..80i64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::EndLeases),
    ];
    proptest::collection::vec(step, 1..50)
}

pub(crate) async fn mailboxes_follow_their_model(make: impl AsyncFn() -> Bench) {
    holds("mailboxes", steps(), async |steps: &Vec<Step>| {
        let mut run = Run::new(make().await).await;
        for step in steps {
            run.make(step).await.map_err(|why| format!("{step:?}: {why}"))?;
            run.compare().await.map_err(|why| format!("after {step:?}: {why}"))?;
        }
        Ok(steps.len())
    })
    .await;
}

struct Mailbox {
    id: MailboxId,
    due: i64,
    failing: bool,
    woken: bool,
    cursor: Option<String>,
    /// Number of the claim that holds it, and until when.
    lease: Option<(usize, i64)>,
    /// Names that are known.
    known: Vec<String>,
}

struct Claim {
    mailbox: usize,
    lease: Lease,
}

struct Run {
    bench: Bench,
    owners: [NodeId; 2],
    now: i64,
    mailboxes: Vec<Mailbox>,
    /// Mails that are stored, and where each lies.
    mails: BTreeMap<u8, Vec<MailboxId>>,
    claims: Vec<Claim>,
    commits: usize,
}

impl Run {
    async fn new(bench: Bench) -> Self {
        let mut mailboxes = Vec::new();
        for address in ADDRESSES {
            let id = bench.mailbox(address).await;
            mailboxes.push(Mailbox {
                id,
                due: 0,
                failing: false,
                woken: false,
                cursor: None,
                lease: None,
                known: vec![],
            });
        }
        let owners = [bench.node(), bench.node()];
        Self { bench, owners, now: 0, mailboxes, mails: BTreeMap::new(), claims: vec![], commits: 0 }
    }

    async fn make(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::ClaimDue { owner, seconds, limit } => {
                let mut due: Vec<(i64, usize)> = (0..self.mailboxes.len())
                    .map(|place| (self.claimable(place), place))
                    .filter(|(at, _)| *at <= self.now)
                    .collect();
                due.sort_unstable();
                due.truncate(*limit as usize);
                let until = self.bench.after(*seconds);
                let claimed = self.bench.store.claim_mailboxes(&self.owners[*owner], until, *limit).await;
                let claimed = claimed.unwrap();
                let ids: Vec<MailboxId> = claimed.iter().map(|claimed| claimed.mailbox.id).collect();
                same("claimed", &ids, &due.iter().map(|(_, place)| self.mailboxes[*place].id).collect())?;
                for (claimed, (_, place)) in claimed.into_iter().zip(due) {
                    self.take(place, claimed, *seconds)?;
                }
            }
            Step::ClaimOne { owner, mailbox, seconds } => {
                let free = self.mailboxes[*mailbox].lease.is_none_or(|(_, until)| until <= self.now);
                let (id, until) = (self.mailboxes[*mailbox].id, self.bench.after(*seconds));
                let claimed = self.bench.store.claim_mailbox(id, &self.owners[*owner], until).await.unwrap();
                same("claimed", &claimed.is_some(), &free)?;
                if let Some(claimed) = claimed {
                    self.take(*mailbox, claimed, *seconds)?;
                }
            }
            Step::Commit { claim, mails } => {
                if let Some(claim) = self.recent(claim) {
                    self.commit(claim, mails).await?;
                }
            }
            Step::Finish { claim, wait, fails } => {
                if let Some(claim) = self.recent(claim) {
                    self.finish(claim, *wait, *fails).await?;
                }
            }
            Step::Wake { mailbox } => {
                let mailbox = &mut self.mailboxes[*mailbox];
                self.bench.store.wake_mailbox(mailbox.id).await.unwrap();
                if !mailbox.woken && !mailbox.failing {
                    mailbox.due = mailbox.due.min(self.now);
                }
                mailbox.woken = true;
            }
            Step::Pass { seconds } => {
                self.bench.pass(*seconds);
                self.now += seconds;
            }
            Step::EndLeases => {
                let held = self.mailboxes.iter_mut().filter_map(|mailbox| mailbox.lease.take()).count();
                same("ended leases", &self.bench.store.end_all_leases().await.unwrap(), &(held as u64))?;
            }
        }
        Ok(())
    }

    /// When the timer may claim it.
    fn claimable(&self, place: usize) -> i64 {
        let mailbox = &self.mailboxes[place];
        mailbox.lease.map_or(mailbox.due, |(_, until)| mailbox.due.max(until))
    }

    fn recent(&self, claim: &Index) -> Option<usize> {
        let recent = self.claims.len().min(4);
        (recent > 0).then(|| self.claims.len() - 1 - claim.index(recent))
    }

    fn holds(&self, claim: usize) -> bool {
        self.mailboxes[self.claims[claim].mailbox].lease.is_some_and(|(holder, _)| holder == claim)
    }

    fn take(&mut self, place: usize, claimed: ClaimedMailbox, seconds: i64) -> Result<(), String> {
        self.claims.push(Claim { mailbox: place, lease: claimed.lease });
        let mailbox = &mut self.mailboxes[place];
        mailbox.lease = Some((self.claims.len() - 1, self.now + seconds));
        mailbox.woken = false;
        same("cursor", &claimed.cursor, &mailbox.cursor)
    }

    async fn commit(&mut self, claim: usize, mails: &[u8]) -> Result<(), String> {
        let holds = self.holds(claim);
        let place = self.claims[claim].mailbox;
        let id = self.mailboxes[place].id;
        self.commits += 1;
        let cursor = format!("after commit {}", self.commits);
        let mut messages = Vec::new();
        let mut expected = CommitReport::default();
        for mail in mails {
            let name = format!("{mail} in {place}");
            messages.push(self.bench.mail(&name, &format!("mail {mail}")).await);
            if !holds {
                continue;
            }
            let mailbox = &mut self.mailboxes[place];
            if mailbox.known.contains(&name) {
                expected.repeated += 1;
                continue;
            }
            mailbox.known.push(name);
            let places = self.mails.entry(*mail).or_default();
            if places.is_empty() {
                expected.stored += 1
            } else {
                expected.delivered += 1
            }
            places.push(id);
        }
        let lease = self.claims[claim].lease.clone();
        let batch = CollectedBatch {
            mailbox: id,
            lease,
            cursor: Some(cursor.clone()),
            messages,
            present: vec![],
            removed: vec![],
        };
        match self.bench.store.commit_batch(batch).await {
            Ok(report) => {
                same("committed by who holds the lease", &true, &holds)?;
                self.mailboxes[place].cursor = Some(cursor);
                same("committed", &report, &expected)
            }
            Err(StoreError::LeaseLost { .. }) => same("refused as taken over", &false, &holds),
            Err(other) => Err(other.to_string()),
        }
    }

    async fn finish(&mut self, claim: usize, wait: i64, fails: bool) -> Result<(), String> {
        let holds = self.holds(claim);
        let place = self.claims[claim].mailbox;
        let finish = PollFinish {
            mailbox: self.mailboxes[place].id,
            lease: self.claims[claim].lease.clone(),
            state: if fails { MailboxState::Failing } else { MailboxState::Running },
            error: None,
            failures: 0,
            next_due_at: Some(self.bench.after(wait)),
            events: vec![],
        };
        match self.bench.store.finish_poll(finish).await {
            Ok(()) => {
                same("finished by who holds the lease", &true, &holds)?;
                let now = self.now;
                let mailbox = &mut self.mailboxes[place];
                mailbox.lease = None;
                mailbox.failing = fails;
                // Woken during the reading: it may have looked too early.
                mailbox.due = if mailbox.woken && !fails { now } else { now + wait };
                Ok(())
            }
            Err(StoreError::LeaseLost { .. }) => same("refused as taken over", &false, &holds),
            Err(other) => Err(other.to_string()),
        }
    }

    async fn compare(&self) -> Result<(), String> {
        let next = (0..self.mailboxes.len()).map(|place| self.claimable(place)).min();
        let due = self.bench.store.next_mailbox_due().await.unwrap();
        let start = self.bench.after(-self.now).as_microsecond();
        same("next due", &due.map(|due| (due.as_microsecond() - start) / 1_000_000), &next)?;
        let filter = InboxFilter { state: Some(InboxState::Stored), ..InboxFilter::default() };
        let page = Page { limit: 500, offset: 0 };
        let stored = self.bench.store.inbox(&self.bench.somebody(), &filter, page).await.unwrap();
        let mut places: Vec<Vec<MailboxId>> = stored.into_iter().map(|message| message.mailboxes).collect();
        let mut expected: Vec<Vec<MailboxId>> = self.mails.values().cloned().collect();
        for list in [&mut places, &mut expected] {
            list.iter_mut().for_each(|places| places.sort_unstable());
            list.sort_unstable();
        }
        same("where the mails lie", &places, &expected)
    }
}
