//! What was published when, so that a listener's changes can be held against it.

use crate::request::TOOLS_TOPIC;

/// Places of counters: one for each topic.
const TOPICS: usize = TOOLS_TOPIC + 1;

/// Lives once per run. Its clock counts publications and receptions.
#[derive(Debug, Default)]
pub(crate) struct Board {
    clock: u64,
    /// When each topic was published last.
    last: [u64; TOPICS],
    /// How often it was published.
    count: [u64; TOPICS],
    /// Events that were dropped, for each shard.
    overflows: Vec<u64>,
}

impl Board {
    pub(crate) fn new(shards: usize) -> Self {
        Self { overflows: vec![0; shards], ..Self::default() }
    }

    /// A change was told to every shard but for those whose lane was full (one bit each).
    pub(crate) fn publish(&mut self, topic: usize, overflowed: u64) {
        self.clock += 1;
        self.last[topic] = self.clock;
        self.count[topic] += 1;
        for (shard, overflows) in self.overflows.iter_mut().enumerate() {
            *overflows += overflowed >> shard & 1;
        }
    }

    /// How often the list of tools changed: the version of the catalog.
    pub(crate) fn tools_version(&self) -> u64 {
        self.count[TOOLS_TOPIC]
    }
}

/// A stream as its client sees it.
#[derive(Debug)]
pub(crate) struct Listening {
    topics: Vec<usize>,
    shard: usize,
    /// Publications when the client connected: none before reaches the stream.
    count_before: [u64; TOPICS],
    overflows_before: Vec<u64>,
    /// Changes come before the client knows that it listens: it need not ask for all of them.
    early: bool,
    /// Clock and publications when the client saw that it listens: all after reach the stream.
    acknowledged: Option<(u64, [u64; TOPICS])>,
    /// When a change of each topic came last.
    got: [u64; TOPICS],
    got_count: [u64; TOPICS],
}

impl Listening {
    /// To be made before the client connects.
    pub(crate) fn new(board: &Board, shard: usize) -> Self {
        Self {
            topics: Vec::new(),
            shard,
            count_before: board.count,
            overflows_before: board.overflows.clone(),
            early: false,
            acknowledged: None,
            got: [0; TOPICS],
            got_count: [0; TOPICS],
        }
    }

    /// The client asks for these.
    pub(crate) fn ask(&mut self, topics: &[usize]) {
        self.topics = topics.to_vec();
    }

    /// The same for a session: on the shard where it lives, and told of some things unasked.
    pub(crate) fn ask_early(&mut self, topics: &[usize], shard: usize) {
        self.ask(topics);
        self.early = true;
        self.shard = shard;
    }

    /// Topics that were asked for.
    pub(crate) fn topics(&self) -> &[usize] {
        &self.topics
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged.is_some()
    }

    pub(crate) fn acknowledge(&mut self, board: &Board) -> Result<(), String> {
        let again = self.acknowledged.replace((board.clock, board.count)).is_some();
        if again { Err("acknowledged twice".into()) } else { Ok(()) }
    }

    /// A change came.
    pub(crate) fn receive(&mut self, topic: usize, board: &mut Board) -> Result<(), String> {
        if self.acknowledged.is_none() && !self.early {
            return Err("a change came before the acknowledgement".into());
        }
        if !self.topics.contains(&topic) {
            return Err(format!("a change of topic {topic}, which was not asked for"));
        }
        board.clock += 1;
        self.got[topic] = board.clock;
        self.got_count[topic] += 1;
        let most = board.count[topic] - self.count_before[topic];
        if self.got_count[topic] > most && !self.overflowed(board) {
            return Err(format!("more changes of topic {topic} than were published"));
        }
        Ok(())
    }

    /// Changes that came.
    pub(crate) fn received(&self) -> u64 {
        self.got_count.iter().sum()
    }

    fn overflowed(&self, board: &Board) -> bool {
        board.overflows[self.shard] > self.overflows_before[self.shard]
    }

    /// All is quiet: whether every change since the acknowledgement came.
    pub(crate) fn check(&self, board: &Board) -> Result<(), String> {
        let Some((since, count_then)) = self.acknowledged else { return Ok(()) };
        for &topic in &self.topics {
            if board.last[topic] > since && self.got[topic] < board.last[topic] {
                return Err(format!("missed the last change of topic {topic}"));
            }
            // Lists coalesce by version; resources only where events were dropped.
            let least = board.count[topic] - count_then[topic];
            let coalesces = topic == TOOLS_TOPIC || self.overflowed(board);
            if !coalesces && self.got_count[topic] < least {
                let got = self.got_count[topic];
                return Err(format!("{got} changes of topic {topic} came, of {least}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_change_is_found() {
        let mut board = Board::new(1);
        let mut listening = Listening::new(&board, 0);
        listening.ask(&[1]);
        assert!(listening.receive(1, &mut board).is_err(), "before the acknowledgement");
        listening.acknowledge(&board).expect("once");
        board.publish(1, 0);
        assert!(listening.check(&board).is_err());
        listening.receive(1, &mut board).expect("asked for");
        listening.check(&board).expect("complete");
        board.publish(1, 0);
        board.publish(1, 0);
        listening.receive(1, &mut board).expect("the last came");
        assert!(listening.check(&board).is_err(), "one of two");
        board.publish(1, 1);
        listening.receive(1, &mut board).expect("the last came");
        listening.check(&board).expect("an overflow coalesces");
    }

    #[test]
    fn a_change_of_nothing_is_found() {
        let mut board = Board::new(1);
        let mut listening = Listening::new(&board, 0);
        listening.ask(&[1]);
        listening.acknowledge(&board).expect("once");
        assert!(listening.acknowledge(&board).is_err(), "twice");
        board.publish(1, 0);
        listening.receive(1, &mut board).expect("asked for");
        assert!(listening.receive(1, &mut board).is_err(), "published once");
        assert!(listening.receive(0, &mut board).is_err(), "not asked for");
    }
}
