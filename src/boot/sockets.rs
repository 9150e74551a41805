//! All sockets that listen, bound before any shard starts.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::errno::Errno;
use ringmesh_ring::{BindError, Listener, SocketFile, bind, bind_unix};
use ringmesh_runtime::probe::Transport;

use super::error::StartError;
use crate::config::Plan;

/// The kernel cuts this to `net.core.somaxconn`: a burst of connections waits rather than retries.
const BACKLOG: u32 = 65_535;

/// What listens.
pub(crate) struct Sockets {
    /// The listeners of each shard, in the order of [`transports`].
    pub(crate) listeners: Vec<Vec<Listener>>,
    /// The files of Unix sockets, removed when dropped.
    pub(crate) files: Vec<SocketFile>,
    /// The admin listener.
    pub(crate) admin: TcpListener,
}

/// What the listeners of a shard speak: HTTP, then lines over TCP, then lines on Unix sockets, each
/// in the order of the plan.
pub(crate) fn transports(plan: &Plan) -> Vec<Transport> {
    let kinds = [
        (Transport::Http, plan.http.len()),
        (Transport::Tcp, plan.tcp.len()),
        (Transport::Unix, plan.unix.len()),
    ];
    kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count)).collect()
}

/// Binds everything, and writes the ports that were picked into the plan.
///
/// # Errors
/// The first address or path that cannot be had, with the mend.
pub(crate) fn open(plan: &mut Plan) -> Result<Sockets, StartError> {
    let shards = usize::from(plan.shards);
    let timeout = Duration::from_millis(plan.limits.send_timeout_ms);
    let mut listeners: Vec<Vec<Listener>> = Vec::new();
    listeners.resize_with(shards, Vec::new);
    let mut hand_out = |new: Vec<Listener>| {
        for (own, listener) in listeners.iter_mut().zip(new) {
            own.push(listener);
        }
    };
    for (flag, addresses) in [("http", &mut plan.http), ("tcp", &mut plan.tcp)] {
        for address in addresses {
            let new = bind(*address, shards, BACKLOG).map_err(|error| refused(flag, &error))?;
            *address = new[0].address().expect("bound to an address");
            for listener in &new {
                listener.set_user_timeout(timeout).map_err(|error| refused(flag, &error))?;
            }
            hand_out(new);
        }
    }
    let mut files = Vec::new();
    for path in &plan.unix {
        let (new, file) =
            bind_unix(path, shards, BACKLOG).map_err(|error| refused("unix", &error))?;
        hand_out(new);
        files.push(file);
    }
    let admin = bind_admin(plan.admin).map_err(|error| refused("admin", &error))?;
    plan.admin = admin.local_addr().map_err(StartError::unavailable)?;
    Ok(Sockets { listeners, files, admin })
}

fn bind_admin(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        BindError::Address { address, errno }
    })
}

/// Names the flag, since two of them may be meant.
fn refused(flag: &str, error: &BindError) -> StartError {
    StartError::unavailable(format!("--{flag}: {error}"))
}
