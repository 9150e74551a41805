//! JSON-RPC 2.0 messages as MCP restricts them: ids are strings or integers, never null, and an
//! id that could not be read is omitted from the answer.
//!
//! Pure functions over borrowed bytes. Nothing allocates unless a name holds escapes, or a batch is
//! taken apart: only 2025-03-26 has batches, so [`parse`] refuses them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Invalid JSON was received.
pub const PARSE_ERROR: i64 = -32700;
/// The JSON is no valid request.
pub const INVALID_REQUEST: i64 = -32600;
/// The method does not exist.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters are invalid.
pub const INVALID_PARAMS: i64 = -32602;
/// The server failed.
pub const INTERNAL_ERROR: i64 = -32603;

/// Deepest nesting of arrays and objects that is accepted.
pub const DEPTH_MAX: usize = 64;
/// Longest id that is accepted, in bytes of JSON text: ids are echoed in every message of a stream.
pub const ID_BYTES_MAX: usize = 512;

/// A request id: the JSON text as the client wrote it, echoed verbatim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// Takes JSON text that is a string or an integer of at most [`ID_BYTES_MAX`] bytes.
    pub fn from_json(text: &'a str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let accepted = text.len() <= ID_BYTES_MAX && (text.starts_with('"') || integer);
        accepted.then_some(Self(text))
    }

    /// The JSON text.
    pub fn as_json(self) -> &'a str {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Id::from_json(raw.get())
            .ok_or_else(|| serde::de::Error::custom("an id is a string or an integer"))
    }
}

/// One message from a client.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Expects an answer with the same id.
    Request {
        /// Echoed in the answer.
        id: Id<'a>,
        /// What to do.
        method: Cow<'a, str>,
        /// The JSON text of `params`, where there is one.
        params: Option<&'a RawValue>,
    },
    /// Expects no answer.
    Notification {
        /// What happened.
        method: Cow<'a, str>,
        /// The JSON text of `params`, where there is one.
        params: Option<&'a RawValue>,
    },
    /// An answer to a request of the server (legacy versions alone have such requests).
    Response {
        /// The request that is answered.
        id: Id<'a>,
        /// JSON text of the result, of any shape, or of the error, an object.
        answer: Result<&'a RawValue, &'a RawValue>,
    },
}

/// What is wrong with a body that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no JSON.
    Syntax,
    /// It is nested deeper than [`DEPTH_MAX`].
    Depth,
    /// It is a batch where none is taken, an empty one, or one with too many messages.
    Batch,
    /// It is JSON of another shape.
    Shape,
}

/// Why a body is no message. The client is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed<'a> {
    /// [`PARSE_ERROR`] or [`INVALID_REQUEST`].
    pub code: i64,
    /// The kind of fault.
    pub fault: Fault,
    /// For the client's developer.
    pub message: &'static str,
    /// The id, where it could be read.
    pub id: Option<Id<'a>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default, borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    method: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A string that borrows from the input where it holds no escapes, inside an `Option` too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Text<'_> {
    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells an explicit `null` (`Some`) from an absent member (`None`).
pub(crate) fn present<'de, D>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error>
where
    D: Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one message.
///
/// # Errors
/// [`Malformed`] with [`PARSE_ERROR`] for what is no JSON or no UTF-8, and with
/// [`INVALID_REQUEST`] for what is no single JSON-RPC 2.0 message, or nested deeper than
/// [`DEPTH_MAX`].
pub fn parse(body: &[u8]) -> Result<Incoming<'_>, Malformed<'_>> {
    let text = shallow_text(body)?;
    // serde would read a struct from an array as well.
    if text.trim_ascii_start().starts_with('[') {
        return Err(invalid_shape(text));
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => return Err(invalid_shape(text)),
        Err(_) => {
            let (code, fault) = (PARSE_ERROR, Fault::Syntax);
            return Err(Malformed { code, fault, message: NOT_JSON, id: None });
        }
    };
    classify(envelope)
}

const NOT_JSON: &str = "body is not valid JSON";

fn shallow_text(body: &[u8]) -> Result<&str, Malformed<'_>> {
    let refused = |code, fault, message| Malformed { code, fault, message, id: None };
    let text = std::str::from_utf8(body)
        .map_err(|_| refused(PARSE_ERROR, Fault::Syntax, "body is not UTF-8"))?;
    if !is_shallow(body) {
        return Err(refused(INVALID_REQUEST, Fault::Depth, "body is nested too deeply"));
    }
    Ok(text)
}

