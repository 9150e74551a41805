//! What bounds connections on their way in: queues, ports, buffers of a socket.

use super::check::{Check, Checking, Look, State, grouped};

/// Connections that may wait to be accepted by a shard: fewer, and a burst waits for SYNs to be
/// sent again after 1 s and 3 s.
const SOMAXCONN_SOUND: u64 = 4_096;
const SYN_BACKLOG_SOUND: u64 = 1_024;
const NETDEV_BACKLOG_SOUND: u64 = 1_000;

pub(super) const CHECKS: &[Checking] =
    &[somaxconn, syn_backlog, migrate, netdev_backlog, ports, socket_buffers];

/// listen(2): the backlog that a server asks for (65,535) is cut to it.
fn somaxconn(look: &Look<'_>) -> Option<Check> {
    let found = look.host.sysctls.somaxconn?;
    let state = if found >= SOMAXCONN_SOUND { State::Ok } else { State::Warn };
    let means = format!(
        "{} connections may wait for each shard to accept them; past that a client waits a second \
         and more",
        grouped(found),
    );
    let check = Check::new("accept queue", state, format!("net.core.somaxconn {found}"), means);
    Some(check.mend("sysctl -w net.core.somaxconn=65535"))
}

fn syn_backlog(look: &Look<'_>) -> Option<Check> {
    let sysctls = &look.host.sysctls;
    let found = sysctls.tcp_max_syn_backlog?;
    let cookies = sysctls.tcp_syncookies.unwrap_or(0) > 0;
    let (state, means) = if found >= SYN_BACKLOG_SOUND {
        (State::Ok, "handshakes that may be half done on each listener")
    } else if cookies {
        (State::Info, "low, but SYN cookies let handshakes through when it is full")
    } else {
        (State::Warn, "low, and without SYN cookies a full queue drops handshakes")
    };
    let text = format!(
        "net.ipv4.tcp_max_syn_backlog {found}, tcp_syncookies {}",
        if cookies { "on" } else { "off" }
    );
    Some(Check::new("handshakes", state, text, means).mend("sysctl -w net.ipv4.tcp_syncookies=1"))
}

/// Closing a listener of SO_REUSEPORT loses the handshakes in its queue, unless the kernel hands
/// them to another (since 5.14).
fn migrate(look: &Look<'_>) -> Option<Check> {
    let found = look.host.sysctls.tcp_migrate_req?;
    let (state, means) = match found {
        0 => (State::Info, "clients that just connect while a server stops see a reset"),
        _ => (State::Ok, "handshakes of a closed listener go to another one"),
    };
    let check = Check::new("migration", state, format!("net.ipv4.tcp_migrate_req {found}"), means);
    Some(check.advise("sysctl -w net.ipv4.tcp_migrate_req=1, where servers replace each other"))
}

fn netdev_backlog(look: &Look<'_>) -> Option<Check> {
    let found = look.host.sysctls.netdev_max_backlog?;
    let state = if found >= NETDEV_BACKLOG_SOUND { State::Ok } else { State::Warn };
    let means = "packets that may wait for a core; loopback uses it too, and drops what exceeds it";
    let text = format!("net.core.netdev_max_backlog {found}");
    let check = Check::new("packet queue", state, text, means);
    Some(check.mend("sysctl -w net.core.netdev_max_backlog=5000"))
}

/// Of clients and proxies; a server's end takes no port.
fn ports(look: &Look<'_>) -> Option<Check> {
    let [first, last] = look.host.sysctls.port_range?;
    let ports = (last + 1).saturating_sub(first);
    let means = format!(
        "a client or proxy on this machine reaches one server by {} connections from each of its \
         addresses, and slowly beyond some 2,000: {} connections take {} addresses",
        grouped(ports),
        grouped(look.wanted),
        grouped(look.wanted.div_ceil(2_000)),
    );
    let found = format!("net.ipv4.ip_local_port_range {first} {last}");
    let check = Check::new("client ports", State::Info, found, means);
    Some(check.advise("use more source addresses (127.0.0.0/8 has 16 million)"))
}

/// What a socket may hold for a peer that does not read. Nothing is taken before there are bytes.
fn socket_buffers(look: &Look<'_>) -> Option<Check> {
    let sysctls = &look.host.sysctls;
    let ([_, receive, receive_max], [_, send, send_max]) = (sysctls.tcp_rmem?, sysctls.tcp_wmem?);
    let found = format!(
        "receive {receive} (at most {receive_max}), send {send} (at most {send_max}) bytes"
    );
    let means =
        "what the kernel may hold of a connection with bytes under way; idle ones hold none";
    Some(Check::new("buffer sizes", State::Info, found, means))
}
