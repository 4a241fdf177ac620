//! The protocol of submission, talked to without a socket.

use proptest::prelude::*;

use super::*;

fn machine() -> Machine {
    Machine::new(Bounds { message: 1000, starttls: false })
}

/// Pushes bytes in pieces of this size; gives what was replied and the messages that came out.
fn talk(machine: &mut Machine, bytes: &[u8], piece: usize) -> (Vec<String>, Vec<Message>) {
    let (mut replies, mut messages) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        machine.push(piece);
        while let Some(step) = machine.next() {
            match machine.handle(step) {
                Action::Wait | Action::StartTls | Action::SignIn(_) => {}
                Action::Reply(reply) => replies.push(reply),
                Action::Close(reply) => {
                    replies.push(reply);
                    return (replies, messages);
                }
                Action::Submit(message) => messages.push(message),
            }
        }
    }
    (replies, messages)
}

fn ready() -> Machine {
    let mut machine = machine();
    machine.signed_in();
    let (replies, _) =
        talk(&mut machine, b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n", 5);
    assert!(replies.iter().all(|reply| reply.starts_with('2')), "{replies:?}");
    machine
}

#[test]
fn stuffed_dots_and_pieces_of_any_size_make_the_same_message() {
    for piece in [1, 2, 3, 7, 1000] {
        let mut machine = ready();
        let (_, messages) = talk(&mut machine, b"DATA\r\na: b\r\n\r\n..one\r\n.\r\n", piece);
        assert_eq!(messages.len(), 1, "{piece}");
        assert_eq!(messages[0].raw, b"a: b\r\n\r\n.one\r\n");
        assert_eq!((messages[0].from.as_str(), messages[0].to.len()), ("a@b.example", 1));
        // The transaction is over, an empty message ends too.
        assert!(talk(&mut machine, b"DATA\r\n", piece).0[0].starts_with("503"));
        let (_, messages) =
            talk(&mut machine, b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\n", piece);
        assert!(messages[0].raw.is_empty());
    }
}

#[test]
fn chunks_are_put_together_and_refused_ones_are_not_taken_for_commands() {
    for piece in [1, 3, 1000] {
        let mut machine = ready();
        let (_, messages) =
            talk(&mut machine, b"BDAT 3\r\na: BDAT 5 LAST\r\nb\r\n\r\nBDAT 0 LAST\r\n", piece);
        assert_eq!(messages[0].raw, b"a: b\r\n\r\n");
        let (replies, _) = talk(&mut machine, b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", piece);
        assert!(replies[0].starts_with("503") && replies[1].starts_with("250"), "{replies:?}");
    }
}

#[test]
fn what_is_too_large_or_smuggled_is_refused_and_nothing_else_is_read_from_it() {
    let mut machine = ready();
    let large = format!("DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(1001));
    let (replies, messages) = talk(&mut machine, large.as_bytes(), 100);
    assert!(messages.is_empty() && replies[1].starts_with("552") && replies[2].starts_with("250"));
    let mut machine = ready();
    for smuggled in ["a\n.\r\nb", "a\r\n.\nb", "a\r.\rb", "a\n.\nb"] {
        let text = format!("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n{smuggled}\r\n.\r\n");
        let (replies, messages) = talk(&mut machine, text.as_bytes(), 3);
        assert!(messages.is_empty() && replies.last().unwrap().starts_with("550 5.6.11"), "{smuggled:?}");
    }
    assert!(talk(&mut machine, b"NOOP\nNOOP\r\n", 9).0[0].starts_with("500"));
    let endless = vec![b'a'; MAX_LINE + 1];
    assert!(talk(&mut Machine::new(machine.bounds), &endless, 999).0[0].starts_with("500"));
}

#[test]
fn tls_forgets_what_came_before_it() {
    let mut machine = Machine::new(Bounds { message: 1000, starttls: true });
    let (replies, _) = talk(&mut machine, b"EHLO x\r\nAUTH XOAUTH2\r\n", 9);
    assert!(replies[0].contains("STARTTLS") && !replies[0].contains("AUTH"));
    assert!(replies[1].starts_with("530"));
    machine.push(b"STARTTLS\r\nEHLO smuggled\r\n");
    let step = machine.next().unwrap();
    assert!(matches!(machine.handle(step), Action::StartTls));
    machine.protected();
    assert!(machine.next().is_none() && !machine.greeted);
    let (replies, _) = talk(&mut machine, b"EHLO x\r\nAUTH XOAUTH2\r\n*\r\n", 9);
    assert!(replies[0].contains("AUTH LOGIN XOAUTH2") && !replies[0].contains("STARTTLS"));
    assert_eq!(replies[1], "334 ");
    assert!(replies[2].starts_with("501"));
}

#[test]
fn secrets_are_not_shown() {
    for (line, shown) in [
        ("AUTH XOAUTH2 c2VjcmV0", "AUTH XOAUTH2 ***"),
        ("auth login", "AUTH login"),
        ("c2VjcmV0c2VjcmV0", "c2VjcmV0"),
    ] {
        assert_eq!(Step::Line(line.into()).shown(), shown);
    }
    assert_eq!(Step::Response(b"c2VjcmV0".to_vec()).shown(), "***");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        verbs in proptest::collection::vec(0..8usize, 0..12),
        piece in 1..50usize,
    ) {
        let known: [&[u8]; 8] = [
            b"EHLO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n", b"DATA\r\n", b"BDAT 20\r\n",
            b"AUTH XOAUTH2\r\n", b".\r\n", b"\r\n",
        ];
        let mut all: Vec<u8> = verbs.iter().flat_map(|at| known[*at].to_vec()).collect();
        all.extend(bytes);
        for signed_in in [false, true] {
            let mut machine = machine();
            machine.signed_in = signed_in;
            talk(&mut machine, &all, piece);
            prop_assert!(machine.buffer.len() <= MAX_LINE + 1000);
        }
    }
}

postroom_fuzz::targets! {
    sandbox_smtp: [
        "EHLO x\r\nMAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n",
        "EHLO x\r\nAUTH XOAUTH2\r\ndXNlcj1h\r\nBDAT 5 LAST\r\nhelloRSET\r\n",
    ] => |bytes| {
        let mut machine = machine();
        machine.signed_in = bytes.len() % 2 == 0;
        let (replies, messages) = talk(&mut machine, bytes, 13);
        assert!(machine.buffer.len() <= MAX_LINE + 1000);
        (messages.len(), replies)
    },
}
