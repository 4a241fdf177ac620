//! Exchange Web Services against a server on loopback that speaks with the same types.

mod connect;
mod send;
mod source;

use postroom_ews::wire::*;
use postroom_model::connection::{
    Cloud, ConnectionKind, ConnectionSettings, Endpoints, ExchangeApi, TlsMode,
};
use postroom_transport::{Account, Sender, Source};

use crate::stub::{Reply, Seen, Stub};
use crate::{FROM, SECRET, address, graph, settings, wire};

/// Settings of Exchange Online that lead to `stub` on this machine.
pub(crate) fn online(stub: &Stub) -> ConnectionSettings {
    let mut settings = settings(&stub.url);
    settings.api = ExchangeApi::Ews;
    settings.name = "Contoso mail".into();
    let exchange = Some(stub.url.clone());
    settings.cloud =
        Cloud::Custom(Endpoints { authority: stub.url.clone(), graph: stub.url.clone(), exchange });
    settings
}

/// Settings of Exchange on premises that lead to `stub` on this machine.
pub(crate) fn on_premises(stub: &Stub) -> ConnectionSettings {
    let mut settings = ConnectionSettings::new(ConnectionKind::Exchange);
    settings.server = stub.url.host_str().unwrap().to_owned();
    settings.port = stub.url.port().unwrap();
    settings.tls = TlsMode::Plain;
    settings.user_name = "CONTOSO\\service".into();
    settings
}

pub(crate) fn sender(stub: &Stub) -> Box<dyn Sender> {
    wire().sender_for(&online(stub), Some(SECRET.to_owned().into())).unwrap()
}

pub(crate) fn source(stub: &Stub) -> Box<dyn Source> {
    let account = Account::of(address(FROM));
    wire().source_for(&online(stub), Some(SECRET.to_owned().into()), &account).unwrap()
}

/// An Exchange that answers by `answer`, and a token endpoint beside it.
pub(crate) async fn exchange(answer: impl Fn(Request, &Seen) -> Reply + Send + Sync + 'static) -> Stub {
    graph(move |seen| {
        assert_eq!(seen.line(), "POST /EWS/Exchange.asmx");
        answer(parse_request(seen.body.as_bytes()).unwrap().request, seen)
    })
    .await
}

/// Names of the operations that were asked for.
pub(crate) fn asked(stub: &Stub) -> Vec<&'static str> {
    let requests = stub.seen().into_iter().filter(|seen| seen.target.ends_with("Exchange.asmx"));
    requests.map(|seen| parse_request(seen.body.as_bytes()).unwrap().request.name()).collect()
}

fn document(answer: Answer) -> Vec<u8> {
    write_response(&ResponseEnvelope { server: None, answer })
}

pub(crate) fn says(response: Response) -> Reply {
    xml(200, document(Answer::Response(response)))
}

pub(crate) fn xml(status: u16, body: Vec<u8>) -> Reply {
    let headers =
        vec![("content-type", "text/xml; charset=utf-8".to_owned()), ("request-id", "r-1".to_owned())];
    Reply::Raw(status, headers, body)
}

pub(crate) fn fault(code: &str, back_off: Option<&str>) -> Reply {
    let mut fault = Fault::new(code, "no");
    if let Some(pause) = back_off {
        let values = vec![XmlValue { name: "BackOffMilliseconds".into(), value: pause.into() }];
        fault.values = Some(MessageXml { values, ..MessageXml::default() });
    }
    xml(500, document(Answer::Fault(fault)))
}

pub(crate) fn ok<T>(payload: T) -> Vec<ResponseMessage<T>> {
    vec![ResponseMessage::success(payload)]
}

pub(crate) fn no<T: Default>(code: &str) -> Vec<ResponseMessage<T>> {
    vec![ResponseMessage::error(code, "no")]
}

pub(crate) fn item(message: Message) -> Items {
    Items { items: vec![message.into()] }
}

pub(crate) fn with_id(id: &str) -> Message {
    let id = ItemId { id: id.into(), change_key: Some("K1".into()) };
    Message { id: Some(id), ..Message::default() }
}

pub(crate) fn found(ids: &[&str]) -> Reply {
    let items = ids.iter().map(|id| with_id(id).into()).collect();
    let page = ItemPage { is_last: Some(true), items, ..ItemPage::default() };
    says(Response::FindItem(ok(FoundItems { page: Some(page) })))
}
