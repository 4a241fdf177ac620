//! One reviewed block for an administrator who runs it elsewhere.

use std::str::FromStr;

use jiff::SignedDuration;
use postroom_entra::register::TAG;
use postroom_model::connection::{Cloud, UnknownWord};
use postroom_model::{EmailAddress, Env};
use serde_json::json;

use crate::error::SetupError;
use crate::limits::{self, Names, Told};
use crate::plan::{KeyKind, Plan};
use crate::{quote, templates};

/// The language of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// PowerShell 7 with the modules Microsoft.Graph and ExchangeOnlineManagement.
    PowerShell,
    /// Bash with az, curl and jq; the part for Exchange is printed, because Exchange knows PowerShell only.
    Bash,
}

impl FromStr for Shell {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "powershell" => Ok(Self::PowerShell),
            "bash" => Ok(Self::Bash),
            _ => Err(UnknownWord::new("shell", text, &["powershell", "bash"])),
        }
    }
}

/// What a script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Makes what the plan says.
    Make,
    /// Takes it back.
    Undo,
}

/// What a script is made of besides the plan.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Its language.
    pub shell: Shell,
    /// What it does.
    pub purpose: Purpose,
    /// The public half of the certificate in DER; needed to make a plan with a certificate.
    pub certificate: Option<&'a [u8]>,
    /// A mailbox outside the plan, to see that it is refused.
    pub unlisted: Option<&'a EmailAddress>,
    /// What Exchange was told before.
    pub told: Told<'a>,
}

/// The script. The plan must be valid; every value in it is quoted for the shell.
///
/// # Errors
/// [`SetupError::Plan`] when the plan is not valid, [`SetupError::Certificate`] when the certificate is missing.
pub fn script(plan: &Plan, env: &Env, ask: Ask<'_>) -> Result<String, SetupError> {
    let problems = plan.validate(env.now());
    let warnings: Vec<String> = problems.warnings().map(|warning| warning.message.clone()).collect();
    problems
        .into_result()
        .map_err(|problems| SetupError::Plan { connection: plan.connection.clone(), problems })?;
    let certificate = match (plan.key.kind, ask.certificate, ask.purpose) {
        (KeyKind::Certificate, Some(der), _) => Some(base64(der)),
        (KeyKind::Certificate, None, Purpose::Make) => {
            return Err(SetupError::Certificate {
                operation: "write the certificate into the script",
                source: "there is none yet".into(),
            });
        }
        _ => None,
    };
    let names = match ask.shell {
        Shell::PowerShell => {
            Names { application: "$application.AppId".to_owned(), principal: "$principal.Id".to_owned() }
        }
        Shell::Bash => Names::known("@application@", "@principal@"),
    };
    let exchange = match ask.purpose {
        Purpose::Make => limits::lines(plan, &names, ask.told, ask.unlisted),
        Purpose::Undo => limits::undo(plan, &names),
    };
    let mut values = values(plan, env);
    values["warnings"] = json!(warnings);
    values["certificate"] = json!(certificate);
    values["exchange"] = json!(exchange);
    let file = match (ask.shell, ask.purpose) {
        (Shell::PowerShell, Purpose::Make) => "setup.ps1",
        (Shell::PowerShell, Purpose::Undo) => "undo.ps1",
        (Shell::Bash, Purpose::Make) => "setup.sh",
        (Shell::Bash, Purpose::Undo) => "undo.sh",
    };
    templates::fill(file, &values)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What the templates print. Bodies of requests are JSON made here, so that no shell builds one from names.
fn values(plan: &Plan, env: &Env) -> serde_json::Value {
    let endpoints = plan.cloud.endpoints();
    let name_filter = format!("displayName eq '{}'", quote::filter(&plan.application));
    let grants: Vec<_> = plan
        .permissions()
        .iter()
        .map(|permission| {
            let filter = format!("appId eq '{}'", permission.resource_app_id);
            json!({
                "value": permission.value,
                "why": permission.why,
                "path": path("servicePrincipals", &filter),
                "filter": filter,
            })
        })
        .collect();
    let audience = plan.accounts.entra().as_str();
    let mut create = json!({
        "displayName": plan.application,
        "signInAudience": audience,
        "isFallbackPublicClient": false,
        "tags": [TAG, plan.mark],
    });
    if !plan.redirect_uris.is_empty() {
        create["web"] = json!({ "redirectUris": plan.redirect_uris });
    }
    let ends = plan.key.expires_at;
    // A certificate made now is good from a moment ago: clocks differ.
    let starts = env.now().saturating_sub(SignedDuration::from_mins(5)).unwrap_or(env.now());
    let secret = json!({ "passwordCredential": { "displayName": plan.key.name, "endDateTime": ends } });
    json!({
        "plan": plan,
        "lines": plan.render().lines().collect::<Vec<_>>(),
        "environment": environment(&plan.cloud),
        "exchange_environment": exchange_environment(&plan.cloud),
        "cloud": plan.cloud.as_str(),
        "authority": endpoints.authority.as_str(),
        "graph": endpoints.graph.as_str().trim_end_matches('/'),
        "resource": endpoints.graph_scope().trim_end_matches("/.default"),
        "audience": audience,
        "find_filter": name_filter,
        "find_path": path("applications", &name_filter),
        "grants": grants,
        "create_body": create.to_string(),
        "secret_body": secret.to_string(),
        "mailboxes_json": json!(plan.mailboxes).to_string(),
        "starts": starts,
        "ends": ends,
    })
}

/// `collection?$filter=…`, encoded.
fn path(collection: &str, filter: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
    format!("{collection}?$filter={}", encoded.replace('+', "%20"))
}

/// Microsoft Graph PowerShell's name of a cloud.
fn environment(cloud: &Cloud) -> &'static str {
    match cloud {
        Cloud::Worldwide | Cloud::Custom(_) => "Global",
        Cloud::UsGovernment => "USGov",
        Cloud::UsGovernmentDod => "USGovDoD",
        Cloud::China => "China",
    }
}

