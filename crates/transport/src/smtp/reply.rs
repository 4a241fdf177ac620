//! Replies of a server (RFC 5321 section 4.2) and the keywords of its EHLO, read from bytes. No I/O.

use postroom_entra::http::tidy;

/// The longest line of a reply, in bytes with its end. RFC 5321 section 4.5.3.1.5 allows 512; Exchange is more talkative.
const MAX_LINE: usize = 4_096;
/// The most lines of one reply.
const MAX_LINES: usize = 100;
/// How much of a reply or of garbage is repeated, in characters.
const MAX_WORDS: usize = 1_000;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The three digits: 200 to 599.
    pub(super) code: u16,
    /// What follows the code, one line of text for each line.
    pub(super) text: String,
}

impl Reply {
    /// The first reply in `bytes` and how many of them it takes; none when its end has not come yet.
    ///
    /// # Errors
    /// What is wrong, with the line itself: no three digits, another code in the middle, too long, too many lines.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let mut reply = Self { code: 0, text: String::new() };
        let mut position = 0;
        for lines in 0.. {
            let rest = &bytes[position..];
            let end = rest.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
            let Some(end) = end else {
                return if rest.len() >= MAX_LINE { Err(too_long(rest)) } else { Ok(None) };
            };
            if lines == MAX_LINES {
                return Err(format!("a reply of more than {MAX_LINES} lines"));
            }
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let (code, last, text) = split(line).ok_or_else(|| shown(line))?;
            if lines > 0 {
                if code != reply.code {
                    return Err(shown(line));
                }
                reply.text.push('\n');
            }
            reply.code = code;
            reply.text.push_str(&String::from_utf8_lossy(text));
            position += end + 1;
            if last {
                return Ok(Some((reply, position)));
            }
        }
        Ok(None)
    }

    /// Whether the command was done.
    pub(super) fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The enhanced status code (RFC 3463) that begins the text: `5.7.139`. Empty when there is none.
    pub(super) fn enhanced(&self) -> &str {
        enhanced(&self.text)
    }

    /// The literal text in one line, without the enhanced code, which stands beside it.
    pub(super) fn words(&self) -> String {
        let code = self.enhanced();
        let lines = self.text.split('\n').map(|line| match line.strip_prefix(code) {
            Some(rest) if !code.is_empty() => rest.trim_start(),
            _ => line,
        });
        tidy(lines.collect::<Vec<_>>().join(" "), MAX_WORDS)
    }

    /// All of it in one line: `250 2.0.0 Ok: queued as 4F2`.
    pub(super) fn literal(&self) -> String {
        let code = self.enhanced();
        let blank = if code.is_empty() { "" } else { " " };
        format!("{} {code}{blank}{}", self.code, self.words()).trim_end().to_owned()
    }
}

/// Code, whether it is the last line, and text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

fn enhanced(text: &str) -> &str {
    let word = text.split([' ', '\n']).next().unwrap_or_default();
    let mut parts = word.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let class = matches!(parts.next(), Some("2" | "4" | "5"));
    if class && number(parts.next()) && number(parts.next()) && parts.next().is_none() { word } else { "" }
}

fn shown(line: &[u8]) -> String {
    format!("not a reply of SMTP: {:?}", tidy(String::from_utf8_lossy(&line[..line.len().min(400)]), 200))
}

fn too_long(line: &[u8]) -> String {
    let start = tidy(String::from_utf8_lossy(&line[..line.len().min(400)]), 200);
    format!("a line of more than {MAX_LINE} bytes, which begins with {start:?}")
}

/// What a server offers (RFC 5321 section 4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// Several commands in one write (RFC 2920).
    pub(super) pipelining: bool,
    /// Every line of it, in capitals.
    pub(super) all: Vec<String>,
    /// Bytes above 127 in the content (RFC 6152).
    pub(super) eight_bit: bool,
    /// Addresses beyond ASCII (RFC 6531).
    pub(super) utf8: bool,
    /// TLS on this line (RFC 3207).
    pub(super) starttls: bool,
    /// Whether the size of a message may be announced (RFC 1870).
    pub(super) size: bool,
    /// The largest message it takes, in bytes; none when it does not say.
    pub(super) max_size: Option<u64>,
    /// How one signs in, in capitals (RFC 4954); none when signing in is not offered.
    pub(super) mechanisms: Option<Vec<String>>,
}

