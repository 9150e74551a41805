//! A folder of a run that might have been: to look at its report in a browser.
//!
//! `RINGMESH_SAMPLE=/tmp/sample cargo test --lib writes_a_sample_folder` leaves it there.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use ringmesh_runtime::load::sample::{Fault, WorkloadSample, record_ns};
use ringmesh_runtime::load::script::{Kind, PhaseKind};

use super::made_up::{phase, plan, second, surroundings, workload};
use crate::load::plan::Plan;
use crate::load::record::{Ended, NodeMetrics, Resources, Second, Summary};
use crate::load::results::tally::is_measured;
use crate::load::results::{Folder, float, hdr};

/// Numbers without a pattern, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        float(self.0 >> 33) / float(1 << 31)
    }

    /// A time near so many ms, now and then far above.
    fn near(&mut self, ms: f64) -> u64 {
        let time = Duration::from_secs_f64(self.skewed() * ms / 1e3);
        time.as_nanos().try_into().unwrap()
    }

    /// Most near 1, a few far above.
    fn skewed(&mut self) -> f64 {
        let sum = (0..6).map(|_| self.roll()).sum::<f64>() - 3.0;
        sum.exp()
    }
}

fn calls(sample: &mut WorkloadSample, dice: &mut Dice, rate: u64, slow: f64) {
    (sample.due, sample.sent, sample.answered) = (rate, rate, rate);
    for _ in 0..2_000 {
        let ns = dice.near(1.4 * slow);
        record_ns(&mut sample.latency, ns);
        record_ns(&mut sample.service, ns / 5 * 4);
    }
}

fn fill(plan: &Plan, second: &mut Second, at_s: u32, dice: &mut Dice, spoiled: bool) {
    let kind = plan.script.phases[second.phase].kind;
    let (rate, slow) = match kind {
        PhaseKind::Burst => (80_000, 4.0),
        PhaseKind::Drain => (5_000, 1.0),
        PhaseKind::Ramp => (0, 2.0),
        _ => (50_000, 1.0 + f64::from(u8::from(at_s % 60 == 59)) * 15.0),
    };
    let ready = second.wanted;
    let sample = &mut second.workloads[0];
    sample.established = ready * 7 / 10;
    sample.opening = if kind == PhaseKind::Ramp { 800 } else { 0 };
    sample.opened = if kind == PhaseKind::Ramp { 10_000 } else { 0 };
    (0..sample.opened / 10).for_each(|_| {
        record_ns(&mut sample.opening_time, dice.near(3.0));
        record_ns(&mut sample.first_call, dice.near(6.0));
    });
    if rate > 0 {
        calls(sample, dice, rate, slow);
    }
    if spoiled && at_s % 40 == 25 {
        sample.faults[Fault::Timeout.index()] = 12;
        sample.faults[Fault::Status.index()] = 3;
        let text = "503 Service Unavailable: <b>draining</b> & \"busy\"";
        second.examples =
            vec![(Fault::Status, text.to_owned()), (Fault::Timeout, "10 s".to_owned())];
    }
    let listeners = &mut second.workloads[1];
    listeners.established = ready - ready * 7 / 10;
    if at_s % 10 == 9 && kind == PhaseKind::Hold {
        listeners.updates = 30_000;
        (0..3_000).for_each(|_| record_ns(&mut listeners.delivery, dice.near(90.0)));
    }
    (0..200).for_each(|_| record_ns(&mut second.late, dice.near(0.05)));
    let busy = if rate > 0 { 0.62 } else { 0.4 };
    for shard in &mut second.shards {
        shard.established = ready / u32::from(plan.shards);
        shard.cpu_s = busy * (0.9 + 0.2 * dice.roll()) / f64::from(plan.shards);
        (shard.sent, shard.answered) = (rate / 8, rate / 8);
        shard.tick_ms_max = 2.0 * dice.skewed();
    }
}

fn nodes(at_s: f64, clients: u32, dice: &mut Dice) -> Vec<NodeMetrics> {
    let node = |node: usize| {
        let share = f64::from(clients) / 3.0;
        let shards = (0..8).map(|shard| {
            let name = "ringmesh_connections{shard=\"";
            (
                format!("{name}{shard}\",transport=\"http\"}}"),
                (share / 8.0).round() + f64::from(shard),
            )
        });
        let mut values = shards.collect::<Vec<_>>();
        let requests = at_s * 16_000.0 + dice.roll() * 300.0 * float(node as u64 + 1);
        values.push(("ringmesh_requests_total{shard=\"0\"}".to_owned(), requests));
        values.push(("process_cpu_seconds_total".to_owned(), at_s * 0.25 + dice.roll() * 0.01));
        NodeMetrics { at_s, node, values }
    };
    let mut node = node;
    (0..3).map(&mut node).collect()
}

/// The run's length, s, of which the hold takes most: five minutes and a half to look at, less
/// than two to test with.
fn length_s() -> u32 {
    if std::env::var_os("RINGMESH_SAMPLE").is_some() { 330 } else { 110 }
}

