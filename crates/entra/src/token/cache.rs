//! The token cache: one slot per key, one request at a time per slot.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use postroom_model::{Env, ExposeSecret};

use super::access::AccessToken;
use super::answer::{Answer, later, send_form};
use super::clock::Clocks;
use super::error::TokenError;
use super::request::{Key, Proof, TokenRequest};
use crate::http;

/// How long before its end a token is renewed; half of its life when that is shorter.
const MARGIN: SignedDuration = SignedDuration::from_secs(300);
/// How long a failed renewal is left alone while the old token still works.
const RENEWAL_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// How long nothing is asked after a 429 that named no time.
const DEFAULT_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// Slots beyond this number make room by forgetting those without a valid token.
const MANY_SLOTS: usize = 1024;
/// AADSTS700024: the assertion is outside its time.
const ASSERTION_TIME: u32 = 700_024;

/// Gets tokens and keeps them. Share one in the process: the cache is in it.
pub struct TokenClient {
    http: reqwest::Client,
    env: Env,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    clocks: Clocks,
    serial: AtomicU64,
}

/// One key's token.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Held by whoever asks the endpoint.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<(AccessToken, Timestamp)>,
    /// Requests that have ended, well or badly.
    attempts: u64,
    /// How the last request failed, for those who waited for it.
    failed: Option<TokenError>,
    /// Nothing is asked before this instant: the endpoint said so.
    pause: Option<(Timestamp, TokenError)>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A token that needs no renewal. After a failed renewal `renew_at` may lie behind its end.
    fn fresh(&self, now: Timestamp) -> Option<AccessToken> {
        let (token, renew_at) = self.token.as_ref()?;
        (now < *renew_at && now < token.expires_at()).then(|| token.clone())
    }

    /// A token that still works.
    fn valid(&self, now: Timestamp) -> Option<AccessToken> {
        self.token.as_ref().map(|(token, _)| token).filter(|token| now < token.expires_at()).cloned()
    }

    /// The pause that still lasts, with the rest of its time.
    fn paused(&self, now: Timestamp) -> Option<TokenError> {
        let (until, error) = self.pause.as_ref().filter(|(until, _)| now < *until)?;
        let rest = Some(until.duration_since(now));
        Some(match error.clone() {
            TokenError::Throttled { place, .. } => TokenError::Throttled { place, retry_after: rest },
            TokenError::Unavailable { place, status, .. } => {
                TokenError::Unavailable { place, status, retry_after: rest }
            }
            other => other,
        })
    }
}

impl fmt::Debug for TokenClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenClient")
    }
}

impl TokenClient {
    /// A client with an empty cache.
    pub fn new(http: reqwest::Client, env: Env) -> Self {
        Self { http, env, slots: Mutex::default(), clocks: Clocks::default(), serial: AtomicU64::new(1) }
    }

