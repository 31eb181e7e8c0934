//! Imports point one way.

use structure::{Imports, circles, imports, sources};

const CRATES: [&str; 7] = [
    "bench",
    "crates/arbiter-lock",
    "crates/arbiter-lock-cli",
    "crates/arbiter-lock-core",
    "crates/defects",
    "crates/model",
    "crates/testkit",
];

fn of(krate: &str) -> Imports {
    let found = imports(&sources(krate));
    assert!(3 < found.len(), "{krate} has hardly any module");
    found
}

#[test]
fn no_circle_has_more_than_two_files() {
    for krate in CRATES {
        let circles = circles(&of(krate));
        assert!(circles.is_empty(), "{krate}: {circles:#?}");
    }
}

#[test]
fn engine_does_not_import_the_client() {
    let imports = of("crates/arbiter-lock");
    let below = ["engine", "holds", "keeper", "sessions", "store", "waiting"];
    for (module, imported) in imports {
        let folder = module.split("::").next().unwrap_or_default();
        if below.contains(&folder) {
            let up: Vec<_> = imported
                .iter()
                .filter(|path| path.starts_with("client"))
                .collect();
            assert!(up.is_empty(), "{module} imports {up:?}");
        }
    }
}
