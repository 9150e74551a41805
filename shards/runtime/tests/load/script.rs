//! What the script says is what happens, against a real shard.

use ringmesh_proto::mcp::Version;
use ringmesh_runtime::io::Remote;
use ringmesh_runtime::load::Wish;
use ringmesh_runtime::load::sample::Fault;
use ringmesh_runtime::load::script::{Arrivals, Endpoint, Kind, Sources, Trigger};

use crate::world::{MS, S, World, count, phase, script, shard, uri, workload};

fn sessions(stream: bool) -> Kind {
    Kind::HttpSession { version: Version::V2025_11_25, stream }
}

#[test]
fn an_open_loop_makes_every_call_in_turn() {
    let phases = vec![phase(S, (0, 10), 0.0), phase(2 * S, (10, 10), 100.0)];
    let mut world = World::new(script(vec![workload(Kind::Http)], 10, phases), 1, shard(false));
    let total = world.run();
    total.assert_clean();
    let sum = &total.workloads[0];
    assert_eq!((sum.due, sum.sent, sum.answered), (200, 200, 200));
    assert_eq!((sum.opened, sum.closed, sum.lost, sum.failed), (10, 10, 0, 0));
    assert_eq!((sum.latency.len(), sum.opening_time.len(), total.late.len()), (200, 10, 200));
    assert!(sum.latency.max() < 1_000, "{}", sum.latency.max());
    let calls: Vec<usize> =
        world.net.borrow().links.iter().map(|link| count(&link.log, "POST /mcp")).collect();
    assert_eq!(calls, [20; 10]);
    // Samples end at whole seconds and at the ends of phases.
    let until: Vec<(u64, usize, bool)> =
        world.told.iter().map(|told| (told.until_ns, told.phase, told.last)).collect();
    assert_eq!(until[..3], [(S, 0, false), (2 * S, 1, false), (3 * S, 1, false)]);
    assert!(until[3].0 > 3 * S && until[3].2 && until.len() == 4);
    assert_eq!(world.told[3].workloads[0].established_most, 10, "before they were closed");
    assert_eq!(world.told[1].workloads[0].established, 10);
    assert_eq!(world.told[1].targets[0].answered, 100);
}

#[test]
fn seats_are_shared_by_roles() {
    let mut hold = phase(S, (9, 9), 300.0);
    hold.arrivals = Arrivals::Poisson;
    let phases = vec![phase(S, (0, 9), 0.0), hold];
    let kinds = vec![workload(Kind::Http), workload(sessions(true))];
    let mut script = script(kinds, 9, phases);
    script.workloads[0].rate_share = 0.8;
    script.workloads[1].rate_share = 0.2;
    let mut world = World::new(script, 2, shard(false));
    let total = world.run();
    total.assert_clean();
    let [http, session] = &total.workloads[..] else { panic!("two workloads") };
    assert_eq!((http.opened, session.opened), (5, 4));
    assert_eq!((http.answered, session.answered), (http.due, session.due));
    // Five standard deviations around 240 and 60.
    assert!((160..320).contains(&http.due) && (20..100).contains(&session.due));
    // A session's GET stream is a second socket, and its end is told.
    assert_eq!((world.sent("GET /mcp"), world.sent("DELETE /mcp")), (4, 4));
    assert_eq!(world.net.borrow().links.len(), 9 + 4);
}

#[test]
fn every_kind_of_client_is_served_whatever_the_pieces() {
    let lines = || Kind::LinesSession { version: Version::V2025_06_18 };
    for piece in [0, 1, 7, 64] {
        for (kind, bytes) in [
            (Kind::Http, false),
            (sessions(false), false),
            (sessions(true), false),
            (Kind::HttpSession { version: Version::V2025_03_26, stream: true }, false),
            (Kind::Lines, true),
            (lines(), true),
        ] {
            let mut kind = workload(kind);
            kind.depth = 3;
            let phases = vec![phase(100 * MS, (0, 3), 0.0), phase(200 * MS, (3, 3), 200.0)];
            let mut script = script(vec![kind], 3, phases);
            script.first_call = true;
            let mut world = World::new(script, 1, shard(bytes));
            world.net.borrow_mut().piece = piece;
            let total = world.run();
            total.assert_clean();
            let sum = &total.workloads[0];
            assert_eq!((sum.opened, sum.closed, sum.answered), (3, 3, 43), "{piece}");
            assert_eq!((sum.first_call.len(), sum.sent), (3, 43));
        }
    }
}

