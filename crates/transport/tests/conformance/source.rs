//! What every source keeps. The consumer here is the collector in small: the cursor moves only with its page.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_model::Timestamp;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::mailbox::AfterProcessing;
use postroom_transport::{MessageSink, Source};

use crate::SourceWorld;

const LIMIT: u64 = 150_000_000;
/// Places where the line is cut.
const CUTS: usize = 40;

/// What a reader holds after each commit.
#[derive(Default)]
struct Reader {
    cursor: Option<String>,
    /// Ids and contents, in the order in which they came.
    held: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
}

impl Reader {
    /// Reads to the end of what there is; a page whose reading fails leaves nothing.
    async fn read(&mut self, source: &dyn Source) -> Result<(), Failure> {
        loop {
            let mut page = source.changes(self.cursor.as_deref()).await?;
            page.messages.sort_by_key(|message| message.received_at);
            let known: HashSet<&String> = self.held.iter().map(|(id, _)| id).collect();
            let mut fetched = Vec::new();
            for message in page.messages.iter().filter(|message| !known.contains(&message.provider_id)) {
                let mut raw = Vec::new();
                if let Some(size) = source.fetch(&message.provider_id, LIMIT, &mut raw).await? {
                    assert_eq!(size, raw.len() as u64);
                    fetched.push((message.provider_id.clone(), raw));
                }
            }
            self.held.extend(fetched);
            self.removed.extend(page.removed);
            self.cursor = Some(page.cursor);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Asserts that it holds exactly these messages, in this order, to the byte. Servers put trace fields before a
    /// message (RFC 5321 section 4.4), and change nothing else.
    #[track_caller]
    fn holds(&self, mails: &[Vec<u8>]) {
        let subjects = |raws: Vec<&Vec<u8>>| raws.iter().map(|raw| number_of(raw)).collect::<Vec<_>>();
        let (held, put) = (self.held.iter().map(|(_, raw)| raw).collect(), mails.iter().collect());
        assert_eq!(subjects(held), subjects(put), "which messages, and in which order");
        for ((_, raw), mail) in self.held.iter().zip(mails) {
            assert!(raw.ends_with(mail), "other bytes than were put: {}", String::from_utf8_lossy(raw));
        }
    }
}

/// The number in the subject.
fn number_of(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(&raw[..raw.len().min(4_000)]).into_owned();
    text.lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned)).unwrap_or_default()
}

fn mail(number: usize) -> Vec<u8> {
    format!(
        "Message-ID: <{number}@fabrikam.example>\r\nFrom: ann@fabrikam.example\r\nTo: orders@contoso.example\r\n\
         Subject: {number}\r\n\r\nHello {number}\r\n"
    )
    .into_bytes()
}

async fn put(world: &impl SourceWorld, mails: &[Vec<u8>]) {
    for mail in mails {
        world.put(mail).await;
    }
}

pub(crate) async fn order(world: &impl SourceWorld) {
    let mails: Vec<_> = (0..7).map(mail).collect();
    put(world, &mails[..4]).await;
    let (source, mut reader) = (world.source(), Reader::default());
    reader.read(&*source).await.unwrap();
    reader.holds(&mails[..4]);
    put(world, &mails[4..]).await;
    reader.read(&*source).await.unwrap();
    reader.holds(&mails);
    let sentence = source.probe().await.unwrap();
    assert!(sentence.contains("opened: 7 messages"), "{sentence}");
}

