//! Holds an answer against its request.

use std::collections::{BTreeMap, BTreeSet};

use ringmesh_proto::jsonrpc::INTERNAL_ERROR;
use ringmesh_proto::mcp::{META_SERVER_INFO, META_SUBSCRIPTION_ID};
use ringmesh_runtime::limits::Limits;
use serde_json::Value;

use crate::errand::Manner;
use crate::fault::{Dice, Fault};
use crate::link::Link;
use crate::node::Node;
use crate::offer::URIS;
use crate::pool::Workers;
use crate::reader::Head;
use crate::request::{Close, Expect, TOOLS_TOPIC};

/// What may excuse an answer.
pub(crate) struct Facts<'a> {
    /// Time without that which the machine slept.
    pub(crate) now_ns: u64,
    /// How much too short a time may seem, after the machine slept.
    pub(crate) slack_ms: u64,
    pub(crate) limits: &'a Limits,
    /// The client's shard was told to stop.
    pub(crate) draining: bool,
    /// No fault happens.
    pub(crate) healed: bool,
    /// The byte budget is so small that it is spent.
    pub(crate) tight_budget: bool,
    /// Arguments of calls that the pool dropped.
    pub(crate) dropped: &'a BTreeSet<String>,
    /// The last progress that calls with these arguments sent before their answer.
    pub(crate) reported: &'a BTreeMap<String, f64>,
}

/// What holds for a whole run.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    pub(crate) tight_budget: bool,
    /// The events of a session are kept for longer than a run takes.
    pub(crate) roomy_logs: bool,
}

impl<'a> Facts<'a> {
    /// As they are for a shard.
    pub(crate) fn of(
        node: &Node,
        now_ns: u64,
        terms: &'a Terms,
        workers: &'a Workers,
        healed: bool,
    ) -> Self {
        Self {
            now_ns: node.clock_ns(now_ns),
            slack_ms: node.slack_ms(),
            limits: &terms.limits,
            draining: node.draining,
            healed,
            tight_budget: terms.tight_budget,
            dropped: &workers.dropped,
            reported: &workers.reported,
        }
    }

    /// How long ago something was, at most.
    pub(crate) fn waited_ms(&self, since_ns: u64) -> u64 {
        // Begun milliseconds count.
        self.now_ns.saturating_sub(since_ns) / 1_000_000 + 1 + self.slack_ms
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) expect: Expect,
    pub(crate) close: Close,
    pub(crate) interim: bool,
    /// Where it begins and ends in what its client writes.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// When its first byte was written.
    pub(crate) begun_ns: u64,
    /// The last progress that came.
    pub(crate) progress: f64,
}

impl Pending {
    /// Of a message whose place on the wire is of no matter yet.
    pub(crate) fn new(id: String, expect: Expect) -> Self {
        let close = Close::Never;
        Self { id, expect, close, interim: false, start: 0, end: 0, begun_ns: 0, progress: 0.0 }
    }

    /// Whether it takes its time, or a place of which there are few.
    pub(crate) fn departs(&self) -> bool {
        matches!(self.expect, Expect::Pooled { .. } | Expect::Listen(_) | Expect::Asked { .. })
    }
}

/// Checks a whole answer: `message` is its JSON, where it has any.
pub(crate) fn answer(
    pending: &Pending,
    head: &Head,
    message: Option<&Value>,
    facts: &Facts<'_>,
) -> Result<(), String> {
    match (head.status, message) {
        (408, Some(_)) => return timed_out(pending, head, facts),
        (503, Some(message)) => return busy(pending, head, message, facts),
        _ => {}
    }
    let must_close = match pending.close {
        Close::Always => Some(true),
        Close::Never => Some(false),
        Close::Perhaps => None,
    };
    if must_close.is_some_and(|must| must != head.close) && !facts.draining {
        return Err(format!("the connection should close: {must_close:?}"));
    }
    let (status, with_id) = match &pending.expect {
        Expect::Error { status, with_id, .. } => (*status, *with_id),
        Expect::Accepted => (202, false),
        _ => (200, true),
    };
    if head.status != status {
        return Err(format!("status {} instead of {status}", head.status));
    }
    let Some(message) = message else {
        let none = matches!(pending.expect, Expect::Accepted);
        return if none { Ok(()) } else { Err("no answer in the body".into()) };
    };
    let id = message["id"].to_string();
    if id != if with_id { pending.id.as_str() } else { "null" } {
        return Err(format!("the answer to {id}"));
    }
    content(pending, message, facts)
}

