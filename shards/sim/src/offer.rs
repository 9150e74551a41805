//! What the simulated server offers: tools of every kind, and resources that change.
//!
//! Handlers reach the shards' addresses through [`Wires`], as a server's own handle would.

use std::sync::{Arc, OnceLock};

use crossbeam::queue::SegQueue;
use ringmesh_proto::jsonrpc;
use ringmesh_runtime::call::{Answer, Call, Context, Ending};
use ringmesh_runtime::catalog::{Catalog, Handler, Offer, Resource, Tool, Versions};
use ringmesh_runtime::message::{Address, Event};
use ringmesh_runtime::probe::Lane;
use serde_json::{Value, json};

/// Resources that clients can listen to.
pub(crate) const URIS: [&str; 4] = ["sim://a", "sim://b", "sim://c", "sim://d"];

/// Events that a shard's lane holds; small, so that it overflows.
pub(crate) const EVENTS_MAX: usize = 3;

const _: () = assert!(EVENTS_MAX < URIS.len(), "the topics together overflow the lane");

/// A change that somebody published, for the world to note.
#[derive(Debug)]
pub(crate) struct Publication {
    /// Place in [`URIS`].
    pub(crate) topic: usize,
    /// Shards whose lane was full, one bit each.
    pub(crate) overflowed: u64,
}

/// The way from handlers to shards. Lives once per simulated process.
#[derive(Default)]
pub(crate) struct Wires {
    shards: OnceLock<Vec<Address>>,
    /// What was published and not noted yet.
    pub(crate) log: SegQueue<Publication>,
}

impl Wires {
    pub(crate) fn attach(&self, shards: Vec<Address>) {
        assert!(self.shards.set(shards).is_ok(), "attached once");
    }

    /// Tells every shard that a resource changed.
    pub(crate) fn publish(&self, topic: usize) {
        let mut overflowed = 0;
        for (shard, address) in self.shards.get().into_iter().flatten().enumerate() {
            if address.depth(Lane::Events) == EVENTS_MAX {
                overflowed |= 1 << shard;
            }
            address.send_event(Event::ResourceUpdated(Arc::from(URIS[topic])));
        }
        self.log.push(Publication { topic, overflowed });
    }
}

fn arguments(call: &Call<'_>) -> Value {
    serde_json::from_str(call.arguments()).unwrap_or_default()
}

fn write_text(answer: &mut Answer, text: &str) {
    let out = answer.begin(Ending::Complete);
    out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    jsonrpc::write_string(out, text);
    out.extend_from_slice(b"}]");
}

/// The text that a client gave to be told again.
fn key(arguments: &Value) -> &str {
    arguments["key"].as_str().unwrap_or_default()
}

