//! What servers tell of themselves: `/metrics` of their admin listeners, each second, and the `pid`
//! of `/status`, once.
//!
//! Each listener is asked by a thread of its own, so that one that is dead or slow delays nobody;
//! it asks again at the next whole second after an answer. All of it is bounded in time and bytes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::str;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// How long an answer may take, in all.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Values kept of an answer, at most.
const VALUES_MAX: usize = 20_000;
const EVERY: Duration = Duration::from_secs(1);

/// An answer, or why there is none.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// Which of the admin listeners.
    pub(crate) node: usize,
    /// When it was asked.
    pub(crate) at: Instant,
    /// Names with their labels, and values.
    pub(crate) values: Result<Vec<(String, f64)>, String>,
}

/// Threads that ask. They end when this is dropped, the last of them after a time-out.
#[derive(Debug)]
pub(crate) struct Scrapers {
    _stop: Sender<()>,
}

impl Scrapers {
    /// Starts a thread for each listener. What is told while `out` is full is lost.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub(crate) fn start(admins: &[SocketAddr], out: &Sender<Scrape>) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        for (node, &admin) in admins.iter().enumerate() {
            let (out, stopped) = (out.clone(), stopped.clone());
            let ask = move || ask_each_second(node, admin, &out, &stopped);
            thread::Builder::new().name(format!("scrape-{node}")).spawn(ask)?;
        }
        Ok(Self { _stop: stop })
    }
}

fn ask_each_second(node: usize, admin: SocketAddr, out: &Sender<Scrape>, stopped: &Receiver<()>) {
    let mut next = Instant::now();
    loop {
        let at = Instant::now();
        let answer = get(admin, "/metrics").map_err(|error| error.to_string());
        let values = answer.map(|text| values(&text));
        out.try_send(Scrape { node, at, values }).ok();
        while next <= Instant::now() {
            next += EVERY;
        }
        match stopped.recv_deadline(next) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What an admin listener of ringmesh says of its server.
pub(crate) fn status(admin: SocketAddr) -> Option<serde_json::Value> {
    serde_json::from_str(&get(admin, "/status").ok()?).ok()
}

/// The number of the process behind an admin listener of ringmesh.
pub(crate) fn pid(admin: SocketAddr) -> Option<u32> {
    status(admin)?.get("pid")?.as_u64()?.try_into().ok()
}

/// The body of the answer to a GET request.
fn get(admin: SocketAddr, path: &str) -> io::Result<String> {
    let deadline = Instant::now() + ANSWER_MAX;
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER_MAX)?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    // In one write, so that it travels whole.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part)? {
            0 => return body_of(&answer),
            more => answer.extend_from_slice(&part[..more]),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(refused("an answer that is too long"));
        }
    }
}

/// The body of a whole answer that ended with its connection.
fn body_of(answer: &[u8]) -> io::Result<String> {
    let text = str::from_utf8(answer).map_err(|_| refused("an answer that is no text"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match status {
        Some("200") => {}
        Some(status) => return Err(refused(&format!("HTTP {status}"))),
        None => return Err(refused("an answer that is no HTTP")),
    }
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.map(|(_, length)| length.trim().parse::<usize>()) {
        Some(Ok(length)) if body.len() < length => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Ok(_)) => Ok(body.to_owned()),
        Some(Err(_)) | None => Err(refused("an answer without a length")),
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The values of the Prometheus text format. Buckets of histograms are left out: there are
/// thousands of them, and their counts and sums tell what a report shows.
fn values(text: &str) -> Vec<(String, f64)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let samples = lines.filter(|line| !line.starts_with('#')).filter_map(sample);
    samples.filter(|(name, _)| !is_bucket(name)).take(VALUES_MAX).collect()
}

/// `name{label="value"} 1.5 1700000000000`; a label's value may hold spaces and braces.
fn sample(line: &str) -> Option<(String, f64)> {
    let name_end = match line.find('{') {
        Some(open) => open + end_of_labels(&line[open..])?,
        None => line.find([' ', '\t'])?,
    };
    let (name, rest) = line.split_at(name_end);
    // What a spreadsheet takes for a formula is no name.
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || b"_:".contains(byte);
    name.as_bytes().first().filter(|byte| is_first(byte))?;
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name.trim_end().to_owned(), value))
}

/// How many bytes `{…}` takes. In a label's value, quotes are escaped.
fn end_of_labels(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_bucket(name: &str) -> bool {
    name.split('{').next().is_some_and(|name| name.ends_with("_bucket"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_text_format_is_read_line_by_line() {
        let text = "# HELP a_total What it counts.\n# TYPE a_total counter\na_total 17\n\
                    b{shard=\"0\"} 1.5\nb{shard=\"1\",why=\"a \\\"b} c\\\\\"} -2e3 1700000000000\n\
                    c_seconds_bucket{le=\"0.1\"} 4\nc_seconds_count 9\nd NaN\ne +Inf\n\
                    broken\n=now() 1\nf{unclosed=\"} 1\ng twelve\n\n";
        let found = values(text);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let second = "b{shard=\"1\",why=\"a \\\"b} c\\\\\"}";
        assert_eq!(names, ["a_total", "b{shard=\"0\"}", second, "c_seconds_count", "d", "e"]);
        assert_eq!((found[0].1, found[1].1, found[2].1, found[3].1), (17.0, 1.5, -2e3, 9.0));
        assert!(found[4].1.is_nan() && found[5].1.is_infinite());
    }

    #[test]
    fn an_answer_is_whole_or_an_error() {
        let body = |answer: &str| body_of(answer.as_bytes()).map_err(|error| error.to_string());
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\n";
        assert_eq!(body(good).as_deref(), Ok("a 1\n"));
        for (answer, why) in [
            ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "HTTP 403"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na 1\n", "unexpected end of file"),
            ("HTTP/1.1 200 OK\r\n\r\na 1\n", "an answer without a length"),
            ("HTTP/1.1 200 OK\r\n", "unexpected end of file"),
            ("SSH-2.0\r\n\r\n", "an answer that is no HTTP"),
        ] {
            assert_eq!(body(answer), Err(why.to_owned()), "{answer}");
        }
    }

    #[test]
    fn a_listener_is_asked_until_the_end_and_a_dead_one_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let alive = listener.local_addr().expect("bound");
        let dead = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a scraper");
            let mut request = [0; 512];
            let filled = stream.read(&mut request).expect("a request");
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nup 1\n";
            stream.write_all(answer.as_bytes()).expect("a reader");
            request[..filled].starts_with(b"GET /metrics HTTP/1.1\r\n")
        });
        let (out, scrapes) = bounded(16);
        let scrapers = Scrapers::start(&[alive, dead.expect("bound")], &out).expect("threads");
        drop(out);
        let mut told = [None, None];
        while told.iter().any(Option::is_none) {
            let scrape = scrapes.recv_timeout(Duration::from_secs(30)).expect("an answer");
            told[scrape.node].get_or_insert(scrape.values);
        }
        assert_eq!(told[0], Some(Ok(vec![("up".to_owned(), 1.0)])));
        assert!(matches!(&told[1], Some(Err(why)) if why.contains("refused")), "{told:?}");
        assert!(server.join().expect("the listener"));
        drop(scrapers);
        // Both threads are gone: nobody holds a sender.
        while scrapes.recv_timeout(Duration::from_secs(30)).is_ok() {}
        assert_eq!(scrapes.recv().map(|_| ()), Err(crossbeam::channel::RecvError));
    }
}
