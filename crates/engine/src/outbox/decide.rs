//! From the outcome of an attempt to where the message stands now. No I/O.

use jiff::SignedDuration;
use postroom_model::connection::WhenUnknown;
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::outbox::{IN_DOUBT, OutboxMessage, OutboxState};
use postroom_model::{Env, Timestamp};
use postroom_store::FollowUp;
use postroom_transport::{Receipt, RefusedRecipient};

use super::retry;

/// Reason of a message that the first look-up did not find; the second look-up knows it by these words. A provider
/// shows what it has sent a little later, so being absent once proves nothing.
pub(super) const ABSENT_ONCE: &str = "found neither among the sent messages nor among the drafts; it is looked up once more before it is sent again";

/// Where a message stands after an attempt, and what is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conclusion {
    pub(super) state: OutboxState,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) provider_id: Option<String>,
    pub(super) words: Option<String>,
    pub(super) events: Vec<Event>,
    pub(super) follow_up: Option<FollowUp>,
}

/// What decisions are made of.
pub(super) struct Facts<'a> {
    pub(super) env: &'a Env,
    pub(super) message: &'a OutboxMessage,
    /// How long a message is tried, in hours.
    pub(super) window_hours: u32,
    /// Whether the provider told for certain what became of the attempts before.
    pub(super) certain: bool,
    /// Longest wait between two attempts.
    pub(super) longest_wait: SignedDuration,
}

