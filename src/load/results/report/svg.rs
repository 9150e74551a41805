//! Plots as inline SVG: axes with units, lines, cells and bars on shaded phases.
//!
//! A plot is 380 units wide, about what a phone shows, so that its text is as large as the page's;
//! colours are the page's classes, so that they follow its theme.

use std::fmt::Write as _;

use super::html::escaped;

pub(super) const WIDTH: f64 = 380.0;
pub(super) const HEIGHT: f64 = 220.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 24.0;
/// Marks along an axis, about; along that of time, at most.
const TICKS: f64 = 5.0;
const TIME_TICKS: f64 = 7.0;

/// What is along a side of the plot: where values lie, and which are marked.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    min: f64,
    max: f64,
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to at least `max`, marked as `label` says.
    pub(super) fn linear(max: f64, label: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        Self::by(nice(max / TICKS), max, label)
    }

    /// From 0 to at least `max` bytes, marked at round numbers of KiB, MiB and so on.
    pub(super) fn bytes(max: f64) -> Self {
        let max = max.max(1_024.0);
        let unit = 1_024f64.powf(max.log(1_024.0).floor());
        Self::by(nice(max / unit / TICKS) * unit, max, bytes)
    }

    /// Shares, from 0 to 100 % or more.
    pub(super) fn share(max: f64) -> Self {
        Self::linear(max.max(1.0), |share| format!("{:.0} %", share * 100.0))
    }

    fn by(step: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let count = (max / step - 1e-9).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut index = 0.0;
        while index <= count {
            ticks.push((index * step, label(index * step)));
            index += 1.0;
        }
        Self { min: 0.0, max: count * step, log: false, ticks }
    }

    /// Milliseconds from `min` to `max`, logarithmic, from one of 1, 2, 5 to another.
    pub(super) fn log_ms(min: f64, max: f64) -> Self {
        let min = decade_step(min.max(0.001), false);
        let max = decade_step(max.max(min * 1.01), true).max(min * 2.0);
        let decades = (max / min).log10();
        let steps: &[f64] = if decades <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        let mut decade = 10f64.powf(min.log10().floor());
        while decade <= max * 1.001 {
            let marks = steps.iter().map(|step| step * decade);
            let marks = marks.filter(|value| *value > min * 0.999 && *value < max * 1.001);
            ticks.extend(marks.map(|value| (value, milliseconds(value))));
            decade *= 10.0;
        }
        Self { min, max, log: true, ticks }
    }

    /// Time since the run's begin, s.
    pub(super) fn time(max_s: f64) -> Self {
        let max_s = max_s.max(1.0);
        let (unit_s, unit) = match max_s {
            s if s <= 180.0 => (1.0, "s"),
            s if s <= 3.0 * 3_600.0 => (60.0, "min"),
            _ => (3_600.0, "h"),
        };
        let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0];
        let fits = |step: &&f64| max_s / unit_s / **step <= TIME_TICKS;
        let step = steps.iter().find(fits).copied().unwrap_or(nice(max_s / unit_s / TIME_TICKS));
        let mut ticks = vec![(0.0, "0".to_owned())];
        let mut at = step;
        while at * unit_s <= max_s {
            ticks.push((at * unit_s, format!("{at} {unit}")));
            at += step;
        }
        Self { min: 0.0, max: max_s, log: false, ticks }
    }

    /// `1 / (1 - quantile)`, logarithmic, so that each nine takes the same room.
    pub(super) fn nines(max: f64) -> Self {
        let max = max.max(10.0);
        let mut ticks = vec![(1.0, "0 %".to_owned()), (2.0, "50 %".to_owned())];
        let (mut at, mut nines) = (10.0, 1usize);
        while at <= max * 1.001 {
            let label = match nines {
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                more => format!("99.{} %", "9".repeat(more - 2)),
            };
            ticks.push((at, label));
            at *= 10.0;
            nines += 1;
        }
        Self { min: 1.0, max, log: true, ticks }
    }

    /// Numbered places beside each other, of which about ten are marked.
    pub(super) fn places(count: usize) -> Self {
        let step = count.div_ceil(10).max(1);
        let middle = |index: usize| (f64_of(index) + 0.5, index.to_string());
        let ticks = (0..count).step_by(step).map(middle).collect();
        Self { min: 0.0, max: f64_of(count.max(1)), log: false, ticks }
    }

    /// Where a value lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.min) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn f64_of(count: usize) -> f64 {
    super::super::float(count as u64)
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn nice(step: f64) -> f64 {
    decade_step(step, true)
}

fn decade_step(value: f64, up: bool) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = if up {
        steps.iter().find(|step| **step * decade >= value * 0.999_999)
    } else {
        steps.iter().rfind(|step| **step * decade <= value * 1.000_001)
    };
    found.copied().unwrap_or(1.0) * decade
}

/// `0.25` as `250 µs`, `2000` as `2 s`.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 0.999_999 => format!("{} µs", trimmed(ms * 1_000.0)),
        ms if ms < 999.999 => format!("{} ms", trimmed(ms)),
        ms => format!("{} s", trimmed(ms / 1_000.0)),
    }
}

