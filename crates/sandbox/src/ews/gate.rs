//! Who may come in: the token, the tenant's switches for EWS, and whose mailbox is opened
//! (<https://learn.microsoft.com/exchange/client-developer/exchange-web-services/how-to-control-access-to-ews-in-exchange>).

use axum::http::{HeaderName, header};
use postroom_ews::wire::ConnectingSid;
use serde_json::Value;

use super::refusal::Refused;
use crate::call::Call;
use crate::directory::catalogue::EXCHANGE;
use crate::doors::sign_in::Trustee;
use crate::entra::bearer::{self, Caller};
use crate::exchange::access::{self, Target};
use crate::exchange::{self, rights};
use crate::mail::{self, Mailbox};
use crate::state::Tenant;

/// Tells which switch is off.
pub(super) const POLICY: HeaderName = HeaderName::from_static("x-ews-policy-reason");
const DIAGNOSTICS: HeaderName = HeaderName::from_static("x-ms-diagnostics");

/// 2027-04-01T00:00:00Z: from then on nobody is let in. What Exchange Online will answer is not documented.
const THE_END: i64 = 1_806_537_600;

/// What Exchange says with every 401.
const CHALLENGE: &str = "Bearer client_id=\"00000002-0000-0ff1-ce00-000000000000\", \
    trusted_issuers=\"00000001-0000-0000-c000-000000000000@*\", \
    token_types=\"app_asserted_user_v1 service_asserted_app_v1\", \
    authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", error=\"invalid_token\"";

