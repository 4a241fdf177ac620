//! Waiting for news at IMAP servers that tell much, little or nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postroom_transport::imap::Limits;
use postroom_transport::{Source, Woken};

use crate::imap::plain;
use crate::script::{Script, good};

fn idles(script: &Script) -> usize {
    script.heard.lines().iter().filter(|line| line.ends_with("IDLE")).count()
}

#[tokio::test]
async fn idle_is_issued_anew_and_news_ends_it() {
    let idles_so_far = AtomicUsize::new(0);
    let script = Script::start(None, move |_, command| match command {
        "IDLE" if idles_so_far.fetch_add(1, Ordering::SeqCst) < 2 => {
            "+ idling\r\n* OK still here\r\n* 2 EXISTS\r\n".into()
        }
        "IDLE" => "+ idling\r\n* 3 EXISTS\r\n".into(),
        "+DONE" => "{tag} OK done\r\n".into(),
        command => good(command),
    })
    .await;
    let often = Limits { idle: Duration::from_millis(50), ..Limits::default() };
    let source = plain(&script).limits(often);
    assert_eq!(source.wait(Duration::from_secs(60)).await.unwrap(), Woken::News);
    assert_eq!(idles(&script), 3);
    assert_eq!(script.heard.lines().last().unwrap(), "DONE");
}

#[tokio::test]
async fn a_storm_of_changed_flags_and_removed_messages_wakes_nobody_and_one_of_arrivals_wakes_once() {
    let idles_so_far = AtomicUsize::new(0);
    let script = Script::start(None, move |_, command| match command {
        // More than one answer may bring elsewhere, and in the end as many messages as before: one went, one came.
        "IDLE" => {
            let flags = format!("* 1 FETCH (UID 1 FLAGS (\\Seen {}))\r\n", "x".repeat(60_000)).repeat(80);
            match idles_so_far.fetch_add(1, Ordering::SeqCst) {
                0 => format!("+ idling\r\n{flags}* 2 EXPUNGE\r\n* 0 RECENT\r\n* 1 EXPUNGE\r\n* 0 EXISTS\r\n"),
                1 => format!(
                    "+ idling\r\n{}",
                    (1..=400).map(|now| format!("* {now} EXISTS\r\n")).collect::<String>()
                ),
                _ => "+ idling\r\n* 400 EXISTS\r\n".into(),
            }
        }
        "+DONE" => "{tag} OK done\r\n".into(),
        command => good(command),
    })
    .await;
    let source = plain(&script);
    let limit = Duration::from_secs(3);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(source.wait(limit).await.unwrap());
    }
    assert_eq!(told, [Woken::Quiet, Woken::News, Woken::Quiet]);
    assert_eq!((idles(&script), script.heard.sessions()), (3, 1));
}

#[tokio::test]
async fn messages_that_vanish_by_uid_are_counted_and_the_next_one_is_news() {
    let script = Script::start(None, |_, command| match command {
        "CAPABILITY" => "* CAPABILITY IMAP4rev1 AUTH=PLAIN IDLE ENABLE QRESYNC\r\n{tag} OK done\r\n".into(),
        "ENABLE QRESYNC" => "* ENABLED QRESYNC\r\n{tag} OK done\r\n".into(),
        "IDLE" => "+ idling\r\n* VANISHED 1:2\r\n* 1 EXISTS\r\n".into(),
        "+DONE" => "{tag} OK done\r\n".into(),
        command => good(command),
    })
    .await;
    assert_eq!(plain(&script).wait(Duration::from_secs(60)).await.unwrap(), Woken::News);
}

#[tokio::test]
async fn what_comes_while_the_line_is_down_is_news_when_it_is_open_again() {
    for (next, woken) in [(4, Woken::News), (3, Woken::Quiet)] {
        let script = Script::start(None, move |session, command| match command {
            "EXAMINE \"INBOX\"" if session > 1 => {
                format!("* 2 EXISTS\r\n* OK [UIDVALIDITY 7] here\r\n* OK [UIDNEXT {next}] here\r\n{{tag}} OK open\r\n")
            }
            "IDLE" => "+ idling\r\n".into(),
            // The line is cut when the first wait is over.
            "+DONE" if session == 1 => "{tag} OK done\r\n* BYE idle too long\r\n".into(),
            "+DONE" => "{tag} OK done\r\n".into(),
            command => good(command),
        })
        .await;
        let source = plain(&script);
        let limit = Duration::from_millis(300);
        assert_eq!(source.wait(limit).await.unwrap(), Woken::Quiet);
        assert_eq!(source.wait(limit).await.unwrap(), woken);
        assert_eq!(script.heard.sessions(), 2);
    }
}

#[tokio::test]
async fn a_server_without_idle_is_only_polled() {
    let script = Script::start(None, |_, command| match command {
        "CAPABILITY" => "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n{tag} OK done\r\n".into(),
        command => good(command),
    })
    .await;
    let source = plain(&script);
    for _ in 0..2 {
        assert_eq!(source.wait(Duration::from_secs(5)).await.unwrap(), Woken::NotOffered);
    }
    assert_eq!(script.heard.sessions(), 1);
}
