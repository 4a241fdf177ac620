//! The same against Debian's Postfix with Dovecot's SASL.

use postroom_model::connection::TlsMode;
use postroom_model::failure::Decision;

use super::{mail, not_sent, send, sent, signed_in, trusting};
use crate::address;
use crate::postfix::{MAX_SIZE, PASSWORD, Postfix};

const ANN: &str = "ann@fabrikam.example";
const BEN: &str = "ben@fabrikam.example";

#[tokio::test]
#[ignore = "needs Postfix and Dovecot, and root"]
async fn postfix_takes_mail_over_both_kinds_of_tls_and_delivers_every_byte() {
    let postfix = Postfix::start().await;
    let wire = trusting(&postfix.certificate);
    let long_line = "x".repeat(900) + "\r\n";
    for (number, body) in [
        ".\r\n..\r\n...three\r\n.end\r\n".to_owned(),
        "d\u{e9}j\u{e0} vu\r\n\r\n\r\n".to_owned(),
        "no line end".to_owned(),
        long_line.repeat(5_000),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        for (mode, port) in [(TlsMode::Starttls, postfix.submission), (TlsMode::Implicit, postfix.implicit)] {
            let mark = format!("X-Mark: {number}-{}-", mode.as_str());
            let raw = format!("From: orders@contoso.example\r\nSubject: Order\r\n{mark}\r\n\r\n{body}");
            let job = mail(raw.clone(), &[ANN]);
            let receipt = sent(send(&wire, &signed_in(port, mode), Some(PASSWORD), &job).await);
            assert!(receipt.words.starts_with("250 2.0.0 Ok: queued as "), "{}", receipt.words);
            let delivered = postfix.delivered("ann", &mark).await;
            let mut expected = raw.replace("\r\n", "\n");
            if !expected.ends_with('\n') {
                expected.push('\n');
            }
            assert!(delivered.ends_with(expected.as_bytes()), "{mark}");
        }
    }
    // Five messages on each of the two ports, by one connection each, beside those that waited for the start.
    assert_eq!(postfix.log().matches("]: connect from").count(), 2 + 2, "{}", postfix.log());
}

#[tokio::test]
#[ignore = "needs Postfix and Dovecot, and root"]
async fn postfix_refuses_one_recipient_a_large_message_and_a_wrong_password_by_name() {
    let postfix = Postfix::start().await;
    let wire = trusting(&postfix.certificate);
    let settings = signed_in(postfix.submission, TlsMode::Starttls);

    let to = [ANN, "gone@fabrikam.example", BEN];
    let receipt = sent(send(&wire, &settings, Some(PASSWORD), &mail("X-Mark: one\r\n\r\nHi\r\n", &to)).await);
    let [refused] = receipt.refused.as_slice() else { panic!("{:?}", receipt.refused) };
    assert_eq!((&refused.address, refused.temporary), (&address("gone@fabrikam.example"), false));
    let words = &refused.words;
    assert!(words.starts_with("550 5.1.1 ") && words.contains("User unknown"), "{words}");
    postfix.delivered("ann", "X-Mark: one").await;
    postfix.delivered("ben", "X-Mark: one").await;

    let nobody = mail("X-Mark: two\r\n\r\nHi\r\n", &["gone@fabrikam.example"]);
    let failure = not_sent(send(&wire, &settings, Some(PASSWORD), &nobody).await);
    assert_eq!((failure.decision(), failure.status), (Decision::Fail, Some(550)));

    let large = mail("x\r\n".repeat(MAX_SIZE / 3 + 1), &[ANN]);
    let failure = not_sent(send(&wire, &settings, Some(PASSWORD), &large).await);
    let figures = format!("the message has {} bytes; 127.0.0.1 takes at most {MAX_SIZE}", large.raw.len());
    assert!(failure.words.contains(&figures), "{failure}");

    let failure = not_sent(send(&wire, &settings, Some("wrong"), &nobody).await);
    assert_eq!((failure.decision(), failure.status), (Decision::Hold, Some(535)));
    assert!(failure.words.contains("authentication failed"), "{failure}");
    assert!(!format!("{failure:?}").contains(PASSWORD));
    assert_eq!((postfix.count("ann"), postfix.count("ben")), (1, 1));
}

#[tokio::test]
#[ignore = "needs Postfix and Dovecot, and root"]
async fn postfix_that_was_restarted_between_two_messages_gets_the_second_on_a_fresh_connection() {
    let mut postfix = Postfix::start().await;
    let wire = trusting(&postfix.certificate);
    let settings = signed_in(postfix.submission, TlsMode::Starttls);
    sent(send(&wire, &settings, Some(PASSWORD), &mail("X-Mark: one\r\n\r\nHi\r\n", &[ANN])).await);
    postfix.delivered("ann", "X-Mark: one").await;
    postfix.stop();
    let failure =
        not_sent(send(&wire, &settings, Some(PASSWORD), &mail("X-Mark: two\r\n\r\nHi\r\n", &[ANN])).await);
    assert_eq!(failure.decision(), Decision::Retry { after: None });
    postfix.run().await;
    sent(send(&wire, &settings, Some(PASSWORD), &mail("X-Mark: three\r\n\r\nHi\r\n", &[ANN])).await);
    postfix.delivered("ann", "X-Mark: three").await;
    assert_eq!(postfix.count("ann"), 2);
}
