//! A view as lines of text. What a narrow terminal has no room for is left out by importance, and
//! no line is wider than it may be.

use super::view::{Grown, Row, Slow, View};

/// How a line looks where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Bold,
    Dim,
    Warn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) look: Look,
}

/// A page in parts: shards scroll between what stands above and below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) above: Vec<Line>,
    pub(super) shards: Vec<Line>,
    pub(super) below: Vec<Line>,
}

/// A column: its title, how important it is (0 stays longest), and what it says of a row.
struct Column {
    title: &'static str,
    rank: u8,
    cell: fn(&Row) -> String,
}

const COLUMNS: &[Column] = &[
    Column { title: "shard", rank: 0, cell: name },
    Column { title: "cpu", rank: 13, cell: |row| or_dash(row.cpu.map(|cpu| cpu.to_string())) },
    Column { title: "conns", rank: 1, cell: |row| short(row.connections) },
    Column { title: "streams", rank: 6, cell: |row| short(row.streams) },
    Column { title: "sessions", rank: 7, cell: |row| short(row.sessions) },
    Column { title: "calls", rank: 8, cell: |row| short(row.calls) },
    Column { title: "req/s", rank: 2, cell: |row| or_dash(row.requests.map(rate)) },
    Column { title: "in/s", rank: 9, cell: |row| or_dash(row.received.map(bytes)) },
    Column { title: "out/s", rank: 10, cell: |row| or_dash(row.sent.map(bytes)) },
    Column { title: "ticks/s", rank: 14, cell: |row| or_dash(row.ticks.map(rate)) },
    Column { title: "busy", rank: 3, cell: |row| or_dash(row.busy.map(percent)) },
    Column { title: "tick p99", rank: 4, cell: |row| or_dash(row.tick_ns_p99.map(time)) },
    Column { title: "tick max", rank: 5, cell: |row| or_dash(row.tick_ns_max.map(time)) },
    Column { title: "refused", rank: 11, cell: |row| grown(row.refusals) },
    Column { title: "enobufs", rank: 12, cell: |row| grown(row.enobufs) },
    Column { title: "re-arms", rank: 15, cell: |row| grown(row.rearms) },
    Column { title: "mailbox", rank: 16, cell: |row| short(row.mailbox) },
    Column { title: "memory", rank: 17, cell: |row| bytes(row.memory_bytes as f64) },
];
/// Between columns.
const GAP: usize = 2;

impl Page {
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.above.iter().chain(&self.shards).chain(&self.below)
    }
}

/// The page of a view; `width` in columns.
pub(super) fn render(view: &View, width: usize) -> Page {
    let (title, shards, total) = table(view, width);
    let mut above: Vec<_> = head(view).into_iter().collect();
    above.push(line("", Look::Plain));
    above.push(line(title, Look::Dim));
    above.push(line(total, Look::Bold));
    let mut below = vec![line("", Look::Plain)];
    below.extend(tail(&view.slowest));
    let mut page = Page { above, shards, below };
    for line in page.above.iter_mut().chain(&mut page.shards).chain(&mut page.below) {
        cut(&mut line.text, width);
    }
    page
}

fn head(view: &View) -> Vec<Line> {
    let mut head = vec![line(
        format!(
            "ringmesh {} {} {}  pid {}  up {}",
            view.version,
            view.admin,
            view.phase,
            view.pid,
            uptime(view.uptime_s),
        ),
        Look::Bold,
    )];
    head.push(line(
        format!(
            "cpu {}  rss {}  threads {}  pools {} running, {} queued, {} refused",
            or_dash(view.cpus.map(percent)),
            or_dash(view.resident_bytes.map(|b| bytes(b as f64))),
            or_dash(view.threads.map(|threads| threads.to_string())),
            view.pool_running,
            view.pool_queued,
            view.pool_refused,
        ),
        Look::Plain,
    ));
    if let Some(gone) = &view.gone {
        head.push(line(gone.as_str(), Look::Warn));
    }
    head
}

