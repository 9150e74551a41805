//! A run from its plan to its results.
//!
//! Lives once per process, on the thread that called [`run`], which becomes the coordinator. The
//! order of the start: signals, limit of files, a look at who listens, children, processors, roles,
//! results folder; then all roles begin at one time. What roles tell is put together second by
//! second and goes to the folder, to the eyes of the user, and to a look at whether there is a
//! server still.
//!
//! Invariants: whatever cannot begin is one line and an exit code of sysexits.h, and leaves no
//! folder that looks like a result. A run that has begun always comes to an end: roles that do not
//! are given up. No child outlives it.
//!
//! Left out: what roles do (the runtime's), and what becomes of figures (`results`).

mod children;
mod coordinator;
#[cfg(test)]
mod fixtures;
mod lines;
mod merge;
mod roles;
mod signals;
mod view;
mod vigil;

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::libc::pid_t;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use ringmesh_ring::Clock;
use ringmesh_runtime::load::script::{Endpoint, Seat};

use super::observe::{Observer, scrape};
use super::plan::Plan;
use super::record::{Ended, Summary};
use super::results::{self, Folder, Surroundings};
use crate::boot::{self, StartError};
use children::Children;
use coordinator::Coordinator;
use roles::{Adopted, Roles};
use view::View;

/// What scripts expect of a program that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;
/// A run that did not complete, or an assertion that does not hold.
const EXIT_FAILED: u8 = 1;
/// How long a target may take to accept the connection that finds out whether it is there.
const KNOCK_MAX: Duration = Duration::from_secs(5);
/// From the time that all roles are set up to that at which they begin: for making clients.
const HEAD_START_NS: u64 = 50_000_000;
const HEAD_START_NS_PER_SEAT: u64 = 500;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) summary: Summary,
    /// The results folder.
    pub(crate) out: PathBuf,
}

impl Outcome {
    /// 0 of a run that went as its scenario says and whose assertions hold, 130 of one that was
    /// interrupted, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match &self.summary.ended {
            Ended::Interrupted => EXIT_INTERRUPTED,
            Ended::Failed(_) => EXIT_FAILED,
            Ended::Complete => match self.summary.assertions.iter().all(|check| check.passed) {
                true => 0,
                false => EXIT_FAILED,
            },
        }
    }
}

/// What is told at the end, as `summary.txt` has it, and where the rest is.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nresults in {}", results::in_words(&self.summary), self.out.display())
    }
}

/// What the coordinator waits for besides samples.
enum News {
    /// A role is set up, on this thread, or cannot be.
    Up(u16, Result<pid_t, StartError>),
    /// A role has ended, and its connections are closed.
    Done(u16),
    /// SIGINT or SIGTERM.
    Signal,
}

/// Runs a plan: for the life of a process, since it installs handlers of signals and a panic hook
/// that aborts. What goes on is told on standard error.
///
/// # Errors
/// [`StartError`] where a run cannot begin, or where its results cannot be written.
pub(crate) fn run(plan: Plan) -> Result<Outcome, StartError> {
    plan.script.check();
    let (sender, news) = unbounded();
    signals::watch(sender.clone())
        .map_err(|error| StartError::unavailable(format!("cannot handle signals: {error}")))?;
    boot::raise_file_limit();
    boot::abort_on_bugs();
    knock(&plan, KNOCK_MAX)?;
    let (children, sockets) = Children::start(&plan.children)?;
    keep_to(&plan.cpus);
    let observer = Observer::new(&plan, &children.pids());
    let roles = Roles::start(&plan, hand_out(&plan, sockets), &sender)?;
    let (threads, signalled) = wait_until_up(plan.shards, &news)?;
    begin(plan, children, observer, roles, threads, signalled, &news, sender)
}

/// All is ready: makes the folder, says what will run, and runs it.
#[expect(clippy::too_many_arguments, reason = "everything that was made")]
fn begin(
    plan: Plan,
    mut children: Children,
    mut observer: Observer,
    roles: Roles,
    threads: Vec<pid_t>,
    signalled: bool,
    news: &Receiver<News>,
    sender: Sender<News>,
) -> Result<Outcome, StartError> {
    let clock = Clock::new();
    let head_start_ns = HEAD_START_NS + HEAD_START_NS_PER_SEAT * plan.script.seats.len() as u64;
    let surroundings = Surroundings {
        started: SystemTime::now() + Duration::from_nanos(head_start_ns),
        server: observer.found(),
        plans: plans(&plan),
        argv: std::env::args().collect(),
    };
    let mut folder = Folder::create(&plan, surroundings)?;
    children.log_to(&plan.out)?;
    let view = View::new(plan.script.clone(), plan.plain);
    for line in lines::announcement(&plan, &observer.servers()) {
        view.say(&line);
    }
    folder.add_resources(&observer.read(0.0))?;
    let start_ns = clock.mono_ns() + head_start_ns;
    roles.begin(start_ns);
    let mut coordinator =
        Coordinator::new(&plan, clock, start_ns, roles, threads, observer, view, children);
    if signalled {
        coordinator.on_signal();
    }
    // Whoever watches for signals has one of its own.
    drop(sender);
    coordinator.run(&mut folder, news)?;
    let summary = folder.finish(coordinator.end())?;
    Ok(Outcome { summary, out: plan.out })
}

