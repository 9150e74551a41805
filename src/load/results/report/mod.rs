//! `report.html`: the run on one page, in one file that fetches nothing.
//!
//! Everything is drawn here, so the page needs no program of its own. Its size is bounded: series
//! have at most a thousand points, quoted texts are cut.

mod html;
mod plots;
mod svg;

use serde_json::Value;

pub(crate) use self::html::{escaped, table};
use self::html::{figure, folded, list, section};
use self::plots::Time;
use super::series::History;
use super::tally::Tally;
use super::text::{bytes, grouped, marks};
use super::{float, manifest};
use crate::load::plan::Plan;
use crate::load::record::{Part, Summary};

const STYLE: &str = include_str!("style.css");

/// What a report tells.
pub(super) struct Sources<'a> {
    pub(super) plan: &'a Plan,
    pub(super) summary: &'a Summary,
    pub(super) tally: &'a Tally,
    pub(super) history: &'a History,
    pub(super) manifest: &'a Value,
}

/// The page.
pub(super) fn page(sources: &Sources<'_>) -> String {
    let Sources { plan, summary, tally, history, manifest } = sources;
    let time = Time::new(history, &plan.script, tally.run_s);
    let cores = float(manifest::machine_cores() as u64);
    let names = plan.admins.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let grid = |plots: String| match plots.is_empty() {
        true => plots,
        false => format!("<div class=\"plots\">{plots}</div>"),
    };
    let calls = [
        plots::connections(&time),
        plots::rates(&time),
        plots::latency(&time),
        plots::curve(tally),
        plots::heat(&time),
        plots::late(&time),
    ];
    let use_ = [
        plots::cpu(&time, cores),
        plots::memory(&time),
        plots::kernel_memory(&time),
        plots::shards(&time, tally),
    ];
    let over_time = if history.moments.points().is_empty() {
        "<p>Nothing was measured.</p>".to_owned()
    } else {
        time.phases() + &grid(calls.concat())
    };
    let sections = [
        head(summary),
        section("Over time", &over_time),
        section("Resources", &grid(use_.concat())),
        section("Nodes", &grid(plots::nodes(&time, &names))),
        section("Phases", &parts("phase", &summary.phases)),
        section("Workloads", &parts("workload", &summary.workloads)),
        section("What went wrong", &faults(summary)),
        section("Assertions", &assertions(summary)),
        section("Environment", &environment(plan, manifest)),
    ];
    document(&summary.title, &sections.concat())
}

/// A page that fetches nothing.
pub(crate) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

fn head(summary: &Summary) -> String {
    let marks = marks(summary).iter().map(|mark| escaped(mark)).collect::<Vec<_>>();
    let spotless = marks.is_empty();
    let marks = marks.iter().map(|mark| format!("<p class=\"bad\">{mark}</p>\n"));
    let failed = summary.assertions.iter().filter(|check| !check.passed).count();
    let failed = match failed {
        0 => String::new(),
        n => {
            format!("<p class=\"bad\">{n} of {} assertions failed</p>\n", summary.assertions.len())
        }
    };
    let fine = if spotless && failed.is_empty() {
        "<p class=\"good\">Complete; the generator was not the limit.</p>\n"
    } else {
        ""
    };
    format!(
        "<h1>{}</h1>\n<p class=\"soft\">{}, {:.1} s, {:.1} s of them measured; {}</p>\n{}{failed}{fine}\
         <div class=\"figures\">{}</div>\n",
        escaped(&summary.title),
        escaped(&summary.started),
        summary.run_s,
        summary.measured_s,
        escaped(&summary.targets.join(", ")),
        marks.collect::<String>(),
        figures(summary),
    )
}

fn figures(summary: &Summary) -> String {
    let connections = &summary.connections;
    let mut text = figure(
        "connections at once",
        &grouped(connections.established),
        &format!(
            "{} wanted, {} lost, {} failed",
            grouped(connections.wanted),
            grouped(connections.lost),
            grouped(connections.failed)
        ),
    );
    let rate = &summary.rate_per_s;
    if summary.requests > 0 {
        let offered = format!("{}/s offered", svg::count(rate.offered));
        text += &figure("calls answered", &format!("{}/s", svg::count(rate.achieved)), &offered);
    }
    let (kind, times) = match summary.latency_ms.count {
        0 => ("delivery", &summary.delivery_ms),
        _ => ("latency", &summary.latency_ms),
    };
    if times.count > 0 {
        let ms = svg::milliseconds;
        let rest = format!("p90 {}, p99.9 {}", ms(times.p90), ms(times.p999));
        text +=
            &figure(&format!("{kind}, p50"), &ms(times.p50), &format!("mean {}", ms(times.mean)));
        text += &figure(&format!("{kind}, p99"), &ms(times.p99), &rest);
        text += &figure(
            &format!("{kind}, max"),
            &ms(times.max),
            &format!("of {}", grouped(times.count)),
        );
    }
    let of = format!("of {} calls sent", grouped(summary.requests));
    text += &figure("errors", &grouped(summary.errors), &of);
    let generator = &summary.generator;
    let mut note = format!("of {} cores, {} threads", generator.cores, generator.shards);
    if generator.pacing_ms > 0.0 {
        note += &format!(", pacing {} ms", generator.pacing_ms);
    }
    match (&summary.server, &summary.server_unknown_why) {
        (Some(server), _) => {
            let calls = summary.rate_per_s.achieved > 0.0;
            let cpu =
                if calls { format!("{:.1} µs", server.cpu_us_per_request) } else { "–".into() };
            let busy = format!("{:.2} cores busy", server.busy_cores);
            text += &figure("server CPU per call", &cpu, &busy);
            let each = format!("{:.0} B", server.rss_bytes_per_connection);
            let most = format!("{} at most", bytes(server.rss_bytes_max));
            text += &figure("server memory per connection", &each, &most);
        }
        (None, why) => text += &figure("server CPU", "unknown", why.as_deref().unwrap_or("")),
    }
    text + &figure("generator cores busy", &format!("{:.2}", generator.busy_cores), &note)
}

