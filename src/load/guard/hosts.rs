//! Which hosts may be loaded: this one, and those behind networks that it made.
//!
//! A bridge, or one end of a veth pair, leads to containers and namespaces of this machine. What
//! has hardware below it, a tunnel or a wireless link leads elsewhere, whatever its addresses are.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;

use crate::boot::StartError;

const REMOTE: &str = "it is neither this machine nor on a network made here: --allow-remote loads \
                      it all the same, if it is yours";
/// The kind of an interface that carries Ethernet frames (if_arp.h, `ARPHRD_ETHER`).
const ETHERNET: &str = "1";

/// Networks that lead to containers and namespaces of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::load) struct Networks(Vec<(IpAddr, u32)>);

impl Networks {
    /// Reads routing tables and the kinds of interfaces.
    pub(in crate::load) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let four = text("/proc/net/route");
        let six = text("/proc/net/ipv6_route");
        let routes = four.lines().filter_map(route_v4).chain(six.lines().filter_map(route_v6));
        let here = routes.filter(|(interface, ..)| leads_inside(interface));
        Self(here.map(|(_, network, bits)| (network, bits)).collect())
    }

    fn holds(&self, address: IpAddr) -> bool {
        is_private(address) && self.0.iter().any(|(of, bits)| within(address, *of, *bits))
    }

    /// Whether an address is this machine, or behind one of these networks.
    fn allows(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.holds(address) || is_own(address)
    }
}

/// Looks a target up.
///
/// # Errors
/// 64 where it may not be loaded, 69 where its name is not known.
pub(in crate::load) fn look_up(
    target: &str,
    host: &str,
    port: u16,
    networks: &Networks,
    allow_remote: bool,
) -> Result<SocketAddr, StartError> {
    let unknown = |what: &dyn std::fmt::Display| {
        StartError::unavailable(format!("{target}: cannot look up {host}: {what}"))
    };
    let found: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = (host, port).to_socket_addrs().map_err(|error| unknown(&error))?;
            found.map(|address| address.ip()).collect()
        }
    };
    let found: Vec<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
    // Of `localhost` the one of whose kind there are many addresses to come from.
    let many = |address: &&IpAddr| address.is_ipv4() && address.is_loopback();
    let chosen = found.iter().find(many).or(found.first());
    let chosen = *chosen.ok_or_else(|| unknown(&"it has no address"))?;
    let wrong = |mend: &str| StartError::usage(format!("{target}: {mend}"));
    for &address in &found {
        if address.is_unspecified() || address.is_multicast() || is_broadcast(address) {
            return Err(wrong("that is no address of a server"));
        }
        if !allow_remote && !networks.allows(address) {
            let is =
                if host.parse() == Ok(address) { String::new() } else { format!("{address}: ") };
            return Err(wrong(&format!("{is}{REMOTE}")));
        }
    }
    Ok(SocketAddr::new(chosen, port))
}

/// Whether both ends are on this machine.
pub(in crate::load) fn is_here(address: IpAddr) -> bool {
    address.is_loopback() || is_own(address)
}

/// Whether a socket can have the address.
pub(in crate::load) fn is_own(address: IpAddr) -> bool {
    !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok()
}

fn is_broadcast(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// RFC 1918; of IPv6 unique local addresses (RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let apart = address.to_bits() ^ network.to_bits();
            apart.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let apart = address.to_bits() ^ network.to_bits();
            apart.leading_zeros() >= bits
        }
        _ => false,
    }
}

/// A network that is reached without a gateway, of a line of /proc/net/route (addresses as the
/// machine's words in hexadecimal).
fn route_v4(line: &str) -> Option<(&str, IpAddr, u32)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let word = |at: usize| {
        let word = u32::from_str_radix(fields.get(at)?, 16).ok()?;
        Some(Ipv4Addr::from(word.to_ne_bytes()))
    };
    let (network, gateway, mask) = (word(1)?, word(2)?, word(7)?);
    let bits = mask.to_bits().leading_ones();
    let direct = gateway.is_unspecified() && bits > 0;
    direct.then(|| (fields[0], IpAddr::V4(network), bits))
}

/// The same of /proc/net/ipv6_route (digits without colons; the interface is the last).
fn route_v6(line: &str) -> Option<(&str, IpAddr, u32)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| {
        let digits: &&str = fields.get(at)?;
        let whole = digits.len() == 32;
        u128::from_str_radix(digits, 16).ok().filter(|_| whole).map(Ipv6Addr::from)
    };
    let (network, gateway) = (address(0)?, address(4)?);
    let bits = u32::from_str_radix(fields.get(1)?, 16).ok()?;
    let direct = gateway.is_unspecified() && bits > 0;
    direct.then(|| (*fields.last().expect("not empty"), IpAddr::V6(network), bits))
}

