//! `--assert 'p99<30ms'`: a figure of the summary, a comparison, a bound.
//!
//! A figure that was not measured (no server on this machine, no answer to a call) fails every
//! check and says why: what nobody saw is not what was asked for. So does a percentile of latency
//! where more calls than may be slower had no good answer at all.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use ringmesh_runtime::load::sample::Fault;
use serde_json::Value;

use super::record::{Assertion, Connections, Ended, Part, Percentiles, Rate, Summary};
use super::scenario::advice;

const WRITE: &str =
    "write a figure, one of < <= = != >= >, and a bound, such as p99<30ms or errors=0";
const FAMILIES: &str = "latency, service, opening, first_call, delivery and late";
const POINTS: &str = "p50, p90, p99, p999, p9999, max and mean";

/// One parsed assertion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    /// As the user wrote it.
    pub(crate) text: String,
    scope: Scope,
    figure: Figure,
    comparison: Comparison,
    bound: f64,
}

/// Of what the figure is.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Run,
    Phase(String),
    Workload(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Time(Family, Point),
    Fault(Fault),
    Scalar(&'static Scalar),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Latency,
    Service,
    Opening,
    FirstCall,
    Delivery,
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    P50,
    P90,
    P99,
    P999,
    P9999,
    Max,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    Unequal,
    GreaterOrEqual,
    Greater,
}

/// What a bound is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Number,
    Milliseconds,
    Microseconds,
    Bytes,
    Truth,
}

/// A figure, or why there is none.
type Reading = Result<f64, &'static str>;

struct Scalar {
    names: &'static [&'static str],
    unit: Unit,
    run: fn(&Summary) -> Reading,
    /// `None` where it is of the run alone.
    part: Option<fn(&Part) -> Reading>,
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names[0])
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = text.find(['<', '>', '=', '!']).ok_or(WRITE)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (comparison, bound) = Comparison::before(rest).ok_or(WRITE)?;
        let (scope, name) = scope(name)?;
        let figure = Figure::named(name, &scope)?;
        let bound = figure.unit().read(bound.trim())?;
        Ok(Self { text: text.to_owned(), scope, figure, comparison, bound })
    }
}

impl Check {
    /// Whether the run has what the check is about.
    ///
    /// # Errors
    /// What is wrong, with what there is.
    pub(crate) fn names(&self, phases: &[&str], workloads: &[&str]) -> Result<(), String> {
        let (what, name, known) = match &self.scope {
            Scope::Run => return Ok(()),
            Scope::Phase(name) => ("phase", name, phases),
            Scope::Workload(name) => ("workload", name, workloads),
        };
        match known.contains(&name.as_str()) {
            true => Ok(()),
            false => Err(format!("no {what} is called {name}: {}", advice(name, known))),
        }
    }

    /// Whether it holds.
    pub(crate) fn evaluate(&self, summary: &Summary) -> Assertion {
        let part = |parts: &[Part], name: &str| match parts.iter().find(|part| part.name == name) {
            Some(part) => self.figure.of_part(part),
            None => Err("there was none of that name"),
        };
        let reading = match &self.scope {
            Scope::Run => self.figure.of_run(summary),
            Scope::Phase(name) => part(&summary.phases, name),
            Scope::Workload(name) => part(&summary.workloads, name),
        };
        let passed = reading.is_ok_and(|actual| self.comparison.holds(actual, self.bound));
        Assertion {
            text: self.text.clone(),
            actual: reading.unwrap_or(0.0),
            passed,
            why: reading.err().map(str::to_owned),
        }
    }
}

/// `workload.NAME.p99` → that workload, `p99`.
fn scope(name: &str) -> Result<(Scope, &str), String> {
    let (make, rest): (fn(String) -> Scope, &str) =
        match (name.strip_prefix("phase."), name.strip_prefix("workload.")) {
            (Some(rest), _) => (Scope::Phase, rest),
            (_, Some(rest)) => (Scope::Workload, rest),
            _ => return Ok((Scope::Run, name)),
        };
    let (of, figure) =
        rest.split_once('.').ok_or("write phase.NAME.FIGURE or workload.NAME.FIGURE")?;
    Ok((make(of.to_owned()), figure))
}

