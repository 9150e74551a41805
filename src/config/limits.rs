//! The bounds and time-outs of a shard: what was chosen, or what fits the machine.

use ringmesh_runtime::limits::{Limits, REFUSAL_SLOTS};

use super::error::ConfigError;
use super::memory::{Memory, connections_in};
use super::resolve::{Resolver, to_u32, to_usize};
use super::settings::Settings;
use super::units::Size;

const CALLS_MAX: u64 = 1 << 16;
/// Entries that the kernel allows in a table of direct descriptors (`IORING_MAX_FIXED_FILES`).
const TABLE_MAX: u64 = 1 << 20;
/// Entries of a table that a default takes: a limit of files may be set to a billion without a
/// thought for what a table costs.
const TABLE_DEFAULT_MAX: u64 = 1 << 17;
/// A limit of files that lets a small server run.
const NOFILE_SOUND: u64 = 4096;
/// A shard with less could not hold a few requests.
const BUDGET_MIN: u64 = 256 << 10;
/// The default budget is this part of the memory.
const BUDGET_PART: u64 = 4;
/// Idle connections may take this part of the memory by default.
const CONNECTIONS_PART: u64 = 2;
/// One client address may hold this part of the sessions.
const SESSIONS_PER_ADDRESS_PART: u64 = 4;
const SESSION_EVENTS_MAX: u64 = 1 << 20;
/// Streams of the one client of standard input: they share its connection.
const STDIO_STREAMS: u64 = 1_024;
/// A year.
const STDIO_IDLE_MS: u64 = 365 * 24 * 60 * 60 * 1_000;
/// Any bound of bytes: less would refuse plain requests.
const BOUND_BYTES_MIN: u64 = 1024;

/// Connections that a shard can have where RLIMIT_NOFILE is `nofile`.
pub(crate) fn places_of(nofile: u64) -> u64 {
    nofile.min(TABLE_MAX).saturating_sub(u64::from(REFUSAL_SLOTS))
}

/// Shards whose least budgets fit the part of the memory that budgets have by default.
pub(super) fn shards_in(memory_bytes: u64) -> u64 {
    memory_bytes / BUDGET_PART / BUDGET_MIN
}

