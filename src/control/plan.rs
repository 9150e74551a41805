//! The plan as `/status` and `/metrics` show it.

use std::net::SocketAddr;

use ringmesh_runtime::limits::Limits;
use serde_json::{Map, Value, json};

use crate::config::Plan;

/// Members by the names of their settings. The secret is not among them.
pub(super) fn members(plan: &Plan) -> Map<String, Value> {
    let Plan { memory, .. } = plan;
    let texts = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let paths = plan.unix.iter().map(|path| path.display().to_string());
    let key = if plan.state_secret.is_some() { "shared" } else { "random" };
    let members = json!({
        "http": texts(&plan.http),
        "tcp": texts(&plan.tcp),
        "unix": paths.collect::<Vec<_>>(),
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
        "grace_ms": plan.grace_ms,
        "state_key": key,
        "memory": {
            "total_bytes": memory.total(),
            "process_bytes": memory.process,
            "shards_bytes": memory.shards,
            "connections_bytes": memory.connections,
            "sessions_bytes": memory.sessions,
            "kernel_bytes": memory.kernel,
            "work_bytes": memory.work,
            "budget_bytes": memory.budget,
        },
    });
    let mut members = object(members);
    members.extend(bounds(&plan.limits));
    members
}

fn bounds(limits: &Limits) -> Map<String, Value> {
    object(json!({
        "connections_max": limits.connections_max,
        "streams_max": limits.streams_max,
        "sessions_max": limits.sessions_max,
        "sessions_per_address_max": limits.sessions_per_address_max,
        "bounds_loopback_sessions": limits.bounds_loopback_sessions,
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
        "session_timeout_ms": limits.session_timeout_ms,
        "input_timeout_ms": limits.input_timeout_ms,
        "session_events_max": limits.session_events_max,
        "session_event_bytes_max": limits.session_event_bytes_max,
        "session_event_age_ms": limits.session_event_age_ms,
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => unreachable!("it was written as an object"),
    }
}
