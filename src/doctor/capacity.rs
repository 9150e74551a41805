//! How many connections a machine carries, which limit binds first, and whether a number fits.
//!
//! Everything a plan needs is asked of the configuration: places of a shard's table, bytes of a
//! connection, refusals. What is added here is what the configuration does not look at: memory that
//! is free now, files of the whole system, conntrack, and that connections spread unevenly.

use crate::config::{
    CLIENT_BYTES, ConfigError, Count, FULL_BYTES, IDLE_BYTES, Machine, Plan, SHARD_KERNEL_BYTES,
    Settings, Size, Source, places_of, resolve, shards_most,
};

use super::check::grouped;
use super::host::Host;

/// Files that the rest of the system may open meanwhile, and the server besides its connections.
const FILES_RESERVED: u64 = 4_096;
/// Threads of a server besides its shards: pools, control plane, workers of the kernel.
pub(super) const THREADS_RESERVED: u64 = 64;
/// The kernel spreads connections over the listeners of a port by hash (SO_REUSEPORT), so that the
/// number of each varies with a standard deviation of its root. A shard has room for so many.
const DEVIATIONS: u64 = 6;

/// What bounds connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tables,
    Threads,
    Files,
    Memory,
    Conntrack,
}

/// A bound of the connections of one server, whatever its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) kind: Kind,
    pub(super) connections: u64,
    /// How the number comes about.
    pub(super) how: String,
}

pub(super) struct Capacity<'h> {
    host: &'h Host,
    machine: Machine,
    default: Result<Plan, ConfigError>,
    /// Lowest first.
    pub(super) limits: Vec<Limit>,
}

/// Whether a number of connections fits.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) connections: u64,
    pub(super) shards: u64,
    /// Connections of each shard, at most.
    pub(super) connections_max: u64,
    /// Of `ringmesh serve`; none where the defaults do.
    pub(super) flags: String,
    /// What the server would say instead of starting.
    pub(super) refusal: Option<String>,
    /// What it would warn of.
    pub(super) warnings: Vec<String>,
    /// At rest with every connection idle, and with a stream and a session on each; bytes.
    pub(super) memory_idle: u64,
    pub(super) memory_full: u64,
    /// Limits that are lower, with what mends each.
    pub(super) short: Vec<(Limit, String)>,
    /// What is missing for the clients' ends on this machine too; `None` where they fit.
    pub(super) clients: Option<String>,
}

impl Fit {
    pub(super) fn fits(&self) -> bool {
        self.refusal.is_none() && self.short.is_empty()
    }
}

impl<'h> Capacity<'h> {
    pub(super) fn of(host: &'h Host) -> Self {
        let machine = host.machine();
        let default = resolve(&Source::default(), &machine);
        let mut capacity = Self { host, machine, default, limits: Vec::new() };
        let mut limits = vec![capacity.tables(), capacity.memory()];
        limits.extend(capacity.threads());
        limits.extend(capacity.files());
        limits.extend(capacity.conntrack());
        limits.sort_by_key(|limit| limit.connections);
        capacity.limits = limits;
        capacity
    }

    /// Shards of a server without flags, its connections, and how many of them come in before an
    /// uneven spread fills one shard; or why it does not start.
    pub(super) fn by_default(&self) -> Result<(u64, u64, u64), String> {
        self.startable()?;
        let plan = self.default.as_ref().map_err(ToString::to_string)?;
        let (shards, each) = (u64::from(plan.shards), u64::from(plan.limits.connections_max));
        Ok((shards, shards * each, self.most().min(shards * evenly(each, shards))))
    }

    /// Connections at most, whatever the flags.
    pub(super) fn most(&self) -> u64 {
        match self.startable() {
            Ok(()) => self.limits.first().map_or(0, |limit| limit.connections),
            Err(_) => 0,
        }
    }

    fn startable(&self) -> Result<(), String> {
        self.host.ring.as_ref().map(|_| ()).map_err(ToString::to_string)
    }

