//! Arbiter side by side with other libraries, in one run on one server: only the ratios count.
//!
//! `./bench/compare` starts it. It starts itself as `bench peer LIBRARY URL`, for the participants
//! of this crate, and as `bench many URL`, for Arbiter with many holds, waiters or names.

mod chart;
mod cluster;
mod embedded;
mod figures;
mod file;
mod goal;
mod goals;
mod growth;
mod measures;
mod monitor;
mod participant;
mod peer;
mod postgres;
mod process;
mod rounds;
mod scale;
mod scripts;
mod sections;
mod settings;
mod spread;
mod stage;
mod tables;
mod usage;

use lines::Failure;

use settings::Settings;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["peer", library, url] => peer::peer(library, url),
        ["many", url] => peer::many(url),
        ["chart"] => chart::draw_again(),
        ["postgres"] => postgres::postgres(),
        _ => compare(&Settings::read(&args)?),
    }
}

fn compare(settings: &Settings) -> Result<(), Failure> {
    let (figures, server) = rounds::all(settings)?;
    print!("{}", tables::text(&figures));
    print!("{}", goals::text(&figures));
    file::write(settings, &figures, &server)
}
