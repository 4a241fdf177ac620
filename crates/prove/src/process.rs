//! Processes that are killed, stopped and continued; none outlives this program's handle of it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A running process. Killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it; what it says is appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Self(child.spawn().with_context(|| format!("start {command:?}"))?))
    }

    /// SIGKILL, and waits until it is gone. No chance to finish anything.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// SIGSTOP: it stands still, its connections stay open, its leases run on.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// SIGCONT: it goes on as if nothing had been.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    /// SIGTERM, and waits for the end, which must be a good one.
    pub(crate) async fn terminate(&mut self, patience: Duration) -> Result<()> {
        self.signal("-TERM")?;
        let steps = patience.as_millis() / 20;
        for _ in 0..steps {
            match self.0.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("a node that was asked to stop ended with {status}"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        bail!("a node did not stop within {patience:?}")
    }

    /// How it ended, when it has.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status()?;
        if !status.success() {
            bail!("kill {signal}: {status}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that is gone already cannot be killed, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a ready file says, once it is whole.
pub(crate) fn ready(file: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

/// Runs a command to its end and gives what it printed.
pub(crate) async fn output(mut command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    if !output.status.success() {
        bail!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
