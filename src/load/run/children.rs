//! Servers that are children of the generator and speak lines on their standard input and output.
//!
//! Both are one end of a socketpair(2), whose other end a role's ring adopts: to the child they are
//! a stream like any other. What it says on standard error goes to a log of the results folder, up
//! to a bound. A child is in a process group of its own, so that Ctrl-C reaches the generator alone,
//! which closes the stream in good order.
//!
//! Invariant: no child outlives its [`Children`].

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::boot::StartError;

/// Bytes of a child's log; the rest is read and forgotten.
const LOG_BYTES_MAX: usize = 1 << 20;
/// How long children may take to end once their input has.
const END_MAX: Duration = Duration::from_secs(5);
/// Between two looks at those that have not.
const PAUSE: Duration = Duration::from_millis(5);

/// The children of a run, in the order of the plan.
#[derive(Debug, Default)]
pub(crate) struct Children {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    command: String,
    child: Child,
    stderr: Option<ChildStderr>,
    ended: Option<ExitStatus>,
}

impl Children {
    /// Starts a child for each command, and gives the near ends of their streams.
    ///
    /// # Errors
    /// One line with the command that cannot be started (69).
    pub(crate) fn start(commands: &[Vec<String>]) -> Result<(Self, Vec<OwnedFd>), StartError> {
        let mut children = Self::default();
        let mut ends = Vec::new();
        for command in commands {
            let (member, end) = Member::start(command).map_err(|error| {
                let command = command.join(" ");
                StartError::unavailable(format!("cannot start `{command}`: {error}"))
            })?;
            children.members.push(member);
            ends.push(end);
        }
        Ok((children, ends))
    }

    /// The numbers of their processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Writes what they say on standard error to `child-N.log` of a folder, from now on.
    ///
    /// # Errors
    /// One line with the file that cannot be made (73), or where no thread is left.
    pub(crate) fn log_to(&mut self, folder: &Path) -> Result<(), StartError> {
        for (place, member) in self.members.iter_mut().enumerate() {
            let Some(stderr) = member.stderr.take() else { continue };
            let path = folder.join(log_name(place));
            let file = File::create(&path).map_err(|error| {
                StartError::cannot_create(format!("cannot create {}: {error}", path.display()))
            })?;
            let copy = move || copy(stderr, file);
            let thread = thread::Builder::new().name(format!("log-{place}"));
            thread.spawn(copy).map_err(|error| {
                StartError::limit(format!("cannot start the thread of a child's log: {error}"))
            })?;
        }
        Ok(())
    }

    /// The children that ended since the last look, a line each.
    pub(crate) fn poll(&mut self) -> Vec<String> {
        let newly = |(place, member): (usize, &mut Member)| {
            let status = member.poll()?;
            let command = &member.command;
            Some(format!("`{command}` ended by itself ({status}): see {}", log_name(place)))
        };
        self.members.iter_mut().enumerate().filter_map(newly).collect()
    }

    /// Whether there were some and all have ended.
    pub(crate) fn are_gone(&self) -> bool {
        !self.members.is_empty() && self.members.iter().all(|member| member.ended.is_some())
    }

    /// Waits until all have ended, whose streams are closed by now, and ends those that do not.
    /// A line for each of those, and for each that ended badly.
    pub(crate) fn end(mut self) -> Vec<String> {
        let deadline = Instant::now() + END_MAX;
        let mut words = Vec::new();
        for member in &mut self.members {
            // Told before, if it ended by itself.
            if member.ended.is_some() {
                continue;
            }
            while member.poll().is_none() && Instant::now() < deadline {
                thread::sleep(PAUSE);
            }
            let command = &member.command;
            match member.ended {
                Some(status) if status.success() => {}
                Some(status) => words.push(format!("`{command}` ended badly: {status}")),
                None => words.push(format!(
                    "`{command}` did not end within {END_MAX:?} of the end of its input: killed"
                )),
            }
        }
        words
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for member in &mut self.members {
            if member.poll().is_none() && member.ended.is_none() {
                // It cannot fail but for a child that has just ended.
                member.child.kill().ok();
                member.child.wait().ok();
            }
        }
    }
}

impl Member {
    fn start(command: &[String]) -> io::Result<(Self, OwnedFd)> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (near, far) = UnixStream::pair()?;
        let far_too = far.try_clone()?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::from(OwnedFd::from(far_too)))
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let stderr = child.stderr.take();
        Ok((Self { command: command.join(" "), child, stderr, ended: None }, near.into()))
    }

    /// How it ended, if that is news.
    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return None;
        }
        self.ended = self.child.try_wait().ok().flatten();
        self.ended
    }
}

fn log_name(place: usize) -> String {
    format!("child-{place}.log")
}

/// Reads to the end, since a full pipe would stop the child, and keeps the beginning.
fn copy(mut from: ChildStderr, mut to: File) {
    let mut room = LOG_BYTES_MAX;
    let mut part = [0; 8 << 10];
    while let Ok(filled @ 1..) = from.read(&mut part) {
        let kept = filled.min(room);
        // A full disk ends the run elsewhere.
        room = if to.write_all(&part[..kept]).is_ok() { room - kept } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_child_speaks_through_the_socket_and_ends_with_it() {
        let (children, mut ends) = Children::start(&[shell("cat")]).expect("a shell");
        let mut near = UnixStream::from(ends.remove(0));
        near.write_all(b"a line\n").expect("a reader");
        let mut line = [0; 7];
        near.read_exact(&mut line).expect("a line");
        assert_eq!(&line, b"a line\n");
        drop(near);
        assert_eq!(children.end(), Vec::<String>::new());
    }

    #[test]
    fn a_child_that_ends_by_itself_is_told_once_and_its_words_are_kept() {
        let folder = std::env::temp_dir().join(format!("ringmesh-child-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (mut children, _ends) =
            Children::start(&[shell("echo oh dear >&2; exit 3")]).expect("a shell");
        children.log_to(&folder).expect("a file");
        let mut words = Vec::new();
        while words.is_empty() {
            words = children.poll();
            thread::sleep(PAUSE);
        }
        assert_eq!(words.len(), 1);
        assert!(
            words[0].contains("exit status: 3") && words[0].contains("child-0.log"),
            "{words:?}"
        );
        assert!(children.poll().is_empty() && children.are_gone());
        let log = folder.join("child-0.log");
        while std::fs::read(&log).expect("a log") != b"oh dear\n" {
            thread::sleep(PAUSE);
        }
        assert!(children.end().is_empty(), "told already");
        std::fs::remove_dir_all(&folder).expect("our own folder");
    }

    #[test]
    fn a_child_that_stays_is_killed_when_dropped() {
        let (children, _ends) = Children::start(&[shell("exec sleep 600")]).expect("a shell");
        let pid = children.pids()[0];
        drop(children);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_command_that_is_not_there_is_one_line() {
        let commands = [vec!["/nowhere/at/all".to_owned(), "--stdio".to_owned()]];
        let error = Children::start(&commands).expect_err("no such program");
        let line = "cannot start `/nowhere/at/all --stdio`: No such file or directory (os error 2)";
        assert_eq!((error.to_string().as_str(), error.exit_code()), (line, 69));
    }
}
