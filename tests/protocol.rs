//! Protocol 2026-07-28 over HTTP: what is checked, and what is answered.

mod support;

use serde_json::{Value, json};
use support::request::{META_CAPABILITIES, META_VERSION, VERSION};
use support::{Client, Request, Server, call, plain, request};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

fn add() -> Request {
    call("add", json!({"a": 1, "b": 2})).id("seven")
}

/// Asks, asserts status and code of the error, and that the connection lives on.
fn assert_error(client: &mut Client, request: &Request, status: u16, code: i64) -> Value {
    let answer = client.ask(request);
    let text = String::from_utf8_lossy(&request.body);
    assert_eq!((answer.status, answer.code()), (status, code), "{request:?} {text} {answer:?}");
    assert!(!answer.closes(), "{text}");
    assert_eq!(client.ask(&add()).text(), "3", "after {text}");
    answer.json()
}

/// A request whose message has so many nested values.
fn nested(depth: usize) -> Request {
    // The message, params, arguments.
    let lists = depth - 3;
    let value = format!("{}{}", "[".repeat(lists), "]".repeat(lists));
    let mut request = call("echo", json!({"text": "here"}));
    let text = String::from_utf8(request.body).expect("text");
    request.body = text.replace("\"here\"", &value).into();
    request
}

#[test]
fn what_is_no_message_is_answered_with_a_code_in_json() {
    let server = Server::start("");
    let mut client = server.connect();
    let good = String::from_utf8(add().body).expect("text");
    let with = |key: &str, value: Value| add().edit(|message| message[key] = value);
    let without = |key: &str| {
        add().edit(|message| drop(message.as_object_mut().expect("an object").remove(key)))
    };
    let mut latin1 = add();
    latin1.body = good.replace("seven", "s?ven").into_bytes();
    let mark = latin1.body.iter().position(|&byte| byte == b'?').expect("it is there");
    latin1.body[mark] = 0xe9;
    let syntax = [
        plain(""),
        plain("hello"),
        plain("{"),
        plain(&good[..good.len() - 1]),
        plain(format!("{good}{good}")),
        plain(format!("{good},")),
        plain(good.replace("\"seven\"", "seven")),
        plain(b"\xef\xbb\xbf{}".to_vec()),
        latin1,
    ];
    for request in &syntax {
        let error = assert_error(&mut client, request, 400, PARSE_ERROR);
        assert_eq!(error.get("id"), None, "an id that cannot be read is omitted");
    }
    let shape = [
        plain("1"),
        plain("\"text\""),
        plain("null"),
        plain("{}"),
        plain("[]"),
        plain(format!("[{good}]")),
        plain(format!("[{good},{good}]")),
        with("jsonrpc", json!("1.0")),
        with("jsonrpc", json!(2.0)),
        without("jsonrpc"),
        with("id", Value::Null),
        with("id", json!(1.5)),
        with("id", json!([1])),
        with("method", json!(7)),
        without("method"),
        nested(65),
        nested(10_000),
    ];
    for request in &shape {
        assert_error(&mut client, request, 400, INVALID_REQUEST);
    }
    // Where the id could be read it is echoed.
    let error = assert_error(&mut client, &with("method", json!(7)), 400, INVALID_REQUEST);
    assert_eq!(error["id"], "seven");
    // The deepest that is allowed reaches the tool, which wants a text.
    let result = client.ask(&nested(64)).result();
    assert_eq!(result["isError"], true);

    server.wait_for_refusals("batch", 3);
    server.wait_for_refusals("depth", 2);
    drop(client);
    server.assert_clean();
}

#[test]
fn ids_are_echoed_as_they_were_sent() {
    let server = Server::start("");
    let mut client = server.connect();
    for id in [json!(0), json!(-7), json!(u64::MAX), json!(""), json!("ä\u{1f600}\n\"")] {
        let answer = client.ask(&add().id(id.clone())).json();
        assert_eq!(answer["id"], id);
        let unknown = request("no/such", json!({})).id(id.clone());
        let answer = client.ask(&unknown);
        assert_eq!((answer.status, answer.code()), (404, METHOD_NOT_FOUND));
        assert_eq!(answer.json()["id"], id);
    }
}

