//! Checks recorded histories. Usage: `check FILE…`.

use std::path::Path;
use std::process::ExitCode;

use testkit::History;

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        eprintln!("check: name the files of the histories: check FILE…");
        return ExitCode::from(2);
    }
    let mut is_right = true;
    for path in paths {
        if !Path::new(&path).is_file() {
            eprintln!("{path}: no such file");
            return ExitCode::from(2);
        }
        let history = History::open(Path::new(&path)).expect("a file that can be read");
        match history.check() {
            Ok(summary) if summary.holds == 0 => {
                eprintln!("{path}: it records no hold");
                is_right = false;
            }
            Ok(summary) => println!("{path}: {summary:?}"),
            Err(violation) => {
                println!("{path}: {violation}");
                is_right = false;
            }
        }
    }
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