impl Facts<'_> {
    /// An event of this attempt.
    pub(super) fn event(&self, kind: EventKind) -> Event {
        let subject = Subject::OutboxMessage(self.message.id);
        Event::new(self.env.new_id(), self.env.now(), subject, kind).attempt(self.message.attempts)
    }

    /// An event with the words and the request id of a failure.
    pub(super) fn failure_event(&self, kind: EventKind, failure: &Failure) -> Event {
        self.event(kind).words(words(failure)).request_id(failure.request_id.clone())
    }

    /// The provider took it, if not for everybody: then whom it did not take is told beside its words, and by an event
    /// for each. Those who were refused for now are tried again by a message of their own, until the window is over.
    pub(super) fn sent(&self, receipt: Receipt) -> Conclusion {
        let Receipt { provider_id, mut words, request_id, refused } = receipt;
        for RefusedRecipient { address, words: said, .. } in &refused {
            words.push_str(&format!("; not taken for {address}: {said}"));
        }
        let follow_up = self.follow_up(&refused);
        if let Some(follow_up) = &follow_up {
            words.push_str(&format!("; tried again as message {}", follow_up.id));
        }
        let event = self.event(EventKind::OutboxSent).words(&words).request_id(request_id);
        let mut conclusion = self.conclude(OutboxState::Sent, None, words, event, provider_id);
        conclusion.events.extend(refused.iter().map(|one| self.refusal_event(one, follow_up.as_ref())));
        conclusion.follow_up = follow_up;
        conclusion
    }

    /// The message for those who were refused for now; none when nobody was, or when the window is over.
    fn follow_up(&self, refused: &[RefusedRecipient]) -> Option<FollowUp> {
        let again: Vec<&RefusedRecipient> = refused.iter().filter(|one| one.temporary).collect();
        if again.is_empty() || self.window_is_over() {
            return None;
        }
        let words: Vec<String> = again.iter().map(|one| format!("{}: {}", one.address, one.words)).collect();
        let wait = self.usual_wait(None);
        Some(FollowUp {
            id: self.env.new_id(),
            to: again.into_iter().map(|one| one.address.clone()).collect(),
            next_attempt_at: self.env.now().saturating_add(wait).unwrap_or(Timestamp::MAX),
            words: words.join("; "),
        })
    }

    fn refusal_event(&self, refused: &RefusedRecipient, follow_up: Option<&FollowUp>) -> Event {
        let RefusedRecipient { address, words, temporary } = refused;
        match follow_up.filter(|_| *temporary) {
            Some(FollowUp { id, .. }) => self
                .event(EventKind::OutboxRecipientDeferred)
                .words(format!("{address}: {words}; tried again as message {id}")),
            None if *temporary => self
                .event(EventKind::OutboxRecipientRefused)
                .words(format!("{address}: not sent within {} hours: {words}", self.window_hours)),
            None => self.event(EventKind::OutboxRecipientRefused).words(format!("{address}: {words}")),
        }
    }

    /// It certainly was not sent.
    pub(super) fn not_sent(&self, failure: &Failure) -> Conclusion {
        match failure.decision() {
            Decision::Fail => self.ended(OutboxState::Failed, words(failure), failure),
            // A sender that asks for a look-up does not know: whatever it called it, nothing is sent again unseen.
            Decision::Reconcile => self.unknown(failure),
            Decision::Retry { .. } | Decision::Hold => self.not_tried(failure),
        }
    }

    /// It certainly was not sent, and what failed says nothing about the message itself.
    pub(super) fn not_tried(&self, failure: &Failure) -> Conclusion {
        if self.window_is_over() {
            let reason = format!("not sent within {} hours: {}", self.window_hours, words(failure));
            let state =
                if failure.origin == Origin::Ourselves { OutboxState::Held } else { OutboxState::Failed };
            return self.ended(state, reason, failure);
        }
        let event = self.failure_event(EventKind::OutboxDeferred, failure);
        self.conclude(OutboxState::Deferred, Some(self.wait_after(failure)), words(failure), event, None)
    }

    /// It may have been sent. The window does not matter here: it is looked up at least once more.
    pub(super) fn unknown(&self, failure: &Failure) -> Conclusion {
        let event = self.failure_event(EventKind::OutboxUnknown, failure);
        self.conclude(OutboxState::Unknown, Some(self.wait_after(failure)), words(failure), event, None)
    }

    /// It was looked up, and it still is not known whether it was sent.
    pub(super) fn still_unknown(&self, failure: &Failure) -> Conclusion {
        let looked_up = self.failure_event(EventKind::OutboxReconciled, failure);
        if self.window_is_over() && failure.origin != Origin::Ourselves {
            let reason = format!(
                "{IN_DOUBT}; this could not be found out within {} hours: {}",
                self.window_hours,
                words(failure)
            );
            let mut ended = self.ended(OutboxState::Failed, reason, failure);
            ended.events.insert(0, looked_up);
            return ended;
        }
        self.conclude(OutboxState::Unknown, Some(self.wait_after(failure)), words(failure), looked_up, None)
    }

    /// It may have been sent, and nobody can ever tell. Sent again only where the connection asks for that, and each time
    /// it is told that it may arrive twice.
    pub(super) fn cannot_tell(&self, failure: &Failure, policy: WhenUnknown) -> Conclusion {
        // Why it is not known was said by the attempt; what failed now says only that it cannot be looked up.
        let before = self.message.last_words.as_deref().filter(|_| self.message.attempts > 1);
        let why = before.map(|words| format!("{words}; ")).unwrap_or_default() + &words(failure);
        let unknown = self.failure_event(EventKind::OutboxUnknown, failure);
        let mut conclusion = match policy {
            WhenUnknown::AtLeastOnce if !self.window_is_over() => {
                let words = format!("{IN_DOUBT}; it is sent again and may arrive twice: {why}");
                let event = self.event(EventKind::OutboxDeferred).words(&words);
                let wait = self.usual_wait(None);
                self.conclude(OutboxState::Deferred, Some(wait), words, event, None)
            }
            WhenUnknown::AtMostOnce | WhenUnknown::AtLeastOnce => {
                let words = format!("{IN_DOUBT}, and is not sent again: {why}");
                self.ended(OutboxState::Failed, words, failure)
            }
        };
        conclusion.events.insert(0, unknown);
        conclusion
    }

    /// It was looked up once and is nowhere.
    pub(super) fn absent_once(&self) -> Conclusion {
        let wait = self.usual_wait(None);
        let event = self.event(EventKind::OutboxReconciled).words(ABSENT_ONCE);
        self.conclude(OutboxState::Unknown, Some(wait), ABSENT_ONCE.to_owned(), event, None)
    }

    fn ended(&self, state: OutboxState, reason: String, failure: &Failure) -> Conclusion {
        let kind = if state == OutboxState::Held { EventKind::OutboxHeld } else { EventKind::OutboxFailed };
        let event = self.event(kind).words(&reason).request_id(failure.request_id.clone());
        self.conclude(state, None, reason, event, None)
    }

    fn conclude(
        &self,
        state: OutboxState,
        wait: Option<SignedDuration>,
        words: String,
        event: Event,
        provider_id: Option<String>,
    ) -> Conclusion {
        let now = self.env.now();
        Conclusion {
            state,
            next_attempt_at: wait.map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX)),
            provider_id,
            words: Some(self.with_earlier_doubt(state, words)),
            events: vec![event],
            follow_up: None,
        }
    }

    /// Whether an earlier attempt may have sent it, for all that is known.
    pub(super) fn doubted(&self) -> bool {
        !self.certain && self.message.last_words.as_deref().is_some_and(|before| before.starts_with(IN_DOUBT))
    }

    /// The words of a message that an earlier attempt may have sent, and that was sent again on purpose, go on saying so.
    fn with_earlier_doubt(&self, state: OutboxState, words: String) -> String {
        match state {
            _ if !self.doubted() || words.starts_with(IN_DOUBT) => words,
            OutboxState::Sent => format!("{words}; an earlier attempt may have sent it as well"),
            _ => format!("{IN_DOUBT} by an earlier attempt; since then: {words}"),
        }
    }

    fn wait_after(&self, failure: &Failure) -> SignedDuration {
        match failure.decision() {
            Decision::Retry { after } => self.usual_wait(after),
            Decision::Hold => retry::next_attempt_on_hold(self.message.attempts, self.jitter()),
            Decision::Fail | Decision::Reconcile => self.usual_wait(None),
        }
    }

    fn usual_wait(&self, after: Option<SignedDuration>) -> SignedDuration {
        retry::next_attempt(self.message.attempts, after, self.longest_wait, self.jitter())
    }

    fn window_is_over(&self) -> bool {
        let window = SignedDuration::from_hours(i64::from(self.window_hours));
        self.message.accepted_at.saturating_add(window).is_ok_and(|end| self.env.now() >= end)
    }

    fn jitter(&self) -> f64 {
        crate::chance(self.env)
    }
}

