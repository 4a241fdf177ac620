//! What would hurt the libraries below, and arbitrary bytes.

use postroom_mime::read::{self, Unreadable};
use postroom_mime::{html, submission};
use postroom_model::Timestamp;
use proptest::prelude::*;

/// The stack of a worker thread, so that a recursion that got through would be seen here.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(test).unwrap().join().unwrap();
}

#[test]
fn twelve_thousand_messages_within_messages_are_refused() {
    on_a_small_stack(|| {
        let raw = format!("Subject: x\r\n{}", "Content-Type: message/rfc822\r\n\r\n".repeat(12_000));
        assert_eq!(read::summarize(raw.as_bytes()), Err(Unreadable::Nested { found: 101, limit: 100 }));
        assert!(read::view(raw.as_bytes()).is_err());
        assert!(read::attachment(raw.as_bytes(), 0).is_err());
    });
}

#[test]
fn the_same_in_disguise_is_read_without_opening_it() {
    on_a_small_stack(|| {
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(12_000);
        let disguised = [
            // Encoded, so that no count of the raw bytes sees it.
            format!(
                "Subject: x\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{}",
                nested.replace("message/", "mess=61ge/")
            ),
            "Content-Type: message (comment) / rfc822\r\n\r\n".repeat(12_000),
            "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n".repeat(12_000),
        ];
        for raw in disguised {
            let _ = read::view(raw.as_bytes());
            let _ = submission::read(raw.as_bytes(), "<x@contoso.example>", Timestamp::UNIX_EPOCH);
        }
    });
}

#[test]
fn a_hundred_thousand_parts_are_cut_to_a_thousand() {
    on_a_small_stack(|| {
        let raw = format!(
            "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}",
            "--b\r\nContent-Type: image/png\r\n\r\n\r\n".repeat(100_000)
        );
        assert_eq!(read::view(raw.as_bytes()).unwrap().attachments.len(), 1_000);
    });
}

#[test]
fn multiparts_within_multiparts_are_shown_as_text_at_last() {
    on_a_small_stack(|| {
        let raw: String = (0..20_000)
            .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"))
            .collect();
        let view = read::view(raw.as_bytes()).unwrap();
        assert!(view.text.contains("boundary=b100"));
    });
}

#[test]
fn twenty_thousand_nested_elements_leave_the_text() {
    on_a_small_stack(|| {
        let raw = format!("Content-Type: text/html\r\n\r\n{}deep", "<div>".repeat(20_000));
        let view = read::view(raw.as_bytes()).unwrap();
        assert_eq!(view.html, None);
        assert_eq!(view.text.trim(), "deep");
        assert_eq!(html::clean(&"<div>".repeat(600)), None);
        assert!(html::clean(&"<div>".repeat(500)).is_some());
    });
}

#[test]
fn nothing_that_runs_loads_or_covers_gets_through() {
    let cases = [
        ("<script>alert(1)</script>a", "a"),
        ("<style>@import url(x)</style>a", "a"),
        ("<p onclick=\"x()\" id=top class=c>a</p>", "<p>a</p>"),
        ("<form action=\"https://evil.example\"><input name=p>a</form>", "a"),
        ("<iframe src=\"https://evil.example\">b</iframe>a", "a"),
        ("<object data=x>b</object><embed src=x>a", "a"),
        ("<meta http-equiv=refresh content=\"0;url=x\"><base href=x><link rel=stylesheet href=x>a", "a"),
        ("<svg><style><img src=x onerror=alert(1)></style></svg>a", "<img>a"),
        (
            "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></table></mtext></math>a",
            "a",
        ),
        (
            "<a href=\"javascript:alert(1)\">a</a>",
            "<a target=\"_blank\" rel=\"noopener noreferrer nofollow\">a</a>",
        ),
        (
            "<a href=\" java\nscript:alert(1)\">a</a>",
            "<a target=\"_blank\" rel=\"noopener noreferrer nofollow\">a</a>",
        ),
        ("<a href=\"/relative\">a</a>", "<a rel=\"noopener noreferrer nofollow\" target=\"_blank\">a</a>"),
        ("<a href=\"cid:x\">a</a>", "<a rel=\"noopener noreferrer nofollow\" target=\"_blank\">a</a>"),
        (
            "<a href=\"https://contoso.example/?a=1&b=2\" rel=opener target=_self>a</a>",
            "<a href=\"https://contoso.example/?a=1&amp;b=2\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">a</a>",
        ),
        ("<td style=\"background:url(https://evil.example)\">a", "a"),
        ("<p style=\"position:fixed;color:red\">a</p>", "<p style=\"color: red\">a</p>"),
        ("<img src=\"cid:logo@x\" alt=l>", "<img src=\"\" data-cid=\"logo@x\" alt=\"l\">"),
        ("<img src=\"CID:a&quot; onerror=&quot;x\">", "<img src=\"\" data-cid=\"a&quot; onerror=&quot;x\">"),
        ("<img data-cid=x srcset=\"https://evil.example/a.png 2x\">", "<img>"),
        (" src=\"cid:typed by a person\"", " src=\"cid:typed by a person\""),
        ("<!-- comment -->a", "a"),
    ];
    for (given, expected) in cases {
        assert_eq!(html::clean(given).unwrap().html, expected, "{given}");
    }
}

