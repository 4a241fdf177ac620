//! The real binary: against the sandbox, with real processes, ports and files. One test binary, because each further
//! one is another link of the whole graph.
//!
//! | module | what it shows |
//! |---|---|
//! | `harness` | starts and stops the processes; everything waits for facts, on port 0, in folders that vanish |
//! | `story` | the demonstration, and the same way by command line and API |
//! | `crash` | SIGKILL at the worst moments: nothing lost, nothing doubled |
//! | `credential` | credentials staged, tested, switched and renewed; mailboxes that must be refused |
//! | `bad_input` | each wrong input has its answer, and nothing is lost |
//! | `foreign` | the messages that CPython ships as test data, through the whole way |

#![expect(clippy::unwrap_used, reason = "a test says by it what must be there")]

mod bad_input;
mod crash;
mod credential;
mod foreign;
mod harness;
mod story;
