//! What the user sees while a run goes on, on standard error: on a terminal one line that changes,
//! elsewhere a plain line every few seconds and at the end of each phase.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringmesh_runtime::load::script::Script;

use super::lines;
use crate::load::record::Second;

/// Between two plain lines, s of the run.
const PLAIN_EVERY_S: f64 = 5.0;

/// See the module.
pub(crate) struct View {
    script: Arc<Script>,
    display: Display,
}

enum Display {
    Live(ProgressBar),
    /// When the last line was, s of the run.
    Plain(f64),
}

impl View {
    pub(crate) fn new(script: Arc<Script>, plain: bool) -> Self {
        let display = match plain || !io::stderr().is_terminal() {
            true => Display::Plain(0.0),
            false => Display::Live(bar(&script)),
        };
        Self { script, display }
    }

    /// Says a line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.display {
            Display::Live(bar) => bar.suspend(|| write(line)),
            Display::Plain(_) => write(line),
        }
    }

    /// Shows a second.
    pub(crate) fn show(&mut self, second: &Second) {
        match &mut self.display {
            Display::Live(bar) => {
                let phase = self.script.phases.get(second.phase);
                bar.set_prefix(phase.map_or_else(String::new, |phase| phase.name.clone()));
                bar.set_position(ms(second.to_s));
                bar.set_message(lines::figures(second));
            }
            Display::Plain(last_s) => {
                if is_due(&self.script, second, *last_s) {
                    *last_s = second.to_s;
                    write(&lines::second(&self.script, second));
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if let Display::Live(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// A few seconds after the last line, and with the last second of a phase.
fn is_due(script: &Script, second: &Second, last_s: f64) -> bool {
    let ends = script.phases.get(second.phase).map(|phase| phase.start_ns + phase.duration_ns);
    let ends_phase = ends.is_some_and(|end_ns| (second.to_s - end_ns as f64 / 1e9).abs() < 0.001);
    // What roles tell last may be of no time at all.
    let is_news = second.to_s - last_s > 0.001;
    is_news && (ends_phase || second.to_s - last_s >= PLAIN_EVERY_S - 0.001)
}

fn bar(script: &Script) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(
        Some(ms(script.end_ns() as f64 / 1e9)),
        ProgressDrawTarget::stderr_with_hz(4),
    );
    let template = "{elapsed} {bar:16} {prefix:.bold} {wide_msg}";
    bar.with_style(ProgressStyle::with_template(template).expect("a constant"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "s of a run, not negative"
)]
fn ms(seconds: f64) -> u64 {
    (seconds * 1e3) as u64
}

/// Standard error may be closed: that is the reader's choice.
fn write(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::run::fixtures;

    #[test]
    fn plain_lines_come_every_few_seconds_and_at_the_ends_of_phases() {
        let script = fixtures::script(&[(3_000, 0, 10), (12_000, 10, 10)]);
        let mut last_s = 0.0;
        let mut told = Vec::new();
        for second in 0..17 {
            let mut second = fixtures::second(f64::from(second));
            second.phase = usize::from(second.from_s >= 3.0);
            if is_due(&script, &second, last_s) {
                last_s = second.to_s;
                told.push(second.to_s);
            }
        }
        assert_eq!(told, [3.0, 8.0, 13.0, 15.0]);
    }
}
