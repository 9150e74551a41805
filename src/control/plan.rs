//! The plan as `/status` and `/metrics` show it.

use crate::config::Plan;
use serde_json::{Map, Value, json};

/// Members by the names of their settings. The secret is not among them.
pub(super) fn members(plan: &Plan) -> Map<String, Value> {
    let Plan { limits, memory, .. } = plan;
    let addresses = plan.http.iter().map(ToString::to_string);
    let key = if plan.state_secret.is_some() { "shared" } else { "random" };
    let members = json!({
        "http": addresses.collect::<Vec<_>>(),
        "admin": plan.admin.to_string(),
        "path": plan.path,
        "allow_hosts": plan.allowed.hosts,
        "allow_origins": plan.allowed.origins,
        "shards": plan.shards,
        "cpus": plan.cpus,
        "async_threads": plan.threads.for_async,
        "blocking_threads": plan.threads.for_blocking,
        "buffers": plan.buffers.count,
        "buffer_bytes": plan.buffers.bytes,
        "connections_max": limits.connections_max,
        "streams_max": limits.streams_max,
        "calls_max": limits.calls_max,
        "body_bytes_max": limits.body_bytes_max,
        "send_bytes_max": limits.send_bytes_max,
        "budget_bytes": limits.budget_bytes,
        "head_timeout_ms": limits.head_timeout_ms,
        "body_timeout_ms": limits.body_timeout_ms,
        "idle_timeout_ms": limits.idle_timeout_ms,
        "send_timeout_ms": limits.send_timeout_ms,
        "tool_timeout_ms": limits.tool_timeout_ms,
        "keep_alive_ms": limits.keep_alive_ms,
        "grace_ms": plan.grace_ms,
        "state_key": key,
        "memory": {
            "total_bytes": memory.total(),
            "process_bytes": memory.process,
            "shards_bytes": memory.shards,
            "connections_bytes": memory.connections,
            "kernel_bytes": memory.kernel,
            "budget_bytes": memory.budget,
        },
    });
    match members {
        Value::Object(members) => members,
        _ => unreachable!("it was written as an object"),
    }
}
