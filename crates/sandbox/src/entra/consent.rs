//! The administrator's consent as a page (<https://learn.microsoft.com/entra/identity-platform/v2-admin-consent>):
//! what the registration asks for is granted, and the service principal made when there is none.

use axum::http::Method;
use axum::response::Response;
use serde_json::Value;
use sqlx::{Row, SqliteConnection};
use url::Url;

use super::client::Form;
use super::code::{meets, redirect};
use super::delegated::User;
use super::errors::EntraError;
use super::pages::{self, escape, hidden};
use super::place;
use crate::call::Call;
use crate::directory::catalogue;
use crate::state::{Tenant, random_guid};

/// A request for consent, checked.
struct Wish {
    application: String,
    app_id: String,
    name: String,
    redirect: Option<Url>,
    /// What the form carries along.
    fields: Vec<(String, String)>,
    /// Resource and role ids the registration asks for.
    roles: Vec<(String, String)>,
}

/// `/{tenant}/adminconsent` and `/{tenant}/v2.0/adminconsent`.
pub(super) async fn answer(tenant: &Tenant, call: &Call, asked: &str) -> Response {
    let form = Form::read(call);
    let wish = match read(tenant, call, asked, &form).await {
        Ok(wish) => wish,
        Err(error) => {
            return pages::answer(
                error.status(),
                "Permissions requested",
                &pages::problem(&error.sentence()),
            );
        }
    };
    if call.method == Method::GET {
        return page(call, &wish, "");
    }
    if form.get("cancel").is_some() {
        let text = "AADSTS65004: The resource owner or authorization server denied the request.";
        return back(tenant, &wish, &[("error", "permission_denied"), ("error_description", text)]);
    }
    match accept(tenant, &form, &wish).await {
        Ok(()) => back(tenant, &wish, &[]),
        Err(error) => page(call, &wish, &error.sentence()),
    }
}

async fn read(tenant: &Tenant, call: &Call, asked: &str, form: &Form) -> Result<Wish, EntraError> {
    place(tenant, asked)?;
    let field = |name: &str| {
        let value = form.get(name).or(call.param(name)).filter(|value| !value.is_empty());
        value.map(|value| value.chars().take(4000).collect::<String>())
    };
    let app_id = field("client_id").ok_or_else(|| EntraError::missing("client_id"))?.to_ascii_lowercase();
    let mut tx = tenant.begin().await?;
    let row = sqlx::query("SELECT id, body FROM application WHERE app_id = ?")
        .bind(&app_id)
        .fetch_optional(&mut *tx)
        .await?;
    drop(tx);
    let Some(row) = row else { return Err(super::client::unknown_application(&app_id)) };
    let body: Value = serde_json::from_str(row.get("body")).unwrap_or_default();
    let uri = field("redirect_uri");
    let registered = |uri: &str| {
        ["web", "spa", "publicClient"].iter().any(|platform| {
            let list = body[platform]["redirectUris"].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).any(|known| meets(known, uri))
        })
    };
    let redirect = uri.as_deref().filter(|uri| registered(uri)).and_then(|uri| Url::parse(uri).ok());
    if uri.is_some() && redirect.is_none() {
        return Err(EntraError::new(400, 50_011, "invalid_request").text(
            "The redirect URI specified in the request does not match the redirect URIs configured for the application.",
        ));
    }
    let accesses = body["requiredResourceAccess"].as_array().into_iter().flatten();
    let roles = accesses.flat_map(|access| {
        let resource = access["resourceAppId"].as_str().unwrap_or_default();
        let wanted = access["resourceAccess"].as_array().into_iter().flatten();
        wanted.filter(|one| one["type"] == "Role").filter_map(move |one| {
            Some((resource.to_ascii_lowercase(), one["id"].as_str()?.to_ascii_lowercase()))
        })
    });
    let fields = ["client_id", "redirect_uri", "state", "scope"];
    Ok(Wish {
        application: row.get("id"),
        name: body["displayName"].as_str().unwrap_or_default().to_owned(),
        roles: roles.take(100).collect(),
        fields: fields.iter().filter_map(|name| Some(((*name).to_owned(), field(name)?))).collect(),
        app_id,
        redirect,
    })
}

