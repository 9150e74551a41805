//! Parameters of the modern era's requests, as borrowed views.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::jsonrpc::{Id, Text, present};

/// Every parameter that some core method takes; a method looks at its own.
#[derive(Debug, Default, Deserialize)]
pub struct Params<'a> {
    /// Name of a tool or prompt.
    #[serde(default, borrow)]
    pub name: Option<Text<'a>>,
    /// URI of a resource.
    #[serde(default, borrow)]
    pub uri: Option<Text<'a>>,
    /// Where a list goes on; the empty string is a valid cursor.
    #[serde(default, borrow)]
    pub cursor: Option<Text<'a>>,
    /// JSON text of the arguments of a tool or prompt.
    #[serde(default, borrow, deserialize_with = "present")]
    pub arguments: Option<&'a RawValue>,
    /// The request's metadata.
    #[serde(default, borrow, rename = "_meta")]
    pub meta: Option<Meta<'a>>,
    /// JSON text of the answers to earlier input requests.
    #[serde(default, borrow, rename = "inputResponses", deserialize_with = "present")]
    pub input_responses: Option<&'a RawValue>,
    /// State that the server gave with its input requests.
    #[serde(default, borrow, rename = "requestState")]
    pub request_state: Option<Text<'a>>,
    /// What a completion is for.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Reference<'a>>,
    /// The argument to complete.
    #[serde(default, borrow)]
    pub argument: Option<Argument<'a>>,
    /// JSON text of the arguments already chosen, inside `{"arguments":{…}}`.
    #[serde(default, borrow, deserialize_with = "present")]
    pub context: Option<&'a RawValue>,
    /// What a `subscriptions/listen` asks for.
    #[serde(default, borrow)]
    pub notifications: Option<Filter<'a>>,
}

/// `_meta` of a modern request.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Meta<'a> {
    /// Required; its absence tells a request of the legacy era.
    #[serde(default, borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    pub protocol_version: Option<Text<'a>>,
    /// Required.
    #[serde(default, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub capabilities: Option<Capabilities>,
    /// JSON text of the client's name and version.
    #[serde(default, borrow, rename = "io.modelcontextprotocol/clientInfo")]
    pub client_info: Option<&'a RawValue>,
    /// Least level of log messages that the client wants on this request's stream.
    #[serde(default, borrow, rename = "io.modelcontextprotocol/logLevel")]
    pub log_level: Option<Text<'a>>,
    /// Asks for progress notifications.
    #[serde(default, borrow, rename = "progressToken")]
    pub progress_token: Option<Token<'a>>,
    /// W3C Trace Context.
    #[serde(default, borrow)]
    pub traceparent: Option<Text<'a>>,
    /// W3C Trace Context.
    #[serde(default, borrow)]
    pub tracestate: Option<Text<'a>>,
    /// W3C Baggage.
    #[serde(default, borrow)]
    pub baggage: Option<Text<'a>>,
}

/// A progress token: the JSON text of a string or an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a>(pub Id<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Token<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Id::from_json(raw.get())
            .map(Token)
            .ok_or_else(|| serde::de::Error::custom("a progress token is a string or an integer"))
    }
}

/// What a client declared that it can do, as far as servers ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Capabilities {
    #[serde(default)]
    sampling: Option<Sampling>,
    #[serde(default)]
    elicitation: Option<Elicitation>,
    #[serde(default)]
    roots: Option<Present>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Sampling {
    #[serde(default)]
    tools: Option<Present>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Elicitation {
    #[serde(default)]
    form: Option<Present>,
    #[serde(default)]
    url: Option<Present>,
}

/// Any object: only its presence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A client capability that a server may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `sampling/createMessage`.
    Sampling,
    /// Tools inside sampling.
    SamplingTools,
    /// `elicitation/create` with a form.
    Elicitation,
    /// `elicitation/create` with a URL.
    ElicitationUrl,
    /// `roots/list`.
    Roots,
}

impl Capability {
    /// JSON text for `data.requiredCapabilities` of a [`super::MISSING_CLIENT_CAPABILITY`] error.
    pub fn required_json(self) -> &'static str {
        match self {
            Self::Sampling => r#"{"sampling":{}}"#,
            Self::SamplingTools => r#"{"sampling":{"tools":{}}}"#,
            Self::Elicitation => r#"{"elicitation":{}}"#,
            Self::ElicitationUrl => r#"{"elicitation":{"url":{}}}"#,
            Self::Roots => r#"{"roots":{}}"#,
        }
    }
}

impl Capabilities {
    /// Whether the client declared it. An empty `elicitation` means forms.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Sampling => self.sampling.is_some(),
            Capability::SamplingTools => self.sampling.is_some_and(|s| s.tools.is_some()),
            Capability::Elicitation => {
                self.elicitation.is_some_and(|e| e.form.is_some() || e.url.is_none())
            }
            Capability::ElicitationUrl => self.elicitation.is_some_and(|e| e.url.is_some()),
            Capability::Roots => self.roots.is_some(),
        }
    }
}

/// Severity of a log message (RFC 5424), least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Detail for debugging.
    Debug,
    /// General information.
    Info,
    /// Normal but significant.
    Notice,
    /// Warning.
    Warning,
    /// Error.
    Error,
    /// Critical.
    Critical,
    /// Action must be taken at once.
    Alert,
    /// Unusable.
    Emergency,
}

impl LogLevel {
    /// All levels with their wire names, least severe first.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
        (Self::Error, "error"),
        (Self::Critical, "critical"),
        (Self::Alert, "alert"),
        (Self::Emergency, "emergency"),
    ];

    /// Reads a wire name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(level, known)| (known == name).then_some(level))
    }

    /// The wire name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        Self::from_name(name.as_str())
            .ok_or_else(|| serde::de::Error::custom("there is no such log level"))
    }
}

