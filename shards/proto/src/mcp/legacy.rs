//! Parameters of the requests and notifications that only the legacy era has (2025-03-26 to
//! 2025-11-25), as borrowed views, and of `notifications/cancelled`, which both eras have.
//!
//! Unknown members are ignored, known ones of the wrong type refused. What the eras share, such as
//! the parameters of `tools/call`, is in [`super::Params`].

use serde::Deserialize;
use serde_json::value::RawValue;

use super::params::{Capabilities, LogLevel, ParamsError, object};
use crate::jsonrpc::{self, Id, Text, present};

/// There is no such resource (2025-11-25, server/resources, Error Handling); the modern era
/// answers with [`jsonrpc::INVALID_PARAMS`].
pub const RESOURCE_NOT_FOUND: i64 = -32002;

/// `initialize` (basic/lifecycle, Initialization).
#[derive(Debug, Deserialize)]
pub struct Initialize<'a> {
    /// The version that the client would speak: ask [`super::Version::negotiate`].
    #[serde(borrow, rename = "protocolVersion")]
    pub protocol_version: Text<'a>,
    /// What the client can do. The schemas require it; a client without it declares nothing.
    #[serde(default, deserialize_with = "capabilities")]
    pub capabilities: Capabilities,
    /// JSON text of the client's name and version. The schemas require it; it serves no purpose
    /// but to be shown.
    #[serde(default, borrow, rename = "clientInfo", deserialize_with = "present")]
    pub client_info: Option<&'a RawValue>,
}

/// `logging/setLevel` (server/utilities/logging).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SetLevel {
    /// Least level of the log messages that the client wants.
    pub level: LogLevel,
}

/// `notifications/cancelled` (basic/utilities/cancellation): the sender wants no answer any more.
///
/// Since 2025-11-25 the id may be missing where a task is cancelled; such a notification names no
/// request, and is refused here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Cancelled<'a> {
    /// The request, which its sender sent earlier.
    #[serde(borrow, rename = "requestId")]
    pub request_id: Id<'a>,
}

/// `resources/subscribe` and `resources/unsubscribe` (server/resources, Subscriptions).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subscribe<'a> {
    /// The resource.
    #[serde(borrow)]
    pub uri: Text<'a>,
}

macro_rules! parse {
    ($($name:ty)*) => {
        $(
            impl<'a> $name {
                /// Reads the parameters.
                ///
                /// # Errors
                /// [`ParamsError`] where a member is missing or has the wrong type, or `raw` is
                /// no object.
                pub fn parse(raw: &'a RawValue) -> Result<Self, ParamsError> {
                    Ok(serde_json::from_str(object(raw)?)?)
                }
            }
        )*
    };
}

parse! { Initialize<'a> Cancelled<'a> Subscribe<'a> }

impl SetLevel {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`ParamsError`] where the level is missing or unknown, or `raw` is no object.
    pub fn parse(raw: &RawValue) -> Result<Self, ParamsError> {
        Ok(serde_json::from_str(object(raw)?)?)
    }
}

