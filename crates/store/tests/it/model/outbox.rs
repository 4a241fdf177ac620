//! The outbox: accept, claim by two owners, note, extend, finish with every end, wishes of people, time, the end of all
//! leases.

use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::outbox::OutboxState;
use postroom_model::{ConnectionId, OutboxMessageId, Timestamp};
use postroom_store::{
    EventFilter, FinishAttempt, FollowUp, Lease, NodeId, OutboxFilter, Page, StoreError, StoredEvent,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{holds, same};
use crate::bench::Bench;

const LANES: [&str; 3] = ["sales@contoso.example", "Sales@Contoso.example", "quotes@contoso.example"];

#[derive(Debug, Clone)]
enum Step {
    /// The first two senders are one lane.
    Accept {
        sender: usize,
    },
    Claim {
        owner: usize,
        seconds: i64,
        limit: u32,
    },
    Note {
        claim: Index,
    },
    Extend {
        claim: Index,
        seconds: i64,
    },
    Finish {
        claim: Index,
        end: OutboxState,
        wait: i64,
        follow_up: bool,
    },
    Wish {
        message: Index,
        to: OutboxState,
    },
    Pass {
        seconds: i64,
    },
    EndLeases,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = select(OutboxState::ALL.as_slice());
    let step = prop_oneof![
        4 => (0..LANES.len()).prop_map(|sender| Step::Accept { sender }),
        6 => (0..2usize, 1..60i64, 1..4u32)
            .prop_map(|(owner, seconds, limit)| Step::Claim { owner, seconds, limit }),
        2 => any::<Index>().prop_map(|claim| Step::Note { claim }),
        2 => (any::<Index>(), 1..60i64).prop_map(|(claim, seconds)| Step::Extend { claim, seconds }),
        6 => (any::<Index>(), state.clone(), 0..90i64, any::<bool>())
            .prop_map(|(claim, end, wait, follow_up)| Step::Finish { claim, end, wait, follow_up }),
        3 => (any::<Index>(), state).prop_map(|(message, to)| Step::Wish { message, to }),
        4 => (1..80i64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::EndLeases),
    ];
    proptest::collection::vec(step, 1..60)
}

pub(crate) async fn the_outbox_follows_its_model(make: impl AsyncFn() -> Bench) {
    holds("outbox", steps(), async |steps: &Vec<Step>| {
        let mut run = Run::new(make().await);
        for step in steps {
            let before: Vec<OutboxState> = run.model.iter().map(|message| message.state).collect();
            run.make(step).await.map_err(|why| format!("{step:?}: {why}"))?;
            run.no_step_is_skipped(&before, step)?;
            run.compare().await.map_err(|why| format!("after {step:?}: {why}"))?;
        }
        Ok(steps.len())
    })
    .await;
}

/// What the model knows of a message; its place in the list is its place in the order.
#[derive(Debug, Clone)]
struct Message {
    id: OutboxMessageId,
    lane: String,
    state: OutboxState,
    next: Option<i64>,
    attempts: u32,
    provider_id: Option<String>,
    /// Number of the claim that holds it, none when all leases were ended; and until when.
    lease: (Option<usize>, i64),
}

/// A lease that was given out, whatever became of it.
struct Claim {
    message: usize,
    lease: Lease,
}

struct Run {
    bench: Bench,
    connection: ConnectionId,
    owners: [NodeId; 2],
    start: Timestamp,
    /// Seconds since the start.
    now: i64,
    model: Vec<Message>,
    claims: Vec<Claim>,
    /// Events that the model expects and the store has not been asked for.
    told: Vec<(OutboxMessageId, EventKind, Option<u32>)>,
    seen: i64,
}

impl Run {
    fn new(bench: Bench) -> Self {
        let (connection, start) = (bench.env.new_id(), bench.env.now());
        let owners = [bench.node(), bench.node()];
        Self {
            bench,
            connection,
            owners,
            start,
            now: 0,
            model: vec![],
            claims: vec![],
            told: vec![],
            seen: 0,
        }
    }

    fn second(&self, at: Timestamp) -> i64 {
        (at.as_microsecond() - self.start.as_microsecond()) / 1_000_000
    }

    fn tell(&mut self, message: usize, kind: EventKind, attempt: Option<u32>) {
        self.told.push((self.model[message].id, kind, attempt));
    }

    fn accept(&mut self, id: OutboxMessageId, lane: String, state: OutboxState, next: i64) {
        let message =
            Message { id, lane, state, next: Some(next), attempts: 0, provider_id: None, lease: (None, 0) };
        self.model.push(message);
    }

    async fn make(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Accept { sender } => {
                let id = self.bench.accept(self.connection, LANES[*sender]).await;
                self.accept(id, LANES[*sender].to_lowercase(), OutboxState::Accepted, self.now);
                self.tell(self.model.len() - 1, EventKind::OutboxAccepted, None);
            }
            Step::Claim { owner, seconds, limit } => self.claim(*owner, *seconds, *limit).await?,
            Step::Pass { seconds } => {
                self.bench.pass(*seconds);
                self.now += seconds;
            }
            Step::EndLeases => {
                let mut ended = 0;
                for message in self.model.iter_mut().filter(|message| message.lease.0.is_some()) {
                    message.lease = (None, message.lease.1.min(self.now));
                    ended += 1;
                }
                same("ended leases", &self.bench.store.end_all_leases().await.unwrap(), &ended)?;
            }
            Step::Wish { message, to } => {
                if !self.model.is_empty() {
                    self.wish(message.index(self.model.len()), *to).await?;
                }
            }
            Step::Note { claim } | Step::Extend { claim, .. } | Step::Finish { claim, .. } => {
                if !self.claims.is_empty() {
                    // Mostly the last ones: older leases are lost for the same reason.
                    let recent = self.claims.len().min(4);
                    let claim = self.claims.len() - 1 - claim.index(recent);
                    self.under_lease(claim, step).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether the lane lets this one go: no older one accepted or sending, no other one being sent.
    fn is_open(&self, place: usize) -> bool {
        let lane = &self.model[place].lane;
        !self.model.iter().enumerate().any(|(other, message)| {
            let sending = message.state == OutboxState::Sending;
            let closes = (other < place && (message.state == OutboxState::Accepted || sending))
                || (other != place && sending && message.lease.1 > self.now);
            message.lane == *lane && closes
        })
    }

    fn due(&self, place: usize) -> Option<i64> {
        let message = &self.model[place];
        if message.state == OutboxState::Sending { Some(message.lease.1) } else { message.next }
    }

    async fn claim(&mut self, owner: usize, seconds: i64, limit: u32) -> Result<(), String> {
        let mut due: Vec<(i64, usize)> = (0..self.model.len())
            .filter_map(|place| Some((self.due(place).filter(|due| *due <= self.now)?, place)))
            .filter(|(_, place)| self.is_open(*place))
            .collect();
        due.sort_unstable();
        let mut lanes = vec![];
        due.retain(|(_, place)| {
            let lane = &self.model[*place].lane;
            let first = !lanes.contains(lane);
            lanes.push(lane.clone());
            first
        });
        due.truncate(limit as usize);
        let until = self.bench.after(seconds);
        let claimed = self.bench.store.claim_outbox(&self.owners[owner], until, limit).await.unwrap();
        let ids: Vec<_> = claimed.iter().map(|claimed| claimed.message.id).collect();
        same("claimed", &ids, &due.iter().map(|(_, place)| self.model[*place].id).collect())?;
        for (claimed, (_, place)) in claimed.into_iter().zip(due) {
            same("claimed from", &claimed.previous, &self.model[place].state)?;
            let attempts = self.model[place].attempts;
            if claimed.previous == OutboxState::Sending {
                self.tell(place, EventKind::OutboxInterrupted, Some(attempts));
            }
            self.tell(place, EventKind::OutboxAttempt, Some(attempts + 1));
            self.claims.push(Claim { message: place, lease: claimed.lease });
            let message = &mut self.model[place];
            message.state = OutboxState::Sending;
            message.attempts += 1;
            message.next = None;
            message.lease = (Some(self.claims.len() - 1), self.now + seconds);
        }
        Ok(())
    }

    /// Whatever needs the lease: done by who holds it, refused to anybody else.
    async fn under_lease(&mut self, claim: usize, step: &Step) -> Result<(), String> {
        let place = self.claims[claim].message;
        let holds = self.model[place].lease.0 == Some(claim);
        let (id, attempts) = (self.model[place].id, self.model[place].attempts);
        let lease = self.claims[claim].lease.clone();
        let event = |kind| {
            Event::new(self.bench.env.new_id(), self.bench.env.now(), Subject::OutboxMessage(id), kind)
                .attempt(attempts)
        };
        let store = &self.bench.store;
        let made = match step {
            Step::Note { .. } => {
                let draft = format!("draft {claim}");
                let noted =
                    store.note_provider_draft(id, &lease, &draft, event(EventKind::OutboxDraftCreated));
                let noted = noted.await;
                if holds {
                    self.model[place].provider_id = Some(draft);
                    self.tell(place, EventKind::OutboxDraftCreated, Some(attempts));
                }
                noted
            }
            Step::Extend { seconds, .. } => {
                let extended = store.extend_outbox_lease(id, &lease, self.bench.after(*seconds)).await;
                if holds {
                    self.model[place].lease.1 = self.now + seconds;
                }
                extended
            }
            Step::Finish { end, wait, follow_up, .. } => {
                let waits = matches!(end, OutboxState::Deferred | OutboxState::Unknown);
                let follow_up = (*follow_up && *end == OutboxState::Sent).then(|| FollowUp {
                    id: self.bench.env.new_id(),
                    to: vec!["buyer@fabrikam.example".parse().unwrap()],
                    next_attempt_at: self.bench.after(*wait),
                    words: "450 later".into(),
                });
                let finished = store
                    .finish_attempt(FinishAttempt {
                        id,
                        lease,
                        state: *end,
                        next_attempt_at: waits.then(|| self.bench.after(*wait)),
                        provider_id: None,
                        words: None,
                        events: vec![event(EventKind::OutboxReconciled)],
                        follow_up: follow_up.clone(),
                    })
                    .await;
                if *end == OutboxState::Sending {
                    let refused = matches!(finished, Err(StoreError::Untouched { .. }));
                    return same("an attempt that ends as one in progress is refused", &refused, &true);
                }
                if holds {
                    self.finish(place, *end, waits.then_some(self.now + wait));
                    if let Some(follow_up) = follow_up {
                        let lane = self.model[place].lane.clone();
                        self.accept(follow_up.id, lane, OutboxState::Deferred, self.now + wait);
                        self.tell(self.model.len() - 1, EventKind::OutboxFollowUp, None);
                    }
                }
                finished
            }
            _ => return Ok(()),
        };
        match made {
            Ok(()) => same("done by who holds the lease", &true, &holds),
            Err(StoreError::LeaseLost { .. }) => same("refused as taken over", &false, &holds),
            Err(other) => Err(other.to_string()),
        }
    }

    fn finish(&mut self, place: usize, end: OutboxState, next: Option<i64>) {
        let attempts = self.model[place].attempts;
        self.tell(place, EventKind::OutboxReconciled, Some(attempts));
        let now = self.now;
        let message = &mut self.model[place];
        message.state = end;
        message.next = if end == OutboxState::Accepted { Some(now) } else { next };
        message.lease = (None, 0);
    }

    async fn wish(&mut self, place: usize, to: OutboxState) -> Result<(), String> {
        use OutboxState::{Accepted, Cancelled, Deferred, Failed, Held, Scheduled};
        let from = self.model[place].state;
        let (allowed, kind) = match to {
            Held => (matches!(from, Accepted | Scheduled | Deferred), EventKind::OutboxHeld),
            Accepted => (matches!(from, Held | Deferred | Failed), EventKind::OutboxReleased),
            Cancelled => (matches!(from, Accepted | Held | Scheduled | Deferred), EventKind::OutboxCancelled),
            _ => (false, EventKind::OutboxHeld),
        };
        match self.bench.store.change_outbox(self.model[place].id, to, "user:ann").await {
            Ok(_) => same("a wish", &true, &allowed)?,
            Err(StoreError::Untouched { .. }) => same("a wish", &false, &allowed)?,
            Err(other) => return Err(other.to_string()),
        }
        if allowed {
            self.model[place].state = to;
            self.model[place].next = (to == Accepted).then_some(self.now);
            self.tell(place, kind, None);
        }
        Ok(())
    }

    /// What must hold whatever the model says: who may go where, and one at a time in each lane.
    fn no_step_is_skipped(&self, before: &[OutboxState], step: &Step) -> Result<(), String> {
        use OutboxState::{Cancelled, Sending, Sent};
        for (message, from) in self.model.iter().zip(before) {
            let (from, to) = (*from, message.state);
            let allowed = from == to
                || match step {
                    Step::Claim { .. } => !from.is_final() && to == Sending,
                    Step::Finish { .. } => from == Sending && to != Sending,
                    Step::Wish { .. } => !matches!(from, Sending | Sent | Cancelled),
                    _ => false,
                };
            same(&format!("{from} to {to} by {step:?}"), &allowed, &true)?;
        }
        for lane in LANES {
            let sending = self.model.iter().filter(|message| {
                message.lane == lane && message.state == Sending && message.lease.1 > self.now
            });
            // A younger one whose lease was extended after it had ended may go on beside the older one that was
            // released meanwhile; never two by the claim alone.
            if matches!(step, Step::Claim { .. }) && sending.clone().count() > 1 {
                let extended = sending.filter(|message| message.lease.0.is_some()).count() > 1;
                same("two of a lane are being sent", &extended, &false)?;
            }
        }
        Ok(())
    }

    async fn compare(&mut self) -> Result<(), String> {
        let store = &self.bench.store;
        let page = Page { limit: 500, offset: 0 };
        let mut kept = store.outbox(&OutboxFilter::default(), page).await.unwrap();
        kept.reverse();
        let kept: Vec<_> = kept
            .into_iter()
            .map(|message| {
                let next = message.next_attempt_at.map(|next| self.second(next));
                (message.id, message.state, next, message.attempts, message.provider_id)
            })
            .collect();
        let expected = self.model.iter().map(|message| {
            (message.id, message.state, message.next, message.attempts, message.provider_id.clone())
        });
        same("outbox", &kept, &expected.collect())?;
        let places = 0..self.model.len();
        let runs = |place: usize| {
            self.model[place].state == OutboxState::Sending && self.model[place].lease.1 > self.now
        };
        let next =
            places.filter(|place| runs(*place) || self.is_open(*place)).filter_map(|place| self.due(place));
        let due = store.next_outbox_due().await.unwrap().map(|due| self.second(due));
        same("next due", &due, &next.min())?;
        let filter = EventFilter { subject: None, after: self.seen };
        let events = store.events(&filter, 500).await.unwrap();
        self.seen = events.last().map_or(self.seen, |last| last.sequence);
        let told = |stored: &StoredEvent| match stored.event.subject {
            Subject::OutboxMessage(id) => (id, stored.event.kind, stored.event.attempt),
            other => panic!("{other:?}"),
        };
        same("events", &events.iter().map(told).collect(), &std::mem::take(&mut self.told))
    }
}
