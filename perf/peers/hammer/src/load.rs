//! The run: one epoll, every connection with its calls in flight.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Result, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::options::{Mode, Options};
use crate::sessions::Peer;
use crate::wire::{Expected, Next, Request, next_answer};

const READ_BYTES: usize = 64 * 1024;
const EVENTS_MAX: usize = 1024;
/// How often the clock is looked at while nothing happens.
const PAUSE: Duration = Duration::from_millis(20);
const SAMPLE_BYTES_MAX: usize = 600;

/// All connections and what was counted of them.
pub struct Load {
    mode: Mode,
    depth: usize,
    poll: Poll,
    events: Events,
    conns: Vec<Option<Conn>>,
    scratch: Vec<u8>,
    /// Numbers the calls.
    next: u64,
    pub answers: u64,
    pub answer_bytes: u64,
    pub errors: u64,
    pub error_sample: String,
    pub latency_us: Histogram<u64>,
}

struct Conn {
    socket: TcpStream,
    request: Request,
    /// What the kernel did not take yet.
    out: Vec<u8>,
    /// What was received and is no whole answer.
    rest: Vec<u8>,
    calls: VecDeque<(Expected, Instant)>,
}

impl Load {
    /// Takes over the connections and makes their first calls.
    pub fn new(peers: Vec<Peer>, options: &Options) -> Result<Self> {
        let poll = Poll::new()?;
        let mut load = Self {
            mode: options.mode,
            depth: options.depth,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            conns: Vec::new(),
            scratch: vec![0; READ_BYTES],
            next: 0,
            answers: 0,
            answer_bytes: 0,
            errors: 0,
            error_sample: String::new(),
            latency_us: Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds"),
        };
        for (at, Peer { socket, request }) in peers.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            let both = Interest::READABLE | Interest::WRITABLE;
            load.poll
                .registry()
                .register(&mut socket, Token(at), both)?;
            let mut conn = Conn {
                socket,
                request,
                out: vec![],
                rest: vec![],
                calls: VecDeque::new(),
            };
            for _ in 0..options.depth {
                conn.call(&mut load.next, Instant::now());
            }
            conn.flush()?;
            load.conns.push(Some(conn));
        }
        Ok(load)
    }

    /// Forgets what was counted. Errors stay: a run with errors makes no figure.
    pub fn reset(&mut self) {
        self.answers = 0;
        self.answer_bytes = 0;
        self.latency_us.reset();
    }

    /// Calls and is answered until then, or until no connection is left.
    pub fn run_until(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.conns.iter().all(Option::is_none) {
                return Ok(());
            }
            match self.poll.poll(&mut self.events, Some(left.min(PAUSE))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done?,
            }
            let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for at in ready {
                if let Err(error) = self.advance(at) {
                    self.errors += 1;
                    if self.error_sample.is_empty() {
                        self.error_sample = error.to_string();
                    }
                    self.conns[at] = None;
                }
            }
        }
    }

    /// Takes what a connection has, and calls again for each answer.
    fn advance(&mut self, at: usize) -> Result<()> {
        let Some(conn) = &mut self.conns[at] else {
            return Ok(());
        };
        conn.flush()?;
        loop {
            let count = match conn.socket.read(&mut self.scratch) {
                Ok(0) => return Err(std::io::Error::other("the server closed a connection")),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let whole = conn.rest.is_empty();
            if !whole {
                conn.rest.extend_from_slice(&self.scratch[..count]);
            }
            let bytes = if whole {
                &self.scratch[..count]
            } else {
                &conn.rest[..]
            };
            let now = Instant::now();
            let mut from = 0;
            loop {
                let bytes = &bytes[from..];
                match next_answer(self.mode, bytes, "200") {
                    Next::Incomplete => break,
                    Next::Wrong => return Err(wrong(bytes)),
                    Next::Answer { body, end } => {
                        let body = &bytes[body];
                        let sent =
                            take(self.mode, &mut conn.calls, body).ok_or_else(|| wrong(bytes))?;
                        let took_us = now.duration_since(sent).as_micros() as u64;
                        self.latency_us.saturating_record(took_us.max(1));
                        self.answers += 1;
                        self.answer_bytes += end as u64;
                        from += end;
                    }
                }
            }
            if whole {
                conn.rest.extend_from_slice(&self.scratch[from..count]);
            } else {
                conn.rest.drain(..from);
            }
            while conn.calls.len() < self.depth {
                conn.call(&mut self.next, now);
            }
            conn.flush()?;
            // Less than there was room for: nothing more is there (epoll(7)).
            if count < READ_BYTES {
                return Ok(());
            }
        }
    }
}

/// The call that an answer is of, when the answer is right. Over HTTP it is the oldest; on lines
/// the server answers as it likes.
fn take(mode: Mode, calls: &mut VecDeque<(Expected, Instant)>, body: &[u8]) -> Option<Instant> {
    let among = if mode.is_http() { 1 } else { calls.len() };
    let at = calls
        .iter()
        .take(among)
        .position(|(expected, _)| expected.is_of(body))?;
    let (expected, sent) = calls.remove(at)?;
    expected.is_right(body).then_some(sent)
}

fn wrong(bytes: &[u8]) -> std::io::Error {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SAMPLE_BYTES_MAX)]);
    std::io::Error::other(format!("a wrong answer: {text}"))
}

impl Conn {
    /// Writes the next call; `flush` sends it.
    fn call(&mut self, next: &mut u64, now: Instant) {
        let expected = self.request.write(*next, &mut self.out);
        *next += 1;
        self.calls.push_back((expected, now));
    }

    /// Sends what the kernel takes.
    fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.socket.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}
