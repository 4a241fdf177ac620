//! Authorization code with PKCE (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>):
//! a page to log on, a code in the redirect, and the code's redemption.

use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use super::client::{COMMAND_LINE_TOOLS, Form, known_client};
use super::delegated::{self, Session, User};
use super::errors::EntraError;
use super::keys::sha256;
use super::pages::{self, escape, hidden};
use super::place;
use crate::answer::empty_answer;
use crate::call::Call;
use crate::state::Tenant;

/// Life of a code.
const LIFE: i64 = 600;
/// Fields of a request that the log-on form carries along.
const CARRIED: [&str; 13] = [
    "client_id",
    "response_type",
    "redirect_uri",
    "scope",
    "response_mode",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "login_hint",
    "domain_hint",
    "client_info",
];

/// A request to sign in, checked.
struct Wish {
    fields: Vec<(String, String)>,
    app_id: String,
    name: String,
    redirect: Url,
    /// Whether the redirect address is one of a public client.
    public: bool,
}

impl Wish {
    fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// `GET` shows the log-on, `POST` signs in and leads back with a code.
pub(super) async fn authorize(tenant: &Tenant, call: &Call, asked: &str) -> Response {
    let form = Form::read(call);
    let wish = match read(tenant, call, asked, &form).await {
        Ok(wish) => wish,
        // A client that is not known cannot be led back to: the person sees the error.
        Err(error) => return pages::answer(error.status(), "Sign in", &pages::problem(&error.sentence())),
    };
    if let Err(error) = check(tenant, &wish) {
        return back(&wish, &[("error", error.error().to_owned()), ("error_description", error.sentence())]);
    }
    if call.method == Method::GET {
        if wish.get("prompt") == "none" {
            let text = "AADSTS50058: A silent sign-in request was sent but no user is signed in.".to_owned();
            return back(&wish, &[("error", "login_required".to_owned()), ("error_description", text)]);
        }
        return log_on(call, &wish, "");
    }
    if form.get("cancel").is_some() {
        let text = "AADSTS65004: User declined to consent to access the app.".to_owned();
        return back(&wish, &[("error", "access_denied".to_owned()), ("error_description", text)]);
    }
    let (user, password) = (form.get("user").unwrap_or_default(), form.get("password").unwrap_or_default());
    let signed_in = match tenant.begin().await {
        Ok(mut tx) => User::sign_in(&mut tx, tenant, user, password).await,
        Err(error) => Err(error.into()),
    };
    match signed_in {
        Ok(user) => {
            back(&wish, &[("code", code(tenant, &wish, &user)), ("session_state", tenant.env.new_token(20))])
        }
        Err(error) => log_on(call, &wish, &error.sentence()),
    }
}

/// Reads the request from query or form, and finds the client and its redirect address.
async fn read(tenant: &Tenant, call: &Call, asked: &str, form: &Form) -> Result<Wish, EntraError> {
    let field = |name: &&str| {
        let value = form.get(name).or(call.param(name)).filter(|value| !value.is_empty())?;
        Some(((*name).to_owned(), value.chars().take(4000).collect()))
    };
    let fields: Vec<(String, String)> = CARRIED.iter().filter_map(field).collect();
    let get = |name: &str| {
        let found = fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        found.ok_or_else(|| EntraError::missing(name))
    };
    place(tenant, asked)?;
    let app_id = get("client_id")?.to_ascii_lowercase();
    let redirect = get("redirect_uri")?;
    let mut tx = tenant.begin().await?;
    let known = known_client(tenant, &mut tx, &app_id).await?;
    drop(tx);
    let listed = |platform: &str| {
        let list = known.body[platform]["redirectUris"].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).any(|uri| meets(uri, &redirect))
    };
    let public = listed("publicClient")
        || listed("spa")
        || (app_id == COMMAND_LINE_TOOLS && meets("http://localhost", &redirect));
    let url = Url::parse(&redirect).ok().filter(|_| public || listed("web"));
    let Some(url) = url else {
        let shown: String = redirect.chars().take(200).collect();
        return Err(EntraError::new(400, 50_011, "invalid_request").text(format!(
            "The redirect URI '{shown}' specified in the request does not match the redirect URIs configured for the \
             application '{app_id}'. Make sure the redirect URI sent in the request matches one added to your \
             application in the Azure portal."
        )));
    };
    Ok(Wish { fields, app_id, name: known.name, redirect: url, public })
}

/// Letter for letter; on this machine the port is free (RFC 8252 section 7.3).
pub(super) fn meets(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return true;
    }
    let (Ok(registered), Ok(asked)) = (Url::parse(registered), Url::parse(asked)) else { return false };
    let local = matches!(registered.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    local
        && registered.scheme() == "http"
        && asked.scheme() == "http"
        && registered.host_str() == asked.host_str()
        && registered.path() == asked.path()
        && asked.query().is_none()
}

