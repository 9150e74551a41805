//! From settings and machine to a plan: every default, every check, and what each says.

use std::fmt::Display;
use std::net::SocketAddr;

use ringmesh_runtime::limits::{ACCEPTS_ARMED, Allowed, Limits, REFUSAL_SLOTS};
use tracing_subscriber::EnvFilter;

use super::cpus::List;
use super::error::ConfigError;
use super::limits::shards_in;
use super::listeners::Listeners;
use super::machine::Machine;
use super::memory::{Memory, Sizes};
use super::plan::{Buffers, Plan, Threads, ring_config};
use super::secret;
use super::settings::{Chosen, Settings, Source};
use super::units::{Count, Size, Span};

/// Shards are threads: more than this is a typing error.
const SHARDS_MAX: u64 = 1024;
const THREADS_MAX: u64 = 4096;
/// Descriptors of the process besides those of shards: standard streams, control plane, pools,
/// admin connections, and what tools open.
const DESCRIPTORS_RESERVED: u64 = 128;
/// Descriptors of a shard besides its listeners: its ring and its doorbell.
const SHARD_DESCRIPTORS: u64 = 2;
const PATH_BYTES_MAX: usize = 256;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

const PATH_DEFAULT: &str = "/mcp";
const LOG_DEFAULT: &str = "info";
const GRACE_DEFAULT_MS: u64 = 25_000;
const ASYNC_THREADS_DEFAULT_MAX: usize = 4;
const BLOCKING_THREADS_DEFAULT: u64 = 16;
const BUFFERS_DEFAULT: Buffers = Buffers { count: 256, bytes: 4096 };

/// Resolves a plan.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn resolve(source: &Source, machine: &Machine) -> Result<Plan, ConfigError> {
    let mut resolver = Resolver { source, machine, notes: Vec::new(), warnings: Vec::new() };
    resolver.plan()
}

/// Shards that a machine can have, each with one listener.
pub(crate) fn shards_most(machine: &Machine) -> u64 {
    let by_descriptors =
        machine.nofile.saturating_sub(DESCRIPTORS_RESERVED) / (SHARD_DESCRIPTORS + 1);
    SHARDS_MAX.min(by_descriptors).min(shards_in(machine.memory.bytes))
}

