//! Opening a store: version, migrations, key.

mod postgres;
mod sqlite;

use postroom_model::{Env, SecretString};

use super::db::{Db, Transaction, query, query_scalar};
use super::fault::Fault;
use crate::StoreError;
use crate::seal::{KeyFile, Place, Sealer};

/// The key check value: opening it proves that the key file is the one the secrets were sealed with.
const KEY_CHECK: Place<'static> = Place { table: "house", column: "value", row: b"key-check" };

/// Loads the key, or makes one where nothing is sealed yet, and compares it with the key check value.
async fn unlock(mut transaction: Transaction, key_file: &KeyFile, env: &Env) -> Result<Sealer, Fault> {
    let sealed: bool = query_scalar("SELECT EXISTS (SELECT 1 FROM credentials WHERE sealed IS NOT NULL)")
        .fetch_one(&mut *transaction)
        .await?;
    let sealer = if sealed {
        Sealer::load(key_file)?.ok_or_else(|| StoreError::Key {
            path: key_file.0.clone(),
            reason: "is missing, and the stored secrets open with no other key; put it back from its backup"
                .to_owned(),
        })?
    } else {
        Sealer::load_or_create(key_file, env)?
    };
    if sealed {
        compare_key(&mut transaction, &sealer).await?;
    } else {
        // A lost key with nothing sealed under it is no loss: the new one takes its place.
        let check = sealer.seal(KEY_CHECK, &SecretString::from("postroom"))?;
        query(
            "INSERT INTO house (name, value) VALUES ('key-check', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(check)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(sealer)
}

/// Refuses unless `sealer` has the key of this database.
pub(super) async fn compare_key(db: &mut Db, sealer: &Sealer) -> Result<(), Fault> {
    let check: Vec<u8> =
        query_scalar("SELECT value FROM house WHERE name = 'key-check'").fetch_one(db).await?;
    sealer.open(KEY_CHECK, &check)?;
    Ok(())
}
