//! Which seats are connected: as many as the script says, some of them anew.

use super::Load;
use super::calls::{NONE, Queue, What};
use super::client::{Client, State, Use};
use super::finish::Course;
use super::sample::{Fault, record_ns};
use super::script::{Endpoint, Kind, Phase, Script};
use crate::io::{ConnId, ConnectError, Dial, Remote};

/// How often seats are closed while their number falls, ns.
const CLOSE_EVERY_NS: u64 = 5_000_000;

/// Seats that come and go while their number stays.
#[derive(Debug)]
pub(super) struct Churn {
    /// Between two, ns; infinite where none does.
    gap_ns: f64,
    /// When the next is due.
    next_ns: f64,
    /// The seat that is next: they take turns, so each was connected for longest.
    cursor: u32,
}

impl Default for Churn {
    fn default() -> Self {
        Self { gap_ns: f64::INFINITY, next_ns: f64::INFINITY, cursor: 0 }
    }
}

/// Places of the direct table that a role takes: slots from 0 on.
pub fn sockets(script: &Script, shard: u16, shards: u16) -> u32 {
    u32::try_from(clients(script, shard, shards).len()).expect("a table is bounded")
}

/// How many of the first `count` seats belong to a role.
pub(super) fn share_of(count: usize, shard: u16, shards: u16) -> u32 {
    let own = (count + usize::from(shards - 1 - shard)) / usize::from(shards);
    u32::try_from(own).expect("seats are counted in 32 bits")
}

/// The slots of a role: seats, GET streams, then what changes resources.
pub(super) fn clients(script: &Script, shard: u16, shards: u16) -> Vec<Client> {
    let own = || script.seats.iter().skip(usize::from(shard)).step_by(usize::from(shards));
    let workload = |index: u8| &script.workloads[usize::from(index)];
    let mut clients: Vec<Client> = Vec::with_capacity(own().count());
    clients.extend(own().map(|seat| Client::new(Use::Seat, seat.workload, seat.target)));
    for (slot, seat) in (0_u32..).zip(own()) {
        if workload(seat.workload).kind.sockets() > 1 {
            let mut events = Client::new(Use::Events, seat.workload, seat.target);
            events.partner = slot;
            clients[slot as usize].partner = u32::try_from(clients.len()).expect("few enough");
            clients.push(events);
        }
    }
    if script.phases.iter().any(|phase| phase.trigger.is_some()) {
        for target in (usize::from(shard)..script.targets.len()).step_by(usize::from(shards)) {
            let listens = |seat: &&super::script::Seat| {
                usize::from(seat.target) == target
                    && matches!(workload(seat.workload).kind, Kind::Listen { .. })
            };
            if let Some(seat) = script.seats.iter().find(listens) {
                clients.push(Client::new(Use::Trigger, seat.workload, seat.target));
            }
        }
    }
    clients
}

/// When a phase wants the `index`-th of all seats, ns since the script's begin.
fn due_ns(phase: &Phase, index: u64) -> u64 {
    let (from, to) = (u64::from(phase.connections_from), u64::from(phase.connections_to));
    if index < from || index >= to {
        return phase.start_ns;
    }
    let before = u128::from(index - from);
    let (all, duration) = (u128::from(to - from), u128::from(phase.duration_ns));
    let into_ns = match u128::from(phase.steps) {
        0 => before * duration / all,
        steps => {
            let step = before * steps / all;
            (step * duration).div_ceil(steps)
        }
    };
    phase.start_ns + u64::try_from(into_ns).expect("within the phase")
}

impl Load {
    fn index_of(&self, slot: u32) -> u64 {
        u64::from(slot) * u64::from(self.config.shards) + u64::from(self.config.shard)
    }

    pub(super) fn phase_end_ns(&self) -> u64 {
        match self.script.phases.get(self.phase) {
            Some(phase) if self.course == Course::Running => phase.start_ns + phase.duration_ns,
            None if self.course == Course::Running => 0,
            _ => u64::MAX,
        }
    }

