//! The specification's own example requests (2026-07-28) are read as what they say.
//!
//! `examples/` is copied from the specification's repository with its licence.

use std::path::Path;

use ringmesh_proto::jsonrpc::{Incoming, parse};
use ringmesh_proto::mcp::{Params, VERSION_2026_07_28};
use serde_json::Value;

#[test]
fn every_official_request_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples");
    let mut requests = 0;
    for entry in std::fs::read_dir(folder).expect("examples are there") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a readable file");
        let expected: Value = serde_json::from_slice(&bytes).expect("JSON");
        let shown = path.display();
        match parse(&bytes).unwrap_or_else(|error| panic!("{shown}: {error}")) {
            Incoming::Request { id, method, params } => {
                requests += 1;
                assert_eq!(expected["method"], *method, "{shown}");
                assert_eq!(expected["id"].to_string(), id.as_json(), "{shown}");
                let params = Params::parse(params.expect("params")).expect("valid params");
                let meta = params.meta.as_ref().expect("meta");
                let version = meta.protocol_version.as_ref().map(|text| text.as_str());
                assert_eq!(version, Some(VERSION_2026_07_28), "{shown}");
                assert!(meta.capabilities.is_some(), "{shown}");
                let given = &expected["params"];
                let text = |key: &str| given.get(key).and_then(Value::as_str);
                assert_eq!(params.name.as_ref().map(|name| name.as_str()), text("name"), "{shown}");
                assert_eq!(params.uri.as_ref().map(|uri| uri.as_str()), text("uri"), "{shown}");
                assert_eq!(params.arguments.is_some(), given.get("arguments").is_some(), "{shown}");
                let listens = given.get("notifications").is_some();
                assert_eq!(params.notifications.is_some(), listens, "{shown}");
                assert_eq!(params.reference.is_some(), given.get("ref").is_some(), "{shown}");
            }
            Incoming::Notification { method, .. } => {
                assert_eq!(expected["method"], *method, "{shown}");
            }
            Incoming::Response { .. } => panic!("{shown} is no response"),
        }
    }
    assert!(requests >= 10, "only {requests} examples were found");
}
