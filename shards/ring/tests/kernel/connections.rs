//! Accepting, receiving, sending, cancelling, shutting down and closing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown as Half, TcpStream};
use std::thread;

use ringmesh_ring::{Ring, drive};
use ringmesh_runtime::Next;
use ringmesh_runtime::io::{Completion, ConnId, Io, IoError, SendBuf, Shutdown};

use crate::harness::{Harness, small};

#[test]
fn accepts_tell_the_right_peer_and_a_slot_of_its_own() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Harness::on(address, &small());
        // More at once than accepts are armed.
        let clients: Vec<TcpStream> = (0..100).map(|_| server.client()).collect();
        let mut peers = BTreeSet::new();
        let mut slots = BTreeSet::new();
        for _ in &clients {
            let (conn, peer) = server.accepted().expect("a free slot");
            peers.insert(peer);
            slots.insert(conn.slot);
        }
        let expected = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        assert_eq!(peers, expected);
        assert_eq!(slots.len(), clients.len());
        assert!(slots.iter().all(|&slot| slot < 256));
    }
}

#[test]
fn a_dual_stack_listener_names_ipv4_peers_by_their_ipv4_address() {
    let mut server = Harness::on("[::]:0", &small());
    let client = TcpStream::connect(("127.0.0.1", server.address.port())).unwrap();
    let (_, peer) = server.accepted().expect("a free slot");
    assert_eq!(peer, client.local_addr().unwrap());
}

#[test]
fn echo_over_many_connections() {
    const CLIENTS: usize = 150;
    let mut server = Harness::new(&small());
    let address = server.address;
    let load = thread::spawn(move || {
        let mut clients: Vec<TcpStream> =
            (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        for round in 0..20_usize {
            let message = |client: usize| {
                vec![u8::try_from(client ^ round).unwrap(); 1 + (client * 61) % 9000]
            };
            for (index, client) in clients.iter_mut().enumerate() {
                client.write_all(&message(index)).unwrap();
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let mut answer = vec![0; message(index).len()];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, message(index));
            }
        }
    });
    echo(&mut server.ring, CLIENTS);
    load.join().unwrap();
    let occupancy = server.ring.buffers();
    assert_eq!((occupancy.total, occupancy.used), (256, 0));
}

/// Echoes through [`drive`], one send in flight a connection, until `closes` have closed.
fn echo(ring: &mut Ring, closes: usize) {
    #[derive(Default)]
    struct Echo {
        waiting: Vec<u8>,
        sending: bool,
        ended: bool,
    }
    let mut conns: Vec<Echo> = (0..256).map(|_| Echo::default()).collect();
    let mut closed = 0;
    let mut generation = 0;
    drive(ring, |ring, completions| {
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { listener, ticket, result } => {
                    ring.submit_accept(listener, ticket);
                    let slot = result.expect("a free slot").0;
                    generation += 1;
                    ring.submit_recv(ConnId { slot, generation });
                }
                Completion::Received { conn, result, more } => {
                    let state = &mut conns[conn.slot as usize];
                    match result {
                        Ok(Some(buffer)) => {
                            state.waiting.extend_from_slice(ring.bytes(&buffer));
                            ring.recycle(buffer);
                        }
                        Ok(None) | Err(IoError::Disconnected) => state.ended = true,
                        Err(IoError::NoBuffers) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if !more && !state.ended {
                        ring.submit_recv(conn);
                    }
                    if !state.sending && !state.waiting.is_empty() {
                        state.sending = true;
                        let bytes = std::mem::take(&mut state.waiting);
                        ring.submit_send(conn, SendBuf::Pooled(bytes), 0);
                    } else if !more && state.ended {
                        ring.submit_close(conn);
                    }
                }
                Completion::Sent { conn, buf, result } => {
                    let state = &mut conns[conn.slot as usize];
                    assert_eq!(result, Ok(buf.as_slice().len()), "loopback takes it whole");
                    state.sending = false;
                    if !state.waiting.is_empty() {
                        state.sending = true;
                        let bytes = std::mem::take(&mut state.waiting);
                        ring.submit_send(conn, SendBuf::Pooled(bytes), 0);
                    }
                }
                Completion::Closed { conn } => {
                    conns[conn.slot as usize] = Echo::default();
                    closed += 1;
                }
                Completion::ShutDown { .. } | Completion::Rung => {}
                Completion::Connected { .. } => panic!("this ring connects to nobody"),
            }
        }
        if closed == closes { Next::Done } else { Next::Wait { until_ns: None } }
    });
}

