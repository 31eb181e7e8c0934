//! A real PostgreSQL server, on loopback, that ends on drop, and with the process that started it.

mod find;
mod pooler;
mod psql;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::names::unique_name;
use crate::port::Port;
use crate::{Shared, bound_process, eventually, tls};
use find::program;
pub use pooler::Pooler;
pub use psql::Psql;

/// A running PostgreSQL server, with the superuser `postgres` and no password.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    port: Port,
    folder: PathBuf,
    settings: Vec<String>,
}

/// The settings of a [`Postgres`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it starts"]
pub struct PostgresBuilder {
    settings: Vec<String>,
    is_tls: bool,
    hba: Option<String>,
}

const START_LIMIT: Duration = Duration::from_secs(30);
const DATA: &str = "data";
const LOG: &str = "server.log";
/// The user that the server runs as, if the test is root.
const USER: &str = "postgres";

impl PostgresBuilder {
    /// Sets a parameter of the server.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Serves TLS too, with its own certificate for 127.0.0.1: see [`Postgres::certificate`]. That
    /// is also the authority of clients.
    pub fn tls(mut self) -> Self {
        self.is_tls = true;
        self.setting("ssl", "on")
            .setting("ssl_cert_file", tls::CERTIFICATE)
            .setting("ssl_key_file", tls::KEY)
            .setting("ssl_ca_file", tls::CERTIFICATE)
    }

    /// Uses these lines as its `pg_hba.conf`.
    pub fn hba(mut self, lines: &str) -> Self {
        self.hba = Some(lines.to_owned());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// If it does not answer within 30 s, or ends.
    pub fn start(self) -> Postgres {
        let folder = new_folder();
        let data = folder.join(DATA);
        let mut init = as_user(&program("initdb"));
        init.arg("-D").arg(&data);
        init.args([
            "-A",
            "trust",
            "-U",
            USER,
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]);
        run(init);
        if self.is_tls {
            tls::write_certificate(&data, "127.0.0.1");
            let key = data.join(tls::KEY);
            let rights = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&key, rights).expect("the key's mode");
            give(&data.join(tls::CERTIFICATE));
            give(&key);
        }
        if let Some(hba) = &self.hba {
            std::fs::write(data.join("pg_hba.conf"), hba).expect("its pg_hba.conf");
        }
        Postgres::start_in(folder, self.settings)
    }
}

