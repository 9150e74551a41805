//! From the errnos of each operation's man page to what a shard tells apart.

use nix::errno::Errno;
use ringmesh_runtime::io::{ConnectError, IoError};

/// The result of a completion: a count, a slot or 0, or a negated errno.
pub(crate) fn outcome(result: i32) -> Result<u32, Errno> {
    u32::try_from(result).map_err(|_| Errno::from_raw(-result))
}

/// accept(2), and what io_uring adds for direct descriptors.
pub(crate) fn of_accept(errno: Errno) -> IoError {
    match errno {
        Errno::ECANCELED => IoError::Cancelled,
        // ENFILE is also the answer of a full table of direct descriptors.
        Errno::ENFILE | Errno::EMFILE | Errno::ENOBUFS | Errno::ENOMEM => IoError::Exhausted,
        Errno::EINTR | Errno::EAGAIN => IoError::Again,
        // The new connection failed before it was taken: the listener is sound.
        Errno::ECONNABORTED
        | Errno::ENETDOWN
        | Errno::EPROTO
        | Errno::ENOPROTOOPT
        | Errno::EHOSTDOWN
        | Errno::ENONET
        | Errno::EHOSTUNREACH
        | Errno::EOPNOTSUPP
        | Errno::ENETUNREACH
        | Errno::EPERM => IoError::Again,
        other => IoError::Other(other as i32),
    }
}

/// socket(2), bind(2), the registration of a file, and connect(2), tcp(7) and ip(7) included.
pub(crate) fn of_connect(errno: Errno) -> ConnectError {
    match errno {
        Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ECONNABORTED => ConnectError::Refused,
        // A connect is cancelled when the shard finds that it takes too long.
        Errno::ETIMEDOUT | Errno::ECANCELED => ConnectError::TimedOut,
        Errno::EHOSTUNREACH
        | Errno::EHOSTDOWN
        | Errno::ENETUNREACH
        | Errno::ENETDOWN
        | Errno::ENONET
        | Errno::EACCES
        | Errno::EPERM => ConnectError::Unreachable,
        Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN => ConnectError::NoPort,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => ConnectError::Exhausted,
        other => ConnectError::Other(other as i32),
    }
}

/// recv(2), with ENOBUFS as the provided buffers mean it.
pub(crate) fn of_receive(errno: Errno) -> IoError {
    match errno {
        Errno::ENOBUFS => IoError::NoBuffers,
        other => of_stream(other),
    }
}

/// send(2).
pub(crate) fn of_send(errno: Errno) -> IoError {
    match errno {
        Errno::ENOBUFS => IoError::Exhausted,
        other => of_stream(other),
    }
}

/// What recv(2) and send(2) on a stream have in common; tcp(7), ip(7) and icmp errors included.
fn of_stream(errno: Errno) -> IoError {
    match errno {
        Errno::ECANCELED => IoError::Cancelled,
        Errno::ECONNRESET
        | Errno::EPIPE
        | Errno::ENOTCONN
        | Errno::ECONNREFUSED
        | Errno::ECONNABORTED
        | Errno::ESHUTDOWN
        | Errno::EHOSTUNREACH
        | Errno::EHOSTDOWN
        | Errno::ENETUNREACH
        | Errno::ENETDOWN
        | Errno::ENETRESET
        | Errno::ENONET
        | Errno::EPROTO
        | Errno::ENOPROTOOPT => IoError::Disconnected,
        Errno::ETIMEDOUT => IoError::TimedOut,
        Errno::ENOMEM => IoError::Exhausted,
        Errno::EINTR | Errno::EAGAIN => IoError::Again,
        other => IoError::Other(other as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_count_or_an_errno() {
        assert_eq!(outcome(0), Ok(0));
        assert_eq!(outcome(i32::MAX), Ok(0x7fff_ffff));
        assert_eq!(outcome(-105), Err(Errno::ENOBUFS));
    }

    #[test]
    fn the_same_errno_means_different_things_to_different_operations() {
        let table = [
            (Errno::ENOBUFS, IoError::Exhausted, IoError::NoBuffers, IoError::Exhausted),
            (Errno::ECANCELED, IoError::Cancelled, IoError::Cancelled, IoError::Cancelled),
            (Errno::ECONNABORTED, IoError::Again, IoError::Disconnected, IoError::Disconnected),
            (Errno::ENFILE, IoError::Exhausted, IoError::Other(23), IoError::Other(23)),
            (Errno::EBADF, IoError::Other(9), IoError::Other(9), IoError::Other(9)),
            (Errno::EPIPE, IoError::Other(32), IoError::Disconnected, IoError::Disconnected),
        ];
        for (errno, accept, receive, send) in table {
            assert_eq!(of_accept(errno), accept, "{errno}");
            assert_eq!(of_receive(errno), receive, "{errno}");
            assert_eq!(of_send(errno), send, "{errno}");
        }
    }

    #[test]
    fn a_connect_fails_for_a_reason_that_can_be_acted_on() {
        let table = [
            (ConnectError::Refused, &[Errno::ECONNREFUSED, Errno::ECONNRESET][..]),
            (ConnectError::TimedOut, &[Errno::ETIMEDOUT, Errno::ECANCELED]),
            (
                ConnectError::Unreachable,
                &[Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EACCES, Errno::EPERM],
            ),
            (ConnectError::NoPort, &[Errno::EADDRNOTAVAIL, Errno::EADDRINUSE, Errno::EAGAIN]),
            (
                ConnectError::Exhausted,
                &[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM],
            ),
            (ConnectError::Other(22), &[Errno::EINVAL]),
        ];
        for (error, errnos) in table {
            for &errno in errnos {
                assert_eq!(of_connect(errno), error, "{errno}");
            }
        }
    }
}
