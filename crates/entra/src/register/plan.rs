//! What is going to be made, before anything is made.

use jiff::Timestamp;

/// `appId` of Microsoft Graph, the same in every tenant.
pub const MICROSOFT_GRAPH: &str = "00000003-0000-0000-c000-000000000000";
/// `appId` of Office 365 Exchange Online, the same in every tenant.
pub const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";
/// Written into `tags` of what is made here, so that it is found again and nothing of another's is taken over.
pub const TAG: &str = "postroom";

/// An application to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name in the portal, at most 120 characters.
    pub display_name: String,
    /// Who can sign in to it.
    pub sign_in_audience: AccountType,
    /// What it may do, no more than is needed.
    pub permissions: Vec<Permission>,
    /// Name of its first secret.
    pub secret_name: String,
    /// When that secret ends. Policies of a tenant may demand an earlier date.
    pub secret_expires_at: Timestamp,
}

/// *Supported account types* of the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountType {
    /// Accounts in this organizational directory only: right for a connector of one's own.
    #[default]
    ThisDirectory,
    /// Accounts in any organizational directory.
    AnyDirectory,
    /// Accounts in any organizational directory, and personal Microsoft accounts.
    AnyDirectoryAndPersonal,
    /// Personal Microsoft accounts only: such an application cannot open a mailbox of a tenant.
    PersonalOnly,
}

impl AccountType {
    /// Every type, in the order of the portal.
    pub const ALL: [Self; 4] =
        [Self::ThisDirectory, Self::AnyDirectory, Self::AnyDirectoryAndPersonal, Self::PersonalOnly];

    /// `signInAudience` of Microsoft Graph.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ThisDirectory => "AzureADMyOrg",
            Self::AnyDirectory => "AzureADMultipleOrgs",
            Self::AnyDirectoryAndPersonal => "AzureADandPersonalMicrosoftAccount",
            Self::PersonalOnly => "PersonalMicrosoftAccount",
        }
    }

    /// Words of the portal.
    pub fn label(self) -> &'static str {
        match self {
            Self::ThisDirectory => "Accounts in this organizational directory only",
            Self::AnyDirectory => "Accounts in any organizational directory",
            Self::AnyDirectoryAndPersonal => {
                "Accounts in any organizational directory and personal Microsoft accounts"
            }
            Self::PersonalOnly => "Personal Microsoft accounts only",
        }
    }

    /// Whether personal accounts may sign in. Such applications need access tokens of version 2.
    pub fn personal(self) -> bool {
        matches!(self, Self::AnyDirectoryAndPersonal | Self::PersonalOnly)
    }
}

/// An application permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// `appId` of the API: [`MICROSOFT_GRAPH`] or [`EXCHANGE`].
    pub resource_app_id: String,
    /// Its value: `Mail.ReadWrite`. Its id is looked up in the tenant.
    pub value: String,
    /// Why it is needed, for the person who grants it.
    pub why: String,
}

impl Permission {
    /// A permission of Microsoft Graph.
    pub fn graph(value: &str, why: &str) -> Self {
        Self { resource_app_id: MICROSOFT_GRAPH.to_owned(), value: value.to_owned(), why: why.to_owned() }
    }

    /// What reading and sending through Microsoft Graph needs: `Mail.ReadWrite` (drafts whose id is known before
    /// they are sent) and `Mail.Send`.
    pub fn for_mail() -> Vec<Self> {
        vec![
            Self::graph("Mail.ReadWrite", "to read incoming mail, and to make a draft before it is sent"),
            Self::graph("Mail.Send", "to send that draft"),
        ]
    }

    /// A permission of Office 365 Exchange Online.
    pub fn exchange(value: &str, why: &str) -> Self {
        Self { resource_app_id: EXCHANGE.to_owned(), value: value.to_owned(), why: why.to_owned() }
    }

    /// What EWS needs, for tenants that still allow it: every mailbox, until Microsoft ends EWS in Exchange Online on
    /// 1 April 2027.
    pub fn for_ews() -> Vec<Self> {
        vec![Self::exchange("full_access_as_app", "to read and send through EWS, in every mailbox")]
    }

    /// What IMAP and SMTP need, besides the permissions on each mailbox in Exchange.
    pub fn for_imap_smtp() -> Vec<Self> {
        vec![
            Self::exchange("IMAP.AccessAsApp", "to read mailboxes that Exchange lets the application open"),
            Self::exchange("SMTP.SendAsApp", "to send from mailboxes that Exchange lets the application use"),
        ]
    }
}
