//! What a workload calls, and how it speaks.

use ringmesh_proto::mcp::Version;
use ringmesh_runtime::load::script::{CallSpec, Kind};
use serde_json::{Value, json};

use super::text::{Defaults, Pace, Speech, Workload};
use crate::config::Size;

const TOOL_DEFAULT: &str = "add";
/// URIs of one listener.
const URIS_MAX: usize = 16;
const DEPTH_MAX: u32 = 1024;
/// Longest body of a request, as servers of this kind take by default.
const PAYLOAD_MAX: u64 = 4 << 20;
/// A request's id.
const ID: u64 = 1_000_000_000;

/// What becomes of one workload's keys.
#[derive(Debug)]
pub(super) struct Doing {
    pub(super) kind: Kind,
    pub(super) call: CallSpec,
    pub(super) depth: u16,
    pub(super) closed: bool,
    pub(super) reads: bool,
}

impl Doing {
    /// Whether it makes calls.
    pub(super) fn calls(&self) -> bool {
        !matches!(self.kind, Kind::Listen { .. })
    }
}

/// Resolves how a workload speaks and what it calls; what is wrong is told without the place.
pub(super) fn doing(workload: &Workload, defaults: &Defaults) -> Result<Doing, String> {
    refuse_foreign_keys(workload)?;
    let kind = kind(workload, defaults)?;
    let listens = workload.kind == Speech::Listen;
    let call = if listens { CallSpec::default() } else { call(workload, defaults, &kind)? };
    let depth = workload.depth.or(defaults.depth).map_or(1, |depth| depth.0);
    let depth = u16::try_from(depth).ok().filter(|of| (1..=DEPTH_MAX).contains(&u32::from(*of)));
    Ok(Doing {
        kind,
        call,
        depth: depth.ok_or_else(|| format!("depth: use 1 to {DEPTH_MAX}"))?,
        closed: !listens && workload.pace.or(defaults.pace) == Some(Pace::Closed),
        reads: workload.reads.or(defaults.reads.filter(|_| listens)).unwrap_or(true),
    })
}

/// A key that means nothing to a kind is a misunderstanding.
fn refuse_foreign_keys(workload: &Workload) -> Result<(), String> {
    let listens = workload.kind == Speech::Listen;
    let streams = workload.kind == Speech::HttpSession;
    let given = [
        ("depth", workload.depth.is_some(), !listens),
        ("loop", workload.pace.is_some(), !listens),
        ("tool", workload.tool.is_some(), !listens),
        ("arguments", workload.arguments.is_some(), !listens),
        ("payload", workload.payload.is_some(), !listens),
        ("uris", workload.uris.is_some(), listens),
        ("reads", workload.reads.is_some(), listens),
        ("stream", workload.stream.is_some(), streams),
    ];
    let foreign = given.iter().find(|(_, given, fits)| *given && !fits);
    foreign.map_or(Ok(()), |(key, ..)| {
        Err(format!("{key} means nothing to kind = \"{}\"", workload.kind.name()))
    })?;
    if workload.payload.is_some() && (workload.tool.is_some() || workload.arguments.is_some()) {
        return Err("payload is a call of the tool echo: leave tool and arguments out".into());
    }
    Ok(())
}

fn kind(workload: &Workload, defaults: &Defaults) -> Result<Kind, String> {
    let speech = workload.kind;
    let version = version(speech, workload.version.as_deref())?;
    Ok(match speech {
        Speech::Http => Kind::Http,
        Speech::HttpSession => {
            let stream = workload.stream.or(defaults.stream).unwrap_or(true);
            Kind::HttpSession { version, stream }
        }
        Speech::Listen => {
            let uris = workload.uris.clone().or_else(|| defaults.uris.clone());
            let uris = uris.unwrap_or_else(|| vec![counter_uri(0)]);
            if uris.is_empty() || uris.len() > URIS_MAX {
                return Err(format!("uris: name 1 to {URIS_MAX}"));
            }
            Kind::Listen { uris }
        }
        Speech::Tcp | Speech::Stdio => Kind::Lines,
        Speech::TcpSession | Speech::StdioSession => Kind::LinesSession { version },
    })
}

/// What the demo server's tool `count` changes.
pub(super) fn counter_uri(index: usize) -> String {
    format!("ringmesh://counters/{index}")
}

fn version(speech: Speech, named: Option<&str>) -> Result<Version, String> {
    let fits = |version: &Version| version.is_modern() != speech.is_session();
    let newest = Version::ALL.into_iter().rfind(fits).expect("both eras have versions");
    let Some(name) = named else { return Ok(newest) };
    let known = Version::from_name(name.as_bytes()).filter(fits);
    known.ok_or_else(|| {
        let known: Vec<_> = Version::ALL.iter().filter(|of| fits(of)).map(|of| of.name()).collect();
        let kind = speech.name();
        format!("version = {name:?}: kind = \"{kind}\" speaks {}", known.join(", "))
    })
}

fn call(workload: &Workload, defaults: &Defaults, kind: &Kind) -> Result<CallSpec, String> {
    // A tool or a payload of its own takes the place of the defaults' altogether.
    let own = workload.tool.is_some() || workload.arguments.is_some();
    let payload = workload.payload.or(defaults.payload.filter(|_| !own));
    if let Some(payload) = payload {
        return echo(payload, kind);
    }
    let tool = workload.tool.as_ref().or(defaults.tool.as_ref());
    let arguments = match (&workload.arguments, &workload.tool, &defaults.arguments) {
        (Some(own), ..) | (None, None, Some(own)) => arguments(own)?,
        _ if tool.is_none_or(|tool| tool == TOOL_DEFAULT) => r#"{"a":2,"b":3}"#.to_owned(),
        _ => "{}".to_owned(),
    };
    let tool = tool.map_or(TOOL_DEFAULT, String::as_str);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    if tool.is_empty() || tool.len() > 128 || !tool.bytes().all(plain) {
        return Err(format!("tool = {tool:?}: write a name of 1 to 128 letters, digits, _ - . /"));
    }
    Ok(CallSpec { tool: tool.to_owned(), arguments })
}

