//! The watchdog: tells from the shards' signs of life which of them hangs in a tick, and in what.
//!
//! Lives once per process and knows no clock: it is told the time with each look. Invariant: after
//! a gap between looks (the process was stopped, the machine slept) no shard is blamed for the
//! time in which nobody could run.

use ringmesh_runtime::probe::VitalSigns;
use std::time::{Duration, Instant};

/// Time between looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A tick longer than this is logged, with the tool that runs in it.
const SLOW_AFTER: Duration = Duration::from_millis(250);
/// A tick longer than this makes the process unready.
pub(super) const UNREADY_AFTER: Duration = Duration::from_secs(5);
/// A tick longer than this ends the process: an inline tool cannot be interrupted.
pub(super) const HUNG_AFTER: Duration = Duration::from_secs(30);
/// A longer gap between looks starts all measures anew.
const GAP_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(LOOK_EVERY.as_millis() * 2 < SLOW_AFTER.as_millis());
const _: () = assert!(LOOK_EVERY.as_millis() * 5 < GAP_MAX.as_millis());

/// What a look found out about one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Within one tick for too long; told once for each such tick.
    Slow {
        /// Place of the shard.
        shard: usize,
        /// Serial number of the inline tool that runs, or 0.
        tool: u64,
        /// How long, at least.
        stuck: Duration,
    },
    /// The tick that was told as slow is over.
    Recovered {
        /// Place of the shard.
        shard: usize,
        /// How long it took, about.
        stuck: Duration,
    },
    /// Beyond hope.
    Hung {
        /// Place of the shard.
        shard: usize,
        /// Serial number of the inline tool that runs, or 0.
        tool: u64,
        /// How long, at least.
        stuck: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Measure {
    ticks: u64,
    since: Instant,
    stuck: Duration,
    told: bool,
}

/// How long each shard has been within one tick.
#[derive(Debug)]
pub(super) struct Watch {
    measures: Vec<Measure>,
    looked: Instant,
}

impl Watch {
    /// Nothing known yet about `shards` shards.
    pub(super) fn new(shards: usize, now: Instant) -> Self {
        let measure = Measure { ticks: 0, since: now, stuck: Duration::ZERO, told: false };
        Self { measures: vec![measure; shards], looked: now }
    }

    /// Takes in the signs of every shard, in the order of their places.
    pub(super) fn look(
        &mut self,
        now: Instant,
        signs: impl Iterator<Item = VitalSigns>,
        mut found: impl FnMut(Finding),
    ) {
        let gap = now.saturating_duration_since(self.looked) > GAP_MAX;
        self.looked = now;
        for (shard, (measure, signs)) in self.measures.iter_mut().zip(signs).enumerate() {
            let moved = !signs.busy || signs.ticks != measure.ticks;
            if moved && measure.told {
                found(Finding::Recovered { shard, stuck: measure.stuck });
            }
            if moved || gap {
                let told = measure.told && !moved;
                *measure = Measure { ticks: signs.ticks, since: now, stuck: Duration::ZERO, told };
                continue;
            }
            measure.stuck = now.saturating_duration_since(measure.since);
            let (stuck, tool) = (measure.stuck, signs.tool);
            if stuck > HUNG_AFTER {
                found(Finding::Hung { shard, tool, stuck });
            } else if stuck > SLOW_AFTER && !measure.told {
                measure.told = true;
                found(Finding::Slow { shard, tool, stuck });
            }
        }
    }

    /// How long a shard has been within its present tick, as of the last look.
    pub(super) fn stuck(&self, shard: usize) -> Duration {
        self.measures[shard].stuck
    }

    /// The shard that has been within its tick for longest.
    pub(super) fn longest(&self) -> Option<(usize, Duration)> {
        let stuck = self.measures.iter().map(|measure| measure.stuck).enumerate();
        stuck.max_by_key(|&(_, stuck)| stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        watch: Watch,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { watch: Watch::new(2, now), now }
        }

        /// Looks every 100 ms for `ms`; shard 0 is idle, shard 1 shows `signs`.
        fn pass(&mut self, ms: u64, signs: VitalSigns) -> Vec<Finding> {
            let mut found = Vec::new();
            for _ in 0..ms / 100 {
                self.now += LOOK_EVERY;
                let idle = VitalSigns { ticks: 9, busy: false, tool: 0 };
                self.watch.look(self.now, [idle, signs].into_iter(), |finding| found.push(finding));
            }
            found
        }
    }

    fn busy(ticks: u64) -> VitalSigns {
        VitalSigns { ticks, busy: true, tool: 7 }
    }

    #[test]
    fn a_stuck_tick_is_told_once_then_ends_the_process() {
        let mut bench = Bench::new();
        assert_eq!(bench.pass(300, busy(1)), []);
        let stuck = Duration::from_millis(300);
        assert_eq!(bench.pass(100, busy(1)), [Finding::Slow { shard: 1, tool: 7, stuck }]);
        assert_eq!(bench.pass(29_700, busy(1)), []);
        assert_eq!(bench.watch.longest(), Some((1, HUNG_AFTER)));
        let found = bench.pass(100, busy(1));
        assert!(matches!(found[..], [Finding::Hung { shard: 1, tool: 7, .. }]), "{found:?}");
    }

    #[test]
    fn ticks_that_move_and_waits_are_no_hang() {
        let mut bench = Bench::new();
        for ticks in 0..500 {
            assert_eq!(bench.pass(100, busy(ticks)), []);
        }
        assert_eq!(bench.pass(60_000, VitalSigns { ticks: 500, busy: false, tool: 0 }), []);
        assert_eq!(bench.pass(300, busy(501)), []);
        assert_eq!(bench.watch.stuck(1), Duration::from_millis(200));
    }

    #[test]
    fn recovery_is_told() {
        let mut bench = Bench::new();
        assert_eq!(bench.pass(6_000, busy(1)).len(), 1);
        assert!(bench.watch.stuck(1) > UNREADY_AFTER);
        let found = bench.pass(200, busy(2));
        assert!(matches!(found[..], [Finding::Recovered { shard: 1, .. }]), "{found:?}");
        assert!(bench.watch.stuck(1) < UNREADY_AFTER);
    }

    #[test]
    fn after_a_gap_nobody_is_blamed() {
        let mut bench = Bench::new();
        bench.pass(20_000, busy(1));
        bench.now += Duration::from_secs(3_600);
        assert_eq!(bench.pass(100, busy(1)), []);
        assert_eq!(bench.watch.stuck(1), Duration::ZERO);
        assert_eq!(bench.pass(30_000, busy(1)), [], "told before the gap already");
        assert!(matches!(bench.pass(100, busy(1))[..], [Finding::Hung { .. }]));
    }
}
