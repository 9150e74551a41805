//! How long ticks take: time spent in them, how many took how long, and the slowest few.
//!
//! Lives in each shard's probe. A tick costs an addition for the time, one for its count, and one
//! comparison with the least of the slowest. Nothing allocates.
//!
//! Left out: why a tick was slow. What it handled is told; the rest is for a profiler.

/// Ticks that are kept as the slowest since the last snapshot.
pub const SLOWEST_MAX: usize = 8;

/// Places of [`Ticks::counts`].
pub const COUNTS: usize = 97;

/// Ticks of up to so many nanoseconds are not told apart: 2 to the power of it.
const FIRST_EXPONENT: u32 = 10;
/// Places for each doubling, 2 to the power of it.
const STEPS_EXPONENT: u32 = 2;
const STEPS: usize = 1 << STEPS_EXPONENT;

/// One tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// When it began, milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
    /// How long it took, ns.
    pub ns: u64,
    /// Completions that it handled.
    pub completions: u64,
    /// Requests that it answered.
    pub answered: u64,
}

/// What is known of the ticks of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    /// Time spent in ticks since the start, ns. Waits and the system calls around them are not
    /// part of a tick.
    pub busy_ns: u64,
    /// Ticks since the start by how long they took, each place up to [`bound_ns`].
    pub counts: [u64; COUNTS],
    /// Since the last snapshot, slowest first; those that never were are zero.
    slowest: [Tick; SLOWEST_MAX],
}

impl Default for Ticks {
    fn default() -> Self {
        let slowest = [Tick::default(); SLOWEST_MAX];
        Self { busy_ns: 0, counts: [0; COUNTS], slowest }
    }
}

impl Ticks {
    /// Counts a tick.
    pub fn record(&mut self, tick: Tick) {
        self.busy_ns += tick.ns;
        self.counts[place_of(tick.ns)] += 1;
        if tick.ns > self.slowest[SLOWEST_MAX - 1].ns {
            self.keep(tick);
        }
    }

    /// The slowest since the last snapshot, slowest first.
    pub fn slowest(&self) -> impl Iterator<Item = &Tick> {
        self.slowest.iter().take_while(|tick| tick.ns > 0)
    }

    /// Forgets the slowest.
    pub(crate) fn renew(&mut self) {
        self.slowest = [Tick::default(); SLOWEST_MAX];
    }

    fn keep(&mut self, tick: Tick) {
        let at = self.slowest.partition_point(|known| known.ns >= tick.ns);
        self.slowest[at..].rotate_right(1);
        self.slowest[at] = tick;
    }
}

/// Place of a tick in [`Ticks::counts`]: four for each doubling.
fn place_of(ns: u64) -> usize {
    if ns >> FIRST_EXPONENT == 0 {
        return 0;
    }
    let exponent = ns.ilog2();
    let step = ns >> (exponent - STEPS_EXPONENT) & (STEPS as u64 - 1);
    let place = u64::from(exponent - FIRST_EXPONENT) * STEPS as u64 + step + 1;
    usize::try_from(place).map_or(COUNTS - 1, |place| place.min(COUNTS - 1))
}

/// What ticks of a place of [`Ticks::counts`] took less than, ns; those of the last place may have
/// taken longer.
pub const fn bound_ns(place: usize) -> u64 {
    if place == 0 {
        return 1 << FIRST_EXPONENT;
    }
    let (doublings, step) = ((place - 1) / STEPS, (place - 1) % STEPS);
    ((STEPS + step + 1) as u64) << (FIRST_EXPONENT as usize + doublings - STEPS_EXPONENT as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(ns: u64) -> Tick {
        Tick { unix_ms: 1, ns, completions: 2, answered: 3 }
    }

    #[test]
    fn every_time_has_the_place_whose_bounds_hold_it() {
        assert_eq!((place_of(0), place_of(1_023), place_of(1_024)), (0, 0, 1));
        assert_eq!(
            (bound_ns(0), bound_ns(1), bound_ns(4), bound_ns(5)),
            (1_024, 1_280, 2_048, 2_560)
        );
        let mut ns = 1;
        while ns < bound_ns(COUNTS - 1) {
            let place = place_of(ns);
            assert!(ns < bound_ns(place), "{ns}");
            assert!(place == 0 || ns >= bound_ns(place - 1), "{ns}");
            ns += 1 + ns / 7;
        }
        assert_eq!(place_of(u64::MAX), COUNTS - 1);
        assert!(bound_ns(COUNTS - 1) > 10_000_000_000);
    }

    #[test]
    fn the_slowest_are_kept_in_order_and_forgotten() {
        let mut ticks = Ticks::default();
        ticks.record(tick(0));
        assert_eq!(ticks.slowest().count(), 0);
        for ns in [5, 900, 7, 7, 3, 100, 1, 80, 2, 60, 901] {
            ticks.record(tick(ns));
        }
        let kept: Vec<_> = ticks.slowest().map(|tick| tick.ns).collect();
        assert_eq!(kept, [901, 900, 100, 80, 60, 7, 7, 5]);
        assert_eq!(ticks.slowest().next(), Some(&tick(901)));
        assert_eq!((ticks.busy_ns, ticks.counts[0]), (2_066, 12));
        ticks.renew();
        assert_eq!((ticks.slowest().count(), ticks.busy_ns), (0, 2_066));
        ticks.record(tick(4));
        assert_eq!(ticks.slowest().count(), 1);
    }
}
