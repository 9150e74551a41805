//! A role in memory, against a real shard or against a server that a test scripts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crossbeam::channel::{Receiver, bounded};
use ringmesh_runtime::call::{Answer, Call, Ending, StateKey};
use ringmesh_runtime::catalog::{
    Catalog, Handler, Job, Offer, Pool, Published, Resource, Tool, Versions,
};
use ringmesh_runtime::limits::{Allowed, Limits, REFUSAL_SLOTS};
use ringmesh_runtime::load::sample::{Fault, Sample, Times, WorkloadSample};
use ringmesh_runtime::load::script::{
    Arrivals, CallSpec, Endpoint, Kind, Phase, PhaseKind, Script, Seat, Target, Workload,
};
use ringmesh_runtime::load::{Leave, Load, LoadConfig, sockets};
use ringmesh_runtime::mailbox::{Bell, Capacities, mailbox};
use ringmesh_runtime::message::{Address, Event};
use ringmesh_runtime::probe::{Transport, Vital};
use ringmesh_runtime::{Next, Shard, ShardConfig, ShardId};
use serde_json::{Value, json};

use crate::net::{CLIENT, End, Net, SERVER, TESTED};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;
/// The clock's origin is not the script's.
const START_NS: u64 = 77 * S + 7;
/// Most steps of a run: one that hangs fails.
const STEPS_MAX: u64 = 3_000_000;

pub(crate) fn workload(kind: Kind) -> Workload {
    Workload {
        name: "all".into(),
        kind,
        call: CallSpec { tool: "add".into(), arguments: "{\"a\":2,\"b\":3}".into() },
        depth: 1,
        closed: false,
        rate_share: 1.0,
        reads: true,
    }
}

pub(crate) fn phase(duration_ns: u64, connections: (u32, u32), rate_per_s: f64) -> Phase {
    Phase {
        name: "phase".into(),
        kind: PhaseKind::Hold,
        start_ns: 0,
        duration_ns,
        connections_from: connections.0,
        connections_to: connections.1,
        steps: 0,
        rate_per_s,
        arrivals: Arrivals::Constant,
        churn_per_s: 0.0,
        reconnect: 0,
        trigger: None,
    }
}

/// All seats of all workloads in turn, phases one after the other.
pub(crate) fn script(workloads: Vec<Workload>, seats: u32, phases: Vec<Phase>) -> Script {
    let target = Target {
        name: "one".into(),
        remote: Endpoint::Ip { to: "127.0.0.1:80".parse().unwrap(), sources: None },
        host: "127.0.0.1".into(),
        path: "/mcp".into(),
    };
    let mut start_ns = 0;
    let count = u32::try_from(workloads.len()).unwrap();
    Script {
        targets: vec![target],
        workloads,
        seats: (0..seats)
            .map(|n| Seat { workload: u8::try_from(n % count).unwrap(), target: 0, source: n })
            .collect(),
        phases: phases
            .into_iter()
            .map(|mut phase| {
                phase.start_ns = start_ns;
                start_ns += phase.duration_ns;
                phase
            })
            .collect(),
        first_call: false,
        connecting_max: 4,
        timeout_ns: 2 * S,
        linger_ns: S,
        backlog_max: 10,
        pacing_ns: 0,
    }
}

struct Bells;

impl Bell for Bells {
    fn ring(&self) {}
}

/// Nothing offered here leaves the shard.
struct Nobody;

impl Pool for Nobody {
    fn submit(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }
}

pub(crate) fn uri(index: u64) -> String {
    format!("test://counters/{index}")
}

fn say(answer: &mut Answer, text: &str) {
    let content = format!("\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]");
    answer.begin(Ending::Complete).extend_from_slice(content.as_bytes());
}

