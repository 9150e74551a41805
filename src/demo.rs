//! What `ringmesh serve` offers: a few tools, resources that change, templates and a prompt, to try
//! clients and to measure with. Written with the public API alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmesh_runtime::catalog::CatalogError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::config::Plan;
use crate::server::{
    Builder, Completion, Content, Error, Handle, Json, Prompt, PromptResult, Resource,
    ResourceContents, Server, Template, Tool, ToolAnnotations, Variables, schema_of,
};
use crate::{Call, Context};

/// URI of the resource that tells how the server does.
pub const STATUS_URI: &str = "ringmesh://status";

/// Counters, each a resource of its own.
const COUNTERS: usize = 16;

/// How often the status is compared with what it was.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two reports of progress of `sleep_ms`.
const PROGRESS_MS_MIN: u64 = 100;
/// Most reports of progress of one `sleep_ms`.
const PROGRESS_STEPS_MAX: u64 = 10;

/// The server of the program `ringmesh`.
///
/// # Errors
/// None but a bug's: what it offers is always the same.
pub fn server(plan: &Plan) -> Result<Server, CatalogError> {
    let builder = Server::builder("ringmesh", env!("CARGO_PKG_VERSION"))
        .title("ringmesh")
        .instructions("Tools to try an MCP client with. Read ringmesh://status to see the server.");
    install(builder, Duration::from_millis(plan.limits.tool_timeout_ms)).build()
}

/// Adds the demo tools to a server whose pooled tools may take `tool_timeout`.
pub fn install(builder: Builder, tool_timeout: Duration) -> Builder {
    let handle = builder.handle();
    let counters = Counters::default();
    builder
        .tool(echo())
        .tool(add())
        .tool(time())
        .tool(sleep_ms(tool_timeout))
        .tool(count(handle.clone(), counters.clone()))
        .resource(status(handle.clone()))
        .template(tool_definition(handle.clone()))
        .template(counter(counters))
        .prompt(explain_tool(handle))
        .on_start(watch_status)
}

#[derive(Deserialize, JsonSchema)]
struct Echo {
    /// What to say.
    text: String,
}

