//! The program by its output and exit status.

use std::process::Command;

#[test]
fn word_that_matches_nothing_is_an_error() {
    let mut defects = Command::new(env!("CARGO_BIN_EXE_defects"));
    let output = defects.arg("no such defect").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && stderr.contains("no defect"),
        "{stderr}"
    );
}
