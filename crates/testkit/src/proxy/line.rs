//! One connection through the proxy: a thread for each direction, and one for late pushes.
//!
//! Replies come in the order of the requests, so a queue of fates assigns each reply to its
//! request. Pushes are not part of that order, except confirmations of a subscription, which take
//! the place of its reply.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::{Request, push_kind, read_frame};
use super::lane::Lane;
use super::monitor::Monitor;
use super::rule::{Fault, Rule};
use super::traffic::{Pushes, Switch};

/// A connection from a client, and its connection to the server.
#[derive(Debug)]
pub(super) struct Line {
    client: TcpStream,
    server: TcpStream,
    expected: Mutex<VecDeque<Expected>>,
    lost: Monitor<Lost>,
}

/// The directions in which nothing arrives any more.
#[derive(Debug, Default)]
struct Lost {
    requests: bool,
    replies: bool,
}

/// An expected reply.
#[derive(Debug)]
struct Expected {
    fate: Fate,
    /// Whether pushes confirm the request, of which the first counts, instead of a reply.
    subscribes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Pass,
    Swallow,
    Delay(Duration),
    Lose,
    Cut,
}

impl Line {
    /// Connects. Nothing passes before [`Self::carry`].
    pub(super) fn open(client: TcpStream, port: u16) -> io::Result<Arc<Self>> {
        let server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        Ok(Arc::new(Self {
            client,
            server,
            expected: Mutex::default(),
            lost: Monitor::default(),
        }))
    }

    /// Forwards requests and replies from now on.
    pub(super) fn carry(self: &Arc<Self>, switch: &Arc<Switch>) -> io::Result<()> {
        let requests = BufReader::new(self.client.try_clone()?);
        let replies = BufReader::new(self.server.try_clone()?);
        let (late, due) = channel();
        let (up, down, pushes) = (self.clone(), self.clone(), self.clone());
        let (up_switch, down_switch) = (switch.clone(), switch.clone());
        thread::spawn(move || up.carry_requests(requests, &up_switch));
        thread::spawn(move || down.carry_replies(replies, &down_switch, late));
        thread::spawn(move || pushes.carry_late(&due));
        Ok(())
    }

    /// Loses everything that is sent from now on. The connection stays open.
    pub(super) fn silence(&self) {
        self.lost.change(|lost| {
            lost.requests = true;
            lost.replies = true;
        });
    }

    /// Cuts both connections. A closed one needs no cut.
    pub(super) fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn carry_requests(self: &Arc<Self>, mut requests: BufReader<TcpStream>, switch: &Arc<Switch>) {
        let (line, passing, ending) = (self.clone(), switch.clone(), self.clone());
        let lane = Lane::start(
            move |request| line.pass_request(&request, &passing),
            // Sent requests are still executed, and their replies are still read.
            move || drop(ending.server.shutdown(Shutdown::Write)),
        );
        while let Ok(request) = Request::read(&mut requests) {
            if !lane.put(request, switch.delay()) {
                break;
            }
        }
    }

    fn pass_request(&self, request: &Request, switch: &Switch) -> bool {
        switch.wait_while_stalled();
        // A request without arguments has no reply.
        if request.args.is_empty() || self.lost.read(|lost| lost.requests) {
            return true;
        }
        let sent = match switch.rule_for(&request.args) {
            None => self.send(request, Fate::Pass, switch),
            Some((fault, rule)) => self.send_faulty(request, fault, &rule, switch),
        };
        sent.is_ok()
    }

    fn send_faulty(
        &self,
        request: &Request,
        fault: Fault,
        rule: &Rule,
        switch: &Switch,
    ) -> io::Result<()> {
        match fault {
            Fault::LoseReply => self.send(request, Fate::Lose, switch),
            Fault::DelayReply(by) => self.send(request, Fate::Delay(by), switch),
            Fault::HoldRequest if rule.hold() => self.send(request, Fate::Pass, switch),
            Fault::HoldRequest => Ok(()),
            Fault::CutBefore => {
                self.cut();
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Fault::CutAfter => self.send(request, Fate::Cut, switch),
            Fault::Duplicate => {
                self.send(request, Fate::Pass, switch)?;
                self.send(request, Fate::Swallow, switch)
            }
        }
    }

    fn send(&self, request: &Request, fate: Fate, switch: &Switch) -> io::Result<()> {
        let name = request.args.first().map(Vec::as_slice).unwrap_or_default();
        let name = String::from_utf8_lossy(name).to_uppercase();
        let subscribes = name.ends_with("SUBSCRIBE");
        let expected = Expected { fate, subscribes };
        self.lock_expected().push_back(expected);
        switch.count(name);
        (&self.server).write_all(&request.bytes)
    }

    fn carry_replies(
        self: &Arc<Self>,
        mut replies: BufReader<TcpStream>,
        switch: &Arc<Switch>,
        late: Sender<(Instant, Vec<u8>)>,
    ) {
        let (line, passing, ending) = (self.clone(), switch.clone(), self.clone());
        let lane = Lane::start(
            move |frame| line.pass_reply(frame, &passing, &late),
            move || ending.cut(),
        );
        while let Ok(frame) = read_frame(&mut replies) {
            if !lane.put(frame, switch.delay()) {
                break;
            }
        }
    }

    fn pass_reply(
        &self,
        frame: Vec<u8>,
        switch: &Switch,
        late: &Sender<(Instant, Vec<u8>)>,
    ) -> bool {
        switch.wait_while_stalled();
        let carried = match push_kind(&frame) {
            Some(kind) if kind.ends_with(b"message") => match switch.pushes() {
                Pushes::Flowing => self.deliver(&frame),
                Pushes::Lost => Ok(()),
                Pushes::Late(by) => late
                    .send((Instant::now() + by, frame))
                    .map_err(io::Error::other),
            },
            kind => self.carry_reply(&frame, kind.is_some()),
        };
        carried.is_ok()
    }

    fn carry_reply(&self, frame: &[u8], is_push: bool) -> io::Result<()> {
        match self.next_fate(is_push) {
            Fate::Pass => self.deliver(frame),
            Fate::Swallow => Ok(()),
            Fate::Delay(by) => {
                thread::sleep(by);
                self.deliver(frame)
            }
            Fate::Lose => {
                self.lost.change(|lost| lost.replies = true);
                Ok(())
            }
            Fate::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn next_fate(&self, is_push: bool) -> Fate {
        let mut expected = self.lock_expected();
        match expected.front() {
            Some(front) if !is_push || front.subscribes => {
                let fate = front.fate;
                expected.pop_front();
                fate
            }
            _ => Fate::Pass, // an unsolicited push, or a further confirmation
        }
    }

    /// Delivers delayed pushes when they are due.
    fn carry_late(&self, due: &Receiver<(Instant, Vec<u8>)>) {
        for (at, frame) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if self.deliver(&frame).is_err() {
                break;
            }
        }
    }

    /// Writes a whole frame. A client that has closed is no failure: the server's replies to it are
    /// read to their end.
    fn deliver(&self, frame: &[u8]) -> io::Result<()> {
        self.lost.change(|lost| {
            if !lost.replies && (&self.client).write_all(frame).is_err() {
                lost.replies = true;
            }
        });
        Ok(())
    }

    fn lock_expected(&self) -> std::sync::MutexGuard<'_, VecDeque<Expected>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