impl Comparison {
    /// Splits it from what follows.
    fn before(text: &str) -> Option<(Self, &str)> {
        const ALL: [(&str, Comparison); 7] = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("!=", Comparison::Unequal),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        ALL.iter().find_map(|(sign, comparison)| Some((*comparison, text.strip_prefix(sign)?)))
    }

    fn holds(self, actual: f64, bound: f64) -> bool {
        let Some(order) = actual.partial_cmp(&bound) else { return false };
        match self {
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::Unequal => order != Ordering::Equal,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Greater => order == Ordering::Greater,
        }
    }
}

impl Unit {
    fn read(self, text: &str) -> Result<f64, String> {
        let units: &[(&str, f64)] = match self {
            Self::Number => &[("", 1.0)],
            Self::Milliseconds => {
                &[("ns", 1e-6), ("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)]
            }
            Self::Microseconds => {
                &[("", 1.0), ("ns", 1e-3), ("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)]
            }
            Self::Bytes => {
                const KIB: f64 = 1024.0;
                &[("", 1.0), ("B", 1.0), ("KiB", KIB), ("MiB", KIB * KIB), ("GiB", KIB * KIB * KIB)]
            }
            Self::Truth => match text {
                "true" => return Ok(1.0),
                "false" => return Ok(0.0),
                _ => return Err(format!("the bound is {text:?}: write true or false")),
            },
        };
        let digits = |byte: &u8| byte.is_ascii_digit() || *byte == b'.' || *byte == b'_';
        let split = text.bytes().take_while(digits).count();
        let (number, unit) = text.split_at(split);
        let factor = units.iter().find(|(name, _)| *name == unit.trim_start());
        let number = number.replace('_', "").parse::<f64>().ok();
        match (number, factor) {
            (Some(number), Some((_, factor))) => Ok(number * factor),
            _ => Err(format!("the bound is {text:?}: write {}", self.form())),
        }
    }

    fn form(self) -> &'static str {
        match self {
            Self::Number => "a number, 0 or more",
            Self::Milliseconds => "a number with ns, us, ms, s or m, such as 30ms",
            Self::Microseconds => "a number of µs, such as 8",
            Self::Bytes => "a number of bytes, or one with KiB, MiB or GiB",
            Self::Truth => "true or false",
        }
    }
}

impl Figure {
    fn named(name: &str, scope: &Scope) -> Result<Self, String> {
        let figure = Self::find(name).ok_or_else(|| unknown(name))?;
        let of_parts = match figure {
            Self::Time(family, _) => {
                matches!(family, Family::Latency | Family::FirstCall | Family::Delivery)
            }
            Self::Fault(_) => false,
            Self::Scalar(scalar) => scalar.part.is_some(),
        };
        if *scope != Scope::Run && !of_parts {
            return Err(format!("{name} is known of the whole run alone"));
        }
        Ok(figure)
    }

    fn find(name: &str) -> Option<Self> {
        if let Some(point) = Point::named(name) {
            return Some(Self::Time(Family::Latency, point));
        }
        if let Some(scalar) = SCALARS.iter().find(|scalar| scalar.names.contains(&name)) {
            return Some(Self::Scalar(scalar));
        }
        let (family, rest) = name.split_once('.')?;
        if family == "faults" {
            let fault = Fault::ALL.iter().copied().find(|fault| fault.label() == rest);
            return fault.map(Self::Fault);
        }
        Some(Self::Time(Family::named(family)?, Point::named(rest)?))
    }

    fn unit(self) -> Unit {
        match self {
            Self::Time(..) => Unit::Milliseconds,
            Self::Fault(_) => Unit::Number,
            Self::Scalar(scalar) => scalar.unit,
        }
    }

    fn of_run(self, summary: &Summary) -> Reading {
        match self {
            Self::Time(Family::Latency | Family::Service, point)
                if point.share_above().is_some_and(|above| summary.unanswered_share() > above) =>
            {
                Err(UNANSWERED)
            }
            Self::Time(family, point) => point.of(match family {
                Family::Latency => &summary.latency_ms,
                Family::Service => &summary.service_ms,
                Family::Opening => &summary.opening_ms,
                Family::FirstCall => &summary.first_call_ms,
                Family::Delivery => &summary.delivery_ms,
                Family::Late => &summary.late_ms,
            }),
            Self::Fault(fault) => {
                Ok(summary.faults.get(fault.label()).and_then(Value::as_f64).unwrap_or(0.0))
            }
            Self::Scalar(scalar) => (scalar.run)(summary),
        }
    }

    fn of_part(self, part: &Part) -> Reading {
        const ALONE: Reading = Err("it is known of the whole run alone");
        match self {
            Self::Time(Family::Latency, point) => point.of(&part.latency_ms),
            Self::Time(Family::FirstCall, point) => point.of(&part.first_call_ms),
            Self::Time(Family::Delivery, point) => point.of(&part.delivery_ms),
            Self::Time(..) | Self::Fault(_) => ALONE,
            Self::Scalar(scalar) => scalar.part.map_or(ALONE, |of| of(part)),
        }
    }
}

fn unknown(name: &str) -> String {
    let scalars = SCALARS.iter().flat_map(|scalar| scalar.names.iter().copied());
    let mut known: Vec<&str> = scalars.collect();
    let points = ["p50", "p90", "p99", "p999", "p9999", "max", "mean"];
    known.extend(points);
    let near = advice(name, &known);
    if near.starts_with("did you mean") {
        return format!("no figure is called {name:?}: {near}");
    }
    let names: Vec<&str> = SCALARS.iter().map(|scalar| scalar.names[0]).collect();
    format!(
        "no figure is called {name:?}: known are {POINTS} (of {FAMILIES}, such as \
         delivery.max), {}, faults.NAME; of a part as phase.NAME.p99 or workload.NAME.p99",
        names.join(", "),
    )
}

impl Family {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "latency" => Self::Latency,
            "service" => Self::Service,
            "opening" => Self::Opening,
            "first_call" => Self::FirstCall,
            "delivery" => Self::Delivery,
            "late" => Self::Late,
            _ => return None,
        })
    }
}

