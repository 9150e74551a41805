//! What the report draws over time, bounded whatever the length of the run: points that are too
//! many are joined with their neighbours, so that a peak stays visible.

use super::float;
use super::hdr::{self, Long};
use super::tally::Count;
use crate::load::record::{NodeMetrics, Resources, Second};

/// Points of a series; joined pairwise when there are more.
pub(super) const POINTS_MAX: usize = 1_000;
/// Roles whose CPU is drawn over time.
pub(super) const SHARDS_DRAWN_MAX: usize = 8;
/// Nodes that are drawn.
pub(super) const NODES_DRAWN_MAX: usize = 8;
/// Rows of the heat map: so many to each doubling of latency, from 1 µs on.
pub(super) const ROWS_PER_DOUBLING: u32 = 4;
/// Up to 2^27 µs, more than the longest time that is told apart.
pub(super) const ROWS: usize = 27 * ROWS_PER_DOUBLING as usize;

/// A point that can stand for the one after it as well.
pub(super) trait Join {
    fn join(&mut self, later: &Self);
}

/// At most `POINTS_MAX` points.
#[derive(Debug)]
pub(super) struct Series<T> {
    points: Vec<T>,
    /// How many points came for each that is kept, and how many did for the last one.
    each: u32,
    in_last: u32,
}

impl<T: Join> Series<T> {
    pub(super) fn new() -> Self {
        Self { points: Vec::new(), each: 1, in_last: 0 }
    }

    pub(super) fn push(&mut self, point: T) {
        match self.points.last_mut() {
            Some(last) if self.in_last < self.each => {
                last.join(&point);
                self.in_last += 1;
            }
            _ => {
                if self.points.len() == POINTS_MAX {
                    self.halve();
                }
                self.points.push(point);
                self.in_last = 1;
            }
        }
    }

    fn halve(&mut self) {
        let mut halved: Vec<T> = Vec::with_capacity(POINTS_MAX);
        for (index, point) in self.points.drain(..).enumerate() {
            match halved.last_mut() {
                Some(last) if index % 2 == 1 => last.join(&point),
                _ => halved.push(point),
            }
        }
        (self.points, self.each) = (halved, self.each * 2);
    }

    /// Whether points stand for several.
    pub(super) fn joined(&self) -> bool {
        self.each > 1
    }

    pub(super) fn points(&self) -> &[T] {
        &self.points
    }
}

/// A second, or several.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    pub(super) wanted: u64,
    pub(super) established: u64,
    pub(super) opening: u64,
    pub(super) due: u64,
    pub(super) answered: u64,
    pub(super) errors: u64,
    pub(super) updates: u64,
    /// Of the worst second; `None` without calls.
    pub(super) latency: Option<Latency>,
    pub(super) late_p99_ms: Option<f64>,
    /// Counts of latency by rows.
    pub(super) heat: Vec<u32>,
    /// CPU time of roles, s, of those that are drawn.
    pub(super) shards_cpu_s: Vec<f64>,
}

/// Percentiles, ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Moment {
    /// Of clients that call nothing, latency is that of updates.
    pub(super) fn of(second: &Second, all: &Count) -> Self {
        let times = if all.latency.is_empty() { &all.delivery } else { &all.latency };
        let p = hdr::percentiles(times);
        let latency = Latency { p50: p.p50, p90: p.p90, p99: p.p99, p999: p.p999, max: p.max };
        let mut late = hdr::long();
        hdr::merge(&mut late, &second.late);
        let shards = second.shards.iter().take(SHARDS_DRAWN_MAX).map(|shard| shard.cpu_s);
        Self {
            from_s: second.from_s,
            to_s: second.to_s,
            wanted: second.wanted.into(),
            established: all.established,
            opening: all.opening,
            due: all.due,
            answered: all.answered,
            errors: all.errors(),
            updates: all.updates,
            latency: (!times.is_empty()).then_some(latency),
            late_p99_ms: (!late.is_empty()).then(|| hdr::percentiles(&late).p99),
            heat: heat(times),
            shards_cpu_s: shards.collect(),
        }
    }
}

impl Join for Moment {
    fn join(&mut self, later: &Self) {
        self.to_s = later.to_s;
        (self.wanted, self.opening) = (later.wanted, later.opening);
        self.established = later.established;
        self.due += later.due;
        self.answered += later.answered;
        self.errors += later.errors;
        self.updates += later.updates;
        self.latency = match (self.latency, later.latency) {
            (Some(a), Some(b)) => Some(Latency {
                p50: a.p50.max(b.p50),
                p90: a.p90.max(b.p90),
                p99: a.p99.max(b.p99),
                p999: a.p999.max(b.p999),
                max: a.max.max(b.max),
            }),
            (one, other) => one.or(other),
        };
        self.late_p99_ms = match (self.late_p99_ms, later.late_p99_ms) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (one, other) => one.or(other),
        };
        let cells = self.heat.iter_mut().zip(&later.heat);
        cells.for_each(|(cell, more)| *cell = cell.saturating_add(*more));
        let shards = self.shards_cpu_s.iter_mut().zip(&later.shards_cpu_s);
        shards.for_each(|(cpu_s, more_s)| *cpu_s += more_s);
    }
}

fn heat(times: &Long) -> Vec<u32> {
    let mut rows = vec![0u32; ROWS];
    let mut row = 0;
    // Values come in order, so the row is never far.
    for value in times.iter_recorded() {
        while row + 1 < ROWS && row_us(row + 1) <= float(value.value_iterated_to()) {
            row += 1;
        }
        let count = u32::try_from(value.count_at_value()).unwrap_or(u32::MAX);
        rows[row] = rows[row].saturating_add(count);
    }
    rows
}

