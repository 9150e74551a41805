//! All sockets that listen, bound before any shard starts.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::errno::Errno;
use ringmesh_ring::{BindError, Listener, bind};

use super::error::StartError;
use crate::config::Plan;

/// The kernel cuts this to `net.core.somaxconn`: a burst of connections waits rather than retries.
const BACKLOG: u32 = 65_535;

/// What listens.
pub(crate) struct Sockets {
    /// The HTTP listeners of each shard, in the order of the plan.
    pub(crate) http: Vec<Vec<Listener>>,
    /// The admin listener.
    pub(crate) admin: TcpListener,
}

/// Binds everything, and writes the ports that were picked into the plan.
///
/// # Errors
/// The first address that cannot be had, with the mend.
pub(crate) fn open(plan: &mut Plan) -> Result<Sockets, StartError> {
    let shards = usize::from(plan.shards);
    let mut http: Vec<Vec<Listener>> = Vec::new();
    http.resize_with(shards, Vec::new);
    for address in &mut plan.http {
        let listeners = bind(*address, shards, BACKLOG).map_err(|error| refused("http", &error))?;
        *address = listeners[0].address().expect("bound to an address");
        for listener in &listeners {
            let timeout = Duration::from_millis(plan.limits.send_timeout_ms);
            listener.set_user_timeout(timeout).map_err(|error| refused("http", &error))?;
        }
        for (own, listener) in http.iter_mut().zip(listeners) {
            own.push(listener);
        }
    }
    let admin = bind_admin(plan.admin).map_err(|error| refused("admin", &error))?;
    plan.admin = admin.local_addr().map_err(StartError::unavailable)?;
    Ok(Sockets { http, admin })
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
