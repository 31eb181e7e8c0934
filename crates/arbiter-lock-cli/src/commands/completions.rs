//! `arbiter completions` and `arbiter man`: generated from the definition of the command line.

use clap::CommandFactory as _;
use clap_complete::env::Shells;

use crate::cli::{Cli, CompletedShell, CompletionsArgs, ManArgs};
use crate::exit::Exit;
use crate::output;
use crate::stdout::line;

/// Prints the script that a shell sources.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Exit> {
    let shell = match args.shell {
        CompletedShell::Bash => "bash",
        CompletedShell::Elvish => "elvish",
        CompletedShell::Fish => "fish",
        CompletedShell::Powershell => "powershell",
        CompletedShell::Zsh => "zsh",
    };
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or(Exit::Software)?;
    let mut script = Vec::new();
    completer
        .write_registration("COMPLETE", "arbiter", "arbiter", "arbiter", &mut script)
        .map_err(|error| output::refused(&error))?;
    line(&String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Success)
}

/// Answers a shell that asks for completions, if this process was started for that.
pub(crate) fn complete() {
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
}

/// Prints a manual page.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, Exit> {
    // A page refers to the pages of its commands, and there is none for help.
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let mut page = &cli;
    for name in &args.command {
        let Some(command) = page.find_subcommand(name) else {
            let names = args.command.join(" ");
            output::say(&format!("there is no command {names}; see: arbiter --help"));
            return Err(Exit::Usage);
        };
        page = command;
    }
    let mut roff = Vec::new();
    clap_mangen::Man::new(page.clone())
        .render(&mut roff)
        .map_err(|error| output::refused(&error))?;
    line(&String::from_utf8_lossy(&roff).trim_end())?;
    Ok(Exit::Success)
}
