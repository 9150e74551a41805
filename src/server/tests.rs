//! Handlers of every kind, called as a shard calls them.

use std::cell::RefCell;
use std::sync::Arc;

use ringmesh_proto::mcp::{Capability, Params};
use ringmesh_runtime::call::{Answer, Call, Ending, NoteError, Notes, Progress, StateKey};
use ringmesh_runtime::catalog::{CatalogError, Handler};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

#[derive(Default)]
struct Kept(RefCell<Vec<Value>>);

impl Notes for Kept {
    fn note(&self, json: Vec<u8>) -> Result<(), NoteError> {
        self.0.borrow_mut().push(serde_json::from_slice(&json).expect("a note is JSON"));
        Ok(())
    }
}

/// Calls an inline handler; its members, and those of `_meta`, as an object.
fn call(handler: &Handler, method: &str, params: &Value) -> (Ending, Value) {
    let Handler::Inline(code) = handler else { panic!("not inline: {handler:?}") };
    let text = params.to_string();
    let raw = serde_json::from_str(&text).expect("JSON");
    let params = Params::parse(raw).expect("parameters");
    let name = params.name.as_ref().or(params.uri.as_ref()).map_or("", |name| name.as_str());
    let (key, notes, progress) =
        (StateKey::from_secret(b"test"), Kept::default(), Progress::default());
    let call = Call::detached((method, name), &params, 1_000, &key, &notes, &progress);
    let mut answer = Answer::default();
    code(&call, &mut answer);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let meta = match answer.meta() {
        [] => String::new(),
        members => format!(",\"_meta\":{{{}}}", text(members)),
    };
    let object = format!("{{{}{meta}}}", text(answer.members()));
    (answer.ending(), serde_json::from_str(&object).expect("members are JSON"))
}

fn call_tool(tool: Tool, arguments: Value) -> (Ending, Value) {
    let mut params = json!({"name": "t", "arguments": arguments, "_meta": {
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "roots": {}}}});
    if let Some(rest) = params["arguments"].as_object_mut().and_then(|a| a.remove("$params")) {
        let rest = rest.as_object().expect("an object").clone();
        params.as_object_mut().expect("an object").extend(rest);
    }
    let server = Server::builder("s", "1").tool(tool).build().expect("a valid server");
    let catalog = server.published().load();
    call(&catalog.tool("t").expect("the tool").handler, "tools/call", &params)
}

fn text_of(result: &Value) -> &str {
    result["content"][0]["text"].as_str().expect("a text block")
}

#[derive(Debug, Deserialize, Serialize, schemars::JsonSchema, PartialEq)]
struct Name {
    name: String,
}

