//! Connections before the run, in blocking calls: their handshakes, and whose session each uses.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::options::{Mode, Options};
use crate::wire::{
    INITIALIZE, INITIALIZED, Next, Request, field, next_answer, post, session_fields,
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection and what it is to say.
pub struct Peer {
    pub socket: TcpStream,
    pub request: Request,
}

/// Opens all connections; in the legacy era each shakes hands.
pub fn open(options: &Options) -> Result<Vec<Peer>> {
    let host = options.to.to_string();
    let sockets: Vec<TcpStream> = (0..options.connections)
        .map(|_| connected(options))
        .collect::<Result<_>>()?;
    if !options.mode.is_legacy() {
        let request = Request::new(options.mode, &host, None);
        let peer = |socket| Peer {
            socket,
            request: request.clone(),
        };
        return Ok(sockets.into_iter().map(peer).collect());
    }
    let sessions: Vec<Option<String>> = sockets
        .iter()
        .map(|socket| shake_hands(options.mode, socket, &host))
        .collect::<Result<_>>()?;
    let used = if options.elsewhere {
        elsewhere(&sessions, options.shards)?
    } else {
        sessions
    };
    let peer = |(socket, session): (TcpStream, Option<String>)| Peer {
        socket,
        request: Request::new(options.mode, &host, session.as_deref()),
    };
    Ok(sockets.into_iter().zip(used).map(peer).collect())
}

fn connected(options: &Options) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&options.to, TIMEOUT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// `initialize` and what follows; the id of the session, where it has one.
fn shake_hands(mode: Mode, socket: &TcpStream, host: &str) -> Result<Option<String>> {
    if mode == Mode::LinesLegacy {
        let answer = ask(mode, socket, &format!("{INITIALIZE}\n"), "200")?;
        accepted(&answer)?;
        let mut socket = socket;
        socket.write_all(format!("{INITIALIZED}\n").as_bytes())?;
        return Ok(None);
    }
    let answer = ask(mode, socket, &post(host, "", INITIALIZE), "200")?;
    accepted(&answer)?;
    let session = field(&answer, "mcp-session-id").map(str::to_owned);
    let session = session.ok_or_else(|| Error::other("initialize gave no Mcp-Session-Id"))?;
    ask(
        mode,
        socket,
        &post(host, &session_fields(&session), INITIALIZED),
        "202",
    )?;
    Ok(Some(session))
}

fn accepted(answer: &[u8]) -> Result<()> {
    if memchr::memmem::find(answer, b"\"protocolVersion\":\"2025-11-25\"").is_some() {
        return Ok(());
    }
    Err(wrong("initialize", answer))
}

/// Sends and waits for the whole answer, head and body.
fn ask(mode: Mode, mut socket: &TcpStream, text: &str, status: &str) -> Result<Vec<u8>> {
    socket.write_all(text.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match next_answer(mode, &answer, status) {
            Next::Answer { .. } => return Ok(answer),
            Next::Wrong => return Err(wrong(text, &answer)),
            Next::Incomplete => {}
        }
        match socket.read(&mut part)? {
            0 => return Err(wrong(text, &answer)),
            count => answer.extend_from_slice(&part[..count]),
        }
    }
}

fn wrong(asked: &str, answer: &[u8]) -> Error {
    let answer = String::from_utf8_lossy(&answer[..answer.len().min(600)]);
    Error::other(format!("{asked:?} was answered with {answer:?}"))
}

/// For each connection a session of another connection that lives on another shard. Where a
/// connection's own `initialize` landed tells its shard; the session's id names its partition.
fn elsewhere(sessions: &[Option<String>], shards: u16) -> Result<Vec<Option<String>>> {
    let shard_of = |session: &Option<String>| {
        let digits = session
            .as_deref()
            .and_then(|text| text.get(..3))
            .unwrap_or_default();
        u16::from_str_radix(digits, 16)
            .map(|partition| partition % shards)
            .map_err(|_| Error::other(format!("{session:?} names no partition")))
    };
    let homes: Vec<u16> = sessions.iter().map(shard_of).collect::<Result<_>>()?;
    let count = sessions.len();
    (0..count)
        .map(|at| {
            // The next one around: so sessions are shared as evenly as chance spread them.
            let other = (at + 1..at + count).map(|next| next % count);
            let other = other.into_iter().find(|&other| homes[other] != homes[at]);
            let other =
                other.ok_or_else(|| Error::other("all connections are of one shard: open more"))?;
            Ok(sessions[other].clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_elsewhere_lives_on_another_shard() {
        let sessions = ["000-a", "002-b", "fff-c"].map(|text| Some(text.to_owned()));
        let used = elsewhere(&sessions, 2).unwrap();
        assert_eq!(
            used.iter().flatten().collect::<Vec<_>>(),
            ["fff-c", "fff-c", "000-a"]
        );
        assert!(
            elsewhere(&sessions[..2], 2).is_err(),
            "both live on shard 0"
        );
        assert!(elsewhere(&[Some("xyz-a".to_owned()), None], 2).is_err());
    }
}
