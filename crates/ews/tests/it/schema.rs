//! What is written, compared with Microsoft's schema by xmllint. The schema is Microsoft's and no part of this
//! repository: it is looked for beside it, in `../shared/schemas/ews`.

use std::path::{Path, PathBuf};
use std::process::Command;

use postroom_ews::wire::{Answer, RequestHeader, Response, ResponseEnvelope, write_request, write_response};

use crate::examples::{all_requests, all_responses};

fn schemas() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    // Beside the repository, or beside the folder that holds several work trees of it.
    let places = repository.ancestors().skip(1).take(2).map(|place| place.join("shared/schemas/ews"));
    places.into_iter().find(|place| place.join("messages.xsd").is_file())
}

/// The operation's element as a document of its own.
fn body(envelope: &[u8]) -> String {
    let text = std::str::from_utf8(envelope).unwrap();
    let (_, rest) = text.split_once("Body>").unwrap();
    let (body, _) = rest.rsplit_once("</").unwrap().0.rsplit_once("</").unwrap();
    let end = body.find([' ', '>', '/']).unwrap();
    let spaces = r#" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages""#;
    format!("{}{spaces}{}", &body[..end], &body[end..])
}

/// Asks once about all documents: loading the schema takes most of the time.
fn check(documents: &[(String, String)], schema: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("xmllint");
    command.arg("--noout").arg("--schema").arg(schema);
    for (name, document) in documents {
        let file = folder.path().join(format!("{name}.xml"));
        std::fs::write(&file, document).unwrap();
        command.arg(file);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs xmllint"]
fn every_request_and_answer_is_valid_by_microsofts_schema() {
    let Some(schemas) = schemas() else {
        eprintln!(
            "SKIPPED: every_request_and_answer_is_valid_by_microsofts_schema: ../shared/schemas/ews is not there"
        );
        return;
    };
    let mut documents = Vec::new();
    for request in all_requests() {
        let document = write_request(&RequestHeader::acting_for(Some("desk@contoso.example")), &request);
        documents.push((request.name().to_owned(), body(&document)));
    }
    for response in all_responses() {
        let name = format!("{}Response", response.name());
        let envelope = ResponseEnvelope { server: None, answer: Answer::Response(response.clone()) };
        let mut document = body(&write_response(&envelope));
        if matches!(response, Response::GetStreamingEvents(_)) {
            // The one place where the wire and the schema differ: the namespace of a notification.
            document = document.replace("<m:Notification>", "<t:Notification>");
            document = document.replace("</m:Notification>", "</t:Notification>");
        }
        documents.push((name, document));
    }
    check(&documents, &schemas.join("messages.xsd"));

    let mut documents = Vec::new();
    let document =
        write_request(&RequestHeader::acting_for(Some("desk@contoso.example")), &all_requests()[0]);
    let text = String::from_utf8(document).unwrap();
    for name in ["t:RequestServerVersion", "t:ExchangeImpersonation"] {
        let (_, rest) = text.split_once(&format!("<{name}")).unwrap();
        let rest = rest.split_once("</soap:Header>").unwrap().0;
        let end = rest
            .find(&format!("</{name}>"))
            .map_or_else(|| rest.find("/>").unwrap() + 2, |at| at + name.len() + 3);
        let space = r#" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types""#;
        let document = format!("<{name}{space}{}", &rest[..end]);
        documents.push((name.replace(':', "-"), document));
    }
    check(&documents, &schemas.join("types.xsd"));
}