#[test]
fn results_are_written_as_their_type_says() {
    fn result<R: IntoToolResult + 'static>(
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> (Ending, Value) {
        call_tool(Tool::new("t").inline(move |(): (), _: &Call<'_>| make()), json!({}))
    }
    let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    let complete = |members: Value| (Ending::Complete, members);
    assert_eq!(result(|| "a \"b\"\n"), complete(text("a \"b\"\n")));
    assert_eq!(result(|| 3_u8), complete(text("3")));
    assert_eq!(result(|| -1.5_f64), complete(text("-1.5")));
    assert_eq!(result(|| f64::NEG_INFINITY), complete(text("-inf")));
    assert_eq!(result(|| true), complete(text("true")));
    assert_eq!(result(|| ()), complete(json!({"content": []})));
    let structured = json!({"name": "q\"\\\n"});
    let json = complete(json!({"structuredContent": structured,
        "content": [{"type": "text", "text": structured.to_string()}]}));
    assert_eq!(result(|| Json(Name { name: "q\"\\\n".into() })), json);
    assert_eq!(result(|| ToolResult::new().structured(json!({"name": "q\"\\\n"}))), json);
    let full = ToolResult::error("no").content(Content::image(b"\0", "image/png")).meta("k", 1);
    let expected = json!({"isError": true, "_meta": {"k": 1}, "content": [
        {"type": "text", "text": "no"},
        {"type": "image", "data": "AA==", "mimeType": "image/png"}]});
    assert_eq!(result(move || full.clone()), (Ending::ToolError, expected));
    let mut failed = text("broken");
    failed["isError"] = json!(true);
    assert_eq!(result(|| Err::<(), _>("broken")), (Ending::ToolError, failed));
    let (ending, error) = result(|| Err::<(), _>(Error::protocol(7, "mine", Some(json!([1])))));
    assert_eq!(ending, Ending::Failed(7));
    assert_eq!(error, json!({"code": 7, "message": "mine", "data": [1]}));
    let map = || Json(std::collections::BTreeMap::from([((1, 2), 3)]));
    assert_eq!(result(map).0, Ending::ToolError);
}

#[test]
fn arguments_that_do_not_fit_are_a_result_for_the_model() {
    let tool = || Tool::new("t").inline(|name: Name, _: &Call<'_>| name.name);
    let (ending, result) = call_tool(tool(), json!({"name": "Ann"}));
    assert_eq!((ending, text_of(&result)), (Ending::Complete, "Ann"));
    let (ending, result) = call_tool(tool(), json!({"name": 5}));
    assert_eq!((ending, &result["isError"]), (Ending::ToolError, &json!(true)));
    assert_eq!(text_of(&result), "arguments.name: 5 is not of type \"string\"");
}

/// Reads from more than its schema says: not only a text, and not only under its name.
#[derive(Deserialize, schemars::JsonSchema)]
struct Lenient {
    #[serde(alias = "nom")]
    #[schemars(with = "String")]
    name: Value,
}

#[test]
fn the_schema_counts_where_the_type_would_take_more() {
    let tool = || Tool::new("t").inline(|lenient: Lenient, _: &Call<'_>| lenient.name.to_string());
    assert_eq!(call_tool(tool(), json!({"name": "Ann"})).0, Ending::Complete);
    for arguments in [json!({"name": 5}), json!({"nom": "Ann"})] {
        let (ending, result) = call_tool(tool(), arguments.clone());
        assert_eq!(ending, Ending::ToolError, "{arguments} {result}");
    }
}

#[test]
fn a_tool_whose_schema_cannot_be_used_does_not_enter_the_catalog() {
    let tool =
        |schema: Value| Tool::new("t").input_schema(schema).inline(|_: Value, _: &Call<'_>| ());
    let remote = json!({"type": "object", "properties": {"a": {"$ref": "https://e.example/s"}}});
    let error = Server::builder("s", "1").tool(tool(remote.clone())).build().expect_err("remote");
    let expected = "tool 't': inputSchema/properties/a/$ref: 'https://e.example/s' refers to";
    assert!(error.to_string().starts_with(expected), "{error}");
    let server = Server::builder("s", "1").tool(tool(json!({"type": "object"}))).build();
    let handle = server.expect("valid").handle();
    assert!(matches!(handle.replace_tool(tool(remote)), Err(CatalogError::Schema(..))));
}

#[test]
fn definitions_hold_what_was_said() {
    let tool = Tool::new("t")
        .title("T")
        .description("does t")
        .icon(Icon::new("https://e.example/i.png").size("48x48").theme(Theme::Dark))
        .annotations(ToolAnnotations::new().read_only(true))
        .output::<Name>()
        .meta("k", "v")
        .inline(|name: Name, _: &Call<'_>| Json(name));
    let server = Server::builder("s", "1").title("S").tool(tool).build().expect("valid");
    let catalog = server.published().load();
    let definition: Value =
        serde_json::from_str(&catalog.tool("t").expect("the tool").definition).expect("JSON");
    let schema =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let expected = json!({"name": "t", "title": "T", "description": "does t",
        "icons": [{"src": "https://e.example/i.png", "sizes": ["48x48"], "theme": "dark"}],
        "annotations": {"readOnlyHint": true}, "_meta": {"k": "v"},
        "inputSchema": schema, "outputSchema": schema});
    assert_eq!(definition, expected);
    assert_eq!(catalog.offer().server_info, r#"{"name":"s","title":"S","version":"1"}"#);
}

fn greeter() -> Tool {
    #[derive(Serialize, Deserialize)]
    struct Asked {
        rounds: u32,
    }
    Tool::new("t").inline(|(): (), call: &Call<'_>| -> Result<String, Error> {
        let rounds = call.kept::<Asked>()?.map_or(0, |asked| asked.rounds);
        match call.input::<Elicited<Name>>("user_name") {
            Some(Elicited::Accept { content }) => Ok(format!("{} after {rounds}", content.name)),
            Some(_) => Ok("nobody".to_owned()),
            None => Err(InputRequired::new()
                .elicit_as::<Name>("user_name", "Who?")
                .state(&Asked { rounds: rounds + 1 })
                .into()),
        }
    })
}

#[test]
fn a_round_asks_and_the_next_one_answers() {
    let (ending, asked) = call_tool(greeter(), json!({}));
    assert_eq!(ending, Ending::InputRequired);
    let request = &asked["inputRequests"]["user_name"];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["requestedSchema"]["required"], json!(["name"]));
    let state = asked["requestState"].as_str().expect("a state");
    let answer = |response: Value, state: &str| {
        let more = json!({"inputResponses": {"user_name": response}, "requestState": state});
        call_tool(greeter(), json!({"$params": more}))
    };
    let accepted = json!({"action": "accept", "content": {"name": "Ann"}});
    assert_eq!(text_of(&answer(accepted.clone(), state).1), "Ann after 1");
    assert_eq!(text_of(&answer(json!({"action": "decline"}), state).1), "nobody");
    for wrong in
        [json!(12345), json!({"action": "accept"}), json!({"action": "accept", "content": {}})]
    {
        assert_eq!(answer(wrong, state).0, Ending::InputRequired);
    }
    let (ending, _) = answer(accepted, &format!("{state}-TAMPERED"));
    assert_eq!(ending, Ending::Failed(-32602));
}

#[test]
fn only_declared_capabilities_are_asked_for() {
    let sample = Tool::new("t").inline(|(): (), _: &Call<'_>| {
        InputRequired::new().roots("r").sample("s", Sampling::new(10).user("hi"))
    });
    let (ending, error) = call_tool(sample, json!({}));
    assert_eq!(ending, Ending::Failed(-32021));
    assert_eq!(error["data"], json!({"requiredCapabilities": {"sampling": {}}}));
    let needs = Tool::new("t").inline(|(): (), call: &Call<'_>| {
        if call.declares(Capability::Sampling) {
            Ok(())
        } else {
            Err(Error::capability(Capability::Sampling))
        }
    });
    assert_eq!(call_tool(needs, json!({})).0, Ending::Failed(-32021));
    let nothing = Tool::new("t").inline(|(): (), _: &Call<'_>| InputRequired::new());
    assert_eq!(call_tool(nothing, json!({})).0, Ending::Failed(-32603));
}

fn read(server: &Server, uri: &str) -> (Ending, Value) {
    let catalog = server.published().load();
    let fixed = catalog.resource(uri).map(|resource| &resource.handler);
    let handler = fixed.or_else(|| catalog.template(uri).map(|template| &template.handler));
    call(handler.expect("a resource"), "resources/read", &json!({"uri": uri}))
}

#[test]
fn reads_carry_contents_and_cache_hints() {
    let server =
        Server::builder("s", "1")
            .resource(
                Resource::new("a://b", "b")
                    .mime_type("text/x")
                    .ttl(Duration::from_secs(1))
                    .cache_scope(CacheScope::Public)
                    .inline(|_: &Call<'_>| "t"),
            )
            .read_ttl(Duration::from_millis(7))
            .template(Template::new("u://{id}", "u").inline(|v: Variables, _: &Call<'_>| {
                Ok::<_, Error>(v.parse::<u8>("id")?.to_string())
            }))
            .build()
            .expect("valid");
    let public = json!({"contents": [{"uri": "a://b", "mimeType": "text/x", "text": "t"}],
        "ttlMs": 1000, "cacheScope": "public"});
    assert_eq!(read(&server, "a://b"), (Ending::Complete, public));
    let private = json!({"contents": [{"uri": "u://%37", "text": "7"}],
        "ttlMs": 7, "cacheScope": "private"});
    assert_eq!(read(&server, "u://%37"), (Ending::Complete, private));
    let (ending, error) = read(&server, "u://x");
    assert_eq!((ending, &error["data"]), (Ending::Failed(-32602), &json!({"uri": "u://x"})));
}

#[test]
fn prompts_take_arguments_and_complete_them() {
    #[derive(Deserialize)]
    struct Language {
        language: String,
    }
    let prompt = Prompt::new("p")
        .required("language", "which")
        .optional("tone", "how")
        .complete("language", |typed: &str, call: &Call<'_>| {
            let tone = chosen_argument(call, "tone").unwrap_or_default();
            Completion::starting(typed, [format!("rust{tone}"), "c".to_owned()])
        })
        .inline(|l: Language, _: &Call<'_>| PromptResult::new().description("d").user(l.language));
    let server = Server::builder("s", "1").prompt(prompt).build().expect("valid");
    let catalog = server.published().load();
    let prompt = catalog.prompt("p").expect("the prompt");
    assert_eq!((prompt.required.len(), prompt.arguments.len()), (1, 2));
    let got =
        call(&prompt.handler, "prompts/get", &json!({"name": "p", "arguments": {"language": "c"}}));
    let message = json!({"role": "user", "content": {"type": "text", "text": "c"}});
    assert_eq!(got, (Ending::Complete, json!({"messages": [message], "description": "d"})));
    let params = json!({"ref": {"type": "ref/prompt", "name": "p"},
        "argument": {"name": "language", "value": "r"},
        "context": {"arguments": {"tone": "-harsh"}}});
    let completer = prompt.completer.as_ref().expect("a completer");
    let values = json!({"values": ["rust-harsh"], "total": 1, "hasMore": false});
    let completed = call(completer, "completion/complete", &params);
    assert_eq!(completed, (Ending::Complete, json!({"completion": values})));
}

#[test]
fn mistakes_are_found_when_the_server_is_built() {
    let tool = || Tool::new("t").inline(|(): (), _: &Call<'_>| ());
    let twice = Server::builder("s", "1").tool(tool()).tool(tool()).build();
    assert!(matches!(twice, Err(CatalogError::Duplicate("tool", _))));
    let number = Tool::new("t").inline(|_: u8, _: &Call<'_>| ());
    assert!(Server::builder("s", "1").tool(number).build().is_err());
    let template = Template::new("a://{b", "b").inline(|_: Variables, _: &Call<'_>| "");
    assert!(Server::builder("s", "1").template(template).build().is_err());
    let template = Template::new("a://{b}", "b")
        .complete("c", |_: &str, _: &Call<'_>| vec!["x"])
        .inline(|_: Variables, _: &Call<'_>| "");
    let unknown = Server::builder("s", "1").template(template).build();
    assert!(matches!(unknown, Err(CatalogError::Unknown("variable", _))));
}

#[test]
fn a_handle_changes_the_catalog_and_counts_versions() {
    let tool =
        |name: &str, text: &'static str| Tool::new(name).inline(move |(): (), _: &Call<'_>| text);
    let builder = Server::builder("s", "1").tool(tool("a", "1"));
    let handle = builder.handle();
    let server = builder.build().expect("valid");
    let start = server.published().load().versions;
    handle.add_tool(tool("b", "1")).expect("added");
    assert!(matches!(handle.add_tool(tool("b", "1")), Err(CatalogError::Duplicate("tool", _))));
    handle.replace_tool(tool("a", "2")).expect("replaced");
    handle.remove_tool("b").expect("removed");
    assert!(matches!(handle.remove_tool("b"), Err(CatalogError::Unknown("tool", _))));
    handle
        .add_template(Template::new("a://{b}", "b").inline(|_: Variables, _: &Call<'_>| ""))
        .expect("added");
    handle.notify_prompts_changed();
    let catalog = server.published().load();
    let changes = (
        catalog.versions.tools - start.tools,
        catalog.versions.resources - start.resources,
        catalog.versions.prompts - start.prompts,
    );
    assert_eq!(changes, (3, 1, 1));
    assert_eq!(handle.tool_names(), ["a"]);
    let (_, result) =
        call(&catalog.tool("a").expect("the tool").handler, "tools/call", &json!({"name": "a"}));
    assert_eq!(text_of(&result), "2");
}

#[test]
fn starters_run_once_when_the_shards_are_known() {
    let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = runs.clone();
    let builder = Server::builder("s", "1").on_start(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let server = builder.build().expect("valid");
    assert_eq!(runs.load(std::sync::atomic::Ordering::Relaxed), 0);
    server.handle().attach(Vec::new());
    assert_eq!(runs.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(server.handle().status(), None);
    server.handle().attach_status(Arc::new(|| "{}".to_owned()));
    assert_eq!(server.handle().status().as_deref(), Some("{}"));
}

struct NoBell;

impl ringmesh_runtime::mailbox::Bell for NoBell {
    fn ring(&self) {}
}

/// Runs a pooled handler as its pool does, and shows what it answers.
fn run_pooled(handler: &Handler, method: &'static str, params: &Value) -> (Ending, String) {
    let capacities = ringmesh_runtime::mailbox::Capacities {
        requests: 1,
        replies: 8,
        notes: 8,
        events: 1,
        relays: 2,
    };
    let (address, _inbox) = ringmesh_runtime::mailbox::mailbox(capacities, Arc::new(NoBell));
    let text = params.to_string();
    let raw = serde_json::from_str(&text).expect("JSON");
    let name = params["name"].as_str().or(params["uri"].as_str()).expect("a name");
    let key = Arc::new(StateKey::from_secret(b"test"));
    let context = ringmesh_runtime::call::Context::detached(method, name, raw, key, address);
    let answer = match handler {
        Handler::Blocking(code) => code(&context),
        #[cfg(feature = "tokio")]
        Handler::Async(code) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(code(context))
        }
        other => panic!("not pooled: {other:?}"),
    };
    (answer.ending(), String::from_utf8(answer.members().to_vec()).expect("UTF-8"))
}

/// A server whose every handler runs in a pool and says `pooled`; arguments that do not fit are
/// refused before.
fn check_pooled(server: &Server) {
    let catalog = server.published().load();
    let table = [
        (&catalog.tool("t").expect("the tool").handler, "tools/call", json!({"name": "t"})),
        (
            &catalog.resource("r://r").expect("it").handler,
            "resources/read",
            json!({"uri": "r://r"}),
        ),
        (
            &catalog.template("u://7").expect("it").handler,
            "resources/read",
            json!({"uri": "u://7"}),
        ),
        (&catalog.prompt("p").expect("it").handler, "prompts/get", json!({"name": "p"})),
    ];
    for (handler, method, mut params) in table {
        params["arguments"] = json!({"name": "pooled"});
        let (ending, members) = run_pooled(handler, method, &params);
        assert_eq!(ending, Ending::Complete, "{members}");
        assert!(members.contains("pooled"), "{members}");
        params["arguments"] = json!({"name": 5});
        let expected = match method {
            "tools/call" => Ending::ToolError,
            "prompts/get" => Ending::Failed(-32602),
            _ => Ending::Complete,
        };
        assert_eq!(run_pooled(handler, method, &params).0, expected);
    }
}

#[test]
fn blocking_handlers_of_every_kind_answer() {
    use ringmesh_runtime::call::Context;
    let server = Server::builder("s", "1")
        .tool(Tool::new("t").blocking(|name: Name, _: &Context| name.name))
        .resource(Resource::new("r://r", "r").blocking(|_: &Context| "pooled"))
        .template(
            Template::new("u://{id}", "u")
                .blocking(|v: Variables, _: &Context| format!("pooled {}", v.text("id"))),
        )
        .prompt(Prompt::new("p").blocking(|name: Name, _: &Context| name.name))
        .build()
        .expect("valid");
    check_pooled(&server);
}

#[cfg(feature = "tokio")]
#[test]
fn async_handlers_of_every_kind_answer() {
    use ringmesh_runtime::call::Context;
    let server = Server::builder("s", "1")
        .tool(Tool::new("t").asynchronous(|name: Name, _: Context| async { name.name }))
        .resource(Resource::new("r://r", "r").asynchronous(|_: Context| async { "pooled" }))
        .template(Template::new("u://{id}", "u").asynchronous(
            |v: Variables, _: Context| async move { format!("pooled {}", v.text("id")) },
        ))
        .prompt(Prompt::new("p").asynchronous(|name: Name, context: Context| async move {
            tokio::task::yield_now().await;
            // Answers of earlier rounds are read from the context as from a call.
            assert_eq!(context.input::<Value>("none"), None);
            name.name
        }))
        .build()
        .expect("valid");
    check_pooled(&server);
}