/// What a person reads: the literal words with status and code, then the advice.
pub(crate) fn words(failure: &Failure) -> String {
    let mut text = String::new();
    if let Some(status) = failure.status {
        text.push_str(&format!("{status} "));
    }
    if let Some(code) = &failure.code {
        text.push_str(&format!("{code} "));
    }
    text.push_str(&failure.words);
    if let Some(advice) = &failure.advice {
        text.push_str(" - ");
        text.push_str(advice);
    }
    text
}

#[cfg(test)]
mod tests {
    use postroom_model::outbox::Envelope;

    use super::*;

    const RETRY: Decision = Decision::Retry { after: None };
    const LONGEST: SignedDuration = SignedDuration::from_hours(2);

    fn message(env: &Env) -> OutboxMessage {
        OutboxMessage {
            id: env.new_id(),
            state: OutboxState::Sending,
            connection: env.new_id(),
            envelope: Envelope { from: "orders@contoso.example".parse().unwrap(), to: Vec::new() },
            message_id: "<1@contoso.example>".into(),
            subject: String::new(),
            size: 1,
            accepted_at: env.now(),
            next_attempt_at: None,
            attempts: 1,
            provider_id: None,
            last_words: None,
            submitted_by: "cli".into(),
            follow_up_of: None,
        }
    }

    #[test]
    fn only_the_providers_no_or_the_end_of_the_window_is_final_and_our_own_failures_never_fail() {
        use OutboxState::{Deferred, Failed, Held, Unknown};
        let (env, clock) = Env::for_test(2);
        let message = message(&env);
        let facts =
            Facts { env: &env, message: &message, window_hours: 120, longest_wait: LONGEST, certain: false };
        let (provider, network, ours) = (Origin::Provider, Origin::Network, Origin::Ourselves);
        let table = [
            // origin, decision; not sent, unknown, still unknown: within the window, then after it
            (provider, Decision::Fail, [Failed, Unknown, Unknown], [Failed, Unknown, Failed]),
            (provider, RETRY, [Deferred, Unknown, Unknown], [Failed, Unknown, Failed]),
            (provider, Decision::Hold, [Deferred, Unknown, Unknown], [Failed, Unknown, Failed]),
            (provider, Decision::Reconcile, [Unknown, Unknown, Unknown], [Unknown, Unknown, Failed]),
            (network, RETRY, [Deferred, Unknown, Unknown], [Failed, Unknown, Failed]),
            (ours, Decision::Fail, [Deferred, Unknown, Unknown], [Held, Unknown, Unknown]),
            (ours, Decision::Hold, [Deferred, Unknown, Unknown], [Held, Unknown, Unknown]),
        ];
        let check = |after_window: bool| {
            for (origin, decision, within, after) in table {
                let failure = Failure::new("send", origin, "no", decision);
                let conclusions =
                    [facts.not_sent(&failure), facts.unknown(&failure), facts.still_unknown(&failure)];
                let states = conclusions.clone().map(|conclusion| conclusion.state);
                let expected = if after_window { after } else { within };
                assert_eq!(states, expected, "{origin:?} {decision:?} after the window: {after_window}");
                for conclusion in conclusions {
                    let waits = matches!(conclusion.state, Deferred | Unknown);
                    assert_eq!(conclusion.next_attempt_at.is_some(), waits, "{conclusion:?}");
                    assert!(conclusion.words.unwrap().contains("no"));
                }
            }
        };
        check(false);
        clock.advance(SignedDuration::from_hours(120));
        check(true);
    }