fn arguments(table: &toml::Table) -> Result<String, String> {
    Ok(object(table)?.to_string())
}

fn object(table: &toml::Table) -> Result<Value, String> {
    let members = table.iter().map(|(key, value)| Ok((key.clone(), json_of(value)?)));
    Ok(Value::Object(members.collect::<Result<_, String>>()?))
}

fn json_of(value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) if number.is_finite() => (*number).into(),
        toml::Value::Float(_) => return Err("arguments: JSON has no such number".into()),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(all) => {
            Value::Array(all.iter().map(json_of).collect::<Result<_, String>>()?)
        }
        toml::Value::Table(table) => object(table)?,
    })
}

/// A call of `echo` whose request has a body (or is a line) of so many bytes, give or take a few
/// for the digits of its id.
fn echo(payload: Size, kind: &Kind) -> Result<CallSpec, String> {
    let least = body_bytes("echo", r#"{"text":""}"#, kind);
    if payload.bytes < least || payload.bytes > PAYLOAD_MAX {
        let bytes = payload.bytes;
        return Err(format!("payload = {bytes} bytes: use {least} to {PAYLOAD_MAX}"));
    }
    let text = usize::try_from(payload.bytes - least).expect("at most PAYLOAD_MAX");
    let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat(text));
    Ok(CallSpec { tool: "echo".into(), arguments })
}

/// Length of a call's body, as the runtime's clients write it: without spaces, ids of ten digits.
fn body_bytes(tool: &str, arguments: &str, kind: &Kind) -> u64 {
    let meta = match kind {
        Kind::Http | Kind::Listen { .. } | Kind::Lines => json!({
            "io.modelcontextprotocol/protocolVersion": Version::V2026_07_28.name(),
            "io.modelcontextprotocol/clientInfo": {"name": "ringmesh-load", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }),
        Kind::HttpSession { .. } | Kind::LinesSession { .. } => Value::Null,
    };
    let mut params = json!({"name": tool, "arguments": {}});
    if !meta.is_null() {
        params["_meta"] = meta;
    }
    let body = json!({"jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": params});
    (body.to_string().len() - "{}".len() + arguments.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Doing, String> {
        let workload: Workload = toml::from_str(text).expect("keys that there are");
        doing(&workload, &Defaults::default())
    }

    #[test]
    fn a_payload_is_the_size_of_a_body() {
        let doing = read("kind = \"http\"\npayload = \"1KiB\"").expect("a payload");
        assert_eq!(doing.call.tool, "echo");
        assert_eq!(body_bytes("echo", &doing.call.arguments, &doing.kind), 1_024);
        let session = read("kind = \"tcp-session\"\npayload = 1024").expect("a payload");
        assert!(session.call.arguments.len() > doing.call.arguments.len() + 100, "no _meta");
        for payload in ["64", "\"5MiB\""] {
            let wrong = read(&format!("kind = \"http\"\npayload = {payload}")).expect_err("no");
            assert!(wrong.contains("to 4194304"), "{wrong}");
        }
    }

    #[test]
    fn calls_are_what_was_written() {
        for (keys, tool, arguments) in [
            ("", "add", r#"{"a":2,"b":3}"#),
            ("tool = \"time\"", "time", "{}"),
            ("arguments = { b = 1.5, a = [true, \"x\"] }", "add", r#"{"a":[true,"x"],"b":1.5}"#),
            ("tool = \"echo\"\narguments = { text = \"\\\"\" }", "echo", r#"{"text":"\""}"#),
        ] {
            let doing = read(&format!("kind = \"http\"\n{keys}")).expect(keys);
            assert_eq!((&*doing.call.tool, &*doing.call.arguments), (tool, arguments), "{keys}");
        }
    }

    #[test]
    fn keys_that_mean_nothing_to_a_kind_are_refused() {
        for (keys, part) in [
            ("kind = \"listen\"\ndepth = 2", "depth means nothing"),
            ("kind = \"listen\"\nloop = \"closed\"", "loop means nothing"),
            ("kind = \"http\"\nuris = []", "uris means nothing"),
            ("kind = \"http\"\nstream = true", "stream means nothing"),
            ("kind = \"http\"\nversion = \"2025-06-18\"", "speaks 2026-07-28"),
            ("kind = \"http-session\"\nversion = \"2026-07-28\"", "2025-11-25"),
            ("kind = \"http\"\ndepth = 0", "depth: use 1 to"),
            ("kind = \"http\"\ntool = \"a\\r\\nb\"", "write a name"),
            ("kind = \"http\"\npayload = 1024\ntool = \"add\"", "leave tool and arguments"),
            ("kind = \"listen\"\nuris = []", "uris: name 1 to 16"),
            ("kind = \"http\"\narguments = { a = inf }", "no such number"),
        ] {
            let wrong = read(keys).expect_err(keys);
            assert!(wrong.contains(part), "{keys}: {wrong}");
        }
    }

    #[test]
    fn sessions_speak_the_newest_version_that_has_them() {
        let doing = read("kind = \"http-session\"").expect("a session");
        let version = Version::NEWEST_LEGACY;
        assert_eq!(doing.kind, Kind::HttpSession { version, stream: true });
        let older = read("kind = \"tcp-session\"\nversion = \"2025-03-26\"").expect("one");
        assert_eq!(older.kind, Kind::LinesSession { version: Version::V2025_03_26 });
    }
}
