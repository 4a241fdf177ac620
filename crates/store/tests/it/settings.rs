//! Connections, credentials, people, and the list of events.

use postroom_model::connection::{
    AuthenticationFlow, ConnectionKind, ConnectionSettings, EmailMethod, OutgoingSettings,
};
use postroom_model::credential::{CredentialKind, CredentialState};
use postroom_model::event::{Event, EventKind, Subject};
use postroom_model::mailbox::Availability;
use postroom_model::outbox::OutboxState;
use postroom_model::people::{ApiKey, Group, Role};
use postroom_model::{ConnectionId, ExposeSecret, SecretString, UserId};
use postroom_store::{EventFilter, NewCredential, NewUser, SaveConnection, SaveMailbox, Session, StoreError};

use crate::bench::{Bench, name};

pub(crate) fn with_secret(id: ConnectionId, secret: &str) -> SaveConnection {
    let settings = ConnectionSettings {
        flow: AuthenticationFlow::ClientSecret,
        ..ConnectionSettings::new(ConnectionKind::ExchangeOnline)
    };
    let credential = NewCredential {
        kind: CredentialKind::ClientSecret,
        secret: SecretString::from(secret),
        expires_at: None,
        key_id: Some("5a1b2c3d-0000-4000-8000-00000000c001".into()),
    };
    SaveConnection { id, settings, credential: Some(credential), actor: "user:admin".into() }
}

pub(crate) async fn a_connection_is_saved_changed_and_removed(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let first = bench.connection().await;
    let second = bench.connection().await;
    let before = bench.store.connection(first).await.unwrap().unwrap();
    bench.pass(60);
    let settings = ConnectionSettings { name: "Office".into(), ..before.settings.clone() };
    let save = SaveConnection { id: first, settings, credential: None, actor: "cli".into() };
    let saved = bench.store.save_connection(save).await.unwrap();
    assert_eq!((saved.created_at, saved.updated_at), (before.created_at, bench.env.now()));
    assert_eq!(bench.store.connection(first).await.unwrap(), Some(saved));
    let ids: Vec<_> = bench.store.connections().await.unwrap().iter().map(|known| known.id).collect();
    assert_eq!(ids, [first, second]);
    let mailbox: postroom_model::MailboxId = bench.env.new_id();
    bench.save_mailbox(mailbox, first, "a@contoso.example", postroom_model::mailbox::Availability::All).await;
    assert!(matches!(bench.store.remove_connection(first, "cli").await, Err(StoreError::InUse { .. })));
    bench.store.remove_mailbox(mailbox, "cli").await.unwrap();
    let message = bench.accept(first, "sales@contoso.example").await;
    assert!(matches!(bench.store.remove_connection(first, "cli").await, Err(StoreError::InUse { .. })));
    let refused = bench.store.remove_connection(first, "cli").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("connection {first} is in use by a message still to be sent"),
        "what needs it is named"
    );
    assert!(refused.hint().is_some());
    bench.store.change_outbox(message, OutboxState::Cancelled, "cli").await.unwrap();
    bench.store.remove_connection(first, "cli").await.unwrap();
    assert!(matches!(bench.store.remove_connection(first, "cli").await, Err(StoreError::Untouched { .. })));
    assert_eq!(
        bench.timeline(Subject::Connection(first)).await,
        ["connection.saved", "connection.saved", "connection.removed"]
    );
}

pub(crate) async fn secrets_do_not_follow_to_another_server(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.env.new_id();
    let to = |server: &str| ConnectionSettings {
        server: server.into(),
        user_name: "erp".into(),
        ..ConnectionSettings::new(ConnectionKind::Imap)
    };
    let password = || NewCredential {
        kind: CredentialKind::Password,
        secret: SecretString::from("of the server"),
        expires_at: None,
        key_id: None,
    };
    let save = async |settings: ConnectionSettings, credential: Option<NewCredential>| {
        let save = SaveConnection { id, settings, credential, actor: "cli".into() };
        bench.store.save_connection(save).await.unwrap();
    };
    save(to("mail.fabrikam.example"), Some(password())).await;
    let mailbox = bench.env.new_id();
    let settings = Bench::mailbox_settings("a@fabrikam.example", postroom_model::mailbox::Availability::All);
    let own = Some(SecretString::from("of the mailbox"));
    let with_password =
        SaveMailbox { id: mailbox, connection: id, settings, password: own, actor: "cli".into() };
    bench.store.save_mailbox(with_password).await.unwrap();
    save(ConnectionSettings { port: 1993, ..to("mail.fabrikam.example") }, None).await;
    assert!(bench.store.credential_secret(id).await.unwrap().is_some());
    assert!(bench.store.mailbox_password(mailbox).await.unwrap().is_some());
    save(ConnectionSettings { user_name: String::new(), ..to("mail.evil.example") }, None).await;
    assert!(bench.store.credential_secret(id).await.unwrap().is_none(), "nobody gets it by a way around");
    assert!(bench.store.mailbox_password(mailbox).await.unwrap().is_none());
    save(to("mail.fabrikam.example"), Some(password())).await;
    assert!(bench.store.credential_secret(id).await.unwrap().is_some(), "what is typed with it is kept");
}

