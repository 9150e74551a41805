//! How the server does, for its own tools and resources: what a handler may tell clients.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::control::ServerState;
use crate::server::StatusSource;

/// What grows by being asked for: whoever tells clients of changes must not see it.
const RESTLESS: [&str; 2] = ["uptime_s", "requests"];

/// The control plane's summary, which is cheap to have on any thread: no shard is asked.
pub(crate) fn source(state: &Arc<ServerState>) -> StatusSource {
    let state = state.clone();
    Arc::new(move || settled(&state.summary_json()))
}

fn settled(summary: &str) -> String {
    let mut summary: Map<String, Value> = serde_json::from_str(summary).unwrap_or_default();
    summary.retain(|key, _| !RESTLESS.contains(&key.as_str()));
    Value::Object(summary).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_by_itself_is_told() {
        let summary = r#"{"phase":"ready","uptime_s":7,"connections":1,"requests":9}"#;
        assert_eq!(settled(summary), r#"{"connections":1,"phase":"ready"}"#);
    }
}
