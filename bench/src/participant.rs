//! The participants, and how each is started.

use crate::Failure;
use crate::process::Process;
use crate::settings::Settings;

pub(crate) const ARBITER: &str = "arbiter";
pub(crate) const ARBITER_CURRENT_THREAD: &str = "arbiter-current-thread";
pub(crate) const ARBITER_SENTINEL: &str = "arbiter-sentinel";
pub(crate) const BARE: &str = "bare";
pub(crate) const BARE_SCRIPTS: &str = "bare-scripts";
pub(crate) const BARE_SCRIPTS_CURRENT_THREAD: &str = "bare-scripts-current-thread";
pub(crate) const SQLITE: &str = "sqlite";

const OURS: [&str; 6] = [
    ARBITER,
    ARBITER_CURRENT_THREAD,
    ARBITER_SENTINEL,
    BARE_SCRIPTS,
    BARE_SCRIPTS_CURRENT_THREAD,
    BARE,
];

/// The libraries of others, by language.
const PEERS: [(&str, &[&str]); 5] = [
    (
        "go",
        &[
            "rueidislock",
            "redislock",
            "redislock-10ms",
            "redsync",
            "go-arbiter",
        ],
    ),
    ("java", &["redisson", "redisson-fair"]),
    ("rust", &["rslock", "rlock", "async-redis-lock"]),
    ("node", &["redlock", "redis-semaphore"]),
    ("python", &["redis-py", "redis-py-asyncio"]),
];

/// Returns all libraries, in the order of the tables.
pub(crate) fn libraries() -> impl Iterator<Item = &'static str> {
    OURS.into_iter().chain(peers())
}

/// Returns the libraries of others.
pub(crate) fn peers() -> impl Iterator<Item = &'static str> {
    PEERS
        .iter()
        .flat_map(|(_, libraries)| libraries.iter().copied())
}

pub(crate) struct Participant {
    pub(crate) name: &'static str,
    /// The command without its arguments.
    program: String,
    pub(crate) compiles_as_it_runs: bool,
}

impl Participant {
    pub(crate) fn ours(name: &'static str) -> Result<Self, Failure> {
        Ok(Self {
            name,
            program: own_program("peer")?,
            compiles_as_it_runs: false,
        })
    }

    /// Returns all participants that are selected and installed.
    pub(crate) fn all(settings: &Settings) -> Result<Vec<Self>, Failure> {
        let mut all = Vec::new();
        for library in OURS {
            all.push(Self::ours(library)?);
        }
        for (language, program) in &settings.peers {
            let of_language = PEERS.iter().find(|(known, _)| known == language);
            let (_, libraries) =
                of_language.ok_or_else(|| format!("{language} has no libraries here"))?;
            all.extend(libraries.iter().map(|name| Self {
                name,
                program: program.clone(),
                compiles_as_it_runs: language == "java",
            }));
        }
        all.retain(|participant| settings.wants_library(participant.name));
        Ok(all)
    }

    pub(crate) fn start(&self, url: &str) -> Result<Process, Failure> {
        Process::start(&self.program, &[self.name, url])
    }
}

/// Returns the command line of this program, for a part of it.
pub(crate) fn own_program(part: &str) -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    Ok(format!("'{}' {part}", program.display()))
}
