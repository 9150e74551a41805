//! Sans-IO codecs of ringmesh: HTTP/1.1, SSE, lines, JSON-RPC and the messages of MCP.
//!
//! Pure functions and small state machines over bytes: no clock, no socket, no task. Each parser
//! borrows its input; each writer appends to the caller's buffer.
#![forbid(unsafe_code)]

pub mod heard;
pub mod http1;
pub mod jsonrpc;
pub mod lines;
pub mod mcp;
pub mod sse;
