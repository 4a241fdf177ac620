//! Written and read back, read from strangers, and read from anything.

use bytes::Bytes;
use postroom_ews::wire::*;
use proptest::prelude::*;

use crate::examples::{all_requests, all_responses, fault, stored_message};

fn envelope(answer: Answer) -> ResponseEnvelope {
    let server = ServerVersion { major: Some(15), minor: Some(20), ..ServerVersion::default() };
    ResponseEnvelope { server: Some(server), answer }
}

#[test]
fn every_request_and_answer_is_read_as_it_was_written() {
    let header = RequestHeader::acting_for(Some("desk@contoso.example"));
    for request in all_requests() {
        let read = parse_request(&write_request(&header, &request));
        assert_eq!(read, Ok(RequestEnvelope { header: header.clone(), request }));
    }
    for answer in all_responses().into_iter().map(Answer::Response).chain([Answer::Fault(fault())]) {
        let envelope = envelope(answer);
        assert_eq!(parse_response(&write_response(&envelope)), Ok(envelope));
    }
}

const FAULT: &str = r#"<?xml version="1.0"?><S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><S:Fault>
  <faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:ErrorSchemaValidation</faultcode>
  <faultstring xml:lang="en-US">The request failed schema validation.</faultstring>
  <detail>
    <e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">ErrorSchemaValidation</e:ResponseCode>
    <t:MessageXml xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">
      <t:LineNumber>2</t:LineNumber><t:Violation>no such element</t:Violation>
    </t:MessageXml>
  </detail></S:Fault></S:Body></S:Envelope>"#;

#[test]
fn a_fault_is_read_with_code_words_and_violation() {
    let Answer::Fault(fault) = parse_response(FAULT.as_bytes()).unwrap().answer else { panic!("no fault") };
    assert_eq!(
        (fault.code.as_str(), fault.response_code.as_deref()),
        ("ErrorSchemaValidation", Some("ErrorSchemaValidation"))
    );
    let values = fault.values.unwrap();
    assert_eq!((values.line, values.violation.as_deref()), (Some(2), Some("no such element")));
}

/// An answer with other prefixes, unknown elements, another order and characters that XML forbids.
const STRANGE: &str = r#"<Envelope><Body><x:GetItemResponse xmlns:x="u"><x:ResponseMessages>
  <x:GetItemResponseMessage ResponseClass="Success" Extra="1">
    <x:Items><y:NewKindOfItem xmlns:y="v"><y:Subject>a&#x1F;b&#xD;&amp;c</y:Subject>
      <y:Later><y:Deep/></y:Later><y:ItemId ChangeKey="k&quot;" Id="I&lt;1"/></y:NewKindOfItem></x:Items>
    <x:ResponseCode>NoError</x:ResponseCode>
  </x:GetItemResponseMessage></x:ResponseMessages></x:GetItemResponse></Body></Envelope>"#;

#[test]
fn an_answer_is_read_in_whatever_order_and_with_forbidden_characters() {
    let Answer::Response(Response::GetItem(messages)) = parse_response(STRANGE.as_bytes()).unwrap().answer
    else {
        panic!("no answer to GetItem")
    };
    let item = &messages[0].payload.items[0];
    assert_eq!(item.kind, ItemKind::Item);
    assert_eq!(item.message.subject.as_deref(), Some("a\u{FFFD}b\r&c"));
    let id = item.message.id.clone().unwrap();
    assert_eq!((id.id.as_str(), id.change_key.as_deref()), ("I<1", Some("k\"")));
}

#[test]
fn a_notification_is_read_in_both_namespaces() {
    let streamed = all_responses().pop().unwrap();
    let text = String::from_utf8(write_response(&envelope(Answer::Response(streamed.clone())))).unwrap();
    assert!(text.contains("<m:Notification>"));
    let types = text
        .replace("<m:Notification>", "<t:Notification>")
        .replace("</m:Notification>", "</t:Notification>");
    assert_eq!(parse_response(types.as_bytes()).unwrap().answer, Answer::Response(streamed));
}

fn request(body: &str) -> String {
    format!("<s:Envelope xmlns:s='x'><s:Body>{body}</s:Body></s:Envelope>")
}

#[test]
fn what_is_wrong_is_named_with_its_path() {
    for (document, error) in [
        (
            request("<SendItem SaveItemToFolder='perhaps'><ItemIds/></SendItem>"),
            "Envelope/Body/SendItem: SaveItemToFolder is not a boolean: perhaps",
        ),
        (
            request(
                "<GetItem><ItemShape><BaseShape>IdOnly</BaseShape></ItemShape><ItemIds><ItemId/></ItemIds></GetItem>",
            ),
            "Envelope/Body/GetItem/ItemIds/ItemId: Id is missing",
        ),
        (
            request(
                "<GetFolder><FolderIds/><FolderShape><BaseShape>IdOnly</BaseShape></FolderShape></GetFolder>",
            ),
            "Envelope/Body/GetFolder: FolderShape must stand before FolderIds",
        ),
        (
            request(
                "<SyncFolderItems><ItemShape><BaseShape>IdOnly</BaseShape></ItemShape><SyncFolderId/><MaxChangesReturned>1</MaxChangesReturned></SyncFolderItems>",
            ),
            "Envelope/Body/SyncFolderItems/SyncFolderId: none of the elements that belong here",
        ),
        (request("<ExportItems/>"), "Envelope/Body: ExportItems is not an operation known here"),
        (request(""), "Envelope/Body: no operation"),
        ("<html/>".to_owned(), "html: this is no SOAP envelope"),
        ("<a><b>&own;</b></a>".to_owned(), "a/b: unknown entity &own;"),
        ("<!DOCTYPE a [<!ENTITY own 'x'>]><a/>".to_owned(), "a DOCTYPE is not accepted"),
        ("<a><b>".to_owned(), "a/b: the document is not complete"),
        ("<d>".repeat(MAX_DEPTH + 1), "elements are nested too deep"),
        (format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS)), "a: there are too many elements"),
    ] {
        let said = parse_request(document.as_bytes()).unwrap_err().to_string();
        assert!(said.ends_with(error), "{said}\n{error}");
    }
}

