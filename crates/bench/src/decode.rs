//! Decoding: a message of 100 MB as Graph and as EWS hand it out, from a server of this program to a stored blob.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use postroom_model::connection::{
    AuthenticationFlow, Cloud, ConnectionKind, ConnectionSettings, Endpoints, ExchangeApi,
};
use postroom_model::credential::Credential;
use postroom_model::failure::{Decision, Failure, Origin};
use postroom_model::{ConnectionId, Env, SecretString};
use postroom_store::BlobWriter;
use postroom_transport::{Account, Credentials, MessageSink};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{Figure, measure};

/// 100 MB in pieces that are whole in base64.
const PIECE: usize = 30_000;
const PIECES: usize = 3_334;
const PROMISED: f64 = 64.0;
const BEFORE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><m:GetItemResponse xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><m:ResponseMessages><m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:Message><t:MimeContent CharacterSet=\"UTF-8\">";
const AFTER: &str = "</t:MimeContent><t:ItemId Id=\"A\" ChangeKey=\"C\"/></t:Message></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse></s:Body></s:Envelope>";

struct Nothing;

#[async_trait]
impl Credentials for Nothing {
    async fn current(&self, _: ConnectionId) -> Result<Option<(Credential, SecretString)>, Failure> {
        Ok(None)
    }
}

/// A blob that is being written.
struct Blob(Box<dyn BlobWriter>);

#[async_trait]
impl MessageSink for Blob {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.0.write(chunk).await.map_err(|error| {
            Failure::new("store", Origin::Ourselves, error.to_string(), Decision::Retry { after: None })
        })
    }
}

/// Fetches the message into a new data folder.
pub(crate) async fn piece(api: &str, url: &str, folder: &str) -> Result<()> {
    let (env, _clock) = Env::for_test(1);
    let store = crate::collect::store(&env, Path::new(folder)).await?;
    let mut settings = ConnectionSettings::new(ConnectionKind::ExchangeOnline);
    settings.api = if api == "ews" { ExchangeApi::Ews } else { ExchangeApi::Graph };
    settings.flow = AuthenticationFlow::ClientSecret;
    settings.tenant_id = "contoso.example".into();
    settings.application_id = "5a1b2c3d-0000-4000-8000-00000000a001".into();
    let here: url::Url = url.parse()?;
    settings.cloud =
        Cloud::Custom(Endpoints { authority: here.clone(), graph: here.clone(), exchange: Some(here) });
    let wire = crate::collect::wire(&env, Arc::new(Nothing))?;
    let account = Account::of("orders@contoso.example".parse()?);
    let secret = Some("nQ3~invented.value_for-tests".to_owned().into());
    let source =
        wire.source_for(&settings, secret, &account).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let idle = measure::begin()?;
    let mut blob = Blob(store.write_blob().await?);
    let size =
        source.fetch("A", 150_000_000, &mut blob).await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    blob.0.finish().await?;
    measure::report(idle, std::time::Duration::ZERO)?;
    match size {
        Some(size) if size == (PIECE * PIECES) as u64 => Ok(()),
        other => bail!("{other:?} bytes came"),
    }
}

/// Answers requests with a token or the message, piece by piece, so that this process stays small too.
async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // A client that goes away ends it.
            let _ = answer(stream).await;
        });
    }
}

async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut target, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if target.is_empty() {
                target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        let line = b"A line of a very large message, which has sixty letters....\n".repeat(PIECE / 60);
        let (kind, before, piece, pieces, after) = if target.ends_with("/token") {
            ("application/json", r#"{"expires_in":3600,"access_token":"T"}"#, Vec::new(), 0, "")
        } else if target.ends_with(".asmx") {
            ("text/xml; charset=utf-8", BEFORE, STANDARD.encode(&line).into_bytes(), PIECES, AFTER)
        } else {
            ("text/plain", "", line, PIECES, "")
        };
        let total = before.len() + piece.len() * pieces + after.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {total}\r\n\r\n{before}");
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..pieces {
            stream.write_all(&piece).await?;
        }
        stream.write_all(after.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// The figures of decoding.
pub(crate) async fn figures() -> Result<Vec<Figure>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(serve(listener));
    let mut figures = Vec::new();
    for (api, what) in [
        ("graph", "memory above idle while 100 MB come by Graph into a blob"),
        ("ews", "memory above idle while 100 MB come by EWS into a blob"),
    ] {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().to_str().context("the folder is not UTF-8")?;
        let (took, _, memory) = measure::run_piece(&["decode", api, &url, folder])?;
        let verdict = measure::below(memory, PROMISED);
        let ours = format!("{:.1} MiB, {:.2} s", memory.above(), took.as_secs_f64());
        figures.push(Figure { what, ours, peer: String::new(), verdict });
    }
    server.abort();
    Ok(figures)
}