/// A request whose parameters were read with it.
#[derive(Debug)]
pub struct Asked<'a, P> {
    /// Echoed in the answer.
    pub id: Id<'a>,
    /// What to do.
    pub method: Cow<'a, str>,
    /// The parameters, where there are any.
    pub params: Option<P>,
}

/// Reads a request and its parameters, an object, in one pass. `None`: [`parse`] tells what the
/// body is, or what is wrong with it; what is read here is what it would read.
///
/// This allocates nothing where no text holds escapes and no member that `P` does not know, or
/// leaves as JSON text, is nested: finding the end of nested JSON takes serde_json a buffer.
pub fn parse_request<'a, P: Deserialize<'a>>(body: &'a [u8]) -> Option<Asked<'a, P>> {
    #[derive(Deserialize)]
    #[serde(bound(deserialize = "P: Deserialize<'de>"))]
    struct Whole<'a, P> {
        #[serde(borrow)]
        jsonrpc: Text<'a>,
        #[serde(borrow)]
        id: &'a RawValue,
        #[serde(borrow)]
        method: Text<'a>,
        #[serde(default = "none", deserialize_with = "object")]
        params: Option<P>,
        #[serde(default, borrow, deserialize_with = "present")]
        result: Option<&'a RawValue>,
        #[serde(default, borrow, deserialize_with = "present")]
        error: Option<&'a RawValue>,
    }
    let text = std::str::from_utf8(body).ok()?;
    if !is_shallow(body) || text.trim_ascii_start().starts_with('[') {
        return None;
    }
    let whole: Whole<'a, P> = serde_json::from_str(text).ok()?;
    let request = whole.result.is_none() && whole.error.is_none();
    if !request || whole.jsonrpc.as_str() != "2.0" {
        return None;
    }
    Some(Asked { id: Id::from_json(whole.id.get())?, method: whole.method.0, params: whole.params })
}

fn none<P>() -> Option<P> {
    None
}

/// Reads a value from an object alone: serde would read a struct from an array as well.
pub(crate) fn object<'de, D, P>(deserializer: D) -> Result<Option<P>, D::Error>
where
    D: Deserializer<'de>,
    P: Deserialize<'de>,
{
    struct Object<P>(PhantomData<P>);

    impl<'de, P: Deserialize<'de>> Visitor<'de> for Object<P> {
        type Value = P;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<P, A::Error> {
            P::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData)).map(Some)
}

fn classify(envelope: Envelope<'_>) -> Result<Incoming<'_>, Malformed<'_>> {
    let id = envelope.id.map(|raw| Id::from_json(raw.get()));
    let invalid = |message| Malformed {
        code: INVALID_REQUEST,
        fault: Fault::Shape,
        message,
        id: id.and_then(|read| read),
    };
    if envelope.jsonrpc.as_ref().is_none_or(|version| version.as_str() != "2.0") {
        return Err(invalid("jsonrpc must be \"2.0\""));
    }
    if id == Some(None) {
        return Err(invalid("id must be a string or an integer"));
    }
    let id = id.and_then(|read| read);
    let Envelope { method, params, result, error, .. } = envelope;
    match (method, id, result, error) {
        (Some(Text(method)), Some(id), None, None) => Ok(Incoming::Request { id, method, params }),
        (Some(Text(method)), None, None, None) => Ok(Incoming::Notification { method, params }),
        (Some(_), ..) => Err(invalid("a message is a request or a response, not both")),
        (None, Some(id), Some(result), None) => Ok(Incoming::Response { id, answer: Ok(result) }),
        (None, Some(id), None, Some(error)) if error.get().starts_with('{') => {
            Ok(Incoming::Response { id, answer: Err(error) })
        }
        (None, Some(_), None, Some(_)) => Err(invalid("error must be an object")),
        (None, Some(_), Some(_), Some(_)) => {
            Err(invalid("a response has a result or an error, not both"))
        }
        (None, ..) => Err(invalid("method is missing")),
    }
}