fn catalog(address: &Arc<OnceLock<Address>>) -> Catalog {
    let address = Arc::clone(address);
    let count = move |call: &Call<'_>, answer: &mut Answer| {
        let arguments: Value = serde_json::from_str(call.arguments()).unwrap();
        let uri = uri(arguments["index"].as_u64().unwrap());
        address.get().unwrap().send_event(Event::ResourceUpdated(uri.into()));
        say(answer, "counted");
    };
    let tool = |name: &str, handler: Handler| {
        let definition = json!({"name": name, "inputSchema": {"type": "object"}});
        Arc::new(Tool::new(&definition, handler).unwrap())
    };
    // Without one the server honours no subscription.
    let definition = json!({"name": "counter", "uri": uri(0)});
    let read = Handler::Inline(Arc::new(|_, answer| say(answer, "0")));
    let counter = Resource::new(&definition, read).unwrap();
    let offer = Offer {
        server_info: r#"{"name":"test","version":"1"}"#.into(),
        instructions: None,
        tools: vec![
            tool("add", Handler::Inline(Arc::new(|_, answer| say(answer, "5")))),
            tool("count", Handler::Inline(Arc::new(count))),
        ],
        resources: vec![Arc::new(counter)],
        templates: Vec::new(),
        prompts: Vec::new(),
        page_entries_max: 10,
        list_ttl_ms: 0,
        read_ttl_ms: 0,
    };
    Catalog::new(offer, Versions::default()).unwrap()
}

/// What a scripted server does with a request.
pub(crate) enum Does {
    Nothing,
    Says(Vec<u8>),
    /// And ends the connection.
    Ends(Vec<u8>),
    Resets,
}

type Author = Box<dyn FnMut(usize, &str) -> Does>;

pub(crate) enum Server {
    Shard(Box<Shard>, End),
    /// Requests of HTTP that were not whole yet, by link.
    Script(Author, Vec<Vec<u8>>),
}

/// One or more roles and a server.
pub(crate) struct World {
    pub(crate) net: Rc<RefCell<Net>>,
    roles: Vec<(Load, End, Next)>,
    pub(crate) server: Server,
    pub(crate) leave: Arc<Leave>,
    samples: Receiver<Box<Sample>>,
    pub(crate) told: Vec<Sample>,
    server_next: Next,
    /// How long roles were to wait, each time.
    pub(crate) waits_ns: Vec<u64>,
    /// How long a step takes in which something happened.
    pub(crate) step_ns: u64,
}

impl World {
    pub(crate) fn new(
        script: Script,
        shards: u16,
        server: impl FnOnce(&Rc<RefCell<Net>>) -> Server,
    ) -> Self {
        let net = Rc::new(RefCell::new(Net::default()));
        net.borrow_mut().now_ns = START_NS - 5 * MS;
        let now = ringmesh_runtime::io::Time { mono_ns: START_NS - 5 * MS, unix_ms: 0 };
        let (script, leave) = (Arc::new(script), Arc::new(Leave::default()));
        let (sender, samples) = bounded(8);
        let role = |shard| {
            let config = LoadConfig {
                shard,
                shards,
                script: Arc::clone(&script),
                start_ns: START_NS,
                samples: sender.clone(),
                leave: Arc::clone(&leave),
                seed: 7 + u64::from(shard),
            };
            let end = End::new(&net, CLIENT, sockets(&script, shard, shards));
            (Load::new(config, now), end, Next::Again)
        };
        let roles = (0..shards).map(role).collect();
        let server = server(&net);
        let (told, server_next, waits_ns) = (Vec::new(), Next::Again, Vec::new());
        Self { net, roles, server, leave, samples, told, server_next, waits_ns, step_ns: 1_000 }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.net.borrow().now_ns.saturating_sub(START_NS)
    }

    /// Runs until a time of the script, or to the end. True at the end.
    pub(crate) fn run_until(&mut self, at_ns: u64) -> bool {
        for _ in 0..STEPS_MAX {
            if self.now_ns() >= at_ns {
                return false;
            }
            let mut idle = true;
            for at in 0..self.roles.len() {
                idle &= self.tick_role(at);
            }
            idle &= self.tick_server();
            while let Ok(sample) = self.samples.try_recv() {
                self.told.push(*sample);
            }
            if self.roles.iter().all(|(_, _, next)| *next == Next::Done) {
                self.roles.iter().for_each(|(_, end, _)| end.assert_quiet());
                return true;
            }
            self.pass(idle, START_NS.saturating_add(at_ns));
        }
        let nexts: Vec<Next> = self.roles.iter().map(|(_, _, next)| *next).collect();
        panic!(
            "the run hangs at {} ns: {nexts:?} {:?}",
            self.net.borrow().now_ns,
            self.server_next
        );
    }

