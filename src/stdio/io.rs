//! [`Io`] over two descriptors. See the module's documentation, and the contract of [`Io`].

use std::fs::File;
use std::io::{self, PipeWriter};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use ringmesh_runtime::io::{
    Buffer, BufferOccupancy, Completion, ConnId, Io, IoError, ListenerId, Peer, SendBuf, Shutdown,
    Time,
};
use ringmesh_runtime::mailbox::Bell;

use super::drive::Ended;
use super::hub::{Arrival, Hub, News};
use super::{BUFFERS, CHUNK_BYTES, Streams, reader, writer};

/// The only place of the table.
const SLOT: u32 = 0;

/// See the module.
#[derive(Debug)]
pub(crate) struct StdioIo {
    hub: Arc<Hub>,
    /// Closed, it wakes the threads from waiting for their descriptors.
    stop: Option<PipeWriter>,
    born: Instant,
    ready: Vec<Completion>,
    news: News,
    /// Accepts that end with the listener.
    armed: Vec<(ListenerId, u16)>,
    listening: bool,
    connection: Connection,
    receive: Option<ConnId>,
    send: Option<(ConnId, SendBuf)>,
    /// The memory of the last chunk.
    chunk: Vec<u8>,
    /// Buffers that the shard has, by their numbers.
    loans: Vec<Option<Box<[u8]>>>,
    /// Nothing more is sent, and so nothing more is received: there is nobody to answer.
    shut: bool,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Waiting,
    Accepted,
    Closed,
}

/// What the exit code depends on.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    end: bool,
    cut: bool,
    input: Option<Errno>,
    output: Option<Errno>,
}

impl StdioIo {
    /// Starts the threads.
    ///
    /// # Errors
    /// What pipe(2) or the start of a thread report.
    pub(crate) fn new(streams: Streams) -> io::Result<Self> {
        let hub = Arc::new(Hub::new());
        let (stopped, stop) = io::pipe()?;
        let (input, output) = (File::from(streams.input), File::from(streams.output));
        let (own, stopped_too) = (hub.clone(), stopped.try_clone()?);
        start("stdin", move || reader::read(&own, input, &stopped_too))?;
        let own = hub.clone();
        start("stdout", move || writer::write(&own, output, &stopped))?;
        Ok(Self {
            hub,
            stop: Some(stop),
            born: Instant::now(),
            ready: Vec::new(),
            news: News::default(),
            armed: Vec::new(),
            listening: true,
            connection: Connection::Waiting,
            receive: None,
            send: None,
            chunk: Vec::with_capacity(CHUNK_BYTES),
            loans: (0..BUFFERS).map(|_| None).collect(),
            shut: false,
            seen: Seen::default(),
        })
    }

    /// Wakes the shard's thread.
    pub(crate) fn bell(&self) -> Arc<dyn Bell> {
        self.hub.clone()
    }

    /// The time now, for the making of a shard.
    pub(crate) fn now(&self) -> Time {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let whole = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Time { mono_ns: whole(self.born.elapsed().as_nanos()), unix_ms: whole(unix.as_millis()) }
    }

    /// Waits until something is complete, or until this time. May return early.
    pub(super) fn wait(&self, until_ns: Option<u64>) {
        if self.ready.is_empty() {
            let now_ns = self.now().mono_ns;
            let left = |until_ns: u64| Duration::from_nanos(until_ns.saturating_sub(now_ns));
            self.hub.wait(until_ns.map(left));
        }
    }

    /// Appends all completions that are there.
    pub(super) fn reap(&mut self, out: &mut Vec<Completion>) {
        out.append(&mut self.ready);
        self.hub.take_news(&mut self.news);
        if std::mem::take(&mut self.news.rung) {
            out.push(Completion::Rung);
        }
        if let Some(written) = self.news.written.take() {
            self.chunk = written.chunk;
            // One that was cut was reported then.
            if let Some((conn, buf)) = self.send.take() {
                self.seen.output = self.seen.output.or(written.result.err());
                let result = written.result.map_err(failure);
                out.push(Completion::Sent { conn, buf, result });
            }
        }
        while let Some(arrival) = self.news.arrived.pop_front() {
            let Some(conn) = self.receive else { unreachable!("only what is wanted is taken") };
            out.push(self.on_arrival(conn, arrival));
        }
    }

    fn on_arrival(&mut self, conn: ConnId, arrival: Arrival) -> Completion {
        let result = match arrival {
            Arrival::Bytes((id, bytes), len) => {
                self.loans[usize::from(id)] = Some(bytes);
                let result = Ok(Some(Buffer { id, len }));
                return Completion::Received { conn, result, more: true };
            }
            Arrival::End => {
                self.seen.end = true;
                Ok(None)
            }
            Arrival::Failed(errno) => {
                self.seen.input = Some(errno);
                Err(failure(errno))
            }
        };
        self.end_receive();
        Completion::Received { conn, result, more: false }
    }