pub(crate) async fn a_mailboxs_password_stays_with_the_server_it_was_entered_for(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let (id, other) = (bench.env.new_id(), bench.env.new_id());
    let save = async |id, server: &str, port| {
        let settings = ConnectionSettings {
            server: server.into(),
            port,
            ..ConnectionSettings::new(ConnectionKind::Imap)
        };
        let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
        bench.store.save_connection(save).await.unwrap();
    };
    save(id, "imap.fabrikam.example", 0).await;
    save(other, "imap.fabrikam.example", 0).await;
    let mut mailboxes = vec![];
    for connection in [id, other] {
        let settings = Bench::mailbox_settings("a@fabrikam.example", Availability::All);
        let password = Some(SecretString::from("of its own"));
        let save =
            SaveMailbox { id: bench.env.new_id(), connection, settings, password, actor: "cli".into() };
        mailboxes.push(bench.store.save_mailbox(save).await.unwrap().id);
    }
    let known = async |id| bench.store.mailbox_password(id).await.unwrap().is_some();
    save(id, "IMAP.fabrikam.example", 1_143).await;
    assert!(known(mailboxes[0]).await, "the same server");
    save(id, "imap.evil.example", 0).await;
    assert!(!known(mailboxes[0]).await, "another server");
    assert!(!bench.store.mailbox(mailboxes[0]).await.unwrap().unwrap().has_password);
    save(id, "imap.fabrikam.example", 0).await;
    assert!(!known(mailboxes[0]).await, "and it does not come back");
    assert!(known(mailboxes[1]).await, "of another connection");
    bench.store.remove_mailbox(mailboxes[1], "cli").await.unwrap();
    bench.store.remove_connection(other, "cli").await.unwrap();
    assert!(!known(mailboxes[1]).await, "of a connection that is gone");
}

pub(crate) async fn a_new_credential_retires_the_one_before(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let id = bench.env.new_id();
    assert!(bench.store.credential_secret(id).await.unwrap().is_none());
    bench.store.save_connection(with_secret(id, "first secret")).await.unwrap();
    bench.store.save_connection(with_secret(id, "second secret")).await.unwrap();
    let settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    bench.store.save_connection(save).await.unwrap();
    let (current, secret) = bench.store.credential_secret(id).await.unwrap().unwrap();
    assert_eq!(secret.expose_secret(), "second secret");
    let all = bench.store.credentials(id).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], current);
    assert_eq!((all[0].state, all[1].state), (CredentialState::Current, CredentialState::Retired));
    assert_eq!(all[0].key_id.as_deref(), Some("5a1b2c3d-0000-4000-8000-00000000c001"));
    assert_eq!(bench.timeline(Subject::Credential(current.id)).await, ["credential.stored"]);
    bench.store.remove_connection(id, "cli").await.unwrap();
    assert!(bench.store.credentials(id).await.unwrap().is_empty());
}

