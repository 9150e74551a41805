"""A transport of the Python SDK over any byte stream: one JSON-RPC message a line."""

from contextlib import asynccontextmanager

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

LINE_BYTES_MAX = 1 << 20


@asynccontextmanager
async def tcp(address):
    """Connects to `ADDR:PORT`."""
    host, port = address.rsplit(":", 1)
    async with await anyio.connect_tcp(host, int(port)) as stream:
        async with over(stream) as streams:
            yield streams


@asynccontextmanager
async def unix(path):
    """Connects to a Unix socket."""
    async with await anyio.connect_unix(path) as stream:
        async with over(stream) as streams:
            yield streams


@asynccontextmanager
async def over(stream):
    """What is no message reaches the session as an exception, as with the SDK's own transports."""
    incoming_writer, incoming = anyio.create_memory_object_stream(0)
    outgoing, outgoing_reader = anyio.create_memory_object_stream(0)

    async def receive():
        buffered = BufferedByteReceiveStream(stream)
        async with incoming_writer:
            try:
                while True:
                    line = await buffered.receive_until(b"\n", LINE_BYTES_MAX)
                    await incoming_writer.send(parse(line))
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                pass  # the session hears of it by the end of `incoming`

    async def send():
        async with outgoing_reader:
            async for session_message in outgoing_reader:
                message = session_message.message
                text = message.model_dump_json(by_alias=True, exclude_unset=True)
                await stream.send(text.encode() + b"\n")

    async with incoming, outgoing, anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        tasks.start_soon(send)
        try:
            yield incoming, outgoing
        finally:
            tasks.cancel_scope.cancel()


def parse(line):
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error
