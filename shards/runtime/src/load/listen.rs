//! Streams of changes: what changes resources, and whether listeners hear of every change in turn.
//!
//! Every role knows from the script when each change is due, so a stream's delivery time needs no
//! word between roles. The changes of a target are made by one of them, one after the other.

use std::sync::Arc;

use ringmesh_proto::heard::Heard;

use super::Load;
use super::calls::What;
use super::client::{Client, State, Use};
use super::sample::{Fault, record_ns};
use super::script::{CallSpec, Kind, Script};
use super::wire::{self, Template};

/// What a role may learn later than another that a run ends early, ns.
const SKEW_NS: u64 = 100_000_000;

/// The changes of one phase.
#[derive(Debug)]
struct Part {
    /// Number of its first change.
    first: u32,
    start_ns: u64,
    every_ns: u64,
    count: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Changes {
    parts: Vec<Part>,
    /// By workload: the JSON texts of the URIs that it listens to.
    uris: Vec<Vec<String>>,
    /// Connections that make changes here.
    makers: Vec<Maker>,
    /// Number of the next change that is to be asked for.
    next: u32,
    /// Number of the next change that another role may not have made yet.
    due: u32,
    /// Changes until here were made, or were to be; fewer than all where a run ends early.
    end: u32,
}

#[derive(Debug)]
struct Maker {
    slot: u32,
    target: usize,
    /// Number of the next change to make.
    next: u32,
    /// Calls by the index of a URI; in a phase of another tool they are made anew.
    calls: Vec<Template>,
    tool: String,
}

impl Changes {
    pub(super) fn new(script: &Script, clients: &[Client]) -> Self {
        let (mut parts, mut first) = (Vec::new(), 0);
        for phase in &script.phases {
            let Some(trigger) = &phase.trigger else { continue };
            let every_ns = trigger.every_ns.max(1);
            // The phase's end belongs to the next one.
            let count = u32::try_from((phase.duration_ns - 1) / every_ns).unwrap_or(u32::MAX);
            parts.push(Part { first, start_ns: phase.start_ns, every_ns, count });
            first = u32::saturating_add(first, count);
        }
        let uris = script.workloads.iter().map(|workload| match &workload.kind {
            Kind::Listen { uris } => uris.iter().map(|uri| quoted(uri)).collect(),
            _ => Vec::new(),
        });
        let makers = (0_u32..).zip(clients).filter(|(_, client)| client.used == Use::Trigger);
        let makers = makers.map(|(slot, client)| Maker {
            slot,
            target: usize::from(client.target),
            next: 0,
            calls: Vec::new(),
            tool: String::new(),
        });
        Self { parts, uris: uris.collect(), makers: makers.collect(), next: 0, due: 0, end: first }
    }

    /// When a change is due.
    fn due_ns(&self, number: u32) -> Option<u64> {
        let at = self.parts.partition_point(|part| part.first <= number).checked_sub(1)?;
        // Phases too short for a change share their first number with the next.
        let part = &self.parts[at];
        let into = number - part.first;
        (into < part.count).then(|| part.start_ns + (u64::from(into) + 1) * part.every_ns)
    }

    /// The call that makes the next change of a target.
    pub(super) fn template(&self, target: usize) -> &Template {
        let maker = self.makers.iter().find(|maker| maker.target == target);
        let maker = maker.expect("who changes a target's resources");
        &maker.calls[maker.next as usize % maker.calls.len()]
    }
}

impl Load {
    /// When the next change is due.
    pub(super) fn change_due_ns(&self) -> u64 {
        self.changes.due_ns(self.changes.next).unwrap_or(u64::MAX)
    }

    /// Makes the changes that are due before `until_ns`.
    pub(super) fn follow_changes(&mut self, until_ns: u64) {
        let before = self.changes.next;
        while self.changes.due_ns(self.changes.next).is_some_and(|due_ns| due_ns < until_ns) {
            self.changes.next += 1;
        }
        if self.changes.next > before {
            for at in 0..self.changes.makers.len() {
                self.send_change(self.changes.makers[at].slot);
            }
        }
    }

    /// Connects what makes changes in this phase.
    pub(super) fn open_makers(&mut self) {
        let script = Arc::clone(&self.script);
        let phase = script.phases.get(self.phase);
        let Some(trigger) = phase.and_then(|phase| phase.trigger.as_ref()) else { return };
        for at in 0..self.changes.makers.len() {
            let slot = self.changes.makers[at].slot;
            let client = &self.clients[slot as usize];
            let target = &script.targets[usize::from(client.target)];
            let uris = self.changes.uris[usize::from(client.workload)].len();
            let maker = &mut self.changes.makers[at];
            if maker.tool != trigger.tool {
                let call = |index| {
                    let arguments = format!("{{\"index\":{index}}}");
                    wire::call(target, &CallSpec { tool: trigger.tool.clone(), arguments })
                };
                maker.calls = (0..uris.max(1)).map(call).collect();
                maker.tool.clone_from(&trigger.tool);
            }
            self.enqueue_more(slot);
        }
    }

