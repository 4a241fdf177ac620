//! `postroom inbox`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_model::inbox::InboxMessage;
use postroom_model::mailbox::MailType;
use postroom_model::record::RecordRef;
use postroom_model::{EmailAddress, InboxMessageId};
use postroom_store::{InboxFilter, Page};

use super::mailbox::find;
use crate::app::App;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct InboxArguments {
    #[command(subcommand)]
    command: Option<InboxCommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// Print one message: its text, or the raw MIME
    Show {
        /// Id of the message
        id: InboxMessageId,
        /// For which user
        #[arg(long)]
        user: String,
        /// Print the raw MIME
        #[arg(long)]
        raw: bool,
    },
    /// File a message on a record
    File {
        /// Id of the message
        id: InboxMessageId,
        /// The record, such as "Customer order 4711"
        record: RecordRef,
        /// For which user
        #[arg(long)]
        user: String,
    },
    /// Show what is filed on a record
    Log {
        /// The record, such as "Customer order 4711"
        record: RecordRef,
        /// For which user
        #[arg(long)]
        user: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a mailbox now
    Collect {
        /// Its address
        address: EmailAddress,
    },
    /// Process a message in quarantine again
    Reprocess {
        /// Id of the message
        id: InboxMessageId,
        /// For which user
        #[arg(long)]
        user: String,
    },
}

#[derive(Debug, Args)]
struct ListArguments {
    /// For which user: only what is available to them is shown
    #[arg(long, required = true)]
    user: Option<String>,
    /// Only this mailbox
    #[arg(long, value_name = "ADDRESS")]
    mailbox: Option<EmailAddress>,
    /// Only mailboxes of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<MailType>,
    /// Only messages with these words
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
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

pub(crate) async fn run(app: &App, arguments: InboxArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        None => list(app, arguments.list).await?,
        Some(InboxCommand::Show { id, user, raw }) => show(app, id, &user, raw).await?,
        Some(InboxCommand::File { id, record, user }) => {
            let user = app.user(&user).await?;
            let entry =
                app.store.file_on_record(&user.viewer(), id, &record, &format!("user:{}", user.name)).await?;
            output::talk(format!("filed on {}", entry.record));
            output::data(entry.id.to_string());
        }
        Some(InboxCommand::Log { record, user, json }) => log(app, &record, &user, json).await?,
        Some(InboxCommand::Collect { address }) => {
            let mailbox = find(app, &address).await?;
            let count = app.engine.collect_now(mailbox.id).await?;
            output::talk(format!("{count} new messages in {address}"));
        }
        Some(InboxCommand::Reprocess { id, user }) => {
            let user = app.user(&user).await?;
            app.store.reprocess(&user.viewer(), id, &format!("user:{}", user.name)).await?;
            app.engine.nudge();
            output::talk("to be processed again");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(app: &App, list: ListArguments) -> anyhow::Result<()> {
    let user = app.user(list.user.as_deref().unwrap_or_default()).await?;
    let mailbox = match &list.mailbox {
        Some(address) => Some(find(app, address).await?.id),
        None => None,
    };
    let filter = InboxFilter { mailbox, kind: list.kind, state: None, search: list.search };
    let page = Page { limit: list.limit, offset: list.offset };
    let messages = app.store.inbox(&user.viewer(), &filter, page).await?;
    if list.json {
        return output::json(&messages);
    }
    output::table(["RECEIVED", "FROM", "SUBJECT", "STATE", "ID"], messages.iter().map(row).collect());
    Ok(())
}

/// One message as lists show it.
pub(crate) fn row(message: &InboxMessage) -> [String; 5] {
    let from = message.summary.from.as_ref().map_or_else(|| "(no sender)".to_owned(), ToString::to_string);
    let short = |text: &str| text.chars().take(60).collect::<String>();
    [
        format!("{:.0}", message.received_at),
        short(&from),
        short(&message.summary.subject),
        message.state.as_str().to_owned(),
        message.id.to_string(),
    ]
}

async fn show(app: &App, id: InboxMessageId, user: &str, raw: bool) -> anyhow::Result<()> {
    let viewer = app.user(user).await?.viewer();
    let Some(bytes) = app.store.inbox_raw(&viewer, id).await? else {
        return Err(hinted(
            format!("{user} sees no message {id}"),
            "`postroom inbox --user NAME` lists them",
        ));
    };
    if raw {
        use std::io::Write;
        std::io::stdout().lock().write_all(&bytes)?;
        return Ok(());
    }
    let view = tokio::task::spawn_blocking(move || postroom_mime::read::view(&bytes)).await??;
    let summary = &view.summary;
    let from = summary.from.as_ref().map(ToString::to_string).unwrap_or_default();
    output::data(format!("From:    {from}"));
    output::data(format!("Subject: {}", summary.subject));
    for attachment in &view.attachments {
        output::data(format!(
            "File:    {} ({}, {} bytes)",
            attachment.name, attachment.content_type, attachment.size
        ));
    }
    output::data("");
    output::data(view.text.trim_end());
    Ok(())
}

async fn log(app: &App, record: &RecordRef, user: &str, json: bool) -> anyhow::Result<()> {
    let viewer = app.user(user).await?.viewer();
    let entries = app.store.log_entries(&viewer, record).await?;
    if json {
        return output::json(&entries);
    }
    let rows = entries.into_iter().map(|entry| {
        let direction = if entry.direction == postroom_model::record::Direction::In { "In" } else { "Out" };
        [direction.to_owned(), format!("{:.0}", entry.time), entry.from, entry.to, entry.subject]
    });
    output::table(["DIR", "TIME", "FROM", "TO", "SUBJECT"], rows.collect());
    Ok(())
}