pub(crate) async fn a_next_credential_stands_beside_the_current_one_until_it_is_switched_to(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let id: ConnectionId = bench.env.new_id();
    let new = |secret: &str| with_secret(id, secret).credential.unwrap();
    let refused = bench.store.stage_credential(id, new("too early"), "cli").await;
    assert!(matches!(refused, Err(StoreError::Untouched { .. })));
    bench.store.save_connection(with_secret(id, "first")).await.unwrap();
    assert!(matches!(bench.store.switch_credential(id, "cli").await, Err(StoreError::Untouched { .. })));
    let current = bench.store.credential_secret(id).await.unwrap().unwrap().0;
    let mistaken = bench.store.stage_credential(id, new("mistaken"), "cli").await.unwrap();
    let staged = bench.store.stage_credential(id, new("second"), "cli").await.unwrap();
    assert_eq!(staged.state, CredentialState::Next);
    assert!(bench.store.secret_of(mistaken.id).await.unwrap().is_none());
    assert_eq!(bench.store.secret_of(staged.id).await.unwrap().unwrap().expose_secret(), "second");
    assert_eq!(bench.store.credential_secret(id).await.unwrap().unwrap().1.expose_secret(), "first");
    bench.store.learn_credential(staged.id, Some(bench.env.now()), Some("key")).await.unwrap();
    let switched = bench.store.switch_credential(id, "cli").await.unwrap();
    assert_eq!((switched.id, switched.state), (staged.id, CredentialState::Current));
    assert_eq!((switched.expires_at, switched.key_id.as_deref()), (Some(bench.env.now()), Some("key")));
    assert_eq!(bench.store.credential_secret(id).await.unwrap().unwrap().1.expose_secret(), "second");
    assert_eq!(bench.store.secret_of(current.id).await.unwrap().unwrap().expose_secret(), "first");
    bench.store.retire_credential(current.id, "cli").await.unwrap();
    assert!(bench.store.secret_of(current.id).await.unwrap().is_none(), "a retired secret is erased");
    assert!(matches!(
        bench.store.retire_credential(staged.id, "cli").await,
        Err(StoreError::Untouched { .. })
    ));
    let spare = bench.store.stage_credential(id, new("spare"), "cli").await.unwrap();
    bench.store.retire_credential(spare.id, "cli").await.unwrap();
    assert!(bench.store.secret_of(spare.id).await.unwrap().is_none());
    assert_eq!(
        bench.timeline(Subject::Credential(staged.id)).await,
        ["credential.staged", "credential.switched"]
    );
    assert_eq!(
        bench.timeline(Subject::Credential(current.id)).await,
        ["credential.stored", "credential.former", "credential.retired"]
    );
}

pub(crate) async fn the_former_credential_is_returned_to_and_erased_by_whatever_ends_its_use(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let id: ConnectionId = bench.env.new_id();
    let new = |secret: &str| with_secret(id, secret).credential.unwrap();
    let stage_and_switch = async |secret: &str| {
        bench.store.stage_credential(id, new(secret), "cli").await.unwrap();
        bench.store.switch_credential(id, "cli").await.unwrap().id
    };
    let kept = async |state: CredentialState| {
        let held = bench.store.credentials(id).await.unwrap();
        let found: Vec<_> = held.into_iter().filter(|one| one.state == state).collect();
        assert!(found.len() <= 1, "{found:?}");
        let found = found.first()?.id;
        Some(bench.store.secret_of(found).await.unwrap().unwrap().expose_secret().to_owned())
    };
    let secrets = async || (kept(CredentialState::Current).await, kept(CredentialState::Former).await);
    let both = |current: &str, former: &str| (Some(current.to_owned()), Some(former.to_owned()));
    let alone = |current: &str| (Some(current.to_owned()), None);

    bench.store.save_connection(with_secret(id, "first")).await.unwrap();
    let first = bench.store.credential_secret(id).await.unwrap().unwrap().0.id;
    let nothing = bench.store.switch_credential_back(id, "cli").await;
    assert!(matches!(nothing, Err(StoreError::Untouched { .. })));
    assert_eq!(secrets().await, alone("first"));

    // There and back, as often as somebody likes.
    let second = stage_and_switch("second").await;
    assert_eq!(secrets().await, both("second", "first"));
    let back = bench.store.switch_credential_back(id, "cli").await.unwrap();
    assert_eq!((back.id, back.state), (first, CredentialState::Current));
    assert_eq!(secrets().await, both("first", "second"));
    assert_eq!(
        bench.timeline(Subject::Credential(first)).await,
        ["credential.stored", "credential.former", "credential.switched-back"]
    );
    bench.store.switch_credential_back(id, "cli").await.unwrap();
    assert_eq!(secrets().await, both("second", "first"));

    // By the next switch.
    let third = stage_and_switch("third").await;
    assert_eq!(secrets().await, both("third", "second"));
    assert!(bench.store.secret_of(first).await.unwrap().is_none());
    assert_eq!(bench.timeline(Subject::Credential(first)).await.last(), Some(&"credential.retired"));
    // By hand.
    bench.store.retire_credential(second, "cli").await.unwrap();
    assert!(bench.store.secret_of(second).await.unwrap().is_none());
    assert!(bench.store.switch_credential_back(id, "cli").await.is_err());
    assert_eq!(secrets().await, alone("third"));
    // By one that is entered in place of the current one.
    stage_and_switch("fourth").await;
    bench.store.save_connection(with_secret(id, "fifth")).await.unwrap();
    assert_eq!(secrets().await, alone("fifth"));
    assert!(bench.store.secret_of(third).await.unwrap().is_none());
    // By a change of what the secrets were entered for.
    stage_and_switch("sixth").await;
    let mut settings = with_secret(id, "").settings;
    settings.cloud = postroom_model::connection::Cloud::China;
    let save = SaveConnection { id, settings, credential: None, actor: "cli".into() };
    bench.store.save_connection(save).await.unwrap();
    assert_eq!(secrets().await, (None, None));
    // And with the connection.
    bench.store.save_connection(with_secret(id, "seventh")).await.unwrap();
    stage_and_switch("eighth").await;
    bench.store.remove_connection(id, "cli").await.unwrap();
    assert!(bench.store.credentials(id).await.unwrap().is_empty());
}

