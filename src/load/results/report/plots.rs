//! Which plots the report has, and what is in them.

use super::html::{escaped, plot};
use super::svg::{Axis, Plot, Shade, count, milliseconds};
use crate::load::record::Resources;
use crate::load::results::hdr::{Long, quantiles};
use crate::load::results::series::{History, Latency, Moment, NodePoint, ROWS, row_us};
use crate::load::results::tally::{Tally, bounds_s};
use crate::load::results::{float, ratio};
use ringmesh_runtime::load::script::Script;

/// Columns of the heat map.
const COLUMNS_MAX: usize = 150;
/// Shades of the heat map: the classes `h1` to `h8`.
const SHADES: usize = 8;
/// Bars of a plot.
const BARS_MAX: usize = 256;
/// Colours of lines: the classes `c0` to `c7`.
const COLOURS: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
/// Rates of shorter intervals, such as the rest after the last second, say nothing.
const INTERVAL_S_MIN: f64 = 0.1;
const WORST: &str = "Each point is the worst of several seconds.";

/// A line's class, its name, and what it shows of a point.
type Line<T, Y> = (&'static str, &'static str, fn(&T) -> Y);

/// What all plots over time have in common.
pub(super) struct Time<'a> {
    pub(super) history: &'a History,
    shades: Vec<Shade>,
    run_s: f64,
}

impl<'a> Time<'a> {
    pub(super) fn new(history: &'a History, script: &Script, run_s: f64) -> Self {
        let shade = |(index, phase): (usize, &ringmesh_runtime::load::script::Phase)| {
            let (from_s, to_s) = bounds_s(script, index);
            Shade { name: phase.name.clone(), from_s, to_s: to_s.min(run_s) }
        };
        let phases = script.phases.iter().enumerate().map(shade);
        Self { history, shades: phases.filter(|shade| shade.from_s < run_s).collect(), run_s }
    }

    /// Names and times of the phases, which have no room in a plot.
    pub(super) fn phases(&self) -> String {
        let phase =
            |shade: &Shade| format!("{} {:.0}–{:.0} s", shade.name, shade.from_s, shade.to_s);
        let phases = self.shades.iter().map(phase).collect::<Vec<_>>().join(", ");
        format!("<p class=\"soft\">Phases, shaded in turn: {}</p>", escaped(&phases))
    }

    /// A remark on plots of percentiles, which cannot be added up.
    fn worst(&self) -> &'static str {
        if self.history.moments.joined() { WORST } else { "" }
    }

    fn moments(&self) -> &'a [Moment] {
        self.history.moments.points()
    }

    fn plot(&self, y: Axis) -> Plot {
        Plot::new(Axis::time(self.run_s), y, &self.shades)
    }

    /// Lines of counts: a class, a name, and the count of a moment.
    fn lines(&self, heading: &str, at: fn(&Moment) -> f64, lines: &[Line<Moment, f64>]) -> String {
        let moments = self.moments();
        let moments = || moments.iter().filter(|m| m.to_s - m.from_s >= INTERVAL_S_MIN);
        let all = lines.iter().flat_map(|(.., value)| moments().map(value));
        let mut plot_ = self.plot(Axis::linear(all.fold(0.0, f64::max), count));
        for (class, _, value) in lines {
            plot_.line(class, moments().map(|moment| (at(moment), Some(value(moment)))));
        }
        let legend = lines.iter().map(|(class, name, _)| (*class, *name)).collect::<Vec<_>>();
        plot(heading, &legend, "", &plot_.finish(heading))
    }
}

fn middle(moment: &Moment) -> f64 {
    f64::midpoint(moment.from_s, moment.to_s)
}

fn per_s(moment: &Moment, calls: u64) -> f64 {
    ratio(float(calls), moment.to_s - moment.from_s)
}

pub(super) fn connections(time: &Time<'_>) -> String {
    time.lines(
        "Connections",
        |moment| moment.to_s,
        &[
            ("c5", "wanted", |moment| float(moment.wanted)),
            ("c1", "opening", |moment| float(moment.opening)),
            ("c0", "ready", |moment| float(moment.established)),
        ],
    )
}

pub(super) fn rates(time: &Time<'_>) -> String {
    let updates = time.moments().iter().any(|moment| moment.updates > 0);
    let lines: [Line<Moment, f64>; 4] = [
        ("c5", "due", |moment| per_s(moment, moment.due)),
        ("c0", "answered", |moment| per_s(moment, moment.answered)),
        ("c3", "errors", |moment| per_s(moment, moment.errors)),
        ("c2", "updates", |moment| per_s(moment, moment.updates)),
    ];
    let heading = if updates { "Calls and updates per second" } else { "Calls per second" };
    time.lines(heading, middle, &lines[..if updates { 4 } else { 3 }])
}

