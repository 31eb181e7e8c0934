//! The holds of several processes, on the monotonic clock of the machine, in a file that can be
//! checked later.

mod judge;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

pub use judge::{Summary, Violation};

/// A file to which processes append their holds, one line at a time.
#[derive(Debug)]
pub struct History {
    file: File,
    path: PathBuf,
}

/// How a name is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Exclusively.
    Alone,
    /// Together with other sharers. Their total weight is at most the limit.
    Part {
        /// The weight of this hold.
        weight: u64,
        /// The limit.
        limit: u64,
    },
}

/// The time in which a process held a name, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldInterval {
    /// The name.
    pub name: String,
    /// The owner.
    pub owner: String,
    /// The fence of the hold.
    pub fence: u64,
    /// Exclusive or shared.
    pub share: Share,
    /// When it was requested: the store has not seen the request before.
    pub asked_ns: Option<u64>,
    /// When it was known to be queued.
    pub queued_ns: Option<u64>,
    /// When it began.
    pub begin_ns: u64,
    /// When it ended; none if no end was recorded.
    pub end_ns: Option<u64>,
}

/// The content of the file.
#[derive(Debug, Default)]
struct Record {
    /// Ordered by name and begin.
    holds: Vec<HoldInterval>,
    forgotten: Vec<[u64; 2]>,
    away: Vec<Away>,
}

/// When an owner, or every owner, may have been unreachable.
#[derive(Debug)]
struct Away {
    owner: Option<String>,
    span: [u64; 2],
}

const NONE: &str = "-";

impl History {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Returns the nanoseconds of the monotonic clock, the same in every process of a machine.
    #[must_use]
    pub fn now_ns() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or(0)
    }

    /// Records that an exclusive hold begins now. Call it after the acquire has returned.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&self, name: &str, owner: &str, fence: u64) -> io::Result<()> {
        self.record(&HoldInterval {
            name: name.to_owned(),
            owner: owner.to_owned(),
            fence,
            share: Share::Alone,
            asked_ns: None,
            queued_ns: None,
            begin_ns: Self::now_ns(),
            end_ns: None,
        })
    }

    /// Records a hold that began at its own time, and has no end yet.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&self, hold: &HoldInterval) -> io::Result<()> {
        let word = |ns: Option<u64>| ns.map_or(NONE.to_owned(), |ns| ns.to_string());
        self.append(&[
            "begin",
            &hold.name,
            &hold.owner,
            &hold.fence.to_string(),
            &hold.share.to_word(),
            &word(hold.asked_ns),
            &word(hold.queued_ns),
            &hold.begin_ns.to_string(),
        ])
    }

    /// Records that a hold ends now. Call it before the release is sent, or before the process is
    /// killed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&self, name: &str, owner: &str, fence: u64) -> io::Result<()> {
        self.end_at(name, owner, fence, Self::now_ns())
    }

    /// Records that a hold ended at that time, for example at its deadline. The earliest of several
    /// ends counts.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end_at(&self, name: &str, owner: &str, fence: u64, at_ns: u64) -> io::Result<()> {
        let words = [fence, at_ns].map(|n| n.to_string());
        self.append(&["end", name, owner, &words[0], &words[1]])
    }

    /// Records that all holds of this owner end now. Call it while the owner is stopped.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn end_all_of(&self, owner: &str) -> io::Result<()> {
        let at = Self::now_ns();
        let open = self.holds()?.into_iter();
        for hold in open.filter(|b| b.owner == owner && b.end_ns.is_none()) {
            self.end_at(&hold.name, owner, hold.fence, at)?;
        }
        Ok(())
    }

    /// Records that the store lost its memory, or expired holds early, in that time. A hold that
    /// begins in it may overlap an earlier one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn forgot(&self, from_ns: u64, to_ns: u64) -> io::Result<()> {
        self.append(&["forgot", &from_ns.to_string(), &to_ns.to_string()])
    }

    /// Records that this owner, or every owner, may have been unreachable in that time, and may
    /// have lost a turn.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn away(&self, owner: Option<&str>, from_ns: u64, to_ns: u64) -> io::Result<()> {
        let span = [from_ns, to_ns].map(|n| n.to_string());
        self.append(&["away", owner.unwrap_or(NONE), &span[0], &span[1]])
    }

    /// Returns every hold, ordered by name and begin.
    ///
    /// # Errors
    /// If the file cannot be read, or has an invalid line.
    pub fn holds(&self) -> io::Result<Vec<HoldInterval>> {
        Ok(self.read()?.holds)
    }

    /// Checks that no holds of a name overlap, that their fences rise, and that no reachable waiter
    /// was overtaken.
    ///
    /// # Errors
    /// The first holds that violate this.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn check(&self) -> Result<Summary, Box<Violation>> {
        self.read().expect("the history's file").judge()
    }

    fn read(&self) -> io::Result<Record> {
        let text = std::fs::read_to_string(&self.path)?;
        let mut record = Record::default();
        let mut ends = BTreeMap::new();
        for line in text.lines() {
            let read = record.read_line(line, &mut ends);
            read.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.to_owned()))?;
        }
        for hold in &mut record.holds {
            let key = (&*hold.name, &*hold.owner, hold.fence);
            hold.end_ns = ends.get(&key).copied();
        }
        let holds = &mut record.holds;
        holds.sort_by(|a, b| (&a.name, a.begin_ns).cmp(&(&b.name, b.begin_ns)));
        Ok(record)
    }

    /// Appends a line by a single write, which is atomic.
    fn append(&self, words: &[&str]) -> io::Result<()> {
        if words.iter().any(|word| word.contains(['\t', '\n'])) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let line = format!("{}\n", words.join("\t"));
        (&self.file).write_all(line.as_bytes())
    }
}

type Ends<'a> = BTreeMap<(&'a str, &'a str, u64), u64>;

impl Record {
    fn read_line<'a>(&mut self, line: &'a str, ends: &mut Ends<'a>) -> Option<()> {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["begin", name, owner, fence, share, asked, queued, at] => {
                self.holds.push(HoldInterval {
                    name: name.to_owned(),
                    owner: owner.to_owned(),
                    fence: fence.parse().ok()?,
                    share: Share::from_word(share)?,
                    asked_ns: optional(asked)?,
                    queued_ns: optional(queued)?,
                    begin_ns: at.parse().ok()?,
                    end_ns: None,
                })
            }
            ["end", name, owner, fence, at] => {
                let at = at.parse().ok()?;
                let end = ends.entry((name, owner, fence.parse().ok()?)).or_insert(at);
                *end = at.min(*end);
            }
            ["forgot", from, to] => self.forgotten.push([from.parse().ok()?, to.parse().ok()?]),
            ["away", owner, from, to] => self.away.push(Away {
                owner: (owner != NONE).then(|| owner.to_owned()),
                span: [from.parse().ok()?, to.parse().ok()?],
            }),
            _ => return None,
        }
        Some(())
    }
}

fn optional(word: &str) -> Option<Option<u64>> {
    if word == NONE {
        Some(None)
    } else {
        word.parse().ok().map(Some)
    }
}

impl Share {
    fn to_word(self) -> String {
        match self {
            Self::Alone => NONE.to_owned(),
            Self::Part { weight, limit } => format!("{weight}/{limit}"),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        if word == NONE {
            return Some(Self::Alone);
        }
        let (weight, limit) = word.split_once('/')?;
        Some(Self::Part {
            weight: weight.parse().ok()?,
            limit: limit.parse().ok()?,
        })
    }
}