    /// Begins a phase: its rates, and the seats that connect anew.
    pub(super) fn begin_phase(&mut self, phase: usize) {
        self.phase = phase;
        self.begin_pace();
        let Some(phase) = self.script.phases.get(phase) else { return };
        let (start_ns, reconnect) = (phase.start_ns, phase.reconnect as usize);
        let all = phase.connections_from.max(phase.connections_to).max(1);
        // As many of all that come and go as it has of all that are connected.
        let own = f64::from(self.share(all as usize)) / f64::from(all);
        let rate_per_s = phase.churn_per_s * own;
        self.churn.gap_ns = if rate_per_s > 0.0 { 1e9 / rate_per_s } else { f64::INFINITY };
        let place = (f64::from(self.config.shard) + 0.5) / f64::from(self.config.shards);
        self.churn.next_ns = start_ns as f64 + self.churn.gap_ns * place;
        self.open_makers();
        for slot in 0..self.share(reconnect).min(self.wanted) {
            self.reconnect(slot, start_ns);
        }
    }

    fn share(&self, count: usize) -> u32 {
        share_of(count.min(self.script.seats.len()), self.config.shard, self.config.shards)
    }

    /// When [`Self::follow_script`] is to be called next.
    pub(super) fn script_due_ns(&self) -> u64 {
        if self.course != Course::Running {
            return u64::MAX;
        }
        let Some(phase) = self.script.phases.get(self.phase) else { return 0 };
        let end_ns = phase.start_ns + phase.duration_ns;
        let next_seat = self.index_of(self.wanted);
        let seats_ns = match phase.connections_to.cmp(&phase.connections_from) {
            std::cmp::Ordering::Greater if next_seat < u64::from(phase.connections_to) => {
                due_ns(phase, next_seat)
            }
            std::cmp::Ordering::Less => self.now_ns + CLOSE_EVERY_NS,
            _ => u64::MAX,
        };
        let churn_ns = super::pace::whole(self.churn.next_ns);
        let due_ns = seats_ns.min(churn_ns).min(self.pace_due_ns()).min(self.change_due_ns());
        due_ns.min(end_ns)
    }

    /// Does what the phase says until `until_ns`: connects and closes seats, makes calls. What is
    /// due after its end is the next one's to say, however late it begins.
    pub(super) fn follow_script(&mut self, until_ns: u64) {
        let until_ns = until_ns.min(self.phase_end_ns());
        if self.course != Course::Running || until_ns == 0 {
            return;
        }
        self.follow_seats(until_ns - 1);
        self.follow_churn(until_ns);
        self.keep_pace(until_ns);
        self.follow_changes(until_ns);
    }

    fn follow_seats(&mut self, at_ns: u64) {
        let Some(phase) = self.script.phases.get(self.phase) else { return };
        let at_ns = at_ns.clamp(phase.start_ns, phase.start_ns + phase.duration_ns - 1);
        let wanted = self.share(self.script.connections_at(at_ns) as usize);
        while self.wanted < wanted {
            let slot = self.wanted;
            self.wanted += 1;
            let begun_ns = due_ns(&self.script.phases[self.phase], self.index_of(slot));
            self.open_seat(slot, begun_ns.min(self.now_ns));
        }
        while self.wanted > wanted {
            self.wanted -= 1;
            self.close_seat(self.wanted, false);
        }
    }

    fn follow_churn(&mut self, until_ns: u64) {
        while super::pace::whole(self.churn.next_ns) < until_ns {
            self.churn.next_ns += self.churn.gap_ns;
            if self.wanted == 0 {
                continue;
            }
            self.churn.cursor %= self.wanted;
            let slot = self.churn.cursor;
            self.churn.cursor += 1;
            self.close_seat(slot, true);
        }
    }

