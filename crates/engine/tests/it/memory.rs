//! Many large messages to be sent at once take no more memory than they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{Connection, ConnectionSettings};
use postroom_model::draft::Attachment;
use postroom_model::failure::Failure;
use postroom_model::mailbox::Mailbox;
use postroom_model::outbox::OutboxState;
use postroom_store::Acceptance;
use postroom_transport::{Receipt, Reconciled, SendJob, SendNotes, SendOutcome, Sender, Source, Transports};
use tokio::sync::Semaphore;

use crate::house::{House, draft, submitter};

/// A provider that holds what it is given until it is let go.
#[derive(Default)]
struct Ramp {
    in_hand: AtomicUsize,
    bytes: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Clone)]
struct Gate(Arc<Ramp>, Arc<Semaphore>);

#[async_trait]
impl Transports for Gate {
    fn can_send(&self, _: &ConnectionSettings) -> Result<(), String> {
        Ok(())
    }

    async fn sender(&self, _: &Connection) -> Result<Box<dyn Sender>, Failure> {
        Ok(Box::new(self.clone()))
    }

    async fn source(&self, _: &Connection, _: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        unreachable!("nothing is read")
    }
}

#[async_trait]
impl Sender for Gate {
    async fn send(&self, job: &SendJob, _: &dyn SendNotes) -> SendOutcome {
        let bytes = self.0.bytes.fetch_add(job.raw.len(), Ordering::SeqCst) + job.raw.len();
        self.0.most.fetch_max(bytes, Ordering::SeqCst);
        self.0.in_hand.fetch_add(1, Ordering::SeqCst);
        self.1.acquire().await.unwrap().forget();
        self.0.in_hand.fetch_sub(1, Ordering::SeqCst);
        self.0.bytes.fetch_sub(job.raw.len(), Ordering::SeqCst);
        SendOutcome::Sent(Receipt::default())
    }

    async fn reconcile(&self, _: &SendJob) -> Reconciled {
        unreachable!("every answer came")
    }
}

#[tokio::test]
async fn ten_large_messages_at_once_stay_within_the_budget_and_all_are_sent() {
    let house = House::new().await;
    let gate = Gate(Arc::default(), Arc::new(Semaphore::new(0)));
    // Room for two of them, and a half.
    let settings = EngineSettings {
        send_parallel: 16,
        send_memory_bytes: 3_500_000,
        idle_poll_ms: 60_000,
        ..EngineSettings::default()
    };
    let engine = Engine::new(house.store.clone(), Arc::new(gate.clone()), house.env.clone(), settings);
    let mut sent = Vec::new();
    for number in 0..10 {
        let mut draft = draft(&format!("desk{number}@contoso.example"));
        // 1.0 MB, and as base64 in the raw message 1.4 MB; the last is larger than the budget.
        let size = if number == 9 { 4_000_000 } else { 1_000_000 };
        draft.attachments.push(Attachment {
            name: "drawing.bin".into(),
            content_type: "application/octet-stream".into(),
            content: vec![b'x'; size],
            content_id: None,
        });
        match engine.intake().submit_draft(draft, submitter()).await.unwrap() {
            Acceptance::Accepted(message) => sent.push(message.id),
            other => panic!("{other:?}"),
        }
    }
    let running = house.run_engine(engine);
    let holds = async |count: usize| {
        house
            .until("as many as have room are in hand", async || {
                let held = gate.0.in_hand.load(Ordering::SeqCst);
                if held == count { Ok(()) } else { Err(held) }
            })
            .await;
    };
    for left in (1..10).rev() {
        holds(left.min(2)).await;
        gate.1.add_permits(1);
        house
            .until("one has left", async || {
                let waits = gate.1.available_permits();
                if waits == 0 { Ok(()) } else { Err(waits) }
            })
            .await;
    }
    assert!(gate.0.most.load(Ordering::SeqCst) <= 3_500_000, "{:?}", gate.0.most);
    // What is larger than the budget is sent all the same, alone.
    holds(1).await;
    gate.1.add_permits(1);
    for id in sent {
        house.becomes(id, OutboxState::Sent).await;
    }
    running.stop().await;
}
