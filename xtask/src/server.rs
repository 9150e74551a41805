//! A server under test: started on a free port, stopped the way a service manager stops it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::child::Group;
use crate::part::{Problem, Result};

const START: Duration = Duration::from_secs(60);
/// More than the 25 s of grace that a server has.
const STOP: Duration = Duration::from_secs(40);

pub(crate) struct Server {
    group: Group,
    log: PathBuf,
    /// `http://ADDR:PORT/mcp`.
    pub(crate) url: String,
    /// `http://ADDR:PORT`, for metrics and status.
    pub(crate) admin: String,
    /// ADDR:PORT for lines, where it was asked for.
    pub(crate) tcp: Option<String>,
}

impl Server {
    /// Starts `program` with `arguments` on ports of its choice. Standard error goes to `log`.
    pub(crate) fn start(program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let cannot = |error| Problem::Failed(format!("{}: {error}", program.display()));
        let mut command = Command::new(program);
        command.args(arguments).args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.env_remove("RINGMESH_CONFIG");
        command.stdout(Stdio::piped()).stderr(File::create(log).map_err(cannot)?);
        let mut group = Group::spawn(&mut command).map_err(cannot)?;
        let listening = group.leader.stdout.take().map(listening).unwrap_or_default();
        let at = |what: &str| listening.get(what).cloned();
        let (http, admin) = (at("http"), at("admin"));
        let server = Self {
            group,
            log: log.to_owned(),
            url: format!("http://{}/mcp", http.as_deref().unwrap_or("nowhere")),
            admin: format!("http://{}", admin.as_deref().unwrap_or("nowhere")),
            tcp: at("tcp"),
        };
        match (http, admin) {
            (Some(_), Some(_)) => Ok(server),
            _ => Err(server.blame("said no `listening http ADDR:PORT` or none of `admin`")),
        }
    }

    /// Stops it with SIGTERM: it has to end by itself, in time, with status 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self
            .group
            .terminate()
            .and_then(|()| self.group.wait_until(Instant::now() + STOP))
            .map_err(Problem::failed)?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.blame(&format!("ended with {status} on SIGTERM"))),
            None => Err(self.blame(&format!("still ran {} s after SIGTERM", STOP.as_secs()))),
        }
    }

    fn blame(&self, what: &str) -> Problem {
        print!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        Problem::Failed(format!("the server {what}; its log is {}", self.log.display()))
    }
}

/// Reads the lines `listening KIND ADDRESS`, until the last of them, which is the admin listener's.
/// What follows is read too, so that the server never waits for a reader.
fn listening(stdout: ChildStdout) -> BTreeMap<String, String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
            // Nobody waits for what follows.
            sender.send(line).ok();
        }
    });
    let deadline = Instant::now() + START;
    let mut addresses = BTreeMap::new();
    while !addresses.contains_key("admin")
        && let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        let words = line.strip_prefix("listening ").and_then(|rest| rest.split_once(' '));
        if let Some((kind, address)) = words {
            addresses.insert(kind.to_owned(), address.trim().to_owned());
        }
    }
    addresses
}
