//! A Microsoft 365 tenant on your own machine: Entra, Microsoft Graph and EWS on one HTTP listener, IMAP and SMTP
//! submission beside it, with the real paths, shapes and refusals, so that every command of Postroom works with no network, no tenant and no account.
//!
//! It is a counterpart to test against, not a mail server: passwords are kept readable, TLS is absent, and
//! `/_sandbox/` lets a test drop mail into a mailbox or break the next answer. Listen on loopback.
//!
//! # Parts
//!
//! | module | what is inside |
//! |---|---|
//! | `line` | the listener, whose connections can be cut |
//! | `server` | bounds, faults, the log of requests, and the way from a request to its area |
//! | `limits` | requests, uploaded bytes and messages per application and mailbox |
//! | `faults` | what goes wrong on request |
//! | `call`, `answer` | a request as the areas see it; answers and errors in Graph's shape |
//! | `odata` | `$select`, `$filter`, `$top` and their kin |
//! | `entra` | every grant of the token endpoint, log-on and consent pages, discovery, keys, checking of tokens |
//! | `directory` | organization, applications and their credentials, service principals, role assignments, users |
//! | `exchange` | scopes, role assignments and access policies, the PowerShell that changes them, the decision at a mailbox |
//! | `batch` | several requests in one |
//! | `doors` | listeners of the mail protocols: connections, sign-in with XOAUTH2, log |
//! | `imap` | IMAP4rev1 as Exchange Online speaks it |
//! | `smtp` | SMTP submission as Exchange Online speaks it |
//! | `ews` | Exchange Web Services |
//! | `mail` | messages, folders, sending, delivery, attachments and upload sessions, delta, change notifications |
//! | `control` | the endpoints under `/_sandbox/`, the tenant's page, its policy for applications |
//! | `state` | one SQLite database: schema, start content, settings; the tenant's clock |
//!
//! # How to add one more endpoint
//!
//! Find the area's `mod.rs` (`mail/mod.rs` for anything below `/users/{id}/`), add one arm to its `match` on
//! method and path, and write the function it calls: it gets the tenant, one open transaction and the call, and
//! returns an answer or a `Refusal`. The transaction is committed when the answer is one, and rolled back when it
//! is a refusal. Paths arrive decoded, so an arm is written in plain words. Then a test in `tests/it/`.

mod answer;
mod batch;
mod call;
mod control;
mod directory;
mod doors;
mod entra;
mod ews;
mod exchange;
mod faults;
mod imap;
mod limits;
mod line;
mod mail;
mod odata;
mod server;
mod smtp;
mod state;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postroom_model::Env;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a stopping sandbox waits for requests under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a sandbox is started with: made by [`SandboxOptions::new`], then changed field by field.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SandboxOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where IMAP listens; without it the address of `listen` and a free port.
    pub listen_imap: Option<SocketAddr>,
    /// Where SMTP submission listens; without it the address of `listen` and a free port.
    pub listen_smtp: Option<SocketAddr>,
    /// Folder of its data, made when missing; none keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Clock and chance.
    pub env: Env,
    /// How long new secrets, keys, consents and Exchange changes take to be effective, on the tenant's clock.
    pub propagation: Duration,
    /// Limits of the service.
    pub limits: Limits,
    /// How often a device code may be asked about.
    pub device_interval: Duration,
    /// Serve over TLS, with a certificate made at the start and written to this file for clients to trust: HTTP and
    /// IMAP from the first byte, SMTP by STARTTLS. Without it nothing is protected.
    pub tls_certificate: Option<PathBuf>,
}

impl SandboxOptions {
    /// A tenant in memory at `listen`, without propagation, with the service's own limits.
    pub fn new(listen: SocketAddr, env: Env) -> Self {
        Self {
            listen,
            listen_imap: None,
            listen_smtp: None,
            data: None,
            env,
            propagation: Duration::ZERO,
            limits: Limits::default(),
            device_interval: Duration::from_secs(5),
            tls_certificate: None,
        }
    }
}

/// Limits per application and mailbox (<https://learn.microsoft.com/graph/throttling-limits>); zero is no limit.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Requests in ten minutes.
    pub requests_per_ten_minutes: u32,
    /// Requests to Graph under way at the same time.
    pub parallel: u32,
    /// Requests to EWS under way at the same time, streams not counted.
    pub parallel_ews: u32,
    /// Bytes of bodies in five minutes.
    pub upload_per_five_minutes: u64,
    /// Messages a mailbox sends in a minute; the service's own is 30, off unless asked for.
    pub messages_per_minute: u32,
    /// Connections of SMTP submission a mailbox may have at a time.
    pub submissions: u32,
    /// Bytes of the largest message SMTP takes; also the largest one IMAP appends. Never without limit.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_ten_minutes: 10_000,
            parallel: 4,
            parallel_ews: 27,
            upload_per_five_minutes: 150 * 1024 * 1024,
            messages_per_minute: 0,
            submissions: 3,
            message_bytes: 35 * 1024 * 1024,
        }
    }
}

