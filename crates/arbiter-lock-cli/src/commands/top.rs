//! `arbiter top`: shows the locks of a store full-screen, and breaks holds.
//!
//! `view` decides the effect of keys and answers, `draw` draws it, and the files below do the I/O: `jobs`
//! asks the store as `arbiter list`, `status` and `break` do, `screen` and `input` use the terminal.

mod cursor;
mod details;
mod draw;
mod input;
mod jobs;
mod keys;
mod layout;
mod reading;
mod screen;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod words;

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, NoopLogger, Printable};
use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use crate::child::stop_job;
use crate::cli::{ListArgs, SortKey, StoreArgs, TopArgs};
use crate::commands::list;
use crate::commands::supervisor::Interrupts;
use crate::exit::Exit;
use crate::shell::quoted;
use crate::signals::Listener;
use crate::{output, store, writer};
use input::is_in_foreground;
use jobs::{Job, Listing, RunningList, Schedule};
use keys::KeyParser;
use screen::Screen;
use view::{Action, Confirmation, Input, View};

/// How long a single escape waits for the rest of a sequence, as on a slow link.
const ESCAPE: Duration = Duration::from_millis(50);
/// How much later than the end of the terminal its signal may come.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// How often the ages that are shown are drawn again.
const TICK: Duration = Duration::from_secs(1);
/// How often a process in the background checks whether it has the terminal.
const BACKGROUND: Duration = Duration::from_millis(200);

/// Shows the locks until a key or a signal ends it. Without a terminal, it prints the list once.
pub(crate) async fn top(args: &TopArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let tty = input::open();
    let Some(tty) = tty.ok().filter(|_| screen::is_usable()) else {
        let args = ListArgs {
            json: false,
            sort: args.sort,
            selection: args.selection.clone(),
        };
        return list::list(&args, store).await;
    };
    let (client, url) = store::client_and_url(store, NoopLogger)?;
    // Messages so far stay on the shell's screen.
    writer::flush();
    let again = format!("arbiter status{}", store.again());
    let mut session = Session::new(args, client, &url, tty).map_err(|e| output::refused(&e))?;
    let ended = session.run().await;
    session.screen.hide();
    if let Some(Confirmation { name, .. }) = session.breaking_hold.take() {
        let name = quoted(&name);
        output::say(&format!(
            "the break of {name} was not confirmed; see: {again} {name}"
        ));
    }
    ended
}

/// The view, its terminal, and the requests that run.
struct Session<'a> {
    args: &'a TopArgs,
    client: Client,
    view: View,
    screen: Screen,
    tty: File,
    bytes: mpsc::Receiver<Vec<u8>>,
    parser: KeyParser,
    signals: Signals,
    listing: Option<RunningList>,
    inspecting: Job,
    breaking: Job,
    /// The hold that is being broken.
    breaking_hold: Option<Confirmation>,
    schedule: Schedule,
    /// When the details are read again.
    schedule_of_details: Schedule,
}

/// An event that wakes the session.
enum Wake {
    Bytes(Option<Vec<u8>>),
    /// No more bytes have come.
    Decided,
    Answer(Input),
    Signal(Signal),
    Tick,
}

impl<'a> Session<'a> {
    fn new(args: &'a TopArgs, client: Client, url: &str, tty: File) -> io::Result<Self> {
        let now = Instant::now();
        let pattern = match args.selection.pattern.as_str() {
            "*" => String::new(),
            pattern => format!("  '{}'", Printable(pattern)),
        };
        let title = format!("arbiter top  {}{pattern}", Printable(url));
        let sort = args.sort.unwrap_or(SortKey::Waiting);
        Ok(Self {
            args,
            client,
            view: View::new(title, sort),
            screen: Screen::new(),
            bytes: input::start(tty.try_clone()?)?,
            tty,
            parser: KeyParser::default(),
            signals: Signals::new()?,
            listing: None,
            inspecting: Job::default(),
            breaking: Job::default(),
            breaking_hold: None,
            schedule: Schedule::new(args.interval, now),
            schedule_of_details: Schedule::new(args.interval, now),
        })
    }

    async fn run(&mut self) -> Result<Exit, Exit> {
        loop {
            if !self.screen.is_shown()
                && is_in_foreground(&self.tty)
                && let Err(error) = self.screen.show()
            {
                return Err(self.failed(&error).await);
            }
            self.start_jobs();
            if self.screen.is_taken() {
                // The message of the panic was printed.
                return Err(Exit::Software);
            }
            if let Err(error) = self.screen.draw(&mut self.view) {
                return Err(self.failed(&error).await);
            }
            let inputs = match self.wake().await {
                Wake::Bytes(Some(bytes)) => keys(self.parser.feed(&bytes)),
                Wake::Bytes(None) => return Err(self.failed(&"the terminal was closed").await),
                Wake::Decided => keys(self.parser.decide()),
                Wake::Answer(input) => {
                    self.note_end(&input);
                    vec![input]
                }
                Wake::Signal(Signal::SIGCONT) => {
                    // The shell has used the terminal meanwhile.
                    self.screen.hide();
                    Vec::new()
                }
                Wake::Signal(Signal::SIGTSTP) => {
                    self.suspend();
                    Vec::new()
                }
                Wake::Signal(Signal::SIGWINCH) | Wake::Tick => Vec::new(),
                Wake::Signal(signal) => return Ok(Exit::DieOf(signal as i32)),
            };
            for input in inputs {
                if self.apply(input) == Action::Quit {
                    return Ok(Exit::Success);
                }
            }
        }
    }