/// The beginning of a year.
fn instant(year: i16) -> Timestamp {
    jiff::civil::date(year, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

pub(crate) async fn settling(world: &impl SourceWorld) {
    let mails: Vec<_> = (0..3).map(mail).collect();
    put(world, &mails).await;
    let (mut source, mut reader) = (world.source(), Reader::default());
    reader.read(&*source).await.unwrap();
    let ids: Vec<String> = reader.held.iter().map(|(id, _)| id.clone()).collect();
    let all = source.survey(instant(2199)).await.unwrap();
    assert!(all.count == 3 && all.oldest.is_some(), "{all:?}");
    let none = source.survey(instant(1990)).await.unwrap();
    assert_eq!((none.count, none.oldest), (0, None));
    let mut listed: Vec<_> = source.received_since(instant(1990)).await.unwrap();
    listed.sort_by_key(|message| (message.received_at, message.message_id.clone()));
    let listed: Vec<_> = listed.into_iter().map(|message| message.provider_id).collect();
    assert_eq!(listed, ids, "by the ids that reading gives");
    assert!(source.received_since(instant(2199)).await.unwrap().is_empty());

    let before = world.marks().await;
    for _ in 0..2 {
        source.settle(&ids[0], &AfterProcessing::Leave).await.unwrap();
    }
    assert_eq!(world.marks().await, before);
    let (read, moved) = (AfterProcessing::MarkRead, AfterProcessing::Move("Processed".into()));
    for _ in 0..2 {
        source.settle(&ids[0], &read).await.unwrap();
        source.settle(&ids[1], &moved).await.unwrap();
    }
    assert_ne!(world.marks().await, before);
    let mut anew = Reader::default();
    anew.read(&*world.source()).await.unwrap();
    anew.holds(&[mails[0].clone(), mails[2].clone()]);
    // A beginning is a wish: what it names from there on is all there, and what comes later is named.
    source.begin_at(instant(2010));
    let mut late = Reader::default();
    late.read(&*source).await.unwrap();
    late.holds(&[mails[0].clone(), mails[2].clone()]);
    world.put(&mail(3)).await;
    late.read(&*source).await.unwrap();
    assert_eq!(late.held.len(), 3);
}

pub(crate) async fn exactly_once(world: &impl SourceWorld) {
    let mails: Vec<_> = (0..5).map(mail).collect();
    put(world, &mails).await;
    let mut reader = Reader::default();
    reader.read(&*world.source()).await.unwrap();
    // Nothing new, to this process and to another; and a quiet look moves no cursor for ever.
    let source = world.source();
    for _ in 0..2 {
        let quiet = source.changes(reader.cursor.as_deref()).await.unwrap();
        assert!(
            quiet.messages.is_empty() && quiet.removed.is_empty() && !quiet.more && !quiet.resync,
            "{quiet:?}"
        );
        reader.cursor = Some(quiet.cursor);
    }
    let oldest = reader.held[0].0.clone();
    world.take_oldest_away().await;
    world.put(&mail(5)).await;
    reader.read(&*source).await.unwrap();
    reader.holds(&(0..6).map(mail).collect::<Vec<_>>());
    assert!(reader.removed.is_empty() || reader.removed == [oldest.clone()], "{:?}", reader.removed);
    // A reader who comes late does not see it, and it cannot be fetched.
    let mut late = Reader::default();
    late.read(&*world.source()).await.unwrap();
    late.holds(&(1..6).map(mail).collect::<Vec<_>>());
}

pub(crate) async fn cuts(world: &impl SourceWorld) {
    // More than a page, and one message that comes in several pieces.
    let mut mails: Vec<_> = (0..52).map(mail).collect();
    mails[3].extend("0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(7_000).into_bytes());
    put(world, &mails).await;
    world.line().count_anew();
    let mut whole = Reader::default();
    whole.read(&*world.source()).await.unwrap();
    whole.holds(&mails);
    world.line().hang_up();
    let places = world.line().places(CUTS);
    assert!(places.len() > CUTS / 2, "{places:?}");
    let mut failed = 0;
    for (index, (way, bytes)) in places.into_iter().enumerate() {
        world.line().cut_after(way, bytes);
        let (mut source, mut reader) = (world.source(), Reader::default());
        for attempt in 0.. {
            let Err(failure) = reader.read(&*source).await else { break };
            failed += 1;
            assert!(attempt < 1, "one cut, {way:?} {bytes}, fails one reading: {failure:?}");
            assert_eq!(failure.decision(), Decision::Retry { after: None }, "{way:?} {bytes} {failure:?}");
            assert_ne!(failure.origin, Origin::Ourselves, "{failure:?}");
            // Whoever goes on: the same process, or one that was started anew.
            if index % 2 == 1 {
                source = world.source();
            }
        }
        reader.holds(&mails);
        world.line().mend();
        world.line().hang_up();
    }
    assert!(failed > 3, "only {failed} cuts were felt");
}

pub(crate) async fn untouched(world: &impl SourceWorld) {
    let mails: Vec<_> = (0..5).map(mail).collect();
    put(world, &mails).await;
    let before = world.marks().await;
    assert_eq!(before.len(), 5);
    let source = world.source();
    source.probe().await.unwrap();
    let mut reader = Reader::default();
    reader.read(&*source).await.unwrap();
    reader.holds(&mails);
    reader.read(&*world.source()).await.unwrap();
    assert_eq!(world.marks().await, before);
}

/// Counts what comes, and remembers the largest piece.
#[derive(Default)]
struct Pieces {
    all: Vec<u8>,
    largest: usize,
}

#[async_trait]
impl MessageSink for Pieces {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.largest = self.largest.max(chunk.len());
        self.all.extend_from_slice(&chunk);
        Ok(())
    }
}

pub(crate) async fn large_message(world: &impl SourceWorld) {
    let mut large = mail(0);
    large.extend(
        "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr\r\n".repeat(90_000).into_bytes(),
    );
    world.put(&large).await;
    world.put(&mail(1)).await;
    let source = world.source();
    let page = source.changes(None).await.unwrap();
    let mut pieces = Pieces::default();
    source.fetch(&page.messages[0].provider_id, LIMIT, &mut pieces).await.unwrap();
    assert!(pieces.all.ends_with(&large) && pieces.largest <= 1024 * 1024, "{}", pieces.largest);
    let mut pieces = Pieces::default();
    let failure = source.fetch(&page.messages[0].provider_id, 1_000_000, &mut pieces).await.unwrap_err();
    assert_eq!(failure.origin, Origin::Ourselves, "{failure:?}");
    assert!(pieces.all.len() <= 1_000_000 + 64 * 1024, "{}", pieces.all.len());
    let mut small = Vec::new();
    source.fetch(&page.messages[1].provider_id, LIMIT, &mut small).await.unwrap();
    assert!(small.ends_with(&mail(1)), "the next one comes all the same");
}

pub(crate) async fn odd_bytes(world: &impl SourceWorld) {
    let mut every = b"Subject: 0\r\nX-Odd: =?iso-2022-jp?B?GyRC?= \xe9\xff\r\n\r\n".to_vec();
    every.extend((1..=255).filter(|byte| ![b'\r', b'\n'].contains(byte)));
    every.extend(b"\r\n{12345}\r\n* BYE\r\np1 OK\r\n)\r\n]]>&#0;</t:MimeContent>\r\n");
    let mails = [
        every,
        b"Subject: 1\r\nMessage-ID: <\xc3\xa4@x>\r\n\r\n\xf0\x9f\x93\xa6\r\n.\r\n".to_vec(),
        b"Subject: 2\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3$s\x1b(B\r\n".to_vec(),
        b"Subject: 3\r\nContent-Type: text/plain; charset=no-such-thing\r\n\r\n\x80\x81\r\n".to_vec(),
        b"Subject: 4\r\n\r\n".to_vec(),
    ];
    put(world, &mails).await;
    let mut reader = Reader::default();
    reader.read(&*world.source()).await.unwrap();
    reader.holds(&mails);
}

pub(crate) async fn backlog(world: &impl SourceWorld) {
    let mails: Vec<_> = (0..1_000).map(mail).collect();
    put(world, &mails).await;
    let mut reader = Reader::default();
    reader.read(&*world.source()).await.unwrap();
    reader.holds(&mails);
    assert_eq!(world.refused_as_too_many().await, 0);
}

pub(crate) async fn appears_later(world: &impl SourceWorld) {
    let mut reader = Reader::default();
    for _ in 0..2 {
        let failure = reader.read(&*world.missing()).await.unwrap_err();
        assert_eq!((failure.origin, failure.decision()), (Origin::Provider, Decision::Hold), "{failure:?}");
        assert!(failure.advice.is_some() && !failure.words.is_empty(), "{failure:?}");
    }
    assert_eq!(reader.cursor, None);
    world.appear(&mail(0)).await;
    reader.read(&*world.missing()).await.unwrap();
    reader.holds(&[mail(0)]);
}

pub(crate) async fn permission(world: &impl SourceWorld) {
    let mails: Vec<_> = (0..4).map(mail).collect();
    put(world, &mails[..2]).await;
    let mut reader = Reader::default();
    reader.read(&*world.source()).await.unwrap();
    let cursor = reader.cursor.clone();
    world.forbid().await;
    put(world, &mails[2..]).await;
    for _ in 0..2 {
        let failure = reader.read(&*world.source()).await.unwrap_err();
        assert_eq!((failure.origin, failure.decision()), (Origin::Provider, Decision::Hold), "{failure:?}");
        assert!(failure.advice.is_some() && !failure.words.is_empty(), "{failure:?}");
    }
    assert_eq!(reader.cursor, cursor);
    world.permit().await;
    reader.read(&*world.source()).await.unwrap();
    reader.holds(&mails);
}

pub(crate) async fn pause(world: &impl SourceWorld) {
    world.put(&mail(0)).await;
    let (source, mut reader) = (world.source(), Reader::default());
    if world.want_pause().await {
        let failure = reader.read(&*source).await.unwrap_err();
        let after = Some(jiff::SignedDuration::from_secs(17));
        assert_eq!(failure.decision(), Decision::Retry { after }, "{failure:?}");
    }
    reader.read(&*source).await.unwrap();
    reader.holds(&[mail(0)]);
}
