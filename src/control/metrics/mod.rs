//! `/metrics`: the snapshot in the Prometheus text format, in seconds and bytes.
//!
//! A shard's counters are exported as they are, one series a shard: sums are the reader's. Series
//! by several labels appear when they first count, since 56 shards would have thousands of them.

mod scalars;

use self::scalars::SCALARS;
use super::Plane;
use super::census::{ShardView, Snapshot};
use super::process::ProcessUse;
use super::state::Phase;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use ringmesh_runtime::probe::{
    Bound, Lane, Method, Outcome, Probe, SessionEnd, StatusClass, Transport,
};
use serde_json::Value;

use MetricType::{COUNTER, GAUGE, HISTOGRAM};

/// Upper bounds of the latency buckets: in µs, as the shards count, and in seconds.
const BUCKETS: &[(u64, f64)] = &[
    (50, 0.000_05),
    (100, 0.000_1),
    (250, 0.000_25),
    (500, 0.000_5),
    (1_000, 0.001),
    (2_500, 0.002_5),
    (5_000, 0.005),
    (10_000, 0.01),
    (25_000, 0.025),
    (50_000, 0.05),
    (100_000, 0.1),
    (250_000, 0.25),
    (500_000, 0.5),
    (1_000_000, 1.0),
    (2_500_000, 2.5),
    (5_000_000, 5.0),
    (10_000_000, 10.0),
    (30_000_000, 30.0),
    (60_000_000, 60.0),
];

/// Renders everything.
///
/// # Errors
/// Where the encoder finds a family malformed: a bug.
pub(super) fn render(plane: &Plane, snapshot: &Snapshot) -> prometheus::Result<String> {
    let mut families = Vec::with_capacity(96);
    push_server(&mut families, plane);
    push_shards(&mut families, plane, snapshot);
    push_pools(&mut families, plane);
    push_admin(&mut families, plane);
    push_process(&mut families, plane.process_start_s);
    // The encoder takes a family without series for an error.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&families)
}

type Families = Vec<MetricFamily>;

fn push_server(families: &mut Families, plane: &Plane) {
    let build = vec![
        pair("version", env!("CARGO_PKG_VERSION")),
        pair("commit", option_env!("RINGMESH_COMMIT").unwrap_or_default()),
        pair("profile", if cfg!(debug_assertions) { "debug" } else { "release" }),
    ];
    let help = "Which build this is; always 1.";
    families.push(family("ringmesh_build_info", help, GAUGE, vec![gauge(build, 1.0)]));

    let help = "The resolved plan; always 1.";
    let config = vec![gauge(config_labels(plane), 1.0)];
    families.push(family("ringmesh_config_info", help, GAUGE, config));

    let phase = plane.state.phase();
    let is = |known: &Phase| f64::from(u8::from(*known == phase));
    let phases = Phase::ALL.iter().map(|p| gauge(vec![pair("phase", p.label())], is(p)));
    let help = "1 for the phase that the process is in.";
    families.push(family("ringmesh_phase", help, GAUGE, phases.collect()));

    let help = "Time since the start.";
    let uptime = gauge(vec![], plane.state.uptime().as_secs_f64());
    families.push(family("ringmesh_uptime_seconds", help, GAUGE, vec![uptime]));
}

