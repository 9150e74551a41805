//! Histograms: merged ones, their percentiles, and the two formats of HdrHistogram's tools.
//!
//! Values are µs with three significant digits, as the roles count them.

use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use ringmesh_runtime::load::sample::{DIGITS, Times};

use super::{float, rounded};
use crate::load::record::Percentiles;

/// A histogram of a whole run, which may count more than 2^32 of a kind.
pub(super) type Long = Histogram<u64>;

/// An empty one. It grows with the values that it sees: most of many stay small.
pub(super) fn long() -> Long {
    Histogram::new(DIGITS).expect("constant digits")
}

/// Adds what a role, or all of them, counted.
pub(super) fn merge(into: &mut Long, times: &Times) {
    for value in times.iter_recorded() {
        let count = u64::from(value.count_at_value());
        into.record_n(value.value_iterated_to(), count).expect("it grows");
    }
}

pub(super) fn ms(us: u64) -> f64 {
    float(us) / 1_000.0
}

/// All 0 of an empty one.
pub(super) fn percentiles(times: &Long) -> Percentiles {
    if times.is_empty() {
        return Percentiles::default();
    }
    let at = |quantile| ms(times.value_at_quantile(quantile));
    Percentiles {
        count: times.len(),
        mean: rounded(times.mean() / 1_000.0),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: ms(times.max()),
    }
}

/// The first lines of an interval log (`.hlog`, version 1.3) whose times count from `start`.
pub(super) fn log_head(start: SystemTime, title: &str) -> Vec<u8> {
    let mut head = Vec::new();
    // A builder writes its comments before its times, and the format's name has to be the first.
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]");
    builder.add_comment(&format!("[Latency of calls in µs: {}]", single_line(title)));
    builder.add_comment("[Without a tag: all workloads; tag NAME: one; NAME.delivery: updates]");
    builder.add_comment("[All phases; latency.hgrm and the summary are of the measured ones]");
    builder.with_start_time(start).with_base_time(start).with_max_value_divisor(1_000.0);
    let mut serializer = V2DeflateSerializer::new();
    builder.begin_log_with(&mut head, &mut serializer).map(drop).expect("memory takes all");
    head
}

/// A line of an interval log. `None` of an empty histogram, which has none.
pub(super) fn log_line(from_s: f64, to_s: f64, tag: &str, times: &Long) -> Option<String> {
    if times.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(times, &mut bytes).expect("memory takes all");
    let tag = if tag.is_empty() { String::new() } else { format!("Tag={},", tag_of(tag)) };
    let (length_s, max_ms) = (to_s - from_s, ms(times.max()));
    let mut line = format!("{tag}{from_s:.3},{length_s:.3},{max_ms:.3},");
    STANDARD.encode_string(&bytes, &mut line);
    line.push('\n');
    Some(line)
}

/// A comment of an interval log, or of a percentile distribution.
pub(super) fn comment(text: &str) -> String {
    format!("#[{}]\n", single_line(text))
}

/// Tags end at a comma and hold no blank.
fn tag_of(name: &str) -> String {
    name.replace(|c: char| c == ',' || c.is_whitespace() || c.is_control(), "_")
}

fn single_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Steps of each halving of the distance to 100 % in `.hgrm` files, as HdrHistogram's tools have.
const TICKS_PER_HALF: u32 = 5;

/// The percentile distribution as HdrHistogram's `outputPercentileDistribution` prints it, in ms.
pub(super) fn distribution(times: &Long) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for (value_ms, quantile, below) in quantiles(times) {
        write!(text, "{value_ms:>12.3} {quantile:>14.12} {below:>10}").expect("memory");
        if quantile < 1.0 {
            write!(text, " {:>14.2}", 1.0 / (1.0 - quantile)).expect("memory");
        }
        text.push('\n');
    }
    let (mean, deviation) = match times.is_empty() {
        true => (0.0, 0.0),
        false => (times.mean() / 1_000.0, times.stdev() / 1_000.0),
    };
    let (max, count) = (if times.is_empty() { 0.0 } else { ms(times.max()) }, times.len());
    let (buckets, subs) = (times.buckets(), times.distinct_values() / usize::from(times.buckets()));
    writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")
        .expect("memory");
    writeln!(text, "#[Max     = {max:>12.3}, Total count    = {count:>12}]").expect("memory");
    writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {subs:>12}]").expect("memory");
    text
}

/// `(value in ms, share of counts up to it, those counts)`, closer together towards 1.
pub(super) fn quantiles(times: &Long) -> impl Iterator<Item = (f64, f64, u64)> {
    times.iter_quantiles(TICKS_PER_HALF).scan(0, |below, step| {
        *below += step.count_since_last_iteration();
        Some((ms(step.value_iterated_to()), step.quantile_iterated_to(), *below))
    })
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry, Tag};
    use ringmesh_runtime::load::sample::{record_ns, times};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn one_to(n: u64) -> Long {
        let mut merged = long();
        let mut role = times();
        (1..=n).for_each(|us| record_ns(&mut role, us * 1_000));
        merge(&mut merged, &role);
        merged
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let told = percentiles(&one_to(1_000));
        assert_eq!((told.count, told.p50, told.p90, told.p99), (1_000, 0.5, 0.9, 0.99));
        assert_eq!((told.p999, told.p9999, told.max), (0.999, 1.0, 1.0));
        assert_eq!(told.mean, 0.5, "500.5 µs");
        assert_eq!(percentiles(&long()), Percentiles::default());
    }

    #[test]
    fn an_interval_log_is_read_back() {
        let start = UNIX_EPOCH + Duration::from_millis(1_785_229_200_500);
        let mut log = log_head(start, "a\nb");
        let tags = ["", "calls, quick", "listeners.delivery"];
        for tag in tags {
            log.extend(log_line(3.0, 4.0, tag, &one_to(1_000)).unwrap().bytes());
        }
        log.extend(comment("generator saturated").bytes());
        assert_eq!(log_line(3.0, 4.0, "", &long()), None);
        let first = std::str::from_utf8(&log).unwrap().lines().next().unwrap();
        assert_eq!(first, "#[Histogram log format version 1.3]");
        let mut intervals = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            match entry.unwrap() {
                LogEntry::StartTime(at) | LogEntry::BaseTime(at) => {
                    assert_eq!(at, Duration::from_millis(1_785_229_200_500));
                }
                LogEntry::Interval(interval) => intervals.push(interval),
            }
        }
        let read = intervals.iter().map(|interval| interval.tag()).collect::<Vec<_>>();
        let wanted = [None, Tag::new("calls__quick"), Tag::new("listeners.delivery")];
        assert_eq!(read, wanted);
        for interval in &intervals {
            assert_eq!(interval.start_timestamp(), Duration::from_secs(3));
            assert_eq!((interval.duration(), interval.max()), (Duration::from_secs(1), 1.0));
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: Long = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(histogram, one_to(1_000));
        }
    }

    #[test]
    fn a_distribution_as_other_tools_plot_it() {
        let text = distribution(&one_to(1_000));
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[2], "       0.001 0.000000000000          1           1.00");
        let half = "       0.500 0.500000000000        500           2.00";
        assert!(lines.contains(&half), "{text}");
        let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
        assert_eq!(*last, "       1.000 1.000000000000       1000");
        assert!(text.contains("#[Max     =        1.000, Total count    =         1000]"));
        assert!(!distribution(&long()).contains("NaN"));
    }
}
