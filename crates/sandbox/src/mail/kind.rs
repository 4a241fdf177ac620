//! What a mailbox is: a person's, or one of the others that an address may turn out to be
//! (<https://learn.microsoft.com/graph/api/resources/mailboxsettings>, `userPurpose`).

use axum::http::Method;
use serde_json::json;
use sqlx::SqliteConnection;

use super::unknown_user;
use crate::answer::{Answer, Refusal, empty_answer, json_answer};
use crate::call::Call;
use crate::state::Tenant;

/// Kinds that mail can be read from, as `userPurpose` names them.
const PURPOSES: [&str; 6] = ["user", "linked", "shared", "room", "equipment", "others"];
/// A group of people, without a mailbox that `/users` would open.
pub(crate) const GROUP: &str = "group";
/// The licence was taken away, and the mailbox with it.
pub(crate) const UNLICENSED: &str = "unlicensed";
/// Kept after its user was removed.
const INACTIVE: &str = "inactive";

/// The kind of a mailbox.
pub(crate) async fn of(db: &mut SqliteConnection, mailbox: &str) -> sqlx::Result<String> {
    let kind: Option<String> = sqlx::query_scalar("SELECT kind FROM mailbox_kind WHERE mailbox = ?")
        .bind(mailbox)
        .fetch_optional(db)
        .await?;
    Ok(kind.unwrap_or_else(|| PURPOSES[0].to_owned()))
}

/// Whether the owner has a licence. Shared mailboxes, rooms and equipment need none.
pub(crate) fn licensed(kind: &str) -> bool {
    matches!(kind, "user" | "linked" | "others" | INACTIVE)
}

/// Refuses what has no mailbox to be opened, in the words of Graph.
pub(super) async fn opens(db: &mut SqliteConnection, mailbox: &str, user: &str) -> Result<(), Refusal> {
    match of(db, mailbox).await?.as_str() {
        GROUP => Err(unknown_user(user)),
        UNLICENSED | INACTIVE => Err(Refusal::new(
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        )),
        _ => Ok(()),
    }
}

/// `GET mailboxSettings`, and `userPurpose` of it alone.
pub(super) async fn settings(db: &mut SqliteConnection, call: &Call, mailbox: &str, path: &[&str]) -> Answer {
    let purpose = of(db, mailbox).await?;
    let context = format!("{}/v1.0/$metadata#users('{mailbox}')/mailboxSettings", call.base);
    match (&call.method, path) {
        (&Method::GET, []) => Ok(json_answer(
            200,
            &json!({"@odata.context": context, "timeZone": "UTC", "userPurpose": purpose}),
        )),
        (&Method::GET, ["userPurpose"]) => Ok(json_answer(
            200,
            &json!({"@odata.context": format!("{context}/userPurpose"), "value": purpose}),
        )),
        _ => Err(Refusal::no_route(call)),
    }
}

/// `POST /_sandbox/mailboxes {"user", "kind"}`: makes a mailbox one of another kind.
pub(crate) async fn change(tenant: &Tenant, call: &Call) -> Answer {
    let body = call.json()?;
    let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let kind = text("kind");
    if !PURPOSES.contains(&kind) && ![GROUP, UNLICENSED, INACTIVE].contains(&kind) {
        let known = PURPOSES.join(", ");
        return Err(Refusal::bad_request(format!("kind is one of {known}, group, unlicensed, inactive.")));
    }
    let mut tx = tenant.begin().await?;
    let user = text("user");
    let found = super::mailbox(&mut tx, user).await?.ok_or_else(|| Refusal::resource_not_found(user))?;
    sqlx::query("INSERT INTO mailbox_kind (mailbox, kind) VALUES (?, ?) ON CONFLICT (mailbox) DO UPDATE SET kind = excluded.kind")
        .bind(&found.id)
        .bind(kind)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(empty_answer(204))
}