impl Point {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "p50" => Self::P50,
            "p90" => Self::P90,
            "p99" => Self::P99,
            "p999" | "p99.9" => Self::P999,
            "p9999" | "p99.99" => Self::P9999,
            "max" => Self::Max,
            "mean" => Self::Mean,
            _ => return None,
        })
    }

    /// Of a percentile, the share of calls that may take longer.
    fn share_above(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.1),
            Self::P99 => Some(0.01),
            Self::P999 => Some(0.001),
            Self::P9999 => Some(0.000_1),
            Self::Max | Self::Mean => None,
        }
    }

    fn of(self, times: &Percentiles) -> Reading {
        if times.count == 0 {
            return Err("nothing was measured");
        }
        Ok(match self {
            Self::P50 => times.p50,
            Self::P90 => times.p90,
            Self::P99 => times.p99,
            Self::P999 => times.p999,
            Self::P9999 => times.p9999,
            Self::Max => times.max,
            Self::Mean => times.mean,
        })
    }
}

const UNANSWERED: &str = "more calls than may be slower had no good answer at all";
const NO_SERVER: &str = "no server was found on this machine";
const NO_ANSWER: &str = "no call was answered in a phase that is measured";

#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
fn count(count: u64) -> Reading {
    Ok(count as f64)
}

/// A figure that a run and its parts have under one name.
macro_rules! both {
    ($names:expr, $field:ident, $read:expr) => {
        Scalar {
            names: &$names,
            unit: Unit::Number,
            run: |whole| $read(whole.$field),
            part: Some(|part| $read(part.$field)),
        }
    };
}

/// A figure of the run alone.
macro_rules! run {
    ($names:expr, $unit:ident, $run:expr) => {
        Scalar { names: &$names, unit: Unit::$unit, run: $run, part: None }
    };
}

