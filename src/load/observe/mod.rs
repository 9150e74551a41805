//! What a run takes of this machine: the generator, servers that run here, and the kernel.
//!
//! One [`Observer`] lives in a load generator, on the coordinator's thread; reading takes well
//! under a millisecond. Servers are found before the run, by their listening sockets.
//!
//! Left out: servers of other machines, which only `/metrics` tells of.

mod machine;
mod process;
pub(crate) mod scrape;
mod servers;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ringmesh_runtime::load::script::Endpoint;

use super::guard::hosts::is_here;
use super::plan::Plan;
use super::record::Resources;
use super::results::Servers;
use machine::Machine;
pub(crate) use process::thread_cpu_s;
use process::{Process, Use};

/// Reads resources. See the module.
#[derive(Debug)]
pub(crate) struct Observer {
    servers: Vec<Watched>,
    unknown_why: Option<String>,
}

#[derive(Debug)]
struct Watched {
    process: Process,
    last: Use,
    gone: bool,
}

impl Observer {
    /// Finds the servers of a plan's targets: those that the user named, or the children of this
    /// process, whoever listens where the targets are, and else whoever the admin listeners say.
    pub(crate) fn new(plan: &Plan, children: &[u32]) -> Self {
        let pids = match plan.server_pids.is_empty() {
            true => [children, &found(plan)].concat(),
            false => plan.server_pids.clone(),
        };
        let own = std::process::id();
        let mut processes: Vec<Process> =
            pids.iter().filter(|&&pid| pid != own).filter_map(|&pid| Process::find(pid)).collect();
        processes.sort_by_key(|process| process.pid);
        processes.dedup_by_key(|process| process.pid);
        let unknown_why = processes.is_empty().then(|| why_unknown(plan));
        let watch = |process: Process| Watched {
            last: process.read().unwrap_or_default(),
            process,
            gone: false,
        };
        Self { servers: processes.into_iter().map(watch).collect(), unknown_why }
    }

    /// The processes of servers, as `name (pid)`.
    pub(crate) fn servers(&self) -> Vec<String> {
        let name = |of: &Watched| format!("{} ({})", of.process.name, of.process.pid);
        self.servers.iter().map(name).collect()
    }

    /// The servers, or why none is known.
    pub(crate) fn found(&self) -> Result<Servers, String> {
        if let Some(why) = &self.unknown_why {
            return Err(why.clone());
        }
        let pids = self.servers.iter().map(|of| of.process.pid).collect();
        let cpus = self.servers.iter().map(|of| of.process.cpus()).collect::<Option<Vec<_>>>();
        let cores = cpus.map(|cpus| {
            let all: BTreeSet<usize> = cpus.into_iter().flatten().collect();
            all.len() as f64
        });
        Ok(Servers { pids, cores })
    }

    /// Everything, now.
    pub(crate) fn read(&mut self, at_s: f64) -> Resources {
        let machine = Machine::read();
        let own = process::own();
        let mut servers = Use::default();
        for server in &mut self.servers {
            server.read();
            servers.cpu_s += server.last.cpu_s;
            servers.rss_bytes += server.last.rss_bytes;
        }
        let known = !self.servers.is_empty();
        Resources {
            at_s,
            generator_cpu_s: own.cpu_s,
            generator_rss_bytes: own.rss_bytes,
            server_cpu_s: known.then_some(servers.cpu_s),
            server_rss_bytes: known.then_some(servers.rss_bytes),
            machine_busy_s: machine.busy_s,
            slab_bytes: machine.slab_bytes,
            available_bytes: machine.available_bytes,
            tcp_bytes: machine.tcp_bytes,
            tcp_sockets: machine.tcp_sockets,
            files: machine.files,
        }
    }
}

impl Watched {
    /// The time of one that is gone is spent, its memory is free.
    fn read(&mut self) {
        match self.process.read() {
            Some(now) if !self.gone => self.last = now,
            _ => {
                self.gone = true;
                self.last.rss_bytes = 0;
            }
        }
    }
}

fn found(plan: &Plan) -> Vec<u32> {
    let local = addresses(plan).filter(|to| is_here(to.ip())).collect::<Vec<SocketAddr>>();
    let serving = if local.is_empty() { Vec::new() } else { servers::serving(&local) };
    if !serving.is_empty() || local.is_empty() {
        return serving;
    }
    let admins = plan.admins.iter().map(|(_, admin)| *admin);
    admins.filter(|admin| is_here(admin.ip())).filter_map(scrape::pid).collect()
}

fn addresses(plan: &Plan) -> impl Iterator<Item = SocketAddr> {
    plan.script.targets.iter().filter_map(|target| match target.remote {
        Endpoint::Ip { to, .. } => Some(to),
        Endpoint::Adopted(_) => None,
    })
}

fn why_unknown(plan: &Plan) -> String {
    if addresses(plan).any(|to| is_here(to.ip())) {
        "no process of this machine that may be looked at listens there: run as root, or name it \
         with --server-pid"
            .into()
    } else {
        "the server is on another machine".into()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_is_gone_keeps_its_time_and_loses_its_memory() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("coreutils");
        let process = Process::find(child.id()).expect("it runs");
        let mut observer = Observer {
            servers: vec![Watched { process, last: Use { cpu_s: 1.5, rss_bytes: 9 }, gone: false }],
            unknown_why: None,
        };
        let mut seen = observer.read(1.0);
        // Between fork and exec it has no memory of its own.
        while seen.server_rss_bytes == Some(0) {
            seen = observer.read(1.0);
        }
        assert!(seen.server_cpu_s.is_some_and(|s| s < 1.0), "{seen:?}");
        assert!(seen.server_rss_bytes.is_some_and(|bytes| bytes > 9), "{seen:?}");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        thread::sleep(Duration::from_millis(1));
        let after = observer.read(2.0);
        assert_eq!((after.server_cpu_s, after.server_rss_bytes), (seen.server_cpu_s, Some(0)));
    }
}