/// 100,000 connections.
fn run(shards: u16, spoiled: bool) -> (Plan, Folder) {
    let mut phases = [
        phase(PhaseKind::Ramp, 10),
        phase(PhaseKind::Hold, u64::from(length_s()) - 90),
        phase(PhaseKind::Burst, 30),
        phase(PhaseKind::Churn, 40),
        phase(PhaseKind::Drain, 10),
    ];
    for phase in &mut phases {
        (phase.connections_from, phase.connections_to) = (100_000, 100_000);
    }
    (phases[0].connections_from, phases[4].connections_to) = (0, 0);
    let listen = Kind::Listen { uris: vec!["ringmesh://counters/0".to_owned()] };
    let workloads = vec![workload("calls", Kind::Http), workload("listeners", listen)];
    let mut plan = plan(&phases, workloads);
    plan.title = "100,000 connections, 50,000 calls/s for five minutes".to_owned();
    plan.shards = shards;
    plan.admins = ["one", "two", "three"]
        .map(|name| (name.to_owned(), "127.0.0.1:9180".parse().unwrap()))
        .to_vec();
    if let Some(folder) = std::env::var_os("RINGMESH_SAMPLE") {
        let name = if spoiled { "spoiled" } else { "good" };
        plan.out = std::path::PathBuf::from(folder).join(name);
    }
    let folder = Folder::create(&plan, surroundings()).unwrap();
    (plan, folder)
}

fn write(shards: u16, spoiled: bool, ended: Ended) {
    let (plan, mut folder) = run(shards, spoiled);
    let mut dice = Dice(7);
    let mut sums = Resources { generator_rss_bytes: 90 << 20, ..Resources::default() };
    sums.server_rss_bytes = Some(60 << 20);
    sums.server_cpu_s = Some(0.0);
    folder.add_resources(&sums).unwrap();
    for at_s in 0..if spoiled { length_s() - 33 } else { length_s() + 1 } {
        let mut second = second(&plan, at_s);
        fill(&plan, &mut second, at_s, &mut dice, spoiled);
        if spoiled {
            second.shards[1].cpu_s = 0.97;
        }
        let clients = second.wanted;
        folder.add_second(&second).unwrap();
        sums.at_s = f64::from(at_s) + 1.0;
        sums.generator_cpu_s += 0.6 + 0.05 * dice.roll();
        sums.server_cpu_s = sums.server_cpu_s.map(|s| s + 0.7 + 0.1 * dice.roll());
        sums.machine_busy_s += 1.4 + 0.2 * dice.roll();
        sums.server_rss_bytes = Some((60 << 20) + u64::from(clients) * 900);
        sums.slab_bytes = (300 << 20) + u64::from(clients) * 9_700;
        sums.available_bytes = 20 << 30;
        sums.tcp_bytes = u64::from(clients) * 40;
        folder.add_resources(&sums).unwrap();
        folder.add_nodes(&nodes(f64::from(at_s) + 1.0, clients, &mut dice)).unwrap();
    }
    let summary = folder.finish(ended).unwrap();
    assert_eq!(summary.generator_saturated, spoiled, "{:?}", summary.generator_saturated_why);
    read_back(&plan, &summary);
    let page = fs::read_to_string(plan.out.join("report.html")).unwrap();
    assert_eq!(page.contains("GENERATOR SATURATED"), spoiled);
    assert_eq!(page.contains("INTERRUPTED"), spoiled);
    assert!(!page.contains("<b>draining</b>") && !page.contains("NaN"));
    assert!(page.len() < 3_000_000, "{} B", page.len());
    // Nothing is fetched.
    for fetching in ["http://www", "https://", "src=", "@import", "url(", "<link", "<script"] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    assert!(page.matches("<figure>").count() >= 12);
    if std::env::var_os("RINGMESH_SAMPLE").is_none() {
        fs::remove_dir_all(&plan.out).unwrap();
    }
}

/// The interval log tells the same as the summary.
fn read_back(plan: &Plan, summary: &Summary) {
    let log = fs::read(plan.out.join("latency.hlog")).unwrap();
    let mut sums = BTreeMap::<Option<String>, Histogram<u64>>::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let phase = plan
            .script
            .phase_at(u64::try_from(interval.start_timestamp().as_nanos()).unwrap())
            .unwrap();
        if !is_measured(&plan.script, phase) {
            continue;
        }
        let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
        let times: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        let tag = interval.tag().map(|tag| tag.as_str().to_owned());
        let sum = sums.entry(tag).or_insert_with(|| Histogram::new(3).unwrap());
        sum.add(times).unwrap();
    }
    let told = |tag: Option<&str>| hdr::percentiles(&sums[&tag.map(str::to_owned)]);
    assert_eq!(told(None), summary.latency_ms);
    assert_eq!(told(Some("calls")), summary.workloads[0].latency_ms);
    assert_eq!(told(Some("listeners.delivery")), summary.delivery_ms);
}

#[test]
fn writes_a_sample_folder() {
    write(8, false, Ended::Complete);
}

#[test]
fn writes_a_sample_folder_of_a_run_that_was_spoiled() {
    write(56, true, Ended::Interrupted);
}