/// `1200` as `1.2k`.
pub(super) fn count(value: f64) -> String {
    match value {
        v if v >= 999_999.5 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 9_999.5 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn bytes(value: f64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in units {
        let size = f64::from(1u32 << shift);
        if value >= size {
            return format!("{} {unit}", trimmed(value / size));
        }
    }
    format!("{} B", trimmed(value))
}

/// At most two decimals.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A phase behind the plot.
#[derive(Clone, Debug)]
pub(super) struct Shade {
    pub(super) name: String,
    pub(super) from_s: f64,
    pub(super) to_s: f64,
}

/// A plot in the making.
#[derive(Debug)]
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    body: String,
}

impl Plot {
    pub(super) fn new(x: Axis, y: Axis, shades: &[Shade]) -> Self {
        let mut plot = Self { x, y, body: String::new() };
        plot.shade(shades);
        plot.grid();
        plot
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.body.write_fmt(text).expect("memory takes all");
    }

    /// Every other phase is darker; a name is written where it has room.
    fn shade(&mut self, shades: &[Shade]) {
        let height = HEIGHT - TOP - BOTTOM;
        for (index, shade) in shades.iter().enumerate() {
            let (from, to) = (self.x(shade.from_s), self.x(shade.to_s));
            let width = to - from;
            if index % 2 == 0 {
                self.put(format_args!(
                    "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                     height=\"{height}\"/>"
                ));
            }
            let (middle, name) = (from + width / 2.0, &shade.name);
            if width > 6.0 * f64_of(name.chars().count()) + 4.0 {
                let name = escaped(name);
                self.put(format_args!(
                    "<text class=\"phase\" x=\"{middle:.1}\" y=\"{}\">{name}</text>",
                    TOP - 4.0
                ));
            }
        }
    }

    fn grid(&mut self) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in self.y.ticks.clone() {
            let (y, text) = (self.y(value), escaped(&label));
            self.put(format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            let (x, y) = (LEFT - 4.0, y + 4.0);
            self.put(format_args!("<text class=\"ty\" x=\"{x}\" y=\"{y:.1}\">{text}</text>"));
        }
        // Marks of a logarithmic axis come close: one that has no room is left out.
        let mut free = 0.0;
        for (value, label) in self.x.ticks.clone() {
            let (x, text) = (self.x(value), escaped(&label));
            let half = 3.2 * f64_of(label.chars().count());
            let y = bottom + 4.0;
            self.put(format_args!("<path class=\"axis\" d=\"M{x:.1} {bottom}V{y}\"/>"));
            if x - half >= free {
                free = x + half + 5.0;
                let (x, y) = (x.min(WIDTH - half), bottom + 16.0);
                self.put(format_args!("<text class=\"tx\" x=\"{x:.1}\" y=\"{y}\">{text}</text>"));
            }
        }
        self.put(format_args!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
    }

    /// A line through points; where there is none, it is broken. A point between two gaps is a dot.
    pub(super) fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, Option<f64>)>) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            match y {
                Some(y) if y.is_finite() => {
                    let (x, y) = (self.x(x), self.y(y));
                    let command = if pen_down { 'L' } else { 'M' };
                    write!(path, "{command}{x:.1} {y:.1}").expect("memory takes all");
                    if !pen_down {
                        path.push_str("h.1");
                    }
                    pen_down = true;
                }
                _ => pen_down = false,
            }
        }
        if !path.is_empty() {
            self.put(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
        }
    }

    /// Rectangles of one class: from and to on both axes.
    pub(super) fn cells(&mut self, class: &str, cells: impl Iterator<Item = [f64; 4]>) {
        let mut path = String::new();
        for [from_x, to_x, from_y, to_y] in cells {
            let (left, right) = (self.x(from_x), self.x(to_x));
            let (bottom, top) = (self.y(from_y), self.y(to_y));
            let (w, h) = (right - left, bottom - top);
            write!(path, "M{left:.1} {top:.1}h{w:.1}v{h:.1}h-{w:.1}z").expect("memory takes all");
        }
        if !path.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }

    /// A line across at a value.
    pub(super) fn bound(&mut self, value: f64) {
        let (y, right) = (self.y(value), WIDTH - RIGHT);
        self.put(format_args!("<path class=\"bound\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
    }

    pub(super) fn finish(self, label: &str) -> String {
        let (label, body) = (escaped(label), self.body);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">{body}</svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn axes_are_marked_at_round_numbers() {
        assert_eq!(labels(&Axis::linear(0.0, count)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(
            labels(&Axis::linear(97_000.0, count)),
            ["0", "20k", "40k", "60k", "80k", "100k"]
        );
        let sizes = Axis::bytes(1.4 * f64::from(1 << 30));
        assert_eq!(labels(&sizes), ["0 B", "512 MiB", "1 GiB", "1.5 GiB"]);
        assert_eq!(
            labels(&Axis::log_ms(0.3, 28.0)),
            ["200 µs", "500 µs", "1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]
        );
        assert_eq!(
            labels(&Axis::log_ms(0.05, 3_000.0)),
            ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        );
        assert_eq!(labels(&Axis::time(330.0)), ["0", "1 min", "2 min", "3 min", "4 min", "5 min"]);
        assert_eq!(labels(&Axis::time(12.0)), ["0", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]);
        let nines = ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"];
        assert_eq!(labels(&Axis::nines(10_000.0)), nines);
        assert!(Axis::places(1_000).ticks.len() <= 10);
    }

    #[test]
    fn values_that_are_none_are_drawn_nowhere() {
        let mut plot = Plot::new(Axis::time(10.0), Axis::linear(10.0, count), &[]);
        let points = [(0.0, Some(1.0)), (1.0, None), (2.0, Some(f64::NAN)), (3.0, Some(1e300))];
        plot.line("c0", points.into_iter());
        let svg = plot.finish("a <plot>");
        assert!(svg.contains("aria-label=\"a &lt;plot&gt;\"") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("h.1").count(), 2, "two strokes: {svg}");
    }
}
