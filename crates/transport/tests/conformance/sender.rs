//! What every sender keeps. The caller here is the outbox in small: what is not known is looked up, and what was written
//! down is used again.

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use postroom_mime::read;
use postroom_model::Env;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::outbox::Envelope;
use postroom_transport::{Reconciled, SendJob, SendNotes, SendOutcome, Sender};

use crate::SenderWorld;

/// The largest message that the servers of SMTP take here, in bytes.
pub(crate) const LARGEST_BY_SMTP: usize = 8_000_000;
/// Places where the line is cut.
const CUTS: usize = 40;

/// Writes down the draft.
#[derive(Default)]
struct Notes(Mutex<Option<String>>);

#[async_trait]
impl SendNotes for Notes {
    async fn draft_created(&self, provider_id: &str) -> Result<(), Failure> {
        *self.0.lock().unwrap() = Some(provider_id.to_owned());
        Ok(())
    }
}

fn job(world: &impl SenderWorld, number: usize, more: &str, body: &str) -> SendJob {
    let [first, second] = world.recipients();
    let message_id = format!("<{number}@contoso.example>");
    let raw = format!(
        "Message-ID: {message_id}\r\nFrom: orders@contoso.example\r\nTo: {first}, {second}\r\n\
         Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nSubject: {number}\r\nMIME-Version: 1.0\r\n{more}\r\n{body}"
    );
    let (env, _clock) = Env::for_test(1_000 + number as u64);
    let from = "orders@contoso.example".parse().unwrap();
    SendJob {
        id: env.new_id(),
        envelope: Envelope { from, to: vec![first, second] },
        message_id,
        raw: Bytes::from(raw),
        provider_id: None,
    }
}

fn plain(world: &impl SenderWorld, number: usize) -> SendJob {
    job(world, number, "Content-Type: text/plain; charset=us-ascii\r\n", &format!("Hello {number}\r\n"))
}

async fn once(sender: &dyn Sender, job: &mut SendJob) -> SendOutcome {
    let notes = Notes::default();
    let outcome = sender.send(job, &notes).await;
    let noted = notes.0.lock().unwrap().take();
    job.provider_id = noted.or(job.provider_id.take());
    outcome
}

#[track_caller]
fn sent(outcome: SendOutcome) {
    let SendOutcome::Sent(receipt) = outcome else { panic!("not sent: {outcome:?}") };
    assert!(!receipt.words.is_empty());
}

#[track_caller]
fn not_sent(outcome: SendOutcome) -> Failure {
    match outcome {
        SendOutcome::NotSent(failure) => failure,
        other => panic!("not what it should be: {other:?}"),
    }
}

/// How the outbox ends with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Sent,
    /// Nobody can tell, so it is not sent again.
    Unknown,
}

/// Sends until it is sent or nobody can tell, as the outbox does; counts how often the outcome was unknown.
async fn deliver(world: &impl SenderWorld, job: &mut SendJob, unknown: &mut usize) -> End {
    let mut in_doubt = false;
    for attempt in 0..8 {
        // Each attempt may be one of another process.
        let sender = world.sender();
        if in_doubt {
            match sender.reconcile(job).await {
                Reconciled::Sent(_) => return End::Sent,
                Reconciled::NotSent { draft } => job.provider_id = draft,
                Reconciled::StillUnknown(_) => {
                    world.pass(600);
                    continue;
                }
                Reconciled::CannotTell(_) => return End::Unknown,
            }
        }
        match once(&*sender, job).await {
            SendOutcome::Sent(_) => return End::Sent,
            SendOutcome::NotSent(failure) => {
                assert!(attempt < 3, "{failure:?}");
                assert!(matches!(failure.decision(), Decision::Retry { .. }), "{failure:?}");
                in_doubt = false;
            }
            SendOutcome::Unknown(_) => {
                *unknown += 1;
                in_doubt = true;
            }
        }
    }
    panic!("no end: {job:?}")
}

/// How many copies of this message each recipient has.
async fn copies(world: &impl SenderWorld, job: &SendJob) -> [usize; 2] {
    let [first, second] = world.recipients();
    let count = |raws: Vec<Vec<u8>>| raws.iter().filter(|raw| id_of(raw) == job.message_id).count();
    [count(world.arrived(&first).await), count(world.arrived(&second).await)]
}

