//! E1 to E14: how mail leaves, and its test.

use anyhow::Context;
use postroom_check::{CheckRequest, TestMessage};
use postroom_model::connection::{
    AuthenticationFlow, ConnectionKind, ConnectionSettings, EmailMethod, OutgoingSettings, SecretField,
};
use postroom_model::credential::CredentialKind;
use postroom_model::{ExposeSecret, SecretString};
use postroom_store::{NewCredential, SaveConnection};

use super::Stage;

pub(super) async fn perform(stage: &mut Stage) -> anyhow::Result<()> {
    stage.guide.chapter("System settings, E-mail (E1 to E14)");
    sign_in_to_page(stage).await?;
    let registration = stage.registration.as_ref().context("step A22 comes first")?;
    let secret = registration.secret.clone();
    let guide = &mut stage.guide;
    guide.step("E2", "open System settings", "the page is there");
    guide.step("E3", "tab System overall", "the part E-mail, rows 13 to 23");
    let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    settings.cloud = stage.cloud.clone();
    settings.name = "Contoso 365".to_owned();
    guide.step("E4", "13. E-mail method", EmailMethod::ExchangeOnline.label());
    settings.server = "outlook.office365.com".to_owned();
    guide.step("E5", "14. Server address", &settings.server);
    settings.application_id = registration.application_id.clone();
    guide.step("E6", "20. Application (client) ID", &settings.application_id);
    settings.tenant_id = registration.tenant_id.clone();
    guide.step("E7", "21. Directory (tenant) ID", &settings.tenant_id);
    settings.flow = AuthenticationFlow::ClientSecret;
    guide.step("E8", "22. Authentication flow", settings.flow.label());
    let secret_id = SecretString::from(registration.secret_key_id.clone());
    let mistaken = settings.validate(SecretField::Typed(&secret_id));
    let said = mistaken.at("secret").map(|problem| problem.message.clone()).unwrap_or_default();
    guide.verify(
        said == "Client secret looks like the Secret ID",
        format!("the Secret ID was taken for the secret: {said}"),
    );
    guide.step(
        "E9",
        "23. Client secret",
        format!("the Secret ID, pasted by mistake: {said}\nthe Value: taken, not shown"),
    );
    settings.port = 443;
    guide.step("E10", "15. Port", "443");
    let problems = settings.validate(SecretField::Typed(&secret));
    guide.verify(problems.is_empty(), format!("the settings are refused: {problems}"));
    test(stage, &settings, secret).await?;
    save(stage, settings).await
}

/// E1: over the page's own log-on, like a browser.
async fn sign_in_to_page(stage: &mut Stage) -> anyhow::Result<()> {
    let url = stage.server.url();
    let form = [("name", "admin"), ("password", stage.admin_password.expose_secret())];
    let answer = stage
        .http
        .post(format!("{url}/login"))
        .header("origin", &url)
        .header("sec-fetch-site", "same-origin")
        .form(&form)
        .send()
        .await
        .context("sign in to the page")?;
    let cookie = answer.headers().get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    stage
        .guide
        .verify(answer.status().is_redirection() && !cookie.is_empty(), "the page refuses the administrator");
    let page = stage.http.get(format!("{url}/settings/email")).header("cookie", cookie).send().await?;
    let status = page.status();
    let text = page.text().await.context("read the page")?;
    stage.guide.verify(
        status.is_success() && text.contains("Application (client) ID"),
        format!("the page of the system settings answers {status}"),
    );
    stage.guide.step("E1", "sign in as the administrator", format!("{url}, user admin"));
    Ok(())
}

/// E11 to E14: with values that are not saved yet.
async fn test(stage: &mut Stage, settings: &ConnectionSettings, secret: SecretString) -> anyhow::Result<()> {
    let mut request = CheckRequest::new(settings.clone(), Some(secret));
    request.mailboxes = vec![stage.address.clone()];
    request.test_message =
        Some(TestMessage { sender: stage.address.clone(), recipient: stage.address.clone() });
    request.credential_expires_at = stage.registration.as_ref().map(|made| made.secret_expires_at);
    let guide = &mut stage.guide;
    guide.step("E11", "the green icon beside the server address", "the check opens; nothing is saved for it");
    guide.step("E12", "e-mail method", EmailMethod::ExchangeOnline.label());
    guide.step(
        "E13",
        "recipient, sender",
        format!("{0}, {0}; no user name and password: this flow needs none", stage.address),
    );
    let report = postroom_check::run(&request, &stage.env, &mut |_| {}).await;
    let mut lines: Vec<String> = report
        .rungs
        .iter()
        .map(|rung| {
            format!("{:<5} {:<26} {}", format!("{:?}", rung.verdict).to_lowercase(), rung.title, rung.got)
        })
        .collect();
    lines.push(report.summary());
    stage.guide.step("E14", "Test", lines.join("\n"));
    stage.guide.verify(
        report.ok() && report.summary() == "OK!",
        format!("the check does not say OK!: {}", report.summary()),
    );
    Ok(())
}

async fn save(stage: &mut Stage, settings: ConnectionSettings) -> anyhow::Result<()> {
    let registration = stage.registration.as_ref().context("step A22 comes first")?;
    let credential = NewCredential {
        kind: CredentialKind::ClientSecret,
        secret: registration.secret.clone(),
        expires_at: Some(registration.secret_expires_at),
        key_id: Some(registration.secret_key_id.clone()),
    };
    let save = SaveConnection {
        id: stage.env.new_id(),
        settings,
        credential: Some(credential),
        actor: "user:admin".to_owned(),
    };
    let connection = stage.app.store.save_connection(save).await?;
    let outgoing = OutgoingSettings { method: EmailMethod::ExchangeOnline, connection: Some(connection.id) };
    stage.app.store.save_outgoing_settings(&outgoing, "user:admin").await?;
    stage.connection = Some(connection.id);
    Ok(())
}
