//! A results folder from beginning to end, with seconds that are made up.

mod made_up;
mod sample;

use std::fs;
use std::path::PathBuf;

use ringmesh_runtime::load::sample::{Fault, TargetSample, WorkloadSample, record_ns};
use ringmesh_runtime::load::script::{Kind, PhaseKind};

use super::*;
use crate::load::record::{Ended, NodeMetrics, Second, Summary};
use made_up::{folder, phase, plan, readings, second, surroundings, workload};

fn read(path: &std::path::Path, name: &str) -> String {
    fs::read_to_string(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// As `summary.json` has it, and that it holds no `null` where a figure belongs.
fn written(path: &std::path::Path) -> Summary {
    let json = read(path, SUMMARY);
    assert!(!json.contains("NaN") && !json.contains("inf"), "{json}");
    serde_json::from_str(&json).unwrap()
}

/// Ramp, hold, drain of 2 s each, 2 roles.
fn three_phases() -> crate::load::plan::Plan {
    let phases = [PhaseKind::Ramp, PhaseKind::Hold, PhaseKind::Drain];
    plan(&phases.map(|kind| phase(kind, 2)), vec![workload("calls", Kind::Http)])
}

#[test]
fn figures_are_of_the_measured_phases_and_counts_of_the_whole_run() {
    let plan = three_phases();
    let mut folder = folder(&plan);
    for at_s in 0..7u32 {
        let mut second = second(&plan, at_s);
        let calls = &mut second.workloads[0];
        (calls.due, calls.sent, calls.answered) = (100, 100, 100);
        calls.established = 10;
        second.targets[0] = TargetSample { established: 10, answered: 100, faults: 0 };
        let calls = &mut second.workloads[0];
        calls.opened = u64::from(at_s < 2) * 5;
        record_ns(&mut calls.first_call, 7_000_000);
        // In the ramp all take 9 ms; in the hold 1 to 100 µs, twice; while lingering again.
        for us in 1..=100 {
            let ns = if at_s < 2 { 9_000_000 } else { us * 1_000 };
            record_ns(&mut calls.latency, ns);
        }
        calls.faults[Fault::Timeout.index()] = u64::from(at_s == 0) * 3;
        calls.abandoned = u64::from(at_s == 6) * 2;
        folder.add_second(&second).unwrap();
    }
    for reading in readings(7) {
        folder.add_resources(&reading).unwrap();
    }
    let path = plan.out.clone();
    let summary = folder.finish(Ended::Complete).unwrap();
    assert_eq!((summary.requests, summary.answered, summary.errors), (700, 700, 3));
    assert_eq!((&summary.faults["timeout"], summary.abandoned), (&3.into(), 2));
    assert_eq!((summary.run_s, summary.measured_s), (7.0, 2.0));
    let latency = summary.latency_ms;
    assert_eq!((latency.count, latency.p50, latency.p99, latency.max), (200, 0.05, 0.099, 0.1));
    assert_eq!((summary.rate_per_s.offered, summary.rate_per_s.achieved), (100.0, 100.0));
    assert_eq!(summary.first_call_ms.count, 7);
    // Each second: 0.5 s of the generator, 0.25 s of the server, 1,000 B a client.
    let server = summary.server.unwrap();
    assert_eq!((server.busy_cores, server.cpu_us_per_request), (0.25, 2_500.0));
    assert_eq!((summary.generator.busy_cores, summary.generator.cores), (0.5, 1.0));
    assert_eq!(summary.phases[0].latency_ms.p50, 9.007, "with three digits");
    assert_eq!(summary.phases[2].answered, 300, "with what came after the end");
    assert_eq!(summary.phases[2].seconds, 2.0, "without the time after the end");
    assert!(!summary.generator_saturated, "{:?}", summary.generator_saturated_why);
    assert!(!path.join(INCOMPLETE).exists());
    assert_eq!(written(&path).answered, 700);
    let targets = read(&path, "targets.csv");
    let row = "2026-07-28T09:00:01.000Z,1,ramp-0,http://127.0.0.1:8080/mcp,10,100,0";
    assert_eq!(targets.lines().nth(1), Some(row));
    let rows = read(&path, "connections.csv");
    assert_eq!(rows.lines().count(), 8);
    let row = "2026-07-28T09:00:01.000Z,1,1,ramp-0,5,10,0,5,0,0,0,100,100,100,9.007";
    assert!(rows.lines().nth(1).unwrap().starts_with(row), "{rows}");
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_comes_after_the_end_is_answered_and_no_speed() {
    let mut plan = plan(&[phase(PhaseKind::Hold, 2)], vec![workload("calls", Kind::Http)]);
    std::sync::Arc::get_mut(&mut plan.script).unwrap().pacing_ns = 1_000_000;
    let mut folder = folder(&plan);
    for (at_s, reading) in (0..4).zip(readings(4)) {
        folder.add_resources(&reading).unwrap();
        let mut second = second(&plan, at_s);
        second.shards[0].cpu_s = 0.25;
        let calls = &mut second.workloads[0];
        // The server does 100 a second of 200, and the rest once there is nothing new.
        (calls.due, calls.answered) = if at_s < 2 { (200, 100) } else { (0, 100) };
        (0..100).for_each(|_| record_ns(&mut calls.latency, u64::from(at_s + 1) * 500_000_000));
        folder.add_second(&second).unwrap();
    }
    let path = plan.out.clone();
    let summary = folder.finish(Ended::Complete).unwrap();
    assert_eq!((summary.answered, summary.latency_ms.count, summary.measured_s), (400, 400, 2.0));
    assert!(summary.latency_ms.max > 1_999.0, "the last ones count: {:?}", summary.latency_ms);
    let parts = [&summary.phases[0], &summary.workloads[0]].map(|part| part.rate_per_s.achieved);
    assert_eq!((summary.rate_per_s.achieved, parts), (100.0, [100.0; 2]));
    assert_eq!(summary.server.unwrap().cpu_us_per_request, 2_500.0);
    assert_eq!(summary.phases[0].server_cpu_us_per_request, Some(2_500.0));
    let generator = summary.generator;
    assert_eq!((generator.cpu_us_per_request, generator.busiest_share), (5_000.0, 0.25));
    assert_eq!(generator.pacing_ms, 1.0);
    assert!(read(&path, "summary.txt").contains("of 1 ms gathered (pacing)"));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn clients_of_a_run_that_is_cut_short_were_there() {
    let plan = three_phases();
    let mut folder = folder(&plan);
    let mut second = second(&plan, 0);
    second.to_s = 0.5;
    second.workloads[0].established_most = 7;
    folder.add_second(&second).unwrap();
    let row = read(&plan.out, "connections.csv");
    assert!(row.contains(",0.5,0.5,ramp-0,5,0,"), "none at its end: {row}");
    let summary = folder.finish(Ended::Interrupted).unwrap();
    assert_eq!(summary.connections.established, 7);
    assert_eq!(summary.workloads[0].connections.established, 7);
    fs::remove_dir_all(&plan.out).unwrap();
}

#[test]
fn memory_of_a_client_is_what_the_server_grew_by() {
    let plan = three_phases();
    let mut folder = folder(&plan);
    for (at_s, reading) in (0..6).zip(readings(6)) {
        let mut reading = reading;
        reading.server_rss_bytes = Some([1_000, 2_000, 9_000, 9_500, 4_000, 4_000][at_s as usize]);
        folder.add_resources(&reading).unwrap();
        let mut second = second(&plan, at_s);
        second.workloads[0].established = [2, 8, 8, 4, 0, 0][at_s as usize];
        folder.add_second(&second).unwrap();
    }
    let path = plan.out.clone();
    let server = folder.finish(Ended::Complete).unwrap().server.unwrap();
    assert_eq!((server.rss_bytes_per_connection, server.rss_bytes_max), (8_500.0 / 8.0, 9_500));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn an_interrupted_run_says_so_and_keeps_what_it_has() {
    let plan = three_phases();
    let mut folder = folder(&plan);
    let path = plan.out.clone();
    assert!(read(&path, INCOMPLETE).starts_with("The run has not ended"));
    folder.add_second(&second(&plan, 0)).unwrap();
    assert_eq!(read(&path, "connections.csv").lines().count(), 2, "on disk before the end");
    let summary = folder.finish(Ended::Interrupted).unwrap();
    assert_eq!(summary.measured_s, 0.0, "it did not come to the hold");
    assert_eq!(read(&path, INCOMPLETE), "The run was interrupted: its figures end there.\n");
    assert_eq!(written(&path).ended, Ended::Interrupted);
    assert!(read(&path, "summary.txt").starts_with("!! INTERRUPTED"));
    assert!(read(&path, "latency.hgrm").contains("not complete"));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn runs_without_seconds_calls_or_phases_come_to_zeros() {
    for phases in [vec![], vec![phase(PhaseKind::Hold, 2)]] {
        for seconds in [0, 2] {
            let plan = plan(&phases, vec![workload("calls", Kind::Http)]);
            let mut folder = folder(&plan);
            for at_s in 0..seconds {
                folder.add_second(&second(&plan, at_s)).unwrap();
            }
            let path = plan.out.clone();
            let why = "nobody listens on 127.0.0.1:1".to_owned();
            let summary = folder.finish(Ended::Failed(why)).unwrap();
            assert_eq!((summary.requests, summary.latency_ms.max), (0, 0.0));
            assert!(read(&path, "summary.txt").contains("!! FAILED: nobody listens"));
            assert_eq!(written(&path).latency_ms, summary.latency_ms);
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn listeners_alone_are_told_by_their_updates() {
    let listen = Kind::Listen { uris: vec!["ringmesh://counters/0".to_owned()] };
    let plan = plan(&[phase(PhaseKind::Hold, 2)], vec![workload("listeners", listen)]);
    let mut folder = folder(&plan);
    let mut second = second(&plan, 0);
    let listeners = &mut second.workloads[0];
    (listeners.established, listeners.updates) = (50, 50);
    (1..=50).for_each(|ms| record_ns(&mut listeners.delivery, ms * 1_000_000));
    folder.add_second(&second).unwrap();
    let path = plan.out.clone();
    let summary = folder.finish(Ended::Complete).unwrap();
    assert_eq!((summary.delivery_ms.count, summary.delivery_ms.p50), (50, 25.007));
    assert_eq!((summary.latency_ms.count, summary.updates), (0, 50));
    assert_eq!(written(&path).workloads[0].delivery_ms, summary.delivery_ms);
    assert!(read(&path, "latency.hlog").contains("Tag=listeners.delivery,0.000,1.000,"));
    assert!(read(&path, "delivery.hgrm").contains("Total count    =           50"));
    fs::remove_dir_all(path).unwrap();
}

/// What a run of 100 calls comes to.
fn sparse() -> Summary {
    let plan = plan(&[phase(PhaseKind::Hold, 1)], vec![workload("calls", Kind::Http)]);
    let mut folder = folder(&plan);
    let mut second = second(&plan, 0);
    (second.workloads[0].due, second.workloads[0].answered) = (100, 100);
    folder.add_second(&second).unwrap();
    let summary = folder.finish(Ended::Complete).unwrap();
    fs::remove_dir_all(&plan.out).unwrap();
    summary
}

/// A run of 2 s of 100 calls a second, changed.
fn verdict_of(change: impl Fn(&mut Second)) -> Vec<String> {
    let plan = plan(&[phase(PhaseKind::Hold, 2)], vec![workload("calls", Kind::Http)]);
    judged(&plan, change)
}

fn judged(plan: &crate::load::plan::Plan, change: impl Fn(&mut Second)) -> Vec<String> {
    let mut folder = folder(plan);
    for (at_s, reading) in (0..2).zip(readings(2)) {
        let mut second = second(plan, at_s);
        let calls = &mut second.workloads[0];
        (calls.due, calls.sent, calls.answered) = (100, 100, 100);
        (0..100).for_each(|_| record_ns(&mut calls.latency, 8_000_000));
        change(&mut second);
        folder.add_second(&second).unwrap();
        folder.add_resources(&reading).unwrap();
    }
    folder.add_resources(&readings(3)[2]).unwrap();
    let summary = folder.finish(Ended::Complete).unwrap();
    let saturated = !summary.generator_saturated_why.is_empty();
    assert_eq!(summary.generator_saturated, saturated);
    let text = read(&plan.out, "summary.txt");
    assert_eq!(text.starts_with("!! GENERATOR SATURATED"), saturated, "{text}");
    assert_eq!(read(&plan.out, "latency.hgrm").contains("#[Generator saturated"), saturated);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    fs::remove_dir_all(&plan.out).unwrap();
    summary.generator_saturated_why
}

#[test]
fn a_saturated_generator_is_told_from_a_slow_server() {
    assert!(verdict_of(|_| {}).is_empty());
    let busy = verdict_of(|second| second.shards[1].cpu_s = 0.96);
    assert_eq!(busy, ["thread 1 was busy for 96 % of the time"]);
    let both = verdict_of(|second| second.shards.iter_mut().for_each(|shard| shard.cpu_s = 0.48));
    assert_eq!(both, ["its cores (1) were busy to 96 %"]);
    let late = |ms: u64| {
        verdict_of(move |second| (0..100).for_each(|_| record_ns(&mut second.late, ms * 1_000_000)))
    };
    assert!(late(1).is_empty() && late(2).is_empty(), "a quarter of 8 ms");
    assert_eq!(late(3).len(), 1, "{:?}", late(3));
    let full = verdict_of(|second| {
        second.workloads[0].faults[Fault::NotSent.index()] = 10;
        second.workloads[0].answered = 90;
    });
    let why = "20 calls were not sent, since no connection was idle, and the server had idle CPU";
    assert_eq!(full, [why]);
    let stands = verdict_of(|second| {
        second.workloads[0].answered = 1;
        second.workloads[0].faults[Fault::NotSent.index()] = 99;
    });
    assert!(stands.is_empty(), "the server's: {stands:?}");
    let mut told = sparse();
    assert!(marks(&told).is_empty());
    told.faults.insert("timeout".to_owned(), 2.into());
    let mark = "ERRORS: 2 of 102 calls had no good answer; latency is of the rest";
    assert_eq!(marks(&told), [mark]);
    let short = verdict_of(|second| second.workloads[0].answered = 90);
    assert_eq!(short, ["90 % of calls due were answered, and the server had idle CPU"]);
    let failing = verdict_of(|second| {
        second.workloads[0].answered = 90;
        second.workloads[0].faults[Fault::Status.index()] = 10;
    });
    assert!(failing.is_empty(), "the server's: {failing:?}");
}

#[test]
fn a_server_of_one_shard_is_busy_with_one_core() {
    let plan = plan(&[phase(PhaseKind::Hold, 2)], vec![workload("calls", Kind::Http)]);
    // It may use two cores; what it can fill is what it has shards for.
    for (shards, told, busy_s, saturated) in [
        (1, true, 0.95, false),
        (2, true, 0.95, true),
        (2, false, 0.95, false),
        (1, true, 0.8, true),
    ] {
        let mut surroundings = surroundings();
        surroundings.server = Ok(Servers { pids: vec![4_242], cores: Some(2.0) });
        if told {
            surroundings.plans =
                vec![("one".into(), Some(serde_json::json!({ "shards": shards })))];
        }
        let mut folder = Folder::create(&plan, surroundings).unwrap();
        for (at_s, mut reading) in (0..3).zip(readings(3)) {
            reading.server_cpu_s = Some(reading.at_s * busy_s);
            folder.add_resources(&reading).unwrap();
            let mut second = second(&plan, at_s);
            (second.workloads[0].due, second.workloads[0].answered) = (100, 50);
            second.workloads[0].faults[Fault::NotSent.index()] = 50;
            folder.add_second(&second).unwrap();
        }
        let summary = folder.finish(Ended::Complete).unwrap();
        assert_eq!(summary.generator_saturated, saturated, "{shards} shards, {busy_s} busy");
        fs::remove_dir_all(&plan.out).unwrap();
    }
}

#[test]
fn a_machine_that_others_fill_says_nothing_of_the_server() {
    let plan = plan(&[phase(PhaseKind::Hold, 2)], vec![workload("calls", Kind::Http)]);
    let mut folder = folder(&plan);
    let cores = float(manifest::machine_cores() as u64);
    for (at_s, mut reading) in (0..3).zip(readings(3)) {
        reading.machine_busy_s = reading.at_s * cores;
        folder.add_resources(&reading).unwrap();
        let mut second = second(&plan, at_s);
        (second.workloads[0].due, second.workloads[0].answered) = (100, 50);
        second.workloads[0].faults[Fault::NotSent.index()] = 50;
        folder.add_second(&second).unwrap();
    }
    let why = folder.finish(Ended::Complete).unwrap().generator_saturated_why;
    assert!(why.len() == 1 && why[0].starts_with("other programs took "), "{why:?}");
    fs::remove_dir_all(&plan.out).unwrap();
}

#[test]
fn a_closed_loop_is_late_by_its_nature() {
    let mut calls = workload("calls", Kind::Http);
    calls.closed = true;
    let plan = plan(&[phase(PhaseKind::Hold, 2)], vec![calls]);
    let late = judged(&plan, |second| {
        (0..100).for_each(|_| record_ns(&mut second.late, 90_000_000));
        second.workloads[0].answered = 10;
    });
    assert!(late.is_empty(), "{late:?}");
    let busy = judged(&plan, |second| second.shards[0].cpu_s = 1.0);
    assert_eq!(busy, ["thread 0 was busy for 100 % of the time"]);
}

#[test]
fn names_with_commas_and_quotes_stay_in_their_cells() {
    let mut plan = plan(&[phase(PhaseKind::Hold, 2)], vec![workload("a,b", Kind::Http)]);
    plan.admins = vec![("one".to_owned(), "127.0.0.1:9180".parse().unwrap())];
    let mut folder = folder(&plan);
    let values = vec![("calls{tool=\"x\",era=\"y\"}".to_owned(), 2.5)];
    folder.add_nodes(&[NodeMetrics { at_s: 1.0, node: 0, values }]).unwrap();
    let mut second = second(&plan, 0);
    record_ns(&mut second.workloads[0].latency, 1_000);
    folder.add_second(&second).unwrap();
    let wanted = "2026-07-28T09:00:01.000Z,1,one,\"calls{tool=\"\"x\"\",era=\"\"y\"\"}\",2.5";
    assert_eq!(read(&plan.out, "node-metrics.csv").lines().nth(1), Some(wanted));
    assert!(read(&plan.out, "latency.csv").contains(",\"a,b\",latency,1,"));
    folder.finish(Ended::Complete).unwrap();
    assert!(read(&plan.out, "latency.hlog").contains("Tag=a_b,0.000,1.000,0.001,"));
    fs::remove_dir_all(&plan.out).unwrap();
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let plan = three_phases();
    fs::create_dir_all(&plan.out).unwrap();
    fs::write(plan.out.join("mine"), "").unwrap();
    let error = Folder::create(&plan, surroundings()).unwrap_err();
    assert_eq!(error.exit_code(), 73);
    assert!(error.to_string().ends_with("is not empty: give another folder with --out"));
    assert_eq!(fs::read_dir(&plan.out).unwrap().count(), 1);
    fs::remove_dir_all(&plan.out).unwrap();
}

#[test]
fn a_full_disk_is_one_line_that_names_the_file() {
    // Every write to it fails with ENOSPC.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut sheet = rows::Sheet::over(PathBuf::from("/out/latency.csv"), full);
    sheet.row(&[&1]).unwrap();
    let error = sheet.flush().unwrap_err();
    let line = "cannot write /out/latency.csv: No space left on device (os error 28)";
    assert_eq!((error.to_string().as_str(), error.exit_code()), (line, 74));
}

#[test]
fn a_run_that_cannot_be_written_leaves_no_summary() {
    let plan = three_phases();
    let folder = folder(&plan);
    // What `finish` is to make exists: it fails after the tables, before the summary.
    fs::create_dir(plan.out.join("summary.txt")).unwrap();
    let error = folder.finish(Ended::Complete).unwrap_err();
    assert!(error.to_string().contains("summary.txt"), "{error}");
    assert!(!plan.out.join(SUMMARY).exists() && plan.out.join(INCOMPLETE).exists());
    fs::remove_dir_all(&plan.out).unwrap();
}

#[test]
fn examples_are_few_and_of_every_kind() {
    let plan = three_phases();
    let mut folder = folder(&plan);
    for at_s in 0..4 {
        let mut second = second(&plan, at_s);
        let example = (Fault::Status, format!("503 of call {at_s}"));
        second.workloads[0].faults[Fault::Lost.index()] = 1;
        second.examples =
            vec![example.clone(), example, (Fault::Lost, "re\u{1b}[2Jset".to_owned())];
        folder.add_second(&second).unwrap();
    }
    let examples = folder.finish(Ended::Complete).unwrap().examples;
    let wanted = ["status: 503 of call 0", "lost: re\u{1b}[2Jset", "status: 503 of call 1"];
    let text = read(&plan.out, "summary.txt");
    assert!(text.contains("lost: re\u{fffd}[2Jset"), "no terminal obeys it: {text}");
    assert_eq!(examples[..3], wanted);
    assert_eq!(examples.len(), 4, "three of a kind: {examples:?}");
    fs::remove_dir_all(&plan.out).unwrap();
}

#[test]
fn every_second_has_its_own_workloads() {
    // A second that tells of fewer workloads or roles than the plan has, or more, harms nothing.
    let plan = three_phases();
    let mut folder = folder(&plan);
    let mut second = second(&plan, 0);
    second.workloads.push(WorkloadSample::new());
    second.shards.clear();
    second.phase = 99;
    folder.add_second(&second).unwrap();
    folder.finish(Ended::Complete).unwrap();
    fs::remove_dir_all(&plan.out).unwrap();
}
