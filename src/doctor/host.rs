//! A machine as its files tell it: `/proc`, `/sys` and marks of containers, below a root.
//!
//! Sources: proc(5), sysctl documentation of the kernel (Documentation/admin-guide/sysctl),
//! cgroups(7). What a file does not tell is `None`; nothing here can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ringmesh_ring::{Features, Refusal};

use crate::config::{Cpus, Groups, Machine, MemoryLimit, mem_total};

/// CAP_SYS_ADMIN and CAP_SYS_RESOURCE (capabilities(7)): RLIMIT_NPROC does not bind who has one.
const UNBOUND_BY_NPROC: [u32; 2] = [21, 24];
/// More files than there can be: what `fs.file-max` says where nobody set a bound.
const FILES_UNBOUND: u64 = i64::MAX as u64;

/// What no file tells.
#[derive(Clone, Debug)]
pub(super) struct Trials {
    /// A small ring was set up and received a byte, or why not.
    pub(super) ring: Result<Features, Refusal>,
    /// Whether connections over loopback became entries of conntrack; `None` where it is not there
    /// or could not be told.
    pub(super) tracks: Option<bool>,
}

/// A soft and a hard limit of the process; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// A limit, how much of it is used, and the file that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) max: u64,
    pub(super) used: u64,
    pub(super) source: String,
}

impl Bound {
    pub(super) fn free(&self) -> u64 {
        self.max.saturating_sub(self.used)
    }
}

/// Connection tracking of the process's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conntrack {
    pub(super) entries: Bound,
    pub(super) tracks: Option<bool>,
}

/// Numbers of `/proc/sys`, by their names there.
#[derive(Clone, Debug, Default)]
pub(super) struct Sysctls {
    pub(super) nr_open: Option<u64>,
    pub(super) somaxconn: Option<u64>,
    pub(super) netdev_max_backlog: Option<u64>,
    pub(super) tcp_max_syn_backlog: Option<u64>,
    pub(super) tcp_syncookies: Option<u64>,
    pub(super) tcp_migrate_req: Option<u64>,
    /// Pages: low, pressure, high.
    pub(super) tcp_mem: Option<[u64; 3]>,
    /// Bytes: least, default, most.
    pub(super) tcp_rmem: Option<[u64; 3]>,
    pub(super) tcp_wmem: Option<[u64; 3]>,
    pub(super) port_range: Option<[u64; 2]>,
    pub(super) threads_max: Option<u64>,
}

/// What is known of a machine, and what it allows this process.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) release: String,
    pub(super) ring: Result<Features, Refusal>,
    pub(super) nofile: Pair,
    pub(super) memlock: Pair,
    pub(super) nproc: Pair,
    /// `fs.file-max` and what of it is in use; `u64::MAX` is none.
    pub(super) files: Option<Bound>,
    /// The lower of the machine's memory and the control groups' limits.
    pub(super) memory: MemoryLimit,
    /// What of it could be had now.
    pub(super) memory_free: u64,
    /// Threads and processes of the control group with the least left.
    pub(super) pids: Option<Bound>,
    pub(super) cpus: Vec<usize>,
    pub(super) cpu_quota: Option<usize>,
    pub(super) sysctls: Sysctls,
    pub(super) conntrack: Option<Conntrack>,
    pub(super) clock: Option<String>,
    pub(super) governor: Option<String>,
    pub(super) huge_pages: Option<String>,
    /// Flaws of the processor for which it pays, and how.
    pub(super) mitigations: Vec<(String, String)>,
    pub(super) seccomp: u64,
    pub(super) no_new_privileges: bool,
    pub(super) capabilities: u64,
    /// What says that this is a container.
    pub(super) container: Option<String>,
}