fn inline(code: impl Fn(&Call<'_>, &mut Answer) + Send + Sync + 'static) -> Handler {
    Handler::Inline(Arc::new(code))
}

/// What both kinds of pooled tool do.
fn pooled(context: &Context) -> Answer {
    let given = context.with_call(arguments);
    assert!(given["panics"] != true, "on purpose");
    let mut answer = Answer::default();
    write_text(&mut answer, key(&given));
    answer
}

/// What a client says to a question of the call with this key, so that it shows whose it was.
pub(crate) fn said(key: &str, question: &str) -> String {
    format!("{key}:{question}")
}

/// Asks the client twice at once, and puts together what it said.
fn ask(call: &Call<'_>, answer: &mut Answer) {
    let given = arguments(call);
    let key = key(&given);
    let heard = |question: &str| {
        let said: Value = call.input_response(question)?;
        said["text"].as_str().map(str::to_owned)
    };
    let state = call.params.request_state.as_ref().map(jsonrpc::Text::as_str);
    match (heard("q0"), heard("q1")) {
        (Some(first), Some(second)) if state == Some(key) => {
            write_text(answer, &format!("{key}|{first}|{second}"));
        }
        (None, None) => {
            let question = |name: &str, method: &str| json!({"method": method, "params": {"key": key, "question": name}});
            let questions = json!({
                "q0": question("q0", "elicitation/create"),
                "q1": question("q1", "sampling/createMessage"),
            });
            let members = format!("\"inputRequests\":{questions},\"requestState\":\"{key}\"");
            answer.begin(Ending::InputRequired).extend_from_slice(members.as_bytes());
        }
        (first, second) => write_text(answer, &format!("{key}: {first:?} {second:?} {state:?}")),
    }
}

fn tool(name: &str, handler: Handler) -> Arc<Tool> {
    let definition = json!({"name": name, "inputSchema": {"type": "object"}});
    Arc::new(Tool::new(&definition, handler).expect("a valid definition"))
}

fn inline_tools(wires: &Arc<Wires>) -> Vec<Arc<Tool>> {
    let wires = Arc::clone(wires);
    let add = |call: &Call<'_>, answer: &mut Answer| {
        let given = arguments(call);
        let sum = given["a"].as_i64().unwrap_or(0) + given["b"].as_i64().unwrap_or(0);
        write_text(answer, &sum.to_string());
    };
    let steps = |call: &Call<'_>, answer: &mut Answer| {
        let given = arguments(call);
        for step in 1..=given["steps"].as_u64().unwrap_or(0) {
            // Inline notes are collected: none is refused.
            call.progress(step as f64, None, None).expect("progress grows");
        }
        write_text(answer, key(&given));
    };
    let big = |call: &Call<'_>, answer: &mut Answer| {
        let given = arguments(call);
        let bytes = usize::try_from(given["bytes"].as_u64().unwrap_or(0)).unwrap_or(0);
        write_text(answer, &format!("{}{}", key(&given), "x".repeat(bytes)));
    };
    let touch = move |call: &Call<'_>, answer: &mut Answer| {
        let given = arguments(call);
        let topic = usize::try_from(given["topic"].as_u64().unwrap_or(0)).unwrap_or(0);
        wires.publish(topic % URIS.len());
        write_text(answer, key(&given));
    };
    vec![
        tool("add", inline(add)),
        tool("echo", inline(|call, answer| write_text(answer, key(&arguments(call))))),
        tool("steps", inline(steps)),
        tool("big", inline(big)),
        tool("touch", inline(touch)),
        tool("panic", inline(|_, _| panic!("on purpose"))),
        tool("silent", inline(|_, _| {})),
    ]
}

/// The catalog of a version: its last tool is named after it.
pub(crate) fn catalog(wires: &Arc<Wires>, version: u64) -> Catalog {
    let mut tools = inline_tools(wires);
    tools.push(tool(
        "async",
        Handler::Async(Arc::new(|context| Box::pin(async move { pooled(&context) }))),
    ));
    tools.push(tool("blocking", Handler::Blocking(Arc::new(pooled))));
    tools.push(tool("ask", inline(ask)));
    let ask_pooled = |context: &Context| {
        let mut answer = Answer::default();
        context.with_call(|call| ask(call, &mut answer));
        answer
    };
    tools.push(tool("ask_pooled", Handler::Blocking(Arc::new(ask_pooled))));
    tools.push(tool(&format!("v{version}"), inline(|_, answer| write_text(answer, ""))));
    let resource = |uri: &&str| {
        let definition = json!({"name": uri, "uri": uri});
        let read = inline(|call: &Call<'_>, answer: &mut Answer| {
            let out = answer.begin(Ending::Complete);
            out.extend_from_slice(b"\"contents\":[{\"text\":\"\",\"uri\":");
            jsonrpc::write_string(out, call.name);
            out.extend_from_slice(b"}]");
        });
        Arc::new(Resource::new(&definition, read).expect("a valid definition"))
    };
    let offer = Offer {
        server_info: r#"{"name":"sim","version":"1"}"#.into(),
        instructions: None,
        tools,
        resources: URIS.iter().map(resource).collect(),
        templates: Vec::new(),
        prompts: Vec::new(),
        page_entries_max: 100,
        list_ttl_ms: 0,
        read_ttl_ms: 0,
    };
    let versions = Versions { tools: version, ..Versions::default() };
    Catalog::new(offer, versions).expect("names are unique")
}
