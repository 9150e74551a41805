#!/usr/bin/env python3
"""The tool `add` served by the official Python SDK: the peer that `perf/compare` sets beside
ringmesh.

It is set up as its documentation advises for speed: stateless, plain JSON replies; uvicorn as pip
installs it with the SDK, one process, no access log. Left out: sessions, TLS, anything but `add`.

`server.py 127.0.0.1:0` prints `listening http ADDRESS` and serves `POST /mcp` until killed.
"""

import asyncio
import logging
import socket
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer

# More than any level of perf/compare opens at once.
BACKLOG = 4096
EX_USAGE = 64

server = MCPServer("python-peer", log_level="WARNING")


@server.tool(structured_output=False)
def add(a: int, b: int) -> str:
    """Adds two integers"""
    return str(a + b)


async def main(host, port):
    listener = socket.create_server((host, port), backlog=BACKLOG)
    # Connections inherit it. asyncio sets it only for sockets whose protocol was named, and without
    # it each reply, which uvicorn writes in two pieces, would wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = listener.getsockname()
    app = server.streamable_http_app(json_response=True, stateless_http=True, host=host)
    config = uvicorn.Config(app, log_level="warning", access_log=False, backlog=BACKLOG)
    print(f"listening http {host}:{port}", flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    address, colon, port = "".join(sys.argv[1:2]).partition(":")
    if len(sys.argv) != 2 or not colon or not port.isdigit():
        print("usage: server.py ADDRESS:PORT (port 0 picks a free one)", file=sys.stderr)
        sys.exit(EX_USAGE)
    logging.disable(logging.INFO)
    asyncio.run(main(address, int(port)))
