//! The clock of the shards: the one place in `shards/` that asks the machine for the time.

use nix::time::{ClockId, clock_gettime};
use ringmesh_runtime::io::Time;

/// Tells the time. Its monotonic origin is the same for all clocks of a process.
#[derive(Clone, Debug)]
pub struct Clock {
    quanta: quanta::Clock,
}

impl Clock {
    /// A clock. The first of the process calibrates the processor's counter, for up to 0.2 s.
    pub fn new() -> Self {
        Self { quanta: quanta::Clock::new() }
    }

    /// The time now. The unix part is as coarse as the kernel's tick (1 to 10 ms).
    pub fn now(&self) -> Time {
        Time { mono_ns: self.mono_ns(), unix_ms: unix_ms() }
    }

    /// The monotonic part alone.
    pub fn mono_ns(&self) -> u64 {
        // From 0 rather than from this clock's making: shards compare their times.
        self.quanta.delta_as_nanos(0, self.quanta.raw())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn unix_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).expect("Linux has this clock");
    // A clock set before 1970 reads 1970.
    let s = u64::try_from(now.tv_sec()).unwrap_or(0);
    let ns = u64::try_from(now.tv_nsec()).unwrap_or(0);
    s * 1_000 + ns / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_one_process_share_their_origin() {
        let (a, b) = (Clock::new(), Clock::new());
        let first = a.now();
        let second = b.now();
        assert!(second.mono_ns >= first.mono_ns);
        assert!(second.mono_ns - first.mono_ns < 60_000_000_000);
        assert!(first.unix_ms > 1_600_000_000_000, "after 2020");
    }
}