fn timed_out(pending: &Pending, head: &Head, facts: &Facts<'_>) -> Result<(), String> {
    let least_ms = facts.limits.head_timeout_ms.min(facts.limits.body_timeout_ms);
    let waited_ms = facts.waited_ms(pending.begun_ns);
    if waited_ms < least_ms || !head.close {
        return Err(format!("a time-out after {waited_ms} ms"));
    }
    Ok(())
}

fn busy(pending: &Pending, head: &Head, message: &Value, facts: &Facts<'_>) -> Result<(), String> {
    let departs = matches!(pending.expect, Expect::Pooled { .. } | Expect::Listen(_));
    let id = message["id"].to_string();
    let unread = id == "null" && head.close && facts.tight_budget;
    if !(unread || (departs && id == pending.id)) {
        return Err("refused though nothing is short".into());
    }
    if !head.retry_after {
        return Err("no word when to try again".into());
    }
    Ok(())
}

/// Checks the result or the error that a message brings.
pub(crate) fn content(pending: &Pending, message: &Value, facts: &Facts<'_>) -> Result<(), String> {
    let result = &message["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let is_error = result["isError"] == true;
    let fits = match &pending.expect {
        Expect::Text(expected) => text == expected && !is_error,
        Expect::Steps(expected, steps) => text == expected && pending.progress == f64::from(*steps),
        Expect::Big(key, filling) => {
            let filled = text.strip_prefix(key.as_str());
            filled.is_some_and(|x| x.len() == *filling && x.bytes().all(|byte| byte == b'x'))
        }
        Expect::Pooled { arguments, text: expected, panics } => {
            return pooled(pending, message, (arguments, expected, *panics), facts);
        }
        Expect::Panic => is_error && text.contains("panicked"),
        Expect::Tools => {
            let tools = result["tools"].as_array();
            tools.is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "add"))
        }
        Expect::Discover => result["capabilities"]["tools"].is_object(),
        Expect::Contents(uri) => result["contents"][0]["uri"] == *uri,
        Expect::Listen(_) => {
            let stream = &result["_meta"][META_SUBSCRIPTION_ID];
            facts.draining && result["resultType"] == "complete" && is_id(stream, &pending.id)
        }
        Expect::Error { code, .. } => message["error"]["code"] == *code,
        Expect::Hello(version) => {
            result["protocolVersion"] == *version && result["capabilities"]["tools"].is_object()
        }
        Expect::Empty => result.as_object().is_some_and(serde_json::Map::is_empty),
        Expect::Asked { .. } | Expect::Accepted => false,
    };
    if fits { Ok(()) } else { Err(wrong(message)) }
}

fn pooled(
    pending: &Pending,
    message: &Value,
    (arguments, expected, panics): (&str, &str, bool),
    facts: &Facts<'_>,
) -> Result<(), String> {
    let result = &message["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let error = &message["error"];
    let said = error["message"].as_str().unwrap_or_default();
    let waited_ms = facts.waited_ms(pending.begun_ns);
    let fits = if error["code"] == INTERNAL_ERROR {
        (said.contains("took too long") && waited_ms >= facts.limits.tool_timeout_ms)
            || (said.contains("no answer") && facts.dropped.contains(arguments))
    } else if facts.reported.get(arguments).is_some_and(|&sent| pending.progress < sent) {
        return Err(format!("answered after progress {} alone", pending.progress));
    } else if panics {
        result["isError"] == true && text.contains("panicked")
    } else {
        text == expected && result.get("isError").is_none()
    };
    if fits { Ok(()) } else { Err(wrong(message)) }
}

/// What a client was asked for a call, and what it said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Questions that came.
    pub(crate) questions: u32,
    /// One was answered with an error.
    pub(crate) refused: bool,
    /// One was not answered, or perhaps the answer was lost.
    pub(crate) withheld: bool,
    /// The client sends no more.
    pub(crate) unable: bool,
    /// Answers on their way.
    pub(crate) replies: u32,
    /// When the shard had them all.
    pub(crate) delivered_ns: Option<u64>,
}

