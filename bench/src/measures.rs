//! The names of the measures, with units, as in the files.

pub(crate) const TASKS: [usize; 4] = [1, 16, 64, 256];
/// The index of the measure that represents many tasks.
pub(crate) const AT_64: usize = 2;

pub(crate) const CYCLES: [&str; 4] = [
    "cycles/s, 1 task",
    "cycles/s, 16 tasks",
    "cycles/s, 64 tasks",
    "cycles/s, 256 tasks",
];
pub(crate) const CYCLE_P50: [&str; 4] = [
    "cycle p50 µs, 1 task",
    "cycle p50 µs, 16 tasks",
    "cycle p50 µs, 64 tasks",
    "cycle p50 µs, 256 tasks",
];
pub(crate) const CYCLE_P99: [&str; 4] = [
    "cycle p99 µs, 1 task",
    "cycle p99 µs, 16 tasks",
    "cycle p99 µs, 64 tasks",
    "cycle p99 µs, 256 tasks",
];
pub(crate) const IN_COMMANDS: [&str; 4] = [
    "server µs in commands per cycle, 1 task",
    "server µs in commands per cycle, 16 tasks",
    "server µs in commands per cycle, 64 tasks",
    "server µs in commands per cycle, 256 tasks",
];
pub(crate) const SERVER_CPU: [&str; 4] = [
    "server CPU µs per cycle, 1 task",
    "server CPU µs per cycle, 16 tasks",
    "server CPU µs per cycle, 64 tasks",
    "server CPU µs per cycle, 256 tasks",
];
pub(crate) const CLIENT_CPU: [&str; 4] = [
    "client CPU µs per cycle, 1 task",
    "client CPU µs per cycle, 16 tasks",
    "client CPU µs per cycle, 64 tasks",
    "client CPU µs per cycle, 256 tasks",
];
pub(crate) const COMMANDS_PER_CYCLE: &str = "commands per cycle";

pub(crate) struct HandOff {
    pub(crate) p50: &'static str,
    pub(crate) p99: &'static str,
    pub(crate) hangs: &'static str,
}
pub(crate) const IN_PROCESS: HandOff = HandOff {
    p50: "hand-off in a process, p50 µs",
    p99: "hand-off in a process, p99 µs",
    hangs: "hand-off in a process, hangs",
};
pub(crate) const BETWEEN: HandOff = HandOff {
    p50: "hand-off between processes, p50 µs",
    p99: "hand-off between processes, p99 µs",
    hangs: "hand-off between processes, hangs",
};

pub(crate) struct Crowd {
    pub(crate) cycles: &'static str,
    pub(crate) worst: &'static str,
    pub(crate) mean: &'static str,
    pub(crate) least: &'static str,
    pub(crate) most: &'static str,
}
pub(crate) const CROWD: Crowd = Crowd {
    cycles: "16 tasks on a name, cycles/s",
    worst: "16 tasks on a name, worst wait ms",
    mean: "16 tasks on a name, mean turn ms",
    least: "16 tasks on a name, least share",
    most: "16 tasks on a name, most share",
};
pub(crate) const DUEL: Crowd = Crowd {
    cycles: "2 processes on a name, cycles/s",
    worst: "2 processes on a name, worst wait ms",
    mean: "2 processes on a name, mean turn ms",
    least: "2 processes on a name, least share",
    most: "2 processes on a name, most share",
};

pub(crate) const IDLE_COMMANDS: &str = "an idle waiter, commands/s";
pub(crate) const IDLE_CPU: &str = "an idle waiter, client CPU %";

pub(crate) const PIPELINED_IN_SCRIPTS: &str = "pipelined, µs in scripts per cycle";
pub(crate) const PIPELINED_CPU: &str = "pipelined, server CPU µs per cycle";
pub(crate) const RELEASE_TIME: [&str; 3] = [
    "release, µs on the server, 1 waiter",
    "release, µs on the server, 100 waiters",
    "release, µs on the server, 10,000 waiters",
];
pub(crate) const RELEASE_COMMANDS: [&str; 3] = [
    "release, commands besides polls, 1 waiter",
    "release, commands besides polls, 100 waiters",
    "release, commands besides polls, 10,000 waiters",
];
pub(crate) const BESIDE_HOLDS: [&str; 4] = [
    "cycles/s at 64 tasks, beside 1 hold",
    "cycles/s at 64 tasks, beside 100 holds",
    "cycles/s at 64 tasks, beside 10,000 holds",
    "cycles/s at 64 tasks, beside 100,000 holds",
];
pub(crate) const HOLD_BYTES: &str = "memory per hold, bytes";
pub(crate) const RENEWALS_CLIENT: &str = "100,000 holds, client CPU %";
pub(crate) const RENEWALS_SERVER: &str = "100,000 holds, server CPU %";
pub(crate) const RENEWALS_LATE: &str = "100,000 holds, latest renewal in tenths of the lease";
pub(crate) const WAITER_BYTES: &str = "memory per waiter, bytes";
pub(crate) const WAITER_SERVER_BYTES: &str = "memory per waiter, bytes on the server";
pub(crate) const WAITERS_CPU: &str = "1,000 idle waiters, client CPU % together";
pub(crate) const WAITERS_COMMANDS: &str = "1,000 idle waiters, commands/s each";
pub(crate) const NAME_BYTES: &str = "memory per name used once, bytes";
pub(crate) const NAMES_LEFT: &str = "keys left of 1,000,000 names used once";

