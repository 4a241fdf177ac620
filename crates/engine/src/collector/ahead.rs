//! What a provider names, gathered over several pages, so that a backlog is fetched oldest first although providers name
//! their messages in an order of their own.

use std::collections::HashMap;

use postroom_transport::RemoteMessage;

/// Most messages that are gathered before they are fetched: some megabytes of ids, and a weekend of a busy mailbox.
pub(super) const MOST: usize = 5_000;

/// The news of one or several pages, each message in its last state.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Messages that the store does not hold.
    fresh: Vec<RemoteMessage>,
    /// Every id that was named, and where it stood last.
    last: HashMap<String, Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Fresh,
    Present,
    Removed,
}

impl Ahead {
    /// How many messages wait to be fetched.
    pub(super) fn len(&self) -> usize {
        self.fresh.len()
    }

    /// A message that the store does not hold.
    pub(super) fn fresh(&mut self, message: RemoteMessage) {
        let before = self.last.insert(message.provider_id.clone(), Place::Fresh);
        // Named again after it left is here once; named twice it is one message.
        if before.is_none() || !self.fresh.iter().any(|known| known.provider_id == message.provider_id) {
            self.fresh.push(message);
        }
    }

    /// A message that the store holds.
    pub(super) fn present(&mut self, id: String) {
        self.last.insert(id, Place::Present);
    }

    /// A message that left.
    pub(super) fn removed(&mut self, id: String) {
        self.last.insert(id, Place::Removed);
    }

    /// What is to be fetched, oldest first; ids of known messages that are there; ids of what left.
    pub(super) fn into_parts(self) -> (Vec<RemoteMessage>, Vec<String>, Vec<String>) {
        let Self { mut fresh, last } = self;
        fresh.retain(|message| last.get(&message.provider_id) == Some(&Place::Fresh));
        fresh.sort_by_key(|message| message.received_at);
        let (mut present, mut removed) = (Vec::new(), Vec::new());
        for (id, place) in last {
            match place {
                Place::Fresh => {}
                Place::Present => present.push(id),
                Place::Removed => removed.push(id),
            }
        }
        present.sort_unstable();
        removed.sort_unstable();
        (fresh, present, removed)
    }
}

#[cfg(test)]
mod tests {
    use postroom_model::Timestamp;

    use super::*;

    #[test]
    fn each_message_counts_in_its_last_state_and_the_oldest_comes_first() {
        let mut ahead = Ahead::default();
        let message = |id: &str, second| RemoteMessage {
            provider_id: id.to_owned(),
            message_id: None,
            received_at: Timestamp::from_second(second).unwrap(),
        };
        for (id, second) in [("young", 9), ("gone", 3), ("old", 1), ("young", 9), ("back", 5)] {
            ahead.fresh(message(id, second));
        }
        ahead.present("known".into());
        ahead.removed("gone".into());
        ahead.removed("back".into());
        ahead.fresh(message("back", 5));
        ahead.present("left".into());
        ahead.removed("left".into());
        let (fresh, present, removed) = ahead.into_parts();
        let ids: Vec<_> = fresh.iter().map(|message| message.provider_id.as_str()).collect();
        assert_eq!(ids, ["old", "back", "young"]);
        assert_eq!((present, removed), (vec!["known".into()], vec!["gone".to_owned(), "left".into()]));
    }
}