    /// A token that works now: from the cache, or fetched. However many ask at once for one key, one request goes
    /// out. A token due for renewal is handed out to others while one of them renews it, and to all when renewal
    /// fails.
    ///
    /// # Errors
    /// [`TokenError`], when there is none in the cache that still works. Those who waited for the same request get
    /// the same error. During a pause that the endpoint asked for, nothing is sent.
    pub async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let slot = self.slot(request);
        let seen = {
            let state = slot.state();
            if let Some(token) = state.fresh(self.env.now()) {
                return Ok(token);
            }
            state.attempts
        };
        let valid = slot.state().valid(self.env.now());
        let _flight = match (slot.flight.try_lock(), valid) {
            (Ok(flight), _) => flight,
            (Err(_), Some(token)) => return Ok(token),
            (Err(_), None) => slot.flight.lock().await,
        };
        {
            let state = slot.state();
            let now = self.env.now();
            if let Some(token) = state.fresh(now) {
                return Ok(token);
            }
            if let Some(error) = state.failed.as_ref().filter(|_| state.attempts != seen) {
                return state.valid(now).ok_or_else(|| error.clone());
            }
            if let Some(error) = state.paused(now) {
                return state.valid(now).ok_or(error);
            }
        }
        let answer = self.fetch(request).await;
        self.record(&slot, answer)
    }

    /// Forgets a token that the resource refused, so that the next call fetches another. Call it once per refusal:
    /// a token that was already replaced changes nothing.
    pub fn invalidate(&self, token: &AccessToken) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            let mut state = slot.state();
            if state.token.as_ref().is_some_and(|(kept, _)| kept.serial == token.serial) {
                state.token = None;
            }
        }
    }

    fn slot(&self, request: &TokenRequest) -> Arc<Slot> {
        let now = self.env.now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = request.key();
        if let Some(slot) = slots.get(&key) {
            return Arc::clone(slot);
        }
        if slots.len() >= MANY_SLOTS {
            // One that is in use (another holds it) or that works stays.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.state().valid(now).is_some());
        }
        Arc::clone(slots.entry(key).or_default())
    }

    /// Writes down what a request brought; a failure gives the old token while it works.
    fn record(&self, slot: &Slot, answer: Result<Fetched, TokenError>) -> Result<AccessToken, TokenError> {
        let now = self.env.now();
        let mut state = slot.state();
        state.attempts += 1;
        match answer {
            Ok(Fetched { token, renew_at }) => {
                state.token = Some((token.clone(), renew_at));
                state.failed = None;
                state.pause = None;
                Ok(token)
            }
            Err(error) => {
                state.failed = Some(error.clone());
                let wait = match &error {
                    TokenError::Throttled { retry_after, .. } => Some(retry_after.unwrap_or(DEFAULT_PAUSE)),
                    _ => error.retry_after(),
                };
                state.pause = wait.map(|wait| (later(now, wait), error.clone()));
                if let Some((_, renew_at)) = &mut state.token {
                    *renew_at = later(now, RENEWAL_PAUSE);
                }
                let valid = state.valid(now);
                if valid.is_some() {
                    tracing::warn!(error = %http::chain(&error), "token not renewed; the old one is still used");
                }
                valid.ok_or(error)
            }
        }
    }

    /// Asks, and asks once more when the authority's clock turned out to be another than ours.
    async fn fetch(&self, request: &TokenRequest) -> Result<Fetched, TokenError> {
        match self.ask(request).await {
            Err((TokenError::Refused(refusal), true)) if refusal.codes.contains(&ASSERTION_TIME) => {
                self.ask(request).await.map_err(|(error, _)| error)
            }
            other => other.map_err(|(error, _)| error),
        }
    }

    /// One request. An error comes with whether the authority's clock was learnt from its answer.
    async fn ask(&self, request: &TokenRequest) -> Result<Fetched, (TokenError, bool)> {
        let place = request.place();
        let address = http::join(&request.authority, &[request.tenant.trim(), "oauth2", "v2.0", "token"])
            .filter(|address| http::is_private(address) && !request.tenant.trim().is_empty())
            .ok_or_else(|| (TokenError::Address { place: place.clone() }, false))?;
        // Life counts from before the question, so that a slow answer is never believed too long.
        let asked_at = self.env.now();
        let there = self.clocks.there(&request.authority, asked_at);
        let proof = request.credential.proof(&address, &request.application, there, &self.env).await;
        let Proof { mut fields, hidden: (name, hidden) } =
            proof.map_err(|source| (TokenError::Credential { place: place.clone(), source }, false))?;
        fields.push((name, hidden.expose_secret()));
        fields.push(("client_id", request.application.as_str()));
        fields.push(("scope", request.scope.as_str()));
        let (sent, date) = send_form(&self.http, &self.env, &place, address, &fields, asked_at).await;
        let learnt = self.clocks.learn(&request.authority, date, self.env.now());
        let body = sent.map_err(|error| (error, learnt))?;
        let answer = Answer::read(&place, &body).map_err(|error| (error, learnt))?;
        Ok(self.fetched(&answer, asked_at))
    }

    fn fetched(&self, answer: &Answer, asked_at: Timestamp) -> Fetched {
        let life = answer.life();
        let margin = MARGIN.min(life / 2);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        Fetched {
            token: AccessToken::numbered(answer.access_token(), later(asked_at, life), serial),
            renew_at: later(asked_at, life - margin),
        }
    }
}

struct Fetched {
    token: AccessToken,
    renew_at: Timestamp,
}
