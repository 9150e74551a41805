//! The scenario file, key by key: what it may hold, before anything is made of it.
//!
//! An unknown key and a value that makes no sense by itself are refused here, where the place is
//! known; what depends on more than one key is checked by those who resolve it.

use std::fmt;
use std::str::FromStr;

use ringmesh_runtime::load::script::{Arrivals, PhaseKind};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::config::{Count, Cpus, Size, Span};

/// A scenario. Flags of the command line take the place of keys with the same name.
#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// One line for reports [default: the file's name].
    pub(crate) title: Option<String>,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// Clients in all [default: the most that a phase names, or what the workloads name].
    pub(crate) connections: Option<Count>,
    /// As `--target`, a list.
    pub(crate) targets: Option<Vec<String>>,
    /// As `--sources`.
    pub(crate) sources: Option<String>,
    /// As `--shards`.
    pub(crate) shards: Option<Count>,
    /// As `--cpus`.
    pub(crate) cpus: Option<Cpus>,
    /// As `--seed` [default: 1].
    pub(crate) seed: Option<u64>,
    /// Of a connect, and of an answer [default: 30s].
    pub(crate) timeout: Option<Span>,
    /// How long to wait for answers after the last phase, at most [default: 10s].
    pub(crate) linger: Option<Span>,
    /// Each client makes a call as soon as it is connected [default: false].
    pub(crate) first_call: Option<bool>,
    /// Connects in flight at once, in all [default: 1024].
    pub(crate) connecting: Option<Count>,
    /// Calls that wait for a free connection, in all; more are errors
    /// [default: as many as become due within the time-out].
    pub(crate) backlog: Option<Count>,
    /// Calls and answers of so long are gathered [default: 0ms].
    pub(crate) pacing: Option<Span>,
    /// As `--assert`, a list.
    pub(crate) assert: Option<Vec<String>>,
    /// What workloads do that do not say otherwise.
    pub(crate) defaults: Option<Defaults>,
    /// Kinds of clients.
    pub(crate) workload: Vec<Spanned<Workload>>,
    /// What happens when, one after the other.
    pub(crate) phase: Vec<Spanned<Phase>>,
}

/// Keys of workloads, for all that take them and do not say otherwise.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defaults {
    pub(crate) depth: Option<Count>,
    #[serde(rename = "loop")]
    pub(crate) pace: Option<Pace>,
    pub(crate) tool: Option<String>,
    pub(crate) arguments: Option<toml::Table>,
    pub(crate) payload: Option<Size>,
    pub(crate) stream: Option<bool>,
    pub(crate) reads: Option<bool>,
    pub(crate) uris: Option<Vec<String>>,
    pub(crate) arrivals: Option<Spread>,
}

/// A kind of clients.
#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// Letters, digits, `_` and `-`; unique [default: its kind].
    pub(crate) name: Option<String>,
    pub(crate) kind: Speech,
    /// Protocol version of a session [default: 2025-11-25].
    pub(crate) version: Option<String>,
    /// Its part of the clients that have no exact number [default: 1].
    pub(crate) weight: Option<Count>,
    /// Exactly so many clients.
    pub(crate) connections: Option<Count>,
    /// Calls in flight on one connection, at most [default: 1].
    pub(crate) depth: Option<Count>,
    /// Whether calls follow the phase's rate or each other [default: open].
    #[serde(rename = "loop")]
    pub(crate) pace: Option<Pace>,
    /// What is called [default: add].
    pub(crate) tool: Option<String>,
    /// Its arguments [default: none, of `add` 2 and 3].
    pub(crate) arguments: Option<toml::Table>,
    /// Size of a request's body: calls `echo` with as long a text as that takes.
    pub(crate) payload: Option<Size>,
    /// Whether an HTTP session reads its GET stream, on a connection of its own [default: true].
    pub(crate) stream: Option<bool>,
    /// Whether a listener reads what comes [default: true].
    pub(crate) reads: Option<bool>,
    /// What a listener listens to [default: ringmesh://counters/0].
    pub(crate) uris: Option<Vec<String>>,
}