pub(crate) const FILE_CYCLES: &str = "embedded, 1 process, cycles/s";
pub(crate) const FILE_OWN_NAMES: Crowd = Crowd {
    cycles: "embedded, 2 processes on own names, cycles/s",
    worst: "embedded, 2 processes on own names, worst wait ms",
    mean: "embedded, 2 processes on own names, mean turn ms",
    least: "embedded, 2 processes on own names, least share",
    most: "embedded, 2 processes on own names, most share",
};
pub(crate) const FILE_ONE_NAME: Crowd = Crowd {
    cycles: "embedded, 2 processes on a name, cycles/s",
    worst: "embedded, 2 processes on a name, worst wait ms",
    mean: "embedded, 2 processes on a name, mean turn ms",
    least: "embedded, 2 processes on a name, least share",
    most: "embedded, 2 processes on a name, most share",
};
pub(crate) const FILE_IN_PROCESS: HandOff = HandOff {
    p50: "embedded, hand-off in a process, p50 µs",
    p99: "embedded, hand-off in a process, p99 µs",
    hangs: "embedded, hand-off in a process, hangs",
};
pub(crate) const FILE_BETWEEN: HandOff = HandOff {
    p50: "embedded, hand-off between processes, p50 µs",
    p99: "embedded, hand-off between processes, p99 µs",
    hangs: "embedded, hand-off between processes, hangs",
};
pub(crate) const FILE_DEATH: [&str; 2] = [
    "embedded, from a kill to the next grant, median ms",
    "embedded, from a kill to the next grant, worst ms",
];
pub(crate) const FILE_TRY: [&str; 3] = [
    "embedded, busy try µs, 1 waiter",
    "embedded, busy try µs, 100 waiters",
    "embedded, busy try µs, 10,000 waiters",
];
pub(crate) const FILE_TURN: [&str; 3] = [
    "embedded, hand-off with its release µs, 1 waiter",
    "embedded, hand-off with its release µs, 100 waiters",
    "embedded, hand-off with its release µs, 10,000 waiters",
];
pub(crate) const FILE_NAMES: &str = "embedded, 1,000,000 names used once, cycles/s";
pub(crate) const FILE_NAME_BYTES: &str = "embedded, memory per name used once, bytes";
pub(crate) const FILE_LEFT: &str = "embedded, KiB of files left of 1,000,000 names";
pub(crate) const COMMAND: &str = "a command around `true`, ms";

/// The measures on a cluster, and on one server beside it. Cycles are those of 1 task and of 64.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) cycles: [&'static str; 2],
    pub(crate) cycle_p50: [&'static str; 2],
    pub(crate) in_process: HandOff,
    pub(crate) between: HandOff,
}
pub(crate) const ON_ONE_SERVER: Place = Place {
    name: "beside the cluster",
    cycles: [
        "beside the cluster, cycles/s, 1 task",
        "beside the cluster, cycles/s, 64 tasks",
    ],
    cycle_p50: [
        "beside the cluster, cycle p50 µs, 1 task",
        "beside the cluster, cycle p50 µs, 64 tasks",
    ],
    in_process: HandOff {
        p50: "beside the cluster, hand-off in a process, p50 µs",
        p99: "beside the cluster, hand-off in a process, p99 µs",
        hangs: "beside the cluster, hand-off in a process, hangs",
    },
    between: HandOff {
        p50: "beside the cluster, hand-off between processes, p50 µs",
        p99: "beside the cluster, hand-off between processes, p99 µs",
        hangs: "beside the cluster, hand-off between processes, hangs",
    },
};
pub(crate) const ON_A_CLUSTER: Place = Place {
    name: "cluster",
    cycles: ["cluster, cycles/s, 1 task", "cluster, cycles/s, 64 tasks"],
    cycle_p50: [
        "cluster, cycle p50 µs, 1 task",
        "cluster, cycle p50 µs, 64 tasks",
    ],
    in_process: HandOff {
        p50: "cluster, hand-off in a process, p50 µs",
        p99: "cluster, hand-off in a process, p99 µs",
        hangs: "cluster, hand-off in a process, hangs",
    },
    between: HandOff {
        p50: "cluster, hand-off between processes, p50 µs",
        p99: "cluster, hand-off between processes, p99 µs",
        hangs: "cluster, hand-off between processes, hangs",
    },
};
pub(crate) const BUS_MESSAGES: &str = "cluster, messages at other shards per 1,000 hand-offs";
