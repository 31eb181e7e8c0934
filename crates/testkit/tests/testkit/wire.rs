//! A client that sends and reads through a proxy, frame by frame.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::Proxy;

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A RESP3 connection that sends and reads separately.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) fn dial(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ms(2_000))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Opens a connection on which pushes arrive.
    pub(crate) fn dial_resp3(proxy: &Proxy) -> Self {
        let mut wire = Self::dial(proxy);
        wire.send("HELLO 3");
        while wire.line() != "modules" {}
        wire.line();
        wire
    }

    pub(crate) fn send(&mut self, words: &str) {
        let words: Vec<_> = words.split(' ').collect();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        // A cut connection accepts nothing.
        let _ = self.0.get_mut().write_all(request.as_bytes());
    }

    /// Returns the next line that is not the length of a string.
    pub(crate) fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if !line.starts_with('$') {
                return line.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn ask(&mut self, words: &str) -> String {
        self.send(words);
        self.line()
    }

    /// Returns whether the connection is open and nothing arrives for a while.
    pub(crate) fn is_silent(&mut self) -> bool {
        let stream = self.0.get_ref();
        stream.set_read_timeout(Some(ms(80))).unwrap();
        let read = self.0.fill_buf().map(<[u8]>::len);
        self.0.get_ref().set_read_timeout(Some(ms(2_000))).unwrap();
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Returns whether the other side has closed the connection.
    pub(crate) fn is_cut(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
