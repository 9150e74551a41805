//! The program under test, in a process of its own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ringmesh_ring::{allowed_cpus, pin_to_cpu};

/// Connections that the server may have beside those of a level, such as those that still close.
const SPARE: usize = 1_000;

/// A running server of one shard; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Held open: the server minds where its output is closed.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it on the first processor that is allowed, and keeps this thread on the second.
    ///
    /// # Errors
    /// Where it does not say where it listens; the error has what it said instead.
    pub(crate) fn start(connections: usize) -> Result<Self, String> {
        let program = env!("CARGO_BIN_EXE_ringmesh");
        let cpus = allowed_cpus().map_err(|errno| format!("no list of processors: {errno}"))?;
        let mut command = Command::new(program);
        command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--shards", "1", "--log", "warn", "--connections-max"]);
        command.arg((connections + SPARE).to_string());
        if let [first, _, ..] = cpus[..] {
            command.args(["--cpus", &first.to_string()]);
        }
        let log = concat!(env!("CARGO_TARGET_TMPDIR"), "/end_to_end.log");
        let stderr = File::create(log).map_err(|error| format!("{log}: {error}"))?;
        command.env_remove("RINGMESH_CONFIG").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let told = stdout.read_line(&mut line).ok().and_then(|_| {
            line.strip_prefix("listening http ").and_then(|place| place.trim_end().parse().ok())
        });
        let Some(address) = told else {
            child.kill().ok();
            child.wait().ok();
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("{program} does not listen; it said: {}", said.trim_end()));
        };
        let server = Self { child, _stdout: stdout, address };
        // Only now: the server would inherit it.
        if let [_, second, ..] = cpus[..] {
            pin_to_cpu(second).map_err(|errno| format!("not on processor {second}: {errno}"))?;
        }
        Ok(server)
    }

    /// What all its threads have spent on processors so far, user and system (proc(5), schedstat).
    ///
    /// # Errors
    /// Where the process is gone.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        let folder = format!("/proc/{}/task", self.child.id());
        let gone = |error| format!("{folder}: {error}; has the server ended?");
        let mut spent_ns = 0;
        for task in fs::read_dir(&folder).map_err(gone)? {
            let schedstat = task.map_err(gone)?.path().join("schedstat");
            // A thread may end between the listing and the look.
            let text = fs::read_to_string(schedstat).unwrap_or_default();
            let first = text.split_whitespace().next();
            spent_ns += first.and_then(|number| number.parse().ok()).unwrap_or(0_u64);
        }
        if spent_ns == 0 {
            return Err(format!("{folder}: no schedstat (CONFIG_SCHED_INFO)"));
        }
        Ok(Duration::from_nanos(spent_ns))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