/// An object alone: serde would read the structure from an array as well.
fn capabilities<'de, D>(deserializer: D) -> Result<Capabilities, D::Error>
where
    D: serde::Deserializer<'de>,
{
    jsonrpc::object(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jsonrpc::{Incoming, parse};
    use crate::mcp::{Capability, Version};

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("valid JSON")
    }

    /// The example of 2025-11-25, basic/lifecycle, Initialization.
    const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{
        "protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true},"sampling":{},
        "elicitation":{"form":{},"url":{}},"tasks":{"requests":{"elicitation":{"create":{}},
        "sampling":{"createMessage":{}}}}},"clientInfo":{"name":"ExampleClient",
        "title":"Example Client Display Name","version":"1.0.0",
        "description":"An example MCP client application","icons":[{
        "src":"https://example.com/icon.png","mimeType":"image/png","sizes":["48x48"]}],
        "websiteUrl":"https://example.com"}}}"#;

    #[test]
    fn the_official_handshake_is_read() {
        let Ok(Incoming::Request { method, params: Some(params), .. }) =
            parse(INITIALIZE.as_bytes())
        else {
            panic!("a request")
        };
        assert_eq!(method, "initialize");
        let read = Initialize::parse(params).expect("valid params");
        assert_eq!(Version::negotiate(read.protocol_version.as_str()), Version::V2025_11_25);
        for (capability, declared) in [
            (Capability::Sampling, true),
            (Capability::SamplingTools, false),
            (Capability::Elicitation, true),
            (Capability::ElicitationUrl, true),
            (Capability::Roots, true),
        ] {
            assert_eq!(read.capabilities.has(capability), declared, "{capability:?}");
        }
        assert!(read.client_info.is_some_and(|info| info.get().contains("ExampleClient")));
    }

    #[test]
    fn handshakes() {
        // Whether it is read, and whether sampling was declared.
        for (json, read) in [
            (r#"{"protocolVersion":"2025-03-26"}"#, Some(false)),
            (r#"{"protocolVersion":"\u0032","capabilities":{"sampling":{}},"x":[1]}"#, Some(true)),
            (r#"{"protocolVersion":"","capabilities":{"experimental":{"a":{}}}}"#, Some(false)),
            (r#"{"protocolVersion":"a","clientInfo":null}"#, Some(false)),
            (r#"{"protocolVersion":"a","capabilities":null}"#, None),
            (r#"{"protocolVersion":"a","capabilities":[]}"#, None),
            (r#"{"protocolVersion":"a","capabilities":{"sampling":5}}"#, None),
            (r#"{"protocolVersion":20250326}"#, None),
            (r#"{"protocolVersion":null}"#, None),
            (r#"{"capabilities":{}}"#, None),
            ("{}", None),
            (r#"["2025-03-26",{},{}]"#, None),
            ("null", None),
        ] {
            let parsed = Initialize::parse(raw(json)).ok();
            let sampling = parsed.map(|read| read.capabilities.has(Capability::Sampling));
            assert_eq!(sampling, read, "{json}");
        }
    }

    #[test]
    fn levels() {
        for (level, name) in LogLevel::ALL {
            let json = format!(r#"{{"level":"{name}","_meta":{{}}}}"#);
            assert_eq!(SetLevel::parse(raw(&json)).ok(), Some(SetLevel { level }), "{json}");
        }
        for json in [
            r#"{"level":"loud"}"#,
            r#"{"level":"Info"}"#,
            r#"{"level":""}"#,
            r#"{"level":3}"#,
            r#"{"level":null}"#,
            r#"{"level":{"info":{}}}"#,
            "{}",
            r#"["info"]"#,
            r#""info""#,
        ] {
            assert!(SetLevel::parse(raw(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn cancellations() {
        // The first is the example of basic/utilities/cancellation.
        for (json, id) in [
            (r#"{"requestId":"123","reason":"User requested cancellation"}"#, Some("\"123\"")),
            (r#"{"requestId":7}"#, Some("7")),
            (r#"{"requestId":-7,"reason":5}"#, Some("-7")),
            (r#"{"requestId":1.5}"#, None),
            (r#"{"requestId":null}"#, None),
            (r#"{"requestId":[1]}"#, None),
            (r#"{"reason":"x"}"#, None),
            ("[1]", None),
        ] {
            let read = Cancelled::parse(raw(json)).ok().map(|read| read.request_id.as_json());
            assert_eq!(read, id, "{json}");
        }
    }

    #[test]
    fn subscriptions() {
        for (json, uri) in [
            (r#"{"uri":"file:///project/src/main.rs"}"#, Some("file:///project/src/main.rs")),
            (r#"{"uri":"a\/b","_meta":{}}"#, Some("a/b")),
            (r#"{"uri":5}"#, None),
            ("{}", None),
            (r#"["a"]"#, None),
        ] {
            let read = Subscribe::parse(raw(json)).ok();
            assert_eq!(read.as_ref().map(|read| read.uri.as_str()), uri, "{json}");
        }
    }

    proptest! {
        /// Edits of a valid message are read or refused, whichever parameters they are taken for.
        #[test]
        fn any_json_is_judged(
            edits in prop::collection::vec((0..300_usize, 0..3_u8, r#"[-{}\[\]",:a1\\ ]"#), 0..4),
        ) {
            let mut text = r#"{"protocolVersion":"a","capabilities":{"roots":{},"x":[1,{}]},
                "clientInfo":{"name":"n"},"level":"info","requestId":7,"uri":"u"}"#.to_owned();
            for (at, kind, with) in edits {
                let at = at % text.len();
                match kind {
                    0 => drop(text.remove(at)),
                    1 => text.replace_range(at..=at, &with),
                    _ => text.insert_str(at, &with),
                }
            }
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&text) {
                let read = (Initialize::parse(raw).is_ok(), Subscribe::parse(raw).is_ok());
                if let Ok(cancelled) = Cancelled::parse(raw) {
                    prop_assert!(Id::from_json(cancelled.request_id.as_json()).is_some());
                }
                let object = raw.get().starts_with('{');
                prop_assert!(object || read == (false, false) && SetLevel::parse(raw).is_err());
            }
        }
    }
}