fn id_of(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(&raw[..raw.len().min(16_000)]).into_owned();
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
    line.map(|line| line[11..].trim().to_owned()).unwrap_or_default()
}

pub(crate) async fn order(world: &impl SenderWorld) {
    let sender = world.sender();
    let mut jobs: Vec<_> = (0..5).map(|number| plain(world, number)).collect();
    for job in &mut jobs {
        sent(once(&*sender, job).await);
        world.pass(1);
    }
    for at in world.recipients() {
        let arrived = world.arrived(&at).await;
        assert_eq!(arrived.len(), 5, "{at}");
        for job in &jobs {
            assert_eq!(arrived.iter().filter(|raw| id_of(raw) == job.message_id).count(), 1);
        }
        let ids: Vec<String> = arrived.iter().map(|raw| id_of(raw)).collect();
        let wanted: Vec<String> = jobs.iter().map(|job| job.message_id.clone()).collect();
        assert_eq!(ids, wanted, "{at}");
    }
}

pub(crate) async fn three_outcomes(world: &impl SenderWorld) {
    let sender = world.sender();
    let mut first = plain(world, 0);
    sent(once(&*sender, &mut first).await);
    assert_eq!(copies(world, &first).await, [1, 1]);

    let mut refused = world.refused(plain(world, 1)).await;
    let failure = not_sent(once(&*sender, &mut refused).await);
    assert_eq!((failure.origin, failure.decision()), (Origin::Provider, Decision::Fail), "{failure:?}");
    assert!(!failure.words.is_empty() && (failure.status.is_some() || failure.code.is_some()), "{failure:?}");
    assert_eq!(copies(world, &refused).await, [0, 0]);

    let mut lost = plain(world, 2);
    world.lose_answer(&*sender, plain(world, 3)).await;
    let outcome = once(&*sender, &mut lost).await;
    assert!(matches!(&outcome, SendOutcome::Unknown(failure) if !failure.words.is_empty()), "{outcome:?}");
    world.line().mend();
    match world.sender().reconcile(&lost).await {
        Reconciled::Sent(_) => assert!(tells(world)),
        Reconciled::CannotTell(_) => assert!(!tells(world)),
        other => panic!("{other:?}"),
    }
    assert_eq!(copies(world, &lost).await, [1, 1], "it was sent, and is not sent again");
}

fn tells<W: SenderWorld>(_: &W) -> bool {
    W::TELLS
}

pub(crate) async fn cuts(world: &impl SenderWorld) {
    world.line().count_anew();
    sent(once(&*world.sender(), &mut plain(world, 0)).await);
    let places = world.line().places(CUTS);
    world.line().hang_up();
    assert!(places.len() > 15, "{places:?}");
    let (mut jobs, mut unknown) = (Vec::new(), 0);
    for (index, (way, bytes)) in places.into_iter().enumerate() {
        world.line().cut_after(way, bytes);
        let mut job = plain(world, index + 1);
        let end = deliver(world, &mut job, &mut unknown).await;
        assert!(end == End::Sent || !tells(world), "{way:?} {bytes}");
        jobs.push((job, end, way, bytes));
        world.line().mend();
        world.line().hang_up();
    }
    assert!(unknown > 0, "no cut left the outcome open");
    for at in world.recipients() {
        let arrived: Vec<String> = world.arrived(&at).await.iter().map(|raw| id_of(raw)).collect();
        for (job, end, way, bytes) in &jobs {
            let copies = arrived.iter().filter(|id| **id == job.message_id).count();
            let allowed = if *end == End::Sent { 1..=1 } else { 0..=1 };
            assert!(allowed.contains(&copies), "{copies} copies at {at}, {end:?}, cut at {way:?} {bytes}");
        }
    }
}

