//! A server on standard input and output: one shard, one client, nothing that listens.
//!
//! It ends when the client closes its end and everything is answered, or as every server does by a
//! signal: with 0 both times. A standard output that cannot be written, or is not read for the
//! time-out of sends, lost answers: 74 (`EX_IOERR`), as is an input that cannot be read. A client
//! that breaks the protocol so that the shard ends the connection: 76 (`EX_PROTOCOL`).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use ringmesh_runtime::Shard;
use ringmesh_runtime::mailbox::mailbox;
use ringmesh_runtime::message::Address;
use ringmesh_runtime::probe::Transport;

use super::error::StartError;
use super::logs::Logs;
use super::outfit::Outfit;
use super::running::{Grace, drain, stuck};
use super::shards::{ShardNews, capacities};
use super::{News, greeting, pools};
use crate::config::Plan;
use crate::server::Server;
use crate::stdio::{Ended, StdioIo, Streams, drive};

/// What tools and resources are told of the server: nobody gathers more here.
const STATUS: &str = r#"{"phase":"ready"}"#;

pub(super) fn run(
    server: &Server,
    plan: &Plan,
    sender: Sender<News>,
    news: &Receiver<News>,
    logs: &Logs,
) -> Result<(), StartError> {
    let no_streams =
        |error| StartError::unavailable(format!("cannot take standard input and output: {error}"));
    let pools = pools(plan)?;
    let mut io = Streams::take().and_then(StdioIo::new).map_err(no_streams)?;
    let (address, inbox) = mailbox(capacities(plan), io.bell());
    let outfit = Outfit::new(server, plan, &pools, Arc::new([address.clone()]))?;
    let shard = outfit.shard(0, inbox, Arc::default(), vec![Transport::Stdio])?;
    let own = address.clone();
    let serve = move || {
        let mut shard = Shard::new(shard, io.now());
        let ended = drive(&mut shard, &mut io, &own);
        sender.send(News::Shard(ShardNews::Done(0))).unwrap_or_default();
        ended
    };
    let shard = thread::Builder::new().name("shard-0".into()).spawn(serve).map_err(|error| {
        StartError::limit(format!(
            "cannot start the thread shard-0: {error}: raise the limit of processes (ulimit -u)"
        ))
    })?;
    let handle = server.handle();
    handle.attach_status(Arc::new(|| STATUS.to_owned()));
    handle.attach(vec![address.clone()]);
    logs.say(&greeting::stdio_lines(plan));
    let signalled = wait(&address, plan, news)?;
    pools.shutdown(Grace::begin(plan).leftovers);
    match shard.join() {
        Ok(ended) if !signalled => judge(ended),
        // Told to stop, it cuts whom it must. A panic has aborted the process already.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Waits until the shard is done, and tells whether a signal was the cause.
fn wait(address: &Address, plan: &Plan, news: &Receiver<News>) -> Result<bool, StartError> {
    let mut deadline: Option<Instant> = None;
    loop {
        let heard = match deadline {
            Some(at) => news.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match heard {
            Ok(News::Shard(ShardNews::Done(_))) => return Ok(deadline.is_some()),
            Ok(News::Shard(ShardNews::Up(_))) => {}
            Ok(News::Signal(signal)) => {
                tracing::info!(signal, grace_ms = plan.grace_ms, "stopping");
                let grace = Grace::begin(plan);
                drain(std::slice::from_ref(address), grace.shards, grace.deadline);
                deadline = Some(grace.deadline);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(stuck(&[0]));
            }
        }
    }
}

fn judge(ended: Ended) -> Result<(), StartError> {
    match ended {
        Ended::Finished => Ok(()),
        Ended::Input(errno) => Err(StartError::io(format!(
            "standard input cannot be read ({errno}): start the server with a pipe, a file or a \
             terminal there"
        ))),
        Ended::Output(errno) => Err(StartError::io(format!(
            "standard output cannot be written ({errno}), so answers were lost: keep it open and \
             read it until the server ends"
        ))),
        Ended::Unread => Err(StartError::io(
            "standard output was not read in time, so answers were lost: read it, or raise \
             --send-timeout",
        )),
        Ended::Refused => Err(StartError::protocol(
            "standard input was no MCP: write one JSON-RPC object a line, none longer than \
             --body-max",
        )),
    }
}
