//! The description of a holder or waiter: host, process, program and a note.

use std::fmt;

use crate::errors::invalid::Invalid;
use crate::printable::Printable;

/// Describes the process of a holder or waiter.
///
/// Unknown parts are `None`. An external client has no label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// The host's name.
    pub host: Option<String>,
    /// The process id on that host.
    pub pid: Option<u32>,
    /// The name of the program.
    pub program: Option<String>,
    /// The note that was set by [`Lock::label`](crate::Lock::label).
    pub note: Option<String>,
}

impl Label {
    /// The maximum length of a note, in bytes.
    pub const MAX_NOTE_BYTES: usize = 256;

    /// Returns the label of this process.
    pub(crate) fn of_this_process() -> Self {
        let program = std::env::args_os()
            .next()
            .map(std::path::PathBuf::from)
            .and_then(|path| path.file_name().map(|n| n.to_string_lossy().into_owned()));
        Self {
            host: Some(
                rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned(),
            ),
            pid: Some(std::process::id()),
            program,
            note: None,
        }
    }

    pub(crate) fn with_note(mut self, note: &str) -> Result<Self, Invalid> {
        if Self::MAX_NOTE_BYTES < note.len() {
            return Err(Invalid::new(
                "label",
                format!(
                    "a label has at most {} bytes, and this one has {}",
                    Self::MAX_NOTE_BYTES,
                    note.len()
                ),
            ));
        }
        self.note = Some(note.to_owned()).filter(|note| !note.is_empty());
        Ok(self)
    }

    /// Returns the line `host pid program note`. An unknown word is `-`.
    pub(crate) fn to_line(&self) -> String {
        let word = |text: Option<&str>| match text {
            Some(text) if !text.is_empty() => text
                .chars()
                .map(|c| {
                    if c.is_whitespace() || c.is_control() {
                        '_'
                    } else {
                        c
                    }
                })
                .take(128)
                .collect(),
            _ => "-".to_owned(),
        };
        let pid = self.pid.map(|pid| pid.to_string());
        format!(
            "{} {} {} {}",
            word(self.host.as_deref()),
            word(pid.as_deref()),
            word(self.program.as_deref()),
            self.note.as_deref().unwrap_or_default(),
        )
    }

    /// Parses a line of [`Label::to_line`]. Parts that cannot be parsed are `None`.
    pub(crate) fn from_line(line: &str) -> Self {
        let mut words = line.splitn(4, ' ');
        let mut word = || {
            words
                .next()
                .filter(|word| !word.is_empty() && *word != "-")
                .map(str::to_owned)
        };
        Self {
            host: word(),
            pid: word().and_then(|pid| pid.parse().ok()),
            program: word(),
            note: words
                .next()
                .filter(|note| !note.is_empty())
                .map(str::to_owned),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.as_deref().unwrap_or("unknown program");
        // Any client of the store may have written it.
        write!(f, "{}", Printable(program))?;
        if let Some(pid) = self.pid {
            write!(f, " (pid {pid})")?;
        }
        if let Some(host) = &self.host {
            write!(f, " on {}", Printable(host))?;
        }
        match &self.note {
            Some(note) => write!(f, ": {}", Printable(note)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Label;

    #[test]
    fn label_and_note_survive_the_store() {
        let label = Label {
            host: Some("web 1".into()),
            pid: Some(7),
            program: None,
            note: Some("two words\nand a line".into()),
        };
        let read = Label::from_line(&label.to_line());
        assert_eq!(
            read,
            Label {
                host: Some("web_1".into()),
                ..label
            }
        );
    }

    #[test]
    fn external_label_is_read_partially() {
        assert_eq!(Label::from_line(""), Label::default());
        assert_eq!(Label::from_line("h x").host.as_deref(), Some("h"));
    }
}
