//! The envelope: headers, faults, the outcome of each part of an answer, and the two enums of all operations.

use super::notify::{GetStreamingEvents, Streamed, Subscribe, Subscribed, Unsubscribe};
use super::operation::*;
use super::tree::{Element, Node, ReadError};
use super::value::{Choice, Member, Value, choice, record, words};
use super::writer::Writer;

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

/// The version asked for: the oldest that has all that is used here, so that every Exchange since 2013 SP1 answers.
pub const SCHEMA_VERSION: &str = "Exchange2013_SP1";

choice! {
    /// Whose mailbox is acted for.
    #[derive(Eq)]
    pub enum ConnectingSid {
        /// User principal name.
        PrincipalName(String) = "t:PrincipalName",
        /// Security identifier.
        Sid(String) = "t:SID",
        /// Primary address.
        PrimarySmtpAddress(String) = "t:PrimarySmtpAddress",
        /// Any address.
        SmtpAddress(String) = "t:SmtpAddress",
    }
}

impl ConnectingSid {
    /// The name, address or identifier.
    pub fn value(&self) -> &str {
        match self {
            Self::PrincipalName(text)
            | Self::Sid(text)
            | Self::PrimarySmtpAddress(text)
            | Self::SmtpAddress(text) => text,
        }
    }
}

record! {
    /// The version of the schema a request is written in.
    #[derive(Eq)]
    pub struct SchemaVersion {
        /// `Exchange2013_SP1`.
        version: String = "@Version",
    }
}

record! {
    /// Acting for somebody.
    #[derive(Eq)]
    pub struct Impersonation {
        /// Whom.
        who: ConnectingSid = "t:ConnectingSID",
    }
}

record! {
    /// The header of a request.
    #[derive(Default, Eq)]
    pub struct RequestHeader {
        /// The version of its schema; a server takes none as Exchange 2007.
        version: Option<SchemaVersion> = "t:RequestServerVersion",
        /// Whose mailbox is acted for.
        impersonation: Option<Impersonation> = "t:ExchangeImpersonation",
    }
}

impl RequestHeader {
    /// The header for [`SCHEMA_VERSION`], acting for this primary address if any.
    pub fn acting_for(address: Option<&str>) -> Self {
        let who =
            |address: &str| Impersonation { who: ConnectingSid::PrimarySmtpAddress(address.to_owned()) };
        Self {
            version: Some(SchemaVersion { version: SCHEMA_VERSION.to_owned() }),
            impersonation: address.map(who),
        }
    }
}

record! {
    /// The version of a server.
    #[derive(Default, Eq)]
    pub struct ServerVersion {
        /// `15`.
        major: Option<u32> = "@MajorVersion",
        /// `20` for Exchange Online.
        minor: Option<u32> = "@MinorVersion",
        /// Build.
        major_build: Option<u32> = "@MajorBuildNumber",
        /// Build.
        minor_build: Option<u32> = "@MinorBuildNumber",
        /// The newest schema it knows.
        version: Option<String> = "@Version",
    }
}

record! {
    /// One value of a `MessageXml`.
    #[derive(Default, Eq)]
    pub struct XmlValue {
        /// `BackOffMilliseconds`, `InnerErrorResponseCode`, ...
        name: String = "@Name",
        /// Its value.
        value: String = "#",
    }
}

record! {
    /// Details of an error.
    #[derive(Default, Eq)]
    pub struct MessageXml {
        /// Line of the request, after a violation of the schema.
        line: Option<u32> = "t:LineNumber",
        /// Place in that line.
        position: Option<u32> = "t:LinePosition",
        /// What is violated.
        violation: Option<String> = "t:Violation",
        /// Named values.
        values: Vec<XmlValue> = "/t:Value",
    }
}

impl MessageXml {
    /// A value by name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|value| value.name == name).map(|value| value.value.as_str())
    }
}

/// The whole request was refused. Comes with HTTP 500.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// `ErrorServerBusy`, without prefix; or `Client`, `Server`.
    pub code: String,
    /// The sentence for people.
    pub message: String,
    /// Code of the detail; most faults have one.
    pub response_code: Option<String>,
    /// Sentence of the detail.
    pub detail: Option<String>,
    /// Values of the detail.
    pub values: Option<MessageXml>,
}