#[test]
fn a_closed_loop_keeps_its_depth() {
    let mut closed = workload(Kind::Http);
    closed.closed = true;
    closed.depth = 4;
    let phases = vec![phase(20 * MS, (2, 2), 0.0)];
    let mut world = World::new(script(vec![closed], 2, phases), 1, shard(false));
    let total = world.run();
    total.assert_clean();
    let sum = &total.workloads[0];
    assert!(sum.answered > 1_000 && sum.answered == sum.sent && sum.due == sum.sent);
}

#[test]
fn listeners_hear_of_every_change_in_turn() {
    for (piece, count) in [(0, 3), (5, 1)] {
        let uris = (0..count).map(uri).collect();
        let mut hold = phase(500 * MS, (4, 4), 0.0);
        hold.trigger = Some(Trigger { every_ns: 10 * MS, tool: "count".into() });
        let phases = vec![phase(100 * MS, (0, 4), 0.0), hold];
        let script = script(vec![workload(Kind::Listen { uris })], 4, phases);
        let mut world = World::new(script, 2, shard(false));
        world.net.borrow_mut().piece = piece;
        let total = world.run();
        total.assert_clean();
        let sum = &total.workloads[0];
        assert_eq!((sum.updates, sum.delivery.len()), (4 * 49, 4 * 49));
        assert_eq!((sum.opened, sum.closed, sum.sent), (4, 4, 0));
        assert_eq!(world.sent("\"name\":\"count\""), 49);
    }
}

#[test]
fn a_stuck_reader_reads_its_acknowledgement_alone() {
    let mut stuck = workload(Kind::Listen { uris: vec![uri(0)] });
    stuck.reads = false;
    let mut hold = phase(500 * MS, (2, 2), 0.0);
    hold.trigger = Some(Trigger { every_ns: 50 * MS, tool: "count".into() });
    let script = script(vec![stuck], 2, vec![phase(100 * MS, (0, 2), 0.0), hold]);
    let mut world = World::new(script, 1, shard(false));
    assert!(!world.run_until(300 * MS));
    assert_eq!(world.receiving(), 1, "what makes the changes");
    let total = world.run();
    total.assert_clean();
    assert_eq!((total.workloads[0].opened, total.workloads[0].updates), (2, 0));
}

#[test]
fn seats_fall_churn_and_come_back_at_once() {
    let mut churn = phase(S, (8, 8), 40.0);
    churn.churn_per_s = 16.0;
    let mut storm = phase(S, (8, 8), 40.0);
    storm.reconnect = 6;
    let drain = phase(S, (8, 0), 10.0);
    let phases = vec![phase(S, (0, 8), 0.0), churn, storm, drain];
    let kinds = vec![workload(Kind::Http), workload(sessions(true))];
    let mut script = script(kinds, 8, phases);
    script.workloads[0].rate_share = 0.5;
    script.workloads[1].rate_share = 0.5;
    let mut world = World::new(script, 1, shard(false));
    let total = world.run();
    assert!(total.faults().iter().all(|(fault, _)| *fault == Fault::NotSent));
    let opened: u64 = total.workloads.iter().map(|sum| sum.opened).sum();
    let closed: u64 = total.workloads.iter().map(|sum| sum.closed).sum();
    assert_eq!((opened, closed), (8 + 16 + 6, 8 + 16 + 6));
    let ready = |phase: usize| {
        let last = world.told.iter().rfind(|told| told.phase == phase && !told.last).unwrap();
        last.workloads.iter().map(|sum| sum.established).sum::<u32>()
    };
    assert_eq!([0, 1, 2].map(ready), [8, 8, 8]);
    // Each session but those that were cut is ended by its client.
    assert_eq!(world.sent("DELETE /mcp"), 4 + 8);
    // A seat's table is its own: nothing needed more places than all seats take.
    assert!(world.net.borrow().open_max <= 12);
}