fn parts(what: &str, parts: &[Part]) -> String {
    let columns = [
        what,
        "kind",
        "s",
        "ready",
        "lost",
        "failed",
        "answered",
        "per s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "updates",
        "errors",
        "server µs/call",
    ];
    let row = |part: &Part| {
        let times = if part.latency_ms.count > 0 { &part.latency_ms } else { &part.delivery_ms };
        let ms = |ms: f64| if times.count > 0 { ms.to_string() } else { "–".to_owned() };
        let cpu_us = part.server_cpu_us_per_request;
        vec![
            part.name.clone(),
            part.kind.clone(),
            part.seconds.to_string(),
            grouped(part.connections.established),
            grouped(part.connections.lost),
            grouped(part.connections.failed),
            grouped(part.answered),
            format!("{:.1}", part.rate_per_s.achieved),
            ms(times.p50),
            ms(times.p99),
            ms(times.p999),
            ms(times.max),
            grouped(part.updates),
            grouped(part.errors),
            cpu_us.map_or("–".to_owned(), |us| format!("{us:.2}")),
        ]
    };
    table(&columns, &parts.iter().map(row).collect::<Vec<_>>())
}

fn faults(summary: &Summary) -> String {
    let rows = summary.faults.iter().map(|(fault, count)| {
        let count = count.as_u64().unwrap_or(0);
        vec![fault.clone(), grouped(count)]
    });
    let counts = table(&["fault", "times"], &rows.collect::<Vec<_>>());
    let examples = summary.examples.iter().map(|example| format!("<li>{}</li>", escaped(example)));
    let examples = examples.collect::<String>();
    match examples.is_empty() {
        true => counts,
        false => format!("{counts}<p>Examples:</p><ul>{examples}</ul>"),
    }
}

fn assertions(summary: &Summary) -> String {
    let rows = summary.assertions.iter().map(|check| {
        let passed = if check.passed { "passed" } else { "FAILED" };
        let was = check.why.clone().unwrap_or_else(|| check.actual.to_string());
        vec![check.text.clone(), was, passed.to_owned()]
    });
    table(&["assertion", "was", "result"], &rows.collect::<Vec<_>>())
}

/// The manifest as names and values; what is long is folded away.
fn environment(plan: &Plan, manifest: &Value) -> String {
    let mut pairs = Vec::new();
    for group in ["program", "machine", "limits", "server"] {
        let values = manifest[group].as_object().into_iter().flatten();
        let known = values.filter(|(_, value)| !value.is_null());
        pairs
            .extend(known.map(|(name, value)| (format!("{group} {}", spaced(name)), shown(value))));
    }
    pairs.push(("clock".to_owned(), shown(&manifest["clock"])));
    let argv = manifest["argv"].as_array().into_iter().flatten().map(shown);
    pairs.push(("command".to_owned(), argv.collect::<Vec<_>>().join(" ")));
    let all = |group: &str| {
        let values = manifest[group].as_object().into_iter().flatten();
        list(&values.map(|(name, value)| (name.clone(), shown(value))).collect::<Vec<_>>())
    };
    let details = |name: &str, content: String| {
        format!("<details><summary>{name}</summary>{content}</details>\n")
    };
    let mut text = list(&pairs);
    text += &details("Settings of the kernel (sysctl)", all("sysctls"));
    text += &details("Mitigations", all("mitigations"));
    text += &folded("Scenario", &plan.scenario);
    text += &folded("The generator's plan", &format!("{:#}", manifest["generator_plan"]));
    let plans = manifest["server_plans"].as_array().filter(|plans| !plans.is_empty());
    plans.map_or(text.clone(), |plans| {
        text + &folded("The servers' plans", &format!("{:#}", Value::from(plans.clone())))
    })
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

/// A value without the quotes of JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Object(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| format!("{name} {}", shown(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
