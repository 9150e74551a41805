//! What the server offers, and the pool whose calls the input lets go.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use ringmesh_runtime::call::{Answer, Call, Context, Ending};
use ringmesh_runtime::catalog::{
    Catalog, Handler, Job, Offer, Pool, Resource, Tool, Versions, Work,
};
use serde_json::{Value, json};

pub(super) const URIS: [&str; 2] = ["fuzz://a", "fuzz://b"];

/// Takes jobs for the world to release.
pub(super) struct Desk {
    pub(super) jobs: Sender<Job>,
    pub(super) full: Arc<AtomicBool>,
}

impl Pool for Desk {
    fn submit(&self, job: Job) -> Result<(), Job> {
        if self.full.load(Ordering::Relaxed) {
            return Err(job);
        }
        self.jobs.send(job).map_err(|unsent| unsent.0)
    }
}

/// A call that its pool holds.
pub(super) struct Held {
    job: Job,
    steps: Cell<f64>,
}

impl Held {
    pub(super) fn new(job: Job) -> Self {
        Self { job, steps: Cell::new(0.0) }
    }

    /// Answers, however often it did before.
    pub(super) fn reply(&self) {
        match &self.job.work {
            Work::Blocking(code) => self.job.context.reply(code(&self.job.context)),
            Work::Async(_) => unreachable!("nothing offered is async"),
        }
    }

    /// Reports progress; the lane may be full.
    pub(super) fn note(&self) -> bool {
        self.steps.set(self.steps.get() + 1.0);
        self.job.context.progress(self.steps.get(), None, None).is_ok()
    }

    /// Has its client come back; the lane may be full.
    pub(super) fn close_stream(&self) -> bool {
        self.job.context.close_stream(Duration::from_millis(20)).is_ok()
    }
}

fn text(answer: &mut Answer, text: &str) {
    let content = format!("\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]");
    answer.begin(Ending::Complete).extend_from_slice(content.as_bytes());
}

/// The argument that says how much of it.
fn amount(call: &Call<'_>) -> u64 {
    let arguments: Value = serde_json::from_str(call.arguments()).unwrap_or_default();
    arguments["n"].as_u64().unwrap_or(0)
}

/// Asks up to three questions at once, and again what was not answered.
fn ask(call: &Call<'_>, answer: &mut Answer) {
    let unheard = |key: &String| call.input_response::<Value>(key).is_none();
    let keys = (0..=amount(call).min(2)).map(|no| format!("q{no}"));
    let open: Vec<String> = keys.filter(unheard).collect();
    if open.is_empty() {
        return text(answer, "heard");
    }
    let question = json!({"method": "elicitation/create", "params": {"message": "?"}});
    let questions: Value = open.into_iter().map(|key| (key, question.clone())).collect();
    let members = format!("\"inputRequests\":{questions},\"requestState\":\"s\"");
    answer.begin(Ending::InputRequired).extend_from_slice(members.as_bytes());
}

fn inline(code: impl Fn(&Call<'_>, &mut Answer) + Send + Sync + 'static) -> Handler {
    Handler::Inline(Arc::new(code))
}

fn pooled(code: impl Fn(&Call<'_>, &mut Answer) + Send + Sync + 'static) -> Handler {
    Handler::Blocking(Arc::new(move |context: &Context| {
        let mut answer = Answer::default();
        context.with_call(|call| code(call, &mut answer));
        answer
    }))
}

fn steps(call: &Call<'_>, answer: &mut Answer) {
    for step in 0..amount(call).min(4) {
        call.progress(step as f64, None, None).expect("notes of inline tools are collected");
    }
    text(answer, "done");
}

/// The catalog of a version; tools come and go with it.
pub(super) fn catalog(version: u64) -> Catalog {
    let big = |call: &Call<'_>, answer: &mut Answer| {
        text(answer, &"x".repeat(usize::try_from(amount(call) * 16).unwrap_or(0)));
    };
    let mut tools = vec![
        ("echo", inline(|_, answer| text(answer, "echo"))),
        ("steps", inline(steps)),
        ("ask", inline(ask)),
        ("pooled", pooled(big)),
        ("ask_pooled", pooled(ask)),
        ("big", inline(big)),
    ];
    if version % 2 == 1 {
        tools.truncate(3);
    }
    let tool = |(name, handler): (&str, Handler)| {
        let definition = json!({"name": name, "inputSchema": {"type": "object"}});
        Arc::new(Tool::new(&definition, handler).expect("a valid definition"))
    };
    let resource = |uri: &&str| {
        let read = inline(|call, answer| {
            let contents = format!("\"contents\":[{{\"uri\":\"{}\",\"text\":\"\"}}]", call.name);
            answer.begin(Ending::Complete).extend_from_slice(contents.as_bytes());
        });
        let definition = json!({"name": uri, "uri": uri});
        Arc::new(Resource::new(&definition, read).expect("a valid definition"))
    };
    let offer = Offer {
        server_info: r#"{"name":"fuzz","version":"1"}"#.into(),
        instructions: None,
        tools: tools.into_iter().map(tool).collect(),
        resources: URIS.iter().map(resource).collect(),
        templates: Vec::new(),
        prompts: Vec::new(),
        page_entries_max: 10,
        list_ttl_ms: 0,
        read_ttl_ms: 0,
    };
    let versions = Versions { tools: version, ..Versions::default() };
    Catalog::new(offer, versions).expect("names are unique")
}
