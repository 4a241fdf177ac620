//! Foreign mail: what real senders write. Written for this project; the names in it are functions, not people.

/// One foreign message.
pub(super) struct Foreign {
    /// Name of its file.
    pub(super) name: &'static str,
    /// The mailbox it is sent to.
    pub(super) to: &'static str,
    /// The raw message.
    pub(super) raw: Vec<u8>,
}

const ORDERS: &str = "orders@contoso.example";
const SERVICE: &str = "service@contoso.example";

macro_rules! foreign {
    ($($name:literal => $to:expr,)*) => {
        vec![$(Foreign { name: $name, to: $to, raw: include_bytes!(concat!("corpus/", $name)).to_vec() }),*]
    };
}

/// The whole corpus, with a 9 MB attachment made here.
pub(super) fn all() -> Vec<Foreign> {
    let mut corpus = foreign! {
        "01-plain.eml" => ORDERS,
        "02-html-picture.eml" => ORDERS,
        "03-latin1.eml" => ORDERS,
        "04-windows-1252.eml" => ORDERS,
        "05-utf8-base64.eml" => ORDERS,
        "06-iso-2022-jp.eml" => ORDERS,
        "07-long-subject.eml" => ORDERS,
        "08-attachment-name.eml" => ORDERS,
        "09-forwarded.eml" => SERVICE,
        "10-auto-reply.eml" => ORDERS,
        "11-bounce.eml" => ORDERS,
        "12-reply-in-thread.eml" => ORDERS,
        "13-broken.eml" => ORDERS,
        "14-empty.eml" => ORDERS,
        "15-newsletter.eml" => ORDERS,
        "16-case-reply.eml" => SERVICE,
    };
    corpus.push(Foreign { name: "large.eml", to: ORDERS, raw: large() });
    corpus
}

/// A message with an attachment of 9,000,000 bytes, which make 12.3 MB of base64.
fn large() -> Vec<u8> {
    use base64::Engine;
    let content: Vec<u8> =
        (0..9_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(content);
    let mut raw = b"From: Engineering, Fabrikam <engineering@fabrikam.example>\r\n\
To: orders@contoso.example\r\n\
Subject: Drawings for order 4711\r\n\
Date: Mon, 23 Nov 2026 09:12:00 +0100\r\n\
Message-ID: <drawings-4711@fabrikam.example>\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=\"large\"\r\n\
\r\n\
--large\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
\r\n\
The drawings are attached.\r\n\
--large\r\n\
Content-Type: application/octet-stream; name=\"drawings.bin\"\r\n\
Content-Disposition: attachment; filename=\"drawings.bin\"\r\n\
Content-Transfer-Encoding: base64\r\n\
\r\n"
        .to_vec();
    for line in encoded.as_bytes().chunks(76) {
        raw.extend_from_slice(line);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"--large--\r\n");
    raw
}
