//! The probes, one file each, in the order of the ladder.

pub(crate) mod mailbox;
pub(crate) mod roles;
pub(crate) mod round_trip;
pub(crate) mod send;
pub(crate) mod shapes;
pub(crate) mod tenant;
pub(crate) mod token;

use postroom_entra::Ids;
use postroom_graph::GraphClient;

use crate::CheckRequest;
use crate::finding::Finding;
use crate::ladder::Step;

pub(crate) const SHAPES: Step = Step::new("shapes", "Settings");
pub(crate) const TENANT: Step = Step::new("tenant", "Directory (tenant)");
pub(crate) const TOKEN: Step = Step::new("token", "Sign-in");
pub(crate) const ROLES: Step = Step::new("roles", "Rights in the token");
pub(crate) const SEND: Step = Step::new("send", "Test message");
pub(crate) const ROUND_TRIP: Step = Step::new("round-trip", "Round trip");

/// What the probes ask with.
pub(crate) struct Client {
    /// For questions that need no token.
    pub(crate) http: reqwest::Client,
    /// Graph with the settings and the secret of the request; nothing was asked yet.
    pub(crate) graph: GraphClient,
}

/// Ids of the connection for advice.
pub(crate) fn ids(request: &CheckRequest) -> Ids {
    Ids::of(request.settings.tenant_id.trim(), request.settings.application_id.trim())
}

/// The finding of a probe that lacks what an earlier rung should have given. The ladder skips such a probe before.
pub(crate) fn nothing_to_go_on() -> Finding {
    Finding::skipped("Not checked, because an earlier rung gave nothing to go on with.")
}
