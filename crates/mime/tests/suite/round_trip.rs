//! What is built is read again as it was meant.

use postroom_mime::{build, eml, read, submission};
use postroom_model::draft::{Attachment, ValidDraft};
use postroom_model::{EmailAddress, NamedAddress, Timestamp};
use proptest::prelude::*;

const ID: &str = "<4711.1@contoso.example>";

fn date() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn address(text: &str) -> NamedAddress {
    text.parse().unwrap()
}

fn draft() -> ValidDraft {
    ValidDraft {
        from: address("Orders, Contoso <orders@contoso.example>"),
        to: vec![address("Einkauf Mühlenbau <einkauf@muehlenbau.example>")],
        cc: Vec::new(),
        bcc: vec![address("audit@contoso.example")],
        reply_to: Vec::new(),
        subject: "Grüße zu 4711".into(),
        text: Some("Guten Tag,\n\nalles fertig.\n".into()),
        html: None,
        headers: vec![("In-Reply-To".into(), "<1@fabrikam.example>".into())],
        attachments: Vec::new(),
    }
}

fn file(name: &str, content_type: &str, content: &[u8], id: Option<&str>) -> Attachment {
    Attachment {
        name: name.into(),
        content_type: content_type.into(),
        content: content.to_vec(),
        content_id: id.map(str::to_owned),
    }
}

/// What every built message must be (RFC 5322 section 2.3, 2.1.1).
fn assert_well_formed(raw: &[u8]) {
    let text = String::from_utf8_lossy(raw);
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "bare line end in {text}");
    assert!(text.split("\r\n").all(|line| line.len() <= 998), "long line in {text}");
}

#[test]
fn a_plain_message() {
    let raw = build::build(&draft(), ID, date(), "seed");
    assert_well_formed(&raw);
    insta::assert_snapshot!(String::from_utf8(raw).unwrap().replace('\r', ""));
}

#[test]
fn a_draft_for_the_users_own_program() {
    let mut draft = draft();
    draft.html = Some("<p>Guten <b>Tag</b> <img src=\"cid:logo\"></p>".into());
    draft.headers.push(("x-unsent".into(), "0".into()));
    draft.attachments = vec![
        file("logo.png", "image/png", b"\x89PNG", Some("logo")),
        file("Auftrag 4711 – Größe.pdf", "application/pdf", b"%PDF-1.7\n", None),
    ];
    let raw = eml::unsent(&draft, "seed");
    assert_well_formed(&raw);
    let view = read::view(&raw).unwrap();
    let named = |name: &str| {
        let values = view.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(named("X-Unsent"), ["1"]);
    assert!(named("Date").is_empty() && named("Message-ID").is_empty(), "the sending program writes them");
    assert_eq!(named("Bcc").len(), 1, "nobody else keeps the blind copies until it is sent");
    let names: Vec<_> = view.attachments.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["logo.png", "Auftrag 4711 – Größe.pdf"]);
    insta::assert_snapshot!(String::from_utf8(raw).unwrap().replace('\r', ""));
}

/// Figures of what is refused before it is built must not be higher than what is built.
#[test]
fn the_size_told_before_is_at_most_the_size_built() {
    for size in [0, 1, 2, 3, 56, 57, 58, 1000, 100_001] {
        let mut draft = draft();
        draft.attachments = vec![
            file("a.bin", "application/octet-stream", &vec![7; size], None),
            file("b.eml", "message/rfc822", &vec![b'x'; size], None),
        ];
        let without = build::build(&self::draft(), ID, date(), "seed").len() as u64;
        let built = build::build(&draft, ID, date(), "seed").len() as u64;
        let told = build::encoded_size(&draft.attachments);
        assert!(told >= size as u64 && told <= built, "{size}: {told}, built {built}");
        assert!(built - without < told + 1000 + 2 * size as u64 / 3, "{size}: {told}, built {built}");
    }
}