    pub(crate) fn run(&mut self) -> Total {
        assert!(self.run_until(u64::MAX / 2));
        Total::of(&self.told)
    }

    /// Whether nothing happened.
    fn tick_role(&mut self, at: usize) -> bool {
        let (load, end, next) = &mut self.roles[at];
        if *next == Next::Done {
            return true;
        }
        end.progress();
        let due = match *next {
            Next::Wait { until_ns } => until_ns.is_some_and(|at| at <= self.net.borrow().now_ns),
            _ => true,
        };
        if end.ready.is_empty() && !due {
            return true;
        }
        let mut completions = std::mem::take(&mut end.ready);
        TESTED.set(true);
        *next = load.tick(end, &mut completions);
        TESTED.set(false);
        if let Next::Wait { until_ns: Some(until_ns) } = *next {
            self.waits_ns.push(until_ns.saturating_sub(self.net.borrow().now_ns));
        }
        false
    }

    fn tick_server(&mut self) -> bool {
        match &mut self.server {
            Server::Shard(shard, end) => {
                end.progress();
                let mut completions = std::mem::take(&mut end.ready);
                let idle = completions.is_empty() && self.server_next != Next::Again;
                self.server_next = shard.tick(end, &mut completions);
                idle
            }
            Server::Script(author, held) => answer_all(&self.net, author, held),
        }
    }

    /// Time goes on: a little where somebody was busy, else to when somebody is.
    fn pass(&mut self, idle: bool, until_ns: u64) {
        let mut net = self.net.borrow_mut();
        let mut to_ns = net.now_ns + if idle { 10 * S } else { self.step_ns };
        let nexts = self.roles.iter().map(|(_, _, next)| next).chain([&self.server_next]);
        for next in nexts {
            if let Next::Wait { until_ns: Some(at_ns) } = next {
                to_ns = to_ns.min((*at_ns).max(net.now_ns + 1_000));
            }
        }
        net.now_ns = to_ns.min(until_ns);
    }

    pub(crate) fn receiving(&self) -> usize {
        self.roles.iter().map(|(_, end, _)| end.receiving()).sum()
    }

    /// How often a text is in what clients sent.
    pub(crate) fn sent(&self, text: &str) -> usize {
        let net = self.net.borrow();
        net.links.iter().map(|link| count(&link.log, text)).sum()
    }
}

pub(crate) fn count(bytes: &[u8], text: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(text).count()
}

/// Answers each whole request. Whether there was none.
fn answer_all(net: &Rc<RefCell<Net>>, author: &mut Author, held: &mut Vec<Vec<u8>>) -> bool {
    let mut net = net.borrow_mut();
    net.backlog.clear();
    let mut idle = true;
    held.resize_with(net.links.len(), Vec::new);
    for (at, link) in net.links.iter_mut().enumerate() {
        let bytes = &mut held[at];
        bytes.extend(link.bytes[SERVER].drain(..));
        while let Some(len) = request_len(bytes) {
            let request: Vec<u8> = bytes.drain(..len).collect();
            idle = false;
            match author(at, std::str::from_utf8(&request).unwrap()) {
                Does::Nothing => {}
                Does::Says(answer) => link.bytes[CLIENT].extend(answer),
                Does::Ends(answer) => {
                    link.bytes[CLIENT].extend(answer);
                    link.fin[SERVER] = true;
                }
                Does::Resets => link.reset = true,
            }
        }
    }
    idle
}

fn request_len(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"{") {
        return bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
    }
    let text = std::str::from_utf8(bytes).unwrap();
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].split("Content-Length: ").nth(1);
    let length: usize =
        length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}