static SCALARS: &[Scalar] = &[
    both!(["errors"], errors, count),
    both!(["requests"], requests, count),
    both!(["answered"], answered, count),
    both!(["updates"], updates, count),
    both!(["rate", "rate.achieved"], rate_per_s, |rate: Rate| Ok(rate.achieved)),
    both!(["rate.offered", "offered"], rate_per_s, |rate: Rate| Ok(rate.offered)),
    both!(["connections.wanted"], connections, |of: Connections| count(of.wanted)),
    both!(["connections.established"], connections, |of: Connections| count(of.established)),
    both!(["connections.lost"], connections, |of: Connections| count(of.lost)),
    both!(["connections.failed"], connections, |of: Connections| count(of.failed)),
    run!(["comments"], Number, |of| count(of.comments)),
    Scalar {
        names: &["cpu_us_per_request", "server.cpu_us_per_request"],
        unit: Unit::Microseconds,
        run: |of| match &of.server {
            Some(_) if of.rate_per_s.achieved == 0.0 => Err(NO_ANSWER),
            server => server.map(|server| server.cpu_us_per_request).ok_or(NO_SERVER),
        },
        part: Some(|part| part.server_cpu_us_per_request.ok_or("it is known of phases with calls")),
    },
    run!(["rss_bytes_per_connection", "server.rss_bytes_per_connection"], Bytes, |of| {
        match &of.server {
            Some(_) if of.connections.established == 0 => Err("nobody was connected"),
            server => server.map(|server| server.rss_bytes_per_connection).ok_or(NO_SERVER),
        }
    }),
    run!(["server.rss_bytes_max"], Bytes, |of| {
        of.server.ok_or(NO_SERVER).and_then(|server| count(server.rss_bytes_max))
    }),
    run!(["server.busy_cores"], Number, |of| {
        of.server.map(|server| server.busy_cores).ok_or(NO_SERVER)
    }),
    run!(["generator.busy_cores"], Number, |of| Ok(of.generator.busy_cores)),
    run!(["generator.cpu_us_per_request"], Microseconds, |of| match of.rate_per_s.achieved {
        0.0 => Err(NO_ANSWER),
        _ => Ok(of.generator.cpu_us_per_request),
    }),
    run!(["saturated", "generator_saturated"], Truth, |of| Ok(truth(of.generator_saturated))),
    run!(["complete"], Truth, |of| Ok(truth(of.ended == Ended::Complete))),
    run!(["run_s"], Number, |of| Ok(of.run_s)),
    run!(["measured_s"], Number, |of| Ok(of.measured_s)),
];

