//! Whatever becomes of connections, and whenever: the role keeps the contract of its io, its books
//! are right, and it comes to an end.

use ringmesh_proto::mcp::Version;
use ringmesh_runtime::io::ConnectError;
use ringmesh_runtime::load::Wish;
use ringmesh_runtime::load::sample::Fault;
use ringmesh_runtime::load::script::{Arrivals, Kind, Trigger};

use crate::net::SERVER;
use crate::world::{MS, S, Total, World, phase, script, shard, uri, workload};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

fn world(dice: &mut Dice) -> World {
    let speaks_lines = dice.one_in(3);
    let version = Version::ALL[usize::try_from(dice.below(3)).unwrap()];
    let kinds = if speaks_lines {
        vec![Kind::Lines, Kind::LinesSession { version }]
    } else {
        let stream = dice.one_in(2);
        let uris = (0..=dice.below(3)).map(uri).collect();
        vec![Kind::Http, Kind::HttpSession { version, stream }, Kind::Listen { uris }]
    };
    let workloads = kinds.into_iter().map(|kind| {
        let mut spec = workload(kind);
        spec.depth = 1 + u16::try_from(dice.below(4)).unwrap();
        spec.closed = dice.one_in(6);
        spec.reads = !dice.one_in(4);
        spec.rate_share = 0.5;
        spec
    });
    let workloads = workloads.collect();
    let seats = 1 + u32::try_from(dice.below(20)).unwrap();
    let mut phases = vec![phase(100 * MS, (0, seats), 100.0)];
    let mut connected = seats;
    for _ in 0..dice.below(4) {
        let next = u32::try_from(dice.below(u64::from(seats) + 1)).unwrap();
        let mut phase = phase((1 + dice.below(200)) * MS, (connected, next), 500.0);
        connected = next;
        phase.steps = u32::try_from(dice.below(3)).unwrap();
        phase.churn_per_s = if dice.one_in(2) { 100.0 } else { 0.0 };
        phase.reconnect = if dice.one_in(3) { seats / 2 } else { 0 };
        if dice.one_in(2) {
            phase.arrivals = Arrivals::Poisson;
        }
        if dice.one_in(2) {
            let every_ns = (1 + dice.below(30)) * MS;
            phase.trigger = Some(Trigger { every_ns, tool: "count".into() });
        }
        phases.push(phase);
    }
    let mut script = script(workloads, seats, phases);
    script.first_call = dice.one_in(2);
    script.timeout_ns = 100 * MS;
    script.linger_ns = dice.below(3) * 50 * MS;
    let shards = 1 + u16::try_from(dice.below(2)).unwrap();
    World::new(script, shards, shard(speaks_lines))
}

fn mischief(world: &World, dice: &mut Dice) {
    let mut net = world.net.borrow_mut();
    let links = net.links.len() as u64;
    let some = (links > 0).then(|| usize::try_from(links - 1 - dice.below(links.min(12))).unwrap());
    match (dice.below(7), some) {
        (0, Some(link)) => net.links[link].reset = true,
        (1, Some(link)) => net.links[link].fin[SERVER] = true,
        (2, Some(link)) => net.links[link].bytes[0].extend(b"HTTP/1.1 200 OK\r\n\r\n{}\n"),
        (3, _) => {
            let errors = [ConnectError::Refused, ConnectError::NoPort, ConnectError::Other(1)];
            net.refusals.push_back(errors[usize::try_from(dice.below(3)).unwrap()]);
        }
        (4, _) => net.silent = !net.silent,
        (5, _) => net.piece = [0, 1, 30, 400][usize::try_from(dice.below(4)).unwrap()],
        _ if dice.one_in(16) => {
            let wish = if dice.one_in(2) { Wish::Finish } else { Wish::Abort };
            world.leave.ask(wish);
        }
        _ => {}
    }
}

#[test]
fn books_balance_whatever_happens() {
    let (mut answered, mut lost, mut failed, mut updates, mut abandoned) = (0, 0, 0, 0, 0);
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut world = world(&mut dice);
        world.step_ns = 100_000;
        let calm = dice.one_in(3);
        for at_ns in (1..200).map(|step| step * 5 * MS) {
            if world.run_until(at_ns) {
                break;
            }
            if !calm && dice.one_in(6) {
                mischief(&world, &mut dice);
            }
        }
        world.net.borrow_mut().silent = false;
        assert!(world.run_until(20 * S), "seed {seed}");
        let total = Total::of(&world.told);
        let last: Vec<_> = world.told.iter().filter(|told| told.last).collect();
        assert!(!last.is_empty(), "seed {seed}");
        for told in last {
            assert!(told.workloads.iter().all(|sum| sum.established + sum.opening == 0));
        }
        for sum in &total.workloads {
            assert!(sum.opened <= sum.closed + sum.lost, "seed {seed}");
            let not_sent = sum.faults[Fault::NotSent.index()];
            assert_eq!(sum.due, sum.sent + not_sent, "seed {seed}");
            assert_eq!(sum.latency.len(), sum.answered, "seed {seed}");
            assert_eq!(sum.opening_time.len(), sum.opened, "seed {seed}");
            let faults = sum.faults.iter().sum::<u64>() - not_sent;
            assert!(sum.failed + sum.lost <= faults, "seed {seed}");
            let unanswered = sum.sent - sum.answered - sum.abandoned;
            assert!(unanswered <= faults - sum.failed, "seed {seed}");
            abandoned += sum.abandoned;
            (answered, lost) = (answered + sum.answered, lost + sum.lost);
            (failed, updates) = (failed + sum.failed, updates + sum.updates);
        }
        if calm {
            assert_eq!(total.workloads.iter().map(|sum| sum.lost + sum.failed).sum::<u64>(), 0);
        }
    }
    let occurred = [answered, lost, failed, updates, abandoned];
    assert!(occurred.iter().all(|count| *count > 20), "all of it occurred: {occurred:?}");
}
