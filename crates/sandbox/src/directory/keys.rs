//! Certificates of an application: `keyCredentials`, `addKey`, `removeKey`
//! (<https://learn.microsoft.com/graph/api/application-addkey>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::answer::{Answer, Refusal, empty_answer, iso, json_answer};
use crate::call::Call;
use crate::entra::certificate::{Certificate, second};
use crate::entra::keys::sha1_base64;
use crate::entra::proves;
use crate::state::{Tenant, random_guid};

/// Most keys of an application.
const MOST: usize = 100;

fn invalid(property: &str) -> Refusal {
    Refusal::bad_request(format!(
        "Invalid value specified for property '{property}' of resource 'KeyCredential'."
    ))
}

/// Checks a new list against the old one: entries written back without their bytes are kept, new ones completed.
/// Gives the ids of the new ones.
pub(super) fn replace(
    tenant: &Tenant,
    value: &mut Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Refusal> {
    let list =
        value.as_array_mut().filter(|list| list.len() <= MOST).ok_or_else(|| invalid("keyCredentials"))?;
    let mut made = Vec::new();
    for key in list {
        let mut olds = old.and_then(Value::as_array).into_iter().flatten();
        let known = olds.find(|old| key["keyId"].is_string() && old["keyId"] == key["keyId"]);
        match known {
            Some(known) if key["key"].is_null() || key["key"] == known["key"] => *key = known.clone(),
            Some(_) => {
                return Err(Refusal::bad_request("The key of an existing credential cannot be changed."));
            }
            None => {
                complete(tenant, key)?;
                made.push(key["keyId"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    Ok(made)
}

/// Fills in id, thumbprint and dates of a new key, and holds its dates against the certificate's own.
fn complete(tenant: &Tenant, key: &mut Value) -> Result<(), Refusal> {
    if key["type"] != "AsymmetricX509Cert" {
        return Err(invalid("type"));
    }
    if key["usage"] != "Verify" {
        return Err(invalid("usage"));
    }
    let der = key["key"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let der = der.ok_or_else(|| invalid("key"))?;
    let certificate =
        Certificate::read(&der).ok_or_else(|| Refusal::bad_request("Key value is invalid certificate."))?;
    let date = |name: &str, default: i64| match &key[name] {
        Value::Null => Ok(default),
        value => second(value).ok_or_else(|| invalid(name)),
    };
    let start = date("startDateTime", certificate.not_before)?;
    let end = date("endDateTime", certificate.not_after)?;
    if end > certificate.not_after || end <= start {
        return Err(Refusal::bad_request("Key credential end date is invalid."));
    }
    if start < certificate.not_before {
        return Err(Refusal::bad_request("Key credential start date is invalid."));
    }
    tenant.policy().check_certificate(start, end)?;
    let id = key["keyId"].as_str().map_or_else(|| random_guid(&tenant.env), str::to_ascii_lowercase);
    let name =
        key["displayName"].as_str().map_or(certificate.subject, |name| name.chars().take(120).collect());
    *key = json!({
        "customKeyIdentifier": sha1_base64(&der),
        "displayName": name,
        "endDateTime": iso(end),
        "key": STANDARD.encode(&der),
        "keyId": id,
        "startDateTime": iso(start),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    });
    Ok(())
}

/// The token alone is not enough to roll a key: the old key must sign. The status of this refusal is observed, not
/// documented.
fn no_proof() -> Refusal {
    Refusal::new(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
}

async fn proven(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    body: &serde_json::Map<String, Value>,
    application: &str,
    stored: &Value,
) -> Result<(), Refusal> {
    let proof = body.get("proof").and_then(Value::as_str).unwrap_or_default();
    match proves(tenant, db, stored, application, proof).await? {
        true => Ok(()),
        false => Err(no_proof()),
    }
}

/// `addKey`.
pub(super) async fn add(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    application: &str,
    mut stored: Value,
) -> Answer {
    let mut body = call.json()?;
    proven(tenant, db, &body, application, &stored).await?;
    let mut key = body.remove("keyCredential").unwrap_or_default();
    complete(tenant, &mut key)?;
    if stored["keyCredentials"].is_null() {
        stored["keyCredentials"] = json!([]);
    }
    let Some(list) = stored["keyCredentials"].as_array_mut().filter(|list| list.len() < MOST) else {
        return Err(invalid("keyCredentials"));
    };
    if list.iter().any(|old| old["keyId"] == key["keyId"]) {
        return Err(invalid("keyId"));
    }
    list.push(key.clone());
    save(db, application, &stored).await?;
    tenant.announce(db, key["keyId"].as_str().unwrap_or_default()).await?;
    key["key"] = Value::Null;
    key["@odata.context"] = json!(format!("{}/v1.0/$metadata#microsoft.graph.keyCredential", call.base));
    Ok(json_answer(200, &key))
}

/// `removeKey`.
pub(super) async fn remove(
    tenant: &Tenant,
    db: &mut SqliteConnection,
    call: &Call,
    application: &str,
    mut stored: Value,
) -> Answer {
    let body = call.json()?;
    proven(tenant, db, &body, application, &stored).await?;
    let id = body.get("keyId").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let list = stored["keyCredentials"].as_array_mut();
    let Some((list, index)) = list
        .and_then(|list| list.iter().position(|key| key["keyId"] == id.as_str()).map(|index| (list, index)))
    else {
        return Err(Refusal::bad_request("No key credential found with keyId."));
    };
    list.remove(index);
    save(db, application, &stored).await?;
    Ok(empty_answer(204))
}

async fn save(db: &mut SqliteConnection, application: &str, stored: &Value) -> Result<(), Refusal> {
    sqlx::query("UPDATE application SET body = ? WHERE id = ?")
        .bind(stored.to_string())
        .bind(application)
        .execute(db)
        .await?;
    Ok(())
}