pub(super) fn latency(time: &Time<'_>) -> String {
    let all = || time.moments().iter().filter_map(|moment| moment.latency);
    let min = all().map(|latency| latency.p50).fold(f64::MAX, f64::min);
    let max = all().map(|latency| latency.max).fold(0.0, f64::max);
    if max == 0.0 {
        return String::new();
    }
    let mut drawn = time.plot(Axis::log_ms(min, max));
    let lines: [Line<Latency, f64>; 5] = [
        ("c5", "max", |latency| latency.max),
        ("c3", "p99.9", |latency| latency.p999),
        ("c1", "p99", |latency| latency.p99),
        ("c2", "p90", |latency| latency.p90),
        ("c0", "p50", |latency| latency.p50),
    ];
    for (class, _, value) in lines {
        let point = |m: &Moment| (middle(m), m.latency.as_ref().map(value));
        drawn.line(class, time.moments().iter().map(point));
    }
    let legend = lines.map(|(class, name, _)| (class, name));
    plot(
        "Latency over time",
        &legend,
        time.worst(),
        &drawn.finish("Percentiles of latency over time"),
    )
}

pub(super) fn late(time: &Time<'_>) -> String {
    let max = time.moments().iter().filter_map(|moment| moment.late_p99_ms).fold(0.0, f64::max);
    if max == 0.0 {
        return String::new();
    }
    let mut drawn = time.plot(Axis::linear(max, milliseconds));
    drawn.line("c1", time.moments().iter().map(|m| (middle(m), m.late_p99_ms)));
    let heading = "Sent late by the generator";
    plot(heading, &[("c1", "p99")], time.worst(), &drawn.finish(heading))
}

/// Which share of calls took at most so long.
pub(super) fn curve(tally: &Tally) -> String {
    let whole = &tally.whole;
    let known: [(&str, &str, &Long); 3] = [
        ("c0", "from due", &whole.latency),
        ("c2", "from sending", &whole.service),
        ("c1", "delivery of updates", &whole.delivery),
    ];
    let known = known.iter().filter(|(.., times)| !times.is_empty()).collect::<Vec<_>>();
    let min = known.iter().map(|(.., times)| times.value_at_quantile(0.0)).min();
    let max = known.iter().map(|(.., times)| times.max()).max();
    let most = known.iter().map(|(.., times)| times.len()).max();
    let (Some(min), Some(max), Some(most)) = (min, max, most) else { return String::new() };
    let nines = 10f64.powf(float(most).log10().ceil().clamp(1.0, 9.0));
    let y = Axis::log_ms(float(min) / 1_000.0, float(max) / 1_000.0);
    let mut drawn = Plot::new(Axis::nines(nines), y, &[]);
    for (class, _, times) in &known {
        let steps = quantiles(times).map(|(value_ms, quantile, _)| {
            (if quantile < 1.0 { 1.0 / (1.0 - quantile) } else { nines }, Some(value_ms))
        });
        drawn.line(class, steps);
    }
    let legend = known.iter().map(|(class, name, _)| (*class, *name)).collect::<Vec<_>>();
    let remark = "Of the measured phases: the share of calls that took at most so long.";
    plot("Percentiles", &legend, remark, &drawn.finish("Percentile curve of latency"))
}

/// How many calls took how long, when: the darker, the more.
pub(super) fn heat(time: &Time<'_>) -> String {
    let moments = time.moments();
    let mut columns = Vec::<(f64, f64, Vec<u64>)>::new();
    for moments in moments.chunks(moments.len().div_ceil(COLUMNS_MAX).max(1)) {
        let mut rows = vec![0u64; ROWS];
        for moment in moments {
            rows.iter_mut().zip(&moment.heat).for_each(|(sum, n)| *sum += u64::from(*n));
        }
        columns.push((moments[0].from_s, moments[moments.len() - 1].to_s, rows));
    }
    let used = |row: &usize| columns.iter().any(|(.., rows)| rows[*row] > 0);
    let (Some(first), Some(last)) = ((0..ROWS).find(used), (0..ROWS).rfind(used)) else {
        return String::new();
    };
    let most = columns.iter().flat_map(|(.., rows)| rows.iter().copied()).max().unwrap_or(1);
    let mut drawn = time.plot(Axis::log_ms(row_us(first) / 1_000.0, row_us(last + 1) / 1_000.0));
    for shade in 1..=SHADES {
        let cells = columns.iter().flat_map(|(from_s, to_s, rows)| {
            let of_shade = (first..=last).filter(|row| shade_of(rows[*row], most) == shade);
            of_shade.map(|row| [*from_s, *to_s, row_us(row) / 1_000.0, row_us(row + 1) / 1_000.0])
        });
        drawn.cells(&format!("h{shade}"), cells);
    }
    let remark = "How many calls took how long: the stronger the colour, the more (logarithmic).";
    plot("Latency heat map", &[], remark, &drawn.finish("Heat map of latency over time"))
}

