//! What a store promises, asked of every engine through `dyn Store`, and what only the SQLite folder promises.
//!
//! A test of the suite takes a closure that makes a bench: a store of its own with a clock that stands still. To run
//! the suite on another engine: one more line at `on_every_engine`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say that something must be there, as tests may")]
#![allow(clippy::print_stdout, reason = "proofs say what they counted")]

mod availability;
mod backup;
mod bench;
mod collecting;
mod inbox;
mod interleaved;
mod janitor;
mod model;
mod moving;
mod nodes;
mod outbox;
#[path = "../servers/postgres.rs"]
mod server;
mod settings;
mod sqlite_folder;
mod switching;

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

        /// A cluster for each part of the suite, and a database for each test: starting one for each test would take
        /// longer than the tests.
        mod postgres {
            $(#[tokio::test]
            #[ignore = "needs PostgreSQL"]
            async fn $subject() {
                let server = std::sync::Arc::new(crate::server::Postgres::start().await);
                let mut failed = Vec::new();
                $(
                    let own = server.clone();
                    let test = async move {
                        crate::$subject::$name(async || crate::bench::postgres(&own).await).await;
                    };
                    let alone = tokio::task::LocalSet::new();
                    let test = alone.spawn_local(test);
                    if alone.run_until(test).await.is_err() {
                        failed.push(stringify!($name));
                    }
                )*
                assert!(failed.is_empty(), "failed: {failed:?}\n{}", server.log());
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
        a_follow_up_is_made_once_with_the_end_of_the_attempt
        an_interrupted_attempt_is_claimed_as_such
        a_released_message_and_an_interrupted_one_do_not_wait_for_each_other
        whoever_was_taken_over_can_record_nothing
        an_extended_lease_is_not_taken_over
        the_next_due_is_that_of_what_can_be_claimed
        people_change_what_may_be_changed
        ended_leases_are_claimable_at_once
        lists_and_counts_follow_the_states
    }
    collecting {
        cursor_and_messages_are_committed_together
        a_lost_lease_commits_nothing
        what_is_processed_is_settled_once_and_old_mail_is_marked
        a_known_provider_id_is_dropped
        the_same_mail_in_another_mailbox_is_one_message
        mail_without_message_id_is_compared_by_content
        a_message_that_left_the_folder_stays
        due_mailboxes_are_claimed_once_and_the_longest_due_first
        a_mailbox_can_be_claimed_before_it_is_due
        a_finished_reading_sets_state_and_time
        moving_an_empty_mailbox_forgets_the_cursor_and_ends_the_lease
        a_mailbox_with_mail_stays_the_account_it_is
        the_connections_interval_reaches_the_mailboxes_that_have_none
        polling_switched_off_or_on_during_a_reading_wins
        a_woken_mailbox_is_due_now_and_no_wake_is_lost_during_a_reading
        a_wake_changes_neither_what_is_off_nor_the_rest_of_what_fails
        whatever_changes_how_a_polled_mailbox_is_opened_can_be_seen
        saving_a_mailbox_touches_no_other
        blobs_are_kept_once_and_compared_with_their_name
        a_content_that_comes_in_pieces_is_the_same_content
        several_contents_are_stored_at_once_each_under_its_own_name
        the_beginning_of_a_content_is_read_without_the_rest
    }
    inbox {
        processing_shows_the_message_and_quarantine_keeps_it
        only_the_first_processing_counts
        quarantine_can_be_run_again
        a_placeholder_that_is_run_again_is_fetched_once_more
        a_thread_is_the_same_in_whatever_order_it_arrives
        two_threads_are_joined_under_the_oldest
        search_finds_words_and_never_fails_on_syntax
        lists_are_newest_first_and_paged
        filing_twice_gives_the_first_entry
    }
    model {
        the_outbox_follows_its_model
        mailboxes_follow_their_model
    }
    interleaved {
        two_owners_in_every_order_send_a_message_once
        two_owners_in_every_order_store_a_mail_once
    }
    availability {
        every_read_asks_who_may_see
        a_message_in_two_mailboxes_shows_only_those_the_viewer_may_see
        a_removed_mailbox_keeps_its_mail_with_those_who_could_see_it
        a_removed_mailbox_is_out_of_use_and_comes_back_as_it_was
        a_removed_connection_leaves_the_mail_of_its_removed_mailboxes
        the_query_agrees_with_the_model
    }
    switching {
        what_was_collected_is_recognised_by_its_new_id_and_makes_no_event
        the_same_message_written_otherwise_is_known_by_its_id_and_second
        two_copies_of_one_mail_stay_two_and_a_new_one_is_new
        there_and_back_the_first_ids_are_in_use_again
        a_placeholder_gives_way_to_the_mail
        a_reading_by_the_former_interface_commits_nothing
        an_open_outcome_forbids_the_switch_and_a_draft_is_forgotten
        only_exchange_online_has_another_interface
        another_interface_is_not_saved_past_the_switch
        another_imap_server_is_read_from_its_beginning_and_no_mail_is_hidden_or_told_twice
    }
    janitor {
        only_what_is_finished_and_old_enough_is_over
        collected_mail_is_kept_for_its_type_and_what_is_filed_for_ever
        a_raw_message_goes_when_nothing_names_it_for_a_day
        the_figures_say_what_waits_and_since_when
    }
    settings {
        secrets_do_not_follow_to_another_server
        a_connection_is_saved_changed_and_removed
        a_mailboxs_password_stays_with_the_server_it_was_entered_for
        a_new_credential_retires_the_one_before
        a_next_credential_stands_beside_the_current_one_until_it_is_switched_to
        the_former_credential_is_returned_to_and_erased_by_whatever_ends_its_use
        journals_are_kept_replaced_and_removed
        outgoing_settings_fall_with_their_connection
        users_groups_and_names
        sessions_end
        a_new_password_ends_every_session_and_other_changes_none
        a_removed_user_is_gone_and_the_name_is_given_to_nobody_else
        a_group_without_a_name_is_refused
        api_keys_are_revoked_once_and_their_names_are_free_again
        events_are_listed_in_order_and_per_subject
    }
}
