//! What clients asked and were told, and whether the one goes with the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::reader::{Item, Reader};

/// Whose requests, questions and answers belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A byte stream, by its client.
    Line(usize),
    /// A session over HTTP, by its place in the ledger.
    Session(usize),
}

/// What one response of HTTP may be about.
#[derive(Clone, Default)]
pub(super) struct Exchange {
    pub(super) session: Option<usize>,
    /// Ids of the requests that were posted.
    pub(super) ids: Vec<u64>,
    /// It listens to the session, and may be told what others asked.
    pub(super) listens: bool,
    /// Its answer may stay open for ever.
    pub(super) stays: bool,
    /// It reads on behind an id that was given.
    pub(super) resumes: bool,
    /// The last event that its reader knows.
    pub(super) last: Option<(u32, u32)>,
}

/// A client's end of a connection.
pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) link: usize,
    pub(super) lines: bool,
    /// It sent what is nobody's request: what it is told is held to the form alone.
    pub(super) wild: bool,
    /// It was told that nothing follows.
    pub(super) over: bool,
    pub(super) reader: Reader,
    /// What was asked and is not answered yet, in its order.
    pub(super) exchanges: VecDeque<Exchange>,
}

/// A session that was opened over HTTP.
pub(super) struct Known {
    pub(super) id: String,
    /// Every event that somebody was given, with its data. Some told of an id alone.
    pub(super) events: BTreeMap<(u32, u32), Option<Vec<u8>>>,
}

/// A request; its id may have been used again.
#[derive(Default)]
struct Ask {
    owners: BTreeSet<Owner>,
    asked: u32,
    answered: u32,
    /// It may end without an answer.
    spared: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) sessions: Vec<Known>,
    /// What the server asked, in its order.
    pub(super) questions: Vec<(Owner, u64)>,
    asks: BTreeMap<u64, Ask>,
}

impl Ledger {
    pub(super) fn note(&mut self, id: u64, owner: Option<Owner>) {
        let ask = self.asks.entry(id).or_default();
        ask.owners.extend(owner);
        ask.spared |= ask.asked > 0;
        ask.asked += 1;
    }

    /// From now on a request may end without an answer: it was cancelled, is a batch's, or has
    /// another's id.
    pub(super) fn spare(&mut self, id: u64) {
        self.asks.entry(id).or_default().spared = true;
    }

    /// A client that is still there waits for nothing but what stays open.
    pub(super) fn assert_answered(&self, at: usize, client: &Client) {
        let waits = client.exchanges.front();
        let stays = waits.is_none_or(|exchange| exchange.stays);
        assert!(client.over || stays, "client {at} waits for an answer");
        for (id, ask) in self.asks.iter().filter(|_| client.lines) {
            let own = ask.owners.contains(&Owner::Line(at)) && !ask.spared;
            assert!(!own || ask.answered == ask.asked, "{id} has no answer");
        }
    }

    /// Reads and judges what a client was sent.
    pub(super) fn read(&mut self, at: usize, client: &mut Client) {
        while let Some(item) = client.reader.next() {
            match item {
                Item::Head { status: 100, .. } => {}
                Item::Head { status, session, close } => {
                    let expected = client.exchanges.front();
                    assert!(client.wild || close || expected.is_some(), "{status} unasked");
                    client.over |= close;
                    let resumes = expected.is_some_and(|exchange| exchange.resumes);
                    assert!(client.wild || !resumes || status != 400, "the id was given");
                    if let Some(id) = session {
                        let new = self.sessions.iter().all(|known| known.id != id);
                        assert!(new, "each session has an id of its own");
                        self.sessions.push(Known { id, events: BTreeMap::new() });
                    }
                }
                Item::Event { id, data } => {
                    let wild = client.wild;
                    let mut exchange = client.exchanges.front_mut().filter(|_| !wild);
                    let new = match (&mut exchange, id) {
                        (Some(exchange), Some(id)) => self.number(exchange, id, data.as_deref()),
                        _ => true,
                    };
                    if let Some(data) = data.filter(|_| new) {
                        self.hear(at, false, exchange.as_deref(), &data);
                    }
                }
                Item::Body(body) => {
                    let exchange = client.exchanges.pop_front().filter(|_| !client.wild);
                    if !body.is_empty() {
                        self.hear(at, false, exchange.as_ref(), &body);
                    }
                }
                Item::End => drop(client.exchanges.pop_front()),
                Item::Line(line) => self.hear(at, !client.wild, None, &line),
            }
        }
    }

    /// Checks an event's id. False: its data was told before, and is the same.
    fn number(&mut self, exchange: &mut Exchange, id: (u32, u32), data: Option<&[u8]>) -> bool {
        let session = exchange.session.expect("events with ids are a session's");
        let known = &mut self.sessions[session].events;
        match (exchange.last.replace(id), data) {
            (Some(last), Some(_)) => assert_eq!((last.0, last.1 + 1), id, "no event is missed"),
            (None, Some(_)) => {}
            (last, None) => assert_eq!(last, None, "an id without data is the first"),
        }
        let before = known.entry(id).or_default();
        match (&*before, data) {
            (Some(before), Some(data)) => {
                assert_eq!(before, data, "an id stands for one event");
                false
            }
            (None, Some(data)) => {
                *before = Some(data.to_vec());
                true
            }
            (_, None) => true,
        }
    }

    /// Judges a message. Without an exchange or lines, it is held to the form alone.
    fn hear(&mut self, at: usize, lines: bool, exchange: Option<&Exchange>, message: &[u8]) {
        let read: Value = serde_json::from_slice(message).expect("a message is JSON");
        assert_eq!(read["jsonrpc"], "2.0", "{read}");
        let has = |key: &str| read.get(key).is_some();
        let (asks, ends) = (has("method"), [has("result"), has("error")]);
        assert_eq!(1, [asks, ends[0], ends[1]].iter().filter(|&&is| is).count(), "{read}");
        let owner = match exchange {
            Some(exchange) => exchange.session.map(Owner::Session),
            None => Some(Owner::Line(at)).filter(|_| lines),
        };
        if exchange.is_none() && !lines {
            return;
        }
        let id = read["id"].as_u64();
        match (asks, id, owner) {
            (true, Some(id), Some(owner)) => {
                assert!(!self.questions.contains(&(owner, id)), "a question has its own id");
                self.questions.push((owner, id));
            }
            (true, Some(_), None) => panic!("nobody can answer {read}"),
            (true, None, _) => {
                let Some(token) = read["params"]["progressToken"].as_u64() else { return };
                let ask = self.asked(token, owner, exchange);
                // On streams that are read again, what is older may be read later.
                let late = lines && ask.asked == 1 && ask.answered == 1;
                assert!(!late, "nothing follows the answer: {read}");
            }
            (false, Some(id), _) => {
                let ask = self.asked(id, owner, exchange);
                ask.answered += 1;
                assert!(ask.answered <= ask.asked, "answered more often than asked: {read}");
            }
            (false, None, _) => assert!(has("error"), "{read} answers nothing"),
        }
    }

    /// A request that may be spoken of here.
    fn asked(&mut self, id: u64, owner: Option<Owner>, exchange: Option<&Exchange>) -> &mut Ask {
        let posted = exchange.is_some_and(|exchange| exchange.ids.contains(&id));
        let listens = exchange.is_none_or(|exchange| exchange.listens);
        let ask = self.asks.get_mut(&id).expect("it was asked");
        let own = owner.is_some_and(|owner| ask.owners.contains(&owner));
        assert!(posted || listens && own, "{id} was asked elsewhere");
        ask
    }
}
