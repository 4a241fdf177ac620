//! What an address is: its entry in the directory, the purpose of its mailbox, a group of this name.

use postroom_entra::http;

use super::GraphClient;
use crate::error::GraphError;
use crate::wire::{Collection, DirectoryGroup, DirectoryUser, Purpose};

impl GraphClient {
    /// What the directory says of a mailbox. Needs `User.ReadBasic.All`; its licences need `User.Read.All`.
    ///
    /// # Errors
    /// [`GraphError`]; 403 `Authorization_RequestDenied` without the permission.
    pub async fn directory_user(&self, user: &str) -> Result<DirectoryUser, GraphError> {
        let operation = format!("look {user} up in the directory");
        let address = self.address(&operation, user, &[])?;
        let select = "mail,userPrincipalName,displayName,assignedLicenses";
        let address = http::with_query(address, &[("$select", select)]);
        self.json(&Self::get(operation, user, address)).await
    }

    /// What the mailbox is for: `user`, `linked`, `shared`, `room`, `equipment` or `others`. Needs
    /// `MailboxSettings.Read` (<https://learn.microsoft.com/graph/api/user-get-mailboxsettings>).
    ///
    /// # Errors
    /// [`GraphError`]; 403 `ErrorAccessDenied` without the permission.
    pub async fn mailbox_purpose(&self, user: &str) -> Result<String, GraphError> {
        let operation = format!("ask what the mailbox {user} is for");
        let address = self.address(&operation, user, &["mailboxSettings", "userPurpose"])?;
        let found: Purpose = self.json(&Self::get(operation, user, address)).await?;
        Ok(found.value)
    }

    /// The group of this address. Needs `GroupMember.Read.All`, `Group.Read.All` or `Directory.Read.All`.
    ///
    /// # Errors
    /// [`GraphError`]; 403 `Authorization_RequestDenied` without the permission.
    pub async fn directory_group(&self, mail: &str) -> Result<Option<DirectoryGroup>, GraphError> {
        let operation = format!("look for a group {mail}");
        let address = http::join(&self.graph, &["v1.0", "groups"]);
        let address = address.ok_or_else(|| GraphError::Address { operation: operation.clone() })?;
        let filter = format!("mail eq '{}'", mail.replace('\'', "''"));
        let address = http::with_query(address, &[("$filter", &filter), ("$select", "id,displayName,mail")]);
        let page: Collection<DirectoryGroup> = self.json(&Self::get(operation, mail, address)).await?;
        Ok(page.value.into_iter().next())
    }
}