/// 0 for none, else 1 to `SHADES`, by the logarithm.
fn shade_of(calls: u64, most: u64) -> usize {
    if calls == 0 {
        return 0;
    }
    // Squared, since most of what is seen is within a few halvings of the most.
    let share = ratio(float(calls).ln_1p(), float(most).ln_1p()).powi(2);
    (1..SHADES).find(|shade| share * float(SHADES as u64) <= float(*shade as u64)).unwrap_or(SHADES)
}

pub(super) fn cpu(time: &Time<'_>, machine_cores: f64) -> String {
    let server = time.history.before.is_some_and(|before| before.server_cpu_s.is_some());
    let known: [Line<Resources, Option<f64>>; 3] = [
        ("c5", "machine", |now| Some(now.machine_busy_s)),
        ("c1", "generator", |now| Some(now.generator_cpu_s)),
        ("c0", "server", |now| now.server_cpu_s),
    ];
    let mut drawn = time.plot(Axis::linear(machine_cores, count));
    let readings = readings(time);
    for (class, _, sum_s) in &known {
        let pairs = readings.windows(2).filter(|p| p[1].at_s - p[0].at_s >= INTERVAL_S_MIN);
        let cores = pairs.map(|pair| {
            let (was, now) = (&pair[0], &pair[1]);
            let grown_s = sum_s(now).zip(sum_s(was)).map(|(now, was)| (now - was).max(0.0));
            (now.at_s, grown_s.map(|grown_s| ratio(grown_s, now.at_s - was.at_s)))
        });
        drawn.line(class, cores);
    }
    if readings.len() < 2 {
        return String::new();
    }
    let legend = known.iter().map(|(class, name, _)| (*class, *name));
    let legend = legend.take(if server { 3 } else { 2 }).collect::<Vec<_>>();
    plot("Busy cores", &legend, "", &drawn.finish("Busy cores over time"))
}

fn readings(time: &Time<'_>) -> Vec<Resources> {
    let all = time.history.resources.points();
    let before =
        time.history.before.filter(|first| all.first().is_some_and(|r| r.at_s > first.at_s));
    before.iter().chain(all).copied().collect()
}

pub(super) fn memory(time: &Time<'_>) -> String {
    sizes(
        time,
        "Resident memory",
        &[
            ("c1", "generator", |now| Some(now.generator_rss_bytes)),
            ("c0", "server", |now| now.server_rss_bytes),
        ],
    )
}

pub(super) fn kernel_memory(time: &Time<'_>) -> String {
    sizes(
        time,
        "Memory of the kernel",
        &[
            ("c4", "slab", |now| Some(now.slab_bytes)),
            ("c2", "TCP buffers", |now| Some(now.tcp_bytes)),
        ],
    )
}

fn sizes(time: &Time<'_>, heading: &str, known: &[Line<Resources, Option<u64>>]) -> String {
    let readings = readings(time);
    let sizes =
        |of: &Line<Resources, Option<u64>>| readings.iter().filter_map(|now| (of.2)(now)).max();
    let known = known.iter().filter(|size| sizes(size).is_some()).collect::<Vec<_>>();
    let Some(max) = known.iter().filter_map(|size| sizes(size)).max() else {
        return String::new();
    };
    let mut drawn = time.plot(Axis::bytes(float(max)));
    for (class, _, bytes) in &known {
        drawn.line(class, readings.iter().map(|now| (now.at_s, bytes(now).map(float))));
    }
    let legend = known.iter().map(|(class, name, _)| (*class, *name)).collect::<Vec<_>>();
    plot(heading, &legend, "", &drawn.finish(heading))
}

