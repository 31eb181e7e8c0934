//! Signals: forwarded, reaped, released, and then died of.

use testkit::{Server, eventually, unique_name};

use crate::rig::{arbiter, end, fresh_file, is_held, ms, output, signal, start, wait_for};

#[test]
fn term_int_and_hup_reach_the_command_and_then_arbiter_dies_of_them() {
    let server = Server::start();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let (lock, file) = (unique_name(), fresh_file());
        let script = format!(
            "trap 'echo {name} > {0}; exit 3' {name}; touch {0}.ready; while :; do sleep 0.05; done",
            file.display()
        );
        let run = start(arbiter(&server, &["run", &lock, "--", "sh", "-c", &script]));
        wait_for(std::path::Path::new(&format!("{}.ready", file.display())));
        signal(&run, name);
        let (status, died_of, stderr) = end(run);
        assert_eq!((status, died_of), (None, Some(number)), "{stderr}");
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), name);
        assert!(!is_held(&server, &lock));
    }
}

#[test]
fn a_waiter_that_is_terminated_leaves_the_queue_at_once() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let waiter = start(arbiter(&server, &["run", &name, "--", "true"]));
    let waiting = |n: usize| {
        output(arbiter(&server, &["status", "--json", &name]))
            .1
            .contains(&format!("\"waiting\":{n}"))
    };
    assert!(eventually(ms(5_000), || waiting(1)));
    signal(&waiter, "TERM");
    assert_eq!(end(waiter).1, Some(15));
    assert!(waiting(0));
    signal(&holder, "KILL");
    end(holder);
}