    #[test]
    fn what_was_never_tried_is_never_refused_for_good() {
        let (env, _) = Env::for_test(2);
        let message = message(&env);
        let facts =
            Facts { env: &env, message: &message, window_hours: 120, longest_wait: LONGEST, certain: false };
        let failure = Failure::new("sign in", Origin::Provider, "no", Decision::Fail);
        assert_eq!(facts.not_tried(&failure).state, OutboxState::Deferred);
    }

    fn refused(address: &str, words: &str, temporary: bool) -> RefusedRecipient {
        RefusedRecipient { address: address.parse().unwrap(), words: words.into(), temporary }
    }

    #[test]
    fn recipients_that_were_not_taken_are_told_and_those_refused_for_now_are_tried_again_within_the_window() {
        let (env, clock) = Env::for_test(2);
        let message = message(&env);
        let facts =
            Facts { env: &env, message: &message, window_hours: 120, longest_wait: LONGEST, certain: false };
        let gone = refused("gone@fabrikam.example", "550 5.1.1 No such user", false);
        let late = refused("late@fabrikam.example", "450 4.2.0 Greylisted", true);
        let receipt = |refused| Receipt { words: "250 Ok".into(), refused, ..Receipt::default() };

        let told = facts.sent(receipt(vec![gone.clone()]));
        assert_eq!((told.state, &told.follow_up), (OutboxState::Sent, &None));
        let words = "250 Ok; not taken for gone@fabrikam.example: 550 5.1.1 No such user";
        assert_eq!(told.words.as_deref(), Some(words));

        let told = facts.sent(receipt(vec![gone.clone(), late.clone()]));
        let follow_up = told.follow_up.unwrap();
        assert_eq!(follow_up.to.as_slice(), std::slice::from_ref(&late.address));
        assert!(follow_up.next_attempt_at > env.now());
        assert!(told.words.unwrap().ends_with(&format!("tried again as message {}", follow_up.id)));

        clock.advance(SignedDuration::from_hours(120));
        let told = facts.sent(receipt(vec![gone, late]));
        assert_eq!((told.state, &told.follow_up), (OutboxState::Sent, &None));
        let last = told.events.last().unwrap();
        assert_eq!(last.kind, EventKind::OutboxRecipientRefused);
        let words = "late@fabrikam.example: not sent within 120 hours: 450 4.2.0 Greylisted";
        assert_eq!(last.words.as_deref(), Some(words));
    }

    #[test]
    fn what_an_earlier_attempt_may_have_sent_says_so_until_its_end() {
        let (env, _) = Env::for_test(2);
        let mut message = message(&env);
        message.attempts = 2;
        let network = Failure::new("send", Origin::Network, "no answer", RETRY);
        let doubt =
            Facts { env: &env, message: &message, window_hours: 120, longest_wait: LONGEST, certain: false }
                .cannot_tell(&network, WhenUnknown::AtMostOnce);
        message.last_words = doubt.words;
        assert!(message.in_doubt());
        // A person releases it: it waits, waits again, and is sent.
        for attempt in 3..5 {
            message.attempts = attempt;
            let facts = Facts {
                env: &env,
                message: &message,
                window_hours: 120,
                longest_wait: LONGEST,
                certain: false,
            };
            let words = facts.not_sent(&network).words.unwrap();
            assert_eq!(
                words,
                "it may or may not have been sent by an earlier attempt; since then: no answer"
            );
            message.last_words = Some(words);
        }
        let facts =
            Facts { env: &env, message: &message, window_hours: 120, longest_wait: LONGEST, certain: false };
        let sent = facts.sent(Receipt { words: "250 Ok".into(), ..Receipt::default() });
        assert_eq!(sent.words.as_deref(), Some("250 Ok; an earlier attempt may have sent it as well"));
        message.last_words = sent.words;
        assert!(!message.in_doubt());
    }

    #[test]
    fn words_are_literal_with_status_code_and_advice() {
        let mut failure = Failure::new("send", Origin::Provider, "Access is denied.", Decision::Hold);
        failure.status = Some(403);
        failure.code = Some("ErrorAccessDenied".into());
        failure.advice = Some("Grant Mail.Send".into());
        assert_eq!(words(&failure), "403 ErrorAccessDenied Access is denied. - Grant Mail.Send");
    }
}
