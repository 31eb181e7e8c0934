//! The id of this boot of the computer.

/// Returns an id of this boot of the computer.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn boot() -> std::io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
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

/// Returns an id of this boot of the computer.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn boot() -> std::io::Result<String> {
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