pub(crate) async fn journals_are_kept_replaced_and_removed(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    for (name, content) in [("setup/a", "1"), ("setup/a", "2"), ("setup/b", "3"), ("watch%", "4")] {
        bench.store.save_journal(name, Some(content)).await.unwrap();
    }
    assert_eq!(bench.store.journal("setup/a").await.unwrap().as_deref(), Some("2"));
    let listed = bench.store.journals("setup/").await.unwrap();
    assert_eq!(listed, [("setup/a".to_owned(), "2".to_owned()), ("setup/b".to_owned(), "3".to_owned())]);
    bench.store.save_journal("setup/a", None).await.unwrap();
    assert_eq!(bench.store.journal("setup/a").await.unwrap(), None);
    let large = "x".repeat(1_000_001);
    assert!(bench.store.save_journal("large", Some(&large)).await.is_err());
}

pub(crate) async fn outgoing_settings_fall_with_their_connection(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    assert_eq!(bench.store.outgoing_settings().await.unwrap(), None);
    let (used, other) = (bench.connection().await, bench.connection().await);
    let settings = OutgoingSettings { method: EmailMethod::ExchangeOnline, connection: Some(used) };
    bench.store.save_outgoing_settings(&settings, "user:admin").await.unwrap();
    bench.store.remove_connection(other, "cli").await.unwrap();
    assert_eq!(bench.store.outgoing_settings().await.unwrap(), Some(settings));
    bench.store.remove_connection(used, "cli").await.unwrap();
    assert_eq!(bench.store.outgoing_settings().await.unwrap(), None);
    let drafts = OutgoingSettings { method: EmailMethod::Outlook, connection: None };
    bench.store.save_outgoing_settings(&drafts, "user:admin").await.unwrap();
    assert_eq!(bench.store.outgoing_settings().await.unwrap(), Some(drafts));
}

fn new_user(id: UserId, name: &str) -> NewUser {
    NewUser {
        id,
        name: name.into(),
        display_name: name.to_uppercase(),
        address: Some("someone@contoso.example".parse().unwrap()),
        roles: vec![Role::User],
        groups: vec![],
        password_hash: None,
        actor: "user:admin".into(),
    }
}

pub(crate) async fn users_groups_and_names(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let group = Group { id: bench.env.new_id(), name: "Order desk".into() };
    bench.store.save_group(&group).await.unwrap();
    let twin = Group { id: bench.env.new_id(), ..group.clone() };
    assert!(matches!(bench.store.save_group(&twin).await, Err(StoreError::Taken { .. })));
    assert_eq!(bench.store.groups().await.unwrap(), std::slice::from_ref(&group));
    let (anna, bert) = (bench.env.new_id(), bench.env.new_id());
    bench.store.save_user(new_user(bert, "bert")).await.unwrap();
    let hash = Some("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".to_owned());
    let new = NewUser { groups: vec![group.id], password_hash: hash.clone(), ..new_user(anna, "anna") };
    let saved = bench.store.save_user(new).await.unwrap();
    assert_eq!(
        (saved.roles.as_slice(), saved.groups.as_slice()),
        ([Role::User].as_slice(), [group.id].as_slice())
    );
    let admin = vec![Role::Administrator, Role::Auditor];
    let changed = NewUser { roles: admin.clone(), ..new_user(anna, "anna") };
    let changed = bench.store.save_user(changed).await.unwrap();
    assert_eq!((changed.groups.len(), changed.viewer().roles.len()), (0, 2));
    assert_eq!(bench.store.user(anna).await.unwrap(), Some(changed.clone()));
    assert_eq!(
        bench.store.user_by_name("anna").await.unwrap(),
        Some((changed, hash)),
        "the hash was left alone"
    );
    assert_eq!(bench.store.user_by_name("nobody").await.unwrap(), None);
    let names: Vec<_> = bench.store.users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["anna", "bert"]);
    assert!(matches!(bench.store.save_user(new_user(bert, "anna")).await, Err(StoreError::Taken { .. })));
    assert_eq!(bench.timeline(Subject::User(anna)).await, ["user.saved", "user.saved"]);
}