#[test]
fn envelopes_are_cut_wherever_the_stream_is_cut() {
    let one = "<?xml version='1.0'?><s:Envelope><s:Body><m:A>x&gt;</m:A></s:Body></s:Envelope >";
    let stream = format!("{one}\r\n{one}<Envelope></Envelope>{one}");
    for size in [1, 2, 7, 40, stream.len()] {
        let mut cutter = EnvelopeCutter::new(200);
        let mut found = Vec::new();
        for chunk in stream.as_bytes().chunks(size) {
            found.extend(cutter.push(chunk).unwrap());
        }
        let found: Vec<String> = found.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert_eq!(found.len(), 4);
        assert_eq!((found[0].as_str(), found[1].trim(), found[3].as_str()), (one, one, one));
    }
    let mut cutter = EnvelopeCutter::new(50);
    assert_eq!(cutter.push(&[b'a'; 51]), Err(StreamError::TooLarge { limit: 50 }));
}

fn cut(document: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>), StreamError> {
    let mut cutter = MimeCutter::new(16_384);
    let mut message = Vec::new();
    for chunk in document.chunks(size.max(1)) {
        message.extend(cutter.push(chunk)?);
    }
    Ok((message, cutter.finish()))
}

#[test]
fn a_message_is_cut_out_and_what_surrounds_it_is_still_an_answer() {
    let messages = vec![ResponseMessage::success(Items { items: vec![stored_message().into()] })];
    let document = write_response(&envelope(Answer::Response(Response::GetItem(messages))));
    let text = String::from_utf8(document).unwrap().replace("RnJvbTog", "Rn&#xD;\n Jv\r\nbTog");
    for size in [1, 3, 64, text.len()] {
        let (message, rest) = cut(text.as_bytes(), size).unwrap();
        assert_eq!(message, stored_message().mime.unwrap().content);
        let Answer::Response(Response::GetItem(found)) = parse_response(&rest).unwrap().answer else {
            panic!()
        };
        let mime = found[0].payload.items[0].message.mime.clone().unwrap();
        assert!(mime.content.is_empty());
    }
    for (document, part) in [
        ("<a><MimeContent>QUJD!</MimeContent></a>", "not base64"),
        ("<a><MimeContent>QQ==QUJD</MimeContent></a>", "not base64"),
        ("<a><MimeContent>QUJD</MimeContent><MimeContent>QUJD</MimeContent></a>", "second message"),
        ("<a><![CDATA[<MimeContent>]]></a>", "markup declaration"),
    ] {
        assert!(cut(document.as_bytes(), 5).unwrap_err().to_string().contains(part), "{document}");
    }
}

proptest! {
    #[test]
    fn any_text_survives_but_for_what_xml_forbids(
        subject in any::<String>(),
        name in any::<String>(),
        categories in proptest::collection::vec(any::<String>(), 0..4),
        content in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let clean = |text: &str| sanitised(text).into_owned();
        let message = |plain: &dyn Fn(&str) -> String| Message {
            mime: Some(MimeContent { character_set: None, content: Bytes::from(content.clone()) }),
            id: Some(ItemId { id: plain(&name), change_key: None }),
            subject: Some(plain(&subject)),
            categories: categories.iter().map(|text| plain(text)).collect(),
            ..Message::default()
        };
        let header = RequestHeader::acting_for(None);
        let create = |message: Message| Request::CreateItem(CreateItem {
            disposition: None,
            invitations: None,
            folder: None,
            items: vec![message.into()],
        });
        let written = write_request(&header, &create(message(&|text| text.to_owned())));
        let read = parse_request(&written).unwrap();
        prop_assert_eq!(read.request, create(message(&clean)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
        let _ = parse_request(&bytes);
        let _ = parse_response(&bytes);
        let _ = cut(&bytes, size);
        let mut cutter = EnvelopeCutter::new(200);
        for chunk in bytes.chunks(size) {
            if cutter.push(chunk).is_err() { break }
        }
    }

    #[test]
    fn no_change_of_a_document_makes_it_panic(
        which in 0_usize..18,
        at in any::<prop::sample::Index>(),
        cut_to in any::<prop::sample::Index>(),
        with in "[<>&;/\"a#x\u{0}-\u{7f}]{0,6}",
    ) {
        for mut document in [
            write_request(&RequestHeader::acting_for(Some("a@contoso.example")), &all_requests()[which]),
            write_response(&envelope(Answer::Response(all_responses()[which].clone()))),
        ] {
            let place = at.index(document.len());
            let end = (place + cut_to.index(12)).min(document.len());
            document.splice(place..end, with.bytes());
            let _ = parse_request(&document);
            let _ = parse_response(&document);
            let _ = cut(&document, 64);
        }
    }
}
