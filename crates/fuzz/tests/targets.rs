//! The targets of parsers that other crates see.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use postroom_entra::token::FederatedToken;
use postroom_entra::{AccessToken, CertificateCredential};
use postroom_ews::wire::{EnvelopeCutter, MimeCutter, parse_request, parse_response};
use postroom_graph::wire::{
    BatchAnswer, Collection, DeltaEntry, ErrorEnvelope, Folder, Message, SessionState, Subscription,
    UploadSession,
};
use postroom_mime::content::{ContentDigest, content_digest};
use postroom_mime::{eml, html, lighten, read, submission};
use postroom_model::address::HostName;
use postroom_model::{EmailAddress, NamedAddress, PollingInterval, Timestamp};
use serde_json::from_slice;

const MAIL: &str = "Received: from mx.fabrikam.example by contoso.example; Mon, 23 Nov 2026 09:00:00 +0000\r\nFrom: =?iso-8859-1?Q?J=F6rg?= <joerg@fabrikam.example>, \"A, B\" <ab@fabrikam.example>\r\nTo: undisclosed-recipients:;\r\nCc: Desk: orders@contoso.example, a@[127.0.0.1];\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?= Order\r\n 4711\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@fabrikam.example>\r\nReferences: <0@fabrikam.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/plain; charset=iso-2022-jp\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nd=E9j=E0=\r\n vu\r\n--c\r\nContent-Type: text/html\r\n\r\n<p style=\"color:red\">Hi<img src=\"cid:p\"><script>x</script></p>\r\n--c--\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\r\n--b\r\nContent-Type: application/pdf; name*=utf-8''%c3%a4.pdf\r\nContent-Disposition: attachment; filename=\"../a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0x\r\n--b--\r\n";
const REPORT: &str = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\nReturn-Path: <>\r\n\r\n--b\r\n\r\nnot delivered\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n";
const HTML: &str = "<html><head><style>a{}</style></head><body><table><tr><td>1</td></tr></table><a href=\"javascript:x\">y</a><!-- c --><p>&amp;&#128230;</p><svg onload=x><b><i><u>deep</body></html>";
const REQUEST: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><soap:Header><t:RequestServerVersion Version=\"Exchange2016\"/><t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>a@b.example</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation></soap:Header><soap:Body><m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent></m:ItemShape><m:ItemIds><t:ItemId Id=\"AAMk\" ChangeKey=\"CQ\"/></m:ItemIds></m:GetItem></soap:Body></soap:Envelope>";
const RESPONSE: &str = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header><h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"1\" xmlns:h=\"http://schemas.microsoft.com/exchange/services/2006/types\"/></s:Header><s:Body xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:Message><t:MimeContent CharacterSet=\"UTF-8\">U3ViamVjdDogeA==</t:MimeContent><t:ItemId Id=\"AAMk\" ChangeKey=\"CQ\"/><t:Subject>a &lt; b</t:Subject></t:Message></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse></s:Body></s:Envelope>";
const FAULT: &str = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault><faultcode>a:ErrorServerBusy</faultcode><faultstring>busy</faultstring><detail><e:ResponseCode xmlns:e=\"http://schemas.microsoft.com/exchange/services/2006/errors\">ErrorServerBusy</e:ResponseCode><t:MessageXml xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><t:Value Name=\"BackOffMilliseconds\">17000</t:Value></t:MessageXml></detail></s:Fault></s:Body></s:Envelope>";
const GRAPH: [&str; 6] = [
    "{\"value\":[{\"id\":\"A\",\"internetMessageId\":\"<a@x>\",\"receivedDateTime\":\"2026-11-23T09:00:00Z\",\"isDraft\":false,\"@removed\":{\"reason\":\"deleted\"},\"internetMessageHeaders\":[{\"name\":\"X\",\"value\":\"y\"}]}],\"@odata.nextLink\":\"https://graph.example/x?$skiptoken=1\",\"@odata.deltaLink\":null}",
    "{\"error\":{\"code\":\"ErrorItemNotFound\",\"message\":\"no\",\"innerError\":{\"request-id\":\"r\",\"date\":\"2026-11-23T09:00:00\"}}}",
    "{\"responses\":[{\"id\":\"1\",\"status\":429,\"headers\":{\"Retry-After\":\"17\"},\"body\":{}}]}",
    "{\"uploadUrl\":\"https://x.example/u\",\"expirationDateTime\":\"2026-11-23T09:00:00Z\",\"nextExpectedRanges\":[\"327680-\"]}",
    "{\"id\":\"f\",\"totalItemCount\":12,\"unreadItemCount\":3,\"displayName\":\"Inbox\"}",
    "{\"id\":\"s\",\"expirationDateTime\":\"2026-11-29T09:00:00Z\",\"notificationUrl\":\"https://x.example\",\"resource\":\"users\"}",
];
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJ0aWQiOiJ4IiwiYXBwaWQiOiJ5Iiwicm9sZXMiOlsiTWFpbC5SZWFkIl0sImV4cCI6MTc2MzkwMDAwMH0.c2ln";

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Splits by the first byte: how input comes from a line.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (size, rest) =
        bytes.split_first().map_or((1, bytes), |(size, rest)| (usize::from(*size).max(1), rest));
    rest.chunks(size)
}