pub(super) struct Resolver<'a> {
    pub(super) source: &'a Source,
    pub(super) machine: &'a Machine,
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Resolver<'_> {
    fn plan(&mut self) -> Result<Plan, ConfigError> {
        let stdio = self.source.stdio;
        let Listeners { http, tcp, unix, admin } = self.listeners()?;
        let path = self.path()?;
        let allowed = self.allowed(&http)?;
        let (shards, cpus) = if stdio { (1, Vec::new()) } else { self.shards()? };
        if !stdio {
            self.descriptors(shards, (http.len() + tcp.len() + unix.len()) as u64)?;
        }
        let threads = self.threads()?;
        let ring = crate::stdio::sizes();
        let buffers = match stdio {
            true => Buffers { count: ring.buffers, bytes: ring.buffer_bytes },
            false => self.buffers()?,
        };
        let limits = self.limits(shards)?;
        if !stdio {
            accepts_fit(http.len() + tcp.len() + unix.len(), &limits)?;
        }
        let grace_ms = self.span("grace", |s| &s.grace, 0, GRACE_DEFAULT_MS)?;
        let state_secret = self.state_secret()?;
        let log = self.log()?;
        let sizes = Sizes {
            shards,
            ring: if stdio { ring } else { ring_config(&limits, buffers) },
            connections: u64::from(limits.connections_max),
            streams: u64::from(limits.streams_max),
            lines: stdio || !tcp.is_empty() || !unix.is_empty(),
            sessions: u64::from(limits.sessions_max),
            calls: u64::from(limits.calls_max),
            budget: limits.budget_bytes as u64,
            threads: (threads.for_async + threads.for_blocking) as u64,
        };
        let memory = Memory::of(&sizes);
        self.memory_fits(&memory);
        Ok(Plan {
            stdio,
            http,
            tcp,
            unix,
            admin,
            path,
            allowed,
            shards: u16::try_from(shards).expect("at most SHARDS_MAX"),
            cpus,
            threads,
            buffers,
            limits,
            grace_ms,
            state_secret,
            log,
            file: self.source.file.as_ref().map(|file| file.path().to_path_buf()),
            memory,
            notes: std::mem::take(&mut self.notes),
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    fn path(&self) -> Result<String, ConfigError> {
        let Some(chosen) = self.source.chosen("path", |s| &s.path) else {
            return Ok(PATH_DEFAULT.into());
        };
        let path = &chosen.value;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&byte);
        if !path.starts_with('/') || path.len() > PATH_BYTES_MAX || !path.bytes().all(plain) {
            return Err(chosen.wrong(quoted(path), "write a plain path such as /mcp"));
        }
        Ok(chosen.value)
    }

    fn allowed(&mut self, http: &[SocketAddr]) -> Result<Allowed, ConfigError> {
        let blank = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
        let hosts = self.source.chosen("allow-host", |s| &s.allow_host);
        if let Some(chosen) = &hosts {
            let wrong = chosen.value.iter().find(|host| blank(host) || host.contains('/'));
            if let Some(host) = wrong {
                let mend = "write a host such as mcp.example, without scheme and path";
                return Err(chosen.wrong(quoted(host), mend));
            }
        }
        let origins = self.source.chosen("allow-origin", |s| &s.allow_origin);
        if let Some(chosen) = &origins {
            let good = |origin: &str| {
                let host = origin.split_once("://").map_or("", |(_, host)| host);
                origin == "*" || !blank(host) && !host.contains('/') && !blank(origin)
            };
            if let Some(origin) = chosen.value.iter().find(|origin| !good(origin)) {
                let mend = "write scheme and host such as https://app.example, without a path";
                return Err(chosen.wrong(quoted(origin), mend));
            }
        }
        let exposed = http.iter().find(|address| !address.ip().is_loopback());
        if let (Some(address), None) = (exposed, &hosts) {
            self.warnings.push(format!(
                "{address} can be reached under names that are not answered (only localhost, \
                 127.0.0.1 and [::1] are): add --allow-host NAME for each"
            ));
        }
        Ok(Allowed {
            hosts: hosts.map_or(Vec::new(), |chosen| chosen.value),
            origins: origins.map_or(Vec::new(), |chosen| chosen.value),
        })
    }

    /// How many shards, and the cpus they are pinned to.
    fn shards(&mut self) -> Result<(u64, Vec<usize>), ConfigError> {
        let chosen_cpus = self.source.chosen("cpus", |s| &s.cpus);
        let mut cpus = self.machine.cpus.clone();
        let mut shards = cpus.len() as u64;
        if let Some(chosen) = chosen_cpus {
            cpus = chosen.value.as_slice().to_vec();
            shards = cpus.len() as u64;
            if let Some(foreign) = cpus.iter().find(|cpu| !self.machine.cpus.contains(cpu)) {
                let mine = List(&self.machine.cpus);
                let mend = format!("cpu {foreign} is not this process's: choose from {mine}");
                return Err(chosen.unfit(&chosen.value, mend));
            }
        } else if let Some(quota) = self.machine.cpu_quota {
            self.notes.push(format!(
                "shards {quota}, not pinned: a control group allows the time of {quota} of {} cpus \
                 (pin them with --cpus)",
                cpus.len(),
            ));
            (shards, cpus) = (quota as u64, Vec::new());
        }
        let default = shards.clamp(1, SHARDS_MAX);
        let shards = self.number("shards", |s| &s.shards, 1, SHARDS_MAX, default)?;
        Ok((shards, cpus))
    }

    fn descriptors(&self, shards: u64, listeners: u64) -> Result<(), ConfigError> {
        let need = DESCRIPTORS_RESERVED + shards * (SHARD_DESCRIPTORS + listeners);
        let nofile = self.machine.nofile;
        if need > nofile {
            return Err(ConfigError::config(format!(
                "{shards} shards need {need} open files and RLIMIT_NOFILE is {nofile}: raise it \
                 with ulimit -n {need} (LimitNOFILE={need} in a unit), or use fewer --shards"
            )));
        }
        Ok(())
    }

    fn threads(&self) -> Result<Threads, ConfigError> {
        let cpus = self.machine.cpu_quota.unwrap_or(self.machine.cpus.len());
        let cpus = cpus.clamp(1, ASYNC_THREADS_DEFAULT_MAX) as u64;
        let for_async = self.number("async-threads", |s| &s.async_threads, 1, THREADS_MAX, cpus)?;
        let for_blocking = self.number(
            "blocking-threads",
            |s| &s.blocking_threads,
            1,
            THREADS_MAX,
            BLOCKING_THREADS_DEFAULT,
        )?;
        Ok(Threads { for_async: to_usize(for_async), for_blocking: to_usize(for_blocking) })
    }

    fn buffers(&self) -> Result<Buffers, ConfigError> {
        let Buffers { mut count, .. } = BUFFERS_DEFAULT;
        if let Some(chosen) = self.source.chosen("buffers", |s| &s.buffers) {
            let asked = u16::try_from(chosen.value.0).ok();
            let fit = asked.filter(|n| n.is_power_of_two() && (8..=1 << 15).contains(n));
            let mend = "use a power of two from 8 to 32768";
            count = fit.ok_or_else(|| chosen.wrong(chosen.value.0, mend))?;
        }
        let default = u64::from(BUFFERS_DEFAULT.bytes);
        let bytes = self.size("buffer-bytes", |s| &s.buffer_bytes, 512, 1 << 20, default)?;
        Ok(Buffers { count, bytes: to_u32(bytes) })
    }

    fn state_secret(&mut self) -> Result<Option<secret::Secret>, ConfigError> {
        let Some(chosen) = self.source.chosen("state-key-file", |s| &s.state_key_file) else {
            return Ok(None);
        };
        let path = chosen.value.display();
        let (secret, exposed) =
            secret::read(&chosen.value).map_err(|wrong| chosen.unfit(&path, wrong))?;
        if exposed {
            self.warnings
                .push(format!("the secret in {path} can be read by every user: chmod o= {path}"));
        }
        Ok(Some(secret))
    }

    fn log(&self) -> Result<String, ConfigError> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let Some(chosen) = self.source.chosen("log", |s| &s.log) else {
            return Ok(LOG_DEFAULT.into());
        };
        // A filter takes any word for a target: a misspelt level would silence everything else.
        let meant = |part: &str| part.contains(['=', '[']) || LEVELS.contains(&part);
        let filter = &chosen.value;
        if !filter.split(',').all(meant) || EnvFilter::builder().parse(filter).is_err() {
            let mend = "use error, warn, info, debug, trace, or a filter such as \
                        info,ringmesh=debug";
            return Err(chosen.wrong(quoted(filter), mend));
        }
        Ok(chosen.value)
    }

    pub(super) fn number(
        &self,
        key: &'static str,
        of: impl Fn(&Settings) -> &Option<Count>,
        least: u64,
        most: u64,
        default: u64,
    ) -> Result<u64, ConfigError> {
        let chosen = self.source.chosen(key, of);
        in_range(chosen, |count| u64::from(count.0), least..=most, |n| n, default)
    }

    pub(super) fn size(
        &self,
        key: &'static str,
        of: impl Fn(&Settings) -> &Option<Size>,
        least: u64,
        most: u64,
        default: u64,
    ) -> Result<u64, ConfigError> {
        let chosen = self.source.chosen(key, of);
        in_range(chosen, |size| size.bytes, least..=most, |bytes| Size { bytes }, default)
    }

    /// Time-outs end at a day, beyond which they are none.
    pub(super) fn span(
        &self,
        key: &'static str,
        of: impl Fn(&Settings) -> &Option<Span>,
        least_ms: u64,
        default_ms: u64,
    ) -> Result<u64, ConfigError> {
        let chosen = self.source.chosen(key, of);
        in_range(chosen, |span| span.ms, least_ms..=DAY_MS, |ms| Span { ms }, default_ms)
    }
}

