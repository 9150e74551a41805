//! What a started server says: its listeners to standard output, for scripts; the rest to
//! standard error, for people.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringmesh_ring::Features;
use ringmesh_runtime::catalog::Catalog;

use crate::config::Plan;

/// The newest protocol version, which the example speaks.
const PROTOCOL_VERSION: &str = "2026-07-28";

/// Lines for standard error: version, kernel, plan, and something to try.
pub(crate) fn lines(plan: &Plan, features: &Features, catalog: &Catalog) -> String {
    let mut lines = format!("ringmesh {}\nio_uring     {features}\n{plan}", crate::cli::version());
    if let Some(address) = plan.http.first() {
        write!(lines, "\ntry          {}", curl(*address, &plan.path, catalog)).ok();
    }
    lines
}

/// The same of a server on standard input and output, whose plan is short.
pub(crate) fn stdio_lines(plan: &Plan) -> String {
    let mut lines = format!(
        "ringmesh {}\nstdio        one JSON-RPC message a line; the end of the input ends the \
         server",
        crate::cli::version(),
    );
    for warning in &plan.warnings {
        write!(lines, "\nwarning      {warning}").ok();
    }
    lines
}

/// One line for each listener. A standard output that nobody reads must not end the server.
pub(crate) fn announce(plan: &Plan) {
    let mut lines = String::new();
    for address in &plan.http {
        writeln!(lines, "listening http {address}").ok();
    }
    for address in &plan.tcp {
        writeln!(lines, "listening tcp {address}").ok();
    }
    for path in &plan.unix {
        writeln!(lines, "listening unix {}", path.display()).ok();
    }
    writeln!(lines, "listening admin {}", plan.admin).ok();
    let mut out = io::stdout().lock();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).ok();
}

/// A command that calls the tool `add`, or lists the tools of a server that has none of that name.
fn curl(address: SocketAddr, path: &str, catalog: &Catalog) -> String {
    let (method, name, params) = match catalog.tool("add") {
        Some(_) => {
            ("tools/call", " -H 'Mcp-Name: add'", r#""name":"add","arguments":{"a":1,"b":2},"#)
        }
        None => ("tools/list", "", ""),
    };
    let url = format!("http://{}{path}", reachable(address));
    format!(
        "curl -s {url} -H 'Content-Type: application/json' -H 'Accept: application/json, \
         text/event-stream' -H 'MCP-Protocol-Version: {PROTOCOL_VERSION}' -H 'Mcp-Method: \
         {method}'{name} -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{\
         {params}\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\
         \"{PROTOCOL_VERSION}\",\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}'"
    )
}

/// The address by which this machine reaches a listener: loopback for one on all addresses.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        for (bound, reached) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), reached);
        }
    }
}
