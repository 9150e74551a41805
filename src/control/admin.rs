//! The admin listener: accepts, bounds and serves connections.
//!
//! One per process, on the control thread. The listener is a plain one, bound without
//! SO_REUSEPORT, so that a port in use is an error; glommio's own listener always sets it, and
//! leaves out SO_REUSEADDR, so that a restart would wait out TIME_WAIT. Accepting blocks a thread
//! of the executor's pool.

use super::Plane;
use super::routes;
use super::stream::{Ending, Pace, Stream};
use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::{Timer, sleep};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Open connections; one more is closed at once.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head; hyper answers a longer one with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields of a request.
const HEADERS_MAX: usize = 64;
/// How long a refused client may take to read why, since closing at once may destroy the answer.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes that are read from such a client and thrown away.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may take when the process ends.
const DRAIN_MAX: Duration = Duration::from_millis(150);
/// How long connections may take to notice that they are cut.
const CLOSE_MAX: Duration = Duration::from_millis(50);
/// Time between looks whether they are gone.
const DRAIN_STEP: Duration = Duration::from_millis(2);

/// The connections of the admin endpoint, and its counts.
#[derive(Debug, Default)]
pub(super) struct Admin {
    connections: RefCell<BTreeMap<u64, Rc<Pace>>>,
    accepted: Cell<u64>,
    /// Connections closed because of the bound.
    pub(super) refused: Cell<u64>,
    /// Connections closed because of a time-out, idle ones included.
    pub(super) timed_out: Cell<u64>,
    /// Requests answered.
    pub(super) requests: Cell<u64>,
}

impl Admin {
    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Ends every connection, after the answer that is being made if that takes no longer than
    /// `DRAIN_MAX`. The executor would leave the sockets of its tasks open.
    pub(super) async fn drain(&self) {
        for (ending, most) in [(Ending::Soon, DRAIN_MAX), (Ending::Now, CLOSE_MAX)] {
            let until = Instant::now() + most;
            self.connections.borrow().values().for_each(|pace| pace.end(ending));
            while self.open() > 0 && Instant::now() < until {
                sleep(DRAIN_STEP).await;
            }
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Accepts until the listener is shut down.
pub(super) async fn accept(plane: Rc<Plane>, listener: Arc<TcpListener>) {
    loop {
        let waiting = listener.clone();
        match glommio::executor().spawn_blocking(move || waiting.accept()).await {
            _ if plane.is_stopping() => return,
            Ok((stream, _)) => admit(&plane, stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends `accept`, which waits in the kernel.
pub(super) fn shut(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).shutdown(Shutdown::Both) {
        tracing::warn!(%error, "the admin listener cannot be shut down");
    }
}

fn admit(plane: &Rc<Plane>, stream: std::net::TcpStream) {
    let admin = &plane.admin;
    if admin.open() >= CONNECTIONS_MAX {
        count(&admin.refused);
        return;
    }
    count(&admin.accepted);
    let (id, pace) = (admin.accepted.get(), Pace::new());
    admin.connections.borrow_mut().insert(id, pace.clone());
    let stream = TcpStream::from(socket2_glommio::Socket::from(stream));
    let plane = plane.clone();
    glommio::spawn_local(async move {
        serve(&plane, stream, pace).await;
        plane.admin.connections.borrow_mut().remove(&id);
    })
    .detach();
}

/// Serves one connection until it ends or is too slow.
async fn serve(plane: &Rc<Plane>, stream: TcpStream, pace: Rc<Pace>) {
    let service = service_fn(|request| {
        pace.on_request();
        count(&plane.admin.requests);
        let plane = plane.clone();
        async move { Ok::<_, Infallible>(routes::answer(&plane, &request).await) }
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .header_read_timeout(None)
        .serve_connection(Stream::new(stream, pace.clone()), service);

    let mut armed = pace.deadline(&plane.timeouts);
    let mut timer = Timer::new(armed.saturating_duration_since(Instant::now()));
    let ended = poll_fn(|cx| {
        match pace.poll_ending(cx) {
            Ending::Open => {}
            Ending::Soon => Pin::new(&mut connection).graceful_shutdown(),
            Ending::Now => return Poll::Ready(Some(Ok(()))),
        }
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Some(result));
        }
        let deadline = pace.deadline(&plane.timeouts);
        if deadline != armed {
            armed = deadline;
            timer = Timer::new(armed.saturating_duration_since(Instant::now()));
        }
        Pin::new(&mut timer).poll(cx).map(|_| None)
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(_)) => linger(connection.into_parts().io.into_inner()).await,
        None => count(&plane.admin.timed_out),
    }
}

/// Reads what a refused client still sends, so that it is not reset before it has the answer.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown(Shutdown::Write).await.is_err() {
        return;
    }
    let mut timer = Timer::new(LINGER);
    let (mut buffer, mut left) = ([0; 4096], LINGER_BYTES_MAX);
    poll_fn(|cx| {
        while left > 0 {
            match Pin::new(&mut stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Pin::new(&mut timer).poll(cx).map(drop),
            }
        }
        Poll::Ready(())
    })
    .await;
}
