//! Puts the failures back one at a time, and sees whether the tests notice.
//!
//! `cargo run -p defects` takes all; words after it take those whose name has one of them.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use defects::{Caught, Defect, Tree};

/// After that a test that has not ended counts as one that hangs, and so has noticed.
const LIMIT: Duration = Duration::from_secs(300);

enum Outcome {
    Passed,
    Failed,
    Hung,
    /// It does not build, or its process dies, so it has no result.
    Broken,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |defect: &Defect| {
        words.is_empty() || words.iter().any(|word| defect.name.contains(word.as_str()))
    };
    match run(is_wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("defects: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(is_wanted: impl Fn(&Defect) -> bool) -> std::io::Result<bool> {
    let wanted: Vec<Defect> = defects::all().into_iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Err(std::io::Error::other(
            "no defect has one of these words in its name",
        ));
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()?;
    let place = project.join("target/defects");
    let tree = Tree::copy(&project, &place.join("tree"))?;
    let build = place.join("build");
    for (binary, tests) in binaries(&wanted) {
        if !matches!(test(binary, &tests, &tree, &build)?, Outcome::Passed) {
            return Err(std::io::Error::other("the tests fail without any defect"));
        }
    }
    let mut caught = 0;
    for defect in &wanted {
        let begun = Instant::now();
        let tests = defect.caught_by.tests();
        let outcome = tree.with(defect, || test(defect.caught_by, tests, &tree, &build))??;
        let word = match outcome {
            Outcome::Failed => "caught",
            Outcome::Hung => "caught, by a test that hangs",
            Outcome::Passed => "ESCAPED",
            Outcome::Broken => "DOES NOT BUILD",
        };
        caught += usize::from(matches!(outcome, Outcome::Failed | Outcome::Hung));
        println!("{word}: {} ({} s)", defect.name, begun.elapsed().as_secs());
    }
    let all = wanted.len();
    println!("{caught} of {all} caught");
    Ok(caught == all)
}

/// Returns the tests that are named, by their binary.
fn binaries(defects: &[Defect]) -> Vec<(Caught, Vec<&'static str>)> {
    let mut binaries: Vec<(Caught, Vec<&str>)> = Vec::new();
    for Defect { caught_by, .. } in defects {
        let known = binaries
            .iter_mut()
            .find(|(other, _)| other.binary() == caught_by.binary());
        match known {
            Some((_, tests)) => tests.extend(caught_by.tests()),
            None => binaries.push((*caught_by, caught_by.tests().to_vec())),
        }
    }
    binaries
}

fn test(caught_by: Caught, tests: &[&str], tree: &Tree, build: &Path) -> std::io::Result<Outcome> {
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new("timeout");
        cargo
            .args(["--kill-after=10", &LIMIT.as_secs().to_string(), "cargo"])
            .args(words)
            .current_dir(tree.root())
            .env("CARGO_TARGET_DIR", build)
            .env("RUST_BACKTRACE", "0");
        cargo.output()
    };
    let test = [&["test", "--quiet"], caught_by.binary()].concat();
    for words in [caught_by.processes(), &[&*test, &["--no-run"]].concat()] {
        let built = cargo(words)?;
        if !built.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&built.stderr));
            return Ok(Outcome::Broken);
        }
    }
    let tested = cargo(&[&*test, &["--"], tests].concat())?;
    let said = String::from_utf8_lossy(&tested.stdout);
    eprintln!("{said}");
    Ok(match tested.status.code() {
        Some(0) => Outcome::Passed,
        Some(124 | 137) => Outcome::Hung,
        _ if said.contains("test result: FAILED") => Outcome::Failed,
        _ => Outcome::Broken,
    })
}
