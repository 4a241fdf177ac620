//! Exchange's own side of permission: scopes, role assignments and access policies, changed by the PowerShell that an
//! administrator would run, and decided together with the token's roles
//! (<https://learn.microsoft.com/exchange/permissions-exo/application-rbac>).

pub(crate) mod access;
mod cmdlets;
mod filter;
mod policies;
pub(crate) mod rights;
mod roles;
mod script;

use serde_json::{Map, Value, json};
use sqlx::SqliteConnection;

use crate::answer::{Answer, Refusal, json_answer};
use crate::call::Call;
use crate::state::Tenant;

/// Longest script.
const MAX_SCRIPT: usize = 256 * 1024;

/// `POST /_sandbox/exchange`: runs a script, command after command, as a shell would: what ran before a failure
/// stays done. The answer names every cmdlet with its line and output.
pub(crate) async fn run(tenant: &Tenant, call: &Call) -> Answer {
    if call.body.len() > MAX_SCRIPT {
        return Err(Refusal::bad_request("The script is longer than 256 KB."));
    }
    let text = std::str::from_utf8(&call.body)
        .map_err(|_| Refusal::bad_request("The script is not UTF-8."))?
        .trim_start_matches('\u{feff}');
    let fail = |line: usize, what: &str, done: &[Value]| {
        let message = format!("line {line}: {what}");
        json_answer(
            400,
            &json!({"error": {"code": "ScriptFailed", "message": message, "line": line}, "results": done}),
        )
    };
    let commands = match script::read(text) {
        Ok(commands) => commands,
        Err(problem) => return Ok(fail(problem.line, &problem.what, &[])),
    };
    // Names of parameters are checked before anything runs.
    for command in &commands {
        if let Err(what) = cmdlets::known(command) {
            return Ok(fail(command.line, &what, &[]));
        }
    }
    let mut variables: Map<String, Value> = Map::new();
    let mut results = Vec::new();
    for command in commands {
        let line = command.line;
        let filled = match command.filled(&variables) {
            Ok(filled) => filled,
            Err(what) => return Ok(fail(line, &what, &results)),
        };
        let mut tx = tenant.begin().await?;
        if let Some(unless) = &filled.unless {
            match cmdlets::run_through(tenant, &mut tx, &unless.asked).await {
                Ok(there) if unless.is_met(&there) => continue,
                Ok(_) => {}
                Err(cmdlets::Failure::Said(what)) => return Ok(fail(line, &what, &results)),
                Err(cmdlets::Failure::Database(error)) => return Err(error.into()),
            }
        }
        let output = match cmdlets::run_through(tenant, &mut tx, &filled).await {
            Ok(output) => output,
            Err(cmdlets::Failure::Said(what)) => return Ok(fail(line, &what, &results)),
            Err(cmdlets::Failure::Database(error)) => return Err(error.into()),
        };
        tx.commit().await?;
        if let Some(name) = filled.into {
            variables.insert(name.to_ascii_lowercase(), output.first().cloned().unwrap_or_default());
        }
        if !filled.cmdlet.is_empty() {
            results.push(json!({"line": line, "cmdlet": filled.cmdlet, "output": output}));
        }
    }
    Ok(json_answer(200, &json!({"results": results})))
}

/// The switches of the organisation, by the names of `Get-OrganizationConfig`.
pub(crate) async fn organization(db: &mut SqliteConnection) -> sqlx::Result<Value> {
    cmdlets::configuration(db).await
}

/// A service principal that is deleted in the directory disappears from Exchange by itself.
pub(crate) async fn forget(db: &mut SqliteConnection, app_id: &str) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM management_role_assignment WHERE principal IN
         (SELECT object_id FROM exchange_principal WHERE app_id = ?)",
    )
    .bind(app_id)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM exchange_principal WHERE app_id = ?").bind(app_id).execute(db).await?;
    Ok(())
}
