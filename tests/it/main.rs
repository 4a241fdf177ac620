//! The real binary: against the sandbox, with real processes, ports and files. One test binary, because each further
//! one is another link of the whole graph.
//!
//! | module | what it shows |
//! |---|---|
//! | `alerts` | warnings by mail arrive, each once |
//! | `backup` | a backup of a working server, restored elsewhere |
//! | `closed` | the limit of an application proved by a mailbox that stays closed, and told when it is defeated |
//! | `harness` | starts and stops the processes; everything waits for facts, on port 0, in folders that vanish |
//! | `story` | the demonstration, and the same way by command line and API |
//! | `crash` | SIGKILL at the worst moments: nothing lost, nothing doubled |
//! | `credential` | credentials staged, tested, switched and renewed; mailboxes that must be refused |
//! | `bad_input` | each wrong input has its answer, and nothing is lost |
//! | `msal` | Microsoft's own libraries, unchanged |
//! | `collecting` | old mail, processed mail, and the comparison with the provider by command line and API |
//! | `postgres` | an installation moved to PostgreSQL, and two nodes on it |
//! | `secrets` | what a run leaves behind holds none of the secrets that went in |
//! | `secrets_setup` | the same for a set-up and for renewals, with every secret that was on the wire |
//! | `wiretap` | writes down every byte between Postroom and the tenant |
//! | `check` | the ladder of checks: all rungs well, and each common mistake named |
//! | `setup` | from nothing to a connection that works, again, cut off, taken back, by script |
//! | `signals` | health, drain, back-pressure, figures, traces and the log |
//! | `handed_over` | a set-up that another administrator runs: not proved until it works, replaced, and its list changed |
//! | `fall_back` | a renewed secret that is revoked at once: the old one is put to use again, and no message fails |
//! | `federated` | another identity provider's token |
//! | `migrating` | a connection switched between EWS and Graph in the middle of its work |
//! | `notified` | the provider calls, and mail is read at once |
//! | `ways` | the ways in and out by command line: flags, drafts, a connection switched between its interfaces |
//! | `foreign` | the messages that CPython ships as test data, through the whole way |

#![expect(clippy::unwrap_used, reason = "a test says by it what must be there")]

mod alerts;
mod backup;
mod bad_input;
mod check;
mod closed;
mod collecting;
mod crash;
mod credential;
mod fall_back;
mod federated;
mod foreign;
mod handed_over;
mod harness;
mod migrating;
mod msal;
mod notified;
mod postgres;
mod secrets;
mod secrets_setup;
#[path = "../../crates/store/tests/servers/postgres.rs"]
mod server;
mod setup;
mod signals;
mod story;
mod ways;
mod wiretap;
