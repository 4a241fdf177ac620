//! One mailbox: its inbox is opened and one header read, as the collector will.

use postroom_model::{EmailAddress, Env};
use postroom_transport::Source;
use postroom_transport::graph::GraphSource;

use super::{Client, nothing_to_go_on};
use crate::finding::Finding;
use crate::ladder::{Probed, Step};

pub(crate) fn step(mailbox: &EmailAddress) -> Step {
    Step { name: format!("mailbox:{mailbox}").into(), title: format!("Mailbox {mailbox}").into() }
}

pub(crate) async fn probe(client: Option<&Client>, mailbox: &EmailAddress, env: &Env) -> Probed<()> {
    let Some(client) = client else { return nothing_to_go_on().into() };
    let did = format!("Opened the inbox of {mailbox} and read one header.");
    let source = GraphSource::new(client.graph.clone(), mailbox.clone(), env.clone());
    match source.probe().await {
        Ok(sentence) => Finding::pass(did, sentence).into(),
        Err(failure) => Finding::refused(did, &failure, &client.graph.ids(mailbox.as_str())).into(),
    }
}
