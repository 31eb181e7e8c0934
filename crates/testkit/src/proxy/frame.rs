//! Reads whole RESP frames, as the bytes to forward.

use std::io::{self, BufRead, Read};

/// A request, as its bytes and as its arguments.
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    pub(super) args: Vec<Vec<u8>>,
}

/// Deeper than any reply is nested.
const DEEPEST: usize = 32;

impl Request {
    /// Reads an array of bulk strings, the only requests that clients send.
    pub(super) fn read(source: &mut impl BufRead) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let head = read_line(source, &mut bytes)?;
        if bytes[head] != b'*' {
            return Err(odd(&bytes[head..]));
        }
        let mut args = Vec::new();
        for _ in 0..length(&bytes[head..])?.unwrap_or(0) {
            let line = read_line(source, &mut bytes)?;
            let size = length(&bytes[line..])?.ok_or_else(|| odd(&bytes[line..]))?;
            let begin = bytes.len();
            read_bulk(source, &mut bytes, size)?;
            args.push(bytes[begin..begin + size].to_vec());
        }
        Ok(Self { bytes, args })
    }
}

/// Reads one reply or push.
pub(super) fn read_frame(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_value(source, &mut bytes, DEEPEST)?;
    Ok(bytes)
}

/// Returns the kind of a push: `message`, `subscribe` and so on; none for a reply.
pub(super) fn push_kind(frame: &[u8]) -> Option<&[u8]> {
    if frame.first() != Some(&b'>') {
        return None;
    }
    let mut lines = frame.split(|byte| *byte == b'\n');
    let kind = lines.nth(2)?;
    Some(kind.strip_suffix(b"\r").unwrap_or(kind))
}

fn read_value(source: &mut impl BufRead, bytes: &mut Vec<u8>, depth: usize) -> io::Result<()> {
    let line = read_line(source, bytes)?;
    let head = bytes[line];
    let count = match head {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => return Ok(()),
        b'$' | b'=' | b'!' => match length(&bytes[line..])? {
            Some(size) => return read_bulk(source, bytes, size),
            None => return Ok(()),
        },
        b'*' | b'~' | b'>' => length(&bytes[line..])?.unwrap_or(0),
        b'%' => 2 * length(&bytes[line..])?.unwrap_or(0),
        // An attribute precedes the value that it describes.
        b'|' => 2 * length(&bytes[line..])?.unwrap_or(0) + 1,
        _ => return Err(odd(&bytes[line..])),
    };
    let depth = depth.checked_sub(1).ok_or_else(|| odd(&bytes[line..]))?;
    for _ in 0..count {
        read_value(source, bytes, depth)?;
    }
    Ok(())
}

/// Appends a line and returns the position of its first byte. The end of the stream is an error.
fn read_line(source: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let begin = bytes.len();
    source.read_until(b'\n', bytes)?;
    if bytes.last() == Some(&b'\n') && begin < bytes.len() {
        Ok(begin)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn read_bulk(source: &mut impl BufRead, bytes: &mut Vec<u8>, size: usize) -> io::Result<()> {
    let wanted = size as u64 + 2;
    if source.take(wanted).read_to_end(bytes)? as u64 == wanted {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Returns the length that a line states; none for a null.
fn length(line: &[u8]) -> io::Result<Option<usize>> {
    let text = std::str::from_utf8(&line[1..]).map_err(|_| odd(line))?;
    match text.trim_end() {
        "-1" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| odd(line)),
    }
}

fn odd(line: &[u8]) -> io::Error {
    let line = String::from_utf8_lossy(line).into_owned();
    io::Error::new(io::ErrorKind::InvalidData, line)
}
