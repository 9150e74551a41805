//! Whether the process is started, alive and ready, as its orchestrator asks.

use super::state::Phase;
use super::watch::{HUNG_AFTER, UNREADY_AFTER};
use serde::Serialize;
use std::time::Duration;

/// What the verdicts are drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Findings {
    /// The phase of the process.
    pub(super) phase: Phase,
    /// The shard that has been within its tick for longest, and how long.
    pub(super) stuck: Option<(u16, Duration)>,
    /// A shard that leaves questions unanswered.
    pub(super) silent: Option<u16>,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Whether it is so.
    pub(super) ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// The three verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    /// `ok`, or `failing` where one of the three does not hold.
    pub(super) status: &'static str,
    /// The phase of the process.
    pub(super) phase: &'static str,
    /// `/startupz`: the shards once accepted.
    pub(super) started: Check,
    /// `/livez`: a restart would gain nothing.
    pub(super) live: Check,
    /// `/readyz`: new clients are welcome.
    pub(super) ready: Check,
}

impl Check {
    fn of(reason: Option<String>) -> Self {
        Self { ok: reason.is_none(), reason }
    }
}

impl Health {
    /// Draws the verdicts.
    pub(super) fn judge(findings: Findings) -> Self {
        let Findings { phase, stuck, silent } = findings;
        let stuck_over = |bound: Duration| {
            let (shard, stuck) = stuck.filter(|&(_, stuck)| stuck > bound)?;
            Some(format!("shard {shard} has been within one tick for {} s", stuck.as_secs()))
        };
        let starting = (phase == Phase::Starting).then(|| "starting".to_owned());
        let unready = match phase {
            Phase::Ready => stuck_over(UNREADY_AFTER)
                .or_else(|| silent.map(|shard| format!("shard {shard} does not answer"))),
            other => Some(other.label().to_owned()),
        };
        let (started, live) = (Check::of(starting), Check::of(stuck_over(HUNG_AFTER)));
        let ready = Check::of(unready);
        let ok = started.ok && live.ok && ready.ok;
        let status = if ok { "ok" } else { "failing" };
        Self { status, phase: phase.label(), started, live, ready }
    }

    /// Whether all three hold.
    pub(super) fn ok(&self) -> bool {
        self.started.ok && self.live.ok && self.ready.ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(phase: Phase, stuck_s: u64, silent: Option<u16>) -> (bool, bool, bool) {
        let stuck = Some((3, Duration::from_secs(stuck_s)));
        let health = Health::judge(Findings { phase, stuck, silent });
        (health.started.ok, health.live.ok, health.ready.ok)
    }

    #[test]
    fn each_verdict_follows_its_own_rule() {
        for (phase, stuck_s, silent, expected) in [
            (Phase::Starting, 0, None, (false, true, false)),
            (Phase::Ready, 0, None, (true, true, true)),
            (Phase::Ready, 5, None, (true, true, true)),
            (Phase::Ready, 6, None, (true, true, false)),
            (Phase::Ready, 31, None, (true, false, false)),
            (Phase::Ready, 0, Some(2), (true, true, false)),
            (Phase::Draining, 0, None, (true, true, false)),
            (Phase::Draining, 0, Some(2), (true, true, false)),
        ] {
            assert_eq!(verdicts(phase, stuck_s, silent), expected, "{phase:?} {stuck_s} s");
        }
    }

    #[test]
    fn reasons_name_the_shard() {
        let stuck = Some((3, Duration::from_secs(7)));
        let health = Health::judge(Findings { phase: Phase::Ready, stuck, silent: None });
        let reason = "shard 3 has been within one tick for 7 s";
        assert_eq!(health.ready.reason.as_deref(), Some(reason));
        assert_eq!((health.status, health.ok()), ("failing", false));
    }
}
