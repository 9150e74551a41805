//! Where connections come from: one address alone runs out of ports, and long before that the
//! kernel's search for a free one takes most of the time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ringmesh_runtime::load::script::Sources;

use super::hosts::is_own;
use crate::boot::StartError;
use crate::load::options;

/// Connections to one target from one address.
const EACH: u32 = 500;
/// Ports of one address that may wait out their last minute (TIME-WAIT) at once.
const WAITING_MAX: u32 = 16_000;
/// How long a port waits, s.
const WAIT_S: f64 = 60.0;
/// Loopback addresses that nobody listens on by habit: 127.64.0.0/10, another for a target there.
const LOOPBACK_FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
const LOOPBACK_OTHER: Ipv4Addr = Ipv4Addr::new(127, 128, 0, 1);
const LOOPBACK_MAX: u32 = 1 << 21;

/// What the connections to one target ask of source addresses.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct Wanted {
    /// Clients of the target, and sockets of each, at most.
    pub(in crate::load) clients: u32,
    pub(in crate::load) sockets: u32,
    /// Of those, closed and connected anew each second, and all at once.
    pub(in crate::load) churn_per_s: f64,
    pub(in crate::load) reconnect: u32,
}

impl Wanted {
    /// Addresses that keep the search short and have ports left while closed connections wait.
    #[expect(clippy::cast_possible_truncation, reason = "it is bounded just before")]
    fn addresses(&self) -> u32 {
        let churned = (self.churn_per_s * WAIT_S).ceil().min(f64::from(u32::MAX / 8)) as u32;
        let waiting = churned.saturating_add(self.reconnect).saturating_mul(self.sockets);
        self.clients.div_ceil(EACH).max(waiting.div_ceil(WAITING_MAX)).max(1)
    }
}

/// Chooses the addresses for a target.
///
/// # Errors
/// 64 where those that were named do not fit it or are not this machine's, 78 where there are too
/// few of them.
pub(in crate::load) fn choose(
    name: &str,
    to: SocketAddr,
    wanted: Wanted,
    named: Option<&options::Sources>,
    ports: u32,
) -> Result<Option<Sources>, StartError> {
    let sources = match (named, to.ip().to_canonical()) {
        (Some(named), _) => Some(of_named(name, to, wanted, named)?),
        (None, IpAddr::V4(address)) if address.is_loopback() => Some(of_loopback(address, wanted)),
        (None, _) => None,
    };
    let addresses = sources.map_or(1, |sources| u64::from(sources.count));
    let room = addresses * u64::from(ports) / u64::from(wanted.sockets.max(1));
    if u64::from(wanted.clients) > room {
        return Err(StartError::limit(format!(
            "{name}: {room} connections fit and {} are wanted: {addresses} source addresses have \
             {ports} ports each: name more with --sources, or --connections {room}",
            wanted.clients,
        )));
    }
    Ok(sources)
}

fn of_loopback(target: Ipv4Addr, wanted: Wanted) -> Sources {
    let count = wanted.addresses().min(LOOPBACK_MAX);
    let meets = (target.to_bits() ^ LOOPBACK_FIRST.to_bits()).leading_zeros() >= 10;
    let first = IpAddr::V4(if meets { LOOPBACK_OTHER } else { LOOPBACK_FIRST });
    Sources { first, count, each: wanted.clients.div_ceil(count).max(1) }
}

fn of_named(
    name: &str,
    to: SocketAddr,
    wanted: Wanted,
    named: &options::Sources,
) -> Result<Sources, StartError> {
    let wrong = |what: String| StartError::usage(format!("--sources: {what}"));
    if named.first.is_ipv4() != to.is_ipv4() {
        return Err(wrong(format!(
            "{} cannot reach {name}: name addresses of its kind",
            named.first
        )));
    }
    if to.ip().is_loopback() && !named.first.is_loopback() {
        return Err(wrong(format!("{} is not within loopback as {name} is", named.first)));
    }
    let count = named.count.min(wanted.addresses());
    let each = wanted.clients.div_ceil(count).max(1);
    let sources = Sources { first: named.first, count, each };
    for nth in [0, (count - 1).saturating_mul(each)] {
        let address = sources.address(nth);
        if !is_own(address) {
            return Err(wrong(format!(
                "{address} is not this machine's: ip addr add {address} dev INTERFACE, or name \
                 addresses that are"
            )));
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(clients: u32) -> Wanted {
        Wanted { clients, sockets: 1, churn_per_s: 0.0, reconnect: 0 }
    }

    fn chosen(
        to: &str,
        wanted: Wanted,
        named: Option<&str>,
    ) -> Result<Option<Sources>, StartError> {
        let named: Option<options::Sources> = named.map(|text| text.parse().expect("a network"));
        choose("it", to.parse().expect("an address"), wanted, named.as_ref(), 28_232)
    }

    #[test]
    fn loopback_has_an_address_for_every_500() {
        for (clients, count) in [(1, 1), (500, 1), (501, 2), (100_000, 200), (1_000_000, 2_000)] {
            let sources = chosen("127.0.0.1:80", wanted(clients), None).expect("they fit");
            let sources = sources.expect("some");
            assert_eq!(sources.count, count);
            assert!(sources.each <= EACH);
            let all = (0..clients).step_by(97).map(|nth| sources.address(nth));
            let mut all = all.chain([sources.address(clients - 1)]);
            assert!(all.all(|address| address.is_loopback() && address.to_string() != "127.0.0.1"));
        }
        let there = chosen("127.64.0.7:80", wanted(10), None).expect("they fit").expect("some");
        assert_eq!(there.first, IpAddr::V4(LOOPBACK_OTHER));
    }

    #[test]
    fn who_comes_and_goes_needs_more() {
        let churn = Wanted { churn_per_s: 1_000.0, ..wanted(100) };
        let sources = chosen("127.0.0.1:80", churn, None).expect("they fit").expect("some");
        assert_eq!((sources.count, sources.each), (4, 25));
        let storm = Wanted { reconnect: 100_000, ..wanted(100_000) };
        assert_eq!(chosen("127.0.0.1:80", storm, None).expect("fit").expect("some").count, 200);
    }

    #[test]
    fn without_addresses_the_ports_bind() {
        assert_eq!(chosen("[::1]:80", wanted(28_232), None), Ok(None));
        let wrong = chosen("[::1]:80", wanted(28_233), None).expect_err("too many");
        assert_eq!(wrong.exit_code(), 78);
        assert!(wrong.to_string().contains("28232 connections fit"), "{wrong}");
        let two = Wanted { sockets: 2, ..wanted(28_232) };
        assert!(chosen("[::1]:80", two, None).is_err());
    }

    #[test]
    fn named_addresses_are_this_machines() {
        let sources = chosen("127.0.0.1:80", wanted(2_000), Some("127.3.0.0/16")).expect("fit");
        let sources = sources.expect("some");
        assert_eq!((sources.first.to_string().as_str(), sources.count), ("127.3.0.1", 4));
        for named in ["10.99.0.0/16", "::1"] {
            let wrong = chosen("127.0.0.1:80", wanted(1), Some(named)).expect_err(named);
            assert_eq!(wrong.exit_code(), 64, "{wrong}");
        }
    }
}
