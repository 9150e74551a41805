//! Listening sockets: one for each shard and address, sharing their port by SO_REUSEPORT. Those of
//! paths are in `unix`.

use std::net::SocketAddr;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::bind_error::BindError;

/// A listening socket that a ring will accept from.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// None of a Unix socket.
    address: Option<SocketAddr>,
}

impl Listener {
    pub(crate) fn unix(socket: Socket) -> Self {
        Self { socket, address: None }
    }

    /// Gives up a peer that leaves what was sent unacknowledged for this long (TCP_USER_TIMEOUT,
    /// tcp(7)), on connections accepted from now on. Without it a peer that vanished is noticed
    /// after a quarter of an hour, since a few comments always fit into the socket's buffer. The
    /// peer of a Unix socket cannot vanish: there this does nothing.
    ///
    /// # Errors
    /// What setsockopt(2) reports.
    pub fn set_user_timeout(&self, timeout: std::time::Duration) -> Result<(), BindError> {
        let Some(address) = self.address else { return Ok(()) };
        let refuse = |errno| BindError::Address { address, errno };
        self.socket.set_tcp_user_timeout(Some(timeout)).map_err(errno_of).map_err(refuse)
    }

    /// The address it listens on, with the port that was picked for port 0; none of a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Listens on `address` with `count` sockets (at least one), between which the kernel spreads
/// connections. Port 0 picks one port for all. `backlog` is cut to `net.core.somaxconn` by the
/// kernel. Sockets accepted from these send without delay (TCP_NODELAY is inherited). A listener
/// on `[::]` takes IPv4 too, where the system's `net.ipv6.bindv6only` is 0.
///
/// The port must be nobody's, not even that of a server which shares it by SO_REUSEPORT. The first
/// socket listens before it allows sharing, so of two servers started at once one fails, and the
/// port is never let go in between. Connections may wait in the first socket from then on.
///
/// # Errors
/// What socket(2), setsockopt(2), bind(2) and listen(2) report.
pub fn bind(address: SocketAddr, count: usize, backlog: u32) -> Result<Vec<Listener>, BindError> {
    let refuse = |errno| BindError::Address { address, errno };
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let (first, shared) = listen_exclusively(address, backlog).map_err(refuse)?;
    let mut listeners = vec![first];
    if count > 1 {
        listeners[0].socket.set_reuse_port(true).map_err(errno_of).map_err(refuse)?;
    }
    while listeners.len() < count {
        listeners.push(listen_shared(shared, backlog).map_err(refuse)?.0);
    }
    Ok(listeners)
}

fn listen_exclusively(address: SocketAddr, backlog: i32) -> Result<(Listener, SocketAddr), Errno> {
    let socket = socket_for(address)?;
    listen(socket, address, backlog)
}

fn listen_shared(address: SocketAddr, backlog: i32) -> Result<(Listener, SocketAddr), Errno> {
    let socket = socket_for(address)?;
    socket.set_reuse_port(true).map_err(errno_of)?;
    listen(socket, address, backlog)
}

/// A blocking socket: on a non-blocking one io_uring answers EAGAIN rather than wait.
fn socket_for(address: SocketAddr) -> Result<Socket, Errno> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(errno_of)?;
    // Connections of an earlier run in TIME_WAIT do not hold the port.
    socket.set_reuse_address(true).map_err(errno_of)?;
    socket.set_tcp_nodelay(true).map_err(errno_of)?;
    Ok(socket)
}

fn listen(
    socket: Socket,
    address: SocketAddr,
    backlog: i32,
) -> Result<(Listener, SocketAddr), Errno> {
    socket.bind(&address.into()).map_err(errno_of)?;
    socket.listen(backlog).map_err(errno_of)?;
    let local = socket.local_addr().map_err(errno_of)?;
    let address = local.as_socket().ok_or(Errno::EAFNOSUPPORT)?;
    Ok((Listener { socket, address: Some(address) }, address))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const ANY_PORT: &str = "127.0.0.1:0";

    fn address_of(listener: &Listener) -> SocketAddr {
        listener.address().expect("of TCP")
    }

    fn errno_of(error: &BindError) -> Errno {
        match error {
            BindError::Address { errno, .. } => *errno,
            BindError::Path { .. } => panic!("it is an address"),
        }
    }

    #[test]
    fn accepted_connections_inherit_the_user_timeout() {
        let listener = bind(ANY_PORT.parse().unwrap(), 1, 16).expect("a free port").remove(0);
        let timeout = std::time::Duration::from_secs(7);
        listener.set_user_timeout(timeout).expect("a listener takes it");
        let _client = TcpStream::connect(address_of(&listener)).expect("it listens");
        let (accepted, _) = listener.socket.accept().expect("a connection waits");
        assert_eq!(accepted.tcp_user_timeout().expect("readable"), Some(timeout));
    }

    #[test]
    fn all_listeners_share_the_port_that_the_first_one_picked() {
        for address in [ANY_PORT, "[::1]:0"] {
            let listeners = bind(address.parse().unwrap(), 4, 1024).expect("a free port");
            assert_eq!(listeners.len(), 4);
            assert_ne!(address_of(&listeners[0]).port(), 0);
            assert!(listeners.iter().all(|listener| listener.address() == listeners[0].address()));
        }
    }

    #[test]
    fn the_kernel_spreads_connections_over_all_listeners() {
        let listeners = bind(ANY_PORT.parse().unwrap(), 3, 1024).expect("a free port");
        let address = address_of(&listeners[0]);
        let clients: Vec<TcpStream> =
            (0..120).map(|_| TcpStream::connect(address).expect("a listener")).collect();
        for listener in &listeners {
            listener.socket.set_nonblocking(true).unwrap();
            let taken = std::iter::from_fn(|| listener.socket.accept().ok()).count();
            assert!((5..clients.len()).contains(&taken), "{taken} of {}", clients.len());
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_even_if_its_owner_would_share_it() {
        for count in [1, 2] {
            let owner = bind(ANY_PORT.parse().unwrap(), count, 16).expect("a free port");
            for socket in &owner {
                socket.socket.set_reuse_port(true).unwrap();
            }
            let address = address_of(&owner[0]);
            let refused = bind(address, 2, 16).expect_err("the port is taken");
            assert_eq!(errno_of(&refused), Errno::EADDRINUSE);
            let text = refused.to_string();
            assert!(text.contains(&address.to_string()) && text.contains("ss -ltnp"), "{text}");
            assert!(!text.contains('\n'));
            drop(owner);
            bind(address, 2, 16).expect("the port is free again");
        }
    }

    #[test]
    fn accepted_sockets_inherit_no_delay() {
        let listeners = bind(ANY_PORT.parse().unwrap(), 1, 16).expect("a free port");
        let _client = TcpStream::connect(address_of(&listeners[0])).expect("a listener");
        let (accepted, _) = listeners[0].socket.accept().expect("a connection");
        assert!(accepted.tcp_nodelay().expect("the option"));
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let refused = bind("192.0.2.1:0".parse().unwrap(), 1, 16).expect_err("not ours");
        assert_eq!(errno_of(&refused), Errno::EADDRNOTAVAIL);
        assert!(refused.to_string().contains("192.0.2.1:0 is no address of this machine"));
    }
}
