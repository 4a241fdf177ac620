//! What is written, compared with Microsoft's schema.

use postroom_ews::wire::{Answer, RequestHeader, Response, ResponseEnvelope, write_request, write_response};

use crate::examples::{all_requests, all_responses};
use crate::xmllint::{body, check, schemas};

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
