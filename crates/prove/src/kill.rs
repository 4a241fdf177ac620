//! The kill loop: clients hand messages in, mail arrives, the tenant misbehaves, nodes are killed and frozen, and at the
//! end everything that was promised must be so.

mod compare;
mod ledger;
mod load;
mod nodes;
pub(crate) mod schedule;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postroom_entra::http::{HttpSettings, ProxySettings};
use postroom_model::outbox::OutboxState;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::place::{self, Place};
use crate::process::{Process, output};
use crate::say;
use crate::tenant::Tenant;
use compare::{Record, Verdict, compare};
use ledger::Ledger;
use load::Load;
use nodes::Nodes;
use schedule::{Blow, Moment, Round};

/// Programs that hand messages in at the same time.
const CLIENTS: usize = 4;
/// Longest time until everything is final once the tenant behaves.
const SETTLE_PATIENCE: Duration = Duration::from_secs(600);
/// Wrong things that are shown; the rest is counted.
const SHOWN: usize = 20;

/// What the loop is started with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) binary: PathBuf,
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) place: String,
    /// Leave the folder behind even when all is well.
    pub(crate) keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binary: PathBuf::new(),
            rounds: 200,
            seed: 1,
            nodes: 1,
            place: "sqlite".to_owned(),
            keep: false,
        }
    }
}

/// Runs the loop and prints its figures.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut folder = tempfile::Builder::new().prefix("postroom-prove-").tempdir()?;
    let place = place::named(&options.place, &options.binary, folder.path())?;
    if options.nodes > place.most_nodes() {
        bail!("on {} there is one node at most {}", place.name(), place.most_nodes());
    }
    let result = prove(&options, &*place, folder.path()).await;
    if result.is_err() || options.keep {
        folder.disable_cleanup(true);
        say(&format!("everything is left in {}", folder.path().display()));
    }
    result
}

async fn prove(options: &Options, place: &dyn Place, folder: &Path) -> Result<()> {
    let begun = Instant::now();
    let http = postroom_entra::http::client(&HttpSettings {
        proxy: ProxySettings::default(),
        ..HttpSettings::default()
    })?;
    let tenant = Arc::new(Tenant::start(&options.binary, folder, http.clone()).await?);
    let mut nodes = Nodes::new(place, folder, options.nodes);
    let load = Arc::new(prepare(place, folder, &tenant, &nodes, http).await?);

    let chance = Chance::new(options.seed);
    let mut hands = JoinSet::new();
    for name in 0..CLIENTS {
        hands.spawn(load.clone().client(name, chance.fork()));
    }
    hands.spawn(load.clone().writer(chance.fork()));
    let harmed = Harmed { place, folder, load: &load };
    let mut blows = Blows::default();
    let mut seen = 0;
    for number in 0..options.rounds {
        let round = schedule::round(&chance, options.nodes);
        harmed
            .round(number, &round, &mut nodes, &mut blows)
            .await
            .with_context(|| format!("round {number}"))?;
        seen = load.look_outside(seen).await?;
        if !load.ledger().wrong.is_empty() {
            break;
        }
        if number % 500 == 499 {
            say(&format!("{} rounds, {:.0} s", number + 1, begun.elapsed().as_secs_f64()));
        }
    }
    tenant.no_faults().await?;
    nodes.start()?;
    nodes.all_ready().await?;
    load.over.store(true, Ordering::SeqCst);
    while hands.join_next().await.transpose()?.is_some() {}
    let settled = settle(place, &load).await;
    let stopped = nodes.stop().await;
    load.look_outside(seen).await?;
    load.look_inside().await?;
    // Before anything else is said: what is on record says why it did not settle.
    let store = place.store().await?;
    let (user, _) = store.user_by_name("proof").await?.context("the user is gone")?;
    let record = Record::read(&*store, &user.viewer()).await?;
    let mut verdict = compare(&load.ledger(), &record);
    verdict.other.extend(panics(&nodes)?);
    verdict
        .other
        .extend([settled, stopped].into_iter().filter_map(Result::err).map(|error| format!("{error:#}")));
    let figures = Figures { options, place, blows, nodes: &nodes, record: &record, seconds: begun.elapsed() };
    let answered = tenant.counts().await?;
    figures.print(&load.ledger(), &verdict, &answered);
    for wrong in verdict.all().take(SHOWN) {
        say(&format!("  {wrong}"));
    }
    match verdict.all().count() {
        0 => Ok(()),
        wrong => bail!("{wrong} promises were not kept (seed {})", options.seed),
    }
}