/// CPU of the generator's threads over time, where they are few, and of each in all.
pub(super) fn shards(time: &Time<'_>, tally: &Tally) -> String {
    let mut text = String::new();
    let names = (0..tally.shards.len()).map(|n| format!("thread {n}")).collect::<Vec<_>>();
    let count_of = tally.shards.len();
    if (1..=COLOURS.len()).contains(&count_of) && !time.moments().is_empty() {
        let mut drawn = time.plot(Axis::share(1.0));
        for (shard, class) in (0..count_of).zip(COLOURS) {
            let share = |moment: &Moment| {
                let cpu_s = moment.shards_cpu_s.get(shard).copied();
                cpu_s.map(|cpu_s| ratio(cpu_s, moment.to_s - moment.from_s))
            };
            drawn.line(class, time.moments().iter().map(|m| (middle(m), share(m))));
        }
        drawn.bound(1.0);
        let legend = COLOURS.iter().zip(&names).map(|(class, name)| (*class, name.as_str()));
        let (heading, legend) = ("CPU of generator threads", legend.collect::<Vec<_>>());
        text += &plot(heading, &legend, "", &drawn.finish(heading));
    } else {
        let measured_s = tally.measured_s();
        let share = tally.shards.iter().map(|shard| ratio(shard.cpu_measured_s, measured_s));
        let share = share.collect::<Vec<_>>();
        let axis = Axis::share(share.iter().copied().fold(0.0, f64::max));
        text += &bars("CPU by generator thread", "In the measured phases.", axis, &share);
    }
    let most = tally.shards.iter().map(|shard| f64::from(shard.established_max));
    let most = most.collect::<Vec<_>>();
    let axis = Axis::linear(most.iter().copied().fold(0.0, f64::max), count);
    text + &bars("Connections by generator thread", "Most at once.", axis, &most)
}

fn bars(heading: &str, remark: &str, y: Axis, values: &[f64]) -> String {
    let shown = &values[..values.len().min(BARS_MAX)];
    if shown.is_empty() {
        return String::new();
    }
    let remark = match values.len() > shown.len() {
        true => format!("{remark} The first {} of {}.", shown.len(), values.len()),
        false => remark.to_owned(),
    };
    let mut drawn = Plot::new(Axis::places(shown.len()), y, &[]);
    let cells = shown.iter().enumerate().map(|(index, value)| {
        let left = float(index as u64);
        [left + 0.1, left + 0.9, 0.0, *value]
    });
    drawn.cells("bar", cells);
    plot(heading, &[], &remark, &drawn.finish(heading))
}

/// What servers told of themselves.
pub(super) fn nodes(time: &Time<'_>, names: &[String]) -> String {
    let nodes = &time.history.nodes;
    if nodes.iter().all(|node| node.points().len() < 2) {
        return String::new();
    }
    let legend = COLOURS.iter().zip(names).map(|(class, name)| (*class, name.as_str()));
    let legend = legend.collect::<Vec<_>>();
    let hidden = names.len().saturating_sub(nodes.len());
    let remark = match hidden {
        0 => String::new(),
        more => format!("{more} more are in node-metrics.csv."),
    };
    let mut text = String::new();
    let grown = |of: fn(&NodePoint) -> f64, was: &NodePoint, now: &NodePoint| {
        ratio((of(now) - of(was)).max(0.0), now.at_s - was.at_s)
    };
    let kinds: [Line<NodePoint, f64>; 2] = [
        ("", "Requests per second by node", |point| point.requests),
        ("", "Busy cores by node", |point| point.cpu_s),
    ];
    for (_, heading, of) in kinds {
        let rates = nodes.iter().map(|node| {
            let pairs = node.points().windows(2);
            pairs.map(|pair| (pair[1].at_s, grown(of, &pair[0], &pair[1]))).collect::<Vec<_>>()
        });
        let rates = rates.collect::<Vec<_>>();
        let max = rates.iter().flatten().map(|(_, rate)| *rate).fold(0.0, f64::max);
        let mut drawn = time.plot(Axis::linear(max, count));
        for (rates, class) in rates.iter().zip(COLOURS) {
            drawn.line(class, rates.iter().map(|(at_s, rate)| (*at_s, Some(*rate))));
        }
        text += &plot(heading, &legend, &remark, &drawn.finish(heading));
    }
    for (name, shards) in names.iter().zip(&time.history.node_shards) {
        let counts = shards.iter().map(|(_, connections)| *connections).collect::<Vec<_>>();
        let axis = Axis::linear(counts.iter().copied().fold(0.0, f64::max), count);
        let heading = format!("Connections by shard of {name}");
        text += &bars(&heading, "When it had most.", axis, &counts);
    }
    text
}
