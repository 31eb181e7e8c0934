//! Files with the token of a detached hold.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use arbiter_lock::{Printable, Token};

use crate::exit::Exit;
use crate::output;

/// A token has at most this many bytes: a name is escaped.
const MOST_BYTES: u64 = 4_096;

/// Where a token is to be written.
pub(super) enum TokenFile {
    File(File),
    Stdout,
}

impl TokenFile {
    /// Opens the file, so that nothing is acquired if it cannot be written. Its content stays until
    /// there is a token.
    pub(super) fn open(path: &Path) -> Result<Self, Exit> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path);
        file.map(Self::File).map_err(|error| refused(path, &error))
    }

    pub(super) fn write(self, token: &Token) -> std::io::Result<()> {
        let line = format!("{token}\n");
        match self {
            Self::Stdout => std::io::stdout().write_all(line.as_bytes()),
            Self::File(mut file) => {
                file.set_len(0)?;
                file.write_all(line.as_bytes())
            }
        }
    }
}

/// Reads the token of a file.
pub(super) fn read(path: &Path) -> Result<Token, Exit> {
    let mut text = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    read.map_err(|error| refused(path, &error))?;
    let token = String::from_utf8_lossy(&text).parse();
    token.map_err(|error| {
        output::say(&format!("{}: {error}", shown(path)));
        Exit::Data
    })
}

fn refused(path: &Path, error: &std::io::Error) -> Exit {
    output::say(&format!("the token file {}: {error}", shown(path)));
    match error.kind() {
        ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Data,
    }
}

fn shown(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}