#[test]
fn a_send_goes_on_from_an_offset_and_gives_its_buffer_back() {
    let mut server = Harness::new(&small());
    let (mut client, conn) = server.connect();
    let bytes = b"0123456789".to_vec();
    let heap = bytes.as_ptr();
    server.ring.submit_send(conn, SendBuf::Pooled(bytes), 4);
    let (buf, result) = server.sent(conn);
    assert_eq!(result, Ok(6));
    assert_eq!(buf.as_slice(), b"0123456789");
    assert_eq!(buf.as_slice().as_ptr(), heap);
    server.ring.submit_send(conn, SendBuf::Static(b": alive"), 0);
    assert_eq!(server.sent(conn).1, Ok(7));
    let mut read = [0; 13];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"456789: alive");
}

#[test]
fn a_client_that_never_reads_makes_sends_short_and_then_wait() {
    let mut server = Harness::new(&small());
    let (client, conn) = server.connect();
    let len = 64 << 20;
    server.ring.submit_send(conn, SendBuf::Pooled(vec![1; len]), 0);
    let (mut buf, result) = server.sent(conn);
    let mut taken = result.expect("some bytes");
    assert!(0 < taken && taken < len, "{taken}");
    // The kernel may take some more, but not for ever.
    loop {
        server.ring.submit_send(conn, buf, taken);
        if !server.has(|c| matches!(c, Completion::Sent { .. })) {
            break;
        }
        let (back, result) = server.sent(conn);
        taken += result.expect("some bytes");
        assert!(taken < len);
        buf = back;
    }
    server.ring.submit_shutdown(conn, Shutdown::Both);
    let (buf, result) = server.sent(conn);
    assert_eq!(result, Err(IoError::Disconnected));
    assert_eq!(buf.as_slice().len(), len);
    server.find("shutdown", |c| matches!(c, Completion::ShutDown { .. }));
    server.close(conn);
    drop(client);
}

#[test]
fn a_cancelled_receive_says_so_once_and_loses_nothing() {
    let mut server = Harness::new(&small());
    let (mut client, conn) = server.connect();
    server.ring.submit_recv(conn);
    client.write_all(b"before").unwrap();
    assert_eq!(server.received_bytes(conn, 6), b"before");
    server.ring.cancel_recv(conn);
    server.ring.cancel_recv(conn);
    assert_eq!(server.received(conn), (Err(IoError::Cancelled), false));
    client.write_all(b"between").unwrap();
    assert!(!server.has(|c| matches!(c, Completion::Received { .. })));
    server.ring.cancel_recv(conn);
    server.ring.submit_recv(conn);
    assert_eq!(server.received_bytes(conn, 7), b"between");
}

#[test]
fn end_of_stream_and_reset_end_a_receive() {
    let mut server = Harness::new(&small());
    let (client, conn) = server.connect();
    server.ring.submit_recv(conn);
    client.shutdown(Half::Write).unwrap();
    assert_eq!(server.received(conn), (Ok(None), false));

    let (client, conn) = server.connect();
    server.ring.submit_recv(conn);
    server.turn();
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(server.received(conn), (Err(IoError::Disconnected), false));
}

