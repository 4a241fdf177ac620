//! The probes, one file each, in the order of the ladder.

mod certificate;
pub(crate) mod clock;
pub(crate) mod credential;
pub(crate) mod file_away;
pub(crate) mod mailbox;
mod mailbox_kind;
pub(crate) mod network;
pub(crate) mod notice;
pub(crate) mod refusal;
pub(crate) mod reply;
pub(crate) mod roles;
pub(crate) mod round_trip;
pub(crate) mod send;
pub(crate) mod send_large;
pub(crate) mod server;
pub(crate) mod shapes;
pub(crate) mod tenant;
mod test_item;
pub(crate) mod token;

use postroom_entra::Ids;
use postroom_graph::GraphClient;
use postroom_model::EmailAddress;
use postroom_model::connection::AuthenticationFlow;
use postroom_model::failure::Failure;
use postroom_transport::Wire;

use crate::CheckRequest;
use crate::finding::{self, Finding, Service, Way};
use crate::ladder::Step;

pub(crate) const SHAPES: Step = Step::new("shapes", "Settings");
pub(crate) const CLOCK: Step = Step::new("clock", "Clock");
pub(crate) const NETWORK: Step = Step::new("network:sign-in", "Network to the sign-in");
pub(crate) const NETWORK_MAIL: Step = Step::new("network:mail", "Network to the mail");
pub(crate) const TENANT: Step = Step::new("tenant", "Directory (tenant)");
pub(crate) const TOKEN: Step = Step::new("token", "Sign-in");
pub(crate) const ROLES: Step = Step::new("roles", "Rights in the token");
pub(crate) const CREDENTIAL: Step = Step::new("credential", "Life of the credential");
pub(crate) const SIZE: Step = Step::new("size", "Largest message");
pub(crate) const SIGN_IN: Step = Step::new("sign-in", "Sign-in at the server");
pub(crate) const SEND: Step = Step::new("send", "Test message");
pub(crate) const SEND_LARGE: Step = Step::new("send-large", "Large file");
pub(crate) const ROUND_TRIP: Step = Step::new("round-trip", "Round trip");
pub(crate) const REPLY: Step = Step::new("reply", "Match of replies");
pub(crate) const NOTICE: Step = Step::new("notice", "Notice of changes");

/// What the probes ask with; nothing was asked yet.
pub(crate) struct Means {
    /// For questions that need no token.
    pub(crate) http: reqwest::Client,
    /// Senders and sources, as those that people's mail goes through.
    pub(crate) wire: Wire,
    /// Who is asked.
    pub(crate) service: Service,
    /// For Microsoft Graph alone.
    pub(crate) client: Option<Client>,
}

/// What the probes of Microsoft Graph ask with.
pub(crate) struct Client {
    /// Graph with the settings and the secret of the request; nothing was asked yet.
    pub(crate) graph: GraphClient,
}

/// Ids of the connection for advice.
pub(crate) fn ids(request: &CheckRequest) -> Ids {
    Ids::of(request.settings.tenant_id.trim(), request.settings.application_id.trim())
}

/// The same for a mailbox.
pub(crate) fn ids_for(request: &CheckRequest, mailbox: &EmailAddress) -> Ids {
    ids(request).with_mailbox(mailbox.as_str())
}

/// The connection's name as one word of a command line.
pub(crate) fn quoted(request: &CheckRequest) -> String {
    let name = request.settings.display_name();
    if name.contains(['"', '$', '`', '\\']) {
        format!("'{}'", name.replace('\'', "'\\''"))
    } else {
        format!("\"{name}\"")
    }
}

/// How the application is limited to its mailboxes: the command prints lines that work, which words here cannot.
pub(crate) fn limit(request: &CheckRequest) -> String {
    format!(
        "`postroom setup scope-script --connection {}` prints the lines for the Exchange administrator that give the \
         application its mailboxes and no others (for an application made by hand it also needs --application-id, \
         --principal-id and --mailbox). Nothing is to be granted in Entra; what changes in Exchange takes up to two \
         hours.",
        quoted(request)
    )
}

/// What a provider refused in a mailbox; for access denied with the step that the rights in the token point to.
pub(crate) fn refused(
    request: &CheckRequest,
    granted: Option<&Vec<String>>,
    did: String,
    failure: &Failure,
    ids: &Ids,
) -> Finding {
    let service = Service::of(&request.settings);
    let finding = Finding::refused_by(service, did, failure, ids);
    if service.way != Way::Graph {
        return finding;
    }
    let Some(granted) = granted.filter(|_| finding::is_access_denied(failure, ids)) else { return finding };
    let mailbox = ids.mailbox.as_deref().unwrap_or("this mailbox");
    let step = if request.settings.flow == AuthenticationFlow::Password {
        let user = request.settings.user_name.trim();
        format!(
            "The user {user} may not open {mailbox}: an Exchange administrator runs `Add-MailboxPermission -Identity \
             {mailbox} -User {user} -AccessRights FullAccess`."
        )
    } else if roles::mail_rights(granted).is_empty() {
        format!(
            "The token holds no mail rights, so {mailbox} is not in the RBAC scope of the application. {}",
            limit(request)
        )
    } else {
        let application = request.settings.application_id.trim();
        format!(
            "The token holds mail rights, so an application access policy or a scope in Exchange leaves {mailbox} \
             out: an Exchange administrator runs `Test-ApplicationAccessPolicy -AppId {application} -Identity \
             {mailbox}`."
        )
    };
    finding.with_step(step, failure, ids)
}

pub(crate) use mailbox_kind::cannot_be_checked;

/// The finding of a probe that lacks what an earlier rung should have given. The ladder skips such a probe before.
pub(crate) fn nothing_to_go_on() -> Finding {
    Finding::skipped("Not checked, because an earlier rung gave nothing to go on with.")
}
