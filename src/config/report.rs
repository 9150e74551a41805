//! A plan as people read it: at start, and from `--check`.

use std::fmt;
use std::net::SocketAddr;

use ringmesh_runtime::limits::{Limits, REFUSAL_SLOTS};

use super::cpus::List;
use super::plan::Plan;
use super::units::{Size, Span};

/// Several lines, each with a name in front, without a line break at the end.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, buffers, threads, .. } = self;
        if let Some(file) = &self.file {
            writeln!(f, "file         {}", file.display())?;
        }
        if self.stdio {
            writeln!(f, "stdio        one client; no listener, no io_uring, no admin")?;
        } else {
            self.write_listeners(f)?;
        }
        writeln!(
            f,
            "pools        {} async threads, {} blocking threads, {} calls in flight a shard",
            threads.for_async, threads.for_blocking, limits.calls_max,
        )?;
        if self.stdio {
            writeln!(f, "streams      {}", limits.streams_max)?;
        } else {
            self.write_connections(f)?;
        }
        writeln!(
            f,
            "bytes        body {}, waiting for a reader {}, budget {} a shard, {} receive buffers \
             of {}",
            size(limits.body_bytes_max),
            size(limits.send_bytes_max),
            size(limits.budget_bytes),
            buffers.count,
            Size { bytes: buffers.bytes.into() },
        )?;
        write_times(limits, self.grace_ms, f)?;
        let key = if self.state_secret.is_some() { "shared, from a file" } else { "random" };
        writeln!(f, "state key    {key}")?;
        self.write_memory(f)?;
        for note in &self.notes {
            write!(f, "\nnote         {note}")?;
        }
        for warning in &self.warnings {
            write!(f, "\nwarning      {warning}")?;
        }
        Ok(())
    }
}

impl Plan {
    fn write_listeners(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |addresses: &[SocketAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        if !self.http.is_empty() {
            writeln!(f, "http         {} path {}", all(&self.http), self.path)?;
        }
        if !self.tcp.is_empty() {
            writeln!(f, "tcp          {}", all(&self.tcp))?;
        }
        for path in &self.unix {
            writeln!(f, "unix         {}", path.display())?;
        }
        writeln!(f, "admin        {}", self.admin)?;
        self.write_allowed(f)?;
        match self.cpus.as_slice() {
            [] => writeln!(f, "shards       {}, not pinned", self.shards),
            cpus => writeln!(f, "shards       {} on cpus {}", self.shards, List(cpus)),
        }
    }

    fn write_connections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.limits;
        writeln!(
            f,
            "connections  {} a shard ({} in all; {REFUSAL_SLOTS} more places answer refusals), {} \
             streams a shard",
            limits.connections_max,
            u64::from(self.shards) * u64::from(limits.connections_max),
            limits.streams_max,
        )?;
        let loopback = if limits.bounds_loopback_sessions { "" } else { " (loopback: no bound)" };
        writeln!(
            f,
            "sessions     {} a shard, {} of one address{loopback}; each keeps {} events of {} for \
             {}",
            limits.sessions_max,
            limits.sessions_per_address_max,
            limits.session_events_max,
            size(limits.session_event_bytes_max),
            Span { ms: limits.session_event_age_ms },
        )
    }

    fn write_allowed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.allowed.hosts.is_empty() {
            writeln!(f, "hosts        loopback, {}", self.allowed.hosts.join(", "))?;
        }
        if !self.allowed.origins.is_empty() {
            writeln!(f, "origins      loopback, {}", self.allowed.origins.join(", "))?;
        }
        Ok(())
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.memory;
        let size = |bytes| Size { bytes };
        write!(
            f,
            "memory       {} at most; at rest: process {}, shards {}, connections {} here and {} \
             in the kernel, sessions {}; at work: calls and sends {}, byte budgets {}",
            size(memory.total()),
            size(memory.process),
            size(memory.shards),
            size(memory.connections),
            size(memory.kernel),
            size(memory.sessions),
            size(memory.work),
            size(memory.budget),
        )
    }
}

fn write_times(limits: &Limits, grace_ms: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let span = |ms| Span { ms };
    writeln!(
        f,
        "time-outs    head {}, body {}, idle {}, send {}, tool {}, session {}, input {}; keep-alive \
         every {}; grace {}",
        span(limits.head_timeout_ms),
        span(limits.body_timeout_ms),
        span(limits.idle_timeout_ms),
        span(limits.send_timeout_ms),
        span(limits.tool_timeout_ms),
        span(limits.session_timeout_ms),
        span(limits.input_timeout_ms),
        span(limits.keep_alive_ms),
        span(grace_ms),
    )
}

fn size(bytes: usize) -> Size {
    Size { bytes: bytes as u64 }
}
