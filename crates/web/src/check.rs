//! Runs the ladder of checks. A trait, so that the page can be tried without any server to check.

use async_trait::async_trait;
use postroom_check::{CheckRequest, Report};
use postroom_model::Env;

/// Runs the ladder of checks.
#[async_trait]
pub trait Checker: Send + Sync {
    /// Runs all rungs and gives what they found.
    async fn check(&self, request: CheckRequest) -> Report;
}

/// Checks the real servers.
#[derive(Debug, Clone)]
pub struct LiveChecker {
    /// Time and chance.
    pub env: Env,
}

#[async_trait]
impl Checker for LiveChecker {
    async fn check(&self, request: CheckRequest) -> Report {
        postroom_check::run(&request, &self.env, &mut |_| {}).await
    }
}
