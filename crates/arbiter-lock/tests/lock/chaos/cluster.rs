//! Processes on a cluster whose masters are replaced, and whose slots are moved.

use std::time::Duration;

use testkit::{Cluster, soak_time};

use super::failovers::{Fault, Run, Servers};
use super::ms;

/// The keys of the workers' locks. They lie in slots of all nodes.
const KEYS: [&str; 4] = ["arbiter:a", "arbiter:b", "arbiter:rw", "arbiter:permits"];

impl Servers for Cluster {
    const FAULTS: &[Fault] = &[Fault::Moved, Fault::Graceful, Fault::Killed, Fault::Paused];

    fn url(&self) -> String {
        self.url()
    }

    fn inject(&mut self, fault: Fault, longer: Duration) {
        let key = KEYS[rand::random_range(0..KEYS.len())];
        let (slot, old) = (self.slot(key), self.master_of(key));
        match fault {
            Fault::Graceful => drop(self.failover(old)),
            Fault::Killed => {
                self.nodes[old].kill();
                self.wait_for_new_master(old);
                self.nodes[old].restart();
            }
            Fault::Paused => {
                self.nodes[old].stop();
                self.wait_for_new_master(old);
                std::thread::sleep(longer);
                self.nodes[old].cont();
            }
            Fault::Moved => {
                let masters = self.masters();
                let to = masters.into_iter().find(|master| *master != old).unwrap();
                self.begin_move(slot, old, to);
                std::thread::sleep(longer);
                self.move_keys(slot, old, to);
                std::thread::sleep(longer);
                self.finish_move(slot, old, to);
            }
        }
    }

    fn wait_until_settled(&self) {
        self.wait_until_settled();
    }
}

#[test]
fn cluster_failovers_overlap_holds_within_the_bound() {
    let cluster = Cluster::builder().replicas(1).start();
    let mut run = Run::new("cluster", cluster, &[]);
    run.rage(soak_time(ms(32_000)));
    run.judge(30);
}

#[test]
fn acknowledged_holds_on_clusters_never_overlap() {
    let cluster = Cluster::builder().replicas(1).start();
    let mut run = Run::new("nodes", cluster, &[("ARBITER_TEST_REPLICAS", "all")]);
    run.rage(soak_time(ms(32_000)));
    let summary = run.judge(20);
    assert_eq!(summary.excused, 0);
}
