//! One process at a time, by journals alone: whoever wants a turn writes its claim down and then reads all claims.
//! Of two that come together at least one sees the other and steps back, perhaps both; whoever steps back asks again
//! at its next look. A claim ends by itself, so a killed process blocks nobody for long.

use jiff::SignedDuration;
use postroom_model::Timestamp;
use postroom_store::StoreError;
use serde::{Deserialize, Serialize};

use super::{read_journal, write_journal};
use crate::Engine;

/// How long a claim lasts without being extended: longer than any call that is made under it.
pub(super) const TURN: SignedDuration = SignedDuration::from_mins(5);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Claim {
    until: Timestamp,
}

/// The right to act on one thing.
pub(super) struct Turn<'a> {
    engine: &'a Engine,
    subject: String,
    name: String,
}

impl<'a> Turn<'a> {
    /// The turn on `subject`; none while another has it.
    pub(super) async fn take(engine: &'a Engine, subject: String) -> Result<Option<Self>, StoreError> {
        let name = format!("turn/{subject}/{}", engine.env.new_uuid());
        let turn = Self { engine, subject, name };
        if turn.others().await? {
            return Ok(None);
        }
        turn.claim().await?;
        if turn.others().await? {
            turn.end().await;
            return Ok(None);
        }
        Ok(Some(turn))
    }

    /// Keeps the turn for another while, before the next step. False when it has ended meanwhile.
    pub(super) async fn keep(&self) -> Result<bool, StoreError> {
        let own = self.engine.store.journal(&self.name).await?;
        let claim: Claim = read_journal(&self.name, own.as_deref());
        if claim.until <= self.engine.env.now() || self.others().await? {
            return Ok(false);
        }
        self.claim().await?;
        Ok(true)
    }

    /// Gives it back. When that fails it ends by itself.
    pub(super) async fn end(self) {
        if let Err(error) = self.engine.store.save_journal(&self.name, None).await {
            tracing::warn!(%error, "a turn could not be given back; it ends by itself");
        }
    }

    async fn claim(&self) -> Result<(), StoreError> {
        let claim = Claim { until: self.engine.after(TURN) };
        self.engine.store.save_journal(&self.name, Some(&write_journal(&self.name, &claim)?)).await
    }

    /// Whether somebody else has a claim that lasts. Claims that have ended are cleared away.
    async fn others(&self) -> Result<bool, StoreError> {
        let now = self.engine.env.now();
        let mut found = false;
        for (name, content) in self.engine.store.journals(&format!("turn/{}/", self.subject)).await? {
            let claim: Claim = read_journal(&name, Some(&content));
            if name == self.name {
                continue;
            }
            if claim.until > now {
                found = true;
            } else {
                self.engine.store.save_journal(&name, None).await?;
            }
        }
        Ok(found)
    }
}