/// A server of ringmesh; `lines` speaks lines.
pub(crate) fn shard(lines: bool) -> impl FnOnce(&Rc<RefCell<Net>>) -> Server {
    move |net| {
        let limits = Limits::default();
        let own = Arc::new(OnceLock::new());
        let capacities = Capacities { requests: 8, replies: 64, notes: 8, events: 256, relays: 8 };
        let (address, inbox) = mailbox(capacities, Arc::new(Bells));
        assert!(own.set(address.clone()).is_ok());
        let config = ShardConfig {
            id: ShardId(0),
            limits: limits.clone(),
            allowed: Arc::new(Allowed::default()),
            listeners: vec![Transport::Http, Transport::Tcp],
            path: "/mcp".into(),
            catalog: Arc::new(Published::new(catalog(&own))),
            inbox,
            addresses: vec![address].into(),
            pool: Arc::new(Nobody),
            state_key: Arc::new(StateKey::from_secret(b"test")),
            vital: Arc::new(Vital::default()),
            seed: 7,
            session_seed: [7; 32],
        };
        let mut end = End::new(net, SERVER, limits.connections_max + REFUSAL_SLOTS);
        end.listener = u16::from(lines);
        let now = ringmesh_runtime::io::Io::time(&mut end);
        let mut shard = Shard::new(config, now);
        shard.start(&mut end);
        Server::Shard(Box::new(shard), end)
    }
}

/// A server that answers as `author` says: it is given the number of the connection and a request.
pub(crate) fn scripted(
    author: impl FnMut(usize, &str) -> Does + 'static,
) -> impl FnOnce(&Rc<RefCell<Net>>) -> Server {
    move |_| Server::Script(Box::new(author), Vec::new())
}

/// The id of a request.
pub(crate) fn id_of(request: &str) -> &str {
    request.rsplit("\"id\":").next().unwrap().trim().trim_end_matches('}')
}

pub(crate) fn result(request: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"content\":[]}}}}", id_of(request))
}

pub(crate) fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The beginning of a chunked answer: the last chunk is not there.
pub(crate) fn chunked(kind: &str, chunks: &[&str]) -> String {
    let mut text =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in chunks {
        text.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    text
}

/// All samples together.
pub(crate) struct Total {
    pub(crate) workloads: Vec<WorkloadSample>,
    pub(crate) late: Times,
    pub(crate) examples: Vec<(Fault, String)>,
}

impl Total {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let first = samples.first().expect("at least one sample");
        let mut total = Self {
            workloads: first.workloads.iter().map(|_| WorkloadSample::new()).collect(),
            late: ringmesh_runtime::load::sample::times(),
            examples: Vec::new(),
        };
        for sample in samples {
            total.late.add(&sample.late).unwrap();
            total.examples.extend(sample.examples.iter().cloned());
            for (sum, part) in total.workloads.iter_mut().zip(&sample.workloads) {
                for (sum, part) in [
                    (&mut sum.opened, part.opened),
                    (&mut sum.failed, part.failed),
                    (&mut sum.lost, part.lost),
                    (&mut sum.closed, part.closed),
                    (&mut sum.due, part.due),
                    (&mut sum.sent, part.sent),
                    (&mut sum.answered, part.answered),
                    (&mut sum.abandoned, part.abandoned),
                    (&mut sum.received_bytes, part.received_bytes),
                    (&mut sum.sent_bytes, part.sent_bytes),
                    (&mut sum.updates, part.updates),
                    (&mut sum.comments, part.comments),
                ] {
                    *sum += part;
                }
                for (sum, part) in sum.faults.iter_mut().zip(&part.faults) {
                    *sum += part;
                }
                sum.latency.add(&part.latency).unwrap();
                sum.service.add(&part.service).unwrap();
                sum.opening_time.add(&part.opening_time).unwrap();
                sum.first_call.add(&part.first_call).unwrap();
                sum.delivery.add(&part.delivery).unwrap();
            }
        }
        total
    }

    /// Faults of each kind that occurred.
    pub(crate) fn faults(&self) -> Vec<(Fault, u64)> {
        let count = |fault: &Fault| -> u64 {
            self.workloads.iter().map(|workload| workload.faults[fault.index()]).sum()
        };
        let faults = Fault::ALL.iter().map(|fault| (*fault, count(fault)));
        faults.filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.faults(), [], "{:?}", self.examples);
    }
}