/// The shortest time of a row, µs.
pub(super) fn row_us(row: usize) -> f64 {
    (float(row as u64) / f64::from(ROWS_PER_DOUBLING)).exp2()
}

/// CPU times are sums since the begin, so the later reading stands for both.
impl Join for Resources {
    fn join(&mut self, later: &Self) {
        *self = *later;
    }
}

/// What is drawn of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodePoint {
    pub(super) at_s: f64,
    /// Sums since its start.
    pub(super) requests: f64,
    pub(super) cpu_s: f64,
}

impl NodePoint {
    pub(super) fn of(metrics: &NodeMetrics) -> Self {
        let sum = |name: &str| {
            let of_name = metrics.values.iter().filter(|(metric, _)| {
                metric.strip_prefix(name).is_some_and(|l| l.is_empty() || l.starts_with('{'))
            });
            of_name.map(|(_, value)| value).filter(|value| value.is_finite()).sum::<f64>()
        };
        Self {
            at_s: metrics.at_s,
            requests: sum("ringmesh_requests_total"),
            cpu_s: sum("process_cpu_seconds_total"),
        }
    }
}

impl Join for NodePoint {
    fn join(&mut self, later: &Self) {
        *self = *later;
    }
}

/// Connections of each shard of a server when it had most, by their labels.
pub(super) fn shard_connections(metrics: &NodeMetrics) -> Vec<(u32, f64)> {
    let mut shards = std::collections::BTreeMap::<u32, f64>::new();
    for (metric, value) in &metrics.values {
        let Some(labels) = metric.strip_prefix("ringmesh_connections{") else { continue };
        let shard = labels.split_once("shard=\"").and_then(|(_, rest)| rest.split_once('"'));
        if let Some(shard) = shard.and_then(|(shard, _)| shard.parse().ok())
            && value.is_finite()
        {
            *shards.entry(shard).or_default() += value;
        }
    }
    shards.into_iter().collect()
}

/// See the module.
#[derive(Debug)]
pub(super) struct History {
    pub(super) moments: Series<Moment>,
    /// The first reading, which joining would lose, and all.
    pub(super) before: Option<Resources>,
    pub(super) resources: Series<Resources>,
    /// By node, as many as are drawn.
    pub(super) nodes: Vec<Series<NodePoint>>,
    /// By node: its shards when it had most connections.
    pub(super) node_shards: Vec<Vec<(u32, f64)>>,
}

impl History {
    pub(super) fn new(nodes: usize) -> Self {
        let nodes = nodes.min(NODES_DRAWN_MAX);
        Self {
            moments: Series::new(),
            before: None,
            resources: Series::new(),
            nodes: (0..nodes).map(|_| Series::new()).collect(),
            node_shards: vec![Vec::new(); nodes],
        }
    }

    pub(super) fn add_resources(&mut self, now: &Resources) {
        self.before.get_or_insert(*now);
        self.resources.push(*now);
    }

    pub(super) fn add_node(&mut self, metrics: &NodeMetrics) {
        let Some(series) = self.nodes.get_mut(metrics.node) else { return };
        series.push(NodePoint::of(metrics));
        let (known, now) = (&mut self.node_shards[metrics.node], shard_connections(metrics));
        let sum = |shards: &[(u32, f64)]| shards.iter().map(|(_, count)| count).sum::<f64>();
        if known.is_empty() || sum(&now) > sum(known) {
            *known = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Span(u32, u32);

    impl Join for Span {
        fn join(&mut self, later: &Self) {
            assert_eq!(self.1, later.0, "neighbours");
            self.1 = later.1;
        }
    }

    #[test]
    fn a_series_stays_short_and_leaves_nothing_out() {
        for count in [0, 1, 999, 1_000, 1_001, 5_432, 86_400] {
            let mut series = Series::new();
            (0..count).for_each(|n| series.push(Span(n, n + 1)));
            let points = series.points();
            assert!(
                points.len() <= POINTS_MAX
                    && points.len() >= usize::try_from(count).unwrap().min(500)
            );
            assert_eq!(points.first().map_or(0, |span| span.0), 0);
            assert_eq!(points.last().map_or(0, |span| span.1), count);
            assert!(points.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
    }

    #[test]
    fn times_fall_into_rows_that_double_every_four() {
        let mut times = hdr::long();
        for us in [1, 2, 4, 5, 1_000, 1_100, 120_000_000] {
            times.record(us).unwrap();
        }
        let rows = heat(&times);
        let used = (0..ROWS).filter(|row| rows[*row] > 0).collect::<Vec<_>>();
        assert_eq!(used, [0, 4, 8, 9, 39, 40, 107]);
        assert_eq!((row_us(8), row_us(40)), (4.0, 1_024.0));
    }

    #[test]
    fn shards_of_a_server_are_found_by_their_labels() {
        let of = |shard: u32, transport: &str, value| {
            let name = "ringmesh_connections";
            (format!("{name}{{shard=\"{shard}\",transport=\"{transport}\"}}"), value)
        };
        let mut values = vec![of(1, "http", 5.0), of(0, "http", 3.0), of(1, "line", 2.0)];
        values.extend([of(1, "other", f64::INFINITY), of(2, "http", f64::NAN)]);
        values.push(("ringmesh_connections_accepted_total{shard=\"1\"}".to_owned(), 99.0));
        let metrics = NodeMetrics { at_s: 0.0, node: 0, values };
        assert_eq!(shard_connections(&metrics), [(0, 3.0), (1, 7.0)]);
        let requests = |tool: &str| (format!("ringmesh_requests_total{{tool=\"{tool}\"}}"), 2.0);
        let values = vec![requests("a"), requests("b")];
        assert_eq!(NodePoint::of(&NodeMetrics { values, ..metrics }).requests, 4.0);
    }
}
