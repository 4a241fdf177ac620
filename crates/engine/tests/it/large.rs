//! Large messages: from the network to the inbox, and never in memory as a whole.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use postroom_engine::{Engine, EngineSettings};
use postroom_model::connection::{Connection, ConnectionSettings};
use postroom_model::failure::Failure;
use postroom_model::inbox::InboxState;
use postroom_model::mailbox::Mailbox;
use postroom_transport::{Changes, MessageSink, RemoteMessage, Sender, Source, Transports};

use crate::house::House;

const ORDERS: &str = "orders@contoso.example";
const BEGINNING: &str = "From: ann@fabrikam.example\r\nTo: orders@contoso.example\r\nSubject: Drawings\r\nMessage-ID: <drawings@fabrikam.example>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nThe drawings of order 4711.\r\n--b\r\nContent-Type: application/zip; name=drawings.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const CHUNK: usize = 64 * 1024;

/// A mailbox with one message that is made while it is fetched. Its source knows no limit.
struct Stream {
    size: usize,
}

#[async_trait]
impl Transports for Stream {
    fn can_send(&self, _: &ConnectionSettings) -> Result<(), String> {
        Err("it only receives".to_owned())
    }

    async fn sender(&self, _: &Connection) -> Result<Box<dyn Sender>, Failure> {
        unreachable!("nothing is sent")
    }

    async fn source(&self, _: &Connection, _: &Mailbox) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Self { size: self.size }))
    }
}

#[async_trait]
impl Source for Stream {
    async fn changes(&self, cursor: Option<&str>) -> Result<Changes, Failure> {
        let message = RemoteMessage {
            provider_id: "drawings".into(),
            message_id: None,
            received_at: postroom_model::Timestamp::UNIX_EPOCH,
        };
        let messages = if cursor.is_none() { vec![message] } else { vec![] };
        Ok(Changes { messages, removed: vec![], cursor: "1".into(), more: false, resync: false })
    }

    async fn fetch(&self, _: &str, _: u64, sink: &mut dyn MessageSink) -> Result<Option<u64>, Failure> {
        sink.write(Bytes::from_static(BEGINNING.as_bytes())).await?;
        let line = [&[b'Q'; 76][..], b"\r\n"].concat();
        let chunk = Bytes::from(line.repeat(CHUNK / line.len()));
        let mut written = BEGINNING.len();
        while written < self.size {
            sink.write(chunk.clone()).await?;
            written += chunk.len();
        }
        Ok(Some(written as u64))
    }

    async fn probe(&self) -> Result<String, Failure> {
        Ok("1 message".to_owned())
    }
}

impl Stream {
    fn engine(size: usize, house: &House, settings: EngineSettings) -> Engine {
        Engine::new(house.store.clone(), Arc::new(Self { size }), house.env.clone(), settings)
    }
}

/// A line of `/proc/self/status`, in bytes.
#[cfg(target_os = "linux")]
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// Not a test of its own: a process whose memory the next one looks at.
#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run by another test"]
async fn child_that_collects_a_large_message() {
    let house = House::new().await;
    let mailbox = house.mailbox(ORDERS).await;
    let engine = Stream::engine(100_000_000, &house, EngineSettings::default());
    let idle = status("VmRSS");
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    let read = house.inbox(InboxState::Processed).await.remove(0);
    assert_eq!((read.summary.subject.as_str(), read.summary.attachments), ("Drawings", 1));
    assert_eq!(read.summary.preview, "The drawings of order 4711.");
    assert!(read.size > 100_000_000);
    println!("memory: {}", status("VmHWM") - idle);
}

#[cfg(target_os = "linux")]
#[test]
fn a_message_of_100_mb_takes_little_memory_and_can_be_seen() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "large::child_that_collects_a_large_message", "--ignored", "--nocapture"]);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let taken: u64 =
        said.split("memory: ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(taken < 64_000_000, "{taken} bytes above idle");
}

#[tokio::test]
async fn an_endless_message_is_cut_at_the_limit_whatever_its_source_does() {
    let house = House::new().await;
    let mailbox = house.mailbox(ORDERS).await;
    let settings = EngineSettings { max_collect_bytes: 1_000_000, ..EngineSettings::default() };
    let engine = Stream::engine(usize::MAX, &house, settings);
    assert_eq!(engine.collect_now(mailbox).await.unwrap(), 1);
    let set_apart = house.inbox(InboxState::Quarantined).await.remove(0);
    let reason = set_apart.reason.unwrap();
    assert!(reason.contains("the message has more than 1000000 bytes"), "{reason}");
}

#[tokio::test]
async fn a_large_message_is_known_to_hold_files_even_where_none_begins_within_what_is_read() {
    let house = House::new().await;
    let mailbox = house.mailbox(ORDERS).await;
    let settings = EngineSettings { read_whole_bytes: 200, ..EngineSettings::default() };
    Stream::engine(300_000, &house, settings).collect_now(mailbox).await.unwrap();
    let read = house.inbox(InboxState::Processed).await.remove(0);
    assert_eq!((read.summary.subject.as_str(), read.summary.attachments), ("Drawings", 1));
}
