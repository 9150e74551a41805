//! Unix sockets: clients without an address, and a socket that several rings accept from.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use ringmesh_ring::{SocketFile, bind_unix};
use ringmesh_runtime::io::{Completion, Io, IoError, Peer, SendBuf, Shutdown};
use ringmesh_runtime::limits::ACCEPTS_ARMED;

use crate::harness::{Harness, small};

/// So many rings that accept from one socket.
fn rings(name: &str, count: usize) -> (Vec<Harness>, PathBuf, SocketFile) {
    let path = std::env::temp_dir().join(format!("ring-{name}-{}", std::process::id()));
    let (listeners, file) = bind_unix(&path, count, 4096).expect("a free path");
    let rings = listeners.into_iter().map(|listener| Harness::of(listener, &small())).collect();
    (rings, path, file)
}

#[test]
fn clients_with_and_without_a_name_are_local() {
    let (mut rings, path, _file) = rings("names", 1);
    let server = &mut rings[0];
    let named = path.with_extension("client");
    for name in [None, Some(&named)] {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        if let Some(name) = name {
            socket.bind(&socket2::SockAddr::unix(name).expect("short")).expect("a free path");
        }
        socket.connect(&socket2::SockAddr::unix(&path).expect("short")).expect("it listens");
        let (conn, peer) = server.accepted_any().expect("a free slot");
        assert_eq!(peer, Peer::Local);
        server.close(conn);
    }
    std::fs::remove_file(named).expect("the client's");
}

#[test]
fn bytes_and_ends_travel_as_over_tcp() {
    let (mut rings, path, _file) = rings("bytes", 1);
    let server = &mut rings[0];
    let mut client = UnixStream::connect(&path).expect("it listens");
    let (conn, _) = server.accepted_any().expect("a free slot");
    server.ring.submit_recv(conn);
    client.write_all(&[7; 20_000]).expect("it reads");
    assert_eq!(server.received_bytes(conn, 20_000), [7; 20_000]);
    server.ring.submit_send(conn, SendBuf::Static(b"some answer"), 5);
    assert_eq!(server.sent(conn).1, Ok(6));
    server.ring.submit_shutdown(conn, Shutdown::Write);
    server.find("shutdown", |c| matches!(c, Completion::ShutDown { .. }));
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("bytes and an end");
    assert_eq!(answer, "answer");
    drop(client);
    assert_eq!(server.received(conn), (Ok(None), false));
    server.close(conn);
}

#[test]
fn a_client_that_is_gone_breaks_sends() {
    let (mut rings, path, _file) = rings("gone", 1);
    let server = &mut rings[0];
    drop(UnixStream::connect(&path).expect("it listens"));
    let (conn, _) = server.accepted_any().expect("a free slot");
    server.ring.submit_send(conn, SendBuf::Static(b"answer"), 0);
    assert_eq!(server.sent(conn).1, Err(IoError::Disconnected));
    server.close(conn);
}

#[test]
fn rings_share_the_clients_and_one_that_stops_leaves_them_to_the_others() {
    const CLIENTS: usize = 150;
    let (mut rings, path, file) = rings("shared", 2);
    let connect = |count: usize| -> Vec<UnixStream> {
        (0..count).map(|_| UnixStream::connect(&path).expect("it listens")).collect()
    };
    let is = |c: &Completion| matches!(c, Completion::Accepted { result: Ok(_), .. });
    rings.iter_mut().for_each(Harness::turn_once);
    let clients = connect(CLIENTS);
    // Both were woken, and each takes as many as it has accepts before it arms them again.
    rings.iter_mut().for_each(Harness::turn_once);
    let mut taken = [0; 2];
    while taken.iter().sum::<usize>() < CLIENTS {
        for (server, taken) in rings.iter_mut().zip(&mut taken) {
            if server.seen(is) {
                server.accepted_any().expect("a free slot");
                *taken += 1;
            } else {
                server.turn_once();
            }
        }
    }
    assert!(taken.iter().all(|&taken| taken >= usize::from(ACCEPTS_ARMED)), "{taken:?}");

    rings[0].ring.close_listeners();
    for _ in 0..ACCEPTS_ARMED {
        let ended = rings[0].find("accept", |c| matches!(c, Completion::Accepted { .. }));
        assert!(matches!(ended, Completion::Accepted { result: Err(IoError::Cancelled), .. }));
    }
    let late = connect(40);
    for _ in &late {
        let (_, peer) = rings[1].accepted_any().expect("the other ring goes on");
        assert_eq!(peer, Peer::Local);
    }
    rings[1].ring.close_listeners();
    rings[1].find("the end", |c| {
        matches!(c, Completion::Accepted { result: Err(IoError::Cancelled), .. })
    });
    assert!(UnixStream::connect(&path).is_err(), "nobody listens");
    drop(file);
    assert!(!path.exists());
    drop((clients, late));
}