    fn open_seat(&mut self, slot: u32, begun_ns: u64) {
        let client = self.at(slot);
        match client.state {
            State::Closed => self.enqueue(slot, begun_ns),
            State::Waiting | State::Connecting | State::Opening => {}
            State::Ready => client.flags.leaving &= client.flags.again,
            State::Deleting | State::Aborting => client.flags.again = true,
        }
    }

    /// Closes a seat as a client would that is done, once its calls are answered.
    fn close_seat(&mut self, slot: u32, again: bool) {
        let now_ns = self.now_ns;
        let client = self.at(slot);
        client.flags.again = again;
        client.flags.dated = false;
        match client.state {
            State::Closed if again => self.enqueue(slot, now_ns),
            State::Closed | State::Deleting | State::Aborting => {}
            State::Waiting if again => {}
            State::Waiting => self.forget_waiting(slot),
            State::Connecting | State::Opening => {
                let workload = client.workload;
                self.tally.workload(workload).closed += 1;
                self.abort_seat(slot);
            }
            State::Ready => {
                client.flags.leaving = true;
                self.leave_if_idle(slot);
            }
        }
    }

    pub(super) fn forget_waiting(&mut self, slot: u32) {
        let client = self.at(slot);
        client.state = State::Closed;
        let (workload, used) = (client.workload, client.used);
        if used == Use::Seat {
            self.tally.opens_no_more(workload);
        }
    }

    /// Cuts a seat's connections and connects it anew.
    fn reconnect(&mut self, slot: u32, begun_ns: u64) {
        let client = self.at(slot);
        match client.state {
            State::Closed => return self.enqueue(slot, begun_ns),
            State::Waiting => return,
            State::Connecting | State::Opening | State::Ready => {
                let workload = client.workload;
                self.tally.workload(workload).closed += 1;
                self.abort_seat(slot);
            }
            State::Deleting | State::Aborting => {}
        }
        let client = self.at(slot);
        client.begun_ns = begun_ns;
        client.flags.dated = true;
        client.flags.again = true;
    }

    /// A client that leaves does so when nothing is in flight.
    pub(super) fn leave_if_idle(&mut self, slot: u32) {
        let client = self.at(slot);
        if client.flags.leaving && client.in_flight == 0 && client.state == State::Ready {
            self.retire(slot);
        }
    }

    /// Ends a client that is ready, and its session before.
    pub(super) fn retire(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        let (workload, target, session) = (client.workload, client.target, client.session);
        self.tally.workload(workload).closed += 1;
        let http = matches!(self.kind(slot), Kind::HttpSession { .. });
        if session == NONE || !http {
            return self.abort_seat(slot);
        }
        self.tally.is_ready_no_more(workload, target);
        self.at(slot).state = State::Deleting;
        self.ending += 1;
        let partner = self.at(slot).partner;
        if partner != NONE {
            self.abort(partner);
        }
        self.ask(slot, What::Delete, self.now_ns);
    }

    fn enqueue(&mut self, slot: u32, begun_ns: u64) {
        let client = self.at(slot);
        client.state = State::Waiting;
        client.begun_ns = begun_ns;
        let (workload, used) = (client.workload, client.used);
        if used == Use::Seat {
            self.tally.opens(workload);
        }
        if used == Use::Events {
            // Its client is half open: it goes before those that have not begun.
            self.waiting.push_front(slot);
        } else {
            self.waiting.push_back(slot);
        }
    }

    /// Has a connection made that no script counts: a GET stream, or what changes resources.
    pub(super) fn enqueue_more(&mut self, slot: u32) {
        match self.at(slot).state {
            State::Closed => self.enqueue(slot, self.now_ns),
            State::Aborting => self.at(slot).flags.again = true,
            _ => {}
        }
    }

    /// Submits connects, as many as may be in flight.
    pub(super) fn connect_waiting<I: Dial>(&mut self, io: &mut I) {
        if self.course.is_closing() {
            return;
        }
        while self.connecting < self.script.connecting_max {
            let Some(slot) = self.waiting.pop_front() else { return };
            if self.at(slot).state == State::Waiting {
                self.connect(io, slot);
            }
        }
    }