/// What is refused by leading back.
fn check(tenant: &Tenant, wish: &Wish) -> Result<(), EntraError> {
    let refuse = |number, error| EntraError::new(400, number, error);
    if wish.get("response_type") != "code" {
        return Err(refuse(700_054, "unsupported_response_type")
            .text("response_type 'id_token' is not enabled for the application."));
    }
    if wish.get("scope").is_empty() {
        return Err(EntraError::missing("scope"));
    }
    delegated::check_scope(tenant, wish.get("scope"))?;
    let method = wish.get("code_challenge_method");
    let challenge = wish.get("code_challenge");
    if !challenge.is_empty() && !["S256", "plain", ""].contains(&method) {
        return Err(refuse(50_149, "invalid_request").text("Invalid Code_Challenge_method parameter."));
    }
    if !challenge.is_empty() && !(43..=128).contains(&challenge.len()) {
        return Err(refuse(501_491, "invalid_request").text("Invalid size of Code_Challenge parameter."));
    }
    Ok(())
}

fn log_on(call: &Call, wish: &Wish, problem: &str) -> Response {
    let hint = wish.get("login_hint");
    let fields =
        pages::LOG_ON.replacen("name=\"user\"", &format!("name=\"user\" value=\"{}\"", escape(hint)), 1);
    let body = format!(
        "<p>to go on to <strong>{}</strong></p>{}<form method=\"post\" action=\"{}\">{}{fields}<button>Sign \
         in</button> <button name=\"cancel\" value=\"1\" formnovalidate>Cancel</button></form>",
        escape(&wish.name),
        pages::problem(problem),
        escape(&call.address()),
        hidden(&wish.fields),
    );
    pages::answer(200, "Sign in", &body)
}

fn code(tenant: &Tenant, wish: &Wish, user: &User) -> String {
    tenant.seal.close(&json!({
        "k": "code", "id": tenant.env.new_token(26), "app": wish.app_id, "user": user.id,
        "redirect": wish.redirect.as_str(), "uri": wish.get("redirect_uri"), "scope": wish.get("scope"),
        "nonce": wish.get("nonce"), "challenge": wish.get("code_challenge"),
        "method": wish.get("code_challenge_method"), "public": wish.public, "until": tenant.now() + LIFE,
    }))
}

/// Leads back to the client, in the way it asked for.
fn back(wish: &Wish, pairs: &[(&str, String)]) -> Response {
    let mut pairs: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let state = wish.get("state");
    if !state.is_empty() {
        pairs.push(("state".to_owned(), state.to_owned()));
    }
    match wish.get("response_mode") {
        "form_post" => pages::answer(
            200,
            "Signed in",
            &format!(
                "<form method=\"post\" action=\"{}\">{}<button>Continue</button></form>",
                escape(wish.redirect.as_str()),
                hidden(&pairs)
            ),
        ),
        mode => redirect(&wish.redirect, &pairs, mode == "fragment"),
    }
}

/// A redirect that carries `pairs` in its query or fragment.
pub(super) fn redirect(to: &Url, pairs: &[(String, String)], fragment: bool) -> Response {
    let mut to = to.clone();
    if fragment {
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        to.set_fragment(Some(&text));
    } else {
        to.query_pairs_mut().extend_pairs(pairs);
    }
    let mut response = empty_answer(302);
    if let Ok(value) = HeaderValue::from_str(to.as_str()) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

fn opened(tenant: &Tenant, code: &str) -> Option<Value> {
    tenant.seal.open(code).filter(|value| value["k"] == "code")
}

/// Whether a code went to an address of a public client; read before the client proves itself.
pub(super) fn is_public(tenant: &Tenant, code: &str) -> bool {
    opened(tenant, code).is_some_and(|value| value["public"] == true)
}

/// The session behind a code; once.
pub(super) fn redeem(tenant: &Tenant, form: &Form, app_id: &str, code: &str) -> Result<Session, EntraError> {
    let refuse = |number| EntraError::new(400, number, "invalid_grant");
    let Some(opened) = opened(tenant, code).filter(|value| value["app"] == app_id) else {
        return Err(refuse(70_000).text("The provided value for the 'code' parameter is not valid."));
    };
    let text = |name: &str| opened[name].as_str().unwrap_or_default();
    if form.need("redirect_uri")? != text("uri") {
        return Err(refuse(500_112).text(
            "The reply address does not match the reply address provided when requesting Authorization code.",
        ));
    }
    let (now, until) = (tenant.now(), opened["until"].as_i64().unwrap_or_default());
    if until <= now {
        return Err(refuse(70_008).text(
            "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive \
             authorization request for this user and resource.",
        ));
    }
    verify_challenge(text("challenge"), text("method"), form.get("code_verifier"))?;
    if !tenant.pending().redeem(text("id"), until, now) {
        return Err(refuse(54_005).text(
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing \
             refresh token.",
        ));
    }
    let nonce = Some(text("nonce").to_owned()).filter(|nonce| !nonce.is_empty());
    Ok(Session {
        user: text("user").to_owned(),
        scope: text("scope").to_owned(),
        nonce,
        public: opened["public"] == true,
    })
}

fn verify_challenge(challenge: &str, method: &str, verifier: Option<&str>) -> Result<(), EntraError> {
    let refuse = |number| EntraError::new(400, number, "invalid_grant");
    match (challenge.is_empty(), verifier) {
        (true, _) => Ok(()),
        (false, None) => {
            Err(refuse(50_148).text("The code_verifier is required for a code that has a code_challenge."))
        }
        (false, Some(verifier)) => {
            let made = if method == "S256" {
                URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))
            } else {
                verifier.to_owned()
            };
            (made == challenge).then_some(()).ok_or_else(|| {
                refuse(501_481).text(
                    "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
                )
            })
        }
    }
}