    /// Whether the connection is closed: there will be no other.
    pub(super) fn is_closed(&self) -> bool {
        self.connection == Connection::Closed
    }

    /// How the connection ended.
    pub(super) fn ended(&self) -> Ended {
        let Seen { end, cut, input, output } = self.seen;
        match (output, input) {
            (Some(errno), _) => Ended::Output(errno),
            (None, Some(errno)) => Ended::Input(errno),
            (None, None) if cut => Ended::Unread,
            (None, None) if end => Ended::Finished,
            (None, None) => Ended::Refused,
        }
    }

    fn end_receive(&mut self) -> Option<ConnId> {
        self.hub.want(false);
        self.receive.take()
    }

    fn report_received(&mut self, conn: ConnId, result: Result<Option<Buffer>, IoError>) {
        self.ready.push(Completion::Received { conn, result, more: false });
    }

    fn end_threads(&mut self) {
        self.hub.end();
        self.stop = None;
    }
}

/// Nobody waits for its end: it may be stuck in a descriptor that others share.
fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

/// As tcp's errnos, where there are such: a terminal that hung up says EIO.
fn failure(errno: Errno) -> IoError {
    match errno {
        Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::EIO => IoError::Disconnected,
        other => IoError::Other(other as i32),
    }
}

impl Io for StdioIo {
    fn time(&mut self) -> Time {
        self.now()
    }

    fn submit_accept(&mut self, listener: ListenerId, ticket: u16) {
        let result = match self.connection {
            _ if !self.listening => Err(IoError::Cancelled),
            Connection::Waiting => {
                self.connection = Connection::Accepted;
                Ok((SLOT, Peer::Local))
            }
            Connection::Accepted | Connection::Closed => {
                return self.armed.push((listener, ticket));
            }
        };
        self.ready.push(Completion::Accepted { listener, ticket, result });
    }

    fn close_listeners(&mut self) {
        self.listening = false;
        for (listener, ticket) in self.armed.drain(..) {
            let result = Err(IoError::Cancelled);
            self.ready.push(Completion::Accepted { listener, ticket, result });
        }
    }

    fn submit_recv(&mut self, conn: ConnId) {
        assert!(self.receive.is_none(), "one receive is armed at a time");
        if self.shut {
            return self.report_received(conn, Ok(None));
        }
        self.receive = Some(conn);
        self.hub.want(true);
    }

    fn cancel_recv(&mut self, conn: ConnId) {
        // One that has just ended reports that.
        if self.end_receive().is_some() {
            self.report_received(conn, Err(IoError::Cancelled));
        }
    }

    fn submit_send(&mut self, conn: ConnId, buf: SendBuf, offset: usize) {
        assert!(self.send.is_none(), "one send is in flight at a time");
        if self.shut {
            let result = Err(IoError::Disconnected);
            return self.ready.push(Completion::Sent { conn, buf, result });
        }
        // A copy: the shard gets its own bytes back at once, should the writer be stuck.
        let bytes = &buf.as_slice()[offset..];
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        chunk.extend_from_slice(&bytes[..bytes.len().min(CHUNK_BYTES)]);
        self.hub.send(chunk);
        self.send = Some((conn, buf));
    }

    fn submit_shutdown(&mut self, conn: ConnId, how: Shutdown) {
        self.shut = true;
        match how {
            Shutdown::Write => self.hub.finish(),
            Shutdown::Both => {
                if let Some((conn, buf)) = self.send.take() {
                    self.seen.cut = true;
                    let result = Err(IoError::Disconnected);
                    self.ready.push(Completion::Sent { conn, buf, result });
                }
                self.end_threads();
            }
        }
        // No client can tell that it is done but by closing its end, for which nobody has to wait:
        // what was written to a pipe stays there.
        if self.end_receive().is_some() {
            self.report_received(conn, Ok(None));
        }
        self.ready.push(Completion::ShutDown { conn });
    }

    fn submit_close(&mut self, conn: ConnId) {
        assert!(self.receive.is_none() && self.send.is_none(), "something is in flight");
        self.connection = Connection::Closed;
        self.end_threads();
        self.ready.push(Completion::Closed { conn });
    }

    fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        let loan = self.loans[usize::from(buffer.id)].as_ref().expect("it is on loan");
        &loan[..buffer.len as usize]
    }

    fn recycle(&mut self, buffer: Buffer) {
        let loan = self.loans[usize::from(buffer.id)].take().expect("it is on loan");
        self.hub.give_back((buffer.id, loan));
    }

    fn buffers(&self) -> BufferOccupancy {
        let loans = self.loans.iter().filter(|loan| loan.is_some()).count();
        let loans = u32::try_from(loans).unwrap_or(u32::MAX);
        BufferOccupancy { total: BUFFERS.into(), used: loans + self.hub.used() }
    }
}

impl Drop for StdioIo {
    fn drop(&mut self) {
        self.end_threads();
    }
}