#[test]
fn connects_are_bounded_and_steps_are_steps() {
    let mut ramp = phase(S, (0, 9), 0.0);
    ramp.steps = 3;
    let mut script = script(vec![workload(Kind::Http)], 9, vec![ramp]);
    script.targets[0].remote = Endpoint::Ip {
        to: "127.0.0.1:80".parse().unwrap(),
        sources: Some(Sources { first: "127.0.0.2".parse().unwrap(), count: 8, each: 2 }),
    };
    let mut world = World::new(script, 1, shard(false));
    for (at_ns, links) in [(0, 0), (10 * MS, 3), (300 * MS, 3), (350 * MS, 6), (700 * MS, 9)] {
        world.run_until(at_ns);
        assert_eq!(world.net.borrow().links.len(), links, "at {at_ns}");
    }
    world.run().assert_clean();
    let sources: Vec<String> = world
        .net
        .borrow()
        .links
        .iter()
        .map(|link| {
            let Some(Remote::Ip { from: Some(from), .. }) = link.remote else {
                panic!("no source")
            };
            from.to_string()
        })
        .collect();
    assert_eq!(sources[..3], ["127.0.0.2", "127.0.0.2", "127.0.0.3"]);
}

#[test]
fn a_phase_ends_on_time_even_if_the_generator_does_not_keep_it() {
    // Between two looks at the clock pass three calls of a busy phase.
    let phases = (0..10).map(|n| phase(100 * MS, (1, 1), if n % 2 == 0 { 1_000.0 } else { 0.0 }));
    let script = script(vec![workload(Kind::Http)], 1, phases.collect());
    let mut world = World::new(script, 1, shard(false));
    world.net.borrow_mut().look_ns = 3 * MS;
    world.run();
    for phase in 0..10 {
        let of_phase = world.told.iter().filter(|told| told.phase == phase);
        let due: u64 = of_phase.map(|told| told.workloads[0].due).sum();
        assert_eq!(due, if phase % 2 == 0 { 100 } else { 0 }, "in phase {phase}");
    }
}

#[test]
fn a_wait_in_which_answers_are_gathered_is_no_longer_than_the_pacing() {
    let mut script = script(vec![workload(Kind::Http)], 1, vec![phase(S, (1, 1), 100.0)]);
    script.pacing_ns = MS;
    let mut world = World::new(script, 1, shard(false));
    let total = world.run();
    total.assert_clean();
    assert_eq!(total.workloads[0].answered, 100);
    // The first is for the begin; drivers gather in waits of up to 10 ms.
    let gathers = |wait_ns: &&u64| **wait_ns <= 10 * MS;
    assert_eq!(world.waits_ns.iter().skip(1).filter(gathers).max(), Some(&MS));
}

#[test]
fn a_socket_that_was_adopted_serves_its_seat() {
    let phases = vec![phase(S, (1, 1), 20.0)];
    let mut script = script(vec![workload(Kind::Lines)], 1, phases);
    script.targets[0].remote = Endpoint::Adopted(3);
    let mut world = World::new(script, 1, shard(true));
    let total = world.run();
    total.assert_clean();
    assert_eq!(total.workloads[0].answered, 20);
    let remotes: Vec<_> = world.net.borrow().links.iter().map(|link| link.remote).collect();
    assert_eq!(remotes, [Some(Remote::Adopted(3))]);
}

#[test]
fn the_last_client_of_a_ramp_connects_before_its_end() {
    let script = script(vec![workload(Kind::Http)], 4, vec![phase(S, (0, 4), 0.0)]);
    let total = World::new(script, 1, shard(false)).run();
    total.assert_clean();
    assert_eq!((total.workloads[0].opened, total.workloads[0].closed), (4, 4));
}

#[test]
fn a_wish_ends_the_run() {
    for (wish, deletes) in [(Wish::Finish, 3), (Wish::Abort, 0)] {
        let phases = vec![phase(100 * MS, (0, 3), 0.0), phase(100 * S, (3, 3), 10.0)];
        let mut world =
            World::new(script(vec![workload(sessions(true))], 3, phases), 1, shard(false));
        assert!(!world.run_until(3 * S));
        world.leave.ask(wish);
        let total = world.run();
        total.assert_clean();
        assert!(world.now_ns() < 4 * S);
        assert_eq!(world.sent("DELETE /mcp"), deletes);
        assert_eq!(total.workloads[0].closed, 3);
        assert!(world.told.last().unwrap().last);
    }
}
