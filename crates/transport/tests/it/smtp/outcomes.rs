use std::time::Duration;

use postroom_model::failure::{Decision, Origin};
use postroom_transport::smtp::Limits;
use postroom_transport::{Reconciled, RefusedRecipient, SendOutcome};

use super::fake::{Act, Fake, KEYWORDS};
use super::{SHORT, mail, not_sent, plain, send, sent};
use crate::{Notes, address, job, wire};

const RETRY: Decision = Decision::Retry { after: None };
const WITHOUT_PIPELINING: &str = "SIZE 20000\n8BITMIME";

/// A reply whose line does not end.
const ENDLESS: &str = match str::from_utf8(&[b'2'; 5_000]) {
    Ok(line) => line,
    Err(_) => "",
};

/// The stages up to the final dot, in their order.
const STAGES: [&str; 5] =
    ["-", "EHLO [127.0.0.1]", "MAIL FROM:<orders@contoso.example>", "RCPT TO:<Ann@fabrikam.example>", "DATA"];

fn at(stage: &str, line: &str) -> bool {
    line == stage || line.strip_prefix(stage).is_some_and(|rest| rest.starts_with(' '))
}

#[tokio::test]
async fn what_breaks_before_the_final_dot_is_not_sent_and_tried_again_at_every_stage() {
    for keywords in [KEYWORDS, WITHOUT_PIPELINING] {
        for stage in STAGES {
            for (act, words) in [
                (Act::Last(""), ""),
                (Act::Last("421 4.3.2 closing down\r\n"), "closing down"),
                (Act::Last("\u{0}garbage\r\n"), "garbage"),
                (Act::Last("250-cut in the"), "cut in the"),
                (Act::Last(ENDLESS), "more than 4096 bytes"),
                (Act::Stall, "no answer within"),
            ] {
                let (script, shown) = (act.clone(), format!("{act:?} at {stage}"));
                let fake =
                    Fake::start(
                        keywords,
                        None,
                        move |_, line| {
                            if at(stage, line) { script.clone() } else { Act::Usual }
                        },
                    )
                    .await;
                let wire = match act {
                    Act::Stall => {
                        wire().with_smtp_limits(Limits { command: Duration::from_millis(500), ..SHORT })
                    }
                    _ => wire(),
                };
                let job = mail("a\r\n", &["Ann@fabrikam.example"]);
                let outcome = send(&wire, &plain(fake.port), None, &job).await;
                let failure = not_sent(outcome);
                assert_eq!(failure.decision(), RETRY, "{shown}: {failure}");
                assert!(failure.words.contains(words), "{shown}: {failure}");
                assert_eq!(failure.status, words.contains("closing").then_some(421), "{shown}: {failure}");
                assert!(fake.sessions()[0].contents.is_empty(), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_of_the_content_is_not_sent_with_the_last_words() {
    let fake = Fake::start("PIPELINING", None, |_, line| match line {
        "content" => Act::Last("452 4.3.1 Disk is full\r\n"),
        _ => Act::Usual,
    })
    .await;
    // So large that it does not fit into the buffers of both ends.
    let raw = ("x".repeat(70) + "\r\n").repeat(400_000);
    let outcome = send(&wire(), &plain(fake.port), None, &mail(raw, &["a@b.example"])).await;
    assert_eq!(not_sent(outcome).decision(), RETRY);
}

#[tokio::test]
async fn after_the_final_dot_only_a_reply_makes_it_certain() {
    for (act, words) in [
        (Act::Last(""), "closed the connection"),
        (Act::Stall, "no answer within 500ms"),
        (Act::Last("garbage\r\n"), "garbage"),
        (Act::Last("250 2.0.0 Ok: que"), "Ok: que"),
        (Act::Say("354 and?\r\n"), "354 and?"),
    ] {
        let (script, shown) = (act.clone(), format!("{act:?}"));
        let fake =
            Fake::start(KEYWORDS, None, move |_, line| if line == "." { script.clone() } else { Act::Usual })
                .await;
        let wire = match act {
            Act::Stall => wire().with_smtp_limits(SHORT),
            _ => wire(),
        };
        let SendOutcome::Unknown(failure) = send(&wire, &plain(fake.port), None, &job(None)).await else {
            panic!("{shown} is not unknown")
        };
        assert_eq!((failure.origin, failure.decision()), (Origin::Network, Decision::Reconcile));
        assert!(failure.words.contains(words), "{shown}: {failure}");
        assert_eq!(fake.sessions().len(), 1, "{shown}: it was sent once");
    }
    for (said, decision) in [
        ("451 4.3.0 Try later\r\n", RETRY),
        ("554 5.6.0 Not this one\r\n", Decision::Fail),
        ("554 5.2.252 SendAsDenied; a not allowed to send as b\r\n", Decision::Hold),
    ] {
        let fake =
            Fake::start(KEYWORDS, None, move |_, line| if line == "." { Act::Say(said) } else { Act::Usual })
                .await;
        let failure = not_sent(send(&wire(), &plain(fake.port), None, &job(None)).await);
        assert_eq!(failure.decision(), decision);
        assert!(said.starts_with(&format!("{} {}", failure.status.unwrap(), failure.code.unwrap())));
        let command = "Add-RecipientPermission -Identity orders@contoso.example";
        assert_eq!(failure.advice.is_some_and(|advice| advice.contains(command)), said.contains("SendAs"));
    }
}

#[tokio::test]
async fn a_yes_that_comes_before_the_message_is_no_yes() {
    for keywords in [KEYWORDS, WITHOUT_PIPELINING] {
        let fake = Fake::start(keywords, None, |_, line| match line {
            "DATA" => Act::Last("354 go on\r\n250 2.0.0 Ok: queued as 4F2\r\n"),
            _ => Act::Usual,
        })
        .await;
        let failure = not_sent(send(&wire(), &plain(fake.port), None, &job(None)).await);
        assert!(failure.words.contains("said unasked") && failure.decision() == RETRY, "{failure}");
    }
}

#[tokio::test]
async fn nothing_can_be_looked_up() {
    let sender = wire().sender_for(&plain(1), None).unwrap();
    let Reconciled::CannotTell(failure) = sender.reconcile(&job(None)).await else { panic!() };
    assert!(failure.words.contains("no look-up"));
}

#[tokio::test]
async fn the_message_arrives_byte_for_byte_in_one_envelope_with_blind_copies() {
    let ascii = "Subject: vu\r\n\r\nd\u{e9}j\u{e0}\r\n.\r\n..two\r\nno end";
    let utf8 = "Subject: d\u{e9}j\u{e0} vu\r\n\r\n.\r\n..two\r\nno end";
    for (keywords, raw, more) in
        [(KEYWORDS, ascii, ""), (WITHOUT_PIPELINING, ascii, ""), (KEYWORDS, utf8, " SMTPUTF8")]
    {
        let fake = Fake::start(keywords, None, |_, _| Act::Usual).await;
        let to = ["ann@fabrikam.example", "blind@fabrikam.example"];
        let receipt = sent(send(&wire(), &plain(fake.port), None, &mail(raw, &to)).await);
        assert_eq!((receipt.words.as_str(), receipt.provider_id), ("250 2.0.0 Ok: queued as 4F2", None));
        let session = fake.sessions().remove(0);
        let on_line = raw.replace("\r\n.", "\r\n..") + "\r\n.\r\n";
        assert_eq!(session.contents, [on_line.as_bytes()]);
        let size = raw.len() + "\r\n".len();
        assert_eq!(
            session.lines[1..],
            [
                format!("MAIL FROM:<orders@contoso.example> SIZE={size} BODY=8BITMIME{more}"),
                "RCPT TO:<ann@fabrikam.example>".into(),
                "RCPT TO:<blind@fabrikam.example>".into(),
                "DATA".into(),
                ".".into(),
            ]
        );
    }
}

#[tokio::test]
async fn a_server_that_takes_pipelining_gets_the_whole_envelope_before_it_answers() {
    let fake = Fake::start(KEYWORDS, None, |_, line| match line {
        line if line.starts_with("MAIL") || line.starts_with("RCPT") => Act::Say(""),
        "DATA" => Act::Say("250 sender\r\n250 first\r\n250-sec\r\n250 ond\r\n354 go on\r\n"),
        _ => Act::Usual,
    })
    .await;
    let wire = wire();
    sent(send(&wire, &plain(fake.port), None, &job(None)).await);
}

fn refused(to: &str, words: &str, temporary: bool) -> RefusedRecipient {
    RefusedRecipient { address: address(to), words: words.into(), temporary }
}

#[tokio::test]
async fn refused_recipients_are_told_and_the_others_get_it_once() {
    for keywords in [KEYWORDS, WITHOUT_PIPELINING] {
        let fake = Fake::start(keywords, None, |_, line| match line {
            "RCPT TO:<gone@fabrikam.example>" => Act::Say("550-5.1.1 No such\r\n550 5.1.1 user\r\n"),
            "RCPT TO:<late@fabrikam.example>" => Act::Say("450 4.2.0 Greylisted\r\n"),
            _ => Act::Usual,
        })
        .await;
        let to = ["gone@fabrikam.example", "ann@fabrikam.example", "late@fabrikam.example"];
        let receipt = sent(send(&wire(), &plain(fake.port), None, &mail("a\r\n", &to)).await);
        assert_eq!(
            receipt.refused,
            [refused(to[0], "550 5.1.1 No such user", false), refused(to[2], "450 4.2.0 Greylisted", true),]
        );
        assert_eq!(fake.sessions()[0].contents.len(), 1);
    }
}

#[tokio::test]
async fn when_nobody_is_taken_every_reply_is_told_and_the_connection_is_kept() {
    let fake = Fake::start(KEYWORDS, None, |_, line| match line {
        "RCPT TO:<gone@fabrikam.example>" => Act::Say("550 5.1.1 No such user\r\n"),
        "RCPT TO:<late@fabrikam.example>" => Act::Say("450 4.2.0 Greylisted\r\n"),
        "DATA" => Act::Say("554 5.5.1 No valid recipients\r\n"),
        _ => Act::Usual,
    })
    .await;
    let wire = wire();
    let settings = plain(fake.port);
    let failure = not_sent(send(&wire, &settings, None, &mail("a\r\n", &["gone@fabrikam.example"])).await);
    assert_eq!((failure.status, failure.code.as_deref()), (Some(550), Some("5.1.1")));
    assert_eq!((failure.decision(), failure.words.as_str()), (Decision::Fail, "No such user"));
    let both = ["gone@fabrikam.example", "late@fabrikam.example"];
    let failure = not_sent(send(&wire, &settings, None, &mail("a\r\n", &both)).await);
    assert_eq!(failure.decision(), RETRY);
    for part in
        ["gone@fabrikam.example: 550 5.1.1 No such user", "late@fabrikam.example: 450 4.2.0 Greylisted"]
    {
        assert!(failure.words.contains(part), "{failure}");
    }
    let sessions = fake.sessions();
    assert_eq!(sessions.len(), 1);
    assert!(
        sessions[0].lines.iter().filter(|line| *line == "RSET").count() == 2
            && sessions[0].contents.is_empty()
    );
}

#[tokio::test]
async fn who_is_only_one_too_many_is_for_later_and_an_attempt_is_never_more_than_one_transaction() {
    for keywords in [KEYWORDS, WITHOUT_PIPELINING] {
        let fake = Fake::start(keywords, None, |_, line| match line {
            "RCPT TO:<u3@b.example>" => Act::Say("452 4.5.3 Too many recipients\r\n"),
            "RCPT TO:<u4@b.example>" => Act::Say("552 too many recipients\r\n"),
            "RCPT TO:<gone@b.example>" => Act::Say("550 5.1.1 No such user\r\n"),
            _ => Act::Usual,
        })
        .await;
        let to = ["u1@b.example", "gone@b.example", "u3@b.example", "u4@b.example"];
        let receipt = sent(send(&wire(), &plain(fake.port), None, &mail("a\r\n", &to)).await);
        assert_eq!(
            receipt.refused,
            [
                refused("gone@b.example", "550 5.1.1 No such user", false),
                refused("u3@b.example", "452 4.5.3 Too many recipients", true),
                refused("u4@b.example", "552 too many recipients", true),
            ]
        );
        let session = fake.sessions().remove(0);
        assert_eq!(session.contents.len(), 1);
        assert_eq!(session.lines.iter().filter(|line| line.starts_with("MAIL")).count(), 1);
    }
}

#[tokio::test]
async fn hundreds_of_recipients_go_over_one_line() {
    let fake = Fake::start(KEYWORDS, None, |_, _| Act::Usual).await;
    let to: Vec<String> = (0..250).map(|number| format!("u{number}@fabrikam.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    sent(send(&wire(), &plain(fake.port), None, &mail("a\r\n", &to)).await);
    let session = fake.sessions().remove(0);
    assert_eq!(session.lines.iter().filter(|line| line.starts_with("RCPT")).count(), 250);
    assert_eq!(session.lines[1..].iter().filter(|line| line.starts_with("DATA")).count(), 1);
}

#[tokio::test]
async fn what_a_server_does_not_offer_is_said_before_anything_is_handed_over() {
    let fake = Fake::start("SIZE 1000", None, |_, _| Act::Usual).await;
    let (wire, settings) = (wire(), plain(fake.port));
    for (raw, to, words) in [
        (
            "x\r\n".repeat(400),
            "ann@b.example",
            "the message has 1200 bytes; 127.0.0.1 takes at most 1000 (SIZE 1000)",
        ),
        ("d\u{e9}j\u{e0}\r\n".to_owned(), "ann@b.example", "8BITMIME"),
        ("x\r\n".to_owned(), "j\u{f6}rg@b.example", "SMTPUTF8"),
    ] {
        let failure = not_sent(send(&wire, &settings, None, &mail(raw, &[to])).await);
        assert!(failure.words.contains(words), "{failure}");
        assert_eq!((failure.decision(), failure.advice.is_some()), (Decision::Fail, true));
    }
    // Header fields beyond ASCII need SMTPUTF8 (RFC 6531), with which 8BITMIME alone is not enough; other bytes than
    // UTF-8 no server may take.
    let eight_bit = Fake::start("8BITMIME\nPIPELINING", None, |_, _| Act::Usual).await;
    let both = Fake::start(KEYWORDS, None, |_, _| Act::Usual).await;
    for (server, raw, words) in [
        (&eight_bit, &b"Subject: d\xc3\xa9j\xc3\xa0\r\n\r\na\r\n"[..], "does not offer SMTPUTF8"),
        (&eight_bit, b"Subject: d\xe9j\xe0\r\n\r\na\r\n", "are no UTF-8"),
        (&both, b"Subject: d\xe9j\xe0\r\n\r\na\r\n", "are no UTF-8"),
    ] {
        let failure = not_sent(send(&wire, &plain(server.port), None, &mail(raw, &["a@b.example"])).await);
        assert!(failure.words.contains(words), "{failure}");
        assert!(failure.decision() == Decision::Fail && failure.advice.unwrap().contains("encoded words"));
    }
    for fake in [&eight_bit, &both] {
        assert!(
            fake.sessions().iter().all(|session| !session.lines.iter().any(|line| line.starts_with("MAIL")))
        );
    }
    assert!(fake.sessions().iter().all(|session| session.lines.iter().all(|line| !line.starts_with("MAIL"))));
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_a_dead_one_replaced_without_a_failure() {
    let fake = Fake::start(KEYWORDS, None, |connection, line| match (connection, line) {
        // The third message finds the first connection closed, the way an idle server closes: unseen until it is used.
        (1, line) if line.ends_with("SIZE=3") => Act::Last("421 4.4.2 idle for too long\r\n"),
        _ => Act::Usual,
    })
    .await;
    let (wire, settings) = (wire(), plain(fake.port));
    for raw in ["a\r\n\r\n", "b\r\n\r\n", "c\r\n"] {
        sent(send(&wire, &settings, None, &mail(raw, &["ann@b.example"])).await);
    }
    let sessions = fake.sessions();
    assert_eq!(sessions.iter().map(|session| session.contents.len()).collect::<Vec<_>>(), [2, 1]);
    // One that was silent for long is asked first.
    let asking = crate::wire().with_smtp_limits(Limits { trusted: Duration::ZERO, ..Limits::default() });
    let sender = asking.sender_for(&settings, None).unwrap();
    for raw in ["d\r\n\r\n", "e\r\n\r\n"] {
        sent(sender.send(&mail(raw, &["ann@b.example"]), &Notes::default()).await);
    }
    let last = fake.sessions().pop().unwrap();
    assert_eq!((last.contents.len(), last.lines.iter().filter(|line| *line == "NOOP").count()), (2, 1));
}

#[tokio::test]
async fn a_server_that_ends_an_idle_connection_fails_no_message() {
    // It says so at once behind its last reply, or only closes.
    for farewell in ["250 2.0.0 Ok\r\n421 4.4.2 idle for too long\r\n", "250 2.0.0 Ok\r\n"] {
        let fake = Fake::start(KEYWORDS, None, move |connection, line| match (connection, line) {
            (1, ".") => Act::Last(farewell),
            _ => Act::Usual,
        })
        .await;
        let (wire, settings) = (wire(), plain(fake.port));
        for raw in ["a\r\n", "b\r\n"] {
            let receipt = sent(send(&wire, &settings, None, &mail(raw, &["ann@b.example"])).await);
            assert!(receipt.words.starts_with("250 2.0.0 Ok"), "{}", receipt.words);
        }
        let sessions = fake.sessions();
        assert_eq!(sessions.iter().map(|session| session.contents.len()).collect::<Vec<_>>(), [1, 1]);
    }
}

#[tokio::test]
async fn no_more_connections_than_exchange_takes_and_each_is_closed_with_quit() {
    let fake = Fake::start(KEYWORDS, None, |_, _| Act::Usual).await;
    let limits =
        Limits { keep: Duration::from_millis(50), command: Duration::from_secs(10), ..Limits::default() };
    let wire = wire().with_smtp_limits(limits);
    let mut settings = plain(fake.port);
    settings.user_name = "desk".into();
    let sender = wire.sender_for(&settings, Some("secret".to_owned().into())).unwrap();
    let (sending, notes) = (mail("a\r\n", &["ann@b.example"]), Notes::default());
    let all = futures_util::future::join_all((0..12).map(|_| sender.send(&sending, &notes))).await;
    all.into_iter().for_each(|outcome| drop(sent(outcome)));
    assert!(fake.sessions().len() <= 3, "{}", fake.sessions().len());
    tokio::time::timeout(Duration::from_secs(10), async {
        while !fake.sessions().iter().all(|session| session.lines.last().is_some_and(|line| line == "QUIT")) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
