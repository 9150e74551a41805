//! What servers say in lines: answers in any order, told apart by their ids.

use ringmesh_proto::heard::Heard;
use ringmesh_proto::lines;

use super::Load;
use super::answers::{judge, shown};
use super::hear::ANSWER_BYTES_MAX;
use super::sample::Fault;
use super::script::Kind;

impl Load {
    pub(super) fn speaks_lines(&self, slot: u32) -> bool {
        matches!(self.kind(slot), Kind::Lines | Kind::LinesSession { .. })
    }

    pub(super) fn feed_lines(&mut self, slot: u32, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(mut inbound) = self.at(slot).inbound.take() {
            let Some(end) = lines::find_end(rest, 0) else {
                inbound.bytes.extend_from_slice(rest);
                if inbound.bytes.len() > ANSWER_BYTES_MAX {
                    self.malformed(slot, &inbound.bytes);
                    return self.buffers.recycle_inbound(Some(inbound));
                }
                self.at(slot).inbound = Some(inbound);
                return;
            };
            inbound.bytes.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.on_line(slot, &inbound.bytes);
            self.buffers.recycle_inbound(Some(inbound));
        }
        while self.hears(slot)
            && let Some(end) = lines::find_end(rest, 0)
        {
            self.on_line(slot, &rest[..end]);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() && self.hears(slot) {
            let mut inbound = self.buffers.inbound();
            inbound.bytes.extend_from_slice(rest);
            self.at(slot).inbound = Some(inbound);
        }
    }

    fn on_line(&mut self, slot: u32, line: &[u8]) {
        let line = lines::trim(line);
        if line.is_empty() {
            return;
        }
        let Ok(heard) = Heard::parse(line) else { return self.malformed(slot, line) };
        if heard.method.is_some() {
            return;
        }
        // An error without an id answers whatever could not be read: what was sent first.
        let nameless = heard.id.is_none_or(|id| id.get() == "null") && heard.error;
        match self.finish_request(slot, |request| nameless || heard.is_for(request.id)) {
            Some(request) => self.conclude(slot, request, judge(&heard, request.id, line)),
            None => self.malformed(slot, line),
        }
    }

    fn malformed(&mut self, slot: u32, line: &[u8]) {
        self.fault_of(slot, Fault::Malformed, || shown(line));
        self.drop_client(slot);
    }
}
