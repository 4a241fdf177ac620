//! Waiting for news by IDLE (RFC 2177).
//!
//! News is a folder that has more messages than it had. Changed flags and removed messages are none: nobody reads flags,
//! and a mailbox that is tidied by a person or a program would be read again and again for nothing. Messages that arrive
//! one after the other are one piece of news.

use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Response};
use tokio::time::{Instant, timeout_at};

use super::meter::Bounds;
use super::session::{Event, Session};
use super::words::Trouble;

/// Quiet for so long, what arrived is told.
const SETTLED: Duration = Duration::from_millis(200);
/// What arrived is told after so long even when more keeps coming.
const AT_MOST: Duration = Duration::from_secs(2);

/// How many messages the folder has, and whether it ever had more than before.
struct Count {
    exists: u32,
    grown: bool,
}

impl Count {
    fn note(&mut self, response: &Response<'_>) {
        match response {
            Response::MailboxData(MailboxDatum::Exists(now)) => {
                self.grown |= *now > self.exists;
                self.exists = *now;
            }
            Response::Expunge(_) => self.exists = self.exists.saturating_sub(1),
            // In place of EXPUNGE (RFC 7162 section 3.2.10.2): as many messages fewer, without an EXISTS that says so.
            Response::Vanished { earlier: false, uids } => {
                for range in uids {
                    let fewer = range.end().saturating_sub(*range.start()).saturating_add(1);
                    self.exists = self.exists.saturating_sub(fewer);
                }
            }
            _ => {}
        }
    }
}

impl Session {
    /// Waits until the open folder has more messages, at most `limit`, with a new IDLE every `again`; false when it has
    /// not.
    pub(super) async fn idle(&mut self, limit: Duration, again: Duration) -> Result<bool, Trouble> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.idle_once(left.min(again)).await? {
                return Ok(true);
            }
            if left <= again {
                return Ok(false);
            }
        }
    }

    async fn idle_once(&mut self, limit: Duration) -> Result<bool, Trouble> {
        let tag = self.begin("IDLE", Bounds::SMALL).await?;
        let mut count = Count { exists: self.exists, grown: false };
        loop {
            let event = self.next(&mut |response| count.note(response)).await?;
            if matches!(event, Event::Question(_)) {
                break;
            }
            if self.is_done(&tag, &event, false)? {
                return Err(self.garbage("IDLE ended before it began"));
            }
        }
        let end = Instant::now() + limit;
        let mut grown_at = None;
        loop {
            let now = Instant::now();
            if count.grown {
                grown_at = grown_at.or(Some(now));
            }
            let until = grown_at.map_or(end, |first| (now + SETTLED).min(first + AT_MOST));
            // What is told here is let go of: each response is bounded, not their sum.
            self.arm(Bounds::SMALL);
            let told = timeout_at(until, self.read(&mut |response| count.note(response))).await;
            let Ok(event) = told else { break };
            if self.is_done(&tag, &event?, false)? {
                return Err(self.garbage("IDLE ended unasked"));
            }
        }
        self.send("DONE").await?;
        loop {
            let event = self.next(&mut |response| count.note(response)).await?;
            if self.is_done(&tag, &event, false)? {
                self.exists = count.exists;
                return Ok(count.grown);
            }
        }
    }
}