fn page(call: &Call, wish: &Wish, problem: &str) -> Response {
    let named = |(resource, role): &(String, String)| {
        let resource = catalogue::resource(resource)?;
        Some(format!(
            "<li>{}: {}</li>",
            escape(resource.name),
            escape(catalogue::role_value(resource, role)?)
        ))
    };
    let list: String = wish.roles.iter().filter_map(named).collect();
    let body = format!(
        "<p><strong>{}</strong> asks for the whole organisation:</p><ul>{list}</ul>{}<form method=\"post\" \
         action=\"{}\">{}{}<button>Accept</button> <button name=\"cancel\" value=\"1\" \
         formnovalidate>Cancel</button></form>",
        escape(&wish.name),
        pages::problem(problem),
        escape(&call.address()),
        hidden(&wish.fields),
        pages::LOG_ON,
    );
    pages::answer(200, "Permissions requested", &body)
}

/// Leads back, or says that all is done.
fn back(tenant: &Tenant, wish: &Wish, error: &[(&str, &str)]) -> Response {
    let mut pairs: Vec<(String, String)> =
        error.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pairs.push(("admin_consent".to_owned(), "True".to_owned()));
    if error.is_empty() {
        pairs.push(("tenant".to_owned(), tenant.tenant_id.clone()));
    }
    pairs.extend(wish.fields.iter().filter(|(name, _)| ["state", "scope"].contains(&name.as_str())).cloned());
    match (&wish.redirect, error.is_empty()) {
        (Some(to), _) => redirect(to, &pairs, false),
        (None, true) => {
            pages::answer(200, "Done", "<p>The permissions are granted. You can close this page.</p>")
        }
        (None, false) => pages::answer(200, "Cancelled", "<p>Nothing was changed.</p>"),
    }
}

/// Signs the administrator in and grants.
async fn accept(tenant: &Tenant, form: &Form, wish: &Wish) -> Result<(), EntraError> {
    let (user, password) = (form.get("user").unwrap_or_default(), form.get("password").unwrap_or_default());
    let mut tx = tenant.begin().await?;
    let user = User::sign_in(&mut tx, tenant, user, password).await?;
    if !user.admin {
        return Err(EntraError::new(400, 90_094, "access_denied").text(
            "Admin consent is required for the permissions requested by this application, and you are no administrator.",
        ));
    }
    let principal = principal(tenant, &mut tx, wish).await?;
    for (resource, role) in &wish.roles {
        let known = catalogue::resource(resource).and_then(|found| catalogue::role_value(found, role));
        if known.is_none() {
            return Err(EntraError::new(400, 650_053, "invalid_resource").text(format!(
                "The application asked for permission '{role}' that doesn't exist on the resource."
            )));
        }
        let id = format!("{}-assignment", random_guid(&tenant.env));
        let done = sqlx::query(
            "INSERT INTO role_assignment (id, principal, resource, role, created_at)
             SELECT ?, ?, id, ?, ? FROM service_principal WHERE app_id = ? ON CONFLICT DO NOTHING",
        )
        .bind(&id)
        .bind(&principal)
        .bind(role)
        .bind(tenant.now())
        .bind(resource)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() > 0 {
            tenant.announce(&mut tx, &id).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// The service principal of the application, made when there is none.
async fn principal(tenant: &Tenant, db: &mut SqliteConnection, wish: &Wish) -> Result<String, EntraError> {
    let found: Option<String> = sqlx::query_scalar("SELECT id FROM service_principal WHERE app_id = ?")
        .bind(&wish.app_id)
        .fetch_optional(&mut *db)
        .await?;
    if let Some(id) = found {
        return Ok(id);
    }
    let id = random_guid(&tenant.env);
    sqlx::query(
        "INSERT INTO service_principal (id, app_id, application, display_name, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(&wish.app_id)
    .bind(&wish.application)
    .bind(&wish.name)
    .bind(tenant.now())
    .execute(&mut *db)
    .await?;
    tenant.announce(db, &id).await?;
    Ok(id)
}
