//! A real server process, on loopback, that ends on drop, and with the process that started it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bound_process;
use crate::find::server_binary;
use crate::names::unique_name;
use crate::port::Port;
use crate::resp::{Client, Reply};
use crate::tls::{self, Terminator};

/// A real Redis or Valkey server of a single test.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ports: Ports,
    folder: PathBuf,
    builder: ServerBuilder,
    /// Terminates TLS if the server cannot.
    terminator: Option<Terminator>,
}

/// The ports that a server listens on.
#[derive(Debug)]
struct Ports {
    plain: Port,
    tls: Option<Port>,
    /// Reached by the other nodes of a cluster.
    bus: Option<Port>,
}

/// The settings of a [`Server`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it starts"]
pub struct ServerBuilder {
    binary: Option<PathBuf>,
    config: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    pub(crate) password: Option<String>,
    pub(crate) tls: bool,
    /// The host of its certificate, if that is not 127.0.0.1.
    certified_as: Option<String>,
    /// Whether its certificate is one of an authority.
    is_authority: bool,
    /// A folder with a certificate to use.
    certificate_in: Option<PathBuf>,
    is_node: bool,
}

const START_LIMIT: Duration = Duration::from_secs(20);
const SOCKET: &str = "server.sock";
const LOG: &str = "server.log";
const CONFIG: &str = "server.conf";

impl ServerBuilder {
    /// Uses another server than the default one.
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Reads this configuration file before the command line.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// Runs as a Sentinel that watches a server under a name.
    pub fn sentinel(self, name: &str, port: u16) -> Self {
        let watch = format!("sentinel monitor {name} 127.0.0.1 {port} 1\n");
        self.config(&watch).arg("--sentinel")
    }

