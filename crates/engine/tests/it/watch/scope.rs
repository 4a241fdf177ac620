//! Mailboxes that must be refused, and rights that defeat a limit.

use jiff::SignedDuration;
use postroom_model::credential::CredentialKind;
use postroom_model::event::Subject;

use super::Watched;

#[tokio::test]
async fn a_mailbox_that_must_be_refused_is_told_when_it_opens_and_when_it_is_refused_again() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    let ceo = "ceo@contoso.example";
    engine
        .must_not_open(connection, vec![ceo.parse().unwrap(), "hr@contoso.example".parse().unwrap()])
        .await
        .unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), None);
    let subject = Subject::Connection(connection);
    let look = async |open: bool| {
        watched.office.state().open = if open { vec![ceo.into()] } else { Vec::new() };
        watched.pass(61);
        engine.watch_scope().await.unwrap();
        engine.scope_watch(connection).await.unwrap().held()
    };
    assert_eq!(look(false).await, Some(true));
    assert_eq!(watched.house.timeline(subject).await.last(), Some(&"connection.saved"));
    assert_eq!(look(true).await, Some(false));
    assert_eq!(look(true).await, Some(false));
    assert_eq!(look(false).await, Some(true));
    assert_eq!(look(false).await, Some(true));
    let timeline = watched.house.timeline(subject).await;
    assert_eq!(timeline[timeline.len() - 2..], ["scope.exceeded", "scope.held"]);
    assert_eq!(timeline.iter().filter(|kind| kind.starts_with("scope")).count(), 2);
    // An empty list ends the watch.
    engine.must_not_open(connection, Vec::new()).await.unwrap();
    assert_eq!(look(true).await, None);
}

#[tokio::test]
async fn a_right_for_the_whole_tenant_that_defeats_the_limit_is_told_once_and_when_it_is_gone() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    let look = async |wide: &[&str]| {
        watched.office.state().wide = wide.iter().map(|value| (*value).to_owned()).collect();
        watched.pass(61);
        engine.watch_scope().await.unwrap();
        engine.scope_watch(connection).await.unwrap().held()
    };
    assert_eq!(look(&["Mail.Read"]).await, None, "nothing says that the application is limited");
    engine.watch_limit(connection, Some(vec!["Mail.Send".into()])).await.unwrap();
    assert_eq!(look(&["Mail.Send"]).await, Some(true));
    for _ in 0..2 {
        assert_eq!(look(&["Mail.Send", "Mail.Read"]).await, Some(false));
    }
    assert_eq!(look(&[]).await, Some(true));
    let events = watched.house.events(Subject::Connection(connection)).await;
    let told: Vec<_> = events.iter().filter(|one| one.event.kind.as_str().starts_with("scope")).collect();
    let kinds: Vec<_> = told.iter().map(|one| one.event.kind.as_str()).collect();
    assert_eq!(kinds, ["scope.exceeded", "scope.held"]);
    let words = told[0].event.words.as_deref().unwrap();
    assert!(words.contains("Mail.Read (to read every mailbox)") && words.contains("Next step"), "{words}");
    engine.watch_limit(connection, None).await.unwrap();
    assert_eq!(look(&["Mail.Read"]).await, None);
}

#[tokio::test]
async fn a_mailbox_that_does_not_exist_proves_nothing() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    let (ceo, nobody) = ("ceo@contoso.example", "nobody@contoso.example");
    watched.office.state().open = vec![ceo.into()];
    let named = vec![ceo.parse().unwrap(), nobody.parse().unwrap()];
    engine.must_not_open(connection, named).await.unwrap();
    engine.watch_scope().await.unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), Some(false));
    (watched.office.state().open, watched.office.state().missing) = (Vec::new(), vec![nobody.into()]);
    watched.pass(61);
    engine.watch_scope().await.unwrap();
    let watch = engine.scope_watch(connection).await.unwrap();
    assert_eq!((watch.held(), watch.refused.len(), watch.missing.len()), (None, 1, 1), "{watch:?}");
    assert!(watch.trouble.unwrap().contains("there is no mailbox nobody@contoso.example"));
    let timeline = watched.house.timeline(Subject::Connection(connection)).await;
    assert_eq!(timeline.last(), Some(&"scope.exceeded"), "nothing says that all are refused");
    watched.office.state().missing = Vec::new();
    watched.pass(61);
    engine.watch_scope().await.unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), Some(true));
    assert_eq!(watched.house.timeline(Subject::Connection(connection)).await.last(), Some(&"scope.held"));
}

#[tokio::test]
async fn a_look_that_never_happened_is_not_a_refusal() {
    let watched = Watched::new(CredentialKind::ClientSecret, Some(300)).await;
    let engine = watched.engine();
    let connection = watched.house.connection;
    // A process was killed while it looked: its claim stays for a while.
    let until = watched.house.env.now().saturating_add(SignedDuration::from_mins(5)).unwrap();
    let claim = format!("turn/scope/{connection}/of-one-that-was-killed");
    let content = format!(r#"{{"until":"{until}"}}"#);
    watched.house.store.save_journal(&claim, Some(&content)).await.unwrap();
    engine.must_not_open(connection, vec!["ceo@contoso.example".parse().unwrap()]).await.unwrap();
    engine.watch_scope().await.unwrap();
    let watch = engine.scope_watch(connection).await.unwrap();
    assert_eq!((watch.held(), watch.looked_at), (None, None));
    watched.pass(6);
    engine.watch_scope().await.unwrap();
    assert_eq!(engine.scope_watch(connection).await.unwrap().held(), Some(true));
}