/// Connection, mailboxes, user and key, by the product's own commands.
async fn prepare(
    place: &dyn Place,
    folder: &Path,
    tenant: &Arc<Tenant>,
    nodes: &Nodes<'_>,
    http: reqwest::Client,
) -> Result<Load> {
    let secret = folder.join("secret.txt");
    std::fs::write(&secret, &tenant.secret)?;
    let run = async |arguments: &[&str]| {
        let mut command = place.command();
        command.args(arguments);
        output(command).await
    };
    let secret = secret.to_str().context("the folder's name is not UTF-8")?;
    let (tenant_id, authority, graph) =
        (tenant.word("tenant_id"), tenant.word("authority"), tenant.word("graph"));
    run(&[
        "connection",
        "save",
        "--name",
        "Contoso 365",
        "--kind",
        "exchange-online",
        "--flow",
        "client-secret",
        "--tenant-id",
        tenant_id,
        "--application-id",
        &tenant.application,
        "--secret-file",
        secret,
        "--authority",
        authority,
        "--graph",
        graph,
        "--outgoing",
    ])
    .await?;
    run(&["user", "add", "proof"]).await?;
    let api_key = run(&["apikey", "create", "proof"]).await?.trim().to_owned();
    let senders = tenant.mailboxes();
    let mailboxes: Vec<String> = senders.iter().take(3).cloned().collect();
    for mailbox in &mailboxes {
        run(&["mailbox", "add", mailbox, "--type", "customer-order", "--polling-interval", "0.01"]).await?;
        // A first good reading: from then on trouble is measured.
        run(&["inbox", "collect", mailbox]).await?;
    }
    Ok(Load {
        http,
        tenant: tenant.clone(),
        urls: nodes.urls(),
        api_key,
        senders,
        mailboxes,
        ledger: Mutex::default(),
        over: AtomicBool::new(false),
    })
}

/// How often what was done.
#[derive(Debug, Default)]
struct Blows {
    kills: u32,
    freezes: u32,
    first_starts: u32,
}

struct Harmed<'a> {
    place: &'a dyn Place,
    folder: &'a Path,
    load: &'a Load,
}

impl Harmed<'_> {
    async fn round(
        &self,
        number: u32,
        round: &Round,
        nodes: &mut Nodes<'_>,
        blows: &mut Blows,
    ) -> Result<()> {
        nodes.start()?;
        self.load.tenant.no_faults().await?;
        for fault in &round.faults {
            self.load.tenant.fault(fault).await?;
        }
        match round.moment {
            Moment::AfterStart(time) => tokio::time::sleep(time).await,
            Moment::AfterReady(time) => {
                nodes.all_ready().await?;
                tokio::time::sleep(time).await;
            }
        }
        match round.blow {
            Blow::Kill => {}
            Blow::Freeze(time) => {
                nodes.freeze(round.node, time).await?;
                blows.freezes += 1;
                tokio::time::sleep(time / 4).await;
            }
            Blow::FirstStart => {
                self.first_start(number, round.moment).await?;
                blows.first_starts += 1;
            }
        }
        blows.kills += 1;
        nodes.kill(round.node)
    }

    /// Kills the very first start of an installation, and expects the second to be as good as a first.
    async fn first_start(&self, number: u32, moment: Moment) -> Result<()> {
        let (Moment::AfterStart(time) | Moment::AfterReady(time)) = moment;
        let serve = ["serve", "--listen", "127.0.0.1:0", "--ready-file"];
        let file = self.folder.join(format!("fresh-{number}.json"));
        let log = self.folder.join("fresh.log");
        let mut command = self.place.fresh(u64::from(number))?;
        command.args(serve).arg(&file);
        let mut first = Process::start(&mut command, &log)?;
        tokio::time::sleep(time / 4).await;
        first.kill()?;
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let begun = Instant::now();
        let mut second = Process::start(&mut command, &log)?;
        while crate::process::ready(&file).is_none() {
            if let Some(status) = second.ended()? {
                bail!("killed at its first start, it never starts again: {status}; see {}", log.display());
            }
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("killed at its first start, it does not listen the next time; see {}", log.display());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        second.kill()
    }
}

