//! The processes of one participant on one store: started and warmed up when they are needed, and
//! again after a failure.

use std::time::Duration;

use testkit::Server;

use crate::Failure;
use crate::participant::Participant;
use crate::process::Process;

pub(crate) struct Stage<'a> {
    pub(crate) participant: &'a Participant,
    url: String,
    /// The servers whose data is deleted when the processes end.
    servers: &'a [Server],
    processes: Vec<Process>,
    names: usize,
    pub(crate) version: String,
}

/// How much longer an answer may take than the requested time.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(15);
const WARM_UP: &str = "cycles 16 500";
/// The maximum number of warm-ups of code that is compiled as it runs.
const MOST_WARM_UPS: usize = 10;

impl<'a> Stage<'a> {
    pub(crate) fn on_server(participant: &'a Participant, server: &'a Server) -> Self {
        Self::on_servers(participant, std::slice::from_ref(server), server.url())
    }

    pub(crate) fn on_folder(participant: &'a Participant, url: String) -> Self {
        Self::on_servers(participant, &[], url)
    }

    pub(crate) fn on_servers(
        participant: &'a Participant,
        servers: &'a [Server],
        url: String,
    ) -> Self {
        Self {
            participant,
            url,
            servers,
            processes: Vec::new(),
            names: 0,
            version: String::new(),
        }
    }

    /// Returns that many processes, warmed up.
    pub(crate) fn processes(&mut self, count: usize) -> Result<&mut [Process], Failure> {
        while self.processes.len() < count {
            let mut process = self.start()?;
            warm_up(&mut process, self.participant.compiles_as_it_runs)?;
            self.processes.push(process);
        }
        Ok(&mut self.processes[..count])
    }

    /// Starts a process without a warm-up.
    pub(crate) fn start(&mut self) -> Result<Process, Failure> {
        let process = self.participant.start(&self.url)?;
        self.version.clone_from(&process.version);
        Ok(process)
    }

    pub(crate) fn process(&mut self) -> Result<&mut Process, Failure> {
        self.processes(1).map(|processes| &mut processes[0])
    }

    /// Returns an unused name.
    pub(crate) fn fresh_name(&mut self) -> String {
        self.names += 1;
        format!("fresh-{}", self.names)
    }

    /// Ends all processes, and deletes their data.
    pub(crate) fn clear(&mut self) {
        self.processes.clear();
        for server in self.servers {
            server.call(&["FLUSHALL"]);
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Warms a process up for twice half a second. Code that is compiled as it runs is warmed up until
/// the rate stops growing.
fn warm_up(process: &mut Process, until_it_grows_no_more: bool) -> Result<(), Failure> {
    let mut best = 0.0;
    for n in 1..=MOST_WARM_UPS {
        let cycles = process.ask(WARM_UP, "cycles", ANSWER_LIMIT)?;
        let rate = cycles[0] / cycles[1];
        let grows = best * 1.03 < rate;
        best = rate.max(best);
        if 2 <= n && !(until_it_grows_no_more && grows) {
            break;
        }
    }
    Ok(())
}
