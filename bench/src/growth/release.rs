//! The cost of a release with few and with many waiters.
//!
//! Its time on the server is that of the script alone, without the library, so that no waiter polls
//! meanwhile. The commands of a release are counted with the library.

use redis::Connection;
use testkit::Server;

use super::{LIMIT, many};
use crate::Failure;
use crate::figures::Figures;
use crate::measures::{RELEASE_COMMANDS, RELEASE_TIME};
use crate::monitor::Monitor;
use crate::participant::ARBITER;
use crate::scale::Scale;
use crate::scripts::{ACQUIRE, END, Keys, Request};
use crate::usage::Usage;

const CHANNEL: &str = "arbiter.wake:bench";
const WARM_UP: usize = 20;

pub(super) fn measure(
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_connection()?;
    let mut listening = client.get_connection()?;
    let mut listening = listening.as_pubsub();
    listening.subscribe(CHANNEL)?;
    for (at, waiters) in scale.waiters.into_iter().enumerate() {
        let time = time(server, &mut connection, waiters, scale.releases)?;
        figures.note_value(round, ARBITER, RELEASE_TIME[at], time);
    }
    if round == 0 {
        for (at, waiters) in scale.waiters.into_iter().enumerate() {
            server.call(&["FLUSHALL"]);
            let commands = commands(server, waiters, scale.releases)?;
            figures.note_value(round, ARBITER, RELEASE_COMMANDS[at], commands);
        }
    }
    Ok(())
}

/// Returns the microseconds of a release, with a constant number of waiters: the mean of the middle
/// half.
fn time(
    server: &Server,
    connection: &mut Connection,
    waiters: usize,
    count: usize,
) -> Result<f64, Failure> {
    for script in [&*ACQUIRE, &*END] {
        let _: String = script.load().query(connection)?;
    }
    let keys = Keys::new(&format!("queue-{waiters}"));
    let mut queue = std::collections::VecDeque::new();
    let mut heap = redis::pipe();
    for _ in 0..=waiters {
        let request = Request::on(CHANNEL);
        heap.add_command(request.acquire(&keys));
        queue.push_back(request);
    }
    let _: Vec<redis::Value> = heap.query(connection)?;
    let mut times = Vec::new();
    for n in 0..WARM_UP + count {
        let holder = queue.pop_front().ok_or("nobody holds")?;
        let before = Usage::of(server);
        let said: redis::Value = holder.end(&keys).query(connection)?;
        let used = Usage::of(server).since(&before);
        if !format!("{said:?}").contains("released") {
            return Err(format!("a release is answered {said:?}: a waiter was skipped").into());
        }
        if WARM_UP <= n {
            times.push(used.scripts().1);
        }
        let next = Request::on(CHANNEL);
        let _: redis::Value = next.acquire(&keys).query(connection)?;
        queue.push_back(next);
    }
    times.sort_by(f64::total_cmp);
    let middle = &times[times.len() / 4..times.len() * 3 / 4];
    Ok(middle.iter().sum::<f64>() / middle.len() as f64)
}

/// Returns the commands per release, without polls, while a queue of that length is granted.
fn commands(server: &Server, waiters: usize, count: usize) -> Result<f64, Failure> {
    let mut process = many(&server.url())?;
    let (mut commands, mut releases) = (0.0, 0);
    while releases < count {
        process.ask(&format!("wait {waiters}"), "waiting", LIMIT)?;
        let monitor = Monitor::start(server)?;
        let drained = process.ask("drain", "drained", LIMIT);
        let counted = monitor.stop()?;
        drained?;
        commands += counted.sent() - counted.of_script(&ACQUIRE.sha1);
        releases += waiters + 1;
    }
    Ok(commands / releases as f64)
}
