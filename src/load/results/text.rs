//! `summary.txt`: the run for people, at most 100 columns wide.

use std::fmt::Write as _;

use super::summary::line;
use crate::load::record::{Ended, Part, Percentiles, Summary};

/// Columns of a line.
const WIDTH: usize = 100;
/// Share of calls without an answer from which p99 of the others says little.
const UNANSWERED_SHARE_MIN: f64 = 0.01;

/// The whole text. What makes the figures doubtful comes first.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    for mark in marks(summary) {
        wrapped(&mut text, "!! ", &mark);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    wrapped(&mut text, "", &summary.title);
    wrapped(&mut text, "", &format!("{} of {}", summary.started, summary.targets.join(", ")));
    let (run_s, measured_s) = (summary.run_s, summary.measured_s);
    put(&mut text, format_args!("{run_s:.1} s in all, {measured_s:.1} s of them measured\n"));
    figures(&mut text, summary);
    times(&mut text, summary);
    processes(&mut text, summary);
    parts(&mut text, "phase", &summary.phases);
    parts(&mut text, "workload", &summary.workloads);
    if summary.errors > 0 {
        text.push_str("\nwhat went wrong\n");
        for (fault, count) in &summary.faults {
            put(&mut text, format_args!("  {fault:<18}{count:>14}\n"));
        }
        summary.examples.iter().for_each(|example| wrapped(&mut text, "  e.g. ", example));
    }
    if !summary.assertions.is_empty() {
        text.push_str("\nassertions\n");
        for check in &summary.assertions {
            let passed = if check.passed { "passed" } else { "FAILED" };
            let told = match &check.why {
                Some(why) => format!("{}  ({why})", check.text),
                None => format!("{}  (was {})", check.text, check.actual),
            };
            wrapped(&mut text, &format!("  {passed}  "), &told);
        }
    }
    text
}

/// What everybody who reads a figure of the run has to know first, a line each.
pub(crate) fn marks(summary: &Summary) -> Vec<String> {
    let mut marks = Vec::new();
    match &summary.ended {
        Ended::Complete => {}
        Ended::Interrupted => marks.push("INTERRUPTED: the figures end where the run did".into()),
        Ended::Failed(why) => marks.push(format!("FAILED: {why}; the figures end there")),
    }
    for why in &summary.generator_saturated_why {
        marks.push(format!("GENERATOR SATURATED: {why}; the server may be better than this"));
    }
    if summary.unanswered_share() >= UNANSWERED_SHARE_MIN {
        let (unanswered, answered) = (summary.unanswered(), summary.answered);
        let (of, all) = (grouped(unanswered), grouped(unanswered + answered));
        marks.push(format!(
            "ERRORS: {of} of {all} calls had no good answer; latency is of the rest"
        ));
    }
    marks
}

fn figures(text: &mut String, summary: &Summary) {
    let connections = &summary.connections;
    put(text, format_args!("\nconnections  wanted {}, ", grouped(connections.wanted)));
    put(text, format_args!("ready at once {}, ", grouped(connections.established)));
    put(text, format_args!("lost {}, ", grouped(connections.lost)));
    put(text, format_args!("failed {}\n", grouped(connections.failed)));
    put(text, format_args!("calls        sent {}, ", grouped(summary.requests)));
    put(text, format_args!("answered {}, ", grouped(summary.answered)));
    if summary.abandoned > 0 {
        put(text, format_args!("abandoned {}, ", grouped(summary.abandoned)));
    }
    put(text, format_args!("errors {}\n", grouped(summary.errors)));
    let rate = &summary.rate_per_s;
    put(text, format_args!("rate         offered {:.1}/s, ", rate.offered));
    put(text, format_args!("achieved {:.1}/s\n", rate.achieved));
    if summary.updates + summary.comments > 0 {
        put(text, format_args!("streams      updates {}, ", grouped(summary.updates)));
        put(text, format_args!("comments {}\n", grouped(summary.comments)));
    }
}

fn times(text: &mut String, summary: &Summary) {
    let mut row = |name: &str, what: &str, times: &Percentiles| {
        if times.count > 0 {
            put(text, format_args!("{name:<13}{}{what}\n", line(times)));
        }
    };
    row("latency", "", &summary.latency_ms);
    row("from sending", "", &summary.service_ms);
    row("delivery", "", &summary.delivery_ms);
    row("opening", "", &summary.opening_ms);
    row("first call", "", &summary.first_call_ms);
    row("sent late", "", &summary.late_ms);
}

