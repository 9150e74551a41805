//! The tool `add` served by rmcp, the official Rust SDK: the peer that `perf/compare` sets beside
//! ringmesh. It lives once per process and uses one thread.
//!
//! It is set up as its documentation advises for speed: stateless, plain JSON replies, no session
//! manager, the tool table built once, TCP_NODELAY, and tokio's current-thread runtime (no work
//! stealing to pay for on a single core). Deliberately absent: logging, TLS, graceful shutdown.
//!
//! `rmcp-peer 127.0.0.1:0` prints `listening http ADDRESS` and serves `POST /mcp` until killed.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, sync::LazyLock};

use axum::{Router, serve::ListenerExt};
use rmcp::{
    ServerHandler,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::{Implementation, ServerCapabilities, ServerConfig},
    schemars, tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use tokio::net::TcpSocket;

/// Connections that may wait to be accepted: more than any level of `perf/compare` opens at once.
const BACKLOG: u32 = 4096;

/// sysexits: the command line is wrong.
const EX_USAGE: u8 = 64;

static TOOLS: LazyLock<ToolRouter<Adder>> = LazyLock::new(Adder::tool_router);

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AddArguments {
    a: i64,
    b: i64,
}

/// rmcp makes one for each stateless request, so it holds nothing.
struct Adder;

#[tool_router]
impl Adder {
    #[tool(description = "Adds two integers")]
    fn add(&self, Parameters(AddArguments { a, b }): Parameters<AddArguments>) -> String {
        a.wrapping_add(b).to_string()
    }
}

#[tool_handler(router = TOOLS)]
impl ServerHandler for Adder {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("rmcp-peer", "3.9.0"))
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(Ok(address)), None) = (
        arguments.next().map(|text| text.parse::<SocketAddr>()),
        arguments.next(),
    ) else {
        eprintln!("usage: rmcp-peer ADDRESS:PORT (port 0 picks a free one)");
        return ExitCode::from(EX_USAGE);
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(address)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rmcp-peer: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    println!("listening http {}", listener.local_addr()?);

    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(None);
    let service = StreamableHttpService::new(
        || Ok(Adder),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("rmcp-peer: TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, Router::new().nest_service("/mcp", service)).await
}