impl Fault {
    /// A fault of this code in these words.
    pub fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
            response_code: Some(code.to_owned()),
            detail: Some(message.to_owned()),
            values: None,
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.open("s:Fault");
        writer.open("faultcode");
        let soap = ["Client", "Server", "VersionMismatch", "MustUnderstand"].contains(&self.code.as_str());
        if !soap {
            writer.attribute("xmlns:a", TYPES);
        }
        writer.text(if soap { "s:" } else { "a:" });
        writer.text(&self.code);
        writer.close();
        writer.open("faultstring");
        writer.attribute("xml:lang", "en-US");
        writer.text(&self.message);
        writer.close();
        if self.response_code.is_some() || self.detail.is_some() || self.values.is_some() {
            writer.open("detail");
            for (name, text) in [("e:ResponseCode", &self.response_code), ("e:Message", &self.detail)] {
                let Some(text) = text else { continue };
                writer.open(name);
                writer.attribute("xmlns:e", ERRORS);
                writer.text(text);
                writer.close();
            }
            self.values.put("t:MessageXml", writer);
            writer.close();
        }
        writer.close();
    }

    fn read(node: &Node<'_, '_>) -> Result<Self, ReadError> {
        let code = node.need("faultcode")?.text().trim();
        let message = node.child("faultstring").map(|child| child.text().to_owned()).unwrap_or_default();
        let detail = node.child("detail");
        let part = |name| -> Result<Option<String>, ReadError> {
            detail.as_ref().map_or(Ok(None), |detail| Member::take(name, detail))
        };
        Ok(Self {
            code: code.rsplit(':').next().unwrap_or(code).to_owned(),
            message,
            response_code: part("e:ResponseCode")?,
            detail: part("e:Message")?,
            values: detail.as_ref().map_or(Ok(None), |detail| Member::take("t:MessageXml", detail))?,
        })
    }
}

words! {
    /// How one part of a request went.
    pub enum ResponseClass {
        /// Well.
        Success,
        /// Well in part, or not reached.
        Warning,
        /// Not.
        Error,
    }
}

/// The code of success.
pub const NO_ERROR: &str = "NoError";

/// The outcome of one part of a request, with what it gives.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseMessage<T> {
    /// How it went.
    pub class: ResponseClass,
    /// The sentence for people; none after success.
    pub text: Option<String>,
    /// `NoError`, or what went wrong.
    pub code: String,
    /// Values of the error.
    pub values: Option<MessageXml>,
    /// What it gives; empty after an error.
    pub payload: T,
}

impl<T> ResponseMessage<T> {
    /// It went well.
    pub fn success(payload: T) -> Self {
        let code = NO_ERROR.to_owned();
        Self { class: ResponseClass::Success, text: None, code, values: None, payload }
    }
}

impl<T: Default> ResponseMessage<T> {
    /// It did not.
    pub fn error(code: &str, text: &str) -> Self {
        Self {
            class: ResponseClass::Error,
            text: Some(text.to_owned()),
            code: code.to_owned(),
            values: None,
            payload: T::default(),
        }
    }
}

fn write_message<T: Value>(message: &ResponseMessage<T>, writer: &mut Writer) {
    message.class.put("@ResponseClass", writer);
    message.text.put("m:MessageText", writer);
    message.code.put("m:ResponseCode", writer);
    if message.class != ResponseClass::Success {
        writer.leaf("m:DescriptiveLinkKey", "0");
    }
    message.values.put("m:MessageXml", writer);
    message.payload.write(writer);
}

fn read_message<T: Value>(node: &Node<'_, '_>) -> Result<ResponseMessage<T>, ReadError> {
    Ok(ResponseMessage {
        class: Member::take("@ResponseClass", node)?,
        text: Member::take("m:MessageText", node)?,
        code: Member::take("m:ResponseCode", node)?,
        values: Member::take("m:MessageXml", node)?,
        payload: T::read(node)?,
    })
}

