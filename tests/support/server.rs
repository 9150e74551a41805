//! A real server on ports that it picked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Client, PATIENCE, wait_for};

/// The program with these flags.
pub(crate) fn ringmesh(flags: &str) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_ringmesh")), flags)
}

/// Some program that takes the same flags.
pub(crate) fn program(program: &Path, flags: &str) -> Command {
    let mut command = Command::new(program);
    command.args(flags.split_whitespace());
    command.env_remove("RINGMESH_CONFIG").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// A server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Held open: a server whose output is closed is a test of its own.
    _stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    pub(crate) http: SocketAddr,
    /// Where it serves lines over TCP, as many as it was told.
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts the program with one shard, unless the flags say more.
    pub(crate) fn start(flags: &str) -> Self {
        Self::start_command(ringmesh("serve"), flags)
    }

    /// Starts any command that takes the program's flags.
    pub(crate) fn start_command(mut command: Command, flags: &str) -> Self {
        command.args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        if !flags.contains("--shards") {
            command.args(["--shards", "1"]);
        }
        command.args(flags.split_whitespace());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let log = collect(child.stderr.take().expect("piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut announced: Vec<(String, String)> = Vec::new();
        // The admin listener is told last.
        while announced.last().is_none_or(|(what, _)| what != "admin") {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("a line");
            let told = line.strip_prefix("listening ").and_then(|rest| rest.split_once(' '));
            let (what, place) =
                told.unwrap_or_else(|| panic!("{line:?}, {:?}", log.lock().expect("the log")));
            announced.push((what.to_owned(), place.trim_end().to_owned()));
        }
        let places = |kind: &str| -> Vec<SocketAddr> {
            let of_kind = announced.iter().filter(|(what, _)| what == kind);
            of_kind.map(|(_, place)| place.parse().expect("an address")).collect()
        };
        let (http, tcp, admin) = (places("http")[0], places("tcp"), places("admin")[0]);
        Self { child, _stdout: stdout, log, http, tcp, admin }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.http)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits for the end: the exit code, and how long it took.
    pub(crate) fn ended(&mut self) -> (Option<i32>, Duration) {
        let started = Instant::now();
        let status = wait_for("the end", || self.child.try_wait().expect("our child"));
        (status.code(), started.elapsed())
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Status and body of what the admin listener has at a path.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let host = self.admin;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    pub(crate) fn status(&self) -> Value {
        let (status, body) = self.admin("/status");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Looks at the status until it is as wanted.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.status();
            if wanted(&last) {
                return last;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("in vain: {what}: {last:#}");
    }

    /// Waits until that many refusals were counted under a bound, on all shards, and no more.
    pub(crate) fn wait_for_refusals(&self, bound: &str, count: u64) {
        self.wait_for(&format!("{count} refusals by {bound}"), |status| {
            refusals(status, bound) == count
        });
    }

    /// Asserts that nothing was left behind.
    pub(crate) fn assert_clean(&self) {
        super::nothing_leaked(self);
    }

    /// The value of one series of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.admin("/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("--- the server's log\n{}---", self.log());
        }
    }
}

/// Refusals by a bound, on all shards.
pub(crate) fn refusals(status: &Value, bound: &str) -> u64 {
    let shards = status["shards"].as_array().expect("shards");
    shards.iter().filter_map(|shard| shard["refusals"][bound].as_u64()).sum()
}

/// Reads on, so that the server never waits for a reader.
pub(crate) fn collect(stderr: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let own = log.clone();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = own.lock().expect("the log");
            log.push_str(&line);
            log.push('\n');
        }
    });
    log
}