postroom_fuzz::targets! {
    ews_request: [REQUEST, FAULT] => |bytes| parse_request(bytes).map(|envelope| envelope.request.name()),
    ews_response: [RESPONSE, FAULT] => parse_response,
    ews_stream: [RESPONSE, FAULT] => |bytes| {
        let mut cutter = EnvelopeCutter::new(4_096);
        pieces(bytes).map(|piece| cutter.push(piece)).find_map(Result::err)
    },
    ews_mime: [RESPONSE, FAULT] => |bytes| {
        let mut cutter = MimeCutter::new(4_096);
        let failed = pieces(bytes).map(|piece| cutter.push(piece)).find_map(Result::err);
        (failed, cutter.has_message(), cutter.finish().len())
    },
    mime_summarize: [MAIL, REPORT] => |bytes| read::summarize(bytes).map(|found| found.summary),
    mime_beginning: [MAIL, REPORT] => |bytes| read::summarize_beginning(bytes).map(|found| found.summary),
    mime_view: [MAIL, REPORT] => |bytes| {
        let files = read::view(bytes).map(|view| view.attachments);
        (files, read::attachment(bytes, 0).map(|file| file.map(|file| file.info)))
    },
    mime_submission: [MAIL, REPORT] => |bytes| {
        let found = submission::read(bytes, "<x@contoso.example>", Timestamp::UNIX_EPOCH);
        (found.map(|found| (found.from, found.subject)), submission::header_recipients(bytes).len())
    },
    mime_lighten: [MAIL, REPORT] => |bytes| lighten::lighten(bytes, 200).map(|light| {
        assert!(lighten::check(bytes, 200).is_ok());
        (light.taken.len(), light.kept.len())
    }).map_err(|_| assert!(lighten::check(bytes, 200).is_err())),
    mime_content: [MAIL, REPORT] => |bytes| {
        let mut digest = ContentDigest::new();
        pieces(bytes).for_each(|piece| digest.update(piece));
        let whole: Vec<u8> = pieces(bytes).flatten().copied().collect();
        assert_eq!(digest.finish(), content_digest(&whole), "the same in any pieces");
    },
    mime_html: [HTML] => |bytes| (html::clean(&text(bytes)).map(|safe| safe.html), html::to_text(&text(bytes))),
    mime_file_name: ["../A/\u{202e}b.pdf", "CON"] => |bytes| {
        let name = eml::file_name(&text(bytes));
        let header = eml::content_disposition(&name);
        assert!(!header.contains(['\r', '\n']) && !name.contains(['/', '\\', '\0']), "{header}");
        name.len()
    },
    graph_collection: GRAPH => |bytes| from_slice::<Collection<Message>>(bytes).map(|found| found.value.len()),
    graph_delta: GRAPH => |bytes| from_slice::<Collection<DeltaEntry>>(bytes).map(|found| found.value.len()),
    graph_error: GRAPH => |bytes| from_slice::<ErrorEnvelope>(bytes).map(|found| format!("{found:?}")),
    graph_batch: GRAPH => |bytes| from_slice::<BatchAnswer>(bytes).map(|found| found.responses.len()),
    graph_upload: GRAPH => |bytes| {
        let next = from_slice::<SessionState>(bytes).map(|found| found.next());
        (next, from_slice::<UploadSession>(bytes).is_ok())
    },
    graph_others: GRAPH => |bytes| (from_slice::<Folder>(bytes).is_ok(), from_slice::<Subscription>(bytes).is_ok()),
    entra_claims: [TOKEN] => |bytes| AccessToken::new(text(bytes).into_owned().into(), Timestamp::UNIX_EPOCH).claims(),
    entra_federated: ["file:/run/token", "https://x.example/token"] => |bytes| FederatedToken::parse(&text(bytes)).map(drop),
    entra_certificate: ["-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"] =>
        |bytes| CertificateCredential::from_pem(&text(bytes).into_owned().into()).map(drop),
    setup_line: ["postroom-setup:v2:eyJjb25uZWN0aW9uIjoieCJ9"] => |bytes| postroom_setup::Line::parse(&text(bytes)).map(drop),
    model_address: ["\"a b\"@contoso.example", "Jörg <joerg@bücher.example>"] => |bytes| {
        let address = text(bytes).parse::<EmailAddress>();
        if let Ok(address) = &address {
            assert_eq!(address.as_str().parse::<EmailAddress>().as_ref(), Ok(address), "it survives print and parse");
        }
        (address, text(bytes).parse::<NamedAddress>())
    },
    model_host: ["https://mail.contoso.example:993/x", "[::1]", "127.0.0.1"] => |bytes| {
        HostName::from_pasted(&text(bytes)).map(|host| assert!(host.as_str().parse::<HostName>().is_ok()))
    },
    model_polling: ["60,00", "0.5", "0"] => |bytes| {
        text(bytes).parse::<PollingInterval>().map(|found| found.resolve(PollingInterval::Default))
    },
}
