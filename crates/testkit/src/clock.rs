//! A wall clock that a test controls for another process: a preload library reads it from a small
//! file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::eventually;
use crate::names::unique_name;
use crate::server::{Server, ServerBuilder};

/// The wall clock of the servers and processes that a test starts with it.
#[derive(Debug)]
pub struct WallClock {
    cell: File,
    path: PathBuf,
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock {
    /// Creates a clock that shows the real time.
    ///
    /// # Panics
    /// If its file cannot be created.
    #[must_use]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("arbiter-clock-{}", unique_name()));
        let cell = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(true)
            .open(&path);
        let clock = Self {
            cell: cell.expect("a file for the clock"),
            path,
        };
        clock.cell.set_len(80).expect("the clock's file");
        clock
    }

    /// Makes a server use this clock. Its allocator runs without a thread: that thread waits for
    /// times of this clock, and its reads would advance a stepping clock endlessly.
    pub fn rule(&self, server: ServerBuilder) -> ServerBuilder {
        let server = server.arg("--jemalloc-bg-thread").arg("no");
        let env = self.env().into_iter();
        env.fold(server, |server, (name, value)| server.env(name, &value))
    }

    /// Returns the environment of a process that uses this clock.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", shim().display().to_string()),
            ("ARBITER_TEST_CLOCK", self.path.display().to_string()),
        ]
    }

    /// Stops the clock at that many microseconds since the epoch. The server's monotonic clock
    /// stops too, so its timers do not run. It still answers commands, and an expired key is
    /// removed when it is read.
    pub fn freeze_at(&self, micros: i64) {
        self.set_step(0);
        self.write(1, micros);
    }

    /// Starts at that many microseconds since the epoch, and advances by the step at each read. So
    /// time passes within a Redis script, since each command reads the clock.
    pub fn step_from(&self, micros: i64, step: Duration) {
        self.set_step(i64::try_from(step.as_micros()).expect("less than the clock can show"));
        self.write(1, micros);
    }

    /// Follows the real time, that many microseconds ahead.
    pub fn run_ahead(&self, micros: i64) {
        self.write(0, micros);
    }

    /// Gains that many microseconds per second of real time from now on; a negative number is a
    /// slow clock. It keeps the time gained so far.
    ///
    /// # Panics
    /// If its file cannot be used.
    pub fn drift(&self, per_second: i64) {
        let real = SystemTime::now().duration_since(UNIX_EPOCH);
        let real = real.expect("a clock after 1970").as_micros();
        let real = i64::try_from(real).expect("a clock of this age");
        let active = self.read(3);
        let [since, gained, rate] = [0, 1, 2].map(|n| self.read(4 + 3 * active + n));
        let gained = gained + (real - since) * rate / 1_000_000;
        // A drift takes effect as a whole: the one in use is never overwritten.
        let next = 1 - active;
        for (n, value) in [real, gained, per_second].into_iter().enumerate() {
            self.put(4 + 3 * next + n as i64, value);
        }
        self.put(3, next);
    }

    /// Advances the clock like [`WallClock::run_ahead`], but waits until the server shows it.
    /// Valkey reads the wall clock once per cycle of its timer.
    ///
    /// # Panics
    /// If it does not within two seconds.
    pub fn run_ahead_on(&self, server: &Server, micros: i64) {
        self.run_ahead(micros);
        let is_shown = || {
            let real = SystemTime::now().duration_since(UNIX_EPOCH);
            let real = real.expect("a clock after 1970").as_micros();
            let real = i64::try_from(real).expect("a clock of this age");
            (server.time() - real - micros).abs() < 300_000
        };
        let limit = Duration::from_secs(2);
        assert!(eventually(limit, is_shown), "the server's clock stays");
    }

    /// Advances the clock by that much, whether it runs or not.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("less than the clock can show");
        self.put(1, self.read(1) + micros);
    }

    fn set_step(&self, micros: i64) {
        self.put(2, micros);
    }

    fn write(&self, mode: i64, value: i64) {
        // The value is written first: a clock that changes its mode shows no time that was never
        // set.
        self.put(1, value);
        self.put(0, mode);
    }

    fn read(&self, number: i64) -> i64 {
        let mut value = [0; 8];
        let at = 8 * number.cast_unsigned();
        let read = self.cell.read_exact_at(&mut value, at);
        read.expect("the clock's file");
        i64::from_ne_bytes(value)
    }

    fn put(&self, number: i64, value: i64) {
        let at = 8 * number.cast_unsigned();
        let written = self.cell.write_all_at(&value.to_ne_bytes(), at);
        written.expect("the clock's file");
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Builds the preload library with the compiler that links Rust programs. It is in the folder of
/// the test's program, and is rebuilt if its source is newer.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/clock.c");
        let program = std::env::current_exe().expect("the test's own program");
        let library = program.with_file_name("arbiter-test-clock.so");
        let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
        if changed(&source) < changed(&library) {
            return library;
        }
        let fresh = program.with_file_name(format!("arbiter-test-clock-{}.so", unique_name()));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&fresh)
            .arg(&source)
            .status()
            .expect("a C compiler, which Rust links with");
        assert!(status.success(), "the clock's library does not compile");
        // The rename is atomic: other tests may be loading it.
        std::fs::rename(&fresh, &library).expect("the clock's library beside the test");
        library
    })
}
