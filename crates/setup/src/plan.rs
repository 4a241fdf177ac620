//! What is going to be made, before anything is made.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use postroom_entra::register::{AccountType, EXCHANGE, Permission};
use postroom_model::connection::{Cloud, UnknownWord, is_guid};
use postroom_model::mailbox::MailType;
use postroom_model::{EmailAddress, Env, Problems, Timestamp};
use serde::{Deserialize, Serialize};

use crate::local;

/// Longest name of an application, in characters: what the portal takes.
pub const MAX_NAME: usize = 120;
/// Longest life of a secret that Microsoft's portal offers, in days.
pub const MAX_DAYS: u32 = 730;
/// Most mailboxes one plan names. A scope's filter has 10,000 characters at most in Exchange.
pub const MAX_MAILBOXES: usize = 100;
/// After this day Exchange Web Services answer nobody in Exchange Online.
pub const EWS_ENDS: &str = "2027-04-01";

/// How mail is read and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// Microsoft Graph.
    #[default]
    Graph,
    /// Exchange Web Services, in tenants that still allow-list an application.
    Ews,
    /// IMAP and SMTP with an application's token.
    ImapSmtp,
}

/// What keeps the application to the mailboxes of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// RBAC for Applications: rights come from Exchange, with a scope that names the mailboxes.
    Rbac,
    /// An application access policy: a tenant-wide grant, cut to the members of a group. The older way.
    AccessPolicy,
    /// Nothing beyond what the API itself asks for. Graph and EWS can then open every mailbox.
    None,
}

/// What the application signs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// A certificate whose private key is made here and never leaves.
    #[default]
    Certificate,
    /// A secret made by Microsoft Entra.
    Secret,
}

/// The credential of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPlan {
    /// What it is.
    pub kind: KeyKind,
    /// Its name in the portal.
    pub name: String,
    /// When it ends. A policy of the tenant may demand an earlier date.
    pub expires_at: Timestamp,
}

/// Who can sign in to the application: *Supported account types* of the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accounts {
    /// This directory only: right for a connector of one's own.
    #[default]
    SingleTenant,
    /// Any organizational directory.
    Multitenant,
    /// Any organizational directory, and personal accounts.
    MultitenantAndPersonal,
    /// Personal accounts only.
    Personal,
}

/// Host and port of a mail server: `127.0.0.1:1143`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailServer {
    /// Host name or number.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for MailServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not HOST:PORT");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = host.parse::<postroom_model::HostName>().map_err(|error| error.to_string())?;
        Ok(Self { host: host.as_str().to_owned(), port })
    }
}

/// One right the application needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Right {
    /// The permission: `Mail.Send`, or the Exchange role `Application Mail.Send`.
    pub value: String,
    /// Whether it is granted for the whole tenant by Entra, or by Exchange within the scope.
    pub tenant_wide: bool,
    /// Why it is asked for.
    pub why: &'static str,
}

/// Everything that will be made and granted. Serialized, it is what a program reads and what the journal keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the connection.
    pub connection: String,
    /// Name of the application in the portal.
    pub application: String,
    /// Written into the application's tags: what is ours is found again by it, and nothing of another's is taken.
    pub mark: String,
    /// Supported account types.
    pub accounts: Accounts,
    /// Redirect URIs; none where an application signs in by itself.
    #[serde(default)]
    pub redirect_uris: Vec<url::Url>,
    /// How mail is read and sent.
    pub api: Api,
    /// What it signs in with.
    pub key: KeyPlan,
    /// The mailboxes in scope.
    pub mailboxes: Vec<EmailAddress>,
    /// Mailboxes that must stay closed: tried at the end and from then on, because only a refusal proves the limit.
    #[serde(default)]
    pub must_not_open: Vec<EmailAddress>,
    /// What the mailboxes receive; without any, they are not added to the connection.
    #[serde(default)]
    pub types: BTreeSet<MailType>,
    /// What keeps it to them.
    pub limit: Limit,
    /// Tenant id or domain, where already known.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Where the tenant lives.
    #[serde(default)]
    pub cloud: Cloud,
    /// IMAP, in a cloud of one's own; in Microsoft's the address follows from the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<MailServer>,
    /// SMTP submission, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<MailServer>,
}

