//! The id of this boot of the computer, which a reboot changes.

use std::io;

use crate::store::{Failure, FailureKind};

/// Returns an id of this boot of the computer.
pub(super) fn id() -> Result<String, Failure> {
    read().map_err(|error| {
        let detail = format!(
            "{BOOT_ID}: {error}; mount /proc, since without it a reboot is not detected, which ends \
             all holds"
        );
        Failure::of_descriptors(&error)
            .unwrap_or_else(|| Failure::before_sending(FailureKind::Unsupported, detail))
    })
}

/// The source of the id.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[cfg(any(target_os = "linux", target_os = "android"))]
fn read() -> io::Result<String> {
    let id = std::fs::read_to_string(BOOT_ID)?;
    // A time namespace has its own clock; a kernel without them has no such file.
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let offset = offsets.lines().find(|line| line.starts_with("boottime"));
    let mut words = offset.unwrap_or_default().split_whitespace().skip(1);
    Ok(match (words.next(), words.next()) {
        (Some(seconds), Some(nanos)) if (seconds, nanos) != ("0", "0") => {
            format!("{} {seconds} {nanos}", id.trim())
        }
        _ => id.trim().to_owned(),
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_ID: &str = "sysctl kern.bootsessionuuid";

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read() -> io::Result<String> {
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
