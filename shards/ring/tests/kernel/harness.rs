//! A ring with a listener, and a patient look for the completion that a test awaits.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use ringmesh_ring::{Listener, Ring, RingConfig, bind};
use ringmesh_runtime::io::{
    Buffer, Completion, ConnId, ConnectError, Dial, Io, IoError, ListenerId, Peer, Remote, SendBuf,
};
use ringmesh_runtime::limits::ACCEPTS_ARMED;

const PATIENCE: Duration = Duration::from_secs(30);
/// The address of a Unix socket.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

pub(crate) struct Harness {
    pub(crate) ring: Ring,
    pub(crate) address: SocketAddr,
    seen: VecDeque<Completion>,
    generation: u32,
}

impl Harness {
    pub(crate) fn new(config: &RingConfig) -> Self {
        Self::on("127.0.0.1:0", config)
    }

    pub(crate) fn on(address: &str, config: &RingConfig) -> Self {
        let address = address.parse().expect("an address");
        Self::of(bind(address, 1, 4096).expect("a free port").remove(0), config)
    }

    pub(crate) fn of(listener: Listener, config: &RingConfig) -> Self {
        let mut ring = Ring::new(config).expect("tests need io_uring");
        let address = listener.address().unwrap_or(NOWHERE);
        assert_eq!(ring.listen(listener), ListenerId(0));
        for ticket in 0..ACCEPTS_ARMED {
            ring.submit_accept(ListenerId(0), ticket);
        }
        Self { ring, address, seen: VecDeque::new(), generation: 0 }
    }

    /// A ring that makes connections and has no listener.
    pub(crate) fn dialing(config: &RingConfig) -> Self {
        let ring = Ring::new(config).expect("tests need io_uring");
        Self { ring, address: NOWHERE, seen: VecDeque::new(), generation: 0 }
    }

    /// Connects in a slot, and awaits what becomes of it.
    pub(crate) fn dial(&mut self, slot: u32, remote: Remote) -> Result<ConnId, ConnectError> {
        let conn = self.submit_dial(slot, remote);
        self.connected(conn).map(|()| conn)
    }

    pub(crate) fn submit_dial(&mut self, slot: u32, remote: Remote) -> ConnId {
        self.generation += 1;
        let conn = ConnId { slot, generation: self.generation };
        self.ring.submit_connect(conn, remote);
        conn
    }

    pub(crate) fn connected(&mut self, of: ConnId) -> Result<(), ConnectError> {
        let is = |c: &Completion| matches!(c, Completion::Connected { conn, .. } if *conn == of);
        let Completion::Connected { result, .. } = self.find("connect", is) else { unreachable!() };
        result
    }

    /// A client, and its connection as the ring knows it.
    pub(crate) fn connect(&mut self) -> (TcpStream, ConnId) {
        let client = self.client();
        let (conn, peer) = self.accepted().expect("a free slot");
        assert_eq!(peer, client.local_addr().expect("connected"));
        (client, conn)
    }

    pub(crate) fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("the listener");
        client.set_read_timeout(Some(PATIENCE)).expect("an option");
        client.set_nodelay(true).expect("an option");
        client
    }

    /// The next accept's result; its ticket is armed again.
    pub(crate) fn accepted(&mut self) -> Result<(ConnId, SocketAddr), IoError> {
        let (conn, peer) = self.accepted_any()?;
        let Peer::Ip(peer) = peer else { panic!("a peer has an address") };
        Ok((conn, peer))
    }

    /// The same of any peer.
    pub(crate) fn accepted_any(&mut self) -> Result<(ConnId, Peer), IoError> {
        let accepted = self.find("accept", |c| matches!(c, Completion::Accepted { .. }));
        let Completion::Accepted { listener, ticket, result } = accepted else { unreachable!() };
        self.ring.submit_accept(listener, ticket);
        let (slot, peer) = result?;
        self.generation += 1;
        Ok((ConnId { slot, generation: self.generation }, peer))
    }

    /// The next step of a connection's receive: result, and whether it stays armed.
    pub(crate) fn received(&mut self, of: ConnId) -> (Result<Option<Buffer>, IoError>, bool) {
        let is = |c: &Completion| matches!(c, Completion::Received { conn, .. } if *conn == of);
        let Completion::Received { result, more, .. } = self.find("receive", is) else {
            unreachable!()
        };
        (result, more)
    }

    /// Exactly `len` bytes of an armed receive, however they are split.
    pub(crate) fn received_bytes(&mut self, of: ConnId, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let (result, more) = self.received(of);
            assert!(more, "{result:?} after {} of {len} bytes", bytes.len());
            let buffer = result.expect("bytes").expect("no end of stream");
            bytes.extend_from_slice(self.ring.bytes(&buffer));
            self.ring.recycle(buffer);
        }
        assert_eq!(bytes.len(), len);
        bytes
    }

    pub(crate) fn sent(&mut self, of: ConnId) -> (SendBuf, Result<usize, IoError>) {
        let is = |c: &Completion| matches!(c, Completion::Sent { conn, .. } if *conn == of);
        let Completion::Sent { buf, result, .. } = self.find("send", is) else { unreachable!() };
        (buf, result)
    }

    pub(crate) fn close(&mut self, of: ConnId) {
        self.ring.submit_close(of);
        self.find("close", |c| matches!(c, Completion::Closed { conn } if *conn == of));
    }

    /// The first completion that is the one looked for; others are kept.
    pub(crate) fn find(
        &mut self,
        what: &str,
        mut is: impl FnMut(&Completion) -> bool,
    ) -> Completion {
        let start = Instant::now();
        loop {
            if let Some(place) = self.seen.iter().position(&mut is) {
                return self.seen.remove(place).expect("a place in the queue");
            }
            assert!(start.elapsed() < PATIENCE, "no {what} among {:?}", self.seen);
            self.turn();
        }
    }

    /// Whether such a completion is there, after everything that is complete was reaped.
    pub(crate) fn has(&mut self, is: impl FnMut(&Completion) -> bool) -> bool {
        std::thread::sleep(Duration::from_millis(50));
        self.turn();
        self.seen.iter().any(is)
    }

    /// Whether such a completion was reaped.
    pub(crate) fn seen(&self, is: impl FnMut(&Completion) -> bool) -> bool {
        self.seen.iter().any(is)
    }

    /// Everything that is complete, without waiting.
    pub(crate) fn turn_once(&mut self) {
        self.ring.poll();
        let mut reaped = Vec::new();
        self.ring.reap(&mut reaped);
        self.seen.extend(reaped);
    }

    pub(crate) fn turn(&mut self) {
        let soon = self.ring.time().mono_ns + 20_000_000;
        self.ring.wait(Some(soon));
        let mut reaped = Vec::new();
        self.ring.reap(&mut reaped);
        self.seen.extend(reaped);
    }
}

pub(crate) fn small() -> RingConfig {
    RingConfig { table: 256, ..RingConfig::default() }
}