/// Whether a body would be a batch, an array of messages: whether it begins so.
pub fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}

/// Takes a batch apart (JSON-RPC 2.0, section 6; 2025-03-26, basic, Batching): the JSON text of
/// each of its messages, for [`parse`], which may find each of them to be none.
///
/// # Errors
/// [`Malformed`] with [`PARSE_ERROR`] for what is no JSON or no UTF-8, and with
/// [`INVALID_REQUEST`] for what is no array, nested deeper than [`DEPTH_MAX`], empty, or of more
/// than `max` messages. No id is told: there is none for a whole batch.
pub fn parse_batch(body: &[u8], max: usize) -> Result<Vec<&[u8]>, Malformed<'_>> {
    let text = shallow_text(body)?;
    let refused = |code, fault, message| Err(Malformed { code, fault, message, id: None });
    let Batch { messages, over } = match read_batch(text, max) {
        Ok(batch) => batch,
        Err(error) if error.is_data() && serde_json::from_str::<&RawValue>(text).is_ok() => {
            return refused(INVALID_REQUEST, Fault::Shape, "body is not a batch");
        }
        Err(_) => return refused(PARSE_ERROR, Fault::Syntax, NOT_JSON),
    };
    match messages.len() {
        0 => refused(INVALID_REQUEST, Fault::Batch, "a batch holds at least one message"),
        _ if over => refused(INVALID_REQUEST, Fault::Batch, "a batch has too many messages"),
        _ => Ok(messages),
    }
}

struct Batch<'a> {
    messages: Vec<&'a [u8]>,
    /// Whether there were more than were to be kept.
    over: bool,
}

/// Keeps `max` messages, and reads the others only for their syntax: a body of many tiny values
/// must not grow into a large list.
fn read_batch(text: &str, max: usize) -> serde_json::Result<Batch<'_>> {
    struct Messages(usize);

    impl<'de> Visitor<'de> for Messages {
        type Value = Batch<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of messages")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            let mut messages = Vec::new();
            while messages.len() < self.0 {
                match array.next_element::<&RawValue>()? {
                    Some(raw) => messages.push(raw.get().as_bytes()),
                    None => return Ok(Batch { messages, over: false }),
                }
            }
            let mut over = false;
            while array.next_element::<IgnoredAny>()?.is_some() {
                over = true;
            }
            Ok(Batch { messages, over })
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    let batch = deserializer.deserialize_seq(Messages(max))?;
    deserializer.end()?;
    Ok(batch)
}

/// Valid JSON of the wrong shape: tells a batch, and finds the id where there is one.
#[cold]
fn invalid_shape(text: &str) -> Malformed<'_> {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(default, borrow, deserialize_with = "present")]
        id: Option<&'a RawValue>,
    }
    let (shape, message) = if text.trim_start().starts_with('[') {
        (Fault::Batch, "batches are not supported")
    } else {
        (Fault::Shape, "body is not a JSON-RPC message")
    };
    let id = serde_json::from_str::<OnlyId<'_>>(text)
        .ok()
        .and_then(|found| found.id)
        .and_then(|raw| Id::from_json(raw.get()));
    // serde reports some syntax errors behind the first wrong type as data errors: look again.
    let (code, fault) = if serde_json::from_str::<&RawValue>(text).is_ok() {
        (INVALID_REQUEST, shape)
    } else {
        (PARSE_ERROR, Fault::Syntax)
    };
    Malformed { code, fault, message, id }
}

