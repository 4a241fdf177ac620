//! What a new tenant holds: keys, users with mailboxes, Microsoft's own service principals.

use postroom_model::Env;
use sqlx::SqliteConnection;

use crate::SandboxError;
use crate::directory::catalogue::RESOURCES;
use crate::entra::keys::SigningKey;
use crate::mail::ids;

/// The tenant's only domain (RFC 2606 keeps `.example` free).
pub(crate) const DOMAIN: &str = "contoso.example";

/// Local part and display name; the first is the administrator.
const USERS: [(&str, &str); 7] = [
    ("admin", "Administrator"),
    ("orders", "Orders"),
    ("service", "Service"),
    ("hr", "Human Resources"),
    ("sales", "Sales"),
    ("u1", "User One"),
    ("u2", "User Two"),
];

/// Well-known name, display name, whether hidden. The root comes first; the others hang below it.
const FOLDERS: [(&str, &str, bool); 9] = [
    ("msgfolderroot", "Top of Information Store", false),
    ("archive", "Archive", false),
    ("deleteditems", "Deleted Items", false),
    ("drafts", "Drafts", false),
    ("inbox", "Inbox", false),
    ("junkemail", "Junk Email", false),
    ("outbox", "Outbox", false),
    ("sentitems", "Sent Items", false),
    ("recoverableitemsdeletions", "Deletions", true),
];

/// Fills an empty database.
pub(super) async fn tenant(db: &mut SqliteConnection, env: &Env) -> Result<(), SandboxError> {
    let key =
        tokio::task::spawn_blocking(SigningKey::make).await.map_err(|_| SandboxError::Key("make"))??;
    fill(db, env, key).await.map_err(|source| SandboxError::Database { action: "make a tenant", source })
}

async fn fill(db: &mut SqliteConnection, env: &Env, key: Vec<u8>) -> sqlx::Result<()> {
    let mut seal = vec![0; 32];
    env.fill(&mut seal);
    let tenant_id = random_guid(env).into_bytes();
    for (name, value) in [("tenant_id", tenant_id), ("signing_key", key), ("seal", seal)] {
        sqlx::query("INSERT INTO setting (name, value) VALUES (?, ?)")
            .bind(name)
            .bind(value)
            .execute(&mut *db)
            .await?;
    }
    for resource in RESOURCES {
        sqlx::query(
            "INSERT INTO service_principal (id, app_id, display_name, created_at) VALUES (?, ?, ?, ?)",
        )
        .bind(random_guid(env))
        .bind(resource.app_id)
        .bind(resource.name)
        .bind(env.now().as_second())
        .execute(&mut *db)
        .await?;
    }
    for (index, (local, name)) in USERS.iter().enumerate() {
        add_mailbox(db, env, &format!("{local}@{DOMAIN}"), name, &env.new_token(20), index == 0).await?;
    }
    Ok(())
}

/// A GUID that tells nothing, as directory objects have it: version 4, from the environment's chance.
pub(crate) fn random_guid(env: &Env) -> String {
    let mut bytes = [0; 16];
    env.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Adds a user and the folders of the mailbox; gives the user's id.
pub(crate) async fn add_mailbox(
    db: &mut SqliteConnection,
    env: &Env,
    address: &str,
    display_name: &str,
    password: &str,
    admin: bool,
) -> sqlx::Result<String> {
    let id = random_guid(env);
    sqlx::query(
        "INSERT INTO user (id, address, display_name, password, admin, created_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(address)
    .bind(display_name)
    .bind(password)
    .bind(admin)
    .bind(env.now().as_second())
    .execute(&mut *db)
    .await?;
    let mut root: Option<String> = None;
    for (well_known, name, hidden) in FOLDERS {
        let folder = ids::folder(env);
        sqlx::query(
            "INSERT INTO folder (id, mailbox, parent, well_known, display_name, hidden) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&folder)
        .bind(&id)
        .bind(&root)
        .bind(well_known)
        .bind(name)
        .bind(hidden)
        .execute(&mut *db)
        .await?;
        root.get_or_insert(folder);
    }
    Ok(id)
}
