//! [`Io`] on a [`Ring`]: each submission as an entry of the queue.

use io_uring::{opcode, squeue, types};
use ringmesh_runtime::io::{
    Buffer, BufferOccupancy, Completion, ConnId, Io, IoError, ListenerId, SendBuf, Shutdown, Time,
};

use crate::receives::Cancel;
use crate::ring::Ring;
use crate::user_data::{Kind, UserData};

/// Bytes that one send hands to the kernel at most; the rest makes it a short send.
const SEND_MAX: usize = 1 << 30;

impl Io for Ring {
    fn time(&mut self) -> Time {
        self.clock.now()
    }

    fn submit_accept(&mut self, listener: ListenerId, ticket: u16) {
        match self.accepts[usize::from(listener.0)].arm(listener, ticket) {
            // SAFETY: the entry names the ticket's memory, which is the ring's own and is freed
            // after the ring's drop awaited every operation.
            Some(entry) => unsafe { self.push(&entry) },
            None => {
                let result = Err(IoError::Cancelled);
                self.stash.push(Completion::Accepted { listener, ticket, result });
            }
        }
    }

    fn close_listeners(&mut self) {
        // Accepts that are only queued name the descriptor by its number: it must be open still
        // when the kernel takes them in.
        for queue in 0..self.accepts.len() {
            if let Some(entry) = self.accepts[queue].cancel_entry() {
                // SAFETY: the entry names no memory.
                unsafe { self.push(&entry) };
            }
        }
        self.flush();
        for queue in &mut self.accepts {
            queue.close();
        }
    }

    fn submit_recv(&mut self, conn: ConnId) {
        self.receives.arm(conn);
        self.push_receive(conn);
    }

    fn cancel_recv(&mut self, conn: ConnId) {
        match self.receives.cancel(conn) {
            Cancel::Nothing => {}
            Cancel::Submit => self.push_cancel(conn),
            Cancel::Report => {
                let result = Err(IoError::Cancelled);
                self.stash.push(Completion::Received { conn, result, more: false });
            }
        }
    }

    fn submit_send(&mut self, conn: ConnId, buf: SendBuf, offset: usize) {
        let place = self.sends.insert(conn, buf);
        let bytes = &self.sends.bytes(place)[offset..];
        let len = u32::try_from(bytes.len().min(SEND_MAX)).expect("at most SEND_MAX");
        let entry = opcode::Send::new(types::Fixed(conn.slot), bytes.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(UserData::of_slot(Kind::Send, place).pack());
        // SAFETY: the bytes are the heap of a `Vec` or static; the table of sends keeps their
        // owner until the completion, or until the ring's drop awaited it.
        unsafe { self.push(&entry) };
    }

    fn submit_shutdown(&mut self, conn: ConnId, how: Shutdown) {
        // Shut while it connects, a socket would look refused (ECONNRESET), after a detour through a
        // thread of the kernel. Its connect is cancelled instead, and nothing is left to shut.
        if self.connects.end(conn) {
            self.push_connect_cancel(conn);
            self.stash.push(Completion::ShutDown { conn });
            return;
        }
        let entry = shutdown_entry(conn, how, Kind::Shutdown);
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) };
    }

    fn submit_close(&mut self, conn: ConnId) {
        if self.late_release {
            // The peer learns of the end now, though the socket is released later. A hard link
            // holds even if the shutdown fails, and must not be cut by the end of a submission.
            self.reserve(2);
            let entry = shutdown_entry(conn, Shutdown::Both, Kind::Ignored);
            // SAFETY: the entry names no memory.
            unsafe { self.push(&entry.flags(squeue::Flags::IO_HARDLINK)) };
            self.receives.note_close();
        }
        let entry = opcode::Close::new(types::Fixed(conn.slot)).build();
        let entry = entry.user_data(UserData::of_conn(Kind::Close, conn).pack());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) };
    }

    fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        self.buffers.bytes(buffer)
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.buffers.recycle(buffer);
    }

    fn buffers(&self) -> BufferOccupancy {
        self.buffers.occupancy()
    }
}

fn shutdown_entry(conn: ConnId, how: Shutdown, kind: Kind) -> squeue::Entry {
    let how = match how {
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    let entry = opcode::Shutdown::new(types::Fixed(conn.slot), how).build();
    entry.user_data(UserData::of_conn(kind, conn).pack())
}