    /// Makes the next change that is due, if none is in flight.
    pub(super) fn send_change(&mut self, slot: u32) {
        let due = self.changes.next;
        let Some(at) = self.changes.makers.iter().position(|maker| maker.slot == slot) else {
            return;
        };
        let number = self.changes.makers[at].next;
        let client = &self.clients[slot as usize];
        if number >= due || client.in_flight > 0 {
            return;
        }
        if client.state != State::Ready || client.flags.last {
            return self.enqueue_more(slot);
        }
        let due_ns = self.changes.due_ns(number).unwrap_or(self.now_ns);
        self.ask(slot, What::Trigger, due_ns);
        self.changes.makers[at].next += 1;
    }

    /// Whether every change that was due was made, or could not be.
    pub(super) fn changes_are_made(&self) -> bool {
        self.changes.makers.iter().all(|maker| {
            let client = &self.clients[maker.slot as usize];
            client.in_flight == 0 && maker.next >= self.changes.next
                || matches!(client.state, State::Closed | State::Aborting)
        })
    }

    /// No change becomes due any more.
    pub(super) fn end_changes(&mut self) {
        let now_ns = self.now_ns;
        let settled = |number| {
            let due_ns = self.changes.due_ns(number);
            due_ns.is_some_and(|due_ns| due_ns.saturating_add(SKEW_NS) < now_ns)
        };
        // Where the script is over, all of them are.
        let over = self.script.end_ns() <= now_ns;
        let made = (0..self.changes.next).rev().find(|&number| over || settled(number));
        self.changes.end = made.map_or(0, |number| number + 1);
    }

    /// A stream of changes was acknowledged.
    pub(super) fn on_listening(&mut self, slot: u32) {
        let workload = usize::from(self.at(slot).workload);
        let reads = self.script.workloads[workload].reads;
        let punctual = self.changes.due_ns(0).is_none_or(|first_ns| self.now_ns < first_ns);
        let client = self.at(slot);
        client.flags.punctual = punctual;
        client.flags.anchored = punctual;
        client.flags.deaf = !reads;
        client.update = 0;
        self.leave_if_idle(slot);
    }

    /// A notification came on a stream, or beside an answer.
    pub(super) fn on_notification(&mut self, slot: u32, heard: &Heard<'_>) {
        let Client { state, used, .. } = *self.at(slot);
        if used != Use::Seat || !matches!(self.kind(slot), Kind::Listen { .. }) {
            return;
        }
        match state {
            State::Opening
                if heard.is_method("notifications/subscriptions/acknowledged")
                    && self.finish_request(slot, |_| true).is_some() =>
            {
                self.on_ready(slot);
            }
            State::Ready if heard.is_method("notifications/resources/updated") => {
                let uri = heard.params.as_ref().and_then(|params| params.uri);
                self.on_update(slot, uri.map_or("", |uri| uri.get()));
            }
            _ => {}
        }
    }

    fn on_update(&mut self, slot: u32, uri: &str) {
        // Whoever makes the changes may have had its tick before this one.
        while self.changes.due_ns(self.changes.due).is_some_and(|due_ns| due_ns <= self.now_ns) {
            self.changes.due += 1;
        }
        let client = &mut self.clients[slot as usize];
        let workload = client.workload;
        self.tally.workload(workload).updates += 1;
        let uris = &self.changes.uris[usize::from(workload)];
        let count = u32::try_from(uris.len()).expect("at most 16");
        let due = self.changes.due;
        let Some(index) = (0_u32..).zip(uris).find(|(_, known)| *known == uri) else {
            let uri = uri.to_owned();
            return self.fault_of(slot, Fault::Disorder, || format!("an update of {uri}"));
        };
        let index = index.0;
        if !client.flags.anchored && due > 0 {
            // The latest change of this resource that may be meant.
            client.flags.anchored = true;
            let behind = (due - 1 + count - index % count) % count;
            client.update = (due - 1).saturating_sub(behind);
        }
        let next = client.update;
        let ahead = (index + count - next % count) % count;
        // What is nearer behind than ahead was told of before.
        if next + ahead >= due || ahead * 2 > count {
            return self.fault_of(slot, Fault::Disorder, || {
                format!("an update of {uri} when change {next} was the next of {due} made")
            });
        }
        // Those between were left out: at the end as many are missing as were not heard of.
        client.update = next + ahead + 1;
        for missed in next..next + ahead {
            self.fault_of(slot, Fault::Missed, || format!("no update of change {missed}"));
        }
        if let Some(due_ns) = self.changes.due_ns(next + ahead) {
            let took_ns = self.now_ns.saturating_sub(due_ns);
            record_ns(&mut self.tally.workload(workload).delivery, took_ns);
        }
    }

    /// Updates that a stream should have had and had not.
    fn missing(&self, slot: u32) -> u32 {
        let client = &self.clients[slot as usize];
        let counts = client.state == State::Ready
            && client.used == Use::Seat
            && client.flags.punctual
            && !client.flags.deaf
            && matches!(self.kind(slot), Kind::Listen { .. });
        if counts { self.changes.end.saturating_sub(client.update) } else { 0 }
    }

    /// Whether every stream has what it should.
    pub(super) fn all_heard(&self) -> bool {
        (0..self.seats).all(|slot| self.missing(slot) == 0)
    }

    /// Counts what a stream misses at the end.
    pub(super) fn count_missing(&mut self, slot: u32) {
        let update = self.at(slot).update;
        for number in update..update + self.missing(slot) {
            self.fault_of(slot, Fault::Missed, || format!("no update of change {number}"));
        }
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
