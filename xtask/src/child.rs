//! Programs that a part starts: each in a process group of its own, bounded in time, its output
//! kept in `target/xtask/PART.log` and shown in full only when it fails.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::part::{Problem, Result};
use crate::tree::{self, Tree};

/// A sign of life on the terminal while a step runs.
const HEARTBEAT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// What a program that has ended may still have in its pipe.
const DRAIN: Duration = Duration::from_secs(5);

/// A process group. It is killed when this value goes, and also when this process dies: the guard
/// is a shell that waits for the end of a pipe whose only writer is here.
pub(crate) struct Group {
    pub(crate) leader: Child,
    guard: Child,
}

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut leader = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let guard = Command::new("sh")
            .args(["-c", r#"read -r _; kill -s KILL -- "-$1""#, "guard"])
            .arg(leader.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match guard {
            Ok(guard) => Ok(Self { leader, guard }),
            Err(error) => {
                leader.kill()?;
                leader.wait()?;
                Err(error)
            }
        }
    }

    /// Asks the leader to stop, as a service manager would.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let pid = self.leader.id().to_string();
        Command::new("sh").args(["-c", r#"kill -s TERM "$1""#, "term", &pid]).status().map(drop)
    }

    /// Waits for the leader. None if it still runs at `deadline`.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            match self.leader.try_wait()? {
                None if Instant::now() < deadline => std::thread::sleep(POLL),
                other => return Ok(other),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Waiting for the guard closes the pipe first. Neither wait can be long: one has been told
        // to kill, the other has been killed.
        let ended = self.guard.wait().and_then(|_| self.leader.wait());
        if let Err(error) = ended {
            println!("  cannot end process group {}: {error}", self.leader.id());
        }
    }
}

/// What one part works with: its log, its deadline, the checkout.
pub(crate) struct Bench<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) deadline: Instant,
    pub(crate) folder: PathBuf,
    name: &'static str,
    strict: bool,
    limit: Duration,
    log: File,
}

/// How a program ended, and all that it wrote.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

impl<'a> Bench<'a> {
    pub(crate) fn open(
        tree: &'a Tree,
        name: &'static str,
        limit: Duration,
        strict: bool,
    ) -> Result<Self> {
        let folder = tree.target.join("xtask");
        let log = fs::create_dir_all(&folder)
            .and_then(|()| File::create(folder.join(format!("{name}.log"))))
            .map_err(|error| Problem::Failed(format!("{}: {error}", folder.display())))?;
        let deadline = Instant::now() + limit;
        Ok(Self { tree, deadline, folder, name, strict, limit, log })
    }

    /// A cargo command in the root of the checkout.
    pub(crate) fn cargo(&self, line: &str) -> Command {
        let mut command = tree::cargo(&self.tree.root);
        let mut words = line.split_whitespace();
        let subcommand = words.next();
        command.args(subcommand);
        if self.strict && subcommand != Some("fmt") {
            command.arg("--locked");
        }
        command.args(words);
        command
    }

    /// Runs a program that has to succeed. Returns what it wrote.
    pub(crate) fn run(&mut self, label: &str, command: Command) -> Result {
        let ended = self.attempt(label, command)?;
        if ended.status.success() {
            return Ok(ended.output);
        }
        print!("{}", ended.output);
        Err(Problem::Failed(format!("{label}: {}", ended.status)))
    }

    /// Runs a program that may end as it likes, within the time of the part.
    pub(crate) fn attempt(&mut self, label: &str, mut command: Command) -> Result<Ended> {
        let start = Instant::now();
        let cannot = |error| Problem::Failed(format!("{label}: {error}"));
        writeln!(self.log, "$ {command:?}").map_err(cannot)?;
        let (reader, writer) = io::pipe().map_err(cannot)?;
        command.stdout(writer.try_clone().map_err(cannot)?).stderr(writer);
        let mut group = Group::spawn(&mut command).map_err(cannot)?;
        // The command holds the writing end of the pipe.
        drop(command);
        let lines = read_lines(reader);
        let mut output = String::new();
        let mut beat = start + HEARTBEAT;
        let status = loop {
            self.take_lines(&lines, &mut output)?;
            if let Some(status) = group.leader.try_wait().map_err(cannot)? {
                break status;
            }
            if Instant::now() >= self.deadline {
                drop(group);
                print!("{output}");
                let limit = clock(self.limit);
                return Err(Problem::Failed(format!("{label}: killed, over the limit of {limit}")));
            }
            if Instant::now() >= beat {
                beat += HEARTBEAT;
                let last = output.lines().next_back().unwrap_or("no output yet").trim();
                println!("  {label}: {} … {last}", clock(start.elapsed()));
            }
        };
        drop(group);
        let end = Instant::now() + DRAIN;
        while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.keep(&line, &mut output)?;
        }
        println!("  {label}: {} ({status})", clock(start.elapsed()));
        Ok(Ended { status, output })
    }

    /// Takes the lines that are there, or waits a moment for one.
    fn take_lines(&mut self, lines: &mpsc::Receiver<String>, output: &mut String) -> Result<()> {
        let end = Instant::now() + POLL;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.keep(&line, output)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(POLL);
                    return Ok(());
                }
            }
        }
    }

    fn keep(&mut self, line: &str, output: &mut String) -> Result<()> {
        output.push_str(line);
        self.log
            .write_all(line.as_bytes())
            .map_err(|error| Problem::Failed(format!("log of {}: {error}", self.name)))
    }
}

/// Lines with their ends, in the order written. The channel closes when all writers have.
fn read_lines(reader: io::PipeReader) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str) -> Tree {
        let folder = format!("ringmesh-xtask-{}-{name}", std::process::id());
        let root = std::env::temp_dir().join(folder);
        Tree { target: root.join("target"), root }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Gone, or dead and not yet reaped by whoever inherited it.
    fn is_dead(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
    }

    #[test]
    fn what_overruns_is_killed_with_all_that_it_started() {
        let tree = tree("overrun");
        let mut bench = Bench::open(&tree, "part", Duration::from_secs(1), false).unwrap();
        let result = bench.run("sleeping", shell("sleep 600 & echo $!; wait"));
        assert_eq!(result.unwrap_err().to_string(), "sleeping: killed, over the limit of 1.0 s");
        let log = fs::read_to_string(bench.folder.join("part.log")).unwrap();
        let sleeper = log.lines().last().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !is_dead(sleeper) {
            assert!(Instant::now() < end, "{sleeper} lives on");
            std::thread::sleep(POLL);
        }
        fs::remove_dir_all(&tree.root).unwrap();
    }

    #[test]
    fn a_process_left_behind_holds_nothing_up() {
        let tree = tree("left");
        let mut bench = Bench::open(&tree, "part", Duration::from_secs(60), false).unwrap();
        let output = bench.run("leaving", shell("sleep 600 & echo out; echo err >&2")).unwrap();
        assert_eq!(output, "out\nerr\n");
        let result = bench.run("failing", shell("exit 3"));
        assert_eq!(result.unwrap_err().to_string(), "failing: exit status: 3");
        fs::remove_dir_all(&tree.root).unwrap();
    }
}
