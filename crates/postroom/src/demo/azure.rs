//! A1 to A23: the application registered through Graph instead of by hand in the portal.

use anyhow::Context;
use jiff::SignedDuration;
use postroom_entra::discovery;
use postroom_entra::register::{AccountType, Permission, Plan, Registrar};
use postroom_entra::token::{GRAPH_TOOLS_APPLICATION, TokenCredential, TokenRequest};
use postroom_model::{SecretString, Timestamp};

use super::Stage;

/// What the steps leave behind: what the guide has people write down.
pub(super) struct Registration {
    pub(super) tenant_id: String,
    pub(super) application_id: String,
    pub(super) secret: SecretString,
    pub(super) secret_key_id: String,
    pub(super) secret_expires_at: Timestamp,
}

pub(super) async fn perform(stage: &mut Stage) -> anyhow::Result<()> {
    stage.guide.chapter("Microsoft Entra: the application (A1 to A23)");
    let registrar = sign_in(stage).await?;
    let expires_at = stage.env.now().checked_add(SignedDuration::from_hours(24 * 180))?;
    let plan = Plan {
        display_name: "Postroom".to_owned(),
        sign_in_audience: AccountType::ThisDirectory,
        permissions: Permission::for_mail(),
        secret_name: "Postroom, first secret".to_owned(),
        secret_expires_at: expires_at,
    };
    let guide = &mut stage.guide;
    guide.step("A4", "New registration", format!("name `{}`", plan.display_name));
    guide.step("A5", "supported account type", plan.sign_in_audience.label());
    guide.step("A6", "redirect URI", "none: an application that signs in by itself needs none");
    let application = registrar.create_application(&plan).await?;
    guide.step("A7", "Register", format!("application {}", application.object_id));
    let again = registrar.create_application(&plan).await?;
    guide.verify(again == application, "registering twice makes a second application");
    let read = registrar.application(&application.app_id).await?;
    guide.step("A8", "open the application's page", "it is there");
    guide.verify(read.as_ref() == Some(&application), "the registered application cannot be read back");
    let organization = registrar.organization().await?;
    guide.step(
        "A9",
        "copy both ids",
        format!(
            "Application (client) ID {}\nDirectory (tenant) ID   {}",
            application.app_id, organization.tenant_id
        ),
    );
    let asked: Vec<String> = plan
        .permissions
        .iter()
        .map(|permission| format!("{}: {}", permission.value, permission.why))
        .collect();
    guide.step("A10", "open the manifest", "not needed: the registration names its permissions");
    guide.step("A11", "add the application permissions", asked.join("\n"));
    guide.step("A12", "save", "saved with the registration; not full_access_as_app: EWS ends on 2027-04-01");
    let principal = registrar.create_service_principal(&application).await?;
    guide.step("A13", "open API permissions", format!("service principal {}", principal.object_id));
    let before = registrar.granted_roles(&principal, &plan.permissions).await?;
    guide.step("A14", "confirm the permissions", "asked for, type Application, not granted yet");
    guide.verify(before.is_empty(), format!("granted before anybody consented: {before:?}"));
    for permission in &plan.permissions {
        registrar.grant(&principal, permission).await?;
    }
    guide.step("A15", "grant admin consent", "granted");
    let granted = registrar.granted_roles(&principal, &plan.permissions).await?;
    guide.step("A16", "verify that the icon is green", granted.join(", "));
    guide.verify(granted.len() == plan.permissions.len(), "not all permissions are granted");
    guide.step("A17", "open Authentication", "");
    registrar.disable_public_client_flows(&application).await?;
    guide.step("A18", "allow public client flows", "No");
    guide.step("A19", "save", "saved");
    let secret = registrar.add_secret(&application, &plan.secret_name, plan.secret_expires_at).await?;
    guide.step("A20", "New client secret", "made by Microsoft Entra");
    guide.step("A21", "name and expiry", format!("`{}`, until {:.0}", plan.secret_name, secret.expires_at));
    guide.step(
        "A22",
        "copy the value, shown only once",
        format!("kept sealed and never shown; its Secret ID is {}", secret.key_id),
    );
    let users = registrar.users().await?;
    let address =
        users.iter().filter_map(|user| user.mail.as_deref()).find(|mail| mail.starts_with("orders@"));
    let address = address.context("the tenant has no mailbox orders@")?;
    stage.address = address.parse()?;
    guide.step("A23", "Users: an address for the test", address);
    stage.registration = Some(Registration {
        tenant_id: organization.tenant_id,
        application_id: application.app_id,
        secret: secret.secret,
        secret_key_id: secret.key_id,
        secret_expires_at: secret.expires_at,
    });
    Ok(())
}

/// A1 to A3.
async fn sign_in(stage: &mut Stage) -> anyhow::Result<Registrar> {
    let endpoints = stage.cloud.endpoints();
    let ready = stage.sandbox.ready();
    let tenant = discovery::tenant(&stage.http, &endpoints.authority, "contoso.example").await?;
    stage.guide.verify(tenant.tenant_id == ready.tenant_id, "the domain leads to another tenant");
    let request = TokenRequest {
        authority: endpoints.authority.clone(),
        tenant: tenant.tenant_id.clone(),
        application: GRAPH_TOOLS_APPLICATION.to_owned(),
        scope: endpoints.graph_scope(),
        credential: TokenCredential::Password {
            user: ready.admin.user.clone(),
            password: SecretString::from(ready.admin.password.clone()),
        },
    };
    let token = stage.tokens.token(&request).await.context("sign in as the administrator")?;
    let user = ready.admin.user.clone();
    let registrar = Registrar::new(stage.http.clone(), stage.env.clone(), endpoints.graph, token);
    let guide = &mut stage.guide;
    guide.step("A1", "sign in", format!("as {user} to tenant {}", tenant.tenant_id));
    guide.step(
        "A2",
        "open the directory",
        "Microsoft Entra ID; the guide's Azure AD B2C is closed to new customers",
    );
    guide.step("A3", "App registrations", "none by the name of Postroom");
    Ok(registrar)
}
