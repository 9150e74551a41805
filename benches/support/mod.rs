//! The request that all benches use: what a client of 2026-07-28 sends for `add(2, 3)`, the same
//! bytes as `perf/wrk.lua` but for the port.

/// The body.
pub(crate) const BODY: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"4.1"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}},"#,
    r#""name":"add","arguments":{"a":2,"b":3}}}"#,
);

/// Head and body, for the server at `host`.
pub(crate) fn request(host: &str) -> Vec<u8> {
    let length = BODY.len();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nMcp-Method: tools/call\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Mcp-Name: add\r\nContent-Length: {length}\r\nMCP-Protocol-Version: 2026-07-28\r\n\r\n"
    );
    [head.as_bytes(), BODY.as_bytes()].concat()
}
