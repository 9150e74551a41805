//! The flags of `ringmesh load`, which take the place of the scenario's keys.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::assertion::Check;
use super::scenario::text::Rate;
use crate::config::{Count, Cpus, Span};

/// What was asked for.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// What clients do and when; perf/scenarios has some, and the format
    #[arg(value_name = "SCENARIO.toml")]
    pub(crate) scenario: PathBuf,
    /// A server: http://HOST:PORT/mcp, tcp://HOST:PORT or stdio:COMMAND; repeatable
    #[arg(long, value_name = "URL")]
    pub(crate) target: Vec<String>,
    /// The folder for results, new or empty [default: results/load-SCENARIO-TIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Clients in all; numbers of clients in phases change with it
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<Count>,
    /// Calls due each second in the hold phases (without those: in burst and churn)
    #[arg(long, value_name = "PER_S", allow_negative_numbers = true)]
    pub(crate) rate: Option<Rate>,
    /// Length of each hold phase (without those: of each burst and churn)
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<Span>,
    /// Calls in flight on one connection
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<Count>,
    /// Threads that make the load, each with an io_uring [default: one for each of --cpus, else
    /// for half the cpus; more where the descriptor limit needs more rings]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<Count>,
    /// Cpus that those are pinned to, such as 0,2-3 [default: not pinned]
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<Cpus>,
    /// Repeats the same arrivals [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Source addresses, all of this machine [default: of 127.0.0.0/8, a new one every 500
    /// connections, where the target is there, else the kernel's choice]
    #[arg(long, value_name = "CIDR")]
    pub(crate) sources: Option<Sources>,
    /// The admin listener of a server, whose metrics are recorded; repeatable
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Vec<Admin>,
    /// The server's process, where it is not found by its port; repeatable
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) server_pid: Vec<u32>,
    /// Exit with 1 unless the result is so, such as p99<30ms or errors=0; repeatable
    #[arg(long, value_name = "CHECK")]
    pub(crate) assert: Vec<Check>,
    /// Allow targets that are neither this machine nor a network that it made
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Print plain lines even on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
    /// Print the resolved plan, its limits and warnings; send nothing
    #[arg(long)]
    pub(crate) check: bool,
}

/// Addresses that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// As the user wrote it.
    pub(crate) text: String,
    pub(crate) first: IpAddr,
    pub(crate) count: u32,
}

impl FromStr for Sources {
    type Err = &'static str;

    /// `10.0.0.0/16`: without the network's and the broadcast address; `10.0.0.1`: that one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write a network such as 10.1.0.0/16, or an address";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| WRONG)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits == 0 || bits > width {
            return Err(WRONG);
        }
        let hosts = width - bits;
        let size = 1_u32.checked_shl(hosts).filter(|_| hosts < 32).unwrap_or(u32::MAX);
        let (skip, count) = if hosts >= 2 { (1, size - 2) } else { (0, size) };
        let first = match address {
            IpAddr::V4(address) => {
                let network = address.to_bits() & u32::MAX.checked_shl(hosts).unwrap_or(0);
                IpAddr::V4((network + skip).into())
            }
            IpAddr::V6(address) => {
                let network = address.to_bits() & u128::MAX.checked_shl(hosts).unwrap_or(0);
                IpAddr::V6((network + u128::from(skip)).into())
            }
        };
        Ok(Self { text: text.to_owned(), first, count })
    }
}

/// Where a server tells its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    /// As the user wrote it.
    pub(crate) name: String,
    /// A numeric address, or a name to be looked up, and a port.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Admin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write http://HOST:PORT, such as http://127.0.0.1:9180";
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix("/metrics").unwrap_or(rest).trim_end_matches('/');
        let (host, port) = match rest.parse::<SocketAddr>() {
            Ok(address) => (address.ip().to_string(), address.port()),
            Err(_) => {
                let (host, port) = rest.split_once(':').ok_or(WRONG)?;
                (host.to_owned(), port.parse().map_err(|_| WRONG)?)
            }
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) || port == 0 {
            return Err(WRONG);
        }
        Ok(Self { name: text.to_owned(), host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read() {
        for (text, first, count) in [
            ("10.1.0.0/16", "10.1.0.1", 65_534),
            ("10.1.2.3/24", "10.1.2.1", 254),
            ("10.1.2.3", "10.1.2.3", 1),
            ("10.1.2.3/31", "10.1.2.2", 2),
            ("fd00::/120", "fd00::1", 254),
            ("fd00::/64", "fd00::1", u32::MAX - 2),
            ("::1", "::1", 1),
        ] {
            let first: IpAddr = first.parse().expect("an address");
            let sources = Sources { text: text.into(), first, count };
            assert_eq!(text.parse(), Ok(sources), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/0", "10.0.0/8", "x", "10.0.0.0/-1"] {
            assert!(text.parse::<Sources>().is_err(), "{text}");
        }
    }

    #[test]
    fn admin_listeners_are_read() {
        for text in ["http://127.0.0.1:9180", "127.0.0.1:9180", "http://127.0.0.1:9180/metrics"] {
            let admin: Admin = text.parse().expect(text);
            assert_eq!((admin.host.as_str(), admin.port), ("127.0.0.1", 9180), "{text}");
        }
        let six: Admin = "http://[::1]:9180/".parse().expect("an address");
        assert_eq!((six.host.as_str(), six.port), ("::1", 9180));
        for text in ["", "http://127.0.0.1", "https://h:1", "h:0", "h:x", "a b:1"] {
            assert!(text.parse::<Admin>().is_err(), "{text}");
        }
    }
}
