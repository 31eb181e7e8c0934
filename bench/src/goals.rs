//! The goals of Arbiter, as data: each names the two figures that it compares.

use crate::figures::Figures;
use crate::goal::{Against, Bound, Goal, tidy};
use crate::growth::GO_SCRIPTS;
use crate::measures::{
    BETWEEN, BUS_MESSAGES, COMMANDS_PER_CYCLE, CROWD, CYCLE_P50, CYCLES, FILE_IN_PROCESS,
    FILE_OWN_NAMES, HOLD_BYTES, IDLE_COMMANDS, IN_PROCESS, NAMES_LEFT, ON_A_CLUSTER, ON_ONE_SERVER,
    PIPELINED_CPU, PIPELINED_IN_SCRIPTS, RELEASE_COMMANDS, RELEASE_TIME, RENEWALS_CLIENT,
    RENEWALS_LATE, RENEWALS_SERVER, WAITER_BYTES, WAITERS_CPU,
};
use crate::participant::{ARBITER, BARE_SCRIPTS};

use Against::{Highest, Lowest, Number, One};
use Bound::{AtLeast, AtMost};

/// Returns whether a library has a fence, an order, or a push.
fn with_more(library: &str) -> bool {
    matches!(library, "rueidislock" | "redisson" | "redisson-fair")
}

/// Returns whether a library grants in no order.
fn unfair(library: &str) -> bool {
    library != "redisson-fair"
}

fn fast_alone(library: &str) -> bool {
    matches!(library, "rlock" | "async-redis-lock")
}

fn any(_: &str) -> bool {
    true
}

macro_rules! goals {
    ($($text:literal: $measure:expr, $bound:expr, of $against:expr;)+) => {
        &[$(Goal {
            text: $text,
            figure: (ARBITER, $measure),
            bound: $bound,
            against: $against,
        }),+]
    };
}