    /// Whether so many connections fit, and how.
    pub(super) fn fit(&self, connections: u64) -> Fit {
        let places = places_of(self.machine.nofile);
        let shards = self.shards_for(connections);
        let mut connections_max = unevenly(connections.div_ceil(shards), shards).min(places);
        let (flags, plan) = match &self.default {
            Ok(plan) if self.is_enough(plan, connections) => {
                connections_max = plan.limits.connections_max.into();
                (String::new(), Ok(plan.clone()))
            }
            _ => {
                let flags = format!("--shards {shards} --connections-max {connections_max}");
                let count = |n: u64| Some(Count(u32::try_from(n).unwrap_or(u32::MAX)));
                let settings = Settings {
                    shards: count(shards),
                    connections_max: count(connections_max),
                    ..Settings::default()
                };
                let source = Source { flags: settings, ..Source::default() };
                (flags, resolve(&source, &self.machine))
            }
        };
        let lower = self.limits.iter().filter(|limit| limit.connections < connections);
        let short: Vec<_> =
            lower.map(|limit| (limit.clone(), self.mend(limit, connections))).collect();
        // What no server starts for comes first; what this one does not start for may follow from
        // a limit that is too low, which says more.
        let never = self.startable().err().or(self.default.as_ref().err().map(ToString::to_string));
        let refused = plan.as_ref().err().filter(|_| short.is_empty()).map(ToString::to_string);
        let fixed = self.fixed_bytes(shards);
        Fit {
            connections,
            shards,
            connections_max,
            flags,
            refusal: never.or(refused),
            warnings: plan.map(|plan| plan.warnings).unwrap_or_default(),
            memory_idle: fixed.saturating_add(connections.saturating_mul(IDLE_BYTES)),
            memory_full: fixed.saturating_add(connections.saturating_mul(FULL_BYTES)),
            short,
            clients: self.clients(connections, fixed),
        }
    }

    fn is_enough(&self, plan: &Plan, connections: u64) -> bool {
        let shards = u64::from(plan.shards);
        shards * evenly(plan.limits.connections_max.into(), shards) >= connections
            && shards >= self.shards_for(connections)
    }

    /// The fewest shards that carry so many, one a core or a multiple of that; more than there can
    /// be where none do.
    fn shards_for(&self, connections: u64) -> u64 {
        let most = shards_most(&self.machine);
        let cores = self.host.cores().min(most).max(1);
        let places = places_of(self.machine.nofile);
        if connections <= cores * evenly(places, cores) {
            return cores;
        }
        let each = evenly(places, 2).max(1);
        let fewest = connections.div_ceil(each);
        let balanced = fewest.next_multiple_of(cores);
        if balanced > most { fewest } else { balanced }
    }

    /// Of a server with so many shards, at rest, besides its connections.
    fn fixed_bytes(&self, shards: u64) -> u64 {
        let Ok(plan) = &self.default else { return 0 };
        let threads = shards + (plan.threads.for_async + plan.threads.for_blocking) as u64;
        let shard = plan.memory.shards / u64::from(plan.shards);
        plan.memory.process + shards * shard + threads * SHARD_KERNEL_BYTES
    }

    fn tables(&self) -> Limit {
        let shards = shards_most(&self.machine);
        let places = places_of(self.machine.nofile);
        let each = evenly(places, shards);
        let how = format!(
            "{} shards, each with room for {} connections ({} with an uneven spread)",
            grouped(shards),
            grouped(places),
            grouped(each),
        );
        Limit { kind: Kind::Tables, connections: shards * each, how }
    }

    fn threads(&self) -> Option<Limit> {
        let nproc = self.host.threads_max();
        let pids = self.host.pids.as_ref();
        let (free, of) = match pids {
            Some(pids) if pids.free() < nproc => (pids.free(), format!("left ({})", pids.source)),
            _ => (nproc, "for all that the user runs (RLIMIT_NPROC)".to_owned()),
        };
        let shards = free.saturating_sub(THREADS_RESERVED);
        if shards >= shards_most(&self.machine) {
            return None;
        }
        let connections = shards * evenly(places_of(self.machine.nofile), shards);
        let how = format!("{} threads are {of}", grouped(free));
        Some(Limit { kind: Kind::Threads, connections, how })
    }

    fn files(&self) -> Option<Limit> {
        let files = self.host.files.as_ref().filter(|files| files.max < u64::MAX)?;
        let connections = files.free().saturating_sub(FILES_RESERVED);
        let how = format!(
            "a file each: fs.file-max is {}, {} are in use and {} kept free",
            grouped(files.max),
            grouped(files.used),
            grouped(FILES_RESERVED),
        );
        Some(Limit { kind: Kind::Files, connections, how })
    }

