//! The contract of `Io`, over pipes, sockets and files.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use ringmesh_runtime::io::{
    Buffer, Completion, ConnId, Io as _, IoError, ListenerId, Peer, SendBuf, Shutdown,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const CONN: ConnId = ConnId { slot: 0, generation: 1 };
const LISTENER: ListenerId = ListenerId(0);

/// What a receive brings that is no bytes, and whether it stays armed.
type Other = (Result<Option<Buffer>, IoError>, bool);

/// An io with its connection accepted.
struct Bench {
    io: StdioIo,
    seen: Vec<Completion>,
}

impl Bench {
    fn new(streams: Streams) -> Self {
        let mut bench = Self { io: StdioIo::new(streams).expect("threads"), seen: Vec::new() };
        for ticket in 0..3 {
            bench.io.submit_accept(LISTENER, ticket);
        }
        let accepted = bench.next();
        let is = matches!(
            accepted,
            Completion::Accepted { ticket: 0, result: Ok((0, Peer::Local)), .. }
        );
        assert!(is, "{accepted:?}");
        bench
    }

    /// With pipes, and their other ends.
    fn piped() -> (PipeWriter, Self, PipeReader) {
        let (input, client) = std::io::pipe().expect("a pipe");
        let (reader, output) = std::io::pipe().expect("a pipe");
        (client, Self::new(Streams::of(input, output)), reader)
    }

    /// The next completion.
    fn next(&mut self) -> Completion {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.is_empty() {
            assert!(Instant::now() < deadline, "nothing completes");
            self.io.wait(Some(self.io.now().mono_ns + 1_000_000_000));
            self.io.reap(&mut self.seen);
        }
        self.seen.remove(0)
    }

    /// Nothing completes for a while.
    fn assert_quiet(&mut self) {
        self.io.wait(Some(self.io.now().mono_ns + 100_000_000));
        self.io.reap(&mut self.seen);
        assert!(self.seen.is_empty(), "{:?}", self.seen);
    }

    /// The bytes of the next receive, recycled, unless it brings something else.
    fn received(&mut self) -> Result<Vec<u8>, Other> {
        let Completion::Received { conn: CONN, result, more } = self.next() else {
            panic!("not received")
        };
        match result {
            Ok(Some(buffer)) if more => {
                let bytes = self.io.bytes(&buffer).to_vec();
                self.io.recycle(buffer);
                Ok(bytes)
            }
            other => Err((other, more)),
        }
    }

    fn sent(&mut self) -> (SendBuf, Result<usize, IoError>) {
        match self.next() {
            Completion::Sent { conn: CONN, buf, result } => (buf, result),
            other => panic!("{other:?}"),
        }
    }

    fn close(&mut self) {
        self.io.submit_close(CONN);
        assert!(matches!(self.next(), Completion::Closed { conn: CONN }));
        self.io.close_listeners();
        for _ in 1..3 {
            let ended = self.next();
            assert!(matches!(ended, Completion::Accepted { result: Err(IoError::Cancelled), .. }));
        }
        assert_eq!(self.io.buffers().used, 0);
    }
}

/// Bytes of which no two neighbouring thousands are alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n / 1_000 % 251).expect("below 251")).collect()
}

#[test]
fn bytes_come_in_order_and_end() {
    let (mut client, mut bench, _reader) = Bench::piped();
    let sent = pattern(1_000_000);
    let feed = {
        let sent = sent.clone();
        thread::spawn(move || client.write_all(&sent))
    };
    bench.io.submit_recv(CONN);
    let mut read = Vec::new();
    while read.len() < sent.len() {
        read.extend(bench.received().expect("bytes"));
    }
    assert!(read == sent);
    feed.join().expect("the client").expect("a reader");
    assert_eq!(bench.received(), Err((Ok(None), false)));
    bench.close();
    assert_eq!(bench.io.ended(), Ended::Finished);
}

