//! Searches the model through: as it is, within all bounds, and with each rule broken.
//!
//! With the name of a rule, it prints the shortest path to a violation without that rule.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

use model::{Bounds, Protocol, Rule, Searched};

fn main() -> ExitCode {
    let is_sound = match std::env::args().nth(1) {
        None => search_all(),
        Some(name) => match Rule::ALL.iter().find(|rule| format!("{rule:?}") == name) {
            Some(rule) => tell(*rule),
            None => {
                eprintln!("there is no rule {name}: there are {:?}", Rule::ALL);
                return ExitCode::from(2);
            }
        },
    };
    if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn search_all() -> bool {
    let mut is_sound = true;
    println!("states, seconds");
    for bounds in Bounds::SHORT.into_iter().chain(Bounds::LONG) {
        is_sound &= report(&bounds, || Protocol::kept(bounds).search());
    }
    // A comparison takes some five times as long as a search.
    for bounds in Bounds::SHORT.iter().chain(&Bounds::LONG[..2]) {
        let what = format!("compared with the settled: {bounds}");
        is_sound &= report(&what, || Protocol::kept(*bounds).compare_with_settled());
    }
    for bounds in Bounds::WIDE {
        let of = Protocol::kept(bounds).settled();
        is_sound &= report(&format!("settled: {bounds}"), || of.search());
    }
    for rule in Rule::ALL {
        let searched = Protocol::with_broken(rule).search();
        match searched.violation {
            Some(violation) => println!("{rule:?} broken: {violation}"),
            None => {
                println!("{rule:?} broken: NOTHING FOUND");
                is_sound = false;
            }
        }
    }
    is_sound
}

fn report(what: &dyn Display, search: impl FnOnce() -> Searched) -> bool {
    let begun = Instant::now();
    let searched = search();
    let seconds = begun.elapsed().as_secs();
    println!("{:>11} {seconds:>4} s  {what}", searched.states);
    if let Some(violation) = &searched.violation {
        println!("            {violation}");
    }
    searched.is_complete
}

fn tell(rule: Rule) -> bool {
    let violation = Protocol::with_broken(rule).search().violation;
    for action in violation.iter().flat_map(|violation| &violation.actions) {
        println!("{action:?}");
    }
    match &violation {
        Some(violation) => println!("{violation}"),
        None => println!("nothing found"),
    }
    violation.is_some()
}
