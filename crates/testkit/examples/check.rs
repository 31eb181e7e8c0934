//! Checks recorded histories. Usage: `check FILE…`.

use std::path::Path;
use std::process::ExitCode;

use testkit::History;

fn main() -> ExitCode {
    let mut is_right = true;
    for path in std::env::args().skip(1) {
        if !Path::new(&path).is_file() {
            eprintln!("{path}: no such file");
            return ExitCode::from(2);
        }
        let history = History::open(Path::new(&path)).expect("a file that can be read");
        match history.check() {
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