#[test]
fn half_a_shutdown_lets_the_client_go_on_and_close_frees_the_slot() {
    let mut server = Harness::new(&small());
    let (mut client, conn) = server.connect();
    server.ring.submit_recv(conn);
    server.ring.submit_shutdown(conn, Shutdown::Write);
    server.find("shutdown", |c| matches!(c, Completion::ShutDown { conn: of } if *of == conn));
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "end of stream");
    client.write_all(b"last words").unwrap();
    assert_eq!(server.received_bytes(conn, 10), b"last words");
    drop(client);
    assert_eq!(server.received(conn), (Ok(None), false));
    server.close(conn);
    let again = (0..256).map(|_| server.connect()).find(|(_, next)| next.slot == conn.slot);
    assert!(again.is_some(), "the slot is used again");
}

#[test]
fn a_close_alone_ends_the_stream_for_the_client() {
    for late_release in [false, true] {
        let mut config = small();
        config.late_release = Some(late_release || kernel_is_late());
        let mut server = Harness::new(&config);
        // Another connection's receive is older than the close.
        let (mut idle, idle_conn) = server.connect();
        server.ring.submit_recv(idle_conn);
        let (mut client, conn) = server.connect();
        server.close(conn);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "end of stream");
        idle.write_all(b"still here").unwrap();
        assert_eq!(server.received_bytes(idle_conn, 10), b"still here");
    }
}

/// Whether the kernel needs what `late_release` does.
fn kernel_is_late() -> bool {
    !ringmesh_ring::probe().expect("io_uring").offers("prompt release of direct descriptors")
}

#[test]
fn receives_are_renewed_unnoticed_where_descriptors_are_released_late() {
    let mut config = small();
    config.late_release = Some(true);
    let mut server = Harness::new(&config);
    let mut idle: Vec<(TcpStream, ConnId)> = (0..100).map(|_| server.connect()).collect();
    for (_, conn) in &idle {
        server.ring.submit_recv(*conn);
    }
    for round in 0..600_u32 {
        let (_client, conn) = server.connect();
        server.close(conn);
        if round % 5 == 0 {
            let count = idle.len();
            let (client, conn) = &mut idle[round as usize % count];
            client.write_all(&round.to_le_bytes()).unwrap();
            let conn = *conn;
            assert_eq!(server.received_bytes(conn, 4), round.to_le_bytes());
        }
    }
    let renewals = server.ring.counters().renewals;
    assert!((200..=300).contains(&renewals), "{renewals}");
    // Every receive is armed once, as the shard left it.
    for (mut client, conn) in idle {
        client.write_all(b"end").unwrap();
        assert_eq!(server.received_bytes(conn, 3), b"end");
        server.ring.cancel_recv(conn);
        assert_eq!(server.received(conn), (Err(IoError::Cancelled), false));
    }
    assert_eq!(server.ring.buffers().used, 0);
}

#[test]
fn a_receive_that_is_cancelled_amid_its_renewal_ends_once() {
    let mut config = small();
    config.late_release = Some(true);
    // The renewal begins with the close that makes their number up: cancel around it.
    for closes in 250..262 {
        let mut server = Harness::new(&config);
        let idle: Vec<(TcpStream, ConnId)> = (0..20).map(|_| server.connect()).collect();
        idle.iter().for_each(|(_, conn)| server.ring.submit_recv(*conn));
        for _ in 0..closes {
            let (_client, conn) = server.connect();
            server.close(conn);
        }
        idle.iter().for_each(|(_, conn)| server.ring.cancel_recv(*conn));
        for (mut client, conn) in idle {
            assert_eq!(server.received(conn), (Err(IoError::Cancelled), false));
            let is =
                |c: &Completion| matches!(c, Completion::Received { conn: of, .. } if *of == conn);
            server.turn_once();
            assert!(!server.seen(is));
            server.ring.submit_recv(conn);
            client.write_all(b"anew").unwrap();
            assert_eq!(server.received_bytes(conn, 4), b"anew");
        }
    }
}