impl Host {
    /// Reads the system whose root is `root`: `/`, but for tests.
    pub(super) fn read(root: &Path, trials: Trials) -> Self {
        let tree = Tree(root);
        let limits = tree.text("proc/self/limits").unwrap_or_default();
        let status = tree.text("proc/self/status").unwrap_or_default();
        let groups = Groups::read(root);
        let (memory, memory_free) = memory(&tree, groups.as_ref());
        let hex = |name| field(&status, name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let cpus = field(&status, "Cpus_allowed_list:").and_then(|list| list.parse::<Cpus>().ok());
        let cpus = cpus.map_or_else(|| vec![0], |cpus| cpus.as_slice().to_vec());
        let quota = groups.as_ref().and_then(Groups::cpu_quota);
        Self {
            release: tree.line("proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into()),
            ring: trials.ring,
            nofile: pair(&limits, "Max open files", 1024),
            memlock: pair(&limits, "Max locked memory", u64::MAX),
            nproc: pair(&limits, "Max processes", u64::MAX),
            files: files(&tree),
            memory,
            memory_free,
            pids: pids(groups.as_ref()),
            cpu_quota: quota.filter(|&quota| quota < cpus.len()),
            cpus,
            sysctls: sysctls(&tree),
            conntrack: conntrack(&tree, trials.tracks),
            clock: tree.line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            governor: tree.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            huge_pages: tree
                .line("sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())),
            mitigations: mitigations(&tree),
            seccomp: field(&status, "Seccomp:").and_then(|mode| mode.parse().ok()).unwrap_or(0),
            no_new_privileges: field(&status, "NoNewPrivs:") == Some("1"),
            capabilities: hex("CapEff:").unwrap_or(0),
            container: container(&tree),
        }
    }

    /// The same as the server's configuration sees it.
    pub(super) fn machine(&self) -> Machine {
        Machine {
            nofile: self.nofile.hard,
            memory: self.memory.clone(),
            cpus: self.cpus.clone(),
            cpu_quota: self.cpu_quota,
        }
    }

    /// Shards that work at the same time.
    pub(super) fn cores(&self) -> u64 {
        self.cpu_quota.unwrap_or(self.cpus.len()) as u64
    }

    pub(super) fn has_capability(&self, bit: u32) -> bool {
        self.capabilities >> bit & 1 == 1
    }

    /// Threads and processes that the user may have. The soft limit counts: a server does not
    /// raise it.
    pub(super) fn threads_max(&self) -> u64 {
        let unbound = UNBOUND_BY_NPROC.iter().any(|&bit| self.has_capability(bit));
        if unbound { u64::MAX } else { self.nproc.soft }
    }
}

/// A system's files.
struct Tree<'r>(&'r Path);

impl Tree<'_> {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    /// What a file of one line says.
    fn line(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim().to_owned()).filter(|line| !line.is_empty())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    fn numbers<const N: usize>(&self, path: &str) -> Option<[u64; N]> {
        let text = self.text(path)?;
        let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(u64::from_str).collect();
        numbers.ok()?.try_into().ok()
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

/// The value of a line that begins with a name.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// A line of `/proc/self/limits`; `otherwise` where it is not there.
fn pair(limits: &str, name: &str, otherwise: u64) -> Pair {
    let number = |word: Option<&str>| match word {
        Some("unlimited") => Some(u64::MAX),
        word => word?.parse().ok(),
    };
    let mut words = field(limits, name).unwrap_or_default().split_whitespace();
    let soft = number(words.next()).unwrap_or(otherwise);
    Pair { soft, hard: number(words.next()).unwrap_or(soft) }
}

/// `fs.file-nr` is: allocated, free (always 0), most.
fn files(tree: &Tree<'_>) -> Option<Bound> {
    let [used, _, max] = tree.numbers("proc/sys/fs/file-nr")?;
    let max = if max >= FILES_UNBOUND { u64::MAX } else { max };
    Some(Bound { max, used, source: "fs.file-max".into() })
}

fn memory(tree: &Tree<'_>, groups: Option<&Groups>) -> (MemoryLimit, u64) {
    let meminfo = tree.text("proc/meminfo").unwrap_or_default();
    let total = mem_total(&meminfo).unwrap_or(0);
    let available = field(&meminfo, "MemAvailable:")
        .and_then(|value| value.strip_suffix("kB")?.trim_end().parse::<u64>().ok())
        .map_or(total, |kib| kib.saturating_mul(1024));
    let mut least = MemoryLimit { bytes: total, source: "MemTotal".into() };
    let mut free = available;
    for (bytes, path) in groups.map(Groups::memory_limits).unwrap_or_default() {
        free = free.min(bytes.saturating_sub(memory_used(&path)));
        if bytes < least.bytes {
            least = MemoryLimit { bytes, source: path.display().to_string() };
        }
    }
    (least, free)
}

/// What a control group uses and could not give back at once: files that nobody read lately go
/// first.
fn memory_used(limit: &Path) -> u64 {
    let sibling = |name: &str| fs::read_to_string(limit.with_file_name(name)).ok();
    let current = sibling("memory.current").or_else(|| sibling("memory.usage_in_bytes"));
    let current: u64 = current.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let stat = sibling("memory.stat").unwrap_or_default();
    let idle = field(&stat, "total_inactive_file ").or_else(|| field(&stat, "inactive_file "));
    current.saturating_sub(idle.and_then(|bytes| bytes.parse().ok()).unwrap_or(0))
}

fn pids(groups: Option<&Groups>) -> Option<Bound> {
    let bounds = groups?.pids_limits().into_iter().map(|(max, path): (u64, PathBuf)| {
        let used = fs::read_to_string(path.with_file_name("pids.current")).ok();
        let used = used.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Bound { max, used, source: path.display().to_string() }
    });
    bounds.min_by_key(Bound::free)
}

fn sysctls(tree: &Tree<'_>) -> Sysctls {
    let number = |name: &str| tree.number(&format!("proc/sys/{name}"));
    let three = |name: &str| tree.numbers(&format!("proc/sys/net/ipv4/{name}"));
    Sysctls {
        nr_open: number("fs/nr_open"),
        somaxconn: number("net/core/somaxconn"),
        netdev_max_backlog: number("net/core/netdev_max_backlog"),
        tcp_max_syn_backlog: number("net/ipv4/tcp_max_syn_backlog"),
        tcp_syncookies: number("net/ipv4/tcp_syncookies"),
        tcp_migrate_req: number("net/ipv4/tcp_migrate_req"),
        tcp_mem: three("tcp_mem"),
        tcp_rmem: three("tcp_rmem"),
        tcp_wmem: three("tcp_wmem"),
        port_range: tree.numbers("proc/sys/net/ipv4/ip_local_port_range"),
        threads_max: number("kernel/threads-max"),
    }
}

fn conntrack(tree: &Tree<'_>, tracks: Option<bool>) -> Option<Conntrack> {
    let max = tree.number("proc/sys/net/netfilter/nf_conntrack_max")?;
    let used = tree.number("proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
    let entries = Bound { max, used, source: "net.netfilter.nf_conntrack_max".into() };
    // An entry is proof enough.
    Some(Conntrack { entries, tracks: tracks.or((used > 0).then_some(true)) })
}

fn mitigations(tree: &Tree<'_>) -> Vec<(String, String)> {
    let folder = tree.0.join("sys/devices/system/cpu/vulnerabilities");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let mitigation = text.trim().strip_prefix("Mitigation: ")?.to_owned();
            Some((entry.file_name().to_string_lossy().into_owned(), mitigation))
        })
        .collect();
    found.sort();
    found
}

fn container(tree: &Tree<'_>) -> Option<String> {
    for mark in [".dockerenv", "run/.containerenv", "run/systemd/container"] {
        if tree.has(mark) {
            return Some(format!("/{mark}"));
        }
    }
    let groups = tree.text("proc/self/cgroup").unwrap_or_default();
    let engine = ["docker", "kubepods", "containerd", "libpod", "lxc"];
    engine.iter().find(|name| groups.contains(**name)).map(|name| format!("{name} in its cgroup"))
}
