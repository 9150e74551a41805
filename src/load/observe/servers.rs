//! Which processes of this machine serve an address: whose listening sockets are they?
//!
//! `/proc/net/tcp` and `tcp6` name the inode of each listening socket (several of one port, where
//! SO_REUSEPORT shares it), `/proc/PID/fd` the inodes that a process has open. Looked up once,
//! before the run.
//!
//! Left out: other network namespaces (a container's listener is behind its proxy, which is what
//! is found), and processes whose descriptors this user may not look at.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Listening sockets looked at, at most.
const LISTENERS_MAX: usize = 1 << 16;
/// `st` of a listening socket.
const LISTENING: &str = "0A";

/// Processes that have a listening socket for one of these addresses, ascending.
pub(crate) fn serving(addresses: &[SocketAddr]) -> Vec<u32> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(file) = File::open(table) else { continue };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        let wanted = |of: &Listening| addresses.iter().any(|&to| of.takes(to));
        inodes.extend(listening(lines).filter(wanted).map(|of| of.inode));
    }
    if inodes.is_empty() { Vec::new() } else { holders(&inodes) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    inode: u64,
}

impl Listening {
    /// Whether connections to `to` may end up there.
    fn takes(&self, to: SocketAddr) -> bool {
        let own = self.address.ip();
        let anywhere = match own {
            IpAddr::V4(own) => own.is_unspecified() && to.ip().to_canonical().is_ipv4(),
            // Where it is not told otherwise, it takes IPv4 too.
            IpAddr::V6(own) => own.is_unspecified(),
        };
        let same = anywhere || own.to_canonical() == to.ip().to_canonical();
        same && self.address.port() == to.port()
    }
}

/// The listening sockets, which the kernel lists before all others: what comes after them, a
/// million connections perhaps, is not read.
fn listening(lines: impl Iterator<Item = String>) -> impl Iterator<Item = Listening> {
    lines
        .skip(1)
        .map_while(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (fields.get(3) == Some(&LISTENING)).then(|| {
                let address = address_of(fields[1])?;
                let inode = fields.get(9)?.parse().ok()?;
                Some(Listening { address, inode })
            })
        })
        .take(LISTENERS_MAX)
        .flatten()
}

/// `0100007F:1F90`: words of 32 bits as this machine stores them, each printed as a number, then
/// the port as a number.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Processes that have one of these sockets open. Those that are not to be looked at are passed by.
fn holders(inodes: &BTreeSet<u64>) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = pids.filter(|&pid| holds(pid, inodes)).collect();
    found.sort_unstable();
    found
}

fn holds(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| {
        let link = fs::read_link(entry.path()).ok();
        let inode = link.as_ref().and_then(|link| socket_inode(link.to_str()?));
        inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

/// `socket:[12345]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 00000000a15b6d4b 100 0 0 10 0\n   \
        1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4712 1 00000000a15b6d4c 100 0 0 10 0\n   \
        2: 00000000:23DC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 00000000a15b6d4d 100 0 0 10 0\n   \
        3: 0100007F:1F90 0100007F:AA03 01 00000000:00000000 03:00000C18 00000000     0        0 99 3 0000000097bc276c\n   \
        4: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 98 1 00000000a15b6d4e 100 0 0 10 0\n";
    const TCP6: &str = "  sl  local_address                         remote_address                        st\n   \
        0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5001 1 0 100 0 0 10 0\n   \
        1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5002 1 0 100 0 0 10 0\n";

    fn found(table: &str, to: &str) -> Vec<u64> {
        let to: SocketAddr = to.parse().expect("an address");
        let all = listening(table.lines().map(str::to_owned));
        all.filter(|of| of.takes(to)).map(|of| of.inode).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_found_by_address_and_port() {
        for (to, inodes) in [
            ("127.0.0.1:8080", &[4711, 4712][..]),
            ("127.0.0.2:8080", &[]),
            ("127.0.0.1:9180", &[4713]),
            ("192.0.2.7:9180", &[4713]),
            ("[::1]:9180", &[]),
            // Behind the first connection nothing listens.
            ("127.0.0.1:8081", &[]),
        ] {
            assert_eq!(found(TCP, to), inodes, "{to}");
        }
        for (to, inodes) in [
            ("[::1]:8080", &[5001][..]),
            ("127.0.0.1:8080", &[]),
            ("127.0.0.1:80", &[5002]),
            ("[2001:db8::1]:80", &[5002]),
        ] {
            assert_eq!(found(TCP6, to), inodes, "{to}");
        }
    }

    #[test]
    fn what_is_no_address_is_passed_by() {
        for text in ["", "0100007F", "0100007F:", "0100007F:XYZ", "01:1F90", "zzzzzzzz:0050"] {
            assert_eq!(address_of(text), None, "{text:?}");
        }
        assert_eq!(socket_inode("socket:[42]"), Some(42));
        for link in ["pipe:[42]", "socket:[]", "socket:[42", "/dev/null"] {
            assert_eq!(socket_inode(link), None, "{link}");
        }
    }

    #[test]
    fn this_process_serves_what_it_listens_on() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).expect("a free port");
            let mut to = listener.local_addr().expect("bound");
            if to.ip().is_unspecified() {
                to.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            assert_eq!(serving(&[to]), [process::id()], "{to}");
            drop(listener);
            assert!(serving(&[to]).is_empty(), "{to}");
        }
    }
}