fn echo() -> Tool {
    Tool::new("echo")
        .description("Returns the text that it is given")
        .annotations(pure())
        .inline(|echo: Echo, _: &Call<'_>| echo.text)
}

#[derive(Deserialize, JsonSchema)]
struct Add {
    /// The first number.
    a: Number,
    /// The second number.
    b: Number,
}

fn add() -> Tool {
    Tool::new("add")
        .description("Adds two numbers; the sum of two integers is an integer")
        .annotations(pure())
        .inline(|Add { a, b }: Add, _: &Call<'_>| sum(&a, &b).ok_or("the sum is not finite"))
}

/// `None` where the sum is no number of JSON. Integers beyond 64 bits become floating.
fn sum(a: &Number, b: &Number) -> Option<Number> {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    if let (Some(a), Some(b)) = (whole(a), whole(b))
        && let Some(sum) = Number::from_i128(a + b)
    {
        return Some(sum);
    }
    Number::from_f64(a.as_f64()? + b.as_f64()?)
}

#[derive(Serialize, JsonSchema)]
struct Now {
    /// The time in UTC, in ISO 8601.
    utc: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[serde(rename = "unixMs")]
    unix_ms: u64,
}

fn time() -> Tool {
    Tool::new("time")
        .description("Tells the time in UTC")
        .annotations(ToolAnnotations::new().read_only(true).open_world(false))
        .output::<Now>()
        .inline(|(): (), call: &Call<'_>| {
            Json(Now { utc: utc(call.unix_ms), unix_ms: call.unix_ms })
        })
}

/// A time in ISO 8601, such as `2026-11-21T08:05:00.250Z`.
fn utc(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Years start in March here, so that a leap day is a year's last (Howard Hinnant,
    // "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, milli) = (ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The time of this machine's clock, as [`utc`] writes it.
pub(crate) fn utc_now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    utc(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

#[derive(Deserialize, JsonSchema)]
struct Sleep {
    /// How long, in milliseconds.
    ms: u64,
}

fn sleep_ms(tool_timeout: Duration) -> Tool {
    let tool = Tool::new("sleep_ms")
        .description(
            "Sleeps, reports progress meanwhile where that is asked for, and can be cancelled",
        )
        .annotations(pure())
        .input_schema(sleep_schema(tool_timeout));
    #[cfg(feature = "tokio")]
    return tool.asynchronous(move |sleep: Sleep, context: Context| async move {
        let started = tokio::time::Instant::now();
        for slept_ms in steps(sleep.ms) {
            tokio::time::sleep_until(started + Duration::from_millis(slept_ms)).await;
            report(&context, slept_ms, sleep.ms);
        }
        format!("slept {} ms", sleep.ms)
    });
    #[cfg(not(feature = "tokio"))]
    tool.blocking(move |sleep: Sleep, context: &Context| {
        let started = Instant::now();
        for slept_ms in steps(sleep.ms) {
            let until = Duration::from_millis(slept_ms);
            while started.elapsed() < until && !context.is_cancelled() {
                let left = until.saturating_sub(started.elapsed());
                thread::sleep(left.min(Duration::from_millis(PROGRESS_MS_MIN)));
            }
            report(context, slept_ms, sleep.ms);
        }
        format!("slept {} ms", sleep.ms)
    })
}

/// A sleep is shorter than the time that a tool may take, which is known only now.
fn sleep_schema(tool_timeout: Duration) -> Value {
    let timeout_ms = u64::try_from(tool_timeout.as_millis()).unwrap_or(u64::MAX);
    let mut schema = schema_of::<Sleep>();
    schema["properties"]["ms"]["maximum"] = timeout_ms.saturating_sub(1).into();
    schema
}

/// When to report, in milliseconds from the start; the last is the end.
fn steps(ms: u64) -> impl Iterator<Item = u64> {
    let step = ms.div_ceil(PROGRESS_STEPS_MAX).max(PROGRESS_MS_MIN);
    (1..=ms.div_ceil(step)).map(move |count| (count * step).min(ms))
}

fn report(context: &Context, slept_ms: u64, ms: u64) {
    // One report less matters to nobody: the server is busy.
    context.progress(slept_ms as f64, Some(ms as f64), None).ok();
}

/// Shared by all shards: whoever counts, whoever reads sees it.
type Counters = Arc<[AtomicU64; COUNTERS]>;

#[derive(Deserialize, JsonSchema)]
struct Count {
    /// Which counter.
    #[schemars(range(max = 15))]
    index: usize,
}

fn count(handle: Handle, counters: Counters) -> Tool {
    Tool::new("count")
        .description(
            "Adds 1 to a counter, tells what it comes to, and announces the change of \
             ringmesh://counters/{index}",
        )
        .annotations(ToolAnnotations::new().destructive(false).open_world(false))
        .inline(move |Count { index }: Count, _: &Call<'_>| {
            let Some(counter) = counters.get(index) else {
                return Err(format!("there are counters 0 to {}", COUNTERS - 1));
            };
            let value = counter.fetch_add(1, Ordering::Relaxed) + 1;
            handle.resource_updated(&counter_uri(index));
            Ok(value.to_string())
        })
}

fn counter(counters: Counters) -> Template {
    Template::new("ringmesh://counters/{index}", "counter")
        .title("A counter")
        .description("What the tool 'count' has counted; subscribe to hear of changes")
        .mime_type("text/plain")
        .complete("index", |typed: &str, _: &Call<'_>| {
            Completion::starting(typed, (0..COUNTERS).map(|index| index.to_string()))
        })
        .inline(move |variables: Variables, _: &Call<'_>| {
            let index: usize = variables.parse("index")?;
            let value = counters.get(index).map(|counter| counter.load(Ordering::Relaxed));
            // One name for each: `07` is no counter.
            let known = variables.text("index") == index.to_string();
            Ok::<_, Error>(value.filter(|_| known).map(|value| value.to_string()))
        })
}

fn counter_uri(index: usize) -> String {
    format!("ringmesh://counters/{index}")
}

