//! The bytes of a `tools/call` and of its answer over a bare io_uring: what the kernel takes for
//! them, the floor under every server in `perf/compare`. It lives once per process and uses one
//! thread, with all that makes a ring cheap: multishot accept and receive, provided buffers, direct
//! descriptors, DEFER_TASKRUN, one enter of the kernel for all that is ready.
//!
//! For every `REQUEST_BYTES` bytes that a connection brings it sends the bytes of a file, and looks
//! at neither: no HTTP, no JSON, no time-out, no bound. Invariants: a connection has at most one
//! send in flight, and is closed when its receive and its send have ended, so no completion can
//! concern the next connection in the same slot.
//!
//! `echo-peer 127.0.0.1:0 475 REPLY_FILE` prints `listening http ADDRESS` and serves until killed.

mod buffers;
mod ring;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted: more than any level of `perf/compare` opens at once.
const BACKLOG: i32 = 4096;

/// sysexits: the command line is wrong.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [address, bytes, file] => {
            let bytes = bytes.parse().ok().filter(|&bytes: &usize| bytes > 0);
            address
                .parse()
                .ok()
                .zip(bytes)
                .map(|(address, bytes)| (address, bytes, file))
        }
        _ => None,
    };
    let Some((address, request_bytes, file)) = parsed else {
        eprintln!("usage: echo-peer ADDRESS:PORT REQUEST_BYTES REPLY_FILE (port 0: a free one)");
        return ExitCode::from(EX_USAGE);
    };
    let served = std::fs::read(file)
        .and_then(|reply| listen(address).map(|listener| (listener, reply)))
        .and_then(|(listener, reply)| ring::serve(&listener, request_bytes, &reply));
    match served {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("echo-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    println!("listening http {}", listener.local_addr()?);
    Ok(listener)
}
