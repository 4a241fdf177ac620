//! What a store promises, asked of every engine through `dyn Store`, and what only the SQLite folder promises.
//!
//! A test of the suite takes a closure that makes a bench: a store of its own with a clock that stands still. To run
//! the suite on another engine: one more line at `on_every_engine`.

mod bench;
mod outbox;

/// One test per engine and function.
macro_rules! on_every_engine {
    ($($subject:ident { $($name:ident)* })*) => {
        mod sqlite {
            $(mod $subject {
                $(#[tokio::test]
                async fn $name() {
                    crate::$subject::$name(crate::bench::sqlite).await;
                })*
            })*
        }
    };
}

on_every_engine! {
    outbox {
        what_was_accepted_is_there_with_its_event
        the_same_request_under_a_key_is_accepted_once
        another_request_under_a_key_is_refused
        keys_are_the_submitters_own_and_forgotten_after_seven_days
        a_claim_counts_the_attempt_and_writes_its_event
        a_sender_is_served_in_order_and_one_at_a_time
        a_deferred_message_holds_up_nothing
        an_interrupted_attempt_is_claimed_as_such
        a_released_message_and_an_interrupted_one_do_not_wait_for_each_other
        whoever_was_taken_over_can_record_nothing
        an_extended_lease_is_not_taken_over
        the_next_due_is_that_of_what_can_be_claimed
        people_change_what_may_be_changed
        ended_leases_are_claimable_at_once
        lists_and_counts_follow_the_states
    }
}