#[test]
fn headers_and_meta_are_checked() {
    let server = Server::start("");
    let mut client = server.connect();
    let meta = |edit: fn(&mut Value)| add().edit(|message| edit(&mut message["params"]["_meta"]));
    let no_key = |key: &'static str| {
        add().edit(|message| {
            message["params"]["_meta"].as_object_mut().expect("an object").remove(key);
        })
    };
    let no_meta = add().edit(|message| {
        message["params"].as_object_mut().expect("an object").remove("_meta");
    });
    for (request, code) in [
        (add().without("MCP-Protocol-Version"), HEADER_MISMATCH),
        (add().header("MCP-Protocol-Version", "2025-11-25"), HEADER_MISMATCH),
        (add().header("MCP-Protocol-Version", ""), HEADER_MISMATCH),
        (add().without("Mcp-Method"), HEADER_MISMATCH),
        (add().header("Mcp-Method", "tools/list"), HEADER_MISMATCH),
        (add().header("Mcp-Method", "Tools/Call"), HEADER_MISMATCH),
        (add().without("Mcp-Name"), HEADER_MISMATCH),
        (add().header("Mcp-Name", "ADD"), HEADER_MISMATCH),
        (add().header("Mcp-Name", "=?base64?!!!?="), HEADER_MISMATCH),
        (add().header("Mcp-Name", "=?base64?c3Vi?="), HEADER_MISMATCH),
        (no_meta, INVALID_PARAMS),
        (no_key(META_VERSION), INVALID_PARAMS),
        (no_key(META_CAPABILITIES), INVALID_PARAMS),
        (meta(|meta| *meta = json!([])), INVALID_PARAMS),
        (meta(|meta| meta[META_VERSION] = json!(7)), INVALID_PARAMS),
        (meta(|meta| meta["io.modelcontextprotocol/logLevel"] = json!("loud")), INVALID_PARAMS),
    ] {
        let error = assert_error(&mut client, &request, 400, code);
        assert_eq!(error["id"], "seven", "{request:?}");
    }
    for request in [
        add().header("mcp-name", "  add\t"),
        add().header("Mcp-Name", "=?base64?YWRk?="),
        add().header("MCP-PROTOCOL-VERSION", VERSION),
        add().header("Mcp-Session-Id", "legacy").header("Last-Event-ID", "7"),
        add().header("X-Unknown", "\u{e9}"),
    ] {
        assert_eq!(client.ask(&request).text(), "3", "{request:?}");
    }
}

#[test]
fn other_versions_are_told_what_is_supported() {
    let server = Server::start("");
    let mut client = server.connect();
    let other = add()
        .edit(|message| message["params"]["_meta"][META_VERSION] = json!("2099-01-01"))
        .header("MCP-Protocol-Version", "2099-01-01");
    let error = assert_error(&mut client, &other, 400, UNSUPPORTED_VERSION);
    let data = &error["error"]["data"];
    assert_eq!(data["requested"], "2099-01-01");
    assert_eq!(data["supported"], json!([VERSION]));

    // With the `_meta` of the modern era it is a method that does not exist.
    let modern = request("initialize", json!({}));
    assert_error(&mut client, &modern, 404, METHOD_NOT_FOUND);
    for gone in ["ping", "logging/setLevel", "resources/subscribe", "tasks/get"] {
        assert_error(&mut client, &request(gone, json!({})), 404, METHOD_NOT_FOUND);
    }
}

#[test]
fn foreign_hosts_and_origins_are_refused() {
    let server = Server::start("");
    let mut client = server.connect();
    let foreign = [
        ("Host", "evil.example"),
        ("Host", "localhost.evil.example"),
        ("Host", "127.0.0.1.nip.io:8080"),
        ("Origin", "http://evil.example"),
        ("Origin", "http://localhost.evil.example"),
        ("Origin", "null"),
    ];
    for (name, value) in foreign {
        let error = assert_error(&mut client, &add().header(name, value), 403, INVALID_REQUEST);
        assert_eq!(error.get("id"), None, "the body is not looked at");
    }
    server.wait_for_refusals("host", 3);
    server.wait_for_refusals("origin", 3);
    // A browser's preflight gets no leave either.
    let preflight = add().line("OPTIONS /mcp HTTP/1.1").header("Origin", "http://evil.example");
    let answer = client.ask(&preflight);
    assert_eq!(answer.status, 403);
    assert!(!answer.head.to_lowercase().contains("access-control"), "{answer:?}");
    for (name, value) in [
        ("Host", "127.0.0.1:1"),
        ("Host", "[::1]:8080"),
        ("Host", "LocalHost"),
        ("Origin", "http://localhost:3000"),
        ("Origin", "https://[::1]"),
    ] {
        assert_eq!(client.ask(&add().header(name, value)).text(), "3", "{name}: {value}");
    }

    let server = Server::start("--allow-host mcp.example --allow-origin https://app.example");
    let mut client = server.connect();
    let behind = add().header("Host", "mcp.example").header("Origin", "https://app.example");
    assert_eq!(client.ask(&behind).text(), "3");
    let other = add().header("Host", "mcp.example").header("Origin", "http://app.example");
    assert_error(&mut client, &other, 403, INVALID_REQUEST);
}