/// Whether no value is nested deeper than [`DEPTH_MAX`]. serde_json skips what it ignores without
/// counting, so its own limit does not hold here.
pub fn is_shallow(body: &[u8]) -> bool {
    // Few brackets in all cannot be nested deeply: this vectorised count settles nearly all bodies.
    if memchr::memchr2_iter(b'{', b'[', body).nth(DEPTH_MAX).is_none() {
        return true;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for &byte in body {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return false;
        }
    }
    true
}

/// Writes `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    write_json(out, text);
}

/// Writes any value whose serialisation cannot fail: strings, numbers, derived structures of them.
pub fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let mark = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // A map with keys that are no strings, or a user's own Serialize that fails.
        out.truncate(mark);
        out.extend_from_slice(b"null");
    }
}

/// Writes the start of a message up to the member after the id: `{"jsonrpc":"2.0","id":…`.
pub fn write_open(out: &mut Vec<u8>, id: Option<Id<'_>>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_json().as_bytes());
    }
}

/// Writes a whole error response; `data` is JSON text.
pub fn write_error(
    out: &mut Vec<u8>,
    id: Option<Id<'_>>,
    code: i64,
    message: &str,
    data: Option<&str>,
) {
    write_open(out, id);
    out.extend_from_slice(b",\"error\":{");
    write_error_members(out, code, message, data);
    out.extend_from_slice(b"}}");
}

