//! Waiting for news by IDLE (RFC 2177).

use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Response};
use tokio::time::{Instant, timeout};

use super::meter::Bounds;
use super::session::{Event, Session};
use super::words::Trouble;

impl Session {
    /// Waits until the open folder has news, at most `limit`, with a new IDLE every `again`; false when there were
    /// none.
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
        let (mut exists, mut news) = (self.exists, false);
        let mut on = |response: &Response<'_>| news |= is_news(&mut exists, response);
        loop {
            let event = self.next(&mut on).await?;
            if matches!(event, Event::Question(_)) {
                break;
            }
            if self.is_done(&tag, &event, false)? {
                return Err(self.garbage("IDLE ended before it began"));
            }
        }
        if !news {
            let wait = async {
                while !news {
                    let event = self.read(&mut |response| news |= is_news(&mut exists, response)).await?;
                    if self.is_done(&tag, &event, false)? {
                        return Err(self.garbage("IDLE ended unasked"));
                    }
                }
                Ok(())
            };
            if let Ok(ended) = timeout(limit, wait).await {
                ended?;
            }
        }
        self.send("DONE").await?;
        loop {
            let event = self.next(&mut |response| news |= is_news(&mut exists, response)).await?;
            if self.is_done(&tag, &event, false)? {
                self.exists = exists;
                return Ok(news);
            }
        }
    }
}

/// Whether a response tells of something new, and how many messages there are then. After VANISHED the next EXISTS
/// says how many.
fn is_news(exists: &mut u32, response: &Response<'_>) -> bool {
    match response {
        Response::MailboxData(MailboxDatum::Exists(now)) => std::mem::replace(exists, *now) != *now,
        Response::Expunge(_) => {
            *exists = exists.saturating_sub(1);
            true
        }
        Response::Vanished { .. } | Response::Fetch(..) => true,
        _ => false,
    }
}