    /// Adds an argument of the command line.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Requires a password of clients, which [`Server::call`] sends.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.arg("--requirepass").arg(password)
    }

    /// Sets a variable of the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Serves TLS too on [`Server::tls_url`], with its own certificate for 127.0.0.1.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Serves TLS like [`ServerBuilder::tls`], with a certificate for that host instead.
    pub fn tls_as(mut self, host: &str) -> Self {
        self.certified_as = Some(host.to_owned());
        self.tls()
    }

    /// Serves TLS like [`ServerBuilder::tls`], with a certificate that is one of an authority, too.
    pub fn tls_as_authority(mut self) -> Self {
        self.is_authority = true;
        self.tls()
    }

    /// Serves TLS with the certificate of that server.
    pub(crate) fn certificate_of(mut self, server: &Server) -> Self {
        self.certificate_in = Some(server.folder.clone());
        self
    }

    /// Runs as a node of a cluster, alone until it meets others.
    pub fn node(mut self) -> Self {
        self.is_node = true;
        self.arg("--cluster-enabled").arg("yes")
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// If it does not answer within 20 s, or ends.
    pub fn start(self) -> Server {
        let mut lacks_tls = false;
        loop {
            let folder = std::env::temp_dir().join(format!("arbiter-{}", unique_name()));
            std::fs::create_dir_all(&folder).expect("a folder for the server");
            let ports = Ports {
                plain: Port::hold(),
                tls: (self.tls && !lacks_tls).then(Port::hold),
                bus: self.is_node.then(Port::hold),
            };
            match &self.certificate_in {
                Some(other) => tls::copy_certificate(other, &folder),
                None if self.tls => {
                    let host = self.certified_as.as_deref().unwrap_or("127.0.0.1");
                    match self.is_authority {
                        true => tls::write_authority(&folder, host),
                        false => tls::write_certificate(&folder, host),
                    }
                }
                None => {}
            }
            let mut server = Server {
                child: self.spawn(&ports, &folder),
                ports,
                folder,
                builder: self.clone(),
                terminator: None,
            };
            if server.wait_until_up() {
                let terminator = || Terminator::before(server.port(), &server.folder);
                server.terminator = lacks_tls.then(terminator);
                return server;
            }
            let log = server.log();
            lacks_tls = server.ports.tls.is_some() && tls::is_lacking(&log);
            assert!(lacks_tls, "the server does not start: {self:?}\n{log}");
        }
    }

    fn spawn(&self, ports: &Ports, folder: &Path) -> Child {
        let binary = self.binary.clone().unwrap_or_else(server_binary);
        let tls = ports.tls.as_ref().map(|port| tls::arguments(port.number));
        let bus = ports.bus.as_ref().map(|port| port.number.to_string());
        let log = File::create(folder.join(LOG)).expect("the server's log");
        if let Some(config) = &self.config {
            std::fs::write(folder.join(CONFIG), config).expect("the server's configuration");
        }
        let mut command = bound_process::command(&binary);
        command
            .args(self.config.iter().map(|_| CONFIG))
            .args([
                "--port",
                &ports.plain.number.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args([
                "--appendonly",
                "no",
                "--unixsocket",
                SOCKET,
                "--daemonize",
                "no",
            ])
            .args(["--dir", "."])
            .args(tls.unwrap_or_default())
            .args(bus.iter().flat_map(|port| ["--cluster-port", port]))
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log);
        bound_process::spawn(command)
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", binary.display()))
    }
}

impl Server {
    /// Starts a server with default settings.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Returns a builder of a server with other settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Returns its URL over TCP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Returns its URL over a Unix socket.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.folder.join(SOCKET).display())
    }

    /// Returns its URL over TLS.
    ///
    /// # Panics
    /// If it was not started with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        let terminated = self.terminator.as_ref().map(|terminator| terminator.port);
        let port = self.own_tls_port().or(terminated);
        format!("rediss://127.0.0.1:{}", port.expect("a server with TLS"))
    }

    /// Returns the port on which the process itself serves TLS, if it was built with TLS.
    #[must_use]
    pub fn own_tls_port(&self) -> Option<u16> {
        self.ports.tls.as_ref().map(|port| port.number)
    }

    /// Returns the file with the certificate to trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(tls::CERTIFICATE)
    }

    /// Returns the file with the key of the certificate.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.join(tls::KEY)
    }

    /// Returns its port, which stays reserved as long as this value exists, even if the process is
    /// killed.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.plain.number
    }

    /// Returns the port that the other nodes of a cluster connect to.
    ///
    /// # Panics
    /// If it was not started as a node.
    #[must_use]
    pub fn bus_port(&self) -> u16 {
        self.ports.bus.as_ref().expect("a node").number
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its log since it was started.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// Returns the folder that it runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends a command on a new connection and waits for its reply.
    ///
    /// # Panics
    /// If there is no answer within 5 s.
    pub fn call(&self, args: &[&str]) -> Reply {
        let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        self.call_bytes(&bytes)
    }

    /// Sends a command like [`Server::call`], for arguments that need not be text.
    ///
    /// # Panics
    /// If there is no answer within 5 s.
    pub fn call_bytes(&self, args: &[&[u8]]) -> Reply {
        self.try_call(args)
            .unwrap_or_else(|e| panic!("the server does not answer {args:?}: {e}"))
    }

    /// Sends a command like [`Server::call_bytes`], to a server that may have ended.
    pub(crate) fn try_call(&self, args: &[&[u8]]) -> io::Result<Reply> {
        let mut client = Client::connect(self.port(), Duration::from_secs(5))?;
        if let Some(password) = &self.builder.password {
            client.call(&[b"AUTH", password.as_bytes()])?;
        }
        client.call(args)
    }

    /// Returns the time of its clock, in microseconds since the epoch.
    ///
    /// # Panics
    /// If there is no answer within 5 s.
    #[must_use]
    pub fn time(&self) -> i64 {
        let parts = self.call(&["TIME"]).texts();
        let number = |n: usize| parts[n].parse::<i64>().expect("a number");
        number(0) * 1_000_000 + number(1)
    }

    /// Returns all keys, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.call(&["KEYS", "*"]).texts();
        keys.sort();
        keys
    }

    /// Stops the process as Ctrl-Z does: sockets stay open, and nothing is answered.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues the process.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Returns whether the process runs: it has not ended and is not stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        // The state follows the name of the program, which is in parentheses.
        let rest = stat.as_ref().ok().and_then(|stat| stat.rsplit_once(") "));
        rest.is_some_and(|(_, rest)| !rest.starts_with(['T', 'Z', 'X']))
    }

    /// Restarts the server on the same port, empty. A node remembers its cluster.
    ///
    /// # Panics
    /// If it does not start within 20 s.
    pub fn restart(&mut self) {
        self.kill();
        self.child = self.builder.spawn(&self.ports, &self.folder);
        assert!(self.wait_until_up(), "the server does not start again");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // An ended process needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for any reply: a server that asks for a password is up, too. It uses the socket in its
    /// own folder, which is created after the ports.
    fn wait_until_up(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            let socket = self.folder.join(SOCKET);
            let client = Client::connect_unix(&socket, Duration::from_secs(1));
            if client
                .and_then(|mut client| client.call(&[b"PING"]))
                .is_ok()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
