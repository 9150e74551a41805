//! All clients, on one thread: a closed loop with one call in flight on each connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use crate::support;

/// An answer that comes later ends the run.
const PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors besides the connections.
const FILES_SPARE: u64 = 64;
/// Latency is kept from 1 ns to this, to three digits.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// No answer to `add` is longer.
const REPLY_BYTES_MAX: usize = 4_096;
/// Length of a time in a `Date` field (RFC 9110 5.6.7).
const DATE_BYTES: usize = 29;

/// What one run came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) took: Duration,
    /// From the sending of each call to its whole answer, ns.
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) server_cpu: Duration,
}

pub(crate) struct Client {
    poll: Poll,
    connections: Vec<Connection>,
    request: Vec<u8>,
    /// What every answer has to be, the date apart.
    expected: Expected,
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    reply: Vec<u8>,
}

impl Client {
    /// Opens the connections. The first call is looked at closely; what it was answered is what
    /// every other answer has to be.
    ///
    /// # Errors
    /// One line: a connection or the first answer failed.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> Result<Self, String> {
        raise_files(connections as u64 + FILES_SPARE)?;
        let request = support::request(&address.to_string());
        let expected = Expected::ask(address, &request)?;
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        let connect = |index| {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            let reply = Vec::with_capacity(REPLY_BYTES_MAX);
            Ok(Connection { stream, sent: Instant::now(), reply })
        };
        let connections: std::io::Result<Vec<_>> = (0..connections).map(connect).collect();
        let connections = connections.map_err(|error| format!("connect to {address}: {error}"))?;
        Ok(Self { poll, connections, request, expected })
    }

    /// Calls over and over for a time, and then waits for the last answers, which do not count.
    ///
    /// # Errors
    /// One line: a call failed, or was answered with anything else than the first one.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Run, String> {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS);
        let mut latency_ns = histogram.map_err(|error| error.to_string())?;
        let mut events = Events::with_capacity(self.connections.len());
        let mut buffer = [0; REPLY_BYTES_MAX];
        let started = Instant::now();
        let end = started + time;
        for connection in &mut self.connections {
            connection.send(&self.request)?;
        }
        let (mut in_flight, mut last) = (self.connections.len(), started);
        while in_flight > 0 {
            self.poll
                .poll(&mut events, Some(PATIENCE))
                .map_err(|error| format!("epoll_wait: {error}"))?;
            if events.is_empty() {
                return Err(format!("{in_flight} calls unanswered for {PATIENCE:?}"));
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if !connection.receive(&mut buffer, &self.expected)? {
                    continue;
                }
                let now = Instant::now();
                if now >= end {
                    in_flight -= 1;
                    continue;
                }
                last = now;
                let latency = now.duration_since(connection.sent).as_nanos();
                latency_ns.saturating_record(u64::try_from(latency).unwrap_or(u64::MAX));
                connection.send(&self.request)?;
            }
        }
        Ok(Run { took: last.duration_since(started), latency_ns, server_cpu: Duration::ZERO })
    }
}

impl Connection {
    fn send(&mut self, request: &[u8]) -> Result<(), String> {
        self.sent = Instant::now();
        match self.stream.write(request) {
            Ok(sent) if sent == request.len() => Ok(()),
            // A socket's buffer holds many of them, and one is in flight.
            Ok(sent) => Err(format!("{sent} of {} bytes sent", request.len())),
            Err(error) => Err(format!("send: {error}")),
        }
    }

    /// Whether the answer is whole. Readiness is told once for what arrives, and nothing more can
    /// arrive behind a whole answer: so there is no second read to find that out.
    fn receive(&mut self, buffer: &mut [u8], expected: &Expected) -> Result<bool, String> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".to_owned()),
                Ok(received) => self.reply.extend_from_slice(&buffer[..received]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(format!("receive: {error}")),
            }
            if self.reply.len() >= expected.reply.len() {
                expected.check(&self.reply)?;
                self.reply.clear();
                return Ok(true);
            }
        }
    }
}

/// The one answer that there is.
struct Expected {
    reply: Vec<u8>,
    /// Where its date begins.
    date_at: usize,
}

impl Expected {
    fn ask(address: SocketAddr, request: &[u8]) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the first call: {error}");
        let mut stream = std::net::TcpStream::connect(address).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.write_all(request).map_err(failed)?;
        let mut reply = Vec::new();
        let mut buffer = [0; REPLY_BYTES_MAX];
        loop {
            let received = stream.read(&mut buffer).map_err(failed)?;
            reply.extend_from_slice(&buffer[..received]);
            let whole = Self::is_sum(&reply);
            if whole || received == 0 || reply.len() > REPLY_BYTES_MAX {
                let date_at = find(&reply, b"\r\nDate: ").map(|at| at + 8);
                return match date_at {
                    Some(date_at) if whole => Ok(Self { reply, date_at }),
                    _ => Err(format!("no sum answered: {}", String::from_utf8_lossy(&reply))),
                };
            }
        }
    }

    /// Whether these are a whole answer with the sum that was asked for.
    fn is_sum(reply: &[u8]) -> bool {
        let Some(body_at) = find(reply, b"\r\n\r\n").map(|at| at + 4) else { return false };
        let body: Value = serde_json::from_slice(&reply[body_at..]).unwrap_or_default();
        reply.starts_with(b"HTTP/1.1 200 ")
            && body["id"] == 1
            && body["result"]["content"][0]["text"] == "5"
            && body["result"]["isError"] != true
    }

    fn check(&self, reply: &[u8]) -> Result<(), String> {
        let behind = self.date_at + DATE_BYTES;
        let same = reply.len() == self.reply.len()
            && reply[..self.date_at] == self.reply[..self.date_at]
            && reply[behind..] == self.reply[behind..];
        if same {
            return Ok(());
        }
        Err(format!("another answer than the first: {}", String::from_utf8_lossy(reply)))
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Raises the soft limit of open files as far as is needed.
fn raise_files(needed: u64) -> Result<(), String> {
    let limits = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| errno.to_string())?;
    match limits {
        (soft, _) if soft >= needed => Ok(()),
        (_, hard) if hard >= needed => setrlimit(Resource::RLIMIT_NOFILE, needed, hard)
            .map_err(|errno| format!("open files, {needed}: {errno}")),
        (_, hard) => Err(format!("{needed} open files are needed, the limit is {hard}: ulimit -n")),
    }
}
