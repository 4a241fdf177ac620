//! Folders made and removed, and messages removed for good.

use bytes::Bytes;
use postroom_entra::http;
use reqwest::Method;
use serde_json::json;

use super::GraphClient;
use super::call::{Body, Call};
use crate::error::GraphError;
use crate::wire::{Collection, Folder};

impl GraphClient {
    /// Makes a folder beside the inbox.
    ///
    /// # Errors
    /// [`GraphError`]; 409 `ErrorFolderExists` when there is one of this name.
    pub async fn create_folder(&self, user: &str, name: &str) -> Result<Folder, GraphError> {
        let operation = format!("make the folder {name} in {user}");
        let address = self.address(&operation, user, &["mailFolders"])?;
        let bytes = Bytes::from(json!({ "displayName": name }).to_string());
        let body = Some(Body { kind: "application/json", bytes });
        self.json(&Call { method: Method::POST, body, ..Self::get(operation, user, address) }).await
    }

    /// The folder of this name beside the inbox.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn find_folder(&self, user: &str, name: &str) -> Result<Option<Folder>, GraphError> {
        let operation = format!("look for the folder {name} in {user}");
        let address = self.address(&operation, user, &["mailFolders"])?;
        let filter = format!("displayName eq '{}'", name.replace('\'', "''"));
        let address = http::with_query(address, &[("$filter", &filter), ("$select", "id,displayName")]);
        let page: Collection<Folder> = self.json(&Self::get(operation, user, address)).await?;
        Ok(page.value.into_iter().next())
    }

    /// Removes a folder with what is in it.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn delete_folder(&self, user: &str, id: &str) -> Result<(), GraphError> {
        let operation = format!("remove a folder of {user}");
        let address = self.address(&operation, user, &["mailFolders", id])?;
        let call = Call { method: Method::DELETE, ..Self::get(operation, user, address) };
        self.send(&call).await.map(drop)
    }

    /// Removes a message for good, past Deleted Items.
    ///
    /// # Errors
    /// [`GraphError`].
    pub async fn purge_message(&self, user: &str, id: &str) -> Result<(), GraphError> {
        let operation = format!("remove a message of {user}");
        let address = self.address(&operation, user, &["messages", id, "permanentDelete"])?;
        let call = Call { method: Method::POST, ..Self::get(operation, user, address) };
        self.send(&call).await.map(drop)
    }
}