fn status(handle: Handle) -> Resource {
    let born = Instant::now();
    Resource::new(STATUS_URI, "status")
        .title("Server status")
        .description("How this server does; subscribe to hear of changes")
        .mime_type("application/json")
        .inline(move |_: &Call<'_>| {
            let known = handle.status().unwrap_or_default();
            let mut status: Map<String, Value> = serde_json::from_str(&known).unwrap_or_default();
            status.insert("uptime_seconds".into(), born.elapsed().as_secs().into());
            status.insert("tools".into(), handle.tool_names().len().into());
            Value::Object(status).to_string()
        })
}

/// Tells subscribers when the status differs from what it was.
fn watch_status(handle: Handle) {
    let watch = move || {
        let mut last = handle.status();
        loop {
            thread::sleep(STATUS_INTERVAL);
            let status = handle.status();
            if status != last {
                handle.resource_updated(STATUS_URI);
                last = status;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("ringmesh-status".into()).spawn(watch) {
        tracing::error!(%error, "cannot watch the status");
    }
}

fn tool_definition(handle: Handle) -> Template {
    let names = handle.clone();
    Template::new("ringmesh://tools/{name}", "tool")
        .title("Definition of a tool")
        .description("A tool's description and schemas, as JSON")
        .mime_type("application/json")
        .complete("name", move |typed: &str, _: &Call<'_>| {
            Completion::starting(typed, names.tool_names())
        })
        .inline(move |variables: Variables, _: &Call<'_>| {
            handle.tool_definition(variables.text("name"))
        })
}

fn explain_tool(handle: Handle) -> Prompt {
    let names = handle.clone();
    Prompt::new("explain_tool")
        .title("Explain a tool")
        .description("Asks for an explanation of one of this server's tools")
        .required("tool", "Name of the tool")
        .optional("audience", "Whom it is explained to, such as 'a beginner'")
        .complete("tool", move |typed: &str, _: &Call<'_>| {
            Completion::starting(typed, names.tool_names())
        })
        .complete("audience", |typed: &str, _: &Call<'_>| {
            Completion::starting(typed, ["a beginner", "a child", "an expert"])
        })
        .inline(move |arguments: BTreeMap<String, String>, _: &Call<'_>| {
            let name = arguments.get("tool").map_or("", String::as_str);
            let audience = arguments.get("audience").map_or("a programmer", String::as_str);
            let Some(definition) = handle.tool_definition(name) else {
                return Err(Error::invalid_params(format!("unknown tool: {name}")));
            };
            let contents = ResourceContents::text(format!("ringmesh://tools/{name}"), definition)
                .mime_type("application/json");
            Ok(PromptResult::new()
                .user(Content::resource(contents))
                .user(format!("Explain the tool '{name}' to {audience}, with one example.")))
        })
}

fn pure() -> ToolAnnotations {
    ToolAnnotations::new().read_only(true).idempotent(true).open_world(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_integers_are_integers() {
        let table = [
            ("1", "2", Some("3")),
            ("-1", "18446744073709551615", Some("18446744073709551614")),
            ("18446744073709551615", "1", Some("1.8446744073709552e+19")),
            ("0.5", "1", Some("1.5")),
            ("1e308", "1e308", None),
        ];
        for (a, b, expected) in table {
            let number = |text: &str| serde_json::from_str::<Number>(text).expect("a number");
            let sum = sum(&number(a), &number(b)).map(|sum| sum.to_string());
            assert_eq!(sum.as_deref(), expected, "{a} + {b}");
        }
    }

    #[test]
    fn times_are_written_in_iso_8601() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_298_706_007, "2026-11-21T22:05:06.007Z"),
        ];
        for (unix_ms, expected) in table {
            assert_eq!(utc(unix_ms), expected);
        }
    }

    #[test]
    fn progress_is_reported_at_most_ten_times_and_at_the_end() {
        assert_eq!(steps(0).count(), 0);
        assert_eq!(steps(50).collect::<Vec<_>>(), [50]);
        assert_eq!(steps(250).collect::<Vec<_>>(), [100, 200, 250]);
        let long: Vec<_> = steps(60_001).collect();
        assert_eq!((long.len(), long.last()), (10, Some(&60_001)));
    }

    #[test]
    fn a_sleep_ends_within_the_time_of_tools() {
        let schema = sleep_schema(Duration::from_secs(60));
        assert_eq!(schema["properties"]["ms"]["maximum"], 59_999);
        assert_eq!(schema["type"], "object");
    }
}