#[test]
fn remote_pictures_are_counted() {
    let remote = "<img src=https://a.example/1.png><img src=//a.example/2.png><img src=3.png><img src=cid:x>";
    assert_eq!(html::clean(remote).unwrap().blocked_remote, 3);
}

#[test]
fn names_of_files_stay_in_their_folder() {
    for (claimed, shown) in [
        ("\"../../etc/passwd\"", "passwd"),
        ("\"C:\\\\temp\\\\a.pdf\"", "a.pdf"),
        ("\"..\"", "attachment-1.pdf"),
        ("\"\"", "attachment-1.pdf"),
        ("\"a\u{202e}fdp.exe\"", "afdp.exe"),
        ("\"a\u{7}b.pdf\"", "ab.pdf"),
        ("=?utf-8?Q?Ma=C3=9Fe.pdf?=", "Maße.pdf"),
        ("\"=?iso-8859-1?Q?Ma=DFe?= =?iso-8859-1?Q?.pdf?=\"", "Maße.pdf"),
    ] {
        let raw = format!(
            "Subject: x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename={claimed}\r\n\r\nx"
        );
        assert_eq!(read::view(raw.as_bytes()).unwrap().attachments[0].name, shown, "{claimed}");
    }
    let long = format!(
        "Content-Type: application/pdf; name=\"{}.pdf\"\r\nContent-Disposition: attachment\r\n\r\nx",
        "a".repeat(900)
    );
    let name = read::view(long.as_bytes()).unwrap().attachments[0].name.clone();
    assert_eq!(name.chars().count(), 255);
    assert!(name.ends_with("a.pdf"));
}

#[test]
fn what_is_shown_in_lists_is_bounded() {
    let many = |name: &str, count: usize| {
        let list: Vec<_> = (0..count).map(|n| format!("a{n}@b.example")).collect();
        format!("{name}: {}\r\n", list.join(",\r\n "))
    };
    let ids: Vec<_> = (0..300).map(|n| format!("<{n}@b.example>")).collect();
    let raw = format!(
        "Subject: {}\r\n{}{}References: {}\r\nIn-Reply-To: <299@b.example> <300@b.example>\r\n{}\r\n{}",
        "s\u{7}\u{85}".repeat(2_000),
        many("To", 700),
        many("Cc", 700),
        ids.join("\r\n "),
        "X-Many: 1\r\n".repeat(600),
        "word\r\n\t".repeat(400_000),
    );
    let view = read::view(raw.as_bytes()).unwrap();
    let summary = view.summary;
    assert_eq!(summary.subject, "s".repeat(998));
    assert_eq!((summary.to.len(), summary.cc.len()), (500, 500));
    assert_eq!(summary.references.len(), 100);
    assert_eq!(summary.references[0], "<0@b.example>");
    assert_eq!(summary.references[99], "<300@b.example>");
    assert_eq!(view.headers.len(), 500);
    assert_eq!(summary.preview.chars().count(), 199);
    assert!(!summary.preview.contains(['\n', '\t']));
    assert!(view.text.len() <= 1_000_000);
}