impl Resolver<'_> {
    pub(super) fn limits(&mut self, shards: u64) -> Result<Limits, ConfigError> {
        // A table of direct descriptors is io_uring's alone.
        let (connections, streams) = match self.source.stdio {
            true => (1, STDIO_STREAMS),
            false => self.connections(shards).map(|fit| (fit, u64::from(fit)))?,
        };
        let streams =
            self.number("streams-max", |s| &s.streams_max, 0, u32::MAX.into(), streams)?;
        let base = Limits::default();
        let calls = u64::from(base.calls_max);
        let calls = self.number("calls-max", |s| &s.calls_max, 1, CALLS_MAX, calls)?;
        let budget = self.budget(shards)?;
        let body = (base.body_bytes_max, budget / 2);
        let body = self.within_budget("body-max", |s| &s.body_max, body, budget)?;
        let send = (base.send_bytes_max, budget);
        let send = self.within_budget("send-max", |s| &s.send_max, send, budget)?;
        // A client that said nothing for long has not gone: it would close standard input.
        let idle = if self.source.stdio { STDIO_IDLE_MS } else { base.idle_timeout_ms };
        let head = base.head_timeout_ms;
        let (receive, reply) = (base.body_timeout_ms, base.send_timeout_ms);
        let (tool, alive) = (base.tool_timeout_ms, base.keep_alive_ms);
        let base = self.sessions(base, connections, budget)?;
        Ok(Limits {
            connections_max: connections,
            streams_max: to_u32(streams),
            calls_max: to_u32(calls),
            body_bytes_max: body,
            send_bytes_max: send,
            budget_bytes: to_usize(budget),
            head_timeout_ms: self.span("head-timeout", |s| &s.head_timeout, 1, head)?,
            body_timeout_ms: self.span("body-timeout", |s| &s.body_timeout, 1, receive)?,
            idle_timeout_ms: self.span("idle-timeout", |s| &s.idle_timeout, 1, idle)?,
            send_timeout_ms: self.span("send-timeout", |s| &s.send_timeout, 1, reply)?,
            tool_timeout_ms: self.span("tool-timeout", |s| &s.tool_timeout, 1, tool)?,
            keep_alive_ms: self.span("keep-alive", |s| &s.keep_alive, 1_000, alive)?,
            ..base
        })
    }

    /// Sessions, and what they keep.
    fn sessions(&self, base: Limits, connections: u32, budget: u64) -> Result<Limits, ConfigError> {
        let most = u64::from(u32::MAX);
        let sessions =
            self.number("sessions-max", |s| &s.sessions_max, 0, most, connections.into())?;
        let part = (sessions / SESSIONS_PER_ADDRESS_PART).max(1);
        let key = "sessions-per-address-max";
        let per_address = self.number(key, |s| &s.sessions_per_address_max, 1, most, part)?;
        let events = u64::from(base.session_events_max);
        let (key, most) = ("session-events-max", SESSION_EVENTS_MAX);
        let events = self.number(key, |s| &s.session_events_max, 0, most, events)?;
        let bytes = (base.session_event_bytes_max as u64).min(budget);
        let key = "session-event-bytes";
        let bytes = self.size(key, |s| &s.session_event_bytes, 0, budget, bytes)?;
        let (timeout, input) = (base.session_timeout_ms, base.input_timeout_ms);
        let age = base.session_event_age_ms;
        Ok(Limits {
            sessions_max: to_u32(sessions),
            sessions_per_address_max: to_u32(per_address),
            bounds_loopback_sessions: self
                .source
                .chosen("sessions-per-address-max", |s| &s.sessions_per_address_max)
                .is_some(),
            session_timeout_ms: self.span("session-timeout", |s| &s.session_timeout, 1, timeout)?,
            input_timeout_ms: self.span("input-timeout", |s| &s.input_timeout, 1, input)?,
            session_events_max: to_u32(events),
            session_event_bytes_max: to_usize(bytes),
            session_event_age_ms: self.span(
                "session-event-age",
                |s| &s.session_event_age,
                1,
                age,
            )?,
            ..base
        })
    }

    /// Connections of a shard: each has an entry of the table of direct descriptors, which holds
    /// RLIMIT_NOFILE entries; the entries that are kept free answer refusals.
    fn connections(&mut self, shards: u64) -> Result<u32, ConfigError> {
        let refusals = u64::from(REFUSAL_SLOTS);
        let nofile = self.machine.nofile;
        let fit = places_of(nofile);
        if fit == 0 {
            return Err(ConfigError::config(format!(
                "RLIMIT_NOFILE is {nofile} and {refusals} entries of each shard's table answer \
                 refusals: raise it with ulimit -n {NOFILE_SOUND} (LimitNOFILE={NOFILE_SOUND} in \
                 a unit)"
            )));
        }
        if let Some(chosen) = self.source.chosen("connections-max", |s| &s.connections_max) {
            let asked = u64::from(chosen.value.0);
            if asked == 0 {
                return Err(chosen.wrong(0, format!("use 1 to {fit}")));
            }
            if asked > TABLE_MAX - refusals {
                let most = TABLE_MAX - refusals;
                let mend = format!("a shard holds at most {most}: use more --shards");
                return Err(chosen.unfit(asked, mend));
            }
            if asked > fit {
                let need = asked + refusals;
                let mend = format!(
                    "RLIMIT_NOFILE is {nofile} and {refusals} entries answer refusals, so {fit} \
                     fit each shard: raise it with ulimit -n {need} (LimitNOFILE={need} in a \
                     unit), or use more --shards"
                );
                return Err(chosen.unfit(asked, mend));
            }
            return Ok(chosen.value.0);
        }
        let share = self.machine.memory.bytes / CONNECTIONS_PART / shards;
        let by_memory = connections_in(share);
        let by_default = TABLE_DEFAULT_MAX - refusals;
        let most = fit.min(by_memory).min(by_default).max(1);
        let why = if most == fit {
            format!("what RLIMIT_NOFILE of {nofile} holds less {refusals} (more: ulimit -n)")
        } else if most == by_default {
            "the default at most (more: --connections-max)".to_owned()
        } else {
            let memory = &self.machine.memory;
            let (size, source) = (Size { bytes: memory.bytes }, &memory.source);
            format!("what half of {size} ({source}) holds (more: --connections-max)")
        };
        self.notes.push(format!("connections-max {most}: {why}"));
        Ok(to_u32(most))
    }

    /// The byte budget of a shard.
    fn budget(&mut self, shards: u64) -> Result<u64, ConfigError> {
        let memory = &self.machine.memory;
        let (size, source) = (Size { bytes: memory.bytes }, &memory.source);
        let least = shards * BUDGET_MIN;
        if let Some(chosen) = self.source.chosen("memory-max", |s| &s.memory_max) {
            let asked = chosen.value.bytes;
            if asked < least {
                let least = Size { bytes: least };
                let mend = format!("{shards} shards need {least} or more, or use fewer --shards");
                return Err(chosen.wrong(chosen.value, mend));
            }
            if asked > memory.bytes {
                let mend = format!("the memory is {size} ({source}): use less");
                return Err(chosen.unfit(chosen.value, mend));
            }
            return Ok(asked / shards);
        }
        let part = memory.bytes / BUDGET_PART;
        if part < least {
            return Err(ConfigError::config(format!(
                "{shards} shards need a byte budget of {} and a quarter of {size} ({source}) is \
                 less: use fewer --shards, or raise the limit",
                Size { bytes: least },
            )));
        }
        let total = Size { bytes: part };
        self.notes.push(format!("memory-max {total}: a quarter of {size} ({source})"));
        Ok(part / shards)
    }

    /// A bound of bytes that cannot exceed the budget of a shard. Its default is `usual`, or
    /// `most` where that is less.
    fn within_budget(
        &mut self,
        key: &'static str,
        of: impl Fn(&Settings) -> &Option<Size>,
        (usual, most): (usize, u64),
        budget: u64,
    ) -> Result<usize, ConfigError> {
        let budget_size = Size { bytes: budget };
        let Some(chosen) = self.source.chosen(key, of) else {
            let most = to_usize(most);
            if most < usual {
                let size = Size { bytes: most as u64 };
                let why = format!("the byte budget of a shard is {budget_size}");
                self.notes.push(format!("{key} {size}: {why}"));
            }
            return Ok(usual.min(most));
        };
        let (size, bytes) = (chosen.value, chosen.value.bytes);
        if bytes < BOUND_BYTES_MIN {
            let least = Size { bytes: BOUND_BYTES_MIN };
            return Err(chosen.wrong(size, format!("use {least} or more")));
        }
        if bytes > budget {
            let mend = format!(
                "the byte budget of a shard is {budget_size}: use less, raise --memory-max, or \
                 use fewer --shards"
            );
            return Err(chosen.unfit(size, mend));
        }
        Ok(to_usize(bytes))
    }

    pub(super) fn memory_fits(&mut self, memory: &Memory) {
        let limit = &self.machine.memory;
        if memory.total() > limit.bytes {
            let (need, have) = (Size { bytes: memory.total() }, Size { bytes: limit.bytes });
            self.warnings.push(format!(
                "the plan needs {need} at most and the memory is {have} ({}): lower \
                 --connections-max or --memory-max",
                limit.source,
            ));
        }
    }
}
