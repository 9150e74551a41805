//! A server on standard input and output, with pipes to it.

use std::io::Read as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lines::Lines;
use super::server::{collect, ringmesh};
use super::wait_for;

/// Killed when dropped.
pub(crate) struct Piped {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Piped {
    /// Starts the program, and a client of it.
    pub(crate) fn start(flags: &str) -> (Self, Lines) {
        Self::start_command(ringmesh("serve"), flags)
    }

    /// Starts any program that takes its flags.
    pub(crate) fn start_command(command: Command, flags: &str) -> (Self, Lines) {
        let (mut server, stdout) = Self::spawn(command, flags);
        let stdin = server.child.stdin.take().expect("piped");
        let lines = Lines::new(stdout, stdin, |_| {});
        (server, lines)
    }

    /// Starts the program without a client; its input stays open, and its output is given.
    pub(crate) fn start_unread(flags: &str) -> (Self, ChildStdout) {
        Self::spawn(ringmesh("serve"), flags)
    }

    fn spawn(mut command: Command, flags: &str) -> (Self, ChildStdout) {
        command.arg("--stdio").args(flags.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let log = collect(child.stderr.take().expect("piped"));
        let stdout = child.stdout.take().expect("piped");
        (Self { child, log }, stdout)
    }

    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
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

    /// Waits until it serves.
    pub(crate) fn wait_until_up(&self) {
        wait_for("a server", || self.log().contains("\nstdio ").then_some(()));
    }

    /// Waits for a line of its log that holds this.
    pub(crate) fn wait_for_log(&self, part: &str) {
        wait_for(part, || self.log().contains(part).then_some(()));
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("--- the server's log\n{}---", self.log());
        }
    }
}

/// Reads to the end.
pub(crate) fn rest(mut stdout: ChildStdout) -> Vec<u8> {
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("a pipe");
    rest
}
