use std::time::Duration;

use jiff::SignedDuration;
use postroom_entra::CertificateCredential;
use postroom_model::connection::{AuthenticationFlow, ConnectionKind, ConnectionSettings};
use postroom_model::credential::CredentialKind;
use postroom_model::failure::{Decision, Failure};
use postroom_model::{Env, ExposeSecret};
use postroom_transport::Transports;
use url::Url;

use crate::{FROM, SECRET, Vault, connection, mailbox, settings, wire, wire_with};

fn here() -> Url {
    "http://127.0.0.1:1".parse().unwrap()
}

fn held(failure: &Failure) -> &str {
    assert_eq!(failure.decision(), Decision::Hold, "{failure}");
    &failure.words
}

#[tokio::test]
async fn what_is_missing_is_named_and_nothing_is_asked() {
    let wire = wire();
    let mut blank = settings(&here());
    blank.application_id = String::new();
    assert_eq!(
        held(&wire.graph_for(&blank, Some(SECRET.to_owned().into())).unwrap_err()),
        "Application (client) ID is missing"
    );
    assert_eq!(held(&wire.graph_for(&settings(&here()), None).unwrap_err()), "Client secret is missing");
    let mut password = settings(&here());
    password.flow = AuthenticationFlow::Password;
    let error = wire.graph_for(&password, Some("p".to_owned().into())).unwrap_err();
    assert_eq!(held(&error), "User name is missing");
    let secret_id = "b5622740-d85f-4526-9d37-080000000000".to_owned();
    let error = wire.graph_for(&settings(&here()), Some(secret_id.into())).unwrap_err();
    assert!(error.advice.unwrap().contains("Value"));

    let empty = wire_with(Vault(None), Duration::from_secs(1));
    let error = empty.sender(&connection(settings(&here()))).await.err().unwrap();
    assert_eq!(held(&error), "Client secret is missing");
    let other = wire_with(Vault(Some(CredentialKind::Password)), Duration::from_secs(1));
    let error = other.source(&connection(settings(&here())), &mailbox(FROM)).await.err().unwrap();
    assert!(held(&error).contains("does not fit"));
}

#[tokio::test]
async fn what_a_kind_cannot_do_is_said() {
    assert_eq!(wire().can_send(&settings(&here())), Ok(()));
    let other = ConnectionSettings::new(ConnectionKind::Imap);
    assert!(wire().can_send(&other).unwrap_err().contains("IMAP receives only"));
    let error = wire().sender(&connection(other)).await.err().unwrap();
    assert!(held(&error).contains("IMAP receives only"));
    let other = ConnectionSettings::new(ConnectionKind::Smtp);
    let error = wire().source(&connection(other), &mailbox(FROM)).await.err().unwrap();
    assert!(held(&error).contains("SMTP sends only"));
}

#[tokio::test]
async fn a_certificate_and_a_federated_credential_are_read_or_refused_with_advice() {
    let mut other = settings(&here());
    other.flow = AuthenticationFlow::Federated;
    wire().graph_for(&other, Some("env:POSTROOM_TOKEN".to_owned().into())).unwrap();
    let error = wire().graph_for(&other, Some("eyJh.HIDDEN.c2ln".to_owned().into())).unwrap_err();
    assert!(held(&error).contains("place") && !format!("{error:?}").contains("HIDDEN"));

    other.flow = AuthenticationFlow::Certificate;
    let (env, _clock) = Env::for_test(1);
    let (from, to) = (env.now(), env.now().saturating_add(SignedDuration::from_hours(24)).unwrap());
    let made = CertificateCredential::generate("Postroom", from, to, &env).unwrap();
    wire().graph_for(&other, Some(made.to_pem())).unwrap();
    let key = made.to_pem().expose_secret().replace(&made.certificate_pem(), "");
    let strange = CertificateCredential::generate("Postroom", from, to, &env).unwrap();
    let error = wire().graph_for(&other, Some((strange.certificate_pem() + &key).into())).unwrap_err();
    assert!(held(&error).contains("belongs to another") && error.advice.is_some());
}
