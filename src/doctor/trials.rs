//! What no file tells and so is tried: a small ring, and a few connections over loopback.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::host::Trials;

const CONNTRACK_COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// Connections that are tried.
const CONNECTIONS: usize = 16;
/// Entries by which the table has to grow. Fewer than are tried, since older ones may end meanwhile;
/// where nothing is tracked it does not grow at all.
const GROWTH_MIN: u64 = 8;

pub(super) fn run() -> Trials {
    Trials { ring: ringmesh_ring::probe(), tracks: tracks() }
}

/// Whether connections of this network namespace become entries of conntrack.
fn tracks() -> Option<bool> {
    let before = count()?;
    let open = connections().ok()?;
    let after = count()?;
    drop(open);
    Some(after >= before + GROWTH_MIN)
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