pub(crate) async fn sessions_end(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let user = bench.env.new_id();
    bench.store.save_user(new_user(user, "anna")).await.unwrap();
    let session = |byte| Session {
        id_hash: [byte; 32],
        user,
        created_at: bench.env.now(),
        expires_at: bench.after(3_600),
    };
    let (one, two) = (session(1), session(2));
    bench.store.save_session(&one).await.unwrap();
    bench.store.save_session(&two).await.unwrap();
    assert_eq!(bench.store.session(&[1; 32]).await.unwrap(), Some(one));
    bench.store.end_session(&[1; 32]).await.unwrap();
    bench.store.end_session(&[1; 32]).await.unwrap();
    assert_eq!(bench.store.session(&[1; 32]).await.unwrap(), None);
    bench.pass(3_600);
    assert_eq!(bench.store.session(&[2; 32]).await.unwrap(), None);
}

pub(crate) async fn a_new_password_ends_every_session_and_other_changes_none(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let (anna, bert) = (bench.env.new_id(), bench.env.new_id());
    for (id, name, byte) in [(anna, "anna", 1), (bert, "bert", 2)] {
        bench.store.save_user(new_user(id, name)).await.unwrap();
        let (created_at, expires_at) = (bench.env.now(), bench.after(3_600));
        let session = Session { id_hash: [byte; 32], user: id, created_at, expires_at };
        bench.store.save_session(&session).await.unwrap();
    }
    let promoted = NewUser { roles: vec![Role::Auditor], ..new_user(anna, "anna") };
    bench.store.save_user(promoted).await.unwrap();
    assert!(bench.store.session(&[1; 32]).await.unwrap().is_some(), "only roles were changed");
    let hash = Some("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".to_owned());
    let change = NewUser { password_hash: hash, ..new_user(anna, "anna") };
    bench.store.save_user(change).await.unwrap();
    assert_eq!(bench.store.session(&[1; 32]).await.unwrap(), None);
    assert!(bench.store.session(&[2; 32]).await.unwrap().is_some(), "that of somebody else");
}

pub(crate) async fn a_removed_user_is_gone_and_the_name_is_given_to_nobody_else(
    make: impl AsyncFn() -> Bench,
) {
    let bench = make().await;
    let (anna, admin) = (bench.env.new_id(), bench.env.new_id());
    bench.store.save_user(new_user(anna, "anna")).await.unwrap();
    let administrator = NewUser { roles: vec![Role::Administrator], ..new_user(admin, "admin") };
    bench.store.save_user(administrator).await.unwrap();
    let (created_at, expires_at) = (bench.env.now(), bench.after(3_600));
    let session = Session { id_hash: [1; 32], user: anna, created_at, expires_at };
    bench.store.save_session(&session).await.unwrap();
    bench.store.remove_user(anna, "user:admin").await.unwrap();
    assert_eq!(bench.store.session(&[1; 32]).await.unwrap(), None);
    assert_eq!(bench.store.user(anna).await.unwrap(), None);
    assert_eq!(bench.store.user_by_name("anna").await.unwrap(), None);
    let names: Vec<_> = bench.store.users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["admin"]);
    assert_eq!(bench.timeline(Subject::User(anna)).await, ["user.saved", "user.removed"]);
    // What was done as user:anna must not become that of another Anna.
    let namesake = bench.store.save_user(new_user(bench.env.new_id(), "anna")).await.unwrap_err();
    assert!(matches!(namesake, StoreError::Taken { .. }) && namesake.to_string().contains("removed"));
    let back = bench.store.save_user(new_user(anna, "anna")).await;
    assert!(matches!(back, Err(StoreError::Untouched { .. })));
    let again = bench.store.remove_user(anna, "cli").await;
    assert!(matches!(again, Err(StoreError::Untouched { .. })));
    let last = bench.store.remove_user(admin, "cli").await.unwrap_err();
    assert_eq!(last.to_string(), "the last administrator cannot be removed");
    assert_eq!(last.hint(), Some("give another user the role administrator first"));
}

