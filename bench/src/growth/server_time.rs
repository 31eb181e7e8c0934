//! The cost of a cycle on the server, with commands that arrive in batches: the scripts themselves,
//! and almost no network.

use redis::{Cmd, Connection};
use testkit::Server;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{PIPELINED_CPU, PIPELINED_IN_SCRIPTS};
use crate::participant::{ARBITER, BARE};
use crate::scale::Scale;
use crate::scripts::{
    ACQUIRE, COMPARE_AND_DELETE, END, GO_TRY_LOCK, GO_UNLOCK, Keys, Request, Script, fresh_id,
};
use crate::usage::Usage;

/// The Go library's own two scripts.
pub(crate) const GO_SCRIPTS: &str = "scripts of the Go library";

/// The two commands of a cycle on the name of that number.
type Cycle = fn(usize) -> [Cmd; 2];

/// The number of turns that the three take, since the machine may be slower for some seconds.
const TURNS: usize = 20;
const HEAPS_PER_TURN: usize = 30;
const CYCLES_PER_HEAP: usize = 32;

pub(super) fn measure(
    server: &Server,
    _: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    let all: [(&str, Cycle); 3] = [(ARBITER, ours), (GO_SCRIPTS, of_go), (BARE, bare)];
    for script in scripts() {
        let _: String = script.load().query(&mut connection)?;
    }
    let cycles = (TURNS * HEAPS_PER_TURN * CYCLES_PER_HEAP) as f64;
    let mut all = all.map(|(library, cycle)| (library, cycle, 0.0, 0.0));
    for turn in 0..=TURNS {
        for (library, cycle, in_commands, cpu) in &mut all {
            let before = Usage::of(server);
            run(&mut connection, *cycle)?;
            let used = Usage::of(server).since(&before);
            // In the first turn all is new to the server.
            if 0 < turn {
                *in_commands += sent(library, &used) / cycles;
                *cpu += used.cpu / cycles;
            }
        }
    }
    for (library, _, in_commands, cpu) in all {
        figures.note_value(round, library, PIPELINED_IN_SCRIPTS, in_commands);
        figures.note_value(round, library, PIPELINED_CPU, cpu);
    }
    Ok(())
}

/// Returns the time of the commands that are sent here, without those that scripts call.
fn sent(library: &str, used: &Usage) -> f64 {
    match library {
        BARE => used.in_commands(|name| f64::from(name == "set" || name == "evalsha")),
        _ => used.scripts().1,
    }
}

fn scripts() -> [&'static Script; 5] {
    [
        &ACQUIRE,
        &END,
        &GO_TRY_LOCK,
        &GO_UNLOCK,
        &COMPARE_AND_DELETE,
    ]
}

fn run(connection: &mut Connection, cycle: Cycle) -> Result<(), Failure> {
    for _ in 0..HEAPS_PER_TURN {
        let mut heap = redis::pipe();
        for command in (0..CYCLES_PER_HEAP).flat_map(cycle) {
            heap.add_command(command);
        }
        let _: Vec<redis::Value> = heap.query(connection)?;
    }
    Ok(())
}

fn ours(n: usize) -> [Cmd; 2] {
    let keys = Keys::new(&format!("name-{n}"));
    let request = Request::on("arbiter.wake:00000000000000000000000000000000");
    [request.acquire(&keys), request.end(&keys)]
}

fn of_go(n: usize) -> [Cmd; 2] {
    let (key, owner) = (format!("arbiter:go-{n}"), fresh_id());
    [
        GO_TRY_LOCK.call(&[&key], &[&owner, "30000"]),
        GO_UNLOCK.call(&[&key], &[&owner]),
    ]
}

fn bare(n: usize) -> [Cmd; 2] {
    let (key, owner) = (format!("bare-{n}"), fresh_id());
    let mut set = redis::cmd("SET");
    set.arg(&key).arg(&owner).arg("NX").arg("PX").arg(30_000);
    [set, COMPARE_AND_DELETE.call(&[&key], &[&owner])]
}