    /// Restores the terminal, and prints its error, unless it was closed: that is a signal, too.
    async fn failed(&mut self, error: &dyn std::fmt::Display) -> Exit {
        self.screen.hide();
        match timeout(SAME_MOMENT, self.signals.ending.ending()).await {
            Ok(signal) => Exit::DieOf(signal),
            Err(_) => {
                output::say(&format!("the view failed: {error}"));
                Exit::Os
            }
        }
    }

    /// Starts the request that is due. In the background, and for locks that are not shown, nothing
    /// is read.
    fn start_jobs(&mut self) {
        let (now, is_paused) = (Instant::now(), self.view.is_paused);
        if !self.screen.is_shown() {
            return;
        }
        let client = self.client.clone();
        if let Some(details) = &self.view.details {
            let schedule = &mut self.schedule_of_details;
            if !self.inspecting.is_running() && schedule.is_due(now, is_paused) {
                schedule.begin(now);
                let name = details.name.clone();
                self.inspecting.start(jobs::details(client, name));
            }
        } else if self.listing.is_none() && self.schedule.is_due(now, is_paused) {
            self.schedule.begin(now);
            let (selection, view) = (&self.args.selection, &self.view);
            let listing = Listing::new(&client, selection, view.sort, &view.filter);
            self.listing = Some(listing.run());
            self.view.apply(Input::Listing, now);
        }
    }

    /// Waits for the next event.
    async fn wake(&mut self) -> Wake {
        let is_undecided = self.parser.is_undecided();
        let (is_reading, schedule) = match &self.view.details {
            Some(_) => (self.inspecting.is_running(), &self.schedule_of_details),
            None => (self.listing.is_some(), &self.schedule),
        };
        let tick = Instant::now() + TICK;
        let until = match self.screen.is_shown() {
            false => Instant::now() + BACKGROUND,
            true if self.view.is_paused || is_reading => tick,
            true => tick.min(schedule.due),
        };
        tokio::select! {
            signal = self.signals.next() => Wake::Signal(signal),
            bytes = self.bytes.recv() => Wake::Bytes(bytes),
            () = sleep(ESCAPE), if is_undecided => Wake::Decided,
            input = jobs::listed(&mut self.listing) => Wake::Answer(input),
            input = self.inspecting.ended() => Wake::Answer(input),
            input = self.breaking.ended() => Wake::Answer(input),
            () = sleep_until(until.into()) => Wake::Tick,
        }
    }

    /// Notes that a request has ended.
    fn note_end(&mut self, input: &Input) {
        let now = Instant::now();
        match input {
            Input::Listed(_) => self.schedule.end(now),
            Input::Inspected(..) => self.schedule_of_details.end(now),
            Input::Outcome(_) => self.breaking_hold = None,
            _ => {}
        }
    }

    /// Applies an event, and does the action that follows.
    fn apply(&mut self, input: Input) -> Action {
        let now = Instant::now();
        let action = self.view.apply(input, now);
        match &action {
            Action::Refresh => {
                self.schedule.hurry();
                self.schedule_of_details.hurry();
                let shown = self.view.details.as_ref().map(|d| d.read.is_none());
                if shown == Some(true) {
                    // Another name may still be read.
                    self.inspecting.cancel();
                }
            }
            Action::Restart => {
                self.listing = None;
                self.schedule.hurry();
            }
            Action::Suspend => self.suspend(),
            Action::Break(confirmation, manner) => {
                if self.breaking.is_running() {
                    let text = "nothing was broken: the break before is not answered yet";
                    return self.apply(Input::Outcome(text.to_owned()));
                }
                self.breaking_hold = Some(confirmation.clone());
                let (client, confirmation) = (self.client.clone(), confirmation.clone());
                let breaking = jobs::break_hold(client, confirmation, *manner);
                self.breaking.start(breaking);
            }
            Action::Nothing | Action::Quit => {}
        }
        action
    }

    /// Stops the job of the shell, as Ctrl-Z does, until it is continued.
    fn suspend(&mut self) {
        let refused = if self.breaking.is_running() {
            // While a break is stopped, other processes could not use a store of this machine.
            Some("not stopped: a break is not answered yet")
        } else {
            self.screen.hide();
            (!stop_job()).then_some("not stopped: no shell would continue it")
        };
        if let Some(refused) = refused {
            self.apply(Input::Outcome(refused.to_owned()));
        }
    }
}

fn keys(keys: impl IntoIterator<Item = keys::Key>) -> Vec<Input> {
    keys.into_iter().map(Input::Key).collect()
}

/// The signals that end, stop or redraw the view.
struct Signals {
    ending: Interrupts,
    stop: Listener,
    cont: Listener,
    resize: Listener,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |signal: Signal| Listener::new(signal as i32);
        Ok(Self {
            ending: Interrupts::new()?,
            stop: listen(Signal::SIGTSTP)?,
            cont: listen(Signal::SIGCONT)?,
            resize: listen(Signal::SIGWINCH)?,
        })
    }

    /// Waits for the next signal.
    ///
    /// Cancel safe.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            number = self.ending.ending() => Signal::try_from(number).unwrap_or(Signal::SIGTERM),
            () = self.stop.received() => Signal::SIGTSTP,
            () = self.cont.received() => Signal::SIGCONT,
            () = self.resize.received() => Signal::SIGWINCH,
        }
    }
}
