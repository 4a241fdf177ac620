//! After the guide: a message really sent, mail really received, shown to those it is available to, filed.

use std::time::Duration;

use anyhow::Context;
use postroom_engine::intake::Submitter;
use postroom_model::OutboxMessageId;
use postroom_model::draft::{Attachment, Draft};
use postroom_model::event::Subject;
use postroom_model::inbox::{InboxMessage, InboxState};
use postroom_model::outbox::OutboxMessage;
use postroom_model::people::Viewer;
use postroom_model::record::RecordRef;
use postroom_store::{Acceptance, EventFilter, InboxFilter, Page};
use serde::Deserialize;

use super::{PATIENCE, Stage, corpus};
use crate::commands::{inbox, outbox, sandbox};
use crate::output;

pub(super) async fn perform(stage: &mut Stage) -> anyhow::Result<()> {
    stage.guide.chapter("A message goes out");
    send(stage).await?;
    stage.guide.chapter("Mail comes in");
    let foreign = corpus::all();
    deliver(stage, &foreign).await?;
    collect(stage, &foreign).await?;
    stage.guide.chapter("Who sees what");
    show(stage, &foreign).await?;
    stage.guide.chapter("Filed on a record");
    file(stage).await
}

fn order_confirmation(from: &str) -> Draft {
    Draft {
        from: format!("Orders, Contoso <{from}>"),
        to: vec!["Purchasing, Fabrikam <purchasing@fabrikam.example>".to_owned()],
        bcc: vec!["service@contoso.example".to_owned()],
        subject: "Order confirmation 4711 – åäö".to_owned(),
        text: Some("Thank you for your order 4711.\n\nThe confirmation is attached.".to_owned()),
        attachments: vec![Attachment {
            name: "Orderbekräftelse 4711.pdf".to_owned(),
            content_type: "application/pdf".to_owned(),
            content: b"%PDF-1.4\n% the smallest thing that begins like a PDF\n%%EOF\n".to_vec(),
            content_id: None,
        }],
        ..Draft::default()
    }
}

/// A mail that left the tenant, as the sandbox tells of it.
#[derive(Deserialize)]
struct Outside {
    to: Vec<String>,
    raw: String,
}

async fn send(stage: &mut Stage) -> anyhow::Result<()> {
    let draft = order_confirmation(stage.address.as_str());
    let attached = draft.attachments[0].clone();
    let key = "demo-order-confirmation-4711".parse()?;
    let submitter = Submitter { name: "user:admin".to_owned(), idempotency: Some((key, [47; 32])) };
    let accepted = match stage.app.engine.intake().submit_draft(draft.clone(), submitter.clone()).await? {
        Acceptance::Accepted(message) => message,
        other => anyhow::bail!("the first message of the demonstration was not new: {other:?}"),
    };
    stage.guide.step(
        "1",
        "hand in a message with an attachment",
        format!("{} on disk, {}", accepted.state, accepted.message_id),
    );
    let again = stage.app.engine.intake().submit_draft(draft, submitter).await?;
    let repeated = matches!(&again, Acceptance::Repeated(message) if message.id == accepted.id);
    stage.guide.step("2", "hand it in again under the same key", "the same message, not a second one");
    stage.guide.verify(repeated, "the same request under the same key made a second message");
    let sent = final_state(stage, accepted.id).await?;
    stage.guide.verify(
        sent.state == postroom_model::outbox::OutboxState::Sent,
        format!("the message is {}", sent.state),
    );
    let filter = EventFilter { subject: Some(Subject::OutboxMessage(sent.id)), after: 0 };
    let timeline = stage.app.store.events(&filter, 100).await?;
    let lines: Vec<String> = timeline.iter().map(|stored| outbox::timeline_line(&stored.event)).collect();
    stage.guide.step("3", "its timeline", lines.join("\n"));
    let address = format!("http://{}/_sandbox/outside", stage.sandbox.address());
    let body = stage.http.get(address).send().await?.error_for_status()?.bytes().await?;
    let outside: Vec<Outside> = serde_json::from_slice(&body).context("read what left the tenant")?;
    let mine: Vec<&Outside> = outside.iter().filter(|mail| mail.raw.contains(&sent.message_id)).collect();
    stage.guide.verify(mine.len() == 1, format!("the message left the tenant {} times", mine.len()));
    let mail = mine.first().context("the message did not leave the tenant")?;
    let view = postroom_mime::read::view(mail.raw.as_bytes())?;
    let names: Vec<&str> = view.attachments.iter().map(|file| file.name.as_str()).collect();
    let content = postroom_mime::read::attachment(mail.raw.as_bytes(), 0)?.map(|file| file.content);
    stage.guide.step(
        "4",
        "look at what left the tenant",
        format!("to {}; `{}`; file `{}`", mail.to.join(", "), view.summary.subject, names.join("`, `")),
    );
    stage.guide.verify(content.as_deref() == Some(attached.content.as_slice()), "the attachment was changed");
    stage.guide.verify(names == [attached.name.as_str()], format!("the attachment's name became {names:?}"));
    stage.guide.verify(!mail.raw.to_lowercase().contains("\r\nbcc:"), "the blind copy is in the message");
    Ok(())
}

