//! The device code flow (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>): a code for the
//! person, one for the client, and a page on which the person approves.

use axum::http::Method;
use axum::response::Response;
use serde_json::json;

use super::client::{Form, known_client};
use super::delegated::{self, User};
use super::errors::{EntraError, answer};
use super::pages::{self, escape};
use super::pending::{Device, Outcome};
use super::place;
use crate::answer::{Answer, Refusal, empty_answer};
use crate::call::Call;
use crate::state::Tenant;

/// Life of a device code.
const LIFE: i64 = 900;
/// Letters and digits that are not mistaken for one another.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Longest scope that is kept.
const MAX_SCOPE: usize = 4000;

/// `POST /{tenant}/oauth2/v2.0/devicecode`.
pub(super) async fn start(tenant: &Tenant, call: &Call, asked: &str) -> Result<Response, EntraError> {
    let form = Form::read(call);
    let app_id = form.need("client_id")?.to_ascii_lowercase();
    let scope = form.need("scope")?;
    place(tenant, asked)?;
    let mut tx = tenant.begin().await?;
    known_client(tenant, &mut tx, &app_id).await?;
    drop(tx);
    delegated::check_scope(tenant, scope)?;
    let mut chance = [0; 9];
    tenant.env.fill(&mut chance);
    let user_code: String = chance.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    let code = format!("GAB{}", tenant.env.new_token(120));
    let now = tenant.now();
    let device = Device {
        user_code: user_code.clone(),
        app_id,
        scope: scope.chars().take(MAX_SCOPE).collect(),
        expires: now + LIFE,
        asked: None,
        interval: tenant.device_interval,
        outcome: Outcome::Waiting,
    };
    if !tenant.pending().add(code.clone(), device, now) {
        return Err(EntraError::new(429, 90_055, "temporarily_unavailable")
            .text("Too many device codes wait for their users."));
    }
    let page = format!("{}/_sandbox/device", call.base);
    Ok(answer(
        200,
        &json!({
            "device_code": code,
            "user_code": user_code,
            "verification_uri": page,
            "expires_in": LIFE,
            "interval": tenant.device_interval,
            "message": format!(
                "To sign in, use a web browser to open the page {page} and enter the code {user_code} to authenticate."
            ),
        }),
    ))
}

/// A client asks whether the person is done: who it was, and the scope that was asked for.
pub(super) fn poll(tenant: &Tenant, app_id: &str, code: &str) -> Result<(String, String), EntraError> {
    let now = tenant.now();
    let mut pending = tenant.pending();
    let refuse = |number, error| EntraError::new(400, number, error);
    let Some(device) = pending.device(code).filter(|device| device.app_id == app_id) else {
        return Err(refuse(70_018, "bad_verification_code")
            .text("Invalid verification code. Please make sure you typed in the code correctly."));
    };
    if device.expires <= now {
        pending.forget(code);
        return Err(refuse(70_019, "expired_token")
            .text("Verification code expired. Have the user retry the sign-in."));
    }
    match device.outcome.clone() {
        Outcome::Approved(user) => {
            let scope = device.scope.clone();
            pending.forget(code);
            Ok((user, scope))
        }
        Outcome::Declined => {
            pending.forget(code);
            Err(refuse(70_000, "authorization_declined").text("The user declined the sign-in."))
        }
        Outcome::Waiting => {
            let hasty = device.asked.is_some_and(|asked| now - asked < device.interval);
            device.asked = Some(now);
            if hasty {
                device.interval += 5;
                return Err(refuse(70_016, "slow_down").text(
                    "OAuth 2.0 device flow: the client asks more often than the interval it was given allows.",
                ));
            }
            Err(refuse(70_016, "authorization_pending")
                .text("OAuth 2.0 device flow error. Authorization is pending. Continue polling."))
        }
    }
}

/// What an approval says.
struct Approval {
    user_code: String,
    user: String,
    password: String,
    declined: bool,
}

/// `/_sandbox/device` and `/_sandbox/approve`.
pub(crate) async fn control(tenant: &Tenant, call: &Call) -> Answer {
    if call.method == Method::GET {
        let code = call.param("user_code").or(call.param("code")).unwrap_or_default();
        return Ok(pages::answer(200, "Sign in on a device", &form(code, "")));
    }
    if call.media_type() == "application/json" {
        let body = call.json()?;
        let text =
            |name: &str| body.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let approval = Approval {
            user_code: text("user_code"),
            user: text("user"),
            password: text("password"),
            declined: body.get("decline") == Some(&serde_json::Value::Bool(true)),
        };
        return decide(tenant, &approval).await.map(|()| empty_answer(204));
    }
    let fields = Form::read(call);
    let text = |name: &str| fields.get(name).unwrap_or_default().to_owned();
    let approval = Approval {
        user_code: text("user_code"),
        user: text("user"),
        password: text("password"),
        declined: fields.get("decline").is_some(),
    };
    Ok(match decide(tenant, &approval).await {
        Ok(()) => pages::answer(200, "Done", "<p>The device goes on by itself. You can close this page.</p>"),
        Err(refusal) => {
            pages::answer(refusal.status, "Sign in on a device", &form(&approval.user_code, &refusal.message))
        }
    })
}

async fn decide(tenant: &Tenant, approval: &Approval) -> Result<(), Refusal> {
    let mut tx = tenant.begin().await?;
    let user = User::sign_in(&mut tx, tenant, &approval.user, &approval.password).await;
    drop(tx);
    let user = user.map_err(|error| Refusal::new(400, "BadRequest", error.sentence()))?;
    let now = tenant.now();
    let mut pending = tenant.pending();
    let device =
        pending.by_user_code(&approval.user_code).filter(|device| device.expires > now).ok_or_else(|| {
            Refusal::new(400, "BadRequest", "That code didn't work. Check the code and try again.")
        })?;
    device.outcome = if approval.declined { Outcome::Declined } else { Outcome::Approved(user.id) };
    Ok(())
}

fn form(code: &str, problem: &str) -> String {
    format!(
        "{}<form method=\"post\" action=\"/_sandbox/device\"><label>Code <input name=\"user_code\" value=\"{}\" \
         autocomplete=\"off\" required></label>{}<button>Sign in</button> \
         <button name=\"decline\" value=\"1\">Decline</button></form>",
        pages::problem(problem),
        escape(code),
        pages::LOG_ON,
    )
}