/// Title, a line for each shard, and the line of all.
fn table(view: &View, width: usize) -> (String, Vec<Line>, String) {
    let rows: Vec<&Row> = [&view.total].into_iter().chain(&view.shards).collect();
    let cells = |column: &Column| rows.iter().map(|row| (column.cell)(row)).collect::<Vec<_>>();
    let mut columns: Vec<(&Column, Vec<String>, usize)> = COLUMNS
        .iter()
        .map(|column| {
            let cells = cells(column);
            let widest = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            (column, cells, widest.max(column.title.len()))
        })
        .collect();
    let all = |columns: &[(&Column, Vec<String>, usize)]| -> usize {
        columns.iter().map(|(_, _, wide)| wide + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while columns.len() > 1 && all(&columns) > width {
        let least = columns.iter().map(|(column, ..)| column.rank).max();
        columns.retain(|(column, ..)| Some(column.rank) != least);
    }
    let row = |at: usize| {
        let cells = columns.iter().map(|(_, cells, wide)| format!("{:>wide$}", cells[at]));
        cells.collect::<Vec<_>>().join("  ")
    };
    let titles = columns.iter().map(|(column, _, wide)| format!("{:>wide$}", column.title));
    let title = titles.collect::<Vec<_>>().join("  ");
    let shards = view.shards.iter().enumerate().map(|(at, shard)| match shard.silent_ms {
        Some(ms) => line(silent(shard, ms), Look::Warn),
        None => line(row(at + 1), Look::Plain),
    });
    (title, shards.collect(), row(0))
}

/// In place of numbers that are old.
fn silent(shard: &Row, ms: f64) -> String {
    let (id, connections, streams) = (name(shard), shard.connections, shard.streams);
    let last = format!("last seen: {connections} connections, {streams} streams");
    format!("{id:>5}  silent for {:.1} s; {last}", ms / 1e3)
}

fn tail(slowest: &[Slow]) -> Vec<Line> {
    let mut lines = vec![line("slowest ticks of the last minute", Look::Dim)];
    if slowest.is_empty() {
        lines.push(line("none", Look::Plain));
    }
    lines.extend(slowest.iter().map(|slow| {
        let text = format!(
            "{:>8}  shard {:<3} {:>3} s ago, {} completions, {} answered",
            micros(slow.us),
            slow.shard,
            slow.seconds_ago,
            short(slow.completions),
            short(slow.answered),
        );
        line(text, Look::Plain)
    }));
    lines
}

fn line(text: impl Into<String>, look: Look) -> Line {
    Line { text: text.into(), look }
}

fn cut(text: &mut String, width: usize) {
    // A control character of a server must not reach the terminal.
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, " ");
    }
    if let Some((at, _)) = text.char_indices().nth(width) {
        text.truncate(at);
    }
}

fn name(row: &Row) -> String {
    row.id.map_or_else(|| "all".into(), |id| id.to_string())
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// At most six characters.
fn short(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        _ => scaled(number as f64, 1e3, &["", "k", "M", "G", "T"]),
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".into(),
        ..9.95 => format!("{per_second:.1}"),
        ..99_999.5 => format!("{per_second:.0}"),
        _ => scaled(per_second, 1e3, &["", "k", "M", "G", "T"]),
    }
}

fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Three digits and a unit.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut at = 0;
    while number >= 999.5 && at + 1 < units.len() {
        number /= step;
        at += 1;
    }
    let digits = match number {
        _ if at == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{}", units[at])
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn time(ns: u64) -> String {
    micros(ns as f64 / 1e3)
}

fn micros(us: f64) -> String {
    match us {
        ..9.95 => format!("{us:.1}µs"),
        ..999.5 => format!("{us:.0}µs"),
        ..9_995.0 => format!("{:.2}ms", us / 1e3),
        ..999_500.0 => format!("{:.0}ms", us / 1e3),
        _ => format!("{:.1}s", us / 1e6),
    }
}

fn grown(count: Grown) -> String {
    match count.by {
        0 => short(count.total),
        by => format!("{}+{}", short(count.total), short(by)),
    }
}

fn uptime(seconds: f64) -> String {
    let (days, rest) = ((seconds / 86_400.0).floor(), seconds % 86_400.0);
    let (hours, minutes) = ((rest / 3_600.0).floor(), (rest % 3_600.0 / 60.0).floor());
    let seconds = (rest % 60.0).floor();
    match days {
        0.0 => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}d {hours:02}:{minutes:02}"),
    }
}