#[test]
fn paths_methods_and_media_types_are_checked() {
    let server = Server::start("");
    let mut client = server.connect();
    for (request, status) in [
        (add().line("POST / HTTP/1.1"), 404),
        (add().line("POST /mcp/ HTTP/1.1"), 404),
        (add().line("POST /MCP HTTP/1.1"), 404),
        (add().header("Accept", "application/json"), 406),
        (add().header("Accept", "text/event-stream"), 406),
        (add().header("Accept", "application/json;q=0, */*"), 406),
        (add().header("Content-Type", "text/plain"), 415),
        (add().header("Content-Type", "application/jsonl"), 415),
        (add().without("Content-Type"), 415),
    ] {
        assert_error(&mut client, &request, status, INVALID_REQUEST);
    }
    // The version that the head names has no sessions, so nothing to GET and DELETE.
    let all = "POST, GET, DELETE";
    for (method, allow) in
        [("GET", "POST"), ("DELETE", "POST"), ("PUT", all), ("OPTIONS", all), ("post", all)]
    {
        let answer = client.ask(&add().line(&format!("{method} /mcp HTTP/1.1")));
        assert_eq!((answer.status, answer.header("Allow")), (405, Some(allow)), "{method}");
    }
    for request in [
        add().header("Accept", "*/*"),
        add().header("Accept", "text/event-stream;q=0.5, application/*"),
        add().without("Accept"),
        add().header("Content-Type", "Application/JSON; charset=utf-8"),
        add().line("POST /mcp?session=1 HTTP/1.1"),
    ] {
        assert_eq!(client.ask(&request).text(), "3", "{request:?}");
    }
    let server = Server::start("--path /tools/v1");
    let answer = server.connect().ask(&add().line("POST /tools/v1 HTTP/1.1"));
    assert_eq!(answer.text(), "3");
    assert_eq!(server.connect().ask(&add()).status, 404);
}

#[test]
fn notifications_are_accepted_and_responses_are_not_asked_for() {
    let server = Server::start("");
    let mut client = server.connect();
    let cancelled = plain(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}"#);
    let answer = client.ask(&cancelled.header("Mcp-Method", "notifications/cancelled"));
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    let response = plain(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_error(&mut client, &response, 400, INVALID_REQUEST);
}

#[test]
fn results_carry_what_the_version_asks_for() {
    let server = Server::start("");
    let mut client = server.connect();
    let mut ask = |method: &str, params: Value| client.ask(&request(method, params)).result();
    let name = json!("ringmesh");
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/read", json!({"uri": "ringmesh://status"})),
        ("resources/read", json!({"uri": "ringmesh://tools/add"})),
    ] {
        let result = ask(method, params);
        assert_eq!(result["resultType"], "complete", "{method}: {result}");
        let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(info["name"], name, "{method}: {result}");
        assert!(result["ttlMs"].is_u64(), "{method}: {result}");
        assert!(matches!(result["cacheScope"].as_str(), Some("public" | "private")), "{method}");
    }
    let discovered = ask("server/discover", json!({}));
    assert_eq!(discovered["supportedVersions"], json!([VERSION]));
    assert_eq!(discovered["capabilities"]["tools"]["listChanged"], true);

    let called = ask("tools/call", json!({"name": "time"}));
    assert!(called["structuredContent"]["unixMs"].is_u64(), "{called}");
    let complete = json!({
        "ref": {"type": "ref/resource", "uri": "ringmesh://tools/{name}"},
        "argument": {"name": "name", "value": "sl"},
    });
    assert_eq!(ask("completion/complete", complete)["completion"]["values"], json!(["sleep_ms"]));
    let got = ask("prompts/get", json!({"name": "explain_tool", "arguments": {"tool": "add"}}));
    assert_eq!(got["messages"][0]["role"], "user", "{got}");
}

