//! Random sequences of operations against a plain model in memory that knows only what is allowed: what the store
//! answers, what it keeps and what it tells must be the model's at every step.
//!
//! `POSTROOM_PROVE_CASES` sets how many sequences are tried; the sequences are the same in every run.

mod mailboxes;
mod outbox;

use std::fmt::Debug;

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;

pub(crate) use mailboxes::mailboxes_follow_their_model;
pub(crate) use outbox::the_outbox_follows_its_model;

/// Sequences that are tried.
fn cases() -> u32 {
    std::env::var("POSTROOM_PROVE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
}

/// Tries the values of a strategy; of one that fails the simplest form is shown that still fails.
async fn holds<T: Debug>(
    what: &str,
    strategy: impl Strategy<Value = T>,
    test: impl AsyncFn(&T) -> Result<usize, String>,
) {
    let (mut runner, cases, mut steps) = (TestRunner::deterministic(), cases(), 0);
    for _ in 0..cases {
        let mut tree = strategy.new_tree(&mut runner).unwrap();
        let mut simplest = tree.current();
        let mut why = match test(&simplest).await {
            Ok(made) => {
                steps += made;
                continue;
            }
            Err(why) => why,
        };
        let mut more = tree.simplify();
        while more {
            let simpler = tree.current();
            more = match test(&simpler).await {
                Ok(_) => tree.complicate(),
                Err(reason) => {
                    (why, simplest) = (reason, simpler);
                    tree.simplify()
                }
            };
        }
        panic!("{why}\nafter {simplest:#?}");
    }
    println!("{what}: {cases} sequences, {steps} operations, no difference from the model");
}

/// An error unless both are equal.
fn same<T: PartialEq + Debug>(what: &str, store: &T, model: &T) -> Result<(), String> {
    if store == model {
        return Ok(());
    }
    Err(format!("{what}: the store says {store:?}, the model {model:?}"))
}
