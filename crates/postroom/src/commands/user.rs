//! `postroom user`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use postroom_model::people::{Group, Role};
use postroom_model::{EmailAddress, ExposeSecret, GroupId, SecretString};
use postroom_store::NewUser;

use super::{ACTOR, read_secret};
use crate::app::App;
use crate::cli::UsageError;
use crate::output::{self, hinted};

#[derive(Debug, Args)]
pub(crate) struct UserArguments {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user; without --password-file a password is made and printed once
    Add(AddArguments),
    /// List users
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a user's roles, groups or shown name; what is not given stays as it is
    Change(ChangeArguments),
    /// Remove a user: sessions end at once, the name stays in what they did
    Remove {
        /// Name to sign in with
        name: String,
    },
    /// Give a user another password; sessions end at once
    Password {
        /// Name to sign in with
        name: String,
        /// File with the password, - for standard input; without it one is made and printed
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Add a group
    AddGroup {
        /// Its name
        name: String,
    },
    /// List groups
    Groups,
}

#[derive(Debug, Args)]
struct AddArguments {
    /// Name to sign in with: 1 to 64 of a-z, 0-9, dot, hyphen, underscore
    name: String,
    /// Name shown to others
    #[arg(long)]
    display_name: Option<String>,
    /// The user's own address
    #[arg(long)]
    address: Option<EmailAddress>,
    /// Role: administrator, mailbox-manager, user, auditor; can be given several times [default: user]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Group the user belongs to; can be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// File with the password, - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ChangeArguments {
    /// Name to sign in with
    name: String,
    /// Name shown to others
    #[arg(long)]
    display_name: Option<String>,
    /// Role, instead of those the user has; can be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Group, instead of those the user belongs to; can be given several times
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "no_group")]
    groups: Vec<String>,
    /// The user belongs to no group any more
    #[arg(long)]
    no_group: bool,
}

pub(crate) async fn run(app: &App, arguments: UserArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        UserCommand::Add(add) => add_user(app, add).await?,
        UserCommand::Change(change) => change_user(app, change).await?,
        UserCommand::Remove { name } => {
            let user = app.user(&name).await?;
            app.store.remove_user(user.id, ACTOR).await?;
            output::talk(format!("removed {name}"));
        }
        UserCommand::Password { name, password_file } => change_password(app, &name, password_file).await?,
        UserCommand::AddGroup { name } => {
            let group = Group { id: app.env.new_id(), name: name.trim().to_owned() };
            app.store.save_group(&group).await?;
            output::talk(format!("added the group {}", group.name));
        }
        UserCommand::Groups => {
            let groups = app.store.groups().await?;
            output::table(["GROUP", "ID"], groups.into_iter().map(|g| [g.name, g.id.to_string()]).collect());
        }
        UserCommand::List { json } => list(app, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add_user(app: &App, add: AddArguments) -> anyhow::Result<()> {
    let name_ok = (1..=64).contains(&add.name.len())
        && add.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b));
    if !name_ok {
        let message = format!(
            "`{}` is not a name to sign in with: 1 to 64 of a-z, 0-9, dot, hyphen, underscore",
            add.name
        );
        return Err(UsageError(message).into());
    }
    let groups = group_ids(app, &add.groups).await?;
    let (password, made) = password(app, add.password_file)?;
    let user = NewUser {
        id: app.env.new_id(),
        display_name: add.display_name.unwrap_or_else(|| add.name.clone()),
        name: add.name,
        address: add.address,
        roles: if add.roles.is_empty() { vec![Role::User] } else { add.roles },
        groups,
        password_hash: Some(postroom_web::hash_password(&password)?),
        actor: ACTOR.to_owned(),
    };
    let user = app.store.save_user(user).await?;
    output::talk(format!("added {}", user.name));
    show_once(&password, made);
    Ok(())
}

async fn change_user(app: &App, change: ChangeArguments) -> anyhow::Result<()> {
    let user = app.user(&change.name).await?;
    let roles = if change.roles.is_empty() { user.roles } else { change.roles };
    let groups = match (change.no_group, change.groups.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => user.groups,
        (false, false) => group_ids(app, &change.groups).await?,
    };
    let changed = NewUser {
        id: user.id,
        name: user.name,
        display_name: change.display_name.unwrap_or(user.display_name),
        address: user.address,
        roles,
        groups,
        password_hash: None,
        actor: ACTOR.to_owned(),
    };
    app.store.save_user(changed).await?;
    output::talk(format!("changed {}", change.name));
    Ok(())
}

async fn change_password(app: &App, name: &str, file: Option<PathBuf>) -> anyhow::Result<()> {
    let user = app.user(name).await?;
    let (password, made) = password(app, file)?;
    let change = NewUser {
        id: user.id,
        name: user.name,
        display_name: user.display_name,
        address: user.address,
        roles: user.roles,
        groups: user.groups,
        password_hash: Some(postroom_web::hash_password(&password)?),
        actor: ACTOR.to_owned(),
    };
    app.store.save_user(change).await?;
    output::talk(format!("changed the password of {name}"));
    show_once(&password, made);
    Ok(())
}

/// The password of the file, or a fresh one and `true`.
fn password(app: &App, file: Option<PathBuf>) -> anyhow::Result<(SecretString, bool)> {
    let Some(file) = file else { return Ok((SecretString::from(app.env.new_token(20)), true)) };
    let password = read_secret(&file)?;
    if password.expose_secret().chars().count() < 10 {
        return Err(UsageError("a password needs at least 10 characters".to_owned()).into());
    }
    Ok((password, false))
}

fn show_once(password: &SecretString, made: bool) {
    if made {
        output::talk("the password, shown this once:");
        output::data(password.expose_secret());
    }
}

/// The ids of groups by name.
pub(super) async fn group_ids(app: &App, names: &[String]) -> anyhow::Result<Vec<GroupId>> {
    let known = app.store.groups().await?;
    names
        .iter()
        .map(|name| {
            let group = known.iter().find(|group| group.name.eq_ignore_ascii_case(name));
            group.map(|group| group.id).ok_or_else(|| {
                hinted(
                    format!("there is no group `{name}`"),
                    format!("`postroom user add-group {name}` makes it"),
                )
            })
        })
        .collect()
}

async fn list(app: &App, json: bool) -> anyhow::Result<()> {
    let users = app.store.users().await?;
    if json {
        return output::json(&users);
    }
    let groups = app.store.groups().await?;
    let rows = users.into_iter().map(|user| {
        let roles: Vec<_> = user.roles.iter().map(|role| role.as_str()).collect();
        let names: Vec<_> = groups
            .iter()
            .filter(|group| user.groups.contains(&group.id))
            .map(|group| group.name.clone())
            .collect();
        [user.name, user.display_name, roles.join(", "), names.join(", ")]
    });
    output::table(["NAME", "SHOWN AS", "ROLES", "GROUPS"], rows.collect());
    Ok(())
}
