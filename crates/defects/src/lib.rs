//! Failures that locks have had, each as a change of a few words that puts it into Arbiter, with
//! the test that has to notice.

mod client;
mod cluster;
mod cluster_moves;
mod core_rules;
mod postgres;
mod scripts;
mod sentinel;
mod store;
mod tree;

pub use tree::Tree;

/// A failure, and how to put it back.
#[derive(Clone, Copy, Debug)]
pub struct Defect {
    /// The failure, as a claim.
    pub name: &'static str,
    /// The file that is changed, from the root of the project.
    pub file: &'static str,
    /// The text in the file, which occurs once.
    pub was: &'static str,
    /// The text that replaces it.
    pub put_back: &'static str,
    /// The tests that notice.
    pub caught_by: Caught,
}

/// Where the tests are that notice a defect, and a part of the name of each.
#[derive(Clone, Copy, Debug)]
pub enum Caught {
    /// Those of the core.
    Core(&'static [&'static str]),
    /// Those within the library.
    Unit(&'static [&'static str]),
    /// Those of the library from outside.
    Lock(&'static [&'static str]),
}

impl Caught {
    /// Returns the names of the tests.
    #[must_use]
    pub const fn tests(&self) -> &'static [&'static str] {
        match self {
            Self::Core(tests) | Self::Unit(tests) | Self::Lock(tests) => tests,
        }
    }

    /// Returns the arguments of `cargo` that build the processes which the tests start.
    #[must_use]
    pub const fn processes(&self) -> &'static [&'static str] {
        match self {
            Self::Core(_) | Self::Unit(_) => &["--version"],
            Self::Lock(_) => &[
                "build",
                "--quiet",
                "-p",
                "arbiter-lock",
                "--all-features",
                "--examples",
            ],
        }
    }

    /// Returns the arguments of `cargo test` that choose their binary.
    #[must_use]
    pub const fn binary(&self) -> &'static [&'static str] {
        match self {
            Self::Core(_) => &["-p", "arbiter-lock-core", "--test", "core"],
            Self::Unit(_) => &["-p", "arbiter-lock", "--all-features", "--lib"],
            Self::Lock(_) => &["-p", "arbiter-lock", "--all-features", "--test", "lock"],
        }
    }
}

/// Returns all defects, by file.
#[must_use]
pub fn all() -> Vec<Defect> {
    [
        core_rules::DEFECTS,
        scripts::DEFECTS,
        client::DEFECTS,
        store::DEFECTS,
        sentinel::DEFECTS,
        cluster::DEFECTS,
        cluster_moves::DEFECTS,
        postgres::DEFECTS,
    ]
    .concat()
}
