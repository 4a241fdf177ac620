//! The tenant: a sandbox in a process of its own, which is never harmed. What it says is the truth that the product is
//! measured by.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::process::{Process, ready};

/// The public client that administrators sign in with (Microsoft Graph PowerShell).
const ADMIN_CLIENT: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";

/// A running tenant with an application that may read and send.
pub(crate) struct Tenant {
    pub(crate) http: Client,
    pub(crate) ready: Value,
    pub(crate) application: String,
    pub(crate) secret: String,
    _process: Process,
}

/// A mail that left the tenant.
pub(crate) struct Left {
    pub(crate) place: i64,
    pub(crate) to: Vec<String>,
    pub(crate) raw: String,
}

impl Tenant {
    pub(crate) async fn start(binary: &Path, folder: &Path, http: Client) -> Result<Self> {
        let file = folder.join("tenant.json");
        let mut command = Command::new(binary);
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--no-limits", "--ready-file"]).arg(&file);
        let process = Process::start(&mut command, &folder.join("tenant.log"))?;
        let mut said = None;
        for _ in 0..3_000 {
            said = ready(&file);
            if said.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ready = said.context("the tenant did not start within 30 seconds")?;
        let mut tenant =
            Self { http, ready, application: String::new(), secret: String::new(), _process: process };
        tenant.register().await?;
        Ok(tenant)
    }

    pub(crate) fn word(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_default()
    }

    /// The addresses that have a mailbox, without the administrator's.
    pub(crate) fn mailboxes(&self) -> Vec<String> {
        let users = self.ready["users"].as_array().into_iter().flatten();
        users.filter_map(|user| Some(user["address"].as_str()?.to_owned())).collect()
    }

    async fn admin_token(&self) -> Result<String> {
        let admin = &self.ready["admin"];
        let form = [
            ("grant_type", "password"),
            ("client_id", ADMIN_CLIENT),
            ("scope", "https://graph.microsoft.com/.default"),
            ("username", admin["user"].as_str().unwrap_or_default()),
            ("password", admin["password"].as_str().unwrap_or_default()),
        ];
        self.token(&form).await
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<String> {
        let url = format!("{}/{}/oauth2/v2.0/token", self.word("authority"), self.word("tenant_id"));
        let answer: Value = self.http.post(url).form(form).send().await?.json().await?;
        Ok(answer["access_token"].as_str().with_context(|| format!("no token: {answer}"))?.to_owned())
    }

    /// In plain HTTP, so that the proof does not lean on what is proved.
    async fn register(&mut self) -> Result<()> {
        let token = self.admin_token().await?;
        let graph = format!("{}/v1.0", self.word("graph"));
        let post = async |path: &str, body: Value| -> Result<Value> {
            let request = self.http.post(format!("{graph}/{path}")).bearer_auth(&token).json(&body);
            Ok(answered(request).await?.json().await?)
        };
        let names = json!({"displayName": "Postroom", "signInAudience": "AzureADMyOrg"});
        let application = post("applications", names).await?;
        let principal = post("servicePrincipals", json!({"appId": application["appId"]})).await?;
        let filter =
            format!("{graph}/servicePrincipals?$filter=appId%20eq%20'00000003-0000-0000-c000-000000000000'");
        let found: Value = self.http.get(filter).bearer_auth(&token).send().await?.json().await?;
        let resource = &found["value"][0];
        let principal_id = principal["id"].as_str().unwrap_or_default();
        for wanted in ["Mail.ReadWrite", "Mail.Send"] {
            let roles = resource["appRoles"].as_array().context("Graph has no roles")?;
            let role = roles.iter().find(|role| role["value"] == wanted).context("no such role")?;
            let grant =
                json!({"principalId": principal_id, "resourceId": resource["id"], "appRoleId": role["id"]});
            post(&format!("servicePrincipals/{principal_id}/appRoleAssignments"), grant).await?;
        }
        let id = application["id"].as_str().unwrap_or_default();
        let credential = json!({"passwordCredential": {"displayName": "proof"}});
        let secret = post(&format!("applications/{id}/addPassword"), credential).await?;
        self.application = application["appId"].as_str().context("no application id")?.to_owned();
        self.secret = secret["secretText"].as_str().context("no secret")?.to_owned();
        Ok(())
    }

    fn dial(&self, name: &str) -> String {
        format!("{}/_sandbox/{name}", self.word("graph"))
    }

    /// Breaks what comes next.
    pub(crate) async fn fault(&self, fault: &Value) -> Result<()> {
        answered(self.http.post(self.dial("faults")).json(fault)).await.with_context(|| fault.to_string())?;
        Ok(())
    }

    /// Forgets the faults that have met nothing yet.
    pub(crate) async fn no_faults(&self) -> Result<()> {
        answered(self.http.delete(self.dial("faults"))).await?;
        Ok(())
    }

    /// Drops a mail into a mailbox; gives its id there.
    pub(crate) async fn deliver(&self, to: &str, raw: &str) -> Result<String> {
        let request = self.http.post(self.dial("deliver")).query(&[("to", to)]).body(raw.to_owned());
        let answer: Value = answered(request).await?.json().await?;
        Ok(answer["id"].as_str().with_context(|| format!("no id: {answer}"))?.to_owned())
    }

    /// A token of the application, to read what is in the mailboxes.
    pub(crate) async fn application_token(&self) -> Result<String> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.application),
            ("scope", "https://graph.microsoft.com/.default"),
            ("client_secret", &self.secret),
        ];
        self.token(&form).await
    }

    /// The bytes of a mail in a mailbox, as the tenant hands them out.
    pub(crate) async fn content(&self, token: &str, mailbox: &str, id: &str) -> Result<Vec<u8>> {
        let url = format!("{}/v1.0/users/{mailbox}/messages/{id}/$value", self.word("graph"));
        Ok(answered(self.http.get(url).bearer_auth(token)).await?.bytes().await?.to_vec())
    }

    /// The next mails that left after this place, oldest first.
    pub(crate) async fn left(&self, after: i64) -> Result<Vec<Left>> {
        let request = self.http.get(self.dial("outside")).query(&[("after", after)]);
        let answer: Vec<Value> = answered(request).await?.json().await?;
        let mail = |mail: &Value| {
            let to = mail["to"].as_array()?.iter().filter_map(|to| Some(to.as_str()?.to_owned())).collect();
            Some(Left { place: mail["id"].as_i64()?, to, raw: mail["raw"].as_str()?.to_owned() })
        };
        answer.iter().map(|one| mail(one).context("a mail that left is not told whole")).collect()
    }

    /// How often it answered with each status, and cut a line.
    pub(crate) async fn counts(&self) -> Result<Value> {
        Ok(answered(self.http.get(self.dial("counts"))).await?.json().await?)
    }
}

/// An answer of success, or what was said instead.
async fn answered(request: RequestBuilder) -> Result<Response> {
    let answer = request.send().await?;
    let status = answer.status();
    if !status.is_success() {
        let path = answer.url().path().to_owned();
        bail!("the tenant answered {status} at {path}: {}", answer.text().await?);
    }
    Ok(answer)
}
