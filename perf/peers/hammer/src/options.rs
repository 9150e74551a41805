//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

/// What there is to say.
pub const USAGE: &str = "usage: hammer --to ADDR:PORT --mode http-modern|http-legacy|lines-modern|\
    lines-legacy [--connections 64] [--depth 1] [--seconds 5] [--warm-up 1] [--pid SERVER] \
    [--elsewhere --shards N]";

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 2026-07-28 over Streamable HTTP.
    HttpModern,
    /// 2025-11-25 over Streamable HTTP, with a session.
    HttpLegacy,
    /// 2026-07-28, a message a line.
    LinesModern,
    /// 2025-11-25, a message a line, after `initialize`.
    LinesLegacy,
}

impl Mode {
    const ALL: [Self; 4] = [
        Self::HttpModern,
        Self::HttpLegacy,
        Self::LinesModern,
        Self::LinesLegacy,
    ];

    /// Its name in options and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpModern => "http-modern",
            Self::HttpLegacy => "http-legacy",
            Self::LinesModern => "lines-modern",
            Self::LinesLegacy => "lines-legacy",
        }
    }

    /// Whether it is HTTP.
    pub fn is_http(self) -> bool {
        matches!(self, Self::HttpModern | Self::HttpLegacy)
    }

    /// Whether it begins with a handshake.
    pub fn is_legacy(self) -> bool {
        matches!(self, Self::HttpLegacy | Self::LinesLegacy)
    }
}

/// What to do.
#[derive(Debug)]
pub struct Options {
    /// The server.
    pub to: SocketAddr,
    /// How to speak.
    pub mode: Mode,
    /// Connections.
    pub connections: usize,
    /// Calls in flight on each.
    pub depth: usize,
    /// How long to measure.
    pub duration: Duration,
    /// How long to call before that.
    pub warm_up: Duration,
    /// The server's process, whose CPU time is read.
    pub pid: Option<u32>,
    /// Each connection uses a session that lives on another shard than it.
    pub elsewhere: bool,
    /// Shards of the server.
    pub shards: u16,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut to, mut mode, mut pid) = (None, None, None);
        let (mut connections, mut depth, mut shards) = (64, 1, 1);
        let (mut seconds, mut warm_up, mut elsewhere) = (5.0, 1.0, false);
        while let Some(name) = arguments.next() {
            if name == "--elsewhere" {
                elsewhere = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--to" => to = Some(number(&name, &value)?),
                "--mode" => {
                    let known = Mode::ALL.into_iter().find(|mode| mode.name() == value);
                    mode = Some(known.ok_or_else(|| format!("--mode {value}: no such mode"))?);
                }
                "--connections" => connections = number(&name, &value)?,
                "--depth" => depth = number(&name, &value)?,
                "--seconds" => seconds = number(&name, &value)?,
                "--warm-up" => warm_up = number(&name, &value)?,
                "--pid" => pid = Some(number(&name, &value)?),
                "--shards" => shards = number(&name, &value)?,
                _ => return Err(format!("{name}: no such option")),
            }
        }
        let options = Self {
            to: to.ok_or("--to is missing")?,
            mode: mode.ok_or("--mode is missing")?,
            connections,
            depth,
            duration: span("--seconds", seconds)?,
            warm_up: span("--warm-up", warm_up)?,
            pid,
            elsewhere,
            shards,
        };
        options.check()
    }

    fn check(self) -> Result<Self, String> {
        if self.connections == 0 || self.depth == 0 || self.duration.is_zero() {
            return Err("--connections, --depth and --seconds must be above 0".to_owned());
        }
        if self.elsewhere && (self.mode != Mode::HttpLegacy || self.shards < 2) {
            return Err("--elsewhere needs --mode http-legacy and --shards 2 or more".to_owned());
        }
        Ok(self)
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} {value}: what is that?"))
}

fn span(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{name} {seconds}: what is that?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let good = parse("--to 127.0.0.1:80 --mode http-legacy --elsewhere --shards 2").unwrap();
        assert_eq!(
            (good.connections, good.depth, good.mode),
            (64, 1, Mode::HttpLegacy)
        );
        for (line, error) in [
            ("--mode http-modern", "--to is missing"),
            ("--to 127.0.0.1:80 --mode http", "--mode http: no such mode"),
            (
                "--to 127.0.0.1:80 --mode lines-modern --depth 0",
                "must be above 0",
            ),
            (
                "--to 127.0.0.1:80 --mode lines-modern --elsewhere",
                "needs --mode http-legacy",
            ),
            ("--to 127.0.0.1:80 --seconds", "needs a value"),
            (
                "--to 127.0.0.1:80 --seconds -1 --mode lines-modern",
                "what is that?",
            ),
        ] {
            assert!(parse(line).expect_err(line).contains(error), "{line}");
        }
    }
}
