//! The command `arbiter`: runs a command under a lock, shows who holds one, breaks one.

mod child;
mod cli;
mod commands;
mod exit;
mod output;
mod signals;
mod store;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

fn main() -> std::process::ExitCode {
    if let Some(failed) = child::shim::become_the_command().or_else(child::watcher::watch) {
        return failed.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error).into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => output::bug(&error),
    };
    exit.leave()
}

async fn run(cli: Cli) -> Exit {
    match cli.command {
        Command::Run(args) => commands::run::run(args, &cli.store).await,
        Command::Status(args) => commands::status::status(args, &cli.store).await,
        Command::Break(args) => commands::r#break::r#break(args, &cli.store).await,
    }
}
