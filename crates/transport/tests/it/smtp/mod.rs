//! Sending through SMTP: against a server that follows a script, and against Postfix.

mod fake;
mod line;
mod outcomes;
mod postfix;

use std::time::Duration;

use bytes::Bytes;
use postroom_model::connection::{ConnectionKind, ConnectionSettings, TlsMode};
use postroom_model::failure::Failure;
use postroom_transport::smtp::Limits;
use postroom_transport::{Receipt, SendJob, SendOutcome, Wire};

use crate::certificate::Certificate;
use crate::{Notes, address, job, wire};

/// Limits so short that a test of a stall ends soon, and so long that a busy machine keeps them.
pub(crate) const SHORT: Limits = Limits {
    connect: Duration::from_secs(10),
    command: Duration::from_millis(700),
    end: Duration::from_millis(700),
    farewell: Duration::from_millis(100),
    keep: Duration::from_secs(20),
    trusted: Duration::from_secs(10),
};

/// A server on this machine without TLS and without a password.
pub(crate) fn plain(port: u16) -> ConnectionSettings {
    let mut settings = ConnectionSettings::new(ConnectionKind::Smtp);
    settings.server = "127.0.0.1".into();
    settings.port = port;
    settings.tls = TlsMode::Plain;
    settings
}

/// The same with TLS and a user.
pub(crate) fn signed_in(port: u16, mode: TlsMode) -> ConnectionSettings {
    let mut settings = plain(port);
    settings.tls = mode;
    settings.user_name = "desk".into();
    settings
}

/// A wire that trusts the certificate's authority.
pub(crate) fn trusting(certificate: &Certificate) -> Wire {
    wire().trusting(vec![certificate.authority.clone()]).unwrap()
}

/// Sends one message.
pub(crate) async fn send(
    wire: &Wire,
    settings: &ConnectionSettings,
    password: Option<&str>,
    job: &SendJob,
) -> SendOutcome {
    let sender = wire.sender_for(settings, password.map(|text| text.to_owned().into())).unwrap();
    sender.send(job, &Notes::default()).await
}

/// A message with this content to these recipients.
pub(crate) fn mail(raw: impl Into<Bytes>, to: &[&str]) -> SendJob {
    let mut job = job(None);
    job.raw = raw.into();
    job.envelope.to = to.iter().map(|one| address(one)).collect();
    job
}

pub(crate) fn sent(outcome: SendOutcome) -> Receipt {
    match outcome {
        SendOutcome::Sent(receipt) => receipt,
        other => panic!("not sent: {other:?}"),
    }
}

pub(crate) fn not_sent(outcome: SendOutcome) -> Failure {
    match outcome {
        SendOutcome::NotSent(failure) => failure,
        other => panic!("not what it should be: {other:?}"),
    }
}