#[test]
fn wrong_names_and_arguments_are_told() {
    let server = Server::start("");
    let mut client = server.connect();
    let read = |uri: &str| request("resources/read", json!({"uri": uri})).id("seven");
    let list = |cursor: Value| request("tools/list", json!({"cursor": cursor}));
    let error = assert_error(&mut client, &read("ringmesh://no"), 400, INVALID_PARAMS);
    assert_eq!(error["error"]["data"]["uri"], "ringmesh://no");
    let error = assert_error(&mut client, &read("ringmesh://tools/no"), 400, INVALID_PARAMS);
    assert_eq!(error["error"]["data"]["uri"], "ringmesh://tools/no");
    for request in [
        call("no_such", json!({})),
        call("add", json!([1, 2])),
        call("add", json!("1+2")),
        request("prompts/get", json!({"name": "no_such"})),
        request("prompts/get", json!({"name": "explain_tool", "arguments": {}})),
        request("completion/complete", json!({})),
        request("subscriptions/listen", json!({})),
        list(json!("no such page")),
        list(json!(7)),
    ] {
        assert_error(&mut client, &request, 400, INVALID_PARAMS);
    }
    // What a model can mend is told to the model.
    for arguments in [json!({}), json!({"a": 1}), json!({"a": "one", "b": 2})] {
        let result = client.ask(&call("add", arguments.clone())).result();
        assert_eq!(result["isError"], true, "{arguments}");
        let text = result["content"][0]["text"].as_str().expect("text");
        assert!(text.contains("arguments"), "{text}");
    }
    // What the schema promises, the tool need not check.
    let answer = client.ask(&call("sleep_ms", json!({"ms": 60_000})));
    assert_eq!(answer.result()["isError"], true);
    assert_eq!(answer.text(), "arguments.ms: 60000 is greater than the maximum of 59999");
}

#[test]
fn progress_comes_as_events_where_it_is_asked_for() {
    let server = Server::start("");
    let mut client = server.connect();
    for token in [json!("a token"), json!(7)] {
        let sleep = call("sleep_ms", json!({"ms": 350})).id("nap").progress(token.clone());
        client.send(sleep.bytes()).stream_head();
        let mut last = 0.0;
        let result = loop {
            let message = client.message().expect("the result before the end");
            if message.get("id").is_some() {
                break message;
            }
            assert_eq!(message["method"], "notifications/progress");
            assert_eq!(message["params"]["progressToken"], token);
            assert_eq!(message["params"]["total"], 350.0);
            let progress = message["params"]["progress"].as_f64().expect("a number");
            assert!(progress > last, "{progress} after {last}");
            last = progress;
        };
        assert_eq!(last, 350.0);
        assert_eq!(result["id"], "nap");
        assert_eq!(result["result"]["content"][0]["text"], "slept 350 ms");
        assert_eq!(client.message(), None, "the result ends the stream");
        // The connection goes on.
        assert_eq!(client.ask(&add()).text(), "3");
    }
    // Without a token the answer is plain JSON.
    assert_eq!(client.ask(&call("sleep_ms", json!({"ms": 150}))).text(), "slept 150 ms");
    drop(client);
    server.assert_clean();
}

#[test]
fn trace_context_is_taken() {
    let server = Server::start("");
    let mut client = server.connect();
    let traced = |traceparent: Value| {
        add().edit(|message| {
            let meta = &mut message["params"]["_meta"];
            meta["traceparent"] = traceparent;
            meta["tracestate"] = json!("vendor=value");
            meta["baggage"] = json!("user=1");
        })
    };
    let whole = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    // A trace that cannot be read is no reason to refuse the work.
    for traceparent in [json!(whole), json!("00-nonsense"), json!("")] {
        assert_eq!(client.ask(&traced(traceparent)).text(), "3");
    }
}

#[test]
fn a_client_that_goes_away_cancels_its_call() {
    let server = Server::start("");
    let sleep = call("sleep_ms", json!({"ms": 50_000}));
    let mut clients: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    clients[0].send(sleep.bytes());
    clients[1].send(sleep.progress(1).bytes()).stream_head();
    let running = |status: &Value, count: u64| {
        status["totals"]["calls_in_flight"] == count && status["pools"]["async_running"] == count
    };
    server.wait_for("two calls", |status| running(status, 2));
    drop(clients);
    let status = server.wait_for("no call", |status| running(status, 0));
    assert_eq!(status["shards"][0]["requests_by_outcome"]["cancelled"], 2);
    // Not because the time was over.
    assert!(status["uptime_s"].as_f64().expect("seconds") < 45.0);
    server.assert_clean();
}