async fn final_state(stage: &Stage, id: OutboxMessageId) -> anyhow::Result<OutboxMessage> {
    let wait = async {
        loop {
            let message = stage.app.store.outbox_message(id).await?.context("the message is gone")?;
            if message.state.is_final() {
                return anyhow::Ok(message);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("no outcome in 30 s")?
}

async fn deliver(stage: &mut Stage, foreign: &[corpus::Foreign]) -> anyhow::Result<()> {
    let url = url::Url::parse(&format!("http://{}", stage.sandbox.address()))?;
    for mail in foreign {
        sandbox::deliver(&stage.http, &url, &mail.to.parse()?, mail.raw.clone())
            .await
            .with_context(|| format!("deliver {}", mail.name))?;
    }
    let largest = foreign.iter().map(|mail| mail.raw.len()).max().unwrap_or_default();
    stage.guide.step(
        "5",
        "foreign mail arrives",
        format!("{} messages, the largest {largest} bytes", foreign.len()),
    );
    Ok(())
}

async fn collect(stage: &mut Stage, foreign: &[corpus::Foreign]) -> anyhow::Result<()> {
    let mailboxes = stage.app.store.mailboxes().await?;
    let mut collected = 0;
    for mailbox in &mailboxes {
        collected += stage.app.engine.collect_now(mailbox.id).await?;
    }
    // The blind copy of the message that was sent is in service@.
    let expected = u32::try_from(foreign.len())? + 1;
    stage.guide.step("6", "collect by delta", format!("{collected} new messages"));
    stage.guide.verify(collected == expected, format!("{collected} messages were collected, not {expected}"));
    let mut again = 0;
    for mailbox in &mailboxes {
        again += stage.app.engine.collect_now(mailbox.id).await?;
    }
    stage.guide.step("7", "collect again", format!("{again} new messages"));
    stage.guide.verify(again == 0, "the same mail was collected twice");
    Ok(())
}

async fn viewer(stage: &Stage, name: &str) -> anyhow::Result<Viewer> {
    Ok(stage.app.user(name).await?.viewer())
}

async fn inbox_of(stage: &Stage, viewer: &Viewer) -> anyhow::Result<Vec<InboxMessage>> {
    Ok(stage.app.store.inbox(viewer, &InboxFilter::default(), Page { limit: 500, offset: 0 }).await?)
}

async fn show(stage: &mut Stage, foreign: &[corpus::Foreign]) -> anyhow::Result<()> {
    for (number, name) in [("8", "orderdesk"), ("9", "servicedesk")] {
        let viewer = viewer(stage, name).await?;
        let messages = inbox_of(stage, &viewer).await?;
        let rows = messages.iter().map(inbox::row);
        let lines: Vec<String> =
            rows.map(|[_, from, subject, _, _]| format!("{from:<44.44} {subject}")).collect();
        stage.guide.step(number, &format!("the inbox of {name}"), lines.join("\n"));
        let waiting = messages.iter().filter(|message| message.state != InboxState::Processed).count();
        stage.guide.verify(waiting == 0, format!("{waiting} messages of {name} were not processed"));
        let sees = |to: &str| {
            to == "orders@contoso.example" || (name == "servicedesk" && to == "service@contoso.example")
        };
        let mut expected = foreign.iter().filter(|mail| sees(mail.to)).count();
        if name == "servicedesk" {
            expected += 1; // the blind copy
        }
        stage.guide.verify(
            messages.len() == expected,
            format!("{name} sees {} messages, not {expected}", messages.len()),
        );
        intact(stage, &viewer, &messages, foreign.iter().filter(|mail| sees(mail.to)).collect()).await?;
    }
    Ok(())
}

/// Every mail of the corpus is there with the body that was delivered, byte for byte.
async fn intact(
    stage: &mut Stage,
    viewer: &Viewer,
    messages: &[InboxMessage],
    expected: Vec<&corpus::Foreign>,
) -> anyhow::Result<()> {
    let body = |raw: &[u8]| raw.windows(4).position(|four| four == b"\r\n\r\n").map(|at| raw[at..].to_vec());
    let mut collected = Vec::new();
    for message in messages {
        let raw =
            stage.app.store.inbox_raw(viewer, message.id).await?.context("a message is not readable")?;
        collected.push(body(&raw));
    }
    for mail in expected {
        let there = collected.contains(&body(&mail.raw));
        stage.guide.verify(there, format!("{} is missing or was changed on the way", mail.name));
    }
    Ok(())
}

async fn file(stage: &mut Stage) -> anyhow::Result<()> {
    let viewer = viewer(stage, "orderdesk").await?;
    let messages = inbox_of(stage, &viewer).await?;
    let message = messages
        .iter()
        .find(|message| message.summary.subject.contains("4711"))
        .context("no message is about 4711")?;
    let record: RecordRef = "Customer order 4711".parse()?;
    let entry = stage.app.store.file_on_record(&viewer, message.id, &record, "user:orderdesk").await?;
    let again = stage.app.store.file_on_record(&viewer, message.id, &record, "user:orderdesk").await?;
    stage.guide.verify(again.id == entry.id, "filing twice made two log entries");
    let log = stage.app.store.log_entries(&viewer, &record).await?;
    stage.guide.verify(log.len() == 1, format!("the record has {} log entries", log.len()));
    let lines: Vec<String> =
        log.iter().map(|entry| format!("In  {:.0}  {}  {}", entry.time, entry.from, entry.subject)).collect();
    stage.guide.step("10", "file one on Customer order 4711", lines.join("\n"));
    output::data("");
    Ok(())
}
