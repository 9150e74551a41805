//! Asks a server for its status, within bounds of time and bytes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::status::Status;

/// How long an answer may take in all.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A status of 1,024 shards takes less.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How the admin listener names itself in a status.
const NAME: &str = "ringmesh";

/// A status, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) at: Instant,
    pub(super) status: Status,
}

/// One status.
///
/// # Errors
/// What went wrong, in a few words.
pub(super) fn ask(admin: SocketAddr) -> Result<Answer, String> {
    let text = fetch(admin).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ => error.to_string(),
    })?;
    let at = Instant::now();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    match code {
        Some("200") => {}
        Some(code) => return Err(format!("/status is answered with HTTP {code}")),
        None => return Err("it is no admin listener (no HTTP/1.1 answer)".to_owned()),
    }
    let status: Status = serde_json::from_str(body).unwrap_or_default();
    if status.name != NAME {
        return Err("it is no admin listener of ringmesh (no status)".to_owned());
    }
    Ok(Answer { at, status })
}

fn fetch(admin: SocketAddr) -> io::Result<String> {
    let deadline = Instant::now() + ANSWER_MAX;
    let mut stream = TcpStream::connect_timeout(&admin, ANSWER_MAX)?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part)? {
            0 => break,
            more => answer.extend_from_slice(&part[..more]),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("its answer does not end"));
        }
    }
    String::from_utf8(answer).map_err(|_| io::Error::other("its answer is no text"))
}

/// Asks once an interval, on a thread that ends when nobody wants answers any more.
///
/// # Errors
/// Where there is no thread.
pub(super) fn keep_asking(
    admin: SocketAddr,
    interval: Duration,
) -> io::Result<Receiver<Result<Answer, String>>> {
    let (sender, answers) = sync_channel(1);
    let asking = move || {
        let mut next = Instant::now() + interval;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // Late answers do not pile up.
            next = (next + interval).max(Instant::now());
            if sender.send(ask(admin)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("poll".into()).spawn(asking)?;
    Ok(answers)
}
