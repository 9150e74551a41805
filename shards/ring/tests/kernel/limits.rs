//! Full tables, empty buffer rings, full queues.

use std::io::{Read, Write};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringmesh_ring::{Refusal, Ring, RingConfig, SetupError};
use ringmesh_runtime::io::{Io, IoError};

use crate::harness::{Harness, small};

#[test]
fn an_empty_buffer_ring_ends_the_receive_and_arming_it_again_goes_on() {
    let config = RingConfig { buffers: 2, buffer_bytes: 64, ..small() };
    let mut server = Harness::new(&config);
    let (mut client, conn) = server.connect();
    let message: Vec<u8> = (0..=255).cycle().take(1000).collect();
    client.write_all(&message).unwrap();
    server.ring.submit_recv(conn);
    let mut read = Vec::new();
    let mut held = Vec::new();
    let mut dry = 0;
    while read.len() < message.len() {
        let (result, more) = server.received(conn);
        match result {
            Ok(Some(buffer)) => {
                read.extend_from_slice(server.ring.bytes(&buffer));
                held.push(buffer);
                let used = server.ring.buffers().used as usize;
                assert!((held.len()..=2).contains(&used), "{used}");
            }
            Err(IoError::NoBuffers) => {
                dry += 1;
                assert!(!more && held.len() == 2);
            }
            other => panic!("{other:?}"),
        }
        if !more {
            held.drain(..).for_each(|buffer| server.ring.recycle(buffer));
            assert_eq!(server.ring.buffers().used, 0);
            server.ring.submit_recv(conn);
        }
    }
    assert_eq!(read, message);
    assert!(dry >= 7, "{dry}");
}

#[test]
fn a_full_table_refuses_until_a_slot_is_free() {
    let config = RingConfig { table: 4, ..small() };
    let mut server = Harness::new(&config);
    let mut held: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let mut refused = server.client();
    assert_eq!(server.accepted(), Err(IoError::Exhausted));
    // The kernel took the connection, and drops it.
    assert!(matches!(refused.read(&mut [0; 8]), Ok(0) | Err(_)));
    let (_, conn) = held.swap_remove(2);
    server.close(conn);
    let (mut client, conn) = server.connect();
    server.ring.submit_recv(conn);
    client.write_all(b"in").unwrap();
    assert_eq!(server.received_bytes(conn, 2), b"in");
}

#[test]
fn full_queues_lose_neither_submissions_nor_completions() {
    let config = RingConfig { sq_entries: 4, cq_entries: 4, ..small() };
    let mut server = Harness::new(&config);
    let mut conns: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for (_, conn) in &conns {
        server.ring.submit_recv(*conn);
    }
    assert!(server.ring.counters().queue_full > 0);
    for round in 0..5_u8 {
        for (index, (client, _)) in conns.iter_mut().enumerate() {
            client.write_all(&[round, u8::try_from(index).unwrap()]).unwrap();
        }
        for (index, (_, conn)) in conns.iter().enumerate() {
            let conn = *conn;
            // A multishot operation whose completion does not fit ends with it.
            let mut bytes = Vec::new();
            while bytes.len() < 2 {
                let (result, more) = server.received(conn);
                let buffer = result.expect("bytes").expect("no end of stream");
                bytes.extend_from_slice(server.ring.bytes(&buffer));
                server.ring.recycle(buffer);
                if !more {
                    server.ring.submit_recv(conn);
                }
            }
            assert_eq!(bytes, [round, u8::try_from(index).unwrap()]);
        }
    }
}

#[test]
#[should_panic(expected = "not on loan")]
fn the_bytes_of_a_forged_buffer_are_refused() {
    let server = Harness::new(&small());
    let forged = ringmesh_runtime::io::Buffer { id: 3, len: 8 };
    server.ring.bytes(&forged);
}

#[test]
fn a_table_beyond_the_descriptor_limit_names_limit_and_mend() {
    let limit = soft_descriptor_limit();
    let config = RingConfig { table: limit + 1, ..small() };
    let Err(SetupError::Refused(refusal)) = Ring::new(&config).map(drop) else {
        panic!("a table of {} slots", limit + 1);
    };
    assert!(matches!(refusal, Refusal::Table { wanted, .. } if wanted == limit + 1));
    let text = refusal.to_string();
    assert!(text.contains(&format!("ulimit -n {}", limit + 1)), "{text}");
}

/// The process's limit, lowered where it is beyond what any table may have.
fn soft_descriptor_limit() -> u32 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let soft = soft.min(60_000);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("a lower limit");
    u32::try_from(soft).expect("at most 60,000")
}
