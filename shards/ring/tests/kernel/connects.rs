//! Rings that make connections: to each other, to nobody, from an address, and adopted ones.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use ringmesh_ring::RingConfig;
use ringmesh_runtime::io::{Completion, ConnId, ConnectError, Io, Remote, SendBuf, Shutdown};
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{Harness, small};

fn to(address: SocketAddr) -> Remote {
    Remote::Ip { from: None, to: address }
}

/// A ring as it is on this kernel, and one that treats it as one before 6.13.
fn dialing_both_ways() -> [Harness; 2] {
    [Some(false), Some(true)]
        .map(|late_release| Harness::dialing(&RingConfig { late_release, ..small() }))
}

/// A listener whose queue is full, so that connects to it take until its end; and what fills it.
fn silent() -> (Socket, SocketAddr, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(0).expect("a listener");
    let address = socket.local_addr().expect("bound").as_socket().expect("of IPv4");
    let filler = TcpStream::connect(address).expect("the one place");
    (socket, address, filler)
}

#[test]
fn two_rings_talk() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Harness::on(address, &small());
        for mut client in dialing_both_ways() {
            let near = client.dial(7, to(server.address)).expect("a listener");
            let far = server.accepted().expect("a free slot").0;
            client.ring.submit_recv(near);
            server.ring.submit_recv(far);
            for _ in 0..3 {
                client.ring.submit_send(near, SendBuf::Pooled(b"question".to_vec()), 0);
                assert_eq!(client.sent(near).1, Ok(8));
                assert_eq!(server.received_bytes(far, 8), b"question");
                server.ring.submit_send(far, SendBuf::Static(b"answer"), 0);
                assert_eq!(server.sent(far).1, Ok(6));
                assert_eq!(client.received_bytes(near, 6), b"answer");
            }
            client.ring.cancel_recv(near);
            while client.received(near).1 {}
            client.close(near);
            let (result, more) = server.received(far);
            assert_eq!((result, more), (Ok(None), false), "the end of the stream");
            server.close(far);
        }
    }
}

#[test]
fn nobody_who_listens_is_a_refusal_and_the_slot_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let server = Harness::new(&small());
    for mut client in dialing_both_ways() {
        for _ in 0..3 {
            let conn = client.submit_dial(3, to(address));
            assert_eq!(client.connected(conn), Err(ConnectError::Refused));
            client.close(conn);
        }
        let conn = client.dial(3, to(server.address)).expect("a listener");
        client.close(conn);
    }
}

#[test]
fn a_connection_comes_from_the_address_that_was_asked_for() {
    let mut server = Harness::new(&small());
    let mut client = Harness::dialing(&small());
    for last in 2..10 {
        let from: IpAddr = [127, 0, 4, last].into();
        let remote = Remote::Ip { from: Some(from), to: server.address };
        client.dial(u32::from(last), remote).expect("a listener");
        assert_eq!(server.accepted().expect("a free slot").1.ip(), from);
    }
    let mut server = Harness::on("[::1]:0", &small());
    let from: IpAddr = "::1".parse().expect("an address");
    client.dial(0, Remote::Ip { from: Some(from), to: server.address }).expect("a listener");
    assert_eq!(server.accepted().expect("a free slot").1.ip(), from);
}

#[test]
fn calls_that_fail_before_the_connect_are_told_as_its_failure() {
    let server = Harness::new(&small());
    for mut client in dialing_both_ways() {
        let from: Option<IpAddr> = Some([192, 0, 2, 1].into());
        let conn = client.submit_dial(5, Remote::Ip { from, to: server.address });
        assert_eq!(client.connected(conn), Err(ConnectError::NoPort), "no address of ours");
        // No socket was ever in the slot: it is told as closed all the same.
        client.close(conn);
        client.dial(5, to(server.address)).expect("a listener");
        // A family that the socket is not of.
        let conn =
            client.submit_dial(6, Remote::Ip { from: Some([0; 16].into()), to: server.address });
        assert!(matches!(client.connected(conn), Err(ConnectError::Other(_))));
        client.close(conn);
    }
}

