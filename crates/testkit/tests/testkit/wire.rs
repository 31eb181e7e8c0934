//! A client that speaks through a proxy, frame by frame.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testkit::Proxy;

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A connection that sends and reads apart, in RESP3.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) fn dial(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ms(2_000))).unwrap();
        Self(BufReader::new(stream))
    }

    /// A connection on which pushes come.
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
        // To a connection that was cut, nothing can be sent.
        let _ = self.0.get_mut().write_all(request.as_bytes());
    }

    /// The next line that is no length of a string.
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

    /// Whether the connection is open, and nothing comes for a while.
    pub(crate) fn is_silent(&mut self) -> bool {
        let stream = self.0.get_ref();
        stream.set_read_timeout(Some(ms(80))).unwrap();
        let read = self.0.fill_buf().map(<[u8]>::len);
        self.0.get_ref().set_read_timeout(Some(ms(2_000))).unwrap();
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Whether the connection has been closed by the other side.
    pub(crate) fn is_cut(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