#[test]
fn a_message_of_every_kind_of_part() {
    let mut draft = draft();
    draft.text = None;
    draft.html = Some("<p>Guten <b>Tag</b> <img src=\"cid:logo\"></p>".into());
    draft.attachments = vec![
        file("logo.png", "image/png", &[137, 80, 78, 71], Some("logo")),
        file("Maße für 4711.pdf", "application/pdf", b"%PDF", None),
        file("fwd.eml", "message/rfc822", b"Subject: inner\r\n\r\ntext\r\n", None),
    ];
    let raw = build::build(&draft, ID, date(), "seed");
    assert_well_formed(&raw);
    insta::assert_snapshot!(String::from_utf8(raw).unwrap().replace('\r', ""));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_no_bcc() {
    let raw = build::build(&draft(), ID, date(), "seed");
    assert_eq!(raw, build::build(&draft(), ID, date(), "seed"));
    assert!(!String::from_utf8(raw).unwrap().to_ascii_lowercase().contains("bcc"));
}

#[test]
fn bcc_goes_in_front_and_comes_out_again() {
    let raw = build::build(&draft(), ID, date(), "seed");
    assert_eq!(build::with_bcc(&raw, &[]), raw);
    let marked = build::with_mark(&build::with_mark(&raw, "X-Postroom-Id", "1"), "x-postroom-id", "2");
    assert_eq!(marked, [b"x-postroom-id: 2\r\n", &raw[..]].concat(), "one mark, and nothing else changed");
    let bcc: Vec<EmailAddress> = (0..100).map(|n| format!("a{n}@contoso.example").parse().unwrap()).collect();
    let with = build::with_bcc(&raw, &bcc);
    assert_well_formed(&with);
    assert_eq!(submission::header_recipients(&with).len(), 101);
    assert_eq!(submission::read(&with, "<x@y.example>", date()).unwrap().raw, raw);
}

#[test]
fn what_is_built_may_be_submitted() {
    let raw = build::build(&draft(), ID, date(), "seed");
    let submission = submission::read(&raw, "<other@contoso.example>", date()).unwrap();
    assert_eq!((submission.raw, submission.message_id.as_str()), (raw, ID));
    assert_eq!(submission.subject, "Grüße zu 4711");
}

#[test]
fn header_values_without_blanks_are_folded_too() {
    let mut draft = draft();
    draft.headers.push(("X-Long".into(), "x".repeat(2_000)));
    let raw = build::build(&draft, ID, date(), "seed");
    assert_well_formed(&raw);
    let headers = read::view(&raw).unwrap().headers;
    assert!(headers.contains(&("X-Long".into(), "x".repeat(2_000))));
}

fn text() -> impl Strategy<Value = String> {
    "([ -~]|[äöüß€]|[а-я]|[購買部]|\u{1f4e6}|\n|\t){0,300}"
}

fn word() -> impl Strategy<Value = String> {
    // Neither blanks at the ends nor two in a row: those are not kept by every reader of a header.
    "[!-~äöüß€а-я購買部\u{1f4e6}]{1,30}( [!-~äöüß€а-я購買部\u{1f4e6}]{1,30}){0,6}"
}

fn file_name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9äöüß€а-я購買部()'%*;=,+_-]{1,30}( [a-zA-Z0-9äöüß€а-я購買部]{1,20}){0,4}\\.[a-z]{3}"
}

fn files() -> impl Strategy<Value = Vec<Attachment>> {
    let content_type = prop_oneof![
        Just("application/pdf"),
        Just("text/plain"),
        Just("text/csv"),
        Just("image/png"),
        Just("message/rfc822"),
    ];
    let content = proptest::collection::vec(any::<u8>(), 0..300);
    let one = (file_name(), content_type, content).prop_map(|(name, content_type, content)| {
        let name = if content_type == "message/rfc822" { format!("{name}.eml") } else { name };
        file(&name, content_type, &content, None)
    });
    proptest::collection::vec(one, 0..3)
}

proptest! {
    #[test]
    fn what_is_built_is_read_again(
        subject in word(),
        name in "[A-Za-zäöüа-я購買部.,@()'-]{1,20}( [A-Za-zäöüа-я購買部]{1,20}){0,3}",
        text in text(),
        rich in any::<bool>(),
        files in files(),
    ) {
        let mut draft = draft();
        draft.subject = subject.clone();
        draft.from.name = Some(name.clone());
        draft.text = Some(text.clone());
        draft.html = rich.then(|| "<p>rich</p>".to_owned());
        draft.attachments = files.clone();
        let raw = build::build(&draft, ID, date(), "seed");
        assert_well_formed(&raw);
        let view = read::view(&raw).unwrap();
        prop_assert_eq!(&view.summary.subject, &subject);
        prop_assert_eq!(view.summary.from.unwrap().name, Some(name));
        prop_assert_eq!(view.summary.message_id.as_deref(), Some(ID));
        prop_assert_eq!(view.summary.date, Some(date()));
        if text.trim().is_empty() && rich {
            prop_assert_eq!(view.text.trim(), "rich");
        } else {
            prop_assert_eq!(view.text.trim_end(), text.trim_end());
        }
        prop_assert_eq!(view.html.is_some(), rich);
        prop_assert_eq!(view.attachments.len(), files.len());
        for (index, file) in files.iter().enumerate() {
            let read = read::attachment(&raw, index).unwrap().unwrap();
            prop_assert_eq!(&read.info.name, &file.name);
            prop_assert_eq!(&read.info.content_type, &file.content_type);
            prop_assert_eq!(&read.content, &file.content);
        }
    }
}