macro_rules! words {
    ($type:ident, $list:literal, $($variant:ident => $word:literal),+) => {
        impl $type {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Name on the command line and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let known: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                let found = Self::ALL.iter().copied().find(|one| one.as_str() == text);
                found.ok_or_else(|| UnknownWord::new($list, text, &known))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Api, "API", Graph => "graph", Ews => "ews", ImapSmtp => "imap-smtp");
words!(Limit, "limit", Rbac => "rbac", AccessPolicy => "access-policy", None => "none");
words!(KeyKind, "kind of credential", Certificate => "certificate", Secret => "secret");
words!(Accounts, "account type", SingleTenant => "single-tenant", Multitenant => "multitenant",
    MultitenantAndPersonal => "multitenant-and-personal", Personal => "personal");

impl Api {
    /// Name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Graph => "Microsoft Graph",
            Self::Ews => "Exchange Web Services",
            Self::ImapSmtp => "IMAP and SMTP",
        }
    }

    /// What a plan limits with when nobody says: the least privilege that the API knows.
    pub fn default_limit(self) -> Limit {
        if self == Self::ImapSmtp { Limit::None } else { Limit::Rbac }
    }
}

impl Accounts {
    /// The words of the portal.
    pub fn label(self) -> &'static str {
        self.entra().label()
    }

    /// As the registration wants it.
    pub fn entra(self) -> AccountType {
        match self {
            Self::SingleTenant => AccountType::ThisDirectory,
            Self::Multitenant => AccountType::AnyDirectory,
            Self::MultitenantAndPersonal => AccountType::AnyDirectoryAndPersonal,
            Self::Personal => AccountType::PersonalOnly,
        }
    }
}

impl Plan {
    /// A plan with everything that usually is right: Graph, limited by Exchange, a certificate for one year.
    pub fn new(env: &Env, connection: &str, mailboxes: Vec<EmailAddress>) -> Self {
        let mut plan = Self {
            connection: connection.trim().to_owned(),
            application: format!("Postroom {}", connection.trim()),
            mark: format!("postroom-setup-{}", env.new_uuid().simple()),
            accounts: Accounts::default(),
            redirect_uris: Vec::new(),
            api: Api::default(),
            key: KeyPlan { kind: KeyKind::default(), name: String::new(), expires_at: Timestamp::UNIX_EPOCH },
            mailboxes,
            must_not_open: Vec::new(),
            types: BTreeSet::new(),
            limit: Limit::Rbac,
            tenant: None,
            cloud: Cloud::default(),
            imap: None,
            smtp: None,
        };
        plan.set_key(env, KeyKind::Certificate, 365);
        plan
    }

