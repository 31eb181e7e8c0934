//! Processes on a database that is killed, stopped, and replaced by its synchronous standby.

use std::time::Duration;

use testkit::{Postgres, eventually, soak_time};

use super::failovers::{Fault, Run, Servers};
use super::ms;

/// A primary and its synchronous standby, which change places.
struct Pair {
    servers: [Postgres; 2],
    primary: usize,
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::start();
        let standby = primary.standby("standby");
        let pair = Self {
            servers: [primary, standby],
            primary: 0,
        };
        pair.synchronize();
        pair
    }

    fn primary(&self) -> &Postgres {
        &self.servers[self.primary]
    }

    /// Makes commits wait for the standby, once it is there.
    fn synchronize(&self) {
        let primary = self.primary();
        let streams = || {
            let state = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            primary.try_sql(state).is_ok_and(|count| count == "1")
        };
        assert!(eventually(ms(20_000), streams), "{}", primary.log());
        primary.set("synchronous_standby_names", "*");
    }

    /// Kills the primary, promotes the standby, and makes the former a standby of the latter.
    fn fail_over(&mut self) {
        let (old, new) = (self.primary, 1 - self.primary);
        self.servers[old].kill();
        self.servers[new].promote();
        self.primary = new;
        let [first, second] = &mut self.servers;
        let (old, new) = match new {
            0 => (second, first),
            _ => (first, second),
        };
        old.follow(new, "standby");
        self.synchronize();
    }
}

impl Servers for Pair {
    const FAULTS: &[Fault] = &[Fault::Killed, Fault::Graceful, Fault::Paused];

    fn url(&self) -> String {
        let [one, other] = [self.servers[0].port(), self.servers[1].port()];
        format!("postgres://postgres@127.0.0.1:{one},127.0.0.1:{other}/postgres")
    }

    fn inject(&mut self, fault: Fault, longer: Duration) {
        match fault {
            Fault::Killed => {
                let primary = &mut self.servers[self.primary];
                primary.kill();
                std::thread::sleep(longer);
                primary.restart();
            }
            Fault::Paused => {
                self.primary().stop();
                std::thread::sleep(ms(1_000) + longer);
                self.primary().cont();
            }
            _ => self.fail_over(),
        }
    }

    fn wait_until_settled(&self) {
        let primary = self.primary();
        let writes = || primary.try_sql("CREATE TEMP TABLE t (n int)").is_ok();
        assert!(eventually(ms(20_000), writes), "{}", primary.log());
    }
}

#[test]
fn databases_that_fail_over_overlap_no_holds() {
    let mut run = Run::new("postgres", Pair::start(), &[]);
    run.rage(soak_time(ms(24_000)));
    let summary = run.judge(30);
    assert_eq!(summary.excused, 0);
}
