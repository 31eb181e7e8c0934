//! What several processes believed, on the one monotonic clock of the machine, and whether the
//! beliefs of a name ever overlapped or their fences ever failed to rise.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A file to which processes append what they believe, a line at a time.
#[derive(Debug)]
pub struct History {
    file: File,
    path: PathBuf,
}

/// A belief to hold a name, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belief {
    /// What is held.
    pub name: String,
    /// Who believes.
    pub owner: String,
    /// The fence of the hold.
    pub fence: u64,
    /// When it began.
    pub begin_ns: u64,
    /// When it ended; none if nobody said so.
    pub end_ns: Option<u64>,
}

/// What a [`History`] that holds together is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many beliefs there were.
    pub beliefs: usize,
    /// How many of them have no end, and could not be checked against the next one.
    pub unended: usize,
    /// How many overlapped where that is allowed.
    pub excused: usize,
}

/// Two beliefs of a name that cannot both be right, in order of their begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The second began before the first had ended.
    Overlap(Belief, Belief),
    /// The second has no greater fence than the first.
    Fence(Belief, Belief),
}

impl History {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Nanoseconds of the monotonic clock, the same in every process of a machine.
    #[must_use]
    pub fn now_ns() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or(0)
    }

    /// A belief begins now: to be called once the acquire has answered.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&self, name: &str, owner: &str, fence: u64) -> io::Result<()> {
        self.append("begin", name, owner, fence, Self::now_ns())
    }

    /// A belief ends now: to be called before the release is asked for, or by whoever kills the
    /// process, before the kill.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&self, name: &str, owner: &str, fence: u64) -> io::Result<()> {
        self.end_at(name, owner, fence, Self::now_ns())
    }

    /// A belief ended then, at its deadline perhaps. The earliest of several ends counts.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end_at(&self, name: &str, owner: &str, fence: u64, at_ns: u64) -> io::Result<()> {
        self.append("end", name, owner, fence, at_ns)
    }

    /// Every belief, in order of name and begin.
    ///
    /// # Errors
    /// If the file cannot be read, or a line of it is none of ours.
    pub fn beliefs(&self) -> io::Result<Vec<Belief>> {
        let text = std::fs::read_to_string(&self.path)?;
        let mut beliefs = Vec::new();
        let mut ends: BTreeMap<_, u64> = BTreeMap::new();
        for line in text.lines() {
            let odd = || io::Error::new(io::ErrorKind::InvalidData, line.to_owned());
            let words: Vec<&str> = line.split('\t').collect();
            let [edge, name, owner, fence, at] = words[..] else {
                return Err(odd());
            };
            let fence: u64 = fence.parse().map_err(|_| odd())?;
            let at_ns = at.parse().map_err(|_| odd())?;
            match edge {
                "begin" => beliefs.push(Belief {
                    name: name.to_owned(),
                    owner: owner.to_owned(),
                    fence,
                    begin_ns: at_ns,
                    end_ns: None,
                }),
                "end" => {
                    let end = ends.entry((name, owner, fence)).or_insert(at_ns);
                    *end = at_ns.min(*end);
                }
                _ => return Err(odd()),
            }
        }
        for belief in &mut beliefs {
            let key = (&*belief.name, &*belief.owner, belief.fence);
            belief.end_ns = ends.get(&key).copied();
        }
        beliefs.sort_by(|a, b| (&a.name, a.begin_ns).cmp(&(&b.name, b.begin_ns)));
        Ok(beliefs)
    }

    /// All that this owner believes ends now: to be called while it is stopped.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn end_all_of(&self, owner: &str) -> io::Result<()> {
        let at = Self::now_ns();
        let open = self.beliefs()?.into_iter();
        for belief in open.filter(|b| b.owner == owner && b.end_ns.is_none()) {
            self.end_at(&belief.name, owner, belief.fence, at)?;
        }
        Ok(())
    }

    /// Whether no beliefs of a name overlap and their fences rise.
    ///
    /// # Errors
    /// The first two beliefs that contradict.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn check(&self) -> Result<Summary, Box<Violation>> {
        self.check_but(&[], Duration::ZERO)
    }

    /// The same, but where the store lost its memory, which it did between those moments, beliefs
    /// may overlap that begin no later than `excuse` after it: one was granted before, and the
    /// other since.
    ///
    /// # Errors
    /// As [`History::check`].
    ///
    /// # Panics
    /// As [`History::check`].
    pub fn check_but(
        &self,
        losses_ns: &[[u64; 2]],
        excuse: Duration,
    ) -> Result<Summary, Box<Violation>> {
        let beliefs = self.beliefs().expect("the history's file");
        let excuse = u64::try_from(excuse.as_nanos()).unwrap_or(u64::MAX);
        // The second begins later than the first.
        let is_excused = |second: &Belief| {
            let mut losses = losses_ns.iter();
            losses.any(|[from, to]| (*from..=to + excuse).contains(&second.begin_ns))
        };
        let mut excused = 0;
        for (n, second) in beliefs.iter().enumerate() {
            let earlier = beliefs[..n].iter().rev();
            let earlier = earlier.take_while(|first| first.name == second.name);
            for (distance, first) in earlier.enumerate() {
                if distance == 0 && second.fence <= first.fence {
                    return Err(Violation::Fence(first.clone(), second.clone()).into());
                }
                if first.end_ns.is_some_and(|end| second.begin_ns < end) {
                    if !is_excused(second) {
                        return Err(Violation::Overlap(first.clone(), second.clone()).into());
                    }
                    excused += 1;
                }
            }
        }
        Ok(Summary {
            beliefs: beliefs.len(),
            unended: beliefs.iter().filter(|b| b.end_ns.is_none()).count(),
            excused,
        })
    }

    /// One write of one line, which the system appends whole.
    fn append(&self, edge: &str, name: &str, owner: &str, fence: u64, at: u64) -> io::Result<()> {
        let words = [name, owner];
        if words.iter().any(|word| word.contains(['\t', '\n'])) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let line = format!("{edge}\t{name}\t{owner}\t{fence}\t{at}\n");
        (&self.file).write_all(line.as_bytes())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, first, second) = match self {
            Self::Overlap(first, second) => ("overlap", first, second),
            Self::Fence(first, second) => ("have fences that do not rise", first, second),
        };
        write!(f, "two beliefs {what}: {first:?} and {second:?}")
    }
}

impl std::error::Error for Violation {}