/// Writes the members of an error object; `data` is JSON text.
pub fn write_error_members(out: &mut Vec<u8>, code: i64, message: &str, data: Option<&str>) {
    out.extend_from_slice(b"\"code\":");
    out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
    out.extend_from_slice(b",\"message\":");
    write_string(out, message);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_requests_notifications_and_responses() {
        let request = br#" {"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"a":1}} "#;
        match parse(request) {
            Ok(Incoming::Request { id, method, params }) => {
                assert_eq!(id.as_json(), "7");
                assert!(matches!(method, Cow::Borrowed("tools/list")));
                assert_eq!(params.map(RawValue::get), Some("{\"a\":1}"));
            }
            other => panic!("{other:?}"),
        }
        let note = br#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
        assert!(matches!(parse(note), Ok(Incoming::Notification { params: None, .. })));
    }

    #[test]
    fn responses_tell_their_answer() {
        for (members, expected) in [
            (r#""id":"x","result":{"a":1}"#, Ok(("\"x\"", Ok(r#"{"a":1}"#)))),
            (r#""result":null,"id":5"#, Ok(("5", Ok("null")))),
            (
                r#""id":1,"error":{"code":-1,"message":"User rejected"}"#,
                Ok(("1", Err(r#"{"code":-1,"message":"User rejected"}"#))),
            ),
            (r#""id":1,"error":{},"params":5"#, Ok(("1", Err("{}")))),
            (r#""id":1,"error":null"#, Err("error must be an object")),
            (r#""id":1,"error":[1]"#, Err("error must be an object")),
            (
                r#""id":1,"result":{},"error":{}"#,
                Err("a response has a result or an error, not both"),
            ),
            (
                r#""id":1,"result":{},"error":null"#,
                Err("a response has a result or an error, not both"),
            ),
            (
                r#""id":1,"method":"x","error":{}"#,
                Err("a message is a request or a response, not both"),
            ),
            (r#""method":"x","result":{}"#, Err("a message is a request or a response, not both")),
            (r#""result":{}"#, Err("method is missing")),
            (r#""id":null,"error":{}"#, Err("id must be a string or an integer")),
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0",{members}}}"#);
            let read = match parse(body.as_bytes()) {
                Ok(Incoming::Response { id, answer }) => {
                    Ok((id.as_json(), answer.map(RawValue::get).map_err(RawValue::get)))
                }
                Ok(other) => panic!("{body}: {other:?}"),
                Err(malformed) => {
                    assert_eq!((malformed.code, malformed.fault), (INVALID_REQUEST, Fault::Shape));
                    Err(malformed.message)
                }
            };
            assert_eq!(read, expected, "{body}");
        }
    }

    #[test]
    fn batches_are_taken_apart() {
        let deep = format!("{}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        let many = format!("[{}1]", "1,".repeat(3));
        type Read<T> = Result<T, (i64, Fault)>;
        let table: [(&[u8], Read<&[&str]>); 15] = [
            (br#"[{"a":[1]}]"#, Ok(&[r#"{"a":[1]}"#])),
            (b" [ 1 ,\r\n \"x,]\" ,[]\t] \n", Ok(&["1", "\"x,]\"", "[]"])),
            (b"[]", Err((INVALID_REQUEST, Fault::Batch))),
            (b" [ ] ", Err((INVALID_REQUEST, Fault::Batch))),
            (many.as_bytes(), Err((INVALID_REQUEST, Fault::Batch))),
            (b"[1,2,3,4,", Err((PARSE_ERROR, Fault::Syntax))),
            (b"[1,2,3,x]", Err((PARSE_ERROR, Fault::Syntax))),
            (b"{}", Err((INVALID_REQUEST, Fault::Shape))),
            (b"5", Err((INVALID_REQUEST, Fault::Shape))),
            (b"{5", Err((PARSE_ERROR, Fault::Syntax))),
            (b"", Err((PARSE_ERROR, Fault::Syntax))),
            (b"[1", Err((PARSE_ERROR, Fault::Syntax))),
            (b"[1]]", Err((PARSE_ERROR, Fault::Syntax))),
            (b"[\"\xff\"]", Err((PARSE_ERROR, Fault::Syntax))),
            (deep.as_bytes(), Err((INVALID_REQUEST, Fault::Depth))),
        ];
        for (body, expected) in table {
            let shown = String::from_utf8_lossy(body);
            let read = match parse_batch(body, 3) {
                Ok(messages) => Ok(messages),
                Err(malformed) => {
                    assert_eq!(malformed.id, None);
                    Err((malformed.code, malformed.fault))
                }
            };
            let expected = expected.map(|texts| texts.iter().map(|t| t.as_bytes()).collect());
            assert_eq!(read, expected, "{shown}");
        }
        assert!(is_batch(b"\r\n\t [") && is_batch(b"[1"));
        assert!(!is_batch(b"{[") && !is_batch(b"") && !is_batch(b"  "));
    }

    proptest! {
        #[test]
        fn batches_come_back(
            texts in prop::collection::vec("[^\u{0}-\u{1f}]{0,20}", 1..9),
            spaces in prop::collection::vec("[ \r\n\t]{0,3}", 20),
            max in 0..10_usize,
        ) {
            let mut spaces = spaces.into_iter().cycle();
            let mut space = || spaces.next().unwrap_or_default();
            let quoted: Vec<String> =
                texts.iter().map(|text| serde_json::to_string(text).expect("a string")).collect();
            let mut body = space() + "[";
            for (index, text) in quoted.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                body = body + comma + &space() + text + &space();
            }
            body = body + "]" + &space();
            prop_assert!(is_batch(body.as_bytes()));
            prop_assert_eq!(parse(body.as_bytes()).map_err(|m| m.fault).err(), Some(Fault::Batch));
            match parse_batch(body.as_bytes(), max) {
                Ok(messages) => {
                    let expected: Vec<_> = quoted.iter().map(|text| text.as_bytes()).collect();
                    prop_assert_eq!(messages, expected);
                    prop_assert!(texts.len() <= max);
                }
                Err(malformed) => {
                    prop_assert_eq!(malformed.fault, Fault::Batch);
                    prop_assert!(texts.len() > max);
                }
            }
        }

        #[test]
        fn any_bytes_are_judged(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            text in r#"[-{}\[\]",:a1\\ \n]{0,40}"#,
            max in 0..4_usize,
        ) {
            for body in [&bytes[..], text.as_bytes()] {
                prop_assert!(parse(body).is_err());
                if let Ok(messages) = parse_batch(body, max) {
                    prop_assert!(is_batch(body) && (1..=max).contains(&messages.len()));
                    let whole: serde_json::Value =
                        serde_json::from_slice(body).expect("a batch is JSON");
                    prop_assert_eq!(whole.as_array().map(Vec::len), Some(messages.len()));
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_no_message() {
        let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
        let table: [(&[u8], i64, Option<&str>); 16] = [
            (b"", PARSE_ERROR, None),
            (b"{", PARSE_ERROR, None),
            (b"\xff\xfe", PARSE_ERROR, None),
            (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", PARSE_ERROR, None),
            (br#"{"jsonrpc":"2.0","id":1,"method":"x"} trailing"#, PARSE_ERROR, None),
            (br#"{"jsonrpc":"2.0","id":1,"method":5"#, PARSE_ERROR, None),
            (b"[]", INVALID_REQUEST, None),
            (br#" ["2.0",1,"x"]"#, INVALID_REQUEST, None),
            (b"5", INVALID_REQUEST, None),
            (br#"{"jsonrpc":"2.0","id":1,"method":5}"#, INVALID_REQUEST, Some("1")),
            (br#"{"jsonrpc":"1.0","id":"a","method":"x"}"#, INVALID_REQUEST, Some("\"a\"")),
            (br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, INVALID_REQUEST, None),
            (br#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, INVALID_REQUEST, None),
            (br#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, INVALID_REQUEST, None),
            (br#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST, Some("1")),
            (deep.as_bytes(), INVALID_REQUEST, None),
        ];
        for (body, code, id) in table {
            let refused = parse(body).expect_err("must be refused");
            let shown = String::from_utf8_lossy(body);
            assert_eq!((refused.code, refused.id.map(Id::as_json)), (code, id), "{shown}");
        }
    }

    #[test]
    fn one_pass_reads_what_two_read() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Pair<'a> {
            a: u8,
            #[serde(default, borrow)]
            b: Option<Text<'a>>,
        }
        for (body, one_pass) in [
            (r#" {"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"b":"t","c":[{}]}}"#, true),
            (r#"{"params":{"a":1},"method":"\u0078","id":"\u0031","jsonrpc":"2.0"}"#, true),
            (r#"{"jsonrpc":"2.0","id":-5,"method":"x"}"#, true),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":null}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":256}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","result":null}"#, false),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, false),
            (r#"{"jsonrpc":"2.0","method":"x"}"#, false),
            (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"}}"#, false),
            (r#"["2.0",1,"x"]"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, false),
        ] {
            let asked = parse_request::<Pair<'_>>(body.as_bytes());
            assert_eq!(asked.is_some(), one_pass, "{body}");
            let Some(asked) = asked else { continue };
            let Ok(Incoming::Request { id, method, params }) = parse(body.as_bytes()) else {
                panic!("no request: {body}")
            };
            let params: Option<Pair<'_>> = params
                .map(|raw| serde_json::from_str(raw.get()).expect("the parameters were read"));
            assert_eq!((asked.id, asked.method, asked.params), (id, method, params), "{body}");
        }
    }

    #[test]
    fn brackets_in_strings_are_no_depth() {
        let body = format!(r#"{{"jsonrpc":"2.0","method":"x","params":"{}\""}}"#, "[".repeat(500));
        assert!(is_shallow(body.as_bytes()));
        assert!(parse(body.as_bytes()).is_ok());
    }

    #[test]
    fn an_unread_id_is_omitted() {
        let mut out = Vec::new();
        write_error(&mut out, None, PARSE_ERROR, "say \"hi\"", Some("[1]"));
        let expected =
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"say \"hi\"","data":[1]}}"#;
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
    }
}