#[test]
fn nothing_is_read_unless_it_is_wanted() {
    let (mut client, mut bench, _reader) = Bench::piped();
    client.write_all(b"early").expect("room");
    bench.assert_quiet();
    assert_eq!(bench.io.buffers().used, 0, "it is still in the pipe");
    bench.io.submit_recv(CONN);
    assert_eq!(bench.received().expect("bytes"), b"early");
    bench.io.cancel_recv(CONN);
    assert_eq!(bench.received(), Err((Err(IoError::Cancelled), false)));
    client.write_all(b"late").expect("room");
    bench.assert_quiet();
    assert_eq!(bench.io.buffers().used, 0, "it is still in the pipe");
    bench.io.submit_recv(CONN);
    assert_eq!(bench.received().expect("bytes"), b"late");
    drop(client);
    assert_eq!(bench.received(), Err((Ok(None), false)));
}

#[test]
fn nothing_is_read_while_all_buffers_are_on_loan() {
    let (mut client, mut bench, _reader) = Bench::piped();
    bench.io.submit_recv(CONN);
    let mut loans = Vec::new();
    for n in 0..BUFFERS {
        client.write_all(&[u8::try_from(n).unwrap(); 10]).expect("room");
        let Completion::Received { result: Ok(Some(buffer)), more: true, .. } = bench.next() else {
            panic!("not received")
        };
        loans.push(buffer);
    }
    assert_eq!(bench.io.buffers().used, u32::from(BUFFERS));
    client.write_all(b"more").expect("room");
    bench.assert_quiet();
    for (n, buffer) in loans.into_iter().enumerate() {
        assert_eq!(bench.io.bytes(&buffer), [u8::try_from(n).unwrap(); 10]);
        bench.io.recycle(buffer);
    }
    assert_eq!(bench.received().expect("bytes"), b"more");
}