#[test]
fn a_slot_beyond_the_table_is_no_connection() {
    let server = Harness::new(&small());
    let mut client = Harness::dialing(&small());
    let error = client.dial(256, to(server.address)).expect_err("256 slots from 0");
    assert!(matches!(error, ConnectError::Other(_)), "{error}");
}

#[test]
fn a_connect_that_takes_too_long_is_ended_by_a_shutdown() {
    let (_listener, address, _filler) = silent();
    for mut client in dialing_both_ways() {
        let conns: Vec<ConnId> =
            (0..20).map(|slot| client.submit_dial(slot, to(address))).collect();
        for &conn in &conns {
            let early = |c: &Completion| matches!(c, Completion::Connected { .. });
            assert!(!client.seen(early), "nobody accepts {conn:?}");
        }
        assert!(!client.has(|c| matches!(c, Completion::Connected { .. })));
        for &conn in &conns {
            client.ring.submit_shutdown(conn, Shutdown::Both);
        }
        for &of in &conns {
            assert_eq!(client.connected(of), Err(ConnectError::TimedOut));
            let is = |c: &Completion| matches!(c, Completion::ShutDown { conn } if *conn == of);
            client.find("shutdown", is);
            client.close(of);
        }
        // Told before the kernel was: the connect and its end are submitted together.
        let conn = client.submit_dial(9, to(address));
        client.ring.submit_shutdown(conn, Shutdown::Both);
        assert_eq!(client.connected(conn), Err(ConnectError::TimedOut));
        client.close(conn);
        let (_listener, free, _filler) = silent();
        assert_ne!(free, address);
    }
}

#[test]
fn a_ring_is_dropped_while_it_connects() {
    let (_listener, address, _filler) = silent();
    for _ in 0..10 {
        let mut client = Harness::dialing(&small());
        for slot in 0..50 {
            client.submit_dial(slot, to(address));
        }
        client.turn_once();
        // These the kernel never saw.
        for slot in 50..60 {
            client.submit_dial(slot, to(address));
        }
    }
}

#[test]
fn an_adopted_socket_is_a_connection_once() {
    for mut client in dialing_both_ways() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("an option");
        let (other, _other_far) = UnixStream::pair().expect("a pair");
        client.ring.adopt(5, near.into()).expect("an option");
        client.ring.adopt(1, other.into()).expect("an option");
        let conn = client.dial(12, Remote::Adopted(5)).expect("adopted");
        client.ring.submit_recv(conn);
        client.ring.submit_send(conn, SendBuf::Static(b"line\n"), 0);
        assert_eq!(client.sent(conn).1, Ok(5));
        let mut line = [0; 5];
        far.read_exact(&mut line).expect("a line");
        assert_eq!(&line, b"line\n");
        assert!(!client.has(|c| matches!(c, Completion::Received { .. })), "it waits");
        far.write_all(b"back\n").expect("the near end");
        assert_eq!(client.received_bytes(conn, 5), b"back\n");
        drop(far);
        assert_eq!(client.received(conn), (Ok(None), false));
        client.close(conn);
        let again = client.submit_dial(12, Remote::Adopted(5));
        assert_eq!(client.connected(again), Err(ConnectError::Refused));
        client.close(again);
    }
}

#[test]
fn a_full_queue_loses_no_connect() {
    let mut server = Harness::new(&small());
    let mut client = Harness::dialing(&RingConfig { sq_entries: 4, cq_entries: 4, ..small() });
    let conns: Vec<ConnId> =
        (0..100).map(|slot| client.submit_dial(slot, to(server.address))).collect();
    for &conn in &conns {
        assert_eq!(client.connected(conn), Ok(()));
    }
    for _ in &conns {
        server.accepted().expect("a free slot");
    }
    assert!(client.ring.counters().queue_full > 0);
}