/// Members of the plan with one value, under names that may be labels.
fn config_labels(plane: &Plane) -> Vec<LabelPair> {
    let is_label = |name: &str| {
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        rest && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let members = plane.plan.iter().filter(|(name, _)| is_label(name));
    members.filter_map(|(name, value)| Some(pair(name, &text(value)?))).collect()
}

fn push_shards(families: &mut Families, plane: &Plane, snapshot: &Snapshot) {
    let shards = &snapshot.shards;
    let watch = plane.watch.borrow();
    let stuck = shards
        .iter()
        .enumerate()
        .map(|(at, view)| gauge(vec![shard(view)], watch.stuck(at).as_secs_f64()));
    let help = "How long the shard has been within its present tick, if over 100 ms.";
    families.push(family("ringmesh_shard_stuck_seconds", help, GAUGE, stuck.collect()));

    for &(name, help, kind, value) in SCALARS {
        let metrics = shards.iter().map(|view| metric(kind, vec![shard(view)], value(view)));
        families.push(family(&format!("ringmesh_{name}"), help, kind, metrics.collect()));
    }
    push_connections(families, shards);
    push_requests(families, shards);
    push_sessions(families, shards);
    push_lanes(families, shards);

    let help = "Latency from the request's last byte to the first send of its answer, within 1 %.";
    let latency = shards.iter().map(|view| {
        let mut metric = Metric::from_label(vec![shard(view)]);
        metric.set_histogram(histogram(&view.probe));
        metric
    });
    let name = "ringmesh_request_duration_seconds";
    families.push(family(name, help, HISTOGRAM, latency.collect()));
}

fn push_connections(families: &mut Families, shards: &[ShardView]) {
    type Value = fn(&Probe, Transport) -> u64;
    let known: [(&str, &str, MetricType, Value); 3] = [
        ("ringmesh_connections", "Open connections.", GAUGE, Probe::connections_open),
        (
            "ringmesh_connections_accepted_total",
            "Connections accepted.",
            COUNTER,
            |probe, transport| probe.connections_accepted[transport.index()],
        ),
        (
            "ringmesh_connections_closed_total",
            "Connections closed.",
            COUNTER,
            |probe, transport| probe.connections_closed[transport.index()],
        ),
    ];
    for (name, help, kind, value) in known {
        let mut metrics = Vec::new();
        for view in shards {
            for &transport in Transport::ALL {
                let used = view.probe.connections_accepted[transport.index()] > 0;
                if used || transport == Transport::Http {
                    let labels = vec![shard(view), pair("transport", transport.label())];
                    metrics.push(metric(kind, labels, value(&view.probe, transport) as f64));
                }
            }
        }
        families.push(family(name, help, kind, metrics));
    }
}

fn push_requests(families: &mut Families, shards: &[ShardView]) {
    let (mut requests, mut responses, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for view in shards {
        for method in Method::ALL {
            for outcome in Outcome::ALL {
                let count = view.probe.requests[method.index()][outcome.index()];
                let common = *method == Method::ToolsCall && *outcome == Outcome::Ok;
                if count > 0 || common {
                    let method = pair("method", method.label());
                    let outcome = pair("outcome", outcome.label());
                    requests.push(counter(vec![shard(view), method, outcome], count));
                }
            }
        }
        for class in StatusClass::ALL {
            let count = view.probe.http_responses[class.index()];
            responses.push(counter(vec![shard(view), pair("class", class.label())], count));
        }
        for bound in Bound::ALL {
            let count = view.probe.refusals[bound.index()];
            refusals.push(counter(vec![shard(view), pair("bound", bound.label())], count));
        }
    }
    let help = "Requests answered, by method and how they ended.";
    families.push(family("ringmesh_requests_total", help, COUNTER, requests));
    let help = "HTTP responses by the first digit of their status.";
    families.push(family("ringmesh_http_responses_total", help, COUNTER, responses));
    let help = "What was refused, cut off or shed, by the bound that it met.";
    families.push(family("ringmesh_refusals_total", help, COUNTER, refusals));
}

fn push_sessions(families: &mut Families, shards: &[ShardView]) {
    let mut ended = Vec::new();
    for view in shards {
        for cause in SessionEnd::ALL {
            let count = view.probe.sessions_ended[cause.index()];
            ended.push(counter(vec![shard(view), pair("cause", cause.label())], count));
        }
    }
    let help = "Sessions of the legacy era that ended, by what ended them.";
    families.push(family("ringmesh_sessions_ended_total", help, COUNTER, ended));
}

fn push_lanes(families: &mut Families, shards: &[ShardView]) {
    type Values = fn(&Probe) -> &[u64; Lane::COUNT];
    let known: [(&str, &str, MetricType, Values); 3] = [
        (
            "ringmesh_mailbox_depth",
            "Messages that wait in a lane of the mailbox.",
            GAUGE,
            |probe| &probe.mailbox_depth,
        ),
        (
            "ringmesh_mailbox_depth_max",
            "Most messages that waited in the lane at once since the start.",
            GAUGE,
            |probe| &probe.mailbox_depth_max,
        ),
        (
            "ringmesh_mailbox_busy_total",
            "Messages refused because the lane was full.",
            COUNTER,
            |probe| &probe.mailbox_busy,
        ),
    ];
    for (name, help, kind, values) in known {
        let mut metrics = Vec::new();
        for view in shards {
            for lane in Lane::ALL {
                let labels = vec![shard(view), pair("lane", lane.label())];
                metrics.push(metric(kind, labels, values(&view.probe)[lane.index()] as f64));
            }
        }
        families.push(family(name, help, kind, metrics));
    }
}

fn push_pools(families: &mut Families, plane: &Plane) {
    let stats = plane.pools.stats();
    let running = [("async", stats.async_running), ("blocking", stats.blocking_running)];
    let running = running.map(|(pool, count)| gauge(vec![pair("pool", pool)], count as f64));
    let help = "Calls that run in a pool of tools.";
    families.push(family("ringmesh_pool_running", help, GAUGE, running.into()));
    let lost = gauge(vec![], stats.blocking_lost as f64);
    let help = "Threads of blocking tools that overran their time and have not come back.";
    families.push(family("ringmesh_pool_threads_lost", help, GAUGE, vec![lost]));
    let queued = gauge(vec![], stats.queued as f64);
    let help = "Calls that wait for a thread of a pool.";
    families.push(family("ringmesh_pool_queued", help, GAUGE, vec![queued]));
    let refused = counter(vec![], stats.refused);
    let help = "Calls refused because their pool was full.";
    families.push(family("ringmesh_pool_refused_total", help, COUNTER, vec![refused]));
}

fn push_admin(families: &mut Families, plane: &Plane) {
    let admin = &plane.admin;
    let open = gauge(vec![], admin.open() as f64);
    let help = "Open connections of the admin endpoint.";
    families.push(family("ringmesh_admin_connections", help, GAUGE, vec![open]));
    for (name, help, count) in [
        ("requests_total", "Requests to the admin endpoint.", &admin.requests),
        ("refused_total", "Admin connections closed because of their bound.", &admin.refused),
        ("timed_out_total", "Admin connections closed as too slow or idle.", &admin.timed_out),
    ] {
        let name = format!("ringmesh_admin_{name}");
        families.push(family(&name, help, COUNTER, vec![counter(vec![], count.get())]));
    }
}

/// Under the names that Prometheus's own client libraries use.
fn push_process(families: &mut Families, start_s: Option<f64>) {
    let process = ProcessUse::read();
    for (name, help, kind, value) in [
        (
            "resident_memory_bytes",
            "Resident memory size.",
            GAUGE,
            process.resident_bytes.map(|bytes| bytes as f64),
        ),
        (
            "virtual_memory_bytes",
            "Virtual memory size.",
            GAUGE,
            process.virtual_bytes.map(|bytes| bytes as f64),
        ),
        ("cpu_seconds_total", "User and system CPU time.", COUNTER, process.cpu_s),
        (
            "open_fds",
            "Open descriptors; connections of shards take none.",
            GAUGE,
            process.open_fds.map(|count| count as f64),
        ),
        ("max_fds", "Bound of open descriptors.", GAUGE, process.max_fds.map(|max| max as f64)),
        ("threads", "Threads.", GAUGE, process.threads.map(|count| count as f64)),
        ("start_time_seconds", "Start of the process since 1970.", GAUGE, start_s),
    ] {
        let metrics = value.map(|value| metric(kind, vec![], value)).into_iter().collect();
        families.push(family(&format!("process_{name}"), help, kind, metrics));
    }
}

/// The shard's histogram in few buckets. A bin of it counts where it begins.
fn histogram(probe: &Probe) -> Histogram {
    let mut counts = vec![0; BUCKETS.len()];
    let mut sum_us = 0.0;
    for bin in probe.latency_us.iter_recorded() {
        let (value, count) = (bin.value_iterated_to(), bin.count_at_value());
        sum_us += probe.latency_us.median_equivalent(value) as f64 * count as f64;
        let lowest = probe.latency_us.lowest_equivalent(value);
        let bucket = BUCKETS.partition_point(|&(bound, _)| bound < lowest);
        if let Some(bucket) = counts.get_mut(bucket) {
            *bucket += count;
        }
    }
    let mut cumulative = 0;
    let buckets = BUCKETS.iter().zip(counts).map(|(&(_, bound), count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(probe.latency_us.len());
    histogram.set_sample_sum(sum_us / 1e6);
    histogram
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn metric(kind: MetricType, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if kind == COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    metric(GAUGE, labels, value)
}

fn counter(labels: Vec<LabelPair>, count: u64) -> Metric {
    metric(COUNTER, labels, count as f64)
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn shard(view: &ShardView) -> LabelPair {
    pair("shard", &view.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_the_shard_recorded() {
        let mut probe = Probe::new(0);
        for (us, count) in [(1, 1), (50, 2), (51, 4), (1_000, 8), (59_000_000, 16)] {
            probe.record_latency(us, count);
        }
        probe.record_latency(100_000_000, 32);
        let histogram = histogram(&probe);
        let at = |bound| {
            let bucket = histogram.get_bucket().iter().find(|b| b.upper_bound() == bound);
            bucket.unwrap().cumulative_count()
        };
        assert_eq!((at(0.000_05), at(0.000_1), at(0.001), at(60.0)), (3, 7, 15, 31));
        assert_eq!(histogram.get_sample_count(), 63);
        let sum = 59.0 * 16.0 + 100.0 * 32.0;
        assert!((histogram.get_sample_sum() / sum - 1.0).abs() < 0.01);
        assert!(BUCKETS.iter().all(|&(us, s)| (us as f64 / 1e6 - s).abs() < 1e-12));
    }
}