    fn connect<I: Dial>(&mut self, io: &mut I, slot: u32) {
        let remote = self.remote_of(slot);
        let client = &mut self.clients[slot as usize];
        client.connect();
        let id = client.id(slot);
        let queue = Queue { first: &mut client.first, last: &mut client.last };
        self.requests.push(queue, What::Connect, 0, (client.begun_ns, self.now_ns));
        self.connecting += 1;
        self.taken += 1;
        self.arm_timer(slot);
        io.submit_connect(id, remote);
    }

    fn remote_of(&self, slot: u32) -> Remote {
        let client = &self.clients[slot as usize];
        let source = match client.used {
            Use::Seat => self.index_of(slot),
            Use::Events => self.index_of(client.partner),
            Use::Trigger => u64::MAX,
        };
        let seat = usize::try_from(source).ok().and_then(|index| self.script.seats.get(index));
        let source = seat.map_or(0, |seat| seat.source);
        match self.script.targets[usize::from(client.target)].remote {
            Endpoint::Ip { to, sources } => {
                Remote::Ip { from: sources.map(|sources| sources.address(source)), to }
            }
            Endpoint::Adopted(place) => Remote::Adopted(place),
        }
    }

    pub(super) fn on_connected(&mut self, conn: ConnId, result: Result<(), ConnectError>) {
        let Some(client) = self.client(conn) else {
            debug_assert!(false, "a connection was closed while it was made");
            return;
        };
        client.flags.connecting = false;
        let aborting = client.state == State::Aborting;
        self.connecting -= 1;
        self.touch(conn.slot);
        if aborting {
            return;
        }
        if let Err(error) = result {
            let fault = match error {
                ConnectError::Refused => Fault::ConnectRefused,
                ConnectError::TimedOut => Fault::ConnectTimeout,
                ConnectError::NoPort | ConnectError::Exhausted => Fault::ConnectExhausted,
                ConnectError::Unreachable | ConnectError::Other(_) => Fault::ConnectFailed,
            };
            self.fault_of(conn.slot, fault, || error.to_string());
            return self.drop_client(conn.slot);
        }
        self.finish_request(conn.slot, |request| request.what == What::Connect);
        self.on_open(conn.slot);
    }

    /// A connection was made: what comes first on it.
    fn on_open(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let client = self.at(slot);
        client.state = State::Opening;
        match client.used {
            Use::Trigger => {
                client.state = State::Ready;
                return self.send_change(slot);
            }
            Use::Events => return self.ask(slot, What::Events, now_ns),
            Use::Seat => {}
        }
        match self.kind(slot) {
            Kind::Http | Kind::Lines => self.on_ready(slot),
            Kind::HttpSession { .. } | Kind::LinesSession { .. } => {
                self.ask(slot, What::Initialize, now_ns);
            }
            Kind::Listen { .. } => self.ask(slot, What::Listen, now_ns),
        }
    }

    /// A client's session or stream is open.
    pub(super) fn on_ready(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let client = self.at(slot);
        debug_assert_eq!((client.state, client.used), (State::Opening, Use::Seat));
        client.state = State::Ready;
        let (workload, target, begun_ns) = (client.workload, client.target, client.begun_ns);
        self.tally.opens_no_more(workload);
        self.tally.is_ready(workload, target);
        let sample = self.tally.workload(workload);
        sample.opened += 1;
        record_ns(&mut sample.opening_time, now_ns.saturating_sub(begun_ns));
        if matches!(self.kind(slot), Kind::Listen { .. }) {
            return self.on_listening(slot);
        }
        if self.script.first_call && self.course == Course::Running {
            self.tally.workload(workload).due += 1;
            self.call(slot, What::First, now_ns);
        }
        self.offer(slot);
    }

