//! Client secrets of an application (<https://learn.microsoft.com/graph/api/application-addpassword>).

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::Call;
use crate::entra::keys::sha256;
use crate::state::{Tenant, random_guid};

/// Length of a secret; the service's have 40 too.
const LENGTH: usize = 40;
/// Two years, which is the service's default.
const DEFAULT_LIFE: i64 = 2 * 365 * 86_400;

fn invalid(property: &str) -> Refusal {
    Refusal::bad_request(format!(
        "Invalid value specified for property '{property}' of resource 'PasswordCredential'."
    ))
}

/// An instant in the body, as a second.
fn instant(credential: &Value, name: &str) -> Result<Option<i64>, Refusal> {
    match &credential[name] {
        Value::Null => Ok(None),
        Value::String(text) => text
            .parse::<postroom_model::Timestamp>()
            .map(|instant| Some(instant.as_second()))
            .map_err(|_| invalid(name)),
        _ => Err(invalid(name)),
    }
}

/// `addPassword`: the only answer that shows the secret.
pub(super) async fn add(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    application: &str,
) -> Answer {
    let credential = if call.body.is_empty() {
        Value::Null
    } else {
        call.json()?.remove("passwordCredential").unwrap_or_default()
    };
    let start = instant(&credential, "startDateTime")?.unwrap_or_else(|| tenant.now());
    let end = instant(&credential, "endDateTime")?.unwrap_or(start + DEFAULT_LIFE);
    if end <= start {
        return Err(invalid("endDateTime"));
    }
    tenant.policy().check_secret(start, end)?;
    let name: Option<String> =
        credential["displayName"].as_str().map(|text| text.chars().take(120).collect());
    // Real secrets hold `~`, `.` and `_`; one of each here, so that clients must encode what they send.
    let token = tenant.env.new_token(LENGTH - 5);
    let (head, tail) = token.split_at(3);
    let secret = format!("{head}8Q~{tail}._");
    let secret: String = secret.chars().take(LENGTH).collect();
    let key_id = random_guid(&tenant.env);
    sqlx::query(
        "INSERT INTO secret (key_id, application, display_name, hint, digest, starts_at, ends_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&key_id)
    .bind(application)
    .bind(&name)
    .bind(head)
    .bind(sha256(secret.as_bytes()))
    .bind(start)
    .bind(end)
    .execute(&mut *db)
    .await?;
    tenant.announce(db, &key_id).await?;
    Ok(json_answer(
        200,
        &json!({
            "@odata.context": format!("{}/v1.0/$metadata#microsoft.graph.passwordCredential", call.base),
            "customKeyIdentifier": null, "displayName": name, "startDateTime": iso(start), "endDateTime": iso(end),
            "hint": head, "keyId": key_id, "secretText": secret,
        }),
    ))
}

/// `removePassword`.
pub(super) async fn remove(db: &mut SqliteConnection, call: &Call, application: &str) -> Answer {
    let body = call.json()?;
    let key_id = body.get("keyId").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let done = sqlx::query("DELETE FROM secret WHERE application = ? AND key_id = ?")
        .bind(application)
        .bind(&key_id)
        .execute(db)
        .await?;
    if done.rows_affected() == 0 {
        return Err(Refusal::bad_request("No password credential found with keyId."));
    }
    Ok(empty_answer(204))
}

/// `passwordCredentials` of an application, without the secrets.
pub(super) async fn list(db: &mut SqliteConnection, application: &str) -> Result<Value, Refusal> {
    let rows = sqlx::query(
        "SELECT key_id, display_name, hint, starts_at, ends_at FROM secret WHERE application = ? ORDER BY rowid",
    )
    .bind(application)
    .fetch_all(db)
    .await?;
    let secrets = rows.iter().map(|row| {
        json!({
            "customKeyIdentifier": null,
            "displayName": row.get::<Option<String>, _>("display_name"),
            "startDateTime": iso(row.get("starts_at")),
            "endDateTime": iso(row.get("ends_at")),
            "hint": row.get::<String, _>("hint"),
            "keyId": row.get::<String, _>("key_id"),
            "secretText": null,
        })
    });
    Ok(Value::Array(secrets.collect()))
}
