//! I1 to I14: mailboxes, entered in the guide's order, so that its errors appear and vanish as there.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use postroom_model::connection::{AuthenticationFlow, ConnectionKind, ConnectionSettings, SecretField};
use postroom_model::mailbox::{Availability, MailType, MailboxSettings};
use postroom_model::people::{Group, Role};
use postroom_model::{ExposeSecret, GroupId, MailboxId, SecretString};
use postroom_store::{NewUser, SaveConnection, SaveMailbox};

use super::{PATIENCE, Stage};

pub(super) async fn perform(stage: &mut Stage) -> anyhow::Result<()> {
    stage.guide.chapter("Settings for incoming e-mail (I1 to I14)");
    let settings = server_settings(stage)?;
    save_connection(stage, settings).await?;
    accounts(stage).await
}

/// I1 to I8. What is typed is validated after each step.
fn server_settings(stage: &mut Stage) -> anyhow::Result<ConnectionSettings> {
    let registration = stage.registration.as_ref().context("step A22 comes first")?;
    let guide = &mut stage.guide;
    guide.step("I1", "open Settings for incoming e-mail", "");
    let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    guide.step("I2", "Service", settings.kind.label());
    settings.cloud = stage.cloud.clone();
    settings.server = "https://outlook.office365.com/".to_owned();
    let mut errors = |settings: &ConnectionSettings, secret: SecretField<'_>, expected: &[&str]| {
        let found = settings.validate(secret);
        let messages: Vec<&str> = found.errors().map(|problem| problem.message.as_str()).collect();
        guide.verify(messages == expected, format!("expected the errors {expected:?}, found {messages:?}"));
        match messages.len() {
            0 => "no errors".to_owned(),
            1 => format!("1 error: {}", messages[0]),
            count => format!("{count} errors: {}", messages.join("; ")),
        }
    };
    let both = ["Application (client) ID is missing", "Directory (tenant) ID is missing"];
    let mut told = Vec::new();
    told.push(("I3", "Server name", errors(&settings, SecretField::Missing, &both)));
    settings.polling_interval = "60,00".parse()?;
    told.push(("I4", "Polling interval 60,00 min", errors(&settings, SecretField::Missing, &both)));
    settings.application_id = registration.application_id.clone();
    told.push(("I5", "Application (client) ID", errors(&settings, SecretField::Missing, &both[1..])));
    settings.tenant_id = registration.tenant_id.clone();
    told.push(("I6", "Directory (tenant) ID", errors(&settings, SecretField::Missing, &[])));
    settings.flow = AuthenticationFlow::ClientSecret;
    told.push((
        "I7",
        "Authentication flow: Client secret",
        errors(&settings, SecretField::Missing, &["Client secret is missing"]),
    ));
    told.push(("I8", "Client secret", errors(&settings, SecretField::Typed(&registration.secret), &[])));
    for (number, did, got) in told {
        guide.step(number, did, got);
    }
    Ok(settings)
}

/// The same tenant and application as in E6 and E7: the record that is there serves both directions.
async fn save_connection(stage: &mut Stage, typed: ConnectionSettings) -> anyhow::Result<()> {
    let all = stage.app.store.connections().await?;
    let same = all.into_iter().find(|one| {
        one.settings.application_id == typed.application_id && one.settings.tenant_id == typed.tenant_id
    });
    let connection = same.context("the connection of step E10 is not found")?;
    let settings =
        ConnectionSettings { polling_interval: typed.polling_interval, ..connection.settings.clone() };
    let save =
        SaveConnection { id: connection.id, settings, credential: None, actor: "user:admin".to_owned() };
    stage.app.store.save_connection(save).await?;
    let count = stage.app.store.connections().await?.len();
    stage.guide.verify(count == 1, "the same application became a second connection");
    Ok(())
}

/// I9 to I14, for three mailboxes with different availability.
async fn accounts(stage: &mut Stage) -> anyhow::Result<()> {
    let service_group = people(stage).await?;
    stage.guide.step("I9", "add a row with plus or F5", "");
    stage.guide.step("I10", "E-mail", "orders@, service@ and hr@contoso.example");
    stage.guide.step("I11", "Type", "Customer order and Monitor-to-Monitor; Case; Personnel");
    let orders =
        MailboxSettings::new(stage.address.as_str(), [MailType::CustomerOrder, MailType::MonitorToMonitor]);
    let mut service = MailboxSettings::new("service@contoso.example", [MailType::Case]);
    service.availability =
        Availability::Only { groups: [service_group].into(), roles: BTreeSet::new(), users: BTreeSet::new() };
    let mut hr = MailboxSettings::new("hr@contoso.example", [MailType::Personnel]);
    let closed = hr.availability == Availability::nobody();
    stage.guide.verify(closed, "a Personnel mailbox begins open to all");
    hr.availability =
        Availability::Only { groups: BTreeSet::new(), roles: [Role::Auditor].into(), users: BTreeSet::new() };
    stage.guide.step(
        "I12",
        "Available",
        "orders@ to all; service@ to the group Service desk; hr@ to the role Auditor (Personnel is never open to all)",
    );
    let mut ids: Vec<MailboxId> = Vec::new();
    for settings in [orders, service, hr] {
        let problems = settings.validate();
        stage.guide.verify(problems.is_empty(), format!("{} is refused: {problems}", settings.address));
        let id = stage.env.new_id();
        let connection = stage.connection.context("step E10 comes first")?;
        let save = SaveMailbox { id, connection, settings, password: None, actor: "user:admin".to_owned() };
        ids.push(stage.app.store.save_mailbox(save).await?.id);
    }
    let mut words = Vec::new();
    for id in ids {
        let validation = stage.app.engine.validate_mailbox(id, "user:admin").await?;
        stage.guide.verify(validation.ok, format!("a mailbox does not validate: {}", validation.words));
        words.push(validation.words);
    }
    stage.guide.step("I13", "validate", words.join("\n"));
    stage.guide.step("I14", "Save", "three mailboxes, read every 60 minutes and on demand");
    first_reading(stage).await
}

/// A saved mailbox is read at once; until that is done the story does not begin.
async fn first_reading(stage: &Stage) -> anyhow::Result<()> {
    stage.app.engine.nudge();
    let wait = async {
        loop {
            let mailboxes = stage.app.store.mailboxes().await?;
            if mailboxes.iter().all(|mailbox| mailbox.last_success_at.is_some()) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the mailboxes were not read in 30 s")?
}

/// Two people of the business who do not see the same: the order desk, and the service desk by its group.
async fn people(stage: &mut Stage) -> anyhow::Result<GroupId> {
    let group = Group { id: stage.env.new_id(), name: "Service desk".to_owned() };
    stage.app.store.save_group(&group).await?;
    for (name, display_name, groups) in
        [("orderdesk", "Order desk", Vec::new()), ("servicedesk", "Service desk", vec![group.id])]
    {
        let password = SecretString::from(stage.env.new_token(16));
        let hash = {
            let password = SecretString::from(password.expose_secret().to_owned());
            tokio::task::spawn_blocking(move || postroom_web::hash_password(&password)).await??
        };
        let user = NewUser {
            id: stage.env.new_id(),
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            address: None,
            roles: vec![Role::User],
            groups,
            password_hash: Some(hash),
            actor: "user:admin".to_owned(),
        };
        stage.app.store.save_user(user).await?;
        stage.users.push((name.to_owned(), password));
    }
    Ok(group.id)
}
