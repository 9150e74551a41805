//! A connection of the admin endpoint as hyper wants it, with the clock that bounds it.
//!
//! hyper's own timers must be `Send`, and glommio's are not: so time-outs are kept here, by what
//! passes through the stream.

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;

/// How long a client may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From accept, or from the first byte of a later request, to the end of its head.
    pub(super) head: Duration,
    /// From the end of a head to the last byte of the answer.
    pub(super) answer: Duration,
    /// Between requests. Over a minute, so that a Prometheus that asks every minute keeps its
    /// connection.
    pub(super) idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { head: seconds(5), answer: seconds(10), idle: seconds(75) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Head,
    /// The answer is being made.
    Answer,
    /// Some of the answer is written.
    Written,
}

/// How a connection is to end when the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// Not yet.
    Open,
    /// After the answer that is being made.
    Soon,
    /// At once.
    Now,
}

/// Where a connection is within its requests, and since when.
#[derive(Debug)]
pub(super) struct Pace {
    stage: Cell<(Stage, Instant)>,
    ending: Cell<Ending>,
    waker: RefCell<Option<Waker>>,
}

impl Pace {
    /// A connection that was just accepted: it has a first head to send.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new((Stage::Head, Instant::now())),
            ending: Cell::new(Ending::Open),
            waker: RefCell::new(None),
        })
    }

    /// Tells the task of the connection to end it.
    pub(super) fn end(&self, ending: Ending) {
        self.ending.set(ending);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// How to end; a change wakes the task of `cx`.
    pub(super) fn poll_ending(&self, cx: &Context<'_>) -> Ending {
        self.waker.replace(Some(cx.waker().clone()));
        self.ending.get()
    }

    /// A head is complete.
    pub(super) fn on_request(&self) {
        self.enter(Stage::Answer);
    }

    /// Whether no request is under way.
    fn is_idle(&self) -> bool {
        self.stage.get().0 == Stage::Idle
    }

    /// When patience ends, unless something happens before.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Instant {
        let (stage, since) = self.stage.get();
        since
            + match stage {
                Stage::Idle => timeouts.idle,
                Stage::Head => timeouts.head,
                Stage::Answer | Stage::Written => timeouts.answer,
            }
    }

    fn enter(&self, stage: Stage) {
        self.stage.set((stage, Instant::now()));
    }

    fn on_read(&self) {
        if self.is_idle() {
            self.enter(Stage::Head);
        }
    }

    /// The time for an answer is for all of it, so a write gives no new patience.
    fn on_write(&self) {
        let (stage, since) = self.stage.get();
        if stage == Stage::Answer {
            self.stage.set((Stage::Written, since));
        }
    }

    /// hyper flushes when all of an answer is written, and at times before there is one.
    fn on_flush(&self) {
        if self.stage.get().0 == Stage::Written {
            self.enter(Stage::Idle);
        }
    }
}

/// glommio's stream with hyper's traits.
pub(super) struct Stream {
    tcp: TcpStream,
    pace: Rc<Pace>,
    buffer: Box<[u8; READ_BYTES]>,
}

impl Stream {
    /// Wraps a stream.
    pub(super) fn new(tcp: TcpStream, pace: Rc<Pace>) -> Self {
        Self { tcp, pace, buffer: Box::new([0; READ_BYTES]) }
    }

    /// The bare stream.
    pub(super) fn into_inner(self) -> TcpStream {
        self.tcp
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { tcp, pace, buffer } = self.get_mut();
        let room = cursor.remaining().min(READ_BYTES);
        let count = ready!(Pin::new(tcp).poll_read(cx, &mut buffer[..room]))?;
        if count > 0 {
            pace.on_read();
            cursor.put_slice(&buffer[..count]);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { tcp, pace, .. } = self.get_mut();
        let written = ready!(Pin::new(tcp).poll_write(cx, bytes))?;
        pace.on_write();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, pace, .. } = self.get_mut();
        ready!(Pin::new(tcp).poll_flush(cx))?;
        pace.on_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_close(cx)
    }
}