/// Why a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder of the data cannot be made.
    #[error("cannot make the data folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database cannot be opened, or holds something else.
    #[error("cannot {action} in the sandbox's database")]
    Database {
        /// What was being done.
        action: &'static str,
        /// The database's reason.
        source: sqlx::Error,
    },
    /// The certificate cannot be made, used or written.
    #[error("cannot protect the line with TLS")]
    Tls {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The signing key cannot be made or read.
    #[error("cannot {0} the key that signs tokens")]
    Key(&'static str),
}

/// What a client needs to use the sandbox.
#[derive(Clone, Serialize)]
pub struct Ready {
    /// Base address of Entra.
    pub authority: String,
    /// Base address of Graph, without version.
    pub graph: String,
    /// The tenant.
    pub tenant_id: String,
    /// Who may change the directory.
    pub admin: Admin,
    /// The mailboxes besides the administrator's.
    pub users: Vec<SandboxUser>,
    /// The tenant's domain.
    pub domain: String,
    /// Page that shows the tenant; served on loopback only.
    pub portal: String,
    /// Address of Exchange Web Services.
    pub ews: String,
    /// Host and port of IMAP: TLS from the first byte when the sandbox serves TLS.
    pub imap: String,
    /// Host and port of SMTP submission: STARTTLS when the sandbox serves TLS.
    pub smtp: String,
}

/// The administrator's sign-in. Made for this sandbox, so it may be shown.
#[derive(Clone, Serialize)]
pub struct Admin {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// A user with a mailbox.
#[derive(Clone, Serialize)]
pub struct SandboxUser {
    /// Address, also the user principal name.
    pub address: String,
    /// Name shown to people.
    pub display_name: String,
    /// Password for the password grant.
    pub password: String,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self.users.iter().map(|user| user.address.as_str()).collect();
        f.debug_struct("Ready")
            .field("authority", &self.authority)
            .field("graph", &self.graph)
            .field("tenant_id", &self.tenant_id)
            .field("admin", &self.admin)
            .field("users", &addresses)
            .field("domain", &self.domain)
            .field("portal", &self.portal)
            .field("ews", &self.ews)
            .field("imap", &self.imap)
            .field("smtp", &self.smtp)
            .finish()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for SandboxUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxUser").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A running sandbox. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Sandbox {
    ready: Ready,
    address: SocketAddr,
    stop: CancellationToken,
    served: Option<JoinHandle<()>>,
    tenant: Arc<state::Tenant>,
}

impl Sandbox {
    /// Binds, prepares the tenant and serves it in a background task.
    ///
    /// # Errors
    /// [`SandboxError`] when the address is taken, or the data cannot be opened.
    pub async fn start(options: SandboxOptions) -> Result<Sandbox, SandboxError> {
        let listen = options.listen;
        let (listener, address) = bind(listen).await?;
        let beside = |chosen: Option<SocketAddr>| chosen.unwrap_or(SocketAddr::new(listen.ip(), 0));
        let (imap, imap_address) = bind(beside(options.listen_imap)).await?;
        let (smtp, smtp_address) = bind(beside(options.listen_smtp)).await?;
        let control = address.ip().is_loopback();
        let tls = options.tls_certificate.as_ref().map(tls::Tls::new).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let lines = line::Lines::new(listener, tls.clone())
            .map_err(|source| SandboxError::Listen { address, source })?;
        let tenant = Arc::new(state::Tenant::open(options, control).await?);
        let ready = tenant.ready(&format!("{scheme}://{address}"), imap_address, smtp_address).await?;
        let stop = tenant.closing.clone();
        let door =
            |door, listener| doors::serve(door, listener, Arc::clone(&tenant), tls.clone(), stop.clone());
        let (imap, smtp) = (door(doors::Door::Imap, imap), door(doors::Door::Smtp, smtp));
        let http = server::serve(lines, Arc::clone(&tenant), stop.clone());
        let served = tokio::spawn(async move {
            tokio::join!(http, imap, smtp);
        });
        tokio::spawn(mail::tell(Arc::clone(&tenant), stop.clone()));
        tracing::info!(%address, tenant = %ready.tenant_id, "sandbox is ready");
        Ok(Sandbox { ready, address, stop, served: Some(served), tenant })
    }

    /// What a client needs to use it.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, waits for the requests under way, closes the database.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(mut served) = self.served.take()
            && tokio::time::timeout(STOP_PATIENCE, &mut served).await.is_err()
        {
            tracing::warn!("requests were still under way when the sandbox stopped");
            served.abort();
        }
        self.tenant.close().await;
    }
}

/// A listener, and where it really listens.
async fn bind(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), SandboxError> {
    let refuse = |source| SandboxError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    Ok((listener, bound))
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
