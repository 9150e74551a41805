//! Why nothing can be listened on, as one line with the mend.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Why an address or a path cannot be listened on, with the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindError {
    /// An address of the internet protocols.
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        errno: Errno,
    },
    /// The path of a Unix socket.
    Path {
        /// The path asked for.
        path: PathBuf,
        /// What is in the way.
        obstacle: Obstacle,
    },
}

/// What keeps a Unix socket from its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A server listens there.
    InUse,
    /// Something else than a socket lies there.
    NoSocket,
    /// The path is empty, or has a NUL byte, which names no file (unix(7)).
    NoName,
    /// The path has so many bytes, more than an address holds (unix(7)).
    TooLong(usize),
    /// What the system said.
    System(Errno),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, errno } => write_address(f, *address, *errno),
            Self::Path { path, obstacle } => write_path(f, path, *obstacle),
        }
    }
}

impl std::error::Error for BindError {}

fn write_address(f: &mut fmt::Formatter<'_>, address: SocketAddr, errno: Errno) -> fmt::Result {
    let port = address.port();
    match errno {
        Errno::EADDRINUSE => write!(
            f,
            "{address} is in use by another socket: choose another port, or stop its owner (find \
             it with: ss -ltnp 'sport = :{port}')"
        ),
        Errno::EADDRNOTAVAIL => write!(
            f,
            "{address} is no address of this machine: choose one that `ip address` lists, or \
             0.0.0.0 or [::] for all"
        ),
        Errno::EACCES | Errno::EPERM => write!(
            f,
            "{address} may not be bound by this user: choose a port from 1024 up, or grant it \
             with: setcap cap_net_bind_service=+ep PROGRAM"
        ),
        Errno::EMFILE | Errno::ENFILE => {
            write!(f, "no descriptor is left to listen on {address}: {MORE_FILES}")
        }
        Errno::EAFNOSUPPORT => write!(
            f,
            "{address} is of a family that this kernel does not speak: choose an address of the \
             other one"
        ),
        errno => write!(f, "cannot listen on {address}: {errno}"),
    }
}

const MORE_FILES: &str = "raise the limit with: ulimit -n";

fn write_path(f: &mut fmt::Formatter<'_>, path: &Path, obstacle: Obstacle) -> fmt::Result {
    let shown = path.display();
    match obstacle {
        Obstacle::InUse => write!(
            f,
            "{shown} is in use by a server that runs: choose another path, or stop its owner (find \
             it with: ss -lxp src {shown})"
        ),
        Obstacle::NoSocket => {
            write!(f, "{shown} is there and is no socket, so it stays: choose another path")
        }
        Obstacle::NoName => write!(f, "\"{}\" names no file: choose a path", shown),
        Obstacle::TooLong(bytes) => write!(
            f,
            "{shown} has {bytes} bytes and the path of a socket has {} at most: choose a shorter \
             one",
            crate::unix::PATH_BYTES_MAX,
        ),
        Obstacle::System(Errno::ENOENT | Errno::ENOTDIR) => {
            write!(f, "{shown} is in no folder that exists: make it with mkdir -p, or choose one")
        }
        Obstacle::System(Errno::EACCES | Errno::EPERM | Errno::EROFS) => write!(
            f,
            "{shown} may not be made or asked by this user: choose a folder that it may write"
        ),
        Obstacle::System(Errno::EMFILE | Errno::ENFILE) => {
            write!(f, "no descriptor is left to listen on {shown}: {MORE_FILES}")
        }
        Obstacle::System(errno) => write!(f, "cannot listen on {shown}: {errno}"),
    }
}
