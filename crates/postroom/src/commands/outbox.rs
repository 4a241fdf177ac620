//! `postroom outbox`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_model::OutboxMessageId;
use postroom_model::event::Subject;
use postroom_model::outbox::{OutboxMessage, OutboxState};
use postroom_store::{EventFilter, OutboxFilter, Page};
use serde::Serialize;

use super::ACTOR;
use crate::app::App;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct OutboxArguments {
    #[command(subcommand)]
    command: Option<OutboxCommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Show one message and its timeline
    Show {
        /// Id of the message
        id: OutboxMessageId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep a message back
    Hold {
        /// Id of the message
        id: OutboxMessageId,
    },
    /// Try a held, deferred or failed message now
    Retry {
        /// Id of the message
        id: OutboxMessageId,
        /// Also when it may have been sent already and may arrive twice
        #[arg(long)]
        may_arrive_twice: bool,
    },
    /// Take a message back that was not sent yet
    Cancel {
        /// Id of the message
        id: OutboxMessageId,
    },
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only this state: accepted, held, scheduled, sending, sent, deferred, unknown, failed, cancelled
    #[arg(long)]
    state: Option<OutboxState>,
    /// Most messages, 1 to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Messages to pass over
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(app: &App, arguments: OutboxArguments) -> anyhow::Result<ExitCode> {
    let (id, to) = match arguments.command {
        None => {
            list(app, &arguments.list).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(OutboxCommand::Show { id, json }) => {
            show(app, id, json).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(OutboxCommand::Hold { id }) => (id, OutboxState::Held),
        Some(OutboxCommand::Retry { id, may_arrive_twice }) => {
            let known = app.store.outbox_message(id).await?;
            if let Some(message) = known.filter(|message| message.in_doubt() && !may_arrive_twice) {
                let words = message.last_words.unwrap_or_else(|| message.state.to_string());
                let hint = "ask its recipients first; `--may-arrive-twice` sends it all the same";
                return Err(hinted(format!("the message may have been sent already: {words}"), hint));
            }
            (id, OutboxState::Accepted)
        }
        Some(OutboxCommand::Cancel { id }) => (id, OutboxState::Cancelled),
    };
    let message = app.store.change_outbox(id, to, ACTOR).await?;
    app.engine.nudge();
    output::data(message.state.as_str());
    Ok(ExitCode::SUCCESS)
}

async fn list(app: &App, list: &ListArguments) -> anyhow::Result<()> {
    let filter = OutboxFilter { state: list.state, submitted_by: None };
    let messages = app.store.outbox(&filter, Page { limit: list.limit, offset: list.offset }).await?;
    if list.json {
        return output::json(&messages);
    }
    let rows = messages.into_iter().map(|message| {
        let words = message.last_words.unwrap_or_default().chars().take(50).collect();
        [
            message.state.to_string(),
            format!("{:.0}", message.accepted_at),
            message.envelope.from.to_string(),
            message.subject.chars().take(50).collect(),
            words,
            message.id.to_string(),
        ]
    });
    output::table(["STATE", "ACCEPTED", "FROM", "SUBJECT", "REASON", "ID"], rows.collect());
    Ok(())
}

/// A message with its timeline, for programs.
#[derive(Serialize)]
struct WithTimeline {
    #[serde(flatten)]
    message: OutboxMessage,
    timeline: Vec<postroom_store::StoredEvent>,
}

async fn show(app: &App, id: OutboxMessageId, json: bool) -> anyhow::Result<()> {
    let Some(message) = app.store.outbox_message(id).await? else {
        return Err(hinted(format!("there is no message {id}"), "`postroom outbox` lists them"));
    };
    let filter = EventFilter { subject: Some(Subject::OutboxMessage(id)), after: 0 };
    let timeline = app.store.events(&filter, 500).await?;
    if json {
        return output::json(&WithTimeline { message, timeline });
    }
    output::data(format!("{}  {}", message.state, message.subject));
    let to: Vec<_> = message.envelope.to.iter().map(ToString::to_string).collect();
    output::data(format!("{} -> {}", message.envelope.from, to.join(", ")));
    output::data(format!("Message-ID {}", message.message_id));
    for stored in timeline {
        output::data(timeline_line(&stored.event));
    }
    Ok(())
}

/// One event in words.
pub(crate) fn timeline_line(event: &postroom_model::event::Event) -> String {
    let mut line = format!("{:.3}  {}", event.at, event.kind.sentence());
    if let Some(attempt) = event.attempt {
        line.push_str(&format!(" (attempt {attempt})"));
    }
    if let Some(words) = &event.words {
        line.push_str(&format!(": {words}"));
    }
    if let Some(request_id) = &event.request_id {
        line.push_str(&format!(" [request {request_id}]"));
    }
    line
}