/// What a completion is for.
#[derive(Clone, Debug, Deserialize)]
pub struct Reference<'a> {
    /// `ref/prompt` or `ref/resource`.
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    /// Name of the prompt.
    #[serde(default, borrow)]
    pub name: Option<Text<'a>>,
    /// URI or URI template of the resource.
    #[serde(default, borrow)]
    pub uri: Option<Text<'a>>,
}

/// The argument to complete.
#[derive(Clone, Debug, Deserialize)]
pub struct Argument<'a> {
    /// Name of the argument.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// What was typed so far.
    #[serde(borrow)]
    pub value: Text<'a>,
}

/// What a `subscriptions/listen` asks for; what is absent is not asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Filter<'a> {
    /// `notifications/tools/list_changed`.
    #[serde(default, rename = "toolsListChanged")]
    pub tools: Option<bool>,
    /// `notifications/prompts/list_changed`.
    #[serde(default, rename = "promptsListChanged")]
    pub prompts: Option<bool>,
    /// `notifications/resources/list_changed`.
    #[serde(default, rename = "resourcesListChanged")]
    pub resources: Option<bool>,
    /// `notifications/resources/updated` for these URIs.
    #[serde(default, borrow, rename = "resourceSubscriptions")]
    pub uris: Option<Vec<Text<'a>>>,
}

/// Parameters of the wrong shape; the client is to blame.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// `params` must be an object.
    #[error("params must be an object")]
    NoObject,
    /// A member that the method knows has the wrong type.
    #[error("invalid params: {0}")]
    Member(#[from] serde_json::Error),
}

/// serde reads a struct from an array as well; MCP has objects only.
pub(super) fn object(params: &RawValue) -> Result<&str, ParamsError> {
    let text = params.get();
    if text.starts_with('{') { Ok(text) } else { Err(ParamsError::NoObject) }
}

impl<'a> Params<'a> {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`ParamsError`] where a known member has the wrong type, or `params` is no object.
    pub fn parse(params: &'a RawValue) -> Result<Self, ParamsError> {
        Ok(serde_json::from_str(object(params)?)?)
    }

    /// Reads `_meta` alone: for methods whose other parameters mean nothing to us.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_meta(params: &'a RawValue) -> Result<Self, ParamsError> {
        #[derive(Deserialize)]
        struct OnlyMeta<'a> {
            #[serde(default, borrow, rename = "_meta")]
            meta: Option<Meta<'a>>,
        }
        let only: OnlyMeta<'a> = serde_json::from_str(object(params)?)?;
        Ok(Self { meta: only.meta, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::{Incoming, parse, parse_request};
    use proptest::prelude::*;
    use std::borrow::Cow;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("valid JSON")
    }

    #[test]
    fn borrows_what_it_reads() {
        let params =
            Params::parse(raw(r#"{"name":"add","arguments":{"a":1},"_meta":{"progressToken":"t",
            "io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"x":[1]}}}"#))
            .expect("valid params");
        assert!(matches!(params.name, Some(Text(Cow::Borrowed("add")))));
        let meta = params.meta.expect("meta");
        assert_eq!(meta.progress_token.map(|token| token.0.as_json()), Some("\"t\""));
        let capabilities = meta.capabilities.expect("capabilities");
        assert!(capabilities.has(Capability::Elicitation));
        assert!(!capabilities.has(Capability::Sampling));
    }

    proptest! {
        /// Whatever one pass reads, two read as well, and the other way round.
        #[test]
        fn one_pass_agrees_with_two(
            edits in proptest::collection::vec((0..300_usize, 0..3_u8, r#"[-{}\[\]",:a1\\ ]"#), 0..4),
        ) {
            let mut body = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a",
                "arguments":{"a":[{}]},"cursor":null,"ref":{"type":"t"},"_meta":{"progressToken":1,
                "io.modelcontextprotocol/clientCapabilities":{"roots":{}},"x":{"y":[1]}}}}"#
                .to_vec();
            for (at, kind, text) in edits {
                let at = at % body.len();
                match kind {
                    0 => drop(body.remove(at)),
                    1 => body[at] = text.as_bytes()[0],
                    _ => body.insert(at, text.as_bytes()[0]),
                }
            }
            let one = parse_request::<Params<'_>>(&body).map(|asked| {
                format!("{:?} {} {:?}", asked.id, asked.method, asked.params)
            });
            let two = match parse(&body) {
                Ok(Incoming::Request { id, method, params }) => {
                    let params = params.map(Params::parse).transpose();
                    params.ok().map(|params| format!("{id:?} {method} {params:?}"))
                }
                _ => None,
            };
            prop_assert_eq!(one, two);
        }
    }

    #[test]
    fn refuses_wrong_types() {
        for json in [
            "[]",
            "5",
            r#"{"name":5}"#,
            r#"{"_meta":{"progressToken":1.5}}"#,
            r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":5}}"#,
            r#"{"notifications":{"toolsListChanged":"yes"}}"#,
            r#"{"name":"a","name":"b"}"#,
        ] {
            assert!(Params::parse(raw(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn levels_are_ordered_and_named() {
        assert!(LogLevel::Warning > LogLevel::Info);
        for (level, name) in LogLevel::ALL {
            assert_eq!(LogLevel::from_name(name), Some(level));
            assert_eq!(level.name(), name);
        }
        assert_eq!(LogLevel::from_name("loud"), None);
    }
}