/// Every listener has accepts armed, each with a place kept for the connection that it brings: one
/// that finds no places for any would never be served.
fn accepts_fit(listeners: usize, limits: &Limits) -> Result<(), ConfigError> {
    let need = listeners as u64 * u64::from(ACCEPTS_ARMED);
    let places = u64::from(limits.connections_max) + u64::from(REFUSAL_SLOTS);
    if need > places {
        let most = need - u64::from(REFUSAL_SLOTS);
        return Err(ConfigError::config(format!(
            "{listeners} listeners take {need} places of a shard that has {places}: use \
             --connections-max {most} or more, or fewer listeners"
        )));
    }
    Ok(())
}

fn in_range<T, S: Display>(
    chosen: Option<Chosen<T>>,
    number: impl Fn(&T) -> u64,
    range: std::ops::RangeInclusive<u64>,
    shown: impl Fn(u64) -> S,
    default: u64,
) -> Result<u64, ConfigError> {
    let Some(chosen) = chosen else { return Ok(default) };
    let value = number(&chosen.value);
    if !range.contains(&value) {
        let (least, most) = (shown(*range.start()), shown(*range.end()));
        return Err(chosen.wrong(shown(value), format!("use {least} to {most}")));
    }
    Ok(value)
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Saturating: bounds were checked, and a larger one would be no bound anyway.
pub(super) fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
