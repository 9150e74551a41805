//! Closing listeners, and dropping a ring whose operations are in flight.

use std::io::{Read, Write};
use std::net::TcpStream;

use ringmesh_ring::{Ring, bind};
use ringmesh_runtime::io::{Completion, ConnId, Io, IoError, ListenerId, SendBuf, Shutdown};
use ringmesh_runtime::limits::ACCEPTS_ARMED;

use crate::harness::{Harness, small};

#[test]
fn closed_listeners_end_every_accept_and_free_the_port() {
    let mut server = Harness::new(&small());
    let (mut client, conn) = server.connect();
    server.ring.submit_recv(conn);
    server.ring.close_listeners();
    let mut tickets: Vec<u16> = (0..ACCEPTS_ARMED)
        .map(|_| {
            let is = |c: &Completion| matches!(c, Completion::Accepted { .. });
            let ended = server.find("cancelled accept", is);
            let Completion::Accepted { ticket, result, .. } = ended else { unreachable!() };
            assert_eq!(result, Err(IoError::Cancelled));
            ticket
        })
        .collect();
    tickets.sort_unstable();
    assert_eq!(tickets, (0..ACCEPTS_ARMED).collect::<Vec<_>>());
    assert!(TcpStream::connect(server.address).is_err(), "nobody listens");
    bind(server.address, 1, 16).expect("the port is free");

    server.ring.submit_accept(ListenerId(0), 5);
    let late = server.find("late accept", |c| matches!(c, Completion::Accepted { .. }));
    assert!(matches!(
        late,
        Completion::Accepted { ticket: 5, result: Err(IoError::Cancelled), .. }
    ));
    server.ring.close_listeners();
    // Connections live on.
    client.write_all(b"on").unwrap();
    assert_eq!(server.received_bytes(conn, 2), b"on");
}

#[test]
fn a_dropped_ring_frees_what_it_owned_only_when_the_kernel_is_done() {
    const LEN: usize = 16 << 20;
    for _ in 0..10 {
        let mut server = Harness::new(&small());
        let mut clients = Vec::new();
        for _ in 0..4 {
            let (client, conn) = server.connect();
            server.ring.submit_recv(conn);
            // The first fills the socket's buffer, the second waits in flight for room.
            server.ring.submit_send(conn, SendBuf::Pooled(vec![0x5a; LEN]), 0);
            let taken = server.sent(conn).1.expect("some bytes");
            assert!(taken < LEN);
            server.ring.submit_send(conn, SendBuf::Pooled(vec![0x5a; LEN]), 0);
            clients.push(client);
        }
        server.turn();
        // One that the kernel never saw.
        server.ring.submit_shutdown(ConnId { slot: 200, generation: 0 }, Shutdown::Both);
        let address = server.address;
        drop(server);
        // What was freed is used anew: the kernel must not send it.
        let filler: Vec<Vec<u8>> = (0..8).map(|_| vec![0xa5; LEN]).collect();
        for mut client in clients {
            let mut read = Vec::new();
            // Unread bytes of the client may turn the end into a reset.
            client.read_to_end(&mut read).ok();
            assert!(!read.is_empty());
            assert!(read.iter().all(|&byte| byte == 0x5a));
        }
        drop(filler);
        bind(address, 1, 16).expect("the port is free");
    }
}

#[test]
fn rings_come_and_go() {
    for _ in 0..50 {
        let mut ring = Ring::new(&small()).expect("tests need io_uring");
        ring.poll();
    }
}
