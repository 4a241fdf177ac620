//! Stands between Postroom and the tenant and writes down every byte, so that a test knows each token, assertion,
//! device code and secret that was ever on the wire, and can search for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::World;

/// Values of JSON answers that are secrets.
const ANSWERS: [&str; 5] = ["access_token", "refresh_token", "id_token", "device_code", "secretText"];
/// Fields of forms that are secrets.
const FIELDS: [&str; 5] = ["client_assertion", "client_secret", "password", "device_code", "refresh_token"];

type Transcript = Arc<Mutex<Vec<u8>>>;

/// The tap; it ends with the test's runtime.
pub(crate) struct Wiretap {
    transcripts: Arc<Mutex<Vec<Transcript>>>,
}

impl Wiretap {
    /// Puts the tap before the tenant of this world: whoever asks `world.ready` for an address gets the tap's.
    pub(crate) async fn before(world: &mut World) -> Self {
        let behind = world.ready["graph"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        assert_eq!(world.ready["authority"], world.ready["graph"], "one address is tapped");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        for name in ["authority", "graph"] {
            world.ready[name] = Value::String(address.clone());
        }
        let transcripts = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&transcripts);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let transcript = Transcript::default();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&transcript));
                if let Ok(far) = TcpStream::connect(&behind).await {
                    tokio::spawn(carry(near, far, transcript));
                }
            }
        });
        Self { transcripts }
    }

    /// Every secret that was on the wire, with what it is.
    pub(crate) fn secrets(&self) -> BTreeSet<(&'static str, String)> {
        let mut found = BTreeSet::new();
        for transcript in self.transcripts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let bytes = transcript.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let text = String::from_utf8_lossy(&bytes);
            for name in ANSWERS {
                let values = after(&text, &format!("\"{name}\":\""), |c| c == '"');
                found.extend(values.into_iter().map(|value| (name, value)));
            }
            let bearer = after(&text, "authorization: Bearer ", char::is_whitespace);
            found.extend(bearer.into_iter().map(|value| ("access_token", value)));
            for name in FIELDS {
                for start in ["&", "\r\n"] {
                    let ends = |c: char| c == '&' || c.is_whitespace();
                    for value in after(&text, &format!("{start}{name}="), ends) {
                        let plain = url::form_urlencoded::parse(format!("v={value}").as_bytes())
                            .map(|(_, value)| value.into_owned())
                            .collect::<String>();
                        found.extend([(name, value), (name, plain)]);
                    }
                }
            }
        }
        found
    }
}

/// What stands behind each `marker`, to where it ends.
fn after(text: &str, marker: &str, ends: impl Fn(char) -> bool) -> Vec<String> {
    let starts = text.match_indices(marker).map(|(at, _)| &text[at + marker.len()..]);
    starts.map(|rest| rest[..rest.find(&ends).unwrap_or(rest.len())].to_owned()).collect()
}

/// Carries bytes both ways until one side ends. Where the direction changes a new line is written: a request's body
/// ends there.
async fn carry(mut near: TcpStream, mut far: TcpStream, transcript: Transcript) {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut asking = true;
    loop {
        let (bytes, to, ask) = tokio::select! {
            read = near.read(&mut asked) => match read {
                Ok(count) if count > 0 => (&asked[..count], &mut far, true),
                _ => return,
            },
            read = far.read(&mut answered) => match read {
                Ok(count) if count > 0 => (&answered[..count], &mut near, false),
                _ => return,
            },
        };
        {
            let mut kept = transcript.lock().unwrap_or_else(PoisonError::into_inner);
            if asking != ask {
                kept.push(b'\n');
            }
            kept.extend_from_slice(bytes);
        }
        asking = ask;
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