/// Exchange Online PowerShell's name of a cloud; none for the usual one
/// (<https://learn.microsoft.com/powershell/exchange/connect-to-exchange-online-powershell>).
fn exchange_environment(cloud: &Cloud) -> Option<&'static str> {
    match cloud {
        Cloud::Worldwide | Cloud::Custom(_) => None,
        Cloud::UsGovernment => Some("O365USGovGCCHigh"),
        Cloud::UsGovernmentDod => Some("O365USGovDoD"),
        Cloud::China => Some("O365China"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::plan::Limit;
    use crate::testing::plan;

    fn made(plan: &Plan, shell: Shell, purpose: Purpose) -> String {
        let env = Env::for_test(1).0;
        let certificate = Some(b"certificate".as_slice());
        let ask = Ask { shell, purpose, certificate, unlisted: None, told: Told::Nothing };
        script(plan, &env, ask).unwrap()
    }

    #[test]
    fn the_scripts_of_the_usual_plan() {
        let plan = plan();
        insta::assert_snapshot!("powershell", made(&plan, Shell::PowerShell, Purpose::Make));
        insta::assert_snapshot!("powershell-undo", made(&plan, Shell::PowerShell, Purpose::Undo));
        insta::assert_snapshot!("bash", made(&plan, Shell::Bash, Purpose::Make));
        insta::assert_snapshot!("bash-undo", made(&plan, Shell::Bash, Purpose::Undo));
    }

    /// Names that try to get out of their quotes.
    const HOSTILE: [&str; 8] = [
        "'; touch hostile; '",
        "$(touch hostile)",
        "`touch hostile`",
        "\"; touch hostile; \"",
        "’; touch hostile; ’",
        "a' | Remove-Item * #",
        "\\'; touch hostile #",
        "</script><script>alert(1)</script>",
    ];

    #[test]
    fn a_hostile_name_stays_a_name_in_bash() {
        for name in HOSTILE {
            for purpose in [Purpose::Make, Purpose::Undo] {
                let mut plan = plan();
                plan.application = name.to_owned();
                plan.connection = name.to_owned();
                plan.key.kind = KeyKind::Secret;
                plan.key.name = name.to_owned();
                plan.limit = Limit::None;
                let folder = std::env::temp_dir().join(format!("postroom-quote-{}", std::process::id()));
                std::fs::create_dir_all(&folder).unwrap();
                // Nothing answers: what is run is the quoting alone, up to the question.
                let mut child = Command::new("bash")
                    .current_dir(&folder)
                    .env("PATH", "/usr/bin:/bin")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .arg("-c")
                    .arg(format!("az() {{ echo token; }}; curl() {{ echo '{{\"value\":[]}}'; }}; export -f az curl; {}", made(&plan, Shell::Bash, purpose)))
                    .spawn()
                    .unwrap();
                child.stdin.take().unwrap().write_all(b"yes\n").unwrap();
                child.wait().unwrap();
                let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
                assert!(left.is_empty(), "{name} got out of its quotes");
                std::fs::remove_dir_all(&folder).unwrap();
            }
        }
    }

    #[test]
    fn a_hostile_name_stays_a_name_in_powershell() {
        for name in HOSTILE {
            let mut plan = plan();
            plan.application = name.to_owned();
            let text = made(&plan, Shell::PowerShell, Purpose::Make);
            assert!(text.contains(&format!("$name = {}\n", quote::powershell(name))), "{text}");
            // Outside literals and comments the name's words do not appear.
            let outside = outside_of_literals(&text);
            for word in ["touch", "Remove-Item", "alert"] {
                assert!(!outside.contains(word), "{name}: {outside}");
            }
        }
    }

    /// A script without its single-quoted literals, as PowerShell's scanner sees them.
    fn outside_of_literals(text: &str) -> String {
        let quote = |c: char| matches!(c, '\'' | '‘' | '’' | '‚' | '‛');
        let mut outside = String::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let mut inside = false;
            let mut double = false;
            for c in line.chars() {
                match c {
                    '"' if !inside => double = !double,
                    c if quote(c) && !double => inside = !inside,
                    c if !inside => outside.push(c),
                    _ => {}
                }
            }
            assert!(!inside, "a literal is not ended: {line}");
            outside.push('\n');
        }
        outside
    }

    #[test]
    fn hidden_characters_never_reach_a_script() {
        let env = Env::for_test(1).0;
        let mut plan = plan();
        plan.application = "two\nlines".to_owned();
        let (shell, purpose, told) = (Shell::Bash, Purpose::Make, Told::Nothing);
        let ask = Ask { shell, purpose, certificate: Some(b"x"), unlisted: None, told };
        assert!(matches!(script(&plan, &env, ask), Err(SetupError::Plan { .. })));
    }
}