/// Whether anybody listens at each target: better told now than by a run that counts refusals.
fn knock(plan: &Plan, patience: Duration) -> Result<(), StartError> {
    for target in &plan.script.targets {
        let Endpoint::Ip { to, .. } = target.remote else { continue };
        TcpStream::connect_timeout(&to, patience).map_err(|error| {
            let (name, address) = (&target.name, to.to_string());
            // A name may have others, too, where somebody listens.
            let at = if name.contains(&address) { String::new() } else { format!(" at {address}") };
            StartError::unavailable(format!(
                "{name}: {error}{at}: start the server first, or give another --target"
            ))
        })?;
    }
    Ok(())
}

/// Keeps this thread, and those that it starts, to the processors of the roles: the others may be
/// the server's.
fn keep_to(cpus: &[usize]) {
    let mut set = CpuSet::new();
    let all = cpus.iter().all(|&cpu| set.set(cpu).is_ok());
    if all && !cpus.is_empty() {
        // A refusal is told by the role that is pinned there.
        sched_setaffinity(Pid::from_raw(0), &set).ok();
    }
}

/// The sockets of children, each to the role that has the seat of its target.
fn hand_out(plan: &Plan, sockets: Vec<OwnedFd>) -> Vec<Vec<Adopted>> {
    let mut handed: Vec<Vec<Adopted>> = (0..plan.shards).map(|_| Vec::new()).collect();
    for (place, socket) in (0..).zip(sockets) {
        let is_its = |seat: &Seat| {
            let target = &plan.script.targets[usize::from(seat.target)];
            target.remote == Endpoint::Adopted(place)
        };
        let seat = plan.script.seats.iter().position(is_its).unwrap_or(0);
        handed[seat % usize::from(plan.shards)].push((place, socket));
    }
    handed
}

/// What the servers' admin listeners say of their plans.
fn plans(plan: &Plan) -> Vec<(String, Option<serde_json::Value>)> {
    let plan_of = |admin| scrape::status(admin)?.get_mut("plan").map(serde_json::Value::take);
    plan.admins.iter().map(|(name, admin)| (name.clone(), plan_of(*admin))).collect()
}

/// Waits until every role is set up; their threads, and whether a signal came meanwhile.
fn wait_until_up(roles: u16, news: &Receiver<News>) -> Result<(Vec<pid_t>, bool), StartError> {
    let mut threads = vec![0; roles.into()];
    let (mut up, mut signalled) = (0, false);
    while up < roles {
        match news.recv() {
            Ok(News::Up(role, thread)) => {
                threads[usize::from(role)] = thread?;
                up += 1;
            }
            Ok(News::Signal) => signalled = true,
            Ok(News::Done(role)) => {
                return Err(StartError::software(format!("bug: role {role} ended by itself")));
            }
            Err(_) => unreachable!("the caller holds a sender"),
        }
    }
    Ok((threads, signalled))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use ringmesh_runtime::load::script::Target;

    use super::*;

    #[test]
    fn a_target_that_refuses_is_one_line() {
        let mut plan = fixtures::plan(&[(1_000, 0, 4)]);
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let to = free.expect("a free port");
        let script = Arc::get_mut(&mut plan.script).expect("nobody shares it");
        script.targets[0].remote = Endpoint::Ip { to, sources: None };
        let by_address = (format!("http://{to}/mcp"), String::new());
        let by_name = ("http://localhost/mcp".to_owned(), format!(" at {to}"));
        for (name, at) in [by_address, by_name] {
            let script = Arc::get_mut(&mut plan.script).expect("nobody shares it");
            script.targets[0].name.clone_from(&name);
            let error = knock(&plan, KNOCK_MAX).expect_err("nobody listens");
            let mend = "start the server first, or give another --target";
            let line = format!("{name}: Connection refused (os error 111){at}: {mend}");
            assert_eq!((error.to_string(), error.exit_code()), (line, 69));
        }
    }

    #[test]
    fn sockets_go_to_the_roles_that_use_them() {
        let mut plan = fixtures::plan(&[(1_000, 0, 4)]);
        let script = Arc::get_mut(&mut plan.script).expect("nobody shares it");
        let target = script.targets[0].clone();
        for place in 0..2 {
            let remote = Endpoint::Adopted(place);
            script.targets.push(Target { remote, ..target.clone() });
        }
        script.seats[2].target = 2;
        script.seats[3].target = 1;
        let sockets = (0..2).map(|_| UnixStream::pair().expect("a pair").0.into()).collect();
        let places: Vec<Vec<u16>> = hand_out(&plan, sockets)
            .into_iter()
            .map(|of| of.into_iter().map(|(place, _)| place).collect())
            .collect();
        assert_eq!(places, [vec![1], vec![0]]);
    }
}