impl Postgres {
    /// Starts a server that does not wait for its disk.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().setting("fsync", "off").start()
    }

    /// Returns the server that the tests running at a time share.
    #[must_use]
    pub fn shared() -> std::sync::Arc<Self> {
        static SHARED: Shared<Postgres> = Shared::new();
        SHARED.get_or_start(|| {
            let builder = Self::builder().setting("fsync", "off");
            builder.setting("max_connections", "400").start()
        })
    }

    /// Returns a builder of a server with other settings.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    fn start_in(folder: PathBuf, settings: Vec<String>) -> Self {
        let port = Port::hold();
        let mut server = Self {
            child: spawn(&folder, port.number, &settings),
            port,
            folder,
            settings,
        };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&mut self) {
        let end = Instant::now() + START_LIMIT;
        while !self.answers() {
            let is_over = matches!(self.child.try_wait(), Ok(Some(_)));
            assert!(
                !is_over && Instant::now() < end,
                "the server does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(program("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port().to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    /// Returns its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Returns its URL, as the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as(USER)
    }

    /// Returns its URL, as another user.
    #[must_use]
    pub fn url_as(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port())
    }

    /// Returns its URL over a Unix socket.
    ///
    /// # Panics
    /// If its folder is not UTF-8.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let folder = self.folder.to_str().expect("a folder in UTF-8");
        let port = self.port();
        format!("postgres://{USER}@/postgres?host={folder}&port={port}")
    }

    /// Returns the path of its certificate, which is its own authority.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(DATA).join(tls::CERTIFICATE)
    }

    /// Returns the path of the certificate's key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.join(DATA).join(tls::KEY)
    }

    /// Returns the content of its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// Runs statements as the superuser, and returns the selected rows: rows in lines, columns
    /// separated by `|`.
    ///
    /// # Panics
    /// If one fails.
    #[must_use]
    pub fn sql(&self, statements: &str) -> String {
        self.try_sql(statements)
            .unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Runs statements like [`Postgres::sql`].
    ///
    /// # Errors
    /// The output of `psql` if one fails.
    ///
    /// # Panics
    /// If `psql` cannot be started.
    pub fn try_sql(&self, statements: &str) -> Result<String, String> {
        let mut psql = Psql::command(&self.url());
        psql.args(["-At", "-c", statements]);
        let output = psql.output().expect("psql");
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Sets a parameter of the running server.
    ///
    /// # Panics
    /// If it cannot be set without a restart.
    pub fn set(&self, name: &str, value: &str) {
        let _ = self.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        assert_eq!(self.sql("SELECT pg_reload_conf()"), "t");
        let is_set = || self.sql(&format!("SHOW {name}")) == value;
        assert!(eventually(START_LIMIT, is_set), "{name} = {value}");
    }

    /// Opens a session that runs statements one by one.
    #[must_use]
    pub fn psql(&self) -> Psql {
        Psql::open(&self.url())
    }

    /// Kills the server with its sessions, as a crash of the machine would, except for its disk.
    pub fn kill(&mut self) {
        self.signal_all(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Starts the server again, on the same port.
    pub fn restart(&mut self) {
        // Its sessions end shortly after it.
        let started = eventually(START_LIMIT, || {
            self.child = spawn(&self.folder, self.port(), &self.settings);
            while matches!(self.child.try_wait(), Ok(None)) && !self.answers() {
                std::thread::sleep(Duration::from_millis(20));
            }
            matches!(self.child.try_wait(), Ok(None))
        });
        assert!(started, "the server does not start again: {}", self.log());
    }

    /// Stops the server with its sessions, until [`Postgres::cont`].
    pub fn stop(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Continues a stopped server.
    pub fn cont(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let server = self.child.id();
        // The server first, so that it starts no other.
        for id in [server].into_iter().chain(children(server)) {
            let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
            // One that has ended needs no signal.
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
    }

    /// Starts a standby of this server, which replicates it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let folder = new_folder();
        self.copy_to(&folder, name);
        Self::start_in(folder, vec!["fsync=off".to_owned()])
    }

    /// Copies this server's data into a folder, for a standby.
    fn copy_to(&self, folder: &Path, name: &str) {
        let mut copy = as_user(&program("pg_basebackup"));
        copy.arg("-D").arg(folder.join(DATA));
        copy.args(["-X", "stream", "-c", "fast", "-N", "-R", "-d"]);
        copy.arg(format!(
            "host=127.0.0.1 port={} user={USER} application_name={name}",
            self.port()
        ));
        run(copy);
    }

    /// Makes a server that was killed a standby of that one, on its own port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn follow(&mut self, primary: &Self, name: &str) {
        std::fs::remove_dir_all(self.folder.join(DATA)).expect("its data");
        primary.copy_to(&self.folder, name);
        self.restart();
    }

    /// Makes a standby the primary, and waits until it is.
    ///
    /// # Panics
    /// If that takes longer than 30 s.
    pub fn promote(&self) {
        let promoted = self.sql("SELECT pg_promote(true, 30)");
        assert_eq!(promoted, "t", "{}", self.log());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal_all(Signal::KILL);
        let _ = self.child.wait();
        // A folder that cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path, port: u16, settings: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG));
    let mut log = log.expect("the server's log");
    log.write_all(b"-- started\n").expect("the server's log");
    let mut command = as_user(&program("postgres"));
    command.arg("-D").arg(folder.join(DATA));
    command.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"]);
    command.arg(folder);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the server's log"))
        .stderr(log);
    bound_process::spawn(command).expect("a server")
}

/// Returns the command of a program as a user that is not root.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}

fn run(mut command: Command) {
    let output = command.output().expect("a program");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Creates a folder that the server may use.
fn new_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("arbiter-{}", unique_name()));
    std::fs::create_dir_all(&folder).expect("a folder for the server");
    give(&folder);
    folder
}

/// Gives a file to the server's user.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        run({
            let mut chown = Command::new("chown");
            chown.arg(format!("{USER}:")).arg(path);
            chown
        });
    }
}

/// Returns the children of a process.
fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let ids = children.split_whitespace();
    ids.filter_map(|id| id.parse().ok()).collect()
}
