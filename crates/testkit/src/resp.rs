//! A small synchronous RESP2 client, so that tests inspect a server without the code under test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Int(i64),
    /// `$…`; none for a null.
    Bulk(Option<Vec<u8>>),
    /// `*…`
    Array(Vec<Self>),
}

impl Reply {
    /// Returns the text of a string or of a number.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) | Self::Error(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Bulk(bytes) => bytes
                .as_ref()
                .map(|b| String::from_utf8_lossy(b).into_owned()),
            Self::Array(_) => None,
        }
    }

    /// Returns the number, if it is one.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        self.text()?.parse().ok()
    }

    /// Returns the items of a list as text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Array(items) => items.iter().filter_map(Self::text).collect(),
            _ => Vec::new(),
        }
    }
}

pub(crate) struct Client<S>(BufReader<S>);

impl Client<UnixStream> {
    pub(crate) fn connect_unix(path: &Path, limit: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(Self(BufReader::new(stream)))
    }
}

impl Client<TcpStream> {
    pub(crate) fn connect(port: u16, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend(format!("${}\r\n", arg.len()).as_bytes());
            request.extend(*arg);
            request.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let odd = || io::Error::new(io::ErrorKind::InvalidData, line.clone());
        let rest = line.get(1..).ok_or_else(odd)?.trim_end();
        match line.as_bytes().first() {
            Some(b'+') => Ok(Reply::Simple(rest.to_owned())),
            Some(b'-') => Ok(Reply::Error(rest.to_owned())),
            Some(b':') => rest.parse().map(Reply::Int).map_err(|_| odd()),
            Some(b'$') => match rest.parse::<usize>() {
                Err(_) => Ok(Reply::Bulk(None)),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Ok(Reply::Bulk(Some(bytes)))
                }
            },
            Some(b'*') => {
                let length = rest.parse::<usize>().unwrap_or(0);
                (0..length)
                    .map(|_| self.read())
                    .collect::<io::Result<_>>()
                    .map(Reply::Array)
            }
            _ => Err(odd()),
        }
    }
}