fn truth(of: bool) -> f64 {
    f64::from(u8::from(of))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn percentiles(count: u64) -> Value {
        json!({
            "count": count, "mean": 2.0, "p50": 1.0, "p90": 5.0, "p99": 10.0, "p999": 20.0,
            "p9999": 30.0, "max": 40.0,
        })
    }

    fn connections() -> Value {
        json!({"wanted": 100, "established": 99, "lost": 1, "failed": 1})
    }

    fn part(name: &str, cpu: Value) -> Value {
        json!({
            "name": name, "kind": "hold", "seconds": 10.0, "connections": connections(),
            "requests": 500, "answered": 490, "errors": 3,
            "rate_per_s": {"offered": 50.0, "achieved": 49.0}, "latency_ms": percentiles(490),
            "first_call_ms": percentiles(0), "delivery_ms": percentiles(7), "updates": 7,
            "server_cpu_us_per_request": cpu,
        })
    }

    fn summary(server: Value) -> Summary {
        let summary = json!({
            "format": 1, "title": "t", "targets": [], "started": "", "ended": {"state": "complete"},
            "run_s": 12.0, "measured_s": 10.0, "connections": connections(),
            "requests": 1000, "answered": 990, "errors": 4, "faults": {"connect_refused": 3, "lost": 1},
            "rate_per_s": {"offered": 100.0, "achieved": 99.0},
            "latency_ms": percentiles(990), "service_ms": percentiles(990),
            "opening_ms": percentiles(99), "first_call_ms": percentiles(0),
            "delivery_ms": percentiles(7), "updates": 7, "comments": 2, "late_ms": percentiles(990),
            "generator_saturated": false, "generator_saturated_why": [],
            "generator": {
                "shards": 1, "busy_cores": 0.5, "cores": 1.0, "busiest_share": 0.5,
                "cpu_us_per_request": 9.0,
            },
            "server": server, "server_unknown_why": null,
            "phases": [part("hold", json!(7.0))], "workloads": [part("calls", Value::Null)],
            "examples": [], "assertions": [],
        });
        serde_json::from_value(summary).expect("a summary")
    }

    fn here() -> Summary {
        summary(json!({
            "pids": 1, "cpu_us_per_request": 6.5, "busy_cores": 0.6, "cores": 1.0,
            "rss_bytes_per_connection": 500.0, "rss_bytes_max": 1 << 24,
        }))
    }

    #[test]
    fn figures_are_compared() {
        for (text, passed) in [
            ("p99<30ms", true),
            ("p99 < 0.01s", false),
            ("p99<=10ms", true),
            ("p99>=10000us", true),
            ("p99.9=20ms", true),
            ("latency.p9999=30000µs", true),
            ("max!=40ms", false),
            ("mean==2ms", true),
            ("service.p50<2ms", true),
            ("late.p99<1m", true),
            ("delivery.max<2s", true),
            ("errors=0", false),
            ("errors=4", true),
            ("faults.connect_refused=3", true),
            ("faults.rpc_error=0", true),
            ("rate>=50_000", false),
            ("rate>=99", true),
            ("offered=100", true),
            ("connections.established=99", true),
            ("connections.lost<1", false),
            ("cpu_us_per_request<8", true),
            ("rss_bytes_per_connection<1KiB", true),
            ("server.rss_bytes_max<=16MiB", true),
            ("saturated=false", true),
            ("saturated=true", false),
            ("complete=true", true),
            ("workload.calls.p99<11ms", true),
            ("phase.hold.p99<10ms", false),
            ("phase.hold.rate>48.5", true),
            ("phase.hold.cpu_us_per_request<=7", true),
            ("workload.calls.connections.established>98", true),
        ] {
            let assertion = text.parse::<Check>().expect(text).evaluate(&here());
            assert_eq!(assertion.passed, passed, "{assertion:?}");
            assert_eq!((assertion.text.as_str(), assertion.why), (text, None));
        }
    }

    #[test]
    fn what_was_not_measured_fails_and_says_why() {
        let elsewhere = summary(Value::Null);
        for (text, why) in [
            ("cpu_us_per_request<8", NO_SERVER),
            ("rss_bytes_per_connection>=0", NO_SERVER),
            ("first_call.p99<5s", "nothing was measured"),
            ("workload.calls.cpu_us_per_request>=0", "it is known of phases with calls"),
            ("phase.other.p99<1s", "there was none of that name"),
        ] {
            let assertion = text.parse::<Check>().expect(text).evaluate(&elsewhere);
            assert_eq!((assertion.passed, assertion.why.as_deref()), (false, Some(why)), "{text}");
        }
    }

    #[test]
    fn calls_without_an_answer_are_slower_than_any() {
        let mut failing = here();
        // 5 in 995: more than one in a thousand, less than one in a hundred.
        failing.faults.insert("timeout".to_owned(), 5.into());
        for (text, passed) in
            [("p99<11ms", true), ("p999<1m", false), ("service.p9999<1m", false), ("max<1m", true)]
        {
            let assertion = text.parse::<Check>().expect(text).evaluate(&failing);
            let why = (!passed).then_some(UNANSWERED);
            assert_eq!((assertion.passed, assertion.why.as_deref()), (passed, why), "{text}");
        }
    }

    #[test]
    fn calls_of_the_ramp_alone_tell_nothing_of_cpu() {
        let mut ramp = here();
        ramp.rate_per_s.achieved = 0.0;
        for text in ["cpu_us_per_request<8", "generator.cpu_us_per_request<8"] {
            let assertion = text.parse::<Check>().expect(text).evaluate(&ramp);
            assert_eq!((assertion.passed, assertion.why.as_deref()), (false, Some(NO_ANSWER)));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("p99", "write a figure"),
            ("", "write a figure"),
            ("p99<30", "with ns, us, ms, s or m"),
            ("p99<fast", "with ns, us, ms, s or m"),
            ("p99<-1ms", "with ns, us, ms, s or m"),
            ("p99!30ms", "write a figure"),
            ("errors=none", "a number"),
            ("errors=0ms", "a number"),
            ("saturated=0", "true or false"),
            ("p98<30ms", "did you mean `p9"),
            ("erors=0", "did you mean `errors`?"),
            ("throughput>1", "known are p50"),
            ("faults.rain=0", "known are p50"),
            ("phase.hold<3ms", "phase.NAME.FIGURE"),
            ("phase.hold.saturated=false", "the whole run alone"),
            ("workload.w.service.p99<1ms", "the whole run alone"),
        ] {
            let wrong = text.parse::<Check>().expect_err(text);
            assert!(wrong.contains(part) && !wrong.contains('\n'), "{text}: {wrong}");
        }
        let check: Check = "workload.cals.p99<1s".parse().expect("it is well written");
        let wrong = check.names(&["hold"], &["calls"]).expect_err("no such workload");
        assert_eq!(wrong, "no workload is called cals: did you mean `calls`?");
        assert_eq!(check.names(&[], &["cals"]), Ok(()));
    }
}
