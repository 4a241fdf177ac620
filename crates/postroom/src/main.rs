//! `postroom`: the mail room between business software and Microsoft 365, Exchange, IMAP and SMTP.
//!
//! This crate only wires: configuration ([`config`]), the parts behind it ([`app`]), one file per command
//! ([`commands`]), what it tells about itself ([`health`], [`traces`]), and the demonstration ([`demo`]) that walks the whole set-up guide.
//!
//! To add a command: a file under `commands/` with its arguments and `run`, a variant of `Command` in [`cli`].

mod app;
mod cli;
mod commands;
mod config;
mod demo;
mod health;
mod listen;
mod output;
mod system;
mod traces;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&anyhow::Error::new(error).context("start the runtime"));
            return ExitCode::FAILURE;
        }
    };
    // Boxed: the futures of all commands together would not fit the stack of the main thread.
    match runtime.block_on(Box::pin(cli::run(arguments))) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            let usage =
                error.chain().any(|cause| cause.is::<config::ConfigError>() || cause.is::<cli::UsageError>());
            if usage { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