fn processes(text: &mut String, summary: &Summary) {
    let generator = &summary.generator;
    let (busy, cores) = (generator.busy_cores, generator.cores);
    put(
        text,
        format_args!("\ngenerator    {busy:.2} of {cores} cores in {} threads, ", generator.shards),
    );
    // Without calls there is no figure, rather than a good one.
    let calls = summary.rate_per_s.achieved > 0.0;
    let per_call =
        |us: f64| if calls { format!(", {us:.2} µs of CPU per call") } else { String::new() };
    put(text, format_args!("busiest thread {:.0} %", generator.busiest_share * 100.0));
    put(text, format_args!("{}\n", per_call(generator.cpu_us_per_request)));
    if generator.pacing_ms > 0.0 {
        let ms = generator.pacing_ms;
        put(text, format_args!("             calls and answers of {ms} ms gathered (pacing)\n"));
    }
    match (&summary.server, &summary.server_unknown_why) {
        (Some(server), _) => {
            let cores = server.cores.map_or(String::new(), |cores| format!(" of {cores}"));
            put(text, format_args!("server       {:.2}{cores} cores", server.busy_cores));
            put(text, format_args!("{}, ", per_call(server.cpu_us_per_request)));
            put(text, format_args!("{:.0} B per ", server.rss_bytes_per_connection));
            put(text, format_args!("connection, {} resident\n", bytes(server.rss_bytes_max)));
        }
        (None, Some(why)) => wrapped(text, "server       ", &format!("not measured: {why}")),
        (None, None) => {}
    }
}

fn parts(text: &mut String, what: &str, parts: &[Part]) {
    put(
        text,
        format_args!(
            "\n{what:<22}{:>9}{:>9}{:>12}{:>11}{:>10}{:>9}{:>9}{:>8}\n",
            "s", "ready", "answered", "per s", "p50 ms", "p99 ms", "max ms", "errors"
        ),
    );
    for part in parts {
        let times = if part.latency_ms.count > 0 { &part.latency_ms } else { &part.delivery_ms };
        let name = shortened(&format!("{} ({})", part.name, part.kind), 21);
        if part.seconds == 0.0 && part.requests == 0 {
            put(text, format_args!("{name:<22}{:>9}\n", "none"));
            continue;
        }
        let (seconds, ready) = (part.seconds, part.connections.established);
        let (answered, per_s) = (part.answered, part.rate_per_s.achieved);
        put(text, format_args!("{name:<22}{seconds:>9.1}{ready:>9}{answered:>12}{per_s:>11.1}"));
        match times.count {
            0 => put(text, format_args!("{:>10}{:>9}{:>9}", "-", "-", "-")),
            _ => put(text, format_args!("{:>10.3}{:>9.2}{:>9.1}", times.p50, times.p99, times.max)),
        }
        put(text, format_args!("{:>8}\n", part.errors));
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("memory takes all");
}

/// At most so many characters.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// The begin of a text, at most so many bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Lines that fit, broken at blanks where there are any; those after the first are indented alike.
pub(crate) fn wrapped(text: &mut String, first: &str, words: &str) {
    let indent = " ".repeat(first.chars().count());
    let mut line = first.to_owned();
    let mut fresh = true;
    for word in words.split_whitespace() {
        // What a server said goes to a terminal: nothing in it is to be obeyed.
        let mut word = word.replace(char::is_control, "\u{fffd}");
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            put(text, format_args!("{line}\n"));
            line.clone_from(&indent);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        while line.chars().count() + word.chars().count() > WIDTH {
            let room = WIDTH - line.chars().count();
            put(text, format_args!("{line}{}\n", word.chars().take(room).collect::<String>()));
            line.clone_from(&indent);
            word = word.chars().skip(room).collect();
        }
        line.push_str(&word);
        fresh = false;
    }
    put(text, format_args!("{}\n", line.trim_end()));
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size for people: three digits and a unit.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = super::float(bytes);
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.decimals$} {}", units[unit])
}