    /// Chooses the credential, valid for `days` from now.
    pub fn set_key(&mut self, env: &Env, kind: KeyKind, days: u32) {
        let now = env.now();
        let end =
            now.saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX);
        // Whole seconds: Microsoft Entra keeps no more.
        let end = Timestamp::from_second(end.as_second()).unwrap_or(end);
        let made = now.to_string().chars().take(10).collect::<String>();
        self.key = KeyPlan { kind, name: format!("Postroom {made} {}", self.short_mark()), expires_at: end };
    }

    /// The end of the mark: eight characters that tell this set-up from others in names.
    pub fn short_mark(&self) -> &str {
        let from = self.mark.char_indices().rev().nth(7).map_or(0, |(index, _)| index);
        &self.mark[from..]
    }

    /// The rights, each with the reason it is asked for.
    pub fn rights(&self) -> Vec<Right> {
        let rows: &[(&str, &'static str)] = match self.api {
            Api::Graph => &[
                ("Mail.ReadWrite", "to read incoming mail, and to make a draft before it is sent"),
                ("Mail.Send", "to send that draft"),
            ],
            Api::Ews if self.limit == Limit::Rbac => {
                &[("EWS.AccessAsApp", "to read and send by Exchange Web Services")]
            }
            Api::Ews => &[("full_access_as_app", "to read and send by Exchange Web Services")],
            Api::ImapSmtp => &[
                ("IMAP.AccessAsApp", "to read incoming mail by IMAP"),
                ("SMTP.SendAsApp", "to send by SMTP"),
            ],
        };
        let scoped = self.limit == Limit::Rbac && self.api != Api::ImapSmtp;
        let name = |value: &str| if scoped { format!("Application {value}") } else { value.to_owned() };
        rows.iter().map(|(value, why)| Right { value: name(value), tenant_wide: !scoped, why }).collect()
    }

    /// The grants that Entra makes for the whole tenant. None with [`Limit::Rbac`]: there rights come from Exchange,
    /// and a permission that were only asked for could be granted by a click that defeats the scope.
    pub fn permissions(&self) -> Vec<Permission> {
        let wide = self.rights().into_iter().filter(|right| right.tenant_wide);
        wide.map(|right| match self.api {
            Api::Graph => Permission::graph(&right.value, right.why),
            Api::Ews | Api::ImapSmtp => Permission {
                resource_app_id: EXCHANGE.to_owned(),
                value: right.value,
                why: right.why.to_owned(),
            },
        })
        .collect()
    }

    /// The rights for the whole tenant that the limit leaves the application; none where there is no limit that such
    /// rights could defeat.
    pub fn limited_to(&self) -> Option<Vec<String>> {
        let limited = self.limit != Limit::None;
        limited.then(|| self.permissions().into_iter().map(|one| one.value).collect())
    }

    /// Whether somebody must run a script in Exchange before mailboxes open.
    pub fn needs_exchange(&self) -> bool {
        self.limit != Limit::None || self.api == Api::ImapSmtp
    }

    /// Everything that is wrong or worth a second thought, at its field.
    pub fn validate(&self, now: Timestamp) -> Problems {
        let mut problems = Problems::new();
        for (field, what, text) in [
            ("connection", "Name of the connection", &self.connection),
            ("application", "Name of the application", &self.application),
            ("key.name", "Name of the credential", &self.key.name),
        ] {
            let longest = if field == "connection" { 100 } else { MAX_NAME };
            if let Err(reason) = name(text, longest) {
                problems.error(field, format!("{what} {reason}"));
            }
        }
        if !self.mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') || self.mark.len() > 60
        {
            problems
                .error("mark", "The mark of the set-up holds other characters than letters, digits and `-`");
        }
        if let Some(tenant) = &self.tenant
            && !is_guid(tenant)
            && tenant.parse::<postroom_model::HostName>().is_err()
        {
            problems.error("tenant", "The tenant is neither a GUID nor a domain");
        }
        self.validate_key(now, &mut problems);
        self.validate_scope(&mut problems);
        self.validate_servers(&mut problems);
        self.warn(&mut problems);
        problems
    }

    fn validate_key(&self, now: Timestamp, problems: &mut Problems) {
        let left = self.key.expires_at.duration_since(now).as_hours();
        if left < 1 || left > i64::from(MAX_DAYS) * 24 {
            problems.error("key.expires_at", format!("A credential is valid for 1 to {MAX_DAYS} days"));
        }
        if self.key.kind == KeyKind::Secret {
            problems
                .warning("key.kind", "A secret is copied by hand and can be read by whoever sees it")
                .hint("A certificate's private key is made here and never leaves: leave --secret away.");
        }
    }

    fn validate_scope(&self, problems: &mut Problems) {
        if self.mailboxes.len() > MAX_MAILBOXES {
            problems.error("mailboxes", format!("A plan names at most {MAX_MAILBOXES} mailboxes"));
        }
        if self.mailboxes.is_empty() && self.needs_exchange() {
            problems
                .error("mailboxes", "No mailbox is named")
                .hint("The scope names exactly the mailboxes: give each with --mailbox.");
        }
        if let Some(both) = self.must_not_open.iter().find(|one| self.mailboxes.contains(one)) {
            problems.error("must_not_open", format!("{both} is to be opened and to stay closed"));
        }
        if !self.must_not_open.is_empty() && self.limit == Limit::None && self.api != Api::ImapSmtp {
            problems
                .error("must_not_open", "Without a limit no mailbox stays closed")
                .hint("Limit the application with --limit rbac, or leave --must-not-open away.");
        }
        if self.must_not_open.len() > MAX_MAILBOXES {
            problems.error("must_not_open", format!("A plan names at most {MAX_MAILBOXES} closed mailboxes"));
        }
        if self.api == Api::ImapSmtp && self.limit != Limit::None {
            problems
                .error("limit", format!("IMAP knows no limit by {}", self.limit))
                .hint("Leave --limit away: Exchange asks for a permission on each mailbox anyway.");
        }
    }

    /// In a cloud of one's own no address follows from anything.
    fn validate_servers(&self, problems: &mut Problems) {
        let Cloud::Custom(endpoints) = &self.cloud else { return };
        let missing = match self.api {
            Api::Graph => Vec::new(),
            Api::Ews => vec![("exchange", "Exchange", endpoints.exchange.is_none())],
            Api::ImapSmtp => {
                vec![("imap", "IMAP", self.imap.is_none()), ("smtp", "SMTP", self.smtp.is_none())]
            }
        };
        for (field, what, _) in missing.into_iter().filter(|(_, _, missing)| *missing) {
            problems
                .error(
                    field,
                    format!("The address of {what} is missing, as this cloud is none of Microsoft's"),
                )
                .hint(format!("Give it with --{field}."));
        }
    }

    fn warn(&self, problems: &mut Problems) {
        if self.limit == Limit::None && self.api != Api::ImapSmtp {
            problems
                .warning("limit", "This lets the application open every mailbox of the tenant")
                .hint("Limit it to the mailboxes named here with --limit rbac.");
        }
        if self.limit == Limit::AccessPolicy {
            problems
                .warning("limit", "Application access policies are the older way, and end where RBAC for Applications begins")
                .hint("Microsoft advises against new ones: choose --limit rbac unless the tenant already uses policies.");
        }
        if self.api == Api::Ews {
            problems
                .warning("api", format!("Exchange Web Services end in Exchange Online on {EWS_ENDS}, and are blocked since 2026-10-01 unless the application is on the tenant's allow-list"))
                .hint("Choose --api graph. Until then: Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs \"<those already listed>,<the application's id>\"");
        }
        if let (Api::ImapSmtp, Some(host)) = (self.api, local::unconfirmed_smtp_host(&self.cloud)) {
            problems
                .warning("smtp", format!("{host}, for sending, is not confirmed: it stands in other projects, not in Microsoft's documentation"))
                .hint(format!("Should it not answer: postroom connection save --name {} --server HOST", crate::quote::bash(&format!("{} SMTP", self.connection))));
        }
        if self.accounts != Accounts::SingleTenant {
            problems
                .warning("accounts", "Other directories can use this application too")
                .hint("An application of one's own needs this directory only: leave --accounts away.");
        }
        if matches!(self.accounts, Accounts::MultitenantAndPersonal | Accounts::Personal) {
            problems.warning("accounts", "No application permission opens the mailbox of a personal account");
        }
    }
}