/// Every operation with its request and what its answer gives. One line here is the whole of an operation's wiring.
macro_rules! operations {
    ($($(#[$meta:meta])* $name:ident -> $payload:ty, $request:literal, $response:literal, $message:literal;)*) => {
        choice! {
            /// What is asked.
            pub enum Request { $($(#[$meta])* $name($name) = $request,)* }
        }

        impl Request {
            /// The operation's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// The answer whose one message says that nothing of it was done.
            pub fn refused(&self, code: &str, text: &str, values: Option<MessageXml>) -> Response {
                match self { $(Self::$name(_) => {
                    Response::$name(vec![ResponseMessage { values, ..ResponseMessage::error(code, text) }])
                })* }
            }
        }

        /// What is answered, one message for each part of the request.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Response { $($(#[$meta])* $name(Vec<ResponseMessage<$payload>>),)* }

        impl Response {
            /// The operation's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }
        }

        impl Choice for Response {
            fn tag(&self) -> &'static str {
                match self { $(Self::$name(_) => $response,)* }
            }

            fn write_content(&self, writer: &mut Writer) {
                writer.open("m:ResponseMessages");
                match self { $(Self::$name(messages) => {
                    for message in messages {
                        writer.open($message);
                        write_message(message, writer);
                        writer.close();
                    }
                })* }
                writer.close();
            }

            fn read_element(node: &Node<'_, '_>) -> Result<Option<Self>, ReadError> {
                $(if node.name() == &$response[2..] {
                    let list = node.need("ResponseMessages")?;
                    let all = list.children().filter(|child| child.name() == &$message[2..]);
                    let all: Result<Vec<_>, _> = all.map(|child| read_message(&child)).collect();
                    return Ok(Some(Self::$name(all?)));
                })*
                Ok(None)
            }
        }
    };
}

operations! {
    /// Opens folders.
    GetFolder -> Folders, "m:GetFolder", "m:GetFolderResponse", "m:GetFolderResponseMessage";
    /// Looks for folders.
    FindFolder -> FoundFolders, "m:FindFolder", "m:FindFolderResponse", "m:FindFolderResponseMessage";
    /// Makes folders.
    CreateFolder -> Folders, "m:CreateFolder", "m:CreateFolderResponse", "m:CreateFolderResponseMessage";
    /// Looks for items.
    FindItem -> FoundItems, "m:FindItem", "m:FindItemResponse", "m:FindItemResponseMessage";
    /// Gives items.
    GetItem -> Items, "m:GetItem", "m:GetItemResponse", "m:GetItemResponseMessage";
    /// Tells what changed in a folder.
    SyncFolderItems -> Synced, "m:SyncFolderItems", "m:SyncFolderItemsResponse", "m:SyncFolderItemsResponseMessage";
    /// Makes items, and may send them.
    CreateItem -> Items, "m:CreateItem", "m:CreateItemResponse", "m:CreateItemResponseMessage";
    /// Attaches to an item.
    CreateAttachment -> Attachments, "m:CreateAttachment", "m:CreateAttachmentResponse", "m:CreateAttachmentResponseMessage";
    /// Gives attachments.
    GetAttachment -> Attachments, "m:GetAttachment", "m:GetAttachmentResponse", "m:GetAttachmentResponseMessage";
    /// Sends drafts.
    SendItem -> Nothing, "m:SendItem", "m:SendItemResponse", "m:SendItemResponseMessage";
    /// Changes items.
    UpdateItem -> Updated, "m:UpdateItem", "m:UpdateItemResponse", "m:UpdateItemResponseMessage";
    /// Moves items.
    MoveItem -> Items, "m:MoveItem", "m:MoveItemResponse", "m:MoveItemResponseMessage";
    /// Deletes items.
    DeleteItem -> Nothing, "m:DeleteItem", "m:DeleteItemResponse", "m:DeleteItemResponseMessage";
    /// Looks people up.
    ResolveNames -> Resolved, "m:ResolveNames", "m:ResolveNamesResponse", "m:ResolveNamesResponseMessage";
    /// Gives time zones.
    GetServerTimeZones -> TimeZones, "m:GetServerTimeZones", "m:GetServerTimeZonesResponse", "m:GetServerTimeZonesResponseMessage";
    /// Converts ids.
    ConvertId -> Nothing, "m:ConvertId", "m:ConvertIdResponse", "m:ConvertIdResponseMessage";
    /// Subscribes to notifications.
    Subscribe -> Subscribed, "m:Subscribe", "m:SubscribeResponse", "m:SubscribeResponseMessage";
    /// Ends a subscription.
    Unsubscribe -> Nothing, "m:Unsubscribe", "m:UnsubscribeResponse", "m:UnsubscribeResponseMessage";
    /// Opens the stream of notifications.
    GetStreamingEvents -> Streamed, "m:GetStreamingEvents", "m:GetStreamingEventsResponse", "m:GetStreamingEventsResponseMessage";
}

/// A request with its header.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestEnvelope {
    /// The header.
    pub header: RequestHeader,
    /// What is asked.
    pub request: Request,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The request was carried out, each part with its own outcome.
    Response(Response),
    /// The whole request was refused.
    Fault(Fault),
}

/// An answer with its header.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseEnvelope {
    /// The version of the server, when it says it.
    pub server: Option<ServerVersion>,
    /// What it says.
    pub answer: Answer,
}

/// The request as a document.
pub fn write_request(header: &RequestHeader, request: &Request) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.open("soap:Envelope");
    writer.attribute("xmlns:soap", SOAP);
    writer.attribute("xmlns:t", TYPES);
    writer.attribute("xmlns:m", MESSAGES);
    header.put("soap:Header", &mut writer);
    request.put("soap:Body", &mut writer);
    writer.finish()
}

/// The answer as a document.
pub fn write_response(envelope: &ResponseEnvelope) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.open("s:Envelope");
    writer.attribute("xmlns:s", SOAP);
    writer.attribute("xmlns:t", TYPES);
    writer.attribute("xmlns:m", MESSAGES);
    if let Some(server) = &envelope.server {
        writer.open("s:Header");
        server.put("t:ServerVersionInfo", &mut writer);
        writer.close();
    }
    writer.open("s:Body");
    match &envelope.answer {
        Answer::Response(response) => Value::write(response, &mut writer),
        Answer::Fault(fault) => fault.write(&mut writer),
    }
    writer.finish()
}

