//! What a handler answers, before the shard wraps it in a JSON-RPC response.

use ringmesh_proto::jsonrpc;

use ringmesh_proto::mcp::{Capability, MISSING_CLIENT_CAPABILITY};

use super::Era;

/// How a call ended, as far as the protocol and the probes tell endings apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The handler wrote nothing: a bug in it, answered as an internal error.
    #[default]
    Silent,
    /// A result of type `complete`.
    Complete,
    /// A tool's result with `isError`.
    ToolError,
    /// A result of type `input_required`.
    InputRequired,
    /// A JSON-RPC error with this code.
    Failed(i64),
    /// The handler panicked; answered as an internal error.
    Panicked,
}

/// The members of a result or of an error object, as JSON text.
///
/// A shard keeps one and reuses it for every inline call; a pooled call sends its own back.
#[derive(Debug, Default)]
pub struct Answer {
    ending: Ending,
    members: Vec<u8>,
    meta: Vec<u8>,
}

impl Answer {
    /// How the call ended.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Members of the result (without `resultType` and `_meta`) or of the error object.
    pub fn members(&self) -> &[u8] {
        &self.members
    }

    /// Members that the handler adds to the result's `_meta`.
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.ending = Ending::Silent;
        self.members.clear();
        self.meta.clear();
    }

    /// Starts an answer; the caller writes the members of its result, such as `"content":[]`.
    pub fn begin(&mut self, ending: Ending) -> &mut Vec<u8> {
        self.clear();
        self.ending = ending;
        &mut self.members
    }

    /// Where members of the result's `_meta` are written, such as `"com.example/trace":"x"`.
    pub fn begin_meta(&mut self) -> &mut Vec<u8> {
        self.meta.clear();
        &mut self.meta
    }

    /// Answers a JSON-RPC error; `data` is JSON text.
    pub fn fail(&mut self, code: i64, message: &str, data: Option<&str>) {
        let out = self.begin(Ending::Failed(code));
        jsonrpc::write_error_members(out, code, message, data);
    }

    /// Answers that the client did not declare a capability which the call needs.
    pub fn fail_capability(&mut self, era: Era, capability: Capability) {
        let required = capability.required_json();
        let message = "the client did not declare a capability that this request requires";
        let data = format!(r#"{{"requiredCapabilities":{required}}}"#);
        // Legacy versions have no code of their own for it.
        let code =
            if era.is_legacy() { jsonrpc::INVALID_REQUEST } else { MISSING_CLIENT_CAPABILITY };
        self.fail(code, message, Some(&data));
    }

    /// Answers for a handler that panicked.
    pub(crate) fn panicked(&mut self, what: &str, name: &str, is_tool: bool) {
        self.clear();
        let message = format!("{what} '{name}' panicked");
        if is_tool {
            let out = self.begin(Ending::ToolError);
            out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
            jsonrpc::write_string(out, &message);
            out.extend_from_slice(b"}],\"isError\":true");
        } else {
            self.fail(jsonrpc::INTERNAL_ERROR, &message, None);
        }
        self.ending = Ending::Panicked;
    }
}