pub(crate) async fn large_message(world: &impl SenderWorld) {
    let file: Vec<u8> =
        (0..4_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let encoded: Vec<String> = STANDARD
        .encode(&file)
        .as_bytes()
        .chunks(76)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let body = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n--b\r\nContent-Type: application/octet-stream; name=a.bin\r\n\
         Content-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        encoded.join("\r\n")
    );
    let more = "Content-Type: multipart/mixed; boundary=b\r\n";
    let mut large = job(world, 0, more, &body);
    sent(once(&*world.sender(), &mut large).await);
    for at in world.recipients() {
        let arrived = world.arrived(&at).await;
        assert_eq!(arrived.len(), 1);
        let found = read::attachment(&arrived[0], 0).unwrap().unwrap();
        assert!(found.info.name == "a.bin" && found.content == file, "{:?}", found.info);
    }
    let Some((largest, told)) = large_limit(world) else { return };
    let mut too_large = job(world, 1, more, &body.repeat(2));
    let failure = not_sent(once(&*world.sender(), &mut too_large).await);
    assert_eq!(failure.decision(), Decision::Fail, "{failure:?}");
    assert!(
        failure.advice.as_deref().is_some_and(|advice| advice.contains("smaller attachments")),
        "{failure:?}"
    );
    let figures = [too_large.raw.len().to_string(), largest.to_string()];
    assert!(!told || figures.iter().all(|figure| failure.words.contains(figure)), "{failure:?}");
    assert_eq!(copies(world, &too_large).await, [0, 0]);
}

fn large_limit<W: SenderWorld>(_: &W) -> Option<(usize, bool)> {
    W::LARGEST
}

pub(crate) async fn odd_charsets(world: &impl SenderWorld) {
    let sender = world.sender();
    let cases: [(&str, &[u8], &str); 4] = [
        (
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
            "Grüße 📦\r\n".as_bytes(),
            "Grüße 📦",
        ),
        (
            "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            b"d=E9j=E0 vu\r\n",
            "déjà vu",
        ),
        ("Content-Type: text/plain; charset=iso-2022-jp\r\n", b"\x1b$B$3$s$K$A$O\x1b(B\r\n", "こんにちは"),
        (
            "Content-Type: text/plain; charset=windows-1252\r\nContent-Transfer-Encoding: base64\r\n",
            b"gCAxMC4tIJYgZ5xz\r\n",
            "€ 10.- – gœs",
        ),
    ];
    for (number, (more, body, _)) in cases.iter().enumerate() {
        let mut job = job(world, number, more, "");
        let subject = "Subject: =?utf-8?B?R3LDvMOfZQ==?= =?iso-8859-1?Q?_d=E9j=E0?= ";
        let head = String::from_utf8(job.raw.to_vec()).unwrap().replace("Subject: ", subject);
        job.raw = [head.as_bytes(), *body].concat().into();
        sent(once(&*sender, &mut job).await);
        world.pass(1);
    }
    for at in world.recipients() {
        let arrived = world.arrived(&at).await;
        assert_eq!(arrived.len(), cases.len());
        for (number, (raw, (.., wanted))) in arrived.iter().zip(cases).enumerate() {
            let view = read::view(raw).unwrap();
            assert_eq!(
                (view.summary.subject.as_str(), view.text.trim()),
                (&*format!("Grüße déjà {number}"), wanted)
            );
        }
    }
}

pub(crate) async fn permission(world: &impl SenderWorld) {
    let mut job = plain(world, 0);
    world.forbid().await;
    for _ in 0..2 {
        let failure = not_sent(once(&*world.sender(), &mut job).await);
        assert_eq!((failure.origin, failure.decision()), (Origin::Provider, Decision::Hold), "{failure:?}");
        assert!(failure.advice.is_some() && !failure.words.is_empty(), "{failure:?}");
    }
    world.permit().await;
    sent(once(&*world.sender(), &mut job).await);
    assert_eq!(copies(world, &job).await, [1, 1]);
}

pub(crate) async fn pause(world: &impl SenderWorld) {
    let (sender, mut job) = (world.sender(), plain(world, 0));
    if world.want_pause().await {
        let failure = not_sent(once(&*sender, &mut job).await);
        assert!(matches!(failure.decision(), Decision::Retry { .. }), "{failure:?}");
        assert_eq!(copies(world, &job).await, [0, 0]);
    }
    sent(once(&*sender, &mut job).await);
    assert_eq!(copies(world, &job).await, [1, 1]);
}