#[test]
fn without_a_header_it_is_no_message() {
    for raw in [&b""[..], b"\r\n\r\nbody", b"\xff\xfe\x00garbage", b"words and no header\n"] {
        assert_eq!(read::summarize(raw), Err(Unreadable::NoHeader));
    }
}

#[test]
fn something_is_shown_of_broken_parts() {
    for (raw, text) in [
        ("Content-Type: multipart/mixed\r\n\r\nno boundary", "no boundary"),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\nno delimiter", "no delimiter"),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ncut off", "cut off"),
        ("Content-Type: text\r\n\r\nold", "old"),
        ("Content-Type: ;;;\r\nSubject: x\r\n\r\nodd", "odd"),
        ("Content-Type: text/plain; charset=\"\"\r\n\r\nodd", "odd"),
        ("Subject: x\r\nforgotten blank line\r\n", "forgotten blank line\n"),
        (
            "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n \r\n--b\r\nContent-Type: text/html\r\n\r\n<p>rich\r\n--b--",
            "rich",
        ),
    ] {
        assert_eq!(read::view(raw.as_bytes()).unwrap().text, text, "{raw}");
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../postroom/src/demo/corpus");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn read_in_every_way(raw: &[u8]) {
    if let Ok(light) = postroom_mime::lighten::lighten(raw, raw.len() / 2) {
        assert!(light.raw.len() <= raw.len());
        for file in light.taken.iter().chain(&light.kept) {
            let whole = file.read(raw, 0, usize::MAX / 4);
            assert_eq!(whole.len() as u64, file.size);
            assert!(file.read(raw, file.size / 3, 7).len() <= 7);
        }
    }
    let summary = read::summarize(raw);
    let view = read::view(raw);
    assert_eq!(summary.is_ok(), view.is_ok());
    if let Ok(view) = view {
        for info in &view.attachments {
            assert_eq!(read::attachment(raw, info.index).unwrap().unwrap().info, *info);
        }
        for text in [&view.summary.subject, &view.summary.preview] {
            assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
        }
    }
    let _ = submission::read(raw, "<x@contoso.example>", Timestamp::UNIX_EPOCH);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_in_every_way(&raw);
    }

    #[test]
    fn arbitrary_headers_never_panic(
        name in "Subject|From|To|Content-Type|Content-Disposition|Date|References|Message-ID|Received|Return-Path|List-Id|Content-Transfer-Encoding",
        value in proptest::collection::vec(any::<u8>(), 0..120),
        words in "[ -~]{0,80}",
    ) {
        let mut raw = format!("From: a@b.example\r\n{name}: ").into_bytes();
        raw.extend_from_slice(&value);
        raw.extend_from_slice(format!("\r\n{name}: {words}\r\n\r\nbody").as_bytes());
        read_in_every_way(&raw);
    }

    #[test]
    fn mutated_messages_never_panic(
        which in 0_usize..16,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<proptest::sample::Index>(),
        doubled in any::<bool>(),
    ) {
        let messages = corpus();
        let mut raw = messages[which % messages.len()].clone();
        for (place, byte) in changes {
            let place = place.index(raw.len());
            raw[place] = byte;
        }
        let cut = cut.index(raw.len());
        if doubled {
            raw.extend_from_within(cut..);
        } else {
            raw.truncate(cut);
        }
        read_in_every_way(&raw);
    }

    #[test]
    fn cleaned_html_is_clean_the_second_time(html in "(<(p|b|a href=x|img src=cid:y|table|td|/p|/b|/table|svg|style|!--)>|[a-z\"'&<> ]){0,40}") {
        if let Some(safe) = html::clean(&html) {
            let lower = safe.html.to_ascii_lowercase();
            for forbidden in ["<script", "<style", "<svg", "<iframe", "<form"] {
                prop_assert!(!lower.contains(forbidden), "{}", safe.html);
            }
        }
        let _ = html::to_text(&html);
    }
}
