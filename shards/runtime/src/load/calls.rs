//! Requests in flight: a queue for each connection, all in one table that is reused.

/// No place.
pub(super) const NONE: u32 = u32::MAX;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing yet: the connect itself.
    Connect,
    /// `initialize`.
    Initialize,
    /// `notifications/initialized`.
    Initialized,
    /// The GET stream of a session.
    Events,
    /// `subscriptions/listen`.
    Listen,
    /// A client's first call.
    First,
    /// A call.
    Call,
    /// A change of a resource.
    Trigger,
    /// The end of a session.
    Delete,
}

impl What {
    /// Whether it is one of the calls that a run counts.
    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::First | Self::Call)
    }
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// When it was due, ns since the script's begin.
    pub(super) due_ns: u64,
    /// When it was sent.
    pub(super) sent_ns: u64,
    /// Of the JSON-RPC message.
    pub(super) id: u32,
    /// The next of its connection, or of the free places.
    next: u32,
    pub(super) what: What,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Requests {
    places: Vec<Request>,
    free: u32,
}

/// The ends of a connection's queue.
pub(super) struct Queue<'a> {
    pub(super) first: &'a mut u32,
    pub(super) last: &'a mut u32,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: NONE }
    }

    /// Puts a request at the end of a queue.
    pub(super) fn push(&mut self, queue: Queue<'_>, what: What, id: u32, times: (u64, u64)) {
        let request = Request { due_ns: times.0, sent_ns: times.1, id, next: NONE, what };
        let place = self.free;
        let place = if place == NONE {
            self.places.push(request);
            u32::try_from(self.places.len() - 1).expect("as many as connections take")
        } else {
            self.free = self.places[place as usize].next;
            self.places[place as usize] = request;
            place
        };
        match *queue.last {
            NONE => *queue.first = place,
            last => self.places[last as usize].next = place,
        }
        *queue.last = place;
    }

    /// The request at a place in use, such as a queue's first.
    pub(super) fn at(&self, place: u32) -> Option<&Request> {
        self.places.get(place as usize)
    }

    /// Takes a queue's first.
    pub(super) fn pop(&mut self, queue: Queue<'_>) -> Option<Request> {
        self.take(queue, |_| true)
    }

    /// Takes the first that `fits`.
    pub(super) fn take(
        &mut self,
        queue: Queue<'_>,
        mut fits: impl FnMut(&Request) -> bool,
    ) -> Option<Request> {
        let (mut before, mut place) = (NONE, *queue.first);
        while let Some(&request) = self.places.get(place as usize) {
            if !fits(&request) {
                (before, place) = (place, request.next);
                continue;
            }
            match before {
                NONE => *queue.first = request.next,
                before => self.places[before as usize].next = request.next,
            }
            if *queue.last == place {
                *queue.last = before;
            }
            self.places[place as usize].next = self.free;
            self.free = place;
            return Some(request);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_from_anywhere_and_places_are_reused() {
        let mut requests = Requests::new();
        let (mut first, mut last) = (NONE, NONE);
        for round in 0..3 {
            for id in 0..4 {
                let queue = Queue { first: &mut first, last: &mut last };
                requests.push(queue, What::Call, id, (round, round));
            }
            for wanted in [2, 3, 0] {
                let queue = Queue { first: &mut first, last: &mut last };
                let taken = requests.take(queue, |request| request.id == wanted);
                assert_eq!(taken.map(|request| request.id), Some(wanted));
            }
            assert_eq!(requests.at(first).map(|request| request.id), Some(1));
            let queue = Queue { first: &mut first, last: &mut last };
            assert_eq!(requests.pop(queue).map(|request| request.id), Some(1));
            assert_eq!((first, last), (NONE, NONE));
            let queue = Queue { first: &mut first, last: &mut last };
            assert!(requests.pop(queue).is_none());
        }
        assert_eq!(requests.places.len(), 4);
    }
}