    fn memory(&self) -> Limit {
        let free = self.host.memory_free;
        let room = |shards| free.saturating_sub(self.fixed_bytes(shards));
        // Shards for what would fit without them are enough for what fits with them.
        let shards = self.shards_for(room(self.host.cores()) / FULL_BYTES);
        let shards = shards.min(shards_most(&self.machine));
        let room = room(shards);
        let how = format!(
            "{} are free, and a connection with a stream and a session takes {} bytes (idle, with \
             neither: {} bytes, so that {} fit)",
            Size { bytes: free },
            grouped(FULL_BYTES),
            grouped(IDLE_BYTES),
            grouped(room / IDLE_BYTES),
        );
        Limit { kind: Kind::Memory, connections: room / FULL_BYTES, how }
    }

    fn conntrack(&self) -> Option<Limit> {
        let conntrack = self.host.conntrack.as_ref()?;
        if conntrack.tracks != Some(true) {
            return None;
        }
        let entries = &conntrack.entries;
        let how = format!(
            "an entry each: nf_conntrack_max is {}, {} are in use",
            grouped(entries.max),
            grouped(entries.used),
        );
        Some(Limit { kind: Kind::Conntrack, connections: entries.free(), how })
    }

    /// What lifts a limit so that `wanted` connections fit it.
    pub(super) fn mend(&self, limit: &Limit, wanted: u64) -> String {
        match limit.kind {
            Kind::Tables => {
                let each = unevenly(wanted.div_ceil(self.host.cores().max(1)), self.host.cores());
                let need = each.saturating_add(256).clamp(4_096, 1 << 20);
                format!(
                    "ulimit -n {need} (LimitNOFILE={need} in a unit), or memory for more shards"
                )
            }
            Kind::Threads => "raise the control group's pids.max (docker: --pids-limit, systemd: \
                              TasksMax) and ulimit -u"
                .into(),
            Kind::Files => {
                let used = self.host.files.as_ref().map_or(0, |files| files.used);
                let need = wanted.saturating_add(used + FILES_RESERVED);
                format!("sysctl -w fs.file-max={need}")
            }
            Kind::Memory => {
                let need = Size { bytes: self.fit_bytes(wanted) };
                format!("{need} of free memory are needed: {}", self.memory_mend())
            }
            Kind::Conntrack => super::conntrack::mend(wanted),
        }
    }

    fn fit_bytes(&self, wanted: u64) -> u64 {
        let fixed = self.fixed_bytes(self.shards_for(wanted).min(shards_most(&self.machine)));
        fixed.saturating_add(wanted.saturating_mul(FULL_BYTES))
    }

    fn memory_mend(&self) -> String {
        let limit = &self.host.memory;
        match limit.source.as_str() {
            "MemTotal" => "end other programs, or add memory".into(),
            source => format!("raise {source} (docker: --memory, systemd: MemoryMax)"),
        }
    }

    /// What the clients' ends would lack on this machine.
    fn clients(&self, connections: u64, fixed: u64) -> Option<String> {
        let mut lacking = Vec::new();
        let files = connections.saturating_mul(2);
        if self.host.files.as_ref().is_some_and(|f| f.free().saturating_sub(FILES_RESERVED) < files)
        {
            lacking.push(format!("{} files", grouped(files)));
        }
        let bytes = connections.saturating_mul(FULL_BYTES + CLIENT_BYTES).saturating_add(fixed);
        if bytes > self.host.memory_free {
            lacking.push(format!("{} of free memory", Size { bytes }));
        }
        (!lacking.is_empty()).then(|| lacking.join(" and "))
    }
}

/// Room for how far above the mean a shard's number of connections may be.
fn spread(mean: u64) -> u64 {
    DEVIATIONS * (mean.isqrt() + 1)
}

/// Connections a shard of several that have `places` each, so that none is full before its time.
fn evenly(places: u64, shards: u64) -> u64 {
    if shards < 2 { places } else { places.saturating_sub(spread(places)) }
}

/// Places that shards need for a mean of so many connections.
fn unevenly(mean: u64, shards: u64) -> u64 {
    if shards < 2 { mean } else { mean.saturating_add(spread(mean)) }
}
