//! What a server holds once everybody has left: nothing.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, Server};

/// Of the totals.
const TOTALS: &[&str] = &["connections", "streams", "subscriptions", "sessions", "calls_in_flight"];
/// Of each shard.
const SHARD: &[&str] = &["session_events", "relays", "timers"];
/// Of the pools of tools. A thread that a tool never gave back is counted elsewhere.
const POOLS: &[&str] = &["async_running", "queued"];

/// Waits until a server holds nothing of its clients: no connection, session, call, stream, timer,
/// task, exchange with another shard, buffer or byte.
pub(crate) fn nothing_leaked(server: &Server) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let status = server.status();
        let held = held(&status);
        if held.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {held:?}\n{status:#}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What is not at rest, and its value.
fn held(status: &Value) -> Vec<(String, Value)> {
    let mut held = Vec::new();
    let mut look = |name: String, value: &Value, most: u64| {
        if value.as_u64().is_none_or(|value| value > most) {
            held.push((name, value.clone()));
        }
    };
    for key in TOTALS {
        look(format!("totals.{key}"), &status["totals"][key], 0);
    }
    for key in POOLS {
        look(format!("pools.{key}"), &status["pools"][key], 0);
    }
    let running = &status["pools"]["blocking_running"];
    look(
        "pools.blocking_running".into(),
        running,
        status["pools"]["blocking_lost"].as_u64().unwrap_or(0),
    );
    for shard in status["shards"].as_array().expect("shards") {
        for key in SHARD {
            look(format!("shards.{key}"), &shard[key], 0);
        }
        look("shards.budget".into(), &shard["budget"]["used_bytes"], 0);
        look("shards.buffers".into(), &shard["buffers"]["used"], 0);
        for (lane, depth) in shard["mailbox_depth"].as_object().expect("lanes") {
            // The very request for the status is one.
            look(format!("shards.mailbox.{lane}"), depth, u64::from(lane == "requests"));
        }
    }
    held
}