impl Load {
    /// Notes what left since; gives the place to go on from.
    async fn look_outside(&self, mut after: i64) -> Result<i64> {
        loop {
            let left = self.tenant.left(after).await?;
            let Some(last) = left.last() else { return Ok(after) };
            after = last.place;
            let mut ledger = self.ledger();
            for mail in &left {
                if mail.to.len() == 1 {
                    ledger.leave(&mail.raw);
                } else {
                    ledger.wrong.push(format!("a mail left for {:?}", mail.to));
                }
            }
        }
    }

    /// How many messages are in this state, by the API; at most 1 is counted.
    async fn any_in(&self, state: OutboxState) -> Result<bool> {
        let url = self.urls.borrow().first().cloned().context("no node listens")?;
        let request = self.http.get(format!("{url}/api/v1/messages")).bearer_auth(&self.api_key);
        let answer: Value = request
            .query(&[("state", state.as_str()), ("limit", "1")])
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        Ok(answer["messages"].as_array().is_some_and(|messages| !messages.is_empty()))
    }
}

/// Waits until every message is final and every mailbox is read to its end.
async fn settle(place: &dyn Place, load: &Load) -> Result<()> {
    let begun = Instant::now();
    let open: Vec<OutboxState> = OutboxState::ALL.into_iter().filter(|state| !state.is_final()).collect();
    'look: loop {
        for state in &open {
            if load.any_in(*state).await? {
                if begun.elapsed() > SETTLE_PATIENCE {
                    bail!("after {SETTLE_PATIENCE:?} without a fault a message is still {state}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue 'look;
            }
        }
        break;
    }
    // A mailbox that failed waits longer than this program likes to: a person presses Check now.
    for mailbox in &load.mailboxes {
        loop {
            let mut command = place.command();
            command.args(["inbox", "collect", mailbox]);
            match output(command).await {
                Ok(_) => break,
                Err(error) if begun.elapsed() > SETTLE_PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
    Ok(())
}

/// A node that panicked and went on is wrong all the same.
fn panics(nodes: &Nodes<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for log in nodes.logs() {
        let text = std::fs::read_to_string(&log)?;
        found.extend(text.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
    }
    Ok(found)
}

struct Figures<'a> {
    options: &'a Options,
    place: &'a dyn Place,
    blows: Blows,
    nodes: &'a Nodes<'a>,
    record: &'a Record,
    seconds: Duration,
}

impl Figures<'_> {
    fn print(&self, seen: &Ledger, verdict: &Verdict, answered: &Value) {
        let count = |name: &str| answered[name].as_u64().unwrap_or_default();
        let mut starts = self.nodes.starts.clone();
        starts.sort();
        let start = starts.get(starts.len() / 2).copied().unwrap_or_default();
        let Blows { kills, freezes, first_starts } = self.blows;
        let lines = [
            format!("place {}, nodes {}, seed {}", self.place.name(), self.options.nodes, self.options.seed),
            format!(
                "rounds {}, kills {kills}, freezes {freezes}, first starts killed {first_starts}",
                self.options.rounds
            ),
            format!(
                "accepted {}, sent {}, refused for good and told {}, refused as not valid {}",
                seen.accepted.len(),
                self.record.in_state(OutboxState::Sent),
                self.record.in_state(OutboxState::Failed),
                seen.refused.len()
            ),
            format!(
                "requests cut off and repeated {}, answered with the first answer {}, refused for now {}",
                seen.cut, seen.repeated, seen.refused_for_now
            ),
            format!(
                "the tenant answered 429 {}, 503 {}, 504 {}, cut {}; look-ups {}",
                count("429"),
                count("503"),
                count("504"),
                count("cut"),
                self.record.looked_up()
            ),
            format!("delivered to mailboxes {}, collected {}", seen.delivered.len(), self.record.inbox.len()),
            format!(
                "lost {}, doubled {}, otherwise wrong {}",
                verdict.lost.len(),
                verdict.doubled.len(),
                verdict.other.len()
            ),
            format!(
                "median time to listen {} ms; {:.0} seconds in all",
                start.as_millis(),
                self.seconds.as_secs_f64()
            ),
        ];
        for line in lines {
            say(&line);
        }
    }
}