/// Whether an interface is a bridge or a veth: Ethernet that no hardware carries.
fn leads_inside(interface: &str) -> bool {
    if interface.is_empty() || interface.contains(['/', '.']) {
        return false;
    }
    let about = Path::new("/sys/class/net").join(interface);
    let is_virtual = |interface: &Path| {
        let place = fs::canonicalize(interface);
        place.is_ok_and(|place| place.starts_with("/sys/devices/virtual/net"))
    };
    let kind = fs::read_to_string(about.join("type")).unwrap_or_default();
    if !is_virtual(&about) || kind.trim() != ETHERNET || about.join("tun_flags").exists() {
        return false;
    }
    let stands_on = |name: &str| name.starts_with("lower_");
    let below = fs::read_dir(&about).into_iter().flatten().flatten();
    let mut below = below.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // Tunnels, VLANs, bonds and others on top of hardware have a kind; a veth has none, and a
    // macvlan has something below it.
    let event = fs::read_to_string(about.join("uevent")).unwrap_or_default();
    match event.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        None => !below.any(|name| stands_on(&name)),
        Some("bridge") => {
            let ports = fs::read_dir(about.join("brif")).into_iter().flatten().flatten();
            ports
                .map(|port| Path::new("/sys/class/net").join(port.file_name()))
                .all(|port| is_virtual(&port) && !port.join("tun_flags").exists())
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> Networks {
        Networks(vec![
            ([172, 26, 0, 0].into(), 16),
            ([203, 0, 113, 0].into(), 24),
            ("fd00:1::".parse::<IpAddr>().expect("an address"), 64),
        ])
    }

    #[test]
    fn only_this_machine_and_its_own_networks_are_loaded() {
        let look = |host: &str, allow| look_up("it", host, 80, &networks(), allow);
        for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost", "172.26.0.2", "fd00:1::5"] {
            let found = look(host, false).expect(host);
            assert_eq!(found.port(), 80);
        }
        // Public, private but not made here, public within a network made here, metadata services.
        for host in
            ["198.51.100.7", "10.200.200.200", "203.0.113.5", "169.254.169.254", "fd00:2::1"]
        {
            let refused = look(host, false).expect_err(host);
            assert_eq!(refused.exit_code(), 64);
            assert!(refused.to_string().contains("--allow-remote"), "{refused}");
            assert!(look(host, true).is_ok(), "{host}");
        }
        let others = ["0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "::ffff:0.0.0.0"];
        for host in others {
            assert_eq!(look(host, true).expect_err(host).exit_code(), 64);
        }
    }

    #[test]
    fn addresses_of_others_are_not_here() {
        assert!(is_here([127, 9, 9, 9].into()) && is_here([127, 0, 0, 1].into()));
        assert!(!is_here([192, 0, 2, 1].into()) && !is_own([0, 0, 0, 0].into()));
    }

    #[test]
    fn mapped_addresses_are_judged_by_what_they_are() {
        let look = |host: &str| look_up("it", host, 80, &networks(), false);
        assert_eq!(look("::ffff:127.0.0.1"), Ok(([127, 0, 0, 1], 80).into()));
        assert!(look("::ffff:198.51.100.7").is_err());
    }

    #[test]
    fn networks_are_found_in_routing_tables() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let four = "br0 00001AAC 00000000 0001 0 0 0 0000FFFF 0 0 0";
        assert_eq!(route_v4(four), Some(("br0", address("172.26.0.0"), 16)));
        for other in [
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT",
            "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0",
            "eth0 00000000 00000000 0003 0 0 0 00000000 0 0 0",
        ] {
            assert_eq!(route_v4(other), None, "{other}");
        }
        let zero = "0".repeat(32);
        let six = format!("fd000001{} 40 {zero} 00 {zero} 1 1 0 1 br0", "0".repeat(24));
        assert_eq!(route_v6(&six), Some(("br0", address("fd00:1::"), 64)));
        assert_eq!(route_v6(&format!("{zero} 00 {zero} 00 {zero} 1 1 0 1 lo")), None);
    }

    #[test]
    fn hardware_and_the_loopback_interface_lead_to_no_network_made_here() {
        assert!(!leads_inside("lo"));
        assert!(!leads_inside("../../etc"));
        assert!(!leads_inside("no-such-interface"));
    }
}
