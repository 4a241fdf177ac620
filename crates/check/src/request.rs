//! What is checked.

use postroom_model::connection::ConnectionSettings;
use postroom_model::polling::PollingInterval;
use postroom_model::{EmailAddress, SecretString, Timestamp};
use postroom_transport::Account;
use url::Url;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing is changed in any mailbox, but for a test message where one is asked for.
    #[default]
    Quick,
    /// Everything: also folders, moves, and a large attachment; each is removed again.
    Full,
}

/// What is checked: settings that need not be saved.
pub struct CheckRequest {
    /// The settings.
    pub settings: ConnectionSettings,
    /// The secret to sign in with; none when none is stored or typed.
    pub secret: Option<SecretString>,
    /// Mailboxes to open.
    pub mailboxes: Vec<EmailAddress>,
    /// Those of them that sign in with a user name and password of their own.
    pub accounts: Vec<Account>,
    /// For settings that only send: the connection that reads the recipient of the test message, where one is known.
    pub incoming: Option<Incoming>,
    /// Sender and recipient of a test message. Without it nothing is sent in quick mode, and in full mode the first
    /// mailbox writes to itself.
    pub test_message: Option<TestMessage>,
    /// Mailboxes that must not open: the proof that the application is limited.
    pub must_not_open: Vec<EmailAddress>,
    /// When the credential in use ends; none when nobody said.
    pub credential_expires_at: Option<Timestamp>,
    /// When the credential staged beside it ends; none when there is none, or nobody said.
    pub next_credential_expires_at: Option<Timestamp>,
    /// How often mailboxes are read; the default takes what the settings say.
    pub polling: PollingInterval,
    /// Where Microsoft can call when mail is new: the public address of Postroom with the path of notices. Without it no
    /// subscription is tried.
    pub notify_at: Option<Url>,
    /// How much is done.
    pub mode: Mode,
}

impl CheckRequest {
    /// A quick check of these settings, without mailboxes. What else is wanted is set on the fields.
    pub fn new(settings: ConnectionSettings, secret: Option<SecretString>) -> Self {
        Self {
            settings,
            secret,
            mailboxes: Vec::new(),
            accounts: Vec::new(),
            incoming: None,
            test_message: None,
            must_not_open: Vec::new(),
            credential_expires_at: None,
            next_credential_expires_at: None,
            polling: PollingInterval::Default,
            notify_at: None,
            mode: Mode::Quick,
        }
    }

    /// As whom a mailbox is opened.
    pub(crate) fn account(&self, mailbox: &EmailAddress) -> Account {
        let own = self.accounts.iter().find(|account| account.address == *mailbox);
        own.cloned().unwrap_or_else(|| Account::of(mailbox.clone()))
    }

    /// The secret that is known when settings are looked at: the connection's; where there is none, that of the first
    /// mailbox that signs in by itself.
    pub(crate) fn any_secret(&self) -> Option<&SecretString> {
        let own = || self.accounts.iter().find_map(|account| account.password.as_ref());
        self.secret.as_ref().or_else(|| own().filter(|_| self.settings.mailboxes_sign_in()))
    }

    /// The test message that is sent: the one asked for; in full mode the first mailbox writes to itself.
    pub(crate) fn message(&self) -> Option<TestMessage> {
        if self.test_message.is_some() || self.mode == Mode::Quick {
            return self.test_message.clone();
        }
        let address = self.mailboxes.first()?;
        Some(TestMessage { sender: address.clone(), recipient: address.clone() })
    }
}

/// A connection that reads the mailbox in which a test message arrives.
pub struct Incoming {
    /// Its settings.
    pub settings: ConnectionSettings,
    /// Its secret.
    pub secret: Option<SecretString>,
    /// The mailbox.
    pub account: Account,
}

/// The test message of *Check e-mail settings*.
#[derive(Debug, Clone)]
pub struct TestMessage {
    /// Sent as.
    pub sender: EmailAddress,
    /// Sent to.
    pub recipient: EmailAddress,
}
