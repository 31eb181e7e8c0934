//! Processes on a Sentinel group whose master is replaced every few seconds.

use std::time::Duration;

use testkit::{SentinelGroup, soak_time};

use super::failovers::{Fault, Run, Servers};
use super::ms;

impl Servers for SentinelGroup {
    const FAULTS: &[Fault] = &[Fault::Graceful, Fault::Killed, Fault::Paused];

    fn url(&self) -> String {
        self.url()
    }

    fn inject(&mut self, fault: Fault, longer: Duration) {
        let old = self.master();
        match fault {
            Fault::Killed => {
                self.servers[old].kill();
                self.wait_for_another(old);
                self.servers[old].restart();
            }
            Fault::Paused => {
                self.servers[old].stop();
                self.wait_for_another(old);
                std::thread::sleep(longer);
                self.servers[old].cont();
            }
            _ => drop(self.fail_over()),
        }
    }

    fn wait_until_settled(&self) {
        self.wait_until_settled();
    }
}

#[test]
fn failovers_overlap_holds_for_at_most_a_second() {
    let mut run = Run::new("sentinel", SentinelGroup::start(), &[]);
    run.rage(soak_time(ms(24_000)));
    run.judge(30);
}

#[test]
fn protected_masters_keep_the_same_bound() {
    let group = SentinelGroup::builder().min_replicas().start();
    let mut run = Run::new("protected", group, &[]);
    run.rage(soak_time(ms(24_000)));
    run.judge(30);
}

#[test]
fn holds_that_all_replicas_acknowledged_never_overlap() {
    let group = SentinelGroup::builder().min_replicas().start();
    let mut run = Run::new("acknowledged", group, &[("ARBITER_TEST_REPLICAS", "all")]);
    run.rage(soak_time(ms(24_000)));
    let summary = run.judge(10);
    assert_eq!(summary.excused, 0);
}