/// The token's owner, whatever it may do.
pub(super) fn caller(tenant: &Tenant, call: &Call) -> Result<Caller, Refused> {
    let token = call
        .header(header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = token else { return Err(unauthorized(None)) };
    bearer::verify(tenant, token, EXCHANGE).map_err(|why| {
        let diagnosis = if why.contains("audience") {
            "2000003;reason=\"The audience claim value is invalid.\";error_category=\"invalid_resource\""
        } else if why.contains("expired") {
            "2000002;reason=\"The token has expired.\";error_category=\"token_expired\""
        } else {
            "2000001;reason=\"The token has an invalid signature or is malformed.\";error_category=\"invalid_token\""
        };
        unauthorized(Some(diagnosis))
    })
}

fn unauthorized(diagnosis: Option<&str>) -> Refused {
    let mut headers = vec![(header::WWW_AUTHENTICATE, CHALLENGE.to_owned())];
    headers.extend(diagnosis.map(|text| (DIAGNOSTICS, text.to_owned())));
    Refused::bare(401, headers)
}

fn forbidden() -> Refused {
    Refused::bare(403, Vec::new())
}

fn disabled() -> Refused {
    Refused::bare(403, vec![(POLICY, "EWS is disabled for this user or tenant".to_owned())])
}

fn blocked() -> Refused {
    Refused::bare(403, vec![(POLICY, "EWS is blocked by policy for this user or tenant".to_owned())])
}

/// The switches of the organisation: `EwsEnabled`, the list of applications, the policy for user agents.
pub(super) async fn tenant_lets_in(tenant: &Tenant, call: &Call, caller: &Caller) -> Result<(), Refused> {
    if tenant.now() >= THE_END {
        return Err(disabled());
    }
    let mut tx = tenant.begin().await?;
    let switches = exchange::organization(&mut tx).await?;
    match &switches["EwsEnabled"] {
        // A list counts for nothing then.
        Value::Null => {}
        Value::Bool(true) => {
            let listed = switches["EwsAllowedAppIDs"].as_str().unwrap_or_default();
            if !listed.split(',').any(|id| id.trim().eq_ignore_ascii_case(&caller.app_id)) {
                return Err(blocked());
            }
        }
        _ => return Err(disabled()),
    }
    let agent = call.header(header::USER_AGENT).unwrap_or_default();
    let listed = |name: &str| {
        let list = switches[name].as_str().unwrap_or_default();
        list.split(',').map(str::trim).any(|pattern| !pattern.is_empty() && meets(pattern, agent))
    };
    let let_in = match switches["EwsApplicationAccessPolicy"].as_str() {
        Some(policy) if policy.eq_ignore_ascii_case("EnforceAllowList") => listed("EwsAllowList"),
        Some(policy) if policy.eq_ignore_ascii_case("EnforceBlockList") => !listed("EwsBlockList"),
        _ => true,
    };
    if let_in { Ok(()) } else { Err(blocked()) }
}

/// Whether a user agent fits a pattern whose `*` stands for anything.
fn meets(pattern: &str, agent: &str) -> bool {
    let (pattern, agent) = (pattern.to_ascii_lowercase(), agent.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = agent.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whose mailbox is opened: by impersonation for an application, the person's own for a person.
pub(super) async fn mailbox(
    tenant: &Tenant,
    caller: &Caller,
    who: Option<ConnectingSid>,
) -> Result<Mailbox, Refused> {
    let mut tx = tenant.begin().await?;
    let mailbox = match (&caller.user, &who) {
        (None, None) => {
            return Err(Refused::fault(
                "ErrorInvalidExchangeImpersonationHeaderData",
                "ExchangeImpersonation SOAP header must be present for this type of OAuth token.",
            ));
        }
        (_, Some(ConnectingSid::Sid(_))) => {
            return Err(Refused::fault(
                "ErrorImpersonationFailed",
                "Exchange Web Services failed to impersonate the account: no mailbox has this identifier.",
            ));
        }
        (_, Some(who)) => {
            let address = Some(who.value().trim()).filter(|address| address.contains('@'));
            let found = match address {
                Some(address) => mail::mailbox(&mut tx, address).await?,
                None => None,
            };
            found.ok_or_else(|| {
                Refused::fault(
                    "ErrorNonExistentMailbox",
                    "The SMTP address has no mailbox associated with it.",
                )
            })?
        }
        (Some(id), None) => mail::mailbox(&mut tx, id)
            .await?
            .ok_or_else(|| Refused::fault("ErrorNonExistentMailbox", "No mailbox with such guid."))?,
    };
    if rights::ews_enabled(&mut tx, &mailbox.id).await? == Some(false) {
        return Err(disabled());
    }
    match &caller.user {
        Some(id) if !caller.has(&["EWS.AccessAsUser.All"]) => {
            tracing::debug!(user = id, "a token without EWS.AccessAsUser.All");
            Err(forbidden())
        }
        Some(id) if *id == mailbox.id => Ok(mailbox),
        Some(_) => Err(denied()),
        None => {
            let granted = caller.has(&["full_access_as_app"]);
            let target = Target { id: &mailbox.id, address: &mailbox.address };
            let role = &["EWS.AccessAsApp"];
            if access::check(tenant, &mut tx, &caller.app_id, granted, role, target).await.is_ok() {
                return Ok(mailbox);
            }
            // An access policy forbids, or nothing was granted at all: neither is said. A role in Exchange that does
            // not reach this mailbox is.
            let elsewhere = access::holds(tenant, &mut tx, &caller.app_id, role, target).await?;
            Err(if elsewhere && !granted { denied() } else { forbidden() })
        }
    }
}

fn denied() -> Refused {
    Refused::fault(
        "ErrorImpersonateUserDenied",
        "The account does not have permission to impersonate the requested user.",
    )
}

/// Whether a person may open another's folders.
pub(super) async fn opens(
    db: &mut sqlx::SqliteConnection,
    caller: &Caller,
    mailbox: &str,
) -> sqlx::Result<bool> {
    match &caller.user {
        Some(id) => rights::has(db, &Trustee::Person(id.clone()), mailbox, "FullAccess").await,
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_for_user_agents_may_leave_things_open() {
        for (pattern, agent, fits) in [
            ("Postroom/*", "postroom/1.0", true),
            ("Postroom", "postroom/1.0", false),
            ("*exchangelib*", "x exchangelib/5", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("*", "", true),
        ] {
            assert_eq!(meets(pattern, agent), fits, "{pattern} {agent}");
        }
    }
}
