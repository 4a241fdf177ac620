//! The proof of the limit, once the application works: what must stay closed is tried now, and watched from then on.

use std::process::ExitCode;

use postroom_setup::Outcome;

use super::told::NOT_YET;
use crate::app::App;
use crate::output;

/// Has the limit watched and looks once. `ended` is how the set-up ended without it; a limit that does not hold yet
/// is something that is still waited for.
pub(super) async fn watch(app: &App, outcome: &Outcome, ended: ExitCode) -> anyhow::Result<ExitCode> {
    let Some(connection) = outcome.connections.first().copied() else { return Ok(ended) };
    app.engine.watch_limit(connection, outcome.limited_to.clone()).await?;
    if outcome.must_not_open.is_empty() {
        if outcome.limited_to.is_some() {
            output::talk(
                "no mailbox is named that must stay closed, so nothing proves the limit: name one with --must-not-open",
            );
        }
        return Ok(ended);
    }
    // What was named by hand stays watched.
    let mut closed = app.engine.scope_watch(connection).await?.must_not_open;
    let new = outcome.must_not_open.iter().filter(|one| !closed.contains(one)).cloned();
    closed.extend(new.collect::<Vec<_>>());
    app.engine.must_not_open(connection, closed).await?;
    app.engine.watch_scope().await?;
    let found = app.engine.scope_watch(connection).await?;
    for mailbox in &found.refused {
        output::talk(format!("done     mailbox {mailbox} is refused, as it should be"));
    }
    for mailbox in &found.missing {
        output::talk(format!("warning: there is no mailbox {mailbox}, so nothing is proved by it"));
    }
    for mailbox in &found.opened {
        output::talk(format!("waiting  mailbox {mailbox} must stay closed, and opens"));
    }
    if found.opened.is_empty() {
        return Ok(ended);
    }
    output::talk(
        "\nhint: a limit takes up to an hour to arrive; `postroom serve` looks every hour and tells, `postroom credential must-not-open` shows what it found",
    );
    Ok(ExitCode::from(NOT_YET))
}