    /// A connection is gone, or has to go, that was to stay: so is its client. Whoever calls this
    /// has counted why.
    pub(super) fn drop_client(&mut self, slot: u32) {
        let client = self.at(slot);
        let seat = match client.used {
            Use::Seat => slot,
            Use::Events => client.partner,
            Use::Trigger => return self.abort(slot),
        };
        let client = self.at(seat);
        let (workload, state) = (client.workload, client.state);
        let sample = self.tally.workload(workload);
        match state {
            State::Connecting | State::Opening => sample.failed += 1,
            State::Ready => sample.lost += 1,
            State::Closed | State::Waiting | State::Deleting | State::Aborting => {}
        }
        self.abort_seat(seat);
    }

    /// Tears down a seat's connections.
    pub(super) fn abort_seat(&mut self, slot: u32) {
        let partner = self.at(slot).partner;
        self.abort(slot);
        if partner != NONE {
            // It may be closing still, to be made anew for the client that is gone now.
            self.at(partner).flags.again = false;
            self.abort(partner);
        }
    }

    /// Tears down a connection; nothing of it is waited for any more.
    pub(super) fn abort(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        let (workload, target, state) = (client.workload, client.target, client.state);
        match state {
            State::Closed | State::Aborting => return,
            State::Waiting => return self.forget_waiting(slot),
            State::Connecting | State::Opening | State::Ready | State::Deleting => {}
        }
        if client.used == Use::Seat {
            match state {
                State::Connecting | State::Opening => self.tally.opens_no_more(workload),
                State::Ready => self.tally.is_ready_no_more(workload, target),
                _ => {}
            }
        }
        self.ending -= u32::from(state == State::Deleting);
        client.state = State::Aborting;
        client.in_flight = 0;
        self.sessions.remove(&mut client.session);
        let inbound = client.inbound.take();
        self.buffers.recycle_inbound(inbound);
        self.buffers.recycle_outbound(std::mem::take(&mut client.outbound));
        if let Some(timer) = client.timer.take() {
            self.wheel.cancel(timer);
        }
        let Client { first, last, .. } = client;
        while let Some(request) = self.requests.pop(Queue { first, last }) {
            if request.what.is_call() {
                self.calling -= 1;
                self.tally.workload(workload).abandoned += 1;
            }
        }
        self.touch(slot);
    }

    pub(super) fn on_closed(&mut self, conn: ConnId) {
        let now_ns = self.now_ns;
        let Some(client) = self.client(conn) else {
            debug_assert!(false, "a slot was closed twice");
            return;
        };
        debug_assert_eq!(client.state, State::Aborting);
        client.state = State::Closed;
        client.flags.closing = false;
        let (again, dated, begun_ns) = (client.flags.again, client.flags.dated, client.begun_ns);
        client.flags.again = false;
        client.flags.dated = false;
        self.taken -= 1;
        if again && !self.course.is_over() {
            self.enqueue(conn.slot, if dated { begun_ns } else { now_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_due_when_the_script_counts_it() {
        for (connections, duration_ns, steps) in
            [((0, 10), 100, 0), ((3, 10), 97, 0), ((0, 7), 100, 3), ((5, 6), 10, 1), ((0, 9), 5, 0)]
        {
            let before = Phase { duration_ns: 1_000, ..Phase::idle(0, (0, connections.0)) };
            let phase = Phase { duration_ns, steps, ..Phase::idle(1_000, connections) };
            let script = Script::of_phases(vec![before, phase.clone()]);
            for index in connections.0..connections.1 {
                let due_ns = due_ns(&phase, index.into());
                assert!(script.connections_at(due_ns) > index, "{connections:?} {index}");
                if due_ns > phase.start_ns {
                    assert!(script.connections_at(due_ns - 1) <= index, "{connections:?} {index}");
                }
            }
        }
    }

    #[test]
    fn seats_are_shared_in_turn() {
        let shares: Vec<u32> = (0..3).map(|shard| share_of(7, shard, 3)).collect();
        assert_eq!(shares, [3, 2, 2]);
        assert_eq!(share_of(0, 1, 2), 0);
    }
}
