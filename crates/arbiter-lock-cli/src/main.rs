//! The command `arbiter`: runs a command under a lock or once per period, shows a lock, breaks it.

mod child;
mod cli;
mod commands;
mod exit;
mod names;
mod output;
mod printable_json;
mod secret;
mod shell;
mod signals;
mod stdout;
mod store;
mod tips;
mod tls;
mod usage;
mod writer;

use std::fs::File;

use clap::Parser;
use rustix::io::Errno;

use crate::cli::{Cli, Command, LogFormat, StoreCommand};
use crate::exit::Exit;

fn main() -> std::process::ExitCode {
    commands::completions::complete();
    std::panic::set_hook(Box::new(|panic| {
        output::say(&format!("this is a fault of arbiter: {panic}"));
    }));
    let exit = child::shim::become_the_command()
        .or_else(child::watcher::watch)
        .unwrap_or_else(command);
    writer::flush();
    exit.leave()
}

fn command() -> Exit {
    match Cli::try_parse() {
        Ok(cli) => match usage::check() {
            // The panic hook has printed the message.
            Ok(()) => std::panic::catch_unwind(|| block_on(cli)).unwrap_or(Exit::Software),
            Err(exit) => exit,
        },
        Err(error) => usage::usage(error),
    }
}

/// How many descriptors a command needs at once, for its runtimes, its store and its processes.
const DESCRIPTORS: usize = 32;

/// Checks that there are enough descriptors, before anything is acquired. Otherwise the runtime
/// would panic, and the command could not be started.
fn descriptors() -> std::io::Result<()> {
    let opened: std::io::Result<Vec<_>> = (0..DESCRIPTORS).map(|_| File::open("/")).collect();
    match opened {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::MFILE | Errno::NFILE)
            ) =>
        {
            Err(std::io::Error::other(format!(
                "{error}; arbiter needs {DESCRIPTORS} more (ulimit -n)"
            )))
        }
        _ => Ok(()),
    }
}

fn block_on(cli: Cli) -> Exit {
    if let Err(error) = descriptors() {
        return output::refused(&error);
    }
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
        Command::Hold(args) => commands::hold::hold(&args, &cli.store).await,
        Command::Resize(args) => commands::resize::resize(&args, &cli.store).await,
        Command::Status(args) => commands::status::status(&args, &cli.store).await,
        Command::List(args) => commands::list::list(&args, &cli.store).await,
        Command::Top(args) => commands::top::top(&args, &cli.store).await,
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
