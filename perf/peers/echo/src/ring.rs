//! The loop: counts what arrives, sends the constant, closes what has ended.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::buffers::{Buffers, GROUP};

/// Slots for connections, more than `perf/compare` opens. RLIMIT_NOFILE may be lower; the table is
/// then as small.
const CONNECTIONS_MAX: u32 = 16_384;
const SUBMISSIONS: u32 = 4_096;
const COMPLETIONS: u32 = 16_384;

/// What a completion is of; the slot is in the lower half.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const CLOSE: u64 = 3 << 32;

#[derive(Clone, Copy, Default)]
struct Connection {
    /// Bytes of a request that is not whole yet.
    partial: usize,
    /// Replies to send behind the one in flight.
    waiting: usize,
    sending: bool,
    /// Its receive has ended for good.
    ended: bool,
}

struct Echo<'a> {
    ring: IoUring,
    buffers: Buffers,
    connections: Vec<Connection>,
    request_bytes: usize,
    /// Outlives the loop, which never returns but by an error that ends the process.
    reply: &'a [u8],
    listener: types::Fd,
}

/// Serves until the kernel refuses something.
pub(crate) fn serve(
    listener: &TcpListener,
    request_bytes: usize,
    reply: &[u8],
) -> io::Result<Infallible> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(COMPLETIONS)
        .build(SUBMISSIONS)?;
    let table = register_table(&ring)?;
    let buffers = Buffers::register(&ring)?;
    let listener = types::Fd(listener.as_raw_fd());
    let connections = vec![Connection::default(); table as usize];
    let mut echo = Echo {
        ring,
        buffers,
        connections,
        request_bytes,
        reply,
        listener,
    };
    echo.accept()?;
    let mut completions = Vec::with_capacity(COMPLETIONS as usize);
    loop {
        echo.ring.submit_and_wait(1)?;
        completions.extend(echo.ring.completion());
        for completion in completions.drain(..) {
            echo.on(&completion)?;
        }
        echo.buffers.publish();
    }
}

/// The kernel allows as many slots as the process may have files.
fn register_table(ring: &IoUring) -> io::Result<u32> {
    let mut slots = CONNECTIONS_MAX;
    loop {
        match ring.submitter().register_files_sparse(slots) {
            Ok(()) => return Ok(slots),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) && slots > 64 => slots /= 2,
            Err(error) => return Err(error),
        }
    }
}

impl Echo<'_> {
    fn on(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (data, result) = (completion.user_data(), completion.result());
        let slot = data as u32;
        let more = cqueue::more(completion.flags());
        match data & !u64::from(u32::MAX) {
            ACCEPT => {
                if let Ok(slot) = u32::try_from(result) {
                    self.connections[slot as usize] = Connection::default();
                    self.receive(slot)?;
                }
                if more { Ok(()) } else { self.accept() }
            }
            RECEIVE => {
                if let Some(id) = cqueue::buffer_select(completion.flags()) {
                    self.buffers.give(id);
                }
                self.on_received(slot, result, more)
            }
            SEND => self.on_sent(slot, result),
            _ => Ok(()),
        }
    }

    fn on_received(&mut self, slot: u32, result: i32, more: bool) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        let received = usize::try_from(result).unwrap_or(0);
        connection.partial += received;
        connection.waiting += connection.partial / self.request_bytes;
        connection.partial %= self.request_bytes;
        if !more && (received > 0 || result == -libc::ENOBUFS) {
            self.buffers.publish();
            self.receive(slot)?;
        } else if !more {
            connection.ended = true;
            connection.waiting = 0;
        }
        self.go_on(slot)
    }

    fn on_sent(&mut self, slot: u32, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        connection.sending = false;
        // Short only where the connection is broken, because of MSG_WAITALL; its receive ends too.
        if usize::try_from(result).ok() != Some(self.reply.len()) {
            connection.waiting = 0;
        }
        self.go_on(slot)
    }

    /// Sends what waits, or closes what has ended.
    fn go_on(&mut self, slot: u32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        if connection.sending {
            return Ok(());
        }
        if connection.waiting > 0 {
            connection.waiting -= 1;
            connection.sending = true;
            let length = u32::try_from(self.reply.len()).expect("a small reply");
            let entry = opcode::Send::new(types::Fixed(slot), self.reply.as_ptr(), length);
            let entry = entry.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
            return self.push(&entry.user_data(SEND | u64::from(slot)));
        }
        if connection.ended {
            // The slot is empty from the close on, and is then accepted into again.
            connection.ended = false;
            let entry = opcode::Close::new(types::Fixed(slot)).build();
            return self.push(&entry.user_data(CLOSE | u64::from(slot)));
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(self.listener)
            .allocate_file_index(true)
            .build();
        self.push(&entry.user_data(ACCEPT))
    }

    fn receive(&mut self, slot: u32) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(types::Fixed(slot), GROUP).build();
        self.push(&entry.user_data(RECEIVE | u64::from(slot)))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: an entry names no memory but the reply, which outlives the process' last
            // submission, and the buffers, which are never freed.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }
}