#[test]
fn a_slow_reader_makes_sends_short() {
    let (_client, mut bench, mut reader) = Bench::piped();
    let sent = pattern(700_000);
    let drain = thread::spawn(move || {
        let mut read = Vec::new();
        let mut some = [0; 5_000];
        while let Ok(len @ 1..) = reader.read(&mut some) {
            read.extend_from_slice(&some[..len]);
            if read.len() % 3 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        read
    });
    let (mut buf, mut offset, mut steps) = (SendBuf::Pooled(sent.clone()), 0, 0);
    while offset < sent.len() {
        bench.io.submit_send(CONN, buf, offset);
        let (back, taken) = bench.sent();
        let taken = taken.expect("it is read");
        assert!((1..=CHUNK_BYTES).contains(&taken));
        (buf, offset, steps) = (back, offset + taken, steps + 1);
    }
    assert!(steps > 700_000 / CHUNK_BYTES, "{steps}");
    bench.io.submit_send(CONN, SendBuf::Static(b"and the end"), 8);
    assert_eq!(bench.sent().1, Ok(3));
    bench.io.submit_shutdown(CONN, Shutdown::Write);
    assert!(matches!(bench.next(), Completion::ShutDown { conn: CONN }));
    // The reader sees the end now, not when the process ends.
    let read = drain.join().expect("the reader");
    assert!(read == [&sent[..], b"end"].concat());
}

#[test]
fn a_reader_that_is_stuck_is_cut_off() {
    let (_client, mut bench, mut reader) = Bench::piped();
    bench.io.submit_recv(CONN);
    let mut offset = 0;
    loop {
        bench.io.submit_send(CONN, SendBuf::Pooled(vec![7; 1 << 20]), offset);
        bench.io.wait(Some(bench.io.now().mono_ns + 300_000_000));
        bench.io.reap(&mut bench.seen);
        if bench.seen.is_empty() {
            break;
        }
        offset += bench.sent().1.expect("room in the pipe");
    }
    bench.io.submit_shutdown(CONN, Shutdown::Both);
    let (buf, result) = bench.sent();
    assert_eq!((buf.as_slice().len(), result), (1 << 20, Err(IoError::Disconnected)));
    assert_eq!(bench.received(), Err((Ok(None), false)));
    assert!(matches!(bench.next(), Completion::ShutDown { conn: CONN }));
    bench.close();
    assert_eq!(bench.io.ended(), Ended::Unread);
    // Both threads are gone: the pipe has no writer left.
    let mut left = Vec::new();
    reader.read_to_end(&mut left).expect("an end");
    assert_eq!(left.len(), offset);
}

#[test]
fn a_reader_that_is_gone_breaks_sends() {
    let (_client, mut bench, reader) = Bench::piped();
    drop(reader);
    bench.io.submit_send(CONN, SendBuf::Pooled(b"answer".to_vec()), 0);
    let (buf, result) = bench.sent();
    assert_eq!((buf.as_slice(), result), (&b"answer"[..], Err(IoError::Disconnected)));
    bench.close();
    assert_eq!(bench.io.ended(), Ended::Output(nix::errno::Errno::EPIPE));
}

#[test]
fn nothing_is_received_once_nobody_can_be_answered() {
    let (client, mut bench, mut reader) = Bench::piped();
    bench.io.submit_recv(CONN);
    bench.io.submit_shutdown(CONN, Shutdown::Write);
    assert_eq!(bench.received(), Err((Ok(None), false)));
    assert!(matches!(bench.next(), Completion::ShutDown { .. }));
    bench.io.submit_recv(CONN);
    assert_eq!(bench.received(), Err((Ok(None), false)));
    assert_eq!(reader.read(&mut [0; 8]).expect("the end"), 0);
    bench.close();
    assert_eq!(bench.io.ended(), Ended::Refused);
    drop(client);
}

#[test]
fn files_and_sockets_are_read_and_written_too() {
    let path = std::env::temp_dir().join(format!("ringmesh-stdio-{}", std::process::id()));
    std::fs::write(&path, vec![5; 300_000]).expect("a file");
    let (output, mut reader) = UnixStream::pair().expect("sockets");
    // As somebody else who has the socket may set it up.
    output.set_nonblocking(true).expect("an option");
    let mut bench = Bench::new(Streams::of(File::open(&path).expect("the file"), output));
    std::fs::remove_file(&path).expect("the file");
    bench.io.submit_recv(CONN);
    let mut read = 0;
    let end = loop {
        match bench.received() {
            Ok(bytes) => read += bytes.len(),
            Err(end) => break end,
        }
    };
    assert_eq!((read, end), (300_000, (Ok(None), false)));
    let drain = thread::spawn(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).map(|_| read.len())
    });
    let (mut buf, mut offset) = (SendBuf::Pooled(vec![6; 2_000_000]), 0);
    while offset < 2_000_000 {
        bench.io.submit_send(CONN, buf, offset);
        let (back, taken) = bench.sent();
        (buf, offset) = (back, offset + taken.expect("it is read"));
    }
    bench.close();
    drop(bench);
    assert_eq!(drain.join().expect("the reader").expect("bytes"), 2_000_000);
}

#[test]
fn what_cannot_be_read_or_written_is_told() {
    let folder = File::open("/").expect("a folder");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut bench = Bench::new(Streams::of(folder, full));
    bench.io.submit_recv(CONN);
    let errno = nix::errno::Errno::EISDIR;
    assert_eq!(bench.received(), Err((Err(IoError::Other(errno as i32)), false)));
    assert_eq!(bench.io.ended(), Ended::Input(errno));
    bench.io.submit_send(CONN, SendBuf::Static(b"answer"), 0);
    let errno = nix::errno::Errno::ENOSPC;
    assert_eq!(bench.sent().1, Err(IoError::Other(errno as i32)));
    assert_eq!(bench.io.ended(), Ended::Output(errno));
}

#[test]
fn a_ring_of_the_bell_is_kept_until_it_is_taken() {
    let (_client, mut bench, _reader) = Bench::piped();
    let bell = bench.io.bell();
    bell.ring();
    bell.ring();
    assert!(matches!(bench.next(), Completion::Rung));
    bench.assert_quiet();
    let waits = thread::spawn(move || {
        assert!(matches!(bench.next(), Completion::Rung));
    });
    bell.ring();
    waits.join().expect("woken");
}
