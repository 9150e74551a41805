//! What the process as a whole is doing: set by boot, read by everybody.
//!
//! Lives once per process. Invariant: phases only advance. Left out: what a single shard does
//! ([`ringmesh_runtime::probe`]).

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the process is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Shards are coming up; not all of them accept yet.
    Starting,
    /// All shards accept.
    Ready,
    /// No new connections; what is in flight finishes.
    Draining,
    /// The shards are gone; the control plane ends.
    Stopped,
}

impl Phase {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Draining, Self::Stopped];

    /// Name in metrics and reports.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The phase of the process, when it started, and a short summary of how it is doing.
pub(crate) struct ServerState {
    phase: AtomicU8,
    started: Instant,
    started_unix_ms: u64,
    summary: ArcSwap<String>,
}

impl ServerState {
    /// A process that starts now.
    pub(crate) fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            started: Instant::now(),
            started_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            summary: ArcSwap::from_pointee(String::from(r#"{"phase":"starting"}"#)),
        }
    }

    /// All shards accept.
    pub(crate) fn set_ready(&self) {
        self.advance(Phase::Ready);
    }

    /// The process takes no more connections.
    pub(crate) fn set_draining(&self) {
        self.advance(Phase::Draining);
    }

    /// The shards are gone; the control plane ends.
    pub(crate) fn set_stopped(&self) {
        self.advance(Phase::Stopped);
    }

    /// A step back is ignored, so that a late "ready" cannot undo a drain.
    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Time since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the process started, in ms since 1970.
    pub(crate) fn started_unix_ms(&self) -> u64 {
        self.started_unix_ms
    }

    /// A JSON object of a few numbers (phase, uptime, shards, connections, streams,
    /// subscriptions, calls, requests), at most about a second old. Cheap: the control plane
    /// renders it, and a reader copies some 200 bytes without waiting, on a shard too.
    pub(crate) fn summary_json(&self) -> String {
        self.summary.load().as_str().to_owned()
    }

    /// Replaces the summary.
    pub(super) fn publish(&self, summary: String) {
        self.summary.store(Arc::new(summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_advance() {
        let state = ServerState::new();
        assert_eq!(state.phase(), Phase::Starting);
        for (set, is) in [
            (Phase::Ready, Phase::Ready),
            (Phase::Draining, Phase::Draining),
            (Phase::Ready, Phase::Draining),
            (Phase::Stopped, Phase::Stopped),
        ] {
            state.advance(set);
            assert_eq!(state.phase(), is);
        }
    }
}