/// Reads a request, as a server does: elements that are known must stand in the order of the schema, unknown ones are
/// passed over.
///
/// # Errors
/// [`ReadError`], with the path; also for an operation that is not known here.
pub fn parse_request(document: &[u8]) -> Result<RequestEnvelope, ReadError> {
    let element = Element::parse(document)?;
    let root = envelope(&element, true)?;
    let header: Option<RequestHeader> = Member::take("soap:Header", &root)?;
    let body = root.need("Body")?;
    let Some(request) = Request::read_any(&body)? else {
        let name = body.children().next().map(|child| child.name().chars().take(60).collect::<String>());
        let what =
            name.map_or("no operation".to_owned(), |name| format!("{name} is not an operation known here"));
        return Err(body.error(what));
    };
    Ok(RequestEnvelope { header: header.unwrap_or_default(), request })
}

/// Reads an answer, as a client does: in whichever order, unknown elements are passed over.
///
/// # Errors
/// [`ReadError`], with the path.
pub fn parse_response(document: &[u8]) -> Result<ResponseEnvelope, ReadError> {
    let element = Element::parse(document)?;
    let root = envelope(&element, false)?;
    let server = match root.child("Header") {
        Some(header) => Member::take("t:ServerVersionInfo", &header)?,
        None => None,
    };
    let body = root.need("Body")?;
    let answer = match body.child("Fault") {
        Some(fault) => Answer::Fault(Fault::read(&fault)?),
        None => match Response::read_any(&body)? {
            Some(response) => Answer::Response(response),
            None => return Err(body.error("neither a fault nor an answer known here")),
        },
    };
    Ok(ResponseEnvelope { server, answer })
}

fn envelope<'n, 'a>(element: &'n Element<'a>, strict: bool) -> Result<Node<'n, 'a>, ReadError> {
    let root = Node::root(element, strict);
    match root.name() {
        "Envelope" => Ok(root),
        _ => Err(root.error("this is no SOAP envelope")),
    }
}