/// Why a text is no name: it is empty, too long, or holds what no person types and some shells obey.
pub(crate) fn name(text: &str, longest: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is missing".to_owned());
    }
    if text.chars().count() > longest {
        return Err(format!("is too long (at most {longest} characters)"));
    }
    // Line separators, and marks that change the direction or hide: what is read must be what is there.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    match text.chars().find(|c| hidden(*c)) {
        Some(c) => Err(format!("holds the character U+{:04X}, which cannot be seen", u32::from(c))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    fn messages(plan: &Plan) -> Vec<(String, bool)> {
        let now = Env::for_test(1).0.now();
        let problems = plan.validate(now);
        let errors: Vec<String> = problems.errors().map(|problem| problem.field.clone()).collect();
        problems.iter().map(|problem| (problem.field.clone(), errors.contains(&problem.field))).collect()
    }

    #[test]
    fn the_usual_plan_has_nothing_wrong_and_asks_for_nothing_tenant_wide() {
        let plan = plan();
        assert_eq!(messages(&plan), []);
        assert!(plan.permissions().is_empty());
        let values: Vec<String> = plan.rights().into_iter().map(|right| right.value).collect();
        assert_eq!(values, ["Application Mail.ReadWrite", "Application Mail.Send"]);
    }

    #[test]
    fn what_opens_every_mailbox_or_ends_soon_is_said() {
        let mut plan = plan();
        plan.limit = Limit::None;
        assert_eq!(messages(&plan), [("limit".to_owned(), false)]);
        plan.api = Api::Ews;
        let words = plan.validate(Env::for_test(1).0.now()).to_string();
        assert!(words.contains("2027-04-01") && words.contains("every mailbox"), "{words}");
        plan.api = Api::ImapSmtp;
        assert_eq!(messages(&plan), []);
        for (cloud, host) in [
            (Cloud::UsGovernment, "smtp.office365.us"),
            (Cloud::UsGovernmentDod, "outlook-dod.office365.us"),
            (Cloud::China, "smtp.partner.outlook.cn"),
        ] {
            plan.cloud = cloud;
            let words = plan.validate(Env::for_test(1).0.now()).to_string();
            assert!(words.contains(&format!("{host}, for sending, is not confirmed")), "{words}");
        }
        plan.cloud = Cloud::Worldwide;
        plan.limit = Limit::Rbac;
        assert_eq!(messages(&plan), [("limit".to_owned(), true)]);
    }

    #[test]
    fn hidden_characters_and_long_lives_are_refused() {
        let mut plan = plan();
        plan.application = "Postroom\u{202e}x".to_owned();
        plan.set_key(&Env::for_test(1).0, KeyKind::Secret, 731);
        let errors: Vec<_> = messages(&plan).into_iter().filter(|(_, error)| *error).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        for text in ["", " ", "a\nb", "a\u{0}b", "a\u{2028}b", "a\u{feff}b"] {
            assert!(name(text, 120).is_err(), "{text:?}");
        }
        assert!(name("O'Brien & \"Söhne\" $(x) `y` ’z’", 120).is_ok());
    }

    #[test]
    fn a_closed_mailbox_needs_a_limit_and_is_not_one_of_the_open_ones() {
        let mut plan = plan();
        plan.must_not_open = vec!["hr@contoso.example".parse().unwrap()];
        assert_eq!(messages(&plan), []);
        assert!(plan.render().contains("Must stay shut hr@contoso.example"), "{}", plan.render());
        plan.limit = Limit::None;
        assert!(messages(&plan).contains(&("must_not_open".to_owned(), true)));
        plan.limit = Limit::Rbac;
        plan.must_not_open = plan.mailboxes.clone();
        assert_eq!(messages(&plan), [("must_not_open".to_owned(), true)]);
    }

    #[test]
    fn a_plan_survives_the_journal() {
        let plan = plan();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
