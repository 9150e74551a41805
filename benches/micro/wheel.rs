//! The timer wheel with 100,000 timers armed, as many as a shard has with as many connections.

use std::hint::black_box;

use criterion::Criterion;
use ringmesh_runtime::wheel::{TICK_MS, TimerId, Wheel};

const TIMERS: usize = 100_000;
/// A usual time-out, ms.
const TIMEOUT_MS: u64 = 60_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    let (mut wheel, _) = filled();
    let mut delays = Delays(1);
    group.bench_function("arm_cancel", |bencher| {
        bencher.iter(|| {
            let id = wheel.arm(delays.next(), 7);
            wheel.cancel(black_box(id))
        });
    });
    assert_eq!(wheel.len(), TIMERS);

    let (mut wheel, ids) = filled();
    let mut ids = ids.into_iter().cycle();
    group.bench_function("rearm", |bencher| {
        bencher.iter(|| ids.next().is_some_and(|id| wheel.rearm(id, delays.next())));
    });
    assert_eq!(wheel.len(), TIMERS);

    group.bench_function("poll_nothing_due", |bencher| {
        bencher.iter(|| wheel.poll(black_box(0)).is_none());
    });
    turn(&mut group);
    group.finish();
}

/// One tick of the wheel in the steady state: what is due fires and is armed again.
fn turn(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let (mut wheel, _) = filled();
    let mut now_ms = 0;
    // Due in the first rotation is what was filled in; from then on all are a time-out apart.
    let mut fired = 0_usize;
    group.bench_function("turn", |bencher| {
        bencher.iter(|| {
            now_ms += TICK_MS;
            while let Some(timer) = wheel.poll(now_ms) {
                wheel.arm(now_ms + TIMEOUT_MS, timer.key);
                fired += 1;
            }
        });
    });
    assert_eq!(wheel.len(), TIMERS);
    // One tick alone, as a smoke run has it, need not have a timer.
    assert!(fired > 0 || now_ms <= 2 * TICK_MS, "timers fired");
}

/// A wheel at 0 with all timers armed, spread over the time-out.
fn filled() -> (Wheel, Vec<TimerId>) {
    let mut wheel = Wheel::with_capacity(0, TIMERS + 1);
    let ids = (0..TIMERS as u64).map(|key| wheel.arm(key * TIMEOUT_MS / TIMERS as u64, key));
    let ids = ids.collect();
    (wheel, ids)
}

/// Deadlines from 0 to [`TIMEOUT_MS`], in an order that no cache foresees (a linear congruential
/// generator, Knuth's constants).
struct Delays(u64);

impl Delays {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % TIMEOUT_MS
    }
}
