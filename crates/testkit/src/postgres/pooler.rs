//! PgBouncer in front of a server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{LOG, Postgres, USER, as_user, give, new_folder};
use crate::port::Port;
use crate::{bound_process, eventually};

/// A running PgBouncer that gives each transaction a connection of a small pool. It ends on drop.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    port: Port,
    folder: PathBuf,
}

const START_LIMIT: Duration = Duration::from_secs(10);
const SETTINGS: &str = "pgbouncer.ini";

impl Pooler {
    /// Starts a pooler before the server, with that many connections to it, and waits until it
    /// listens.
    ///
    /// # Panics
    /// If it does not listen within 10 s.
    #[must_use]
    pub fn before(server: &Postgres, connections: u32) -> Self {
        let (folder, port) = (new_folder(), Port::hold());
        let text = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={} dbname=postgres user={USER}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n\
             max_client_conn = 500\n\
             server_login_retry = 1\n",
            server.port(),
            port.number
        );
        let file = folder.join(SETTINGS);
        std::fs::write(&file, text).expect("its settings");
        give(&file);
        let child = spawn(&folder);
        let pooler = Self {
            child,
            port,
            folder,
        };
        pooler.wait_until_up();
        pooler
    }

    fn wait_until_up(&self) {
        let address = ("127.0.0.1", self.port.number);
        let listens = || std::net::TcpStream::connect(address).is_ok();
        assert!(eventually(START_LIMIT, listens), "{}", self.log());
    }

    /// Returns its URL, as the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port.number)
    }

    /// Returns the content of its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// Kills it, starts it again, and waits until it listens.
    ///
    /// # Panics
    /// If it does not listen within 10 s.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.folder);
        self.wait_until_up();
    }

    fn kill(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // One that has ended needs no signal.
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        let _ = self.child.wait();
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.kill();
        // A folder that cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path) -> Child {
    let installed = Path::new("/usr/sbin/pgbouncer");
    let program = if installed.exists() {
        installed
    } else {
        Path::new("pgbouncer")
    };
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG));
    let log = log.expect("the pooler's log");
    let mut command = as_user(program);
    command.arg(folder.join(SETTINGS)).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("the pooler's log"));
    command.stderr(log);
    bound_process::spawn(command).expect("pgbouncer: install it")
}
