//! The content of messages, and words with secrets in them, at IMAP servers that say more than was asked or less.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postroom_model::failure::Decision;
use postroom_transport::imap::{ImapSource, Limits};
use postroom_transport::{Source, Woken};

use crate::imap::{LIMIT, PASSWORD, plain};
use crate::script::{FIRST, SECOND, Script, good};

const DESCRIBE: &str =
    "UID FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.2000>)";
const RANGE: usize = 1024 * 1024;

async fn fetched(source: &ImapSource, id: &str) -> (Option<u64>, Vec<u8>) {
    let mut raw = Vec::new();
    let size = source.fetch(id, 4 * LIMIT, &mut raw).await.unwrap();
    (size, raw)
}

#[tokio::test]
async fn a_change_of_flags_never_takes_the_place_of_content_and_never_disturbs_it() {
    // Around each answer of a bulk fetch, of a read from offset 0 and of a range in the middle, in each form in which
    // servers tell of a changed flag: with the UID, without it, and of another message.
    const NOISE: &str = "* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n* 1 FETCH (FLAGS (\\Seen) UID 1)\r\n* 2 FETCH (FLAGS ())\r\n* 2 FETCH (UID 2 FLAGS (\\Deleted) MODSEQ (9))\r\n* 3 EXISTS\r\n";
    let large = "0123456789abcde\n".repeat(RANGE / 16 + 3);
    let text = large.clone();
    let script = Script::start(None, move |_, command| {
        let size = text.len();
        let answer = match command {
            DESCRIBE => format!(
                "* 1 FETCH (UID 1 RFC822.SIZE {size})\r\n* 2 FETCH (UID 2 RFC822.SIZE {})\r\n",
                SECOND.len()
            ),
            "UID FETCH 2 (UID BODY.PEEK[])" => {
                format!("* 2 FETCH (UID 2 BODY[] {{{}}}\r\n{SECOND})\r\n", SECOND.len())
            }
            range if range.starts_with("UID FETCH 1 (UID BODY.PEEK[]<") => {
                let offset: usize = range.split(['<', '.']).nth(2).unwrap().parse().unwrap();
                let part = &text[offset.min(size)..(offset + RANGE).min(size)];
                format!("* 1 FETCH (UID 1 BODY[]<{offset}> {{{}}}\r\n{part})\r\n", part.len())
            }
            command => return good(command),
        };
        format!("{NOISE}{answer}{NOISE}{{tag}} OK done\r\n")
    })
    .await;
    let source = plain(&script);
    source.changes(None).await.unwrap();
    assert_eq!(fetched(&source, "7:1").await, (Some(large.len() as u64), large.into_bytes()));
    assert_eq!(fetched(&source, "7:2").await, (Some(SECOND.len() as u64), SECOND.as_bytes().to_vec()));
    assert_eq!(script.heard.sessions(), 1);
}

#[tokio::test]
async fn a_message_is_gone_only_when_the_server_does_not_know_its_uid_any_more() {
    for (size, there) in [(FIRST.len(), true), (900_000, true), (FIRST.len(), false), (900_000, false)] {
        let script = Script::start(None, move |_, command| match command {
            DESCRIBE => format!(
                "* 1 FETCH (UID 1 RFC822.SIZE {size})\r\n* 2 FETCH (UID 2 RFC822.SIZE 3)\r\n{{tag}} OK done\r\n"
            ),
            "UID FETCH 1 (UID)" if there => "* 1 FETCH (UID 1)\r\n{tag} OK done\r\n".into(),
            // Whatever is asked of its content, nothing is said.
            command if command.starts_with("UID FETCH 1") && !command.contains("1:*") => "{tag} OK done\r\n".into(),
            command => good(command),
        })
        .await;
        let source = plain(&script);
        // As told by a page, and asked for later by its id alone.
        for page in [true, false] {
            let source = if page { &source } else { &plain(&script) };
            if page {
                source.changes(None).await.unwrap();
            }
            match source.fetch("7:1", LIMIT, &mut Vec::new()).await {
                Ok(found) => assert!(found.is_none() && !there),
                Err(failure) => {
                    assert!(
                        there && failure.words.contains("nothing of a message that is there"),
                        "{failure}"
                    );
                    assert_eq!(failure.decision(), Decision::Retry { after: None });
                }
            }
        }
    }
}