impl Offers {
    /// Reads the reply to EHLO. What is not known is passed over.
    pub(super) fn read(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.text.split('\n').skip(1) {
            let line = line.to_ascii_uppercase();
            offers.all.push(tidy(&line, MAX_WORDS));
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.utf8 = true,
                "STARTTLS" => offers.starttls = true,
                "SIZE" => {
                    offers.size = true;
                    // RFC 1870 section 4: zero means no fixed limit.
                    offers.max_size =
                        words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0);
                }
                "AUTH" => offers.mechanisms.get_or_insert_default().extend(words.map(str::to_owned)),
                keyword => {
                    // The form of servers older than the standard.
                    if let Some(first) = keyword.strip_prefix("AUTH=") {
                        let known = offers.mechanisms.get_or_insert_default();
                        known.extend(std::iter::once(first).chain(words).map(str::to_owned));
                    }
                }
            }
        }
        offers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    postroom_fuzz::targets! {
        smtp_reply: ["250-mx\r\n250-SIZE 10\r\n250 AUTH PLAIN LOGIN\r\n", "550-5.7.708 no,\r\n550 5.7.708 no\r\n"] => |bytes| {
            let read = Reply::read(bytes)?;
            Ok::<_, String>(read.map(|(reply, taken)| {
                assert!(taken <= bytes.len() && (200..600).contains(&reply.code));
                (reply.literal(), Offers::read(&reply).mechanisms)
            }))
        },
    }

    fn read(bytes: &[u8]) -> Reply {
        Reply::read(bytes).unwrap().unwrap().0
    }

    #[test]
    fn code_enhanced_code_and_words_are_told_apart_literally() {
        let reply = read(b"550-5.7.708 Access denied,\r\n550 5.7.708 traffic not accepted from this IP\r\n");
        assert_eq!((reply.code, reply.enhanced()), (550, "5.7.708"));
        assert_eq!(reply.words(), "Access denied, traffic not accepted from this IP");
        assert_eq!(reply.literal(), "550 5.7.708 Access denied, traffic not accepted from this IP");
        let plain = read(b"250 Ok\r\n");
        assert_eq!((plain.enhanced(), plain.literal().as_str()), ("", "250 Ok"));
        assert_eq!(read(b"354\n").literal(), "354");
        assert_eq!(read(b"250 2.5 3 x\r\n").enhanced(), "");
    }

    #[test]
    fn a_reply_ends_where_it_ends_at_every_cut() {
        let bytes = b"250-mx\r\n250-SIZE 10\r\n250 AUTH PLAIN LOGIN\r\n250 next\r\n";
        let whole = bytes.len() - b"250 next\r\n".len();
        for cut in 0..bytes.len() {
            let found = Reply::read(&bytes[..cut]).unwrap();
            assert_eq!(found.map(|(_, taken)| taken), (cut >= whole).then_some(whole), "{cut}");
        }
    }

    #[test]
    fn garbage_is_shown_and_endless_replies_end() {
        for bad in ["HTTP/1.1 400 Bad Request\r\n", "25\r\n", "099 x\r\n", "250_x\r\n", "250-a\r\n251 b\r\n"]
        {
            let said = Reply::read(bad.as_bytes()).unwrap_err();
            assert!(said.contains(&bad.lines().last().unwrap()[..2]), "{said}");
        }
        let endless = [b"250 ".as_slice(), &[b'x'; MAX_LINE]].concat();
        assert!(Reply::read(&endless).unwrap_err().contains("more than 4096 bytes"));
        let many = "250-x\r\n".repeat(MAX_LINES + 1);
        assert!(Reply::read(many.as_bytes()).unwrap_err().contains("100 lines"));
    }

    #[test]
    fn offers_are_read_in_any_case_and_both_forms() {
        let reply = read(
            b"250-mx greets\r\n250-size 35882577\r\n250-8bitmime\r\n250-AUTH LOGIN\r\n250-AUTH=PLAIN\r\n250-X-NEW\r\n250 PIPELINING\r\n",
        );
        let offers = Offers::read(&reply);
        assert_eq!((offers.size, offers.max_size), (true, Some(35_882_577)));
        assert_eq!(offers.mechanisms.unwrap(), ["LOGIN", "PLAIN"]);
        assert!(offers.eight_bit && offers.pipelining && !offers.utf8 && !offers.starttls);
        let unlimited = Offers::read(&read(b"250-mx\r\n250 SIZE 0\r\n"));
        assert_eq!((unlimited.size, unlimited.max_size), (true, None));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_bounds_and_never_breaks(
            bytes in prop::collection::vec(prop_oneof![Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '),
                Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)
        ) {
            if let Ok(Some((reply, taken))) = Reply::read(&bytes) {
                prop_assert!(taken <= bytes.len() && (200..600).contains(&reply.code));
                prop_assert!(!reply.literal().contains(char::is_control));
                Offers::read(&reply);
            }
        }
    }
}
