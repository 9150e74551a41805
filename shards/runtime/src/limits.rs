//! Every bound and time-out of a shard, in one place.

/// Accepts that are armed on each listener of a shard, each with its own address slot.
pub const ACCEPTS_ARMED: u16 = 32;
/// Places of the descriptor table that are kept for answering refusals.
pub const REFUSAL_SLOTS: u32 = 256;
/// How long a connection that was refused or ended is drained before it is closed, in ms: closing
/// at once would reset it and destroy the answer on its way.
pub const LINGER_MS: u64 = 2_000;
/// Bytes of pipelined requests that wait while a connection is busy; over it receiving pauses.
pub const PIPELINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of answers that wait for a reader before its pipelined requests wait too.
pub const SEND_SOFT_MAX: usize = 256 * 1024;
/// Messages of one batch (2025-03-26).
pub const BATCH_MAX: usize = 100;
/// Subscribed URIs of one stream, or of one session.
pub const STREAM_URIS_MAX: usize = 256;
/// After a tick that is later than expected by more than this (a stopped or suspended machine), all
/// deadlines are moved by the whole time since the tick before instead of firing at once, in ms.
pub const SLEEP_GAP_MS: u64 = 5_000;

const _: () = assert!(PIPELINE_BYTES_MAX > ringmesh_proto::http1::HEAD_BYTES_MAX);

/// Bounds and time-outs of one shard, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live connections; one more is answered 503 and closed.
    pub connections_max: u32,
    /// Open `subscriptions/listen` streams.
    pub streams_max: u32,
    /// Calls in pools at once.
    pub calls_max: u32,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Bytes that wait for one reader; over it the connection is closed.
    pub send_bytes_max: usize,
    /// Bytes of all buffers of the shard's connections together.
    pub budget_bytes: usize,
    /// From the first byte of a request to the end of its head, in ms.
    pub head_timeout_ms: u64,
    /// From the end of a head to the end of its body, in ms.
    pub body_timeout_ms: u64,
    /// Between requests of a connection, in ms.
    pub idle_timeout_ms: u64,
    /// Without progress of a send, in ms.
    pub send_timeout_ms: u64,
    /// A pooled call, in ms.
    pub tool_timeout_ms: u64,
    /// Between keep-alive comments on an idle stream, in ms; jittered by a fifth.
    pub keep_alive_ms: u64,
    /// Sessions of the legacy era over HTTP.
    pub sessions_max: u32,
    /// Those of one client address (IPv6: of one /64).
    pub sessions_per_address_max: u32,
    /// Whether that bounds loopback addresses too, behind which a proxy may serve everybody.
    pub bounds_loopback_sessions: bool,
    /// A session without requests and open streams, in ms; then it is ended.
    pub session_timeout_ms: u64,
    /// A client's answer to what a call asks of it, in ms.
    pub input_timeout_ms: u64,
    /// Events that a session keeps for clients that come back for them.
    pub session_events_max: u32,
    /// Bytes of those.
    pub session_event_bytes_max: usize,
    /// Age of those, in ms.
    pub session_event_age_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            streams_max: 10_000,
            calls_max: 4_096,
            body_bytes_max: 4 * 1024 * 1024,
            send_bytes_max: 8 * 1024 * 1024,
            budget_bytes: 256 * 1024 * 1024,
            head_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 120_000,
            send_timeout_ms: 30_000,
            tool_timeout_ms: 60_000,
            keep_alive_ms: 25_000,
            sessions_max: 10_000,
            sessions_per_address_max: 2_500,
            bounds_loopback_sessions: false,
            session_timeout_ms: 30 * 60_000,
            input_timeout_ms: 10 * 60_000,
            session_events_max: 256,
            session_event_bytes_max: 1024 * 1024,
            session_event_age_ms: 5 * 60_000,
        }
    }
}

/// Which hosts and origins a server answers to (DNS rebinding, 2026-07-28, Security).
///
/// `localhost`, `127.0.0.1` and `[::1]` are always accepted, on any port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Further values of `Host`, without port; `*` accepts any.
    pub hosts: Vec<String>,
    /// Further values of `Origin`, such as `https://app.example`; `*` accepts any.
    pub origins: Vec<String>,
}

impl Allowed {
    /// Whether a `Host` header is accepted.
    pub fn host(&self, host: &[u8]) -> bool {
        let name = without_port(host);
        is_local(name)
            || self.hosts.iter().any(|known| matches(known, name) || matches(known, host))
    }

    /// Whether an `Origin` header is accepted.
    pub fn origin(&self, origin: &[u8]) -> bool {
        let authority =
            origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some_and(|authority| is_local(without_port(authority)))
            || self.origins.iter().any(|known| matches(known, origin))
    }
}

fn matches(known: &str, value: &[u8]) -> bool {
    known == "*" || known.as_bytes().eq_ignore_ascii_case(value)
}

fn is_local(name: &[u8]) -> bool {
    [&b"localhost"[..], b"127.0.0.1", b"[::1]"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Cuts `:port` off an authority; the colons of an IPv6 literal stay.
fn without_port(authority: &[u8]) -> &[u8] {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    match colon {
        Some(at) if authority[at + 1..].iter().all(u8::is_ascii_digit) => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let allowed = Allowed {
            hosts: vec!["mcp.example".into()],
            origins: vec!["https://app.example".into()],
        };
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:9", "mcp.example:443"] {
            assert!(allowed.host(host.as_bytes()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::2]"] {
            assert!(!allowed.host(host.as_bytes()), "{host}");
        }
        for origin in ["http://localhost:3000", "http://[::1]", "https://app.example"] {
            assert!(allowed.origin(origin.as_bytes()), "{origin}");
        }
        for origin in ["null", "https://evil.example", "http://localhost.evil.example", "file://"] {
            assert!(!allowed.origin(origin.as_bytes()), "{origin}");
        }
        assert!(Allowed { hosts: vec!["*".into()], origins: vec![] }.host(b"any.example"));
    }
}