pub(crate) async fn a_group_without_a_name_is_refused(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    for name in ["", " ", "Order\ndesk"] {
        let group = Group { id: bench.env.new_id(), name: name.into() };
        let refused = bench.store.save_group(&group).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{name:?}");
    }
    assert!(bench.store.groups().await.unwrap().is_empty());
}

pub(crate) async fn api_keys_are_revoked_once_and_their_names_are_free_again(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let key = |name: &str| ApiKey {
        id: bench.env.new_id(),
        name: name.into(),
        created_at: bench.env.now(),
        revoked_at: None,
    };
    let erp = key("erp");
    bench.store.save_api_key(&erp, &[1; 32], "cli").await.unwrap();
    let twin = bench.store.save_api_key(&key("erp"), &[2; 32], "cli").await;
    assert!(matches!(twin, Err(StoreError::Taken { .. })));
    bench.store.save_api_key(&key("crm"), &[2; 32], "cli").await.unwrap();
    assert_eq!(bench.store.api_key(&[1; 32]).await.unwrap(), Some(erp.clone()));
    bench.store.revoke_api_key(erp.id, "user:admin").await.unwrap();
    assert_eq!(bench.store.api_key(&[1; 32]).await.unwrap(), None);
    let again = bench.store.revoke_api_key(erp.id, "cli").await;
    assert!(matches!(again, Err(StoreError::Untouched { .. })));
    let all = bench.store.api_keys().await.unwrap();
    assert_eq!(all.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["crm", "erp"]);
    assert_eq!(all[1].revoked_at, Some(bench.env.now()));
    assert_eq!(bench.timeline(Subject::ApiKey(erp.id)).await, ["apikey.created", "apikey.revoked"]);
    let filter = EventFilter { subject: Some(Subject::ApiKey(erp.id)), after: 0 };
    let told = bench.store.events(&filter, 10).await.unwrap();
    assert_eq!(told[0].event.words.as_deref(), Some("erp"));
    assert_eq!(told[1].event.actor.as_deref(), Some("user:admin"));
    let renewed = key("erp");
    bench.store.save_api_key(&renewed, &[3; 32], "cli").await.unwrap();
    assert_eq!(bench.store.api_key(&[3; 32]).await.unwrap(), Some(renewed));
    assert_eq!(bench.store.api_key(&[1; 32]).await.unwrap(), None, "the old one stays revoked");
}

pub(crate) async fn events_are_listed_in_order_and_per_subject(make: impl AsyncFn() -> Bench) {
    let bench = make().await;
    let subjects = [Subject::Mailbox(bench.env.new_id()), Subject::User(bench.env.new_id())];
    let event = |subject, kind| {
        Event::new(bench.env.new_id(), bench.env.now(), subject, kind)
            .words("550 5.7.1 no")
            .attempt(3)
            .request_id(Some("req-1".into()))
            .actor("cli")
    };
    let told = vec![
        event(subjects[0], EventKind::MailboxFailing),
        event(subjects[1], EventKind::UserSignedIn),
        event(subjects[0], EventKind::MailboxRecovered),
    ];
    bench.store.append_events(told.clone()).await.unwrap();
    let all = bench.store.events(&EventFilter::default(), 10).await.unwrap();
    assert_eq!(all.iter().map(|stored| stored.event.clone()).collect::<Vec<_>>(), told);
    assert!(all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let filter = EventFilter { subject: None, after: all[0].sequence };
    assert_eq!(bench.store.events(&filter, 1).await.unwrap(), all[1..2]);
    let kinds = [EventKind::MailboxFailing, EventKind::MailboxRecovered].map(name);
    assert_eq!(bench.timeline(subjects[0]).await, kinds);
    // One refused, none appended.
    let twice = vec![event(subjects[1], EventKind::UserRefused), told[0].clone()];
    assert!(bench.store.append_events(twice).await.is_err());
    assert_eq!(bench.store.events(&EventFilter::default(), 10).await.unwrap().len(), 3);
}