const GOALS: &[Goal] = goals! {
    "a cycle, 1 task: p50 of the fastest":
        CYCLE_P50[0], AtMost(1.0), of Lowest(fast_alone, CYCLE_P50[0]);
    "or: our own two scripts, sent bare":
        CYCLE_P50[0], AtMost(1.1), of One((BARE_SCRIPTS, CYCLE_P50[0]));
    "cycles/s, 16 tasks: rueidislock":
        CYCLES[1], AtLeast(1.4), of One(("rueidislock", CYCLES[1]));
    "cycles/s, 64 tasks: rueidislock":
        CYCLES[2], AtLeast(1.4), of One(("rueidislock", CYCLES[2]));
    "cycles/s, 256 tasks: rueidislock":
        CYCLES[3], AtLeast(1.4), of One(("rueidislock", CYCLES[3]));
    "cycles/s, 16 tasks: Redisson":
        CYCLES[1], AtLeast(5.0), of One(("redisson", CYCLES[1]));
    "cycles/s, 64 tasks: Redisson":
        CYCLES[2], AtLeast(5.0), of One(("redisson", CYCLES[2]));
    "cycles/s, 256 tasks: Redisson":
        CYCLES[3], AtLeast(5.0), of One(("redisson", CYCLES[3]));
    "cycles/s, 16 tasks: the best with a fence, an order or a push":
        CYCLES[1], AtLeast(1.0), of Highest(with_more, CYCLES[1]);
    "cycles/s, 64 tasks: the best with a fence, an order or a push":
        CYCLES[2], AtLeast(1.0), of Highest(with_more, CYCLES[2]);
    "cycles/s, 256 tasks: the best with a fence, an order or a push":
        CYCLES[3], AtLeast(1.0), of Highest(with_more, CYCLES[3]);
    "cycles/s, 16 tasks: our own two scripts, sent bare":
        CYCLES[1], AtLeast(0.9), of One((BARE_SCRIPTS, CYCLES[1]));
    "cycles/s, 64 tasks: our own two scripts, sent bare":
        CYCLES[2], AtLeast(0.9), of One((BARE_SCRIPTS, CYCLES[2]));
    "cycles/s, 256 tasks: our own two scripts, sent bare":
        CYCLES[3], AtLeast(0.9), of One((BARE_SCRIPTS, CYCLES[3]));
    "cycles/s, 16 tasks: rslock":
        CYCLES[1], AtLeast(0.65), of One(("rslock", CYCLES[1]));
    "cycles/s, 64 tasks: rslock":
        CYCLES[2], AtLeast(0.65), of One(("rslock", CYCLES[2]));
    "cycles/s, 256 tasks: rslock":
        CYCLES[3], AtLeast(0.65), of One(("rslock", CYCLES[3]));
    "server µs in scripts per cycle: the Go library's":
        PIPELINED_IN_SCRIPTS, AtMost(2.3), of One((GO_SCRIPTS, PIPELINED_IN_SCRIPTS));
    "server CPU per cycle: the Go library's scripts":
        PIPELINED_CPU, AtMost(1.9), of One((GO_SCRIPTS, PIPELINED_CPU));
    "commands per cycle":
        COMMANDS_PER_CYCLE, AtMost(1.01), of Number(2.0);
    "hand-off in a process, p50: rueidislock":
        IN_PROCESS.p50, AtMost(0.7), of One(("rueidislock", IN_PROCESS.p50));
    "hand-off in a process, p99: rueidislock":
        IN_PROCESS.p99, AtMost(1.0), of One(("rueidislock", IN_PROCESS.p99));
    "hand-off between processes, p50: rueidislock in a process":
        BETWEEN.p50, AtMost(0.8), of One(("rueidislock", IN_PROCESS.p50));
    "hand-off between processes, p50: the fastest between them":
        BETWEEN.p50, AtMost(0.5), of Lowest(any, BETWEEN.p50);
    "16 tasks on a name, cycles/s: the fastest unfair":
        CROWD.cycles, AtLeast(1.0), of Highest(unfair, CROWD.cycles);
    "16 tasks on a name: the least share":
        CROWD.least, AtLeast(0.99), of Number(1.0);
    "16 tasks on a name: the most share":
        CROWD.most, AtMost(1.01), of Number(1.0);
    "16 tasks on a name: worst wait, of the mean":
        CROWD.worst, AtMost(3.0), of One((ARBITER, CROWD.mean));
    "commands per release: 10,000 waiters, of 1":
        RELEASE_COMMANDS[2], AtMost(1.05), of One((ARBITER, RELEASE_COMMANDS[0]));
    "server time of a release: 10,000 waiters, of 1":
        RELEASE_TIME[2], AtMost(1.1), of One((ARBITER, RELEASE_TIME[0]));
    "100,000 holds renewed: client CPU, % of a core":
        RENEWALS_CLIENT, AtMost(1.0), of Number(1.0);
    "100,000 holds renewed: server CPU, % of a core":
        RENEWALS_SERVER, AtMost(1.0), of Number(2.0);
    "100,000 holds renewed: the latest, tenths of a lease":
        RENEWALS_LATE, AtMost(1.0), of Number(1.0);
    "memory per hold, bytes":
        HOLD_BYTES, AtMost(1.0), of Number(1_024.0);
    "memory per waiter, bytes":
        WAITER_BYTES, AtMost(1.0), of Number(1_024.0);
    "keys left of names used once, after a minute":
        NAMES_LEFT, AtMost(1.0), of Number(0.0);
    "an idle waiter, commands/s":
        IDLE_COMMANDS, AtMost(1.0), of Number(1.0);
    "1,000 idle waiters: client CPU, % of a core together":
        WAITERS_CPU, AtMost(1.0), of Number(5.0);
    "cluster, a cycle, 1 task: p50 on one server":
        ON_A_CLUSTER.cycle_p50[0], AtMost(1.05), of One((ARBITER, ON_ONE_SERVER.cycle_p50[0]));
    "cluster, hand-off in a process, p50: on one server":
        ON_A_CLUSTER.in_process.p50, AtMost(1.1), of One((ARBITER, ON_ONE_SERVER.in_process.p50));
    "cluster, hand-off between processes, p50: on one server":
        ON_A_CLUSTER.between.p50, AtMost(1.1), of One((ARBITER, ON_ONE_SERVER.between.p50));
    "cluster, messages at other shards per 1,000 hand-offs":
        BUS_MESSAGES, AtMost(1.0), of Number(5.0);
    "cluster, cycles/s, 64 tasks: rueidislock":
        ON_A_CLUSTER.cycles[1], AtLeast(1.4), of One(("rueidislock", ON_A_CLUSTER.cycles[1]));
    "cluster, hand-off in a process, p50: rueidislock":
        ON_A_CLUSTER.in_process.p50, AtMost(0.7), of One(("rueidislock", ON_A_CLUSTER.in_process.p50));
    "embedded, 2 processes, cycles/s":
        FILE_OWN_NAMES.cycles, AtLeast(1.0), of Number(30_000.0);
    "embedded, 2 processes: the least share":
        FILE_OWN_NAMES.least, AtLeast(0.95), of Number(1.0);
    "embedded, hand-off p50, µs":
        FILE_IN_PROCESS.p50, AtMost(1.0), of Number(300.0);
};

/// Returns the goals as a table.
pub(crate) fn text(figures: &Figures) -> String {
    let mut text = String::from("\nGoals\n");
    for goal in GOALS {
        text.push_str(&line(goal, figures));
    }
    text
}

fn line(goal: &Goal, figures: &Figures) -> String {
    let Some(outcome) = goal.outcome(figures) else {
        return format!("{:>10}  {}\n", "no figures", goal.text);
    };
    let word = if outcome.is_met { "met" } else { "MISSED" };
    let (sign, bound) = match goal.bound {
        AtLeast(times) => ("≥", times),
        AtMost(times) => ("≤", times),
    };
    let ratio = outcome.ratio.map_or_else(String::new, |ratio| {
        let [min, median, max] = [ratio.min, ratio.median, ratio.max].map(tidy);
        format!(" is {median} × ({min} to {max})")
    });
    let margin = outcome.margin.map_or_else(String::new, |margin| {
        format!(", by {:.0} %", margin.abs() * 100.0)
    });
    format!(
        "{word:>10}  {}: {}{ratio} {}; {sign} {} × wanted{margin}\n",
        goal.text,
        tidy(outcome.figure),
        outcome.against,
        tidy(bound),
    )
}
