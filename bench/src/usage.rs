//! The work and the resources of the server, by its own count.

use std::collections::BTreeMap;

use testkit::Server;

/// Counters of the server; the difference of two of them is the use in between.
pub(crate) struct Usage {
    /// Microseconds of processor time.
    pub(crate) cpu: f64,
    /// Calls and microseconds of each command. A script's time includes that of its calls, which
    /// are counted under their own names too.
    commands: BTreeMap<String, (f64, f64)>,
}

impl Usage {
    pub(crate) fn of(server: &Server) -> Self {
        let commands = info(server, "commandstats");
        let commands = commands.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            Some((
                name.to_owned(),
                (field(rest, "calls=")?, field(rest, "usec=")?),
            ))
        });
        let cpu = info(server, "cpu");
        let seconds = |key| field(&cpu, key).unwrap_or_default();
        Self {
            cpu: (seconds("used_cpu_user:") + seconds("used_cpu_sys:")) * 1e6,
            commands: commands.collect(),
        }
    }

    /// Returns the use since `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.cpu -= before.cpu;
        for (name, (calls, usec)) in &before.commands {
            if let Some(now) = self.commands.get_mut(name) {
                *now = (now.0 - calls, now.1 - usec);
            }
        }
        self
    }

    /// Returns the calls of scripts, and the microseconds in them.
    pub(crate) fn scripts(&self) -> (f64, f64) {
        let scripts = self
            .commands
            .iter()
            .filter(|(name, _)| name.starts_with("eval"));
        scripts.fold((0.0, 0.0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Returns the microseconds in commands that clients sent. `sent` returns the part of a
    /// command's calls that clients sent, and not scripts.
    pub(crate) fn in_commands(&self, sent: impl Fn(&str) -> f64) -> f64 {
        self.commands
            .iter()
            .map(|(name, (_, usec))| sent(name) * usec)
            .sum()
    }
}

/// Returns the bytes of the server's data.
pub(crate) fn memory(server: &Server) -> f64 {
    field(&info(server, "memory"), "used_memory:").unwrap_or_default()
}

/// Returns the name and version of the server.
pub(crate) fn version(server: &Server) -> String {
    let info = info(server, "server");
    let line = |key: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    match (line("valkey_version:"), line("redis_version:")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "a server of unknown version".to_owned(),
    }
}

fn info(server: &Server, section: &str) -> String {
    server.call(&["INFO", section]).text().unwrap_or_default()
}

/// Returns the number after a key.
fn field(text: &str, key: &str) -> Option<f64> {
    let (_, rest) = text.split_once(key)?;
    let end = rest.find([',', '\r', '\n']).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}
