//! What several processes believed, on the one monotonic clock of the machine, in a file that can
//! be judged at any later time.

mod judge;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

pub use judge::{Summary, Violation};

/// A file to which processes append what they believe, a line at a time.
#[derive(Debug)]
pub struct History {
    file: File,
    path: PathBuf,
}

/// How a name is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// By nobody else.
    Alone,
    /// Together with others that share; all together weigh no more than the limit.
    Part {
        /// What this one weighs.
        weight: u64,
        /// How much there is.
        limit: u64,
    },
}

/// A hold to hold a name, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldInterval {
    /// What is held.
    pub name: String,
    /// Who believes.
    pub owner: String,
    /// The fence of the hold.
    pub fence: u64,
    /// Alone, or with others.
    pub share: Share,
    /// When it was asked for: no store has heard of it before.
    pub asked_ns: Option<u64>,
    /// When it was known to stand in the queue.
    pub queued_ns: Option<u64>,
    /// When it began.
    pub begin_ns: u64,
    /// When it ended; none if nobody said so.
    pub end_ns: Option<u64>,
}

/// All that is in the file.
#[derive(Debug, Default)]
struct Record {
    /// In order of name and begin.
    holds: Vec<HoldInterval>,
    forgotten: Vec<[u64; 2]>,
    away: Vec<Away>,
}

/// When an owner, or all of them, may have been out of reach.
#[derive(Debug)]
struct Away {
    owner: Option<String>,
    span: [u64; 2],
}

const NONE: &str = "-";

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

    /// A hold to hold alone begins now: to be called once the acquire has answered.
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

    /// A hold that began at the moment it says, and has no end yet.
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

    /// A hold ends now: to be called before the release is asked for, or by whoever kills the
    /// process, before the kill.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&self, name: &str, owner: &str, fence: u64) -> io::Result<()> {
        self.end_at(name, owner, fence, Self::now_ns())
    }

    /// A hold ended then, at its deadline perhaps. The earliest of several ends counts.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end_at(&self, name: &str, owner: &str, fence: u64, at_ns: u64) -> io::Result<()> {
        let words = [fence, at_ns].map(|n| n.to_string());
        self.append(&["end", name, owner, &words[0], &words[1]])
    }

    /// All that this owner believes ends now: to be called while it is stopped.
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

    /// In that time the store forgot what it knew, or ended it early, and who held then may have
    /// believed on: a hold that begins in it may contradict one of before.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn forgot(&self, from_ns: u64, to_ns: u64) -> io::Result<()> {
        self.append(&["forgot", &from_ns.to_string(), &to_ns.to_string()])
    }

    /// In that time this owner, or all, may have been out of reach, and lost a turn.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn away(&self, owner: Option<&str>, from_ns: u64, to_ns: u64) -> io::Result<()> {
        let span = [from_ns, to_ns].map(|n| n.to_string());
        self.append(&["away", owner.unwrap_or(NONE), &span[0], &span[1]])
    }

    /// Every hold, in order of name and begin.
    ///
    /// # Errors
    /// If the file cannot be read, or a line of it is none of ours.
    pub fn holds(&self) -> io::Result<Vec<HoldInterval>> {
        Ok(self.read()?.holds)
    }

    /// Whether no holds of a name contradict, their fences rise, and nobody that waited and was
    /// within reach was overtaken.
    ///
    /// # Errors
    /// The first holds that contradict.
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

    /// One write of one line, which the system appends whole.
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
