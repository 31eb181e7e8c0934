//! The command `arbiter`: runs a command under a lock or once per period, shows who holds one,
//! breaks one.

mod child;
mod cli;
mod commands;
mod exit;
mod output;
mod signals;
mod store;
mod usage;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

fn main() -> std::process::ExitCode {
    if let Some(failed) = child::shim::become_the_command().or_else(child::watcher::watch) {
        return failed.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::usage(&error).into(),
    };
    // What a panic has said is enough.
    std::panic::catch_unwind(|| block_on(cli))
        .unwrap_or(Exit::Software)
        .leave()
}

fn block_on(cli: Cli) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => output::refused(&error),
    }
}

async fn run(cli: Cli) -> Exit {
    match cli.command {
        Command::Run(args) => commands::run::run(args, &cli.store).await,
        Command::Once(args) => commands::once::once(args, &cli.store).await,
        Command::Resize(args) => commands::resize::resize(args, &cli.store).await,
        Command::Status(args) => commands::status::status(args, &cli.store).await,
        Command::Break(args) => commands::r#break::r#break(args, &cli.store).await,
    }
}