#[tokio::test]
async fn no_message_of_a_page_is_brought_twice_and_a_page_ends_where_it_would_grow_too_large() {
    const COUNT: usize = 600;
    let script = Script::start(None, |_, command| {
        let uids = |set: &str| -> Vec<usize> {
            set.split(',')
                .flat_map(|run| {
                    let (first, last) = run.split_once(':').unwrap_or((run, run));
                    first.parse::<usize>().unwrap()..=last.parse().unwrap()
                })
                .collect()
        };
        let words: Vec<&str> = command.splitn(4, ' ').collect();
        let answer: String = match words.as_slice() {
            ["EXAMINE", ..] => format!(
                "* {COUNT} EXISTS\r\n* OK [UIDVALIDITY 7] here\r\n* OK [UIDNEXT {}] here\r\n",
                COUNT + 1
            ),
            ["UID", "FETCH", set, "(UID)"] if set.ends_with(":*") => {
                let first: usize = set.trim_end_matches(":*").parse().unwrap();
                (first..=COUNT).map(|uid| format!("* {uid} FETCH (UID {uid})\r\n")).collect()
            }
            ["UID", "FETCH", set, items] if items.contains("RFC822.SIZE") => uids(set)
                .into_iter()
                .map(|uid| format!("* {uid} FETCH (UID {uid} RFC822.SIZE 60000)\r\n"))
                .collect(),
            ["UID", "FETCH", set, "(UID BODY.PEEK[])"] => uids(set)
                .into_iter()
                .map(|uid| {
                    let text = uid.to_string();
                    format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n{text})\r\n", text.len())
                })
                .collect(),
            _ => return good(command),
        };
        format!("{answer}{{tag}} OK done\r\n")
    })
    .await;
    let source = plain(&script).limits(Limits { page: 400, ..Limits::default() });
    let (mut cursor, mut pages, mut read) = (None, Vec::new(), 0);
    loop {
        let page = source.changes(cursor.as_deref()).await.unwrap();
        for message in &page.messages {
            read += 1;
            let (_, raw) = fetched(&source, &message.provider_id).await;
            assert_eq!(String::from_utf8(raw).unwrap(), read.to_string());
        }
        pages.push(page.messages.len());
        cursor = Some(page.cursor);
        if !page.more {
            break;
        }
    }
    // 16 MiB hold 279 of them; 400 are told about at once.
    assert_eq!(pages, [279, 121, 200]);
    let asked: Vec<String> = script.heard.lines().into_iter().filter(|line| line.contains("FETCH")).collect();
    let described = asked.iter().filter(|line| line.contains("RFC822.SIZE")).count();
    let brought = asked.iter().filter(|line| line.contains("BODY.PEEK[])")).count();
    // At most 4 MiB at once.
    assert!(described == 2 && brought <= 11, "{described} {brought}");
}

#[tokio::test]
async fn a_uidvalidity_that_comes_back_hides_nothing_and_gives_no_id_out_again() {
    let folder = |validity: u32| {
        Script::start(None, move |_, command| match command {
            "EXAMINE \"INBOX\"" => {
                format!(
                    "* 2 EXISTS\r\n* OK [UIDVALIDITY {validity}] here\r\n* OK [UIDNEXT 3] here\r\n{{tag}} OK open\r\n"
                )
            }
            command => good(command),
        })
    };
    // A server is restored from a copy, set right again, and restored once more.
    let (mut cursor, mut given) = (None::<String>, Vec::new());
    for (round, validity) in [7, 8, 7, 8, 7].into_iter().enumerate() {
        let script = folder(validity).await;
        let source = plain(&script);
        let page = source.changes(cursor.as_deref()).await.unwrap();
        assert_eq!((page.messages.len(), page.resync), (2, round > 0), "{validity}");
        for message in &page.messages {
            assert!(!given.contains(&message.provider_id), "{} was given out before", message.provider_id);
            given.push(message.provider_id.clone());
            assert!(!fetched(&source, &message.provider_id).await.1.is_empty());
        }
        // An id of the folder as it was names nothing, although UIDVALIDITY and UID are the same.
        for old in given.iter().take(given.len() - 2) {
            assert_eq!(fetched(&source, old).await.0, None, "{old}");
        }
        let quiet = source.changes(Some(&page.cursor)).await.unwrap();
        assert!(quiet.messages.is_empty() && !quiet.resync && quiet.cursor == page.cursor);
        cursor = Some(page.cursor);
    }
    assert_eq!(cursor.as_deref(), Some("imap/7/4/2/0"));
}

#[tokio::test]
async fn a_server_that_repeats_the_password_does_not_bring_it_into_a_failure() {
    let line = BASE64.encode(format!("\0{}\0{PASSWORD}", crate::FROM));
    let echoes = [
        ("AUTH=PLAIN", "+", format!("{{tag}} NO [AUTHENTICATIONFAILED] cannot: {line} ({PASSWORD})\r\n")),
        ("AUTH=PLAIN", "+", format!("* BYE too much: {PASSWORD}\r\n")),
        ("AUTH=PLAIN", "+", format!("+ {line}\r\n")),
        ("AUTH=PLAIN", "+", format!("+ {}\r\n", BASE64.encode(PASSWORD))),
        ("AUTH=PLAIN", "+", format!("* {line} {PASSWORD} what?\r\n")),
        ("", "LOGIN", format!("{{tag}} BAD LOGIN \"{}\" \"{PASSWORD}\"\r\n", crate::FROM)),
        ("AUTH=PLAIN IDLE", "EXAMINE", format!("* BYE you said {PASSWORD} before\r\n")),
        ("AUTH=PLAIN IDLE", "EXAMINE", format!("{{tag}} NO you said {line}\r\n")),
    ];
    for (offers, at, echo) in echoes {
        let shown = echo.clone();
        let script = Script::start(None, move |_, command| match command {
            "CAPABILITY" => format!("* CAPABILITY IMAP4rev1 {offers}\r\n{{tag}} OK done\r\n"),
            // The second question is answered with a refusal.
            "+" => "{tag} NO refused\r\n".into(),
            command if command.starts_with(at) => echo.clone(),
            command => good(command),
        })
        .await;
        let source = plain(&script);
        for failure in [
            source.changes(None).await.unwrap_err(),
            source.probe().await.unwrap_err(),
            source.wait(std::time::Duration::from_secs(1)).await.map(|_: Woken| ()).unwrap_err(),
        ] {
            let told = format!("{failure:?} {failure}");
            assert!(!told.contains(PASSWORD) && !told.contains(&line[..24]), "{shown}: {told}");
            assert!(!told.contains(&PASSWORD[..10]), "{shown}: {told}");
        }
    }
}