/// A part of the run.
#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    /// Letters, digits, `_` and `-`; unique [default: its kind].
    pub(crate) name: Option<String>,
    pub(crate) kind: Stage,
    pub(crate) duration: Span,
    /// Clients at its end [default: of a ramp all, of a drain none, else as before].
    pub(crate) connections: Option<Count>,
    /// In so many equal steps; 1 is at once [default: 0, evenly over the phase].
    pub(crate) steps: Option<Count>,
    /// Calls due each second, in all [default: 0].
    pub(crate) rate: Option<Rate>,
    /// How they are spread over time [default: poisson].
    pub(crate) arrivals: Option<Spread>,
    /// Clients that leave and come anew each second [default: 0].
    pub(crate) churn: Option<Rate>,
    /// Clients that are cut and come anew at its begin, a number or "all" [default: 0].
    pub(crate) reconnect: Option<Clients>,
    /// Changes what listeners listen to.
    pub(crate) trigger: Option<Trigger>,
}

/// How often resources are changed, and by which tool.
#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trigger {
    pub(crate) every: Span,
    /// [default: count]
    pub(crate) tool: Option<String>,
}

/// How clients of a kind speak.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Speech {
    Http,
    HttpSession,
    Listen,
    Tcp,
    TcpSession,
    Stdio,
    StdioSession,
}

impl Speech {
    /// As scenarios write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpSession => "http-session",
            Self::Listen => "listen",
            Self::Tcp => "tcp",
            Self::TcpSession => "tcp-session",
            Self::Stdio => "stdio",
            Self::StdioSession => "stdio-session",
        }
    }

    /// Whether it has a handshake, and so an older version.
    pub(crate) const fn is_session(self) -> bool {
        matches!(self, Self::HttpSession | Self::TcpSession | Self::StdioSession)
    }
}

/// When calls are due.
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pace {
    Open,
    Closed,
}

/// As the script's [`PhaseKind`].
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    Ramp,
    Hold,
    Burst,
    Churn,
    Drain,
}

impl Stage {
    pub(crate) const fn kind(self) -> PhaseKind {
        match self {
            Self::Ramp => PhaseKind::Ramp,
            Self::Hold => PhaseKind::Hold,
            Self::Burst => PhaseKind::Burst,
            Self::Churn => PhaseKind::Churn,
            Self::Drain => PhaseKind::Drain,
        }
    }
}

/// As the script's [`Arrivals`].
#[derive(Deserialize, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Spread {
    Constant,
    Poisson,
}

impl Spread {
    pub(crate) const fn arrivals(self) -> Arrivals {
        match self {
            Self::Constant => Arrivals::Constant,
            Self::Poisson => Arrivals::Poisson,
        }
    }
}

/// So many each second, with or without a fraction.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, PartialOrd)]
#[serde(transparent)]
pub(crate) struct Rate(pub(crate) f64);

/// Above it is a typing error.
const RATE_MAX: f64 = 1e9;
const RATE_WRONG: &str = "write how many a second, a number from 0 to 1e9";

impl Rate {
    fn checked(rate: f64) -> Option<Self> {
        (0.0..=RATE_MAX).contains(&rate).then_some(Self(rate))
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::checked).ok_or(RATE_WRONG)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rates;
        impl Visitor<'_> for Rates {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E: de::Error>(self, rate: i64) -> Result<Rate, E> {
                self.visit_f64(rate as f64)
            }

            fn visit_f64<E: de::Error>(self, rate: f64) -> Result<Rate, E> {
                Rate::checked(rate).ok_or_else(|| E::custom(format!("{rate}: {RATE_WRONG}")))
            }
        }
        deserializer.deserialize_any(Rates)
    }
}

/// A number of clients, or all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    Number(u32),
    All,
}

impl<'de> Deserialize<'de> for Clients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        const WRONG: &str = "write a whole number, or \"all\"";
        impl Visitor<'_> for Numbers {
            type Value = Clients;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or \"all\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Clients, E> {
                let wrong = |_| E::custom(format!("{number}: {WRONG}"));
                u32::try_from(number).map(Clients::Number).map_err(wrong)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Clients, E> {
                match text {
                    "all" => Ok(Clients::All),
                    _ => Err(E::custom(format!("`{text}`: {WRONG}"))),
                }
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}

impl Serialize for Clients {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::All => serializer.serialize_str("all"),
        }
    }
}