impl Told {
    /// Whether the client may have been too slow to answer a call of this age.
    fn is_late(&self, pending: &Pending, facts: &Facts<'_>) -> bool {
        let delivered_ns = self.delivered_ns.filter(|_| self.questions == 2);
        let took_ms = delivered_ns.map(|at_ns| at_ns.saturating_sub(pending.begun_ns) / 1_000_000);
        took_ms.is_none_or(|took_ms| took_ms + 1 + facts.slack_ms >= facts.limits.input_timeout_ms)
    }

    /// An answer arrived.
    pub(crate) fn deliver(&mut self, now_ns: u64) {
        self.replies = self.replies.saturating_sub(1);
        if self.replies == 0 {
            self.delivered_ns = Some(now_ns);
        }
    }
}

/// Checks the answer of a call that asked its client.
pub(crate) fn asked(
    pending: &Pending,
    message: &Value,
    told: Told,
    facts: &Facts<'_>,
) -> Result<(), String> {
    let Expect::Asked { arguments, text: expected } = &pending.expect else {
        return content(pending, message, facts);
    };
    let result = &message["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let said = message["error"]["message"].as_str().unwrap_or_default();
    let waited_ms = facts.waited_ms(pending.begun_ns);
    let fits = if message["error"]["code"] == INTERNAL_ERROR {
        (said.contains("took too long") && waited_ms >= facts.limits.tool_timeout_ms)
            || (said.contains("the handler gave no answer") && facts.dropped.contains(arguments))
            || (said.contains("got no answer from the client in time")
                && (told.withheld || told.is_late(pending, facts))
                && waited_ms >= facts.limits.input_timeout_ms)
            || (said.contains("asks a client that sends no more") && told.unable)
            || said.contains("found its pool full")
            || (said.contains("found no room for an answer") && facts.tight_budget)
    } else if result["isError"] == true {
        told.refused && text.contains("the client answered with an error")
    } else {
        text == expected && told.questions == 2 && !told.refused
    };
    if fits { Ok(()) } else { Err(format!("{}; {told:?}", wrong(message))) }
}

/// Reads a question of the server: its id, and of which call it is.
pub(crate) fn question(message: &Value) -> Result<(u64, String, String), String> {
    let params = &message["params"];
    let id = message["id"].as_u64();
    let (key, question) = (params["key"].as_str(), params["question"].as_str());
    let method = message["method"].as_str();
    match (id, key, question, method) {
        (
            Some(id),
            Some(key),
            Some(question),
            Some("elicitation/create" | "sampling/createMessage"),
        ) => Ok((id, key.to_owned(), question.to_owned())),
        _ => Err(format!("no question: {message}")),
    }
}

/// Reads what the server says of a question that needs no answer any more, and strikes it off those
/// that a client was asked.
pub(crate) fn withdrawal(message: &Value, asked: &mut BTreeSet<u64>) -> Option<Result<(), String>> {
    if message["method"] != "notifications/cancelled" {
        return None;
    }
    let known = message["params"]["requestId"].as_u64().is_some_and(|id| asked.remove(&id));
    Some(if known { Ok(()) } else { Err(format!("withdraws what it never asked: {message}")) })
}

/// Notes how a question is answered.
pub(crate) fn tell(told: &mut Told, manner: Manner, dice: &mut Dice) {
    told.questions += 1;
    told.replies += u32::try_from(times(manner)).unwrap_or(0);
    match manner {
        Manner::Kindly => {}
        Manner::WithError => {
            dice.saw(Fault::AnsweredWithError);
            told.refused = true;
        }
        Manner::Never => told.withheld = true,
        Manner::Twice => dice.saw(Fault::AnsweredTwice),
    }
}

/// How often a client answers.
pub(crate) fn times(manner: Manner) -> usize {
    match manner {
        Manner::Never => 0,
        Manner::Kindly | Manner::WithError => 1,
        Manner::Twice => 2,
    }
}

/// The topic of a change that a session is told.
pub(crate) fn change(message: &Value) -> Result<usize, String> {
    let uri = &message["params"]["uri"];
    match message["method"].as_str().unwrap_or_default() {
        "notifications/tools/list_changed" => Ok(TOOLS_TOPIC),
        "notifications/resources/updated" => {
            let topic = URIS.iter().position(|known| uri == known);
            topic.ok_or_else(|| wrong(message))
        }
        _ => Err(wrong(message)),
    }
}

/// Whether a result has the form of its era, and of no other.
pub(crate) fn form(message: &Value, legacy: bool) -> Result<(), String> {
    let Some(result) = message.get("result") else { return Ok(()) };
    let modern = result.get("resultType").is_some();
    let named = result["_meta"].get(META_SERVER_INFO).is_some();
    let hints = result.get("ttlMs").is_some() || result.get("cacheScope").is_some();
    if modern == legacy || named == legacy || (hints && legacy) {
        return Err(format!("not the form of its era: {}", wrong(message)));
    }
    Ok(())
}

/// Whether an error says that there is no room for this request now.
pub(crate) fn is_busy(pending: &Pending, message: &Value, facts: &Facts<'_>) -> bool {
    let said = message["error"]["message"].as_str().unwrap_or_default();
    let scarce = ["too many calls", "pool of handlers is full", "no further streams"];
    message["error"]["code"] == INTERNAL_ERROR
        && ((pending.departs() && scarce.iter().any(|why| said.contains(why)))
            || (said.contains("out of buffers") && facts.tight_budget))
}

/// Whether a value has this JSON text: a number is no string.
pub(crate) fn is_id(value: &Value, id: &str) -> bool {
    let text = value.to_string();
    text == id
}

pub(crate) fn wrong(message: &Value) -> String {
    let text = message.to_string();
    let shown: String = text.chars().take(300).collect();
    format!("a wrong answer: {shown}")
}

/// What a notification on a stream means.
pub(crate) enum Notice {
    Acknowledged,
    /// Of a topic.
    Change(usize),
    Progress(f64),
}

/// A message as it came.
pub(crate) fn parse(data: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(data).map_err(|error| {
        let shown = String::from_utf8_lossy(&data[..data.len().min(200)]);
        format!("no JSON: {error}: {shown:?}")
    })
}

/// A shard does not send for ever to who does not read.
pub(crate) fn patience(
    blocked_since_ns: &mut Option<u64>,
    link: &Link,
    facts: &Facts<'_>,
) -> Result<(), String> {
    if !link.blocked || link.excused || link.is_over() {
        *blocked_since_ns = None;
        return Ok(());
    }
    let since_ns = *blocked_since_ns.get_or_insert(facts.now_ns);
    let blocked_ms = facts.now_ns.saturating_sub(since_ns) / 1_000_000;
    // Ticks may be late, and timers are coarse.
    if blocked_ms > facts.limits.send_timeout_ms + 2_000 {
        return Err(format!("sent to for {blocked_ms} ms without reading"));
    }
    Ok(())
}

/// Reads a notification that came for `pending`.
pub(crate) fn notice(pending: &Pending, message: &Value) -> Result<Notice, String> {
    let params = &message["params"];
    let method = message["method"].as_str().unwrap_or_default();
    if method == "notifications/progress" {
        if !is_id(&params["progressToken"], &pending.id) {
            return Err(format!("somebody else's progress: {message}"));
        }
        return params["progress"].as_f64().map(Notice::Progress).ok_or("no progress".to_owned());
    }
    if !is_id(&params["_meta"][META_SUBSCRIPTION_ID], &pending.id) {
        return Err(format!("somebody else's notification: {message}"));
    }
    match method {
        "notifications/subscriptions/acknowledged" => {
            let Expect::Listen(topics) = &pending.expect else { return Err("not asked".into()) };
            acknowledged(topics, &params["notifications"])
        }
        "notifications/tools/list_changed" => Ok(Notice::Change(TOOLS_TOPIC)),
        "notifications/resources/updated" => {
            let topic = URIS.iter().position(|&uri| params["uri"] == uri);
            topic.map(Notice::Change).ok_or_else(|| wrong(message))
        }
        _ => Err(wrong(message)),
    }
}

fn acknowledged(topics: &[usize], granted: &Value) -> Result<Notice, String> {
    let tools = granted["toolsListChanged"] == true;
    let uris: Vec<_> = granted["resourceSubscriptions"].as_array().into_iter().flatten().collect();
    let asked: Vec<_> = topics.iter().filter_map(|&topic| URIS.get(topic)).collect();
    let all = asked.iter().all(|&&uri| uris.iter().any(|&granted| granted == uri));
    if tools != topics.contains(&TOOLS_TOPIC) || uris.len() != asked.len() || !all {
        return Err(format!("granted {granted} for {topics:?}"));
    }
    Ok(Notice::Acknowledged)
}
