//! What no file tells and so is tried: a small ring, and a few connections over loopback.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::host::Trials;

const CONNTRACK_COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// More than other connections of the machine are likely to come up by within a millisecond.
const CONNECTIONS: usize = 16;

pub(super) fn run() -> Trials {
    Trials { ring: ringmesh_ring::probe(), tracks: tracks() }
}

/// Whether connections of this network namespace become entries of conntrack.
fn tracks() -> Option<bool> {
    let before = count()?;
    let open = connections().ok()?;
    let after = count()?;
    drop(open);
    Some(after >= before + CONNECTIONS as u64)
}

fn count() -> Option<u64> {
    fs::read_to_string(CONNTRACK_COUNT).ok()?.trim().parse().ok()
}

/// They need not be accepted: the kernel has established them.
fn connections() -> io::Result<(TcpListener, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let streams =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    Ok((listener, streams))
}
