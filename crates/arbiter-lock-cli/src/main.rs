//! The command `arbiter`: runs a command under a lock or once per period, shows a lock, breaks it.

mod child;
mod cli;
mod commands;
mod exit;
mod names;
mod output;
mod secret;
mod shell;
mod signals;
mod stdout;
mod store;
mod tls;
mod usage;
mod writer;

use clap::Parser;

use crate::cli::{Cli, Command, LogFormat, StoreCommand};
use crate::exit::Exit;

fn main() -> std::process::ExitCode {
    commands::completions::complete();
    let exit = child::shim::become_the_command()
        .or_else(child::watcher::watch)
        .unwrap_or_else(command);
    writer::flush();
    exit.leave()
}

fn command() -> Exit {
    match Cli::try_parse() {
        // The panic hook has printed the message.
        Ok(cli) => std::panic::catch_unwind(|| block_on(cli)).unwrap_or(Exit::Software),
        Err(error) => usage::usage(error),
    }
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
    if cli.store.log_format == LogFormat::Json {
        output::log_json();
    }
    let ended = match cli.command {
        Command::Run(args) => commands::run::run(&args, &cli.store).await,
        Command::Once(args) => commands::once::once(&args, &cli.store).await,
        Command::Resize(args) => commands::resize::resize(&args, &cli.store).await,
        Command::Status(args) => commands::status::status(&args, &cli.store).await,
        Command::List(args) => commands::list::list(&args, &cli.store).await,
        Command::Exporter(args) => commands::exporter::exporter(&args, &cli.store).await,
        Command::Doctor(args) => commands::doctor::doctor(&args, &cli.store).await,
        Command::Store(StoreCommand::Init(args)) => commands::init::init(&args, &cli.store).await,
        Command::Completions(args) => commands::completions::completions(&args),
        Command::Man(args) => commands::completions::man(&args),
        Command::Break(args) => commands::r#break::r#break(&args, &cli.store).await,
    };
    match ended {
        Ok(exit) | Err(exit) => exit,
    }
}
