#!/usr/bin/env python3
"""The Python SDK as a client, as an agent would use it: every transport in one mode.

`cargo xtask test --only clients` installs the SDK (tests/requirements.txt), starts the servers and
runs this. By hand, with what is there:

    python_client.py --mode auto --serve URL --admin URL --tcp ADDR:PORT --unix PATH \\
        --stdio target/debug/ringmesh --conformance URL
"""

import argparse
import asyncio
import json
import tempfile
import time
import urllib.request
import warnings
from pathlib import Path

import mcp.client.stdio
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPDeprecationWarning

import line_transport

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
# No more than bounds: a machine under load is slow, not wrong.
TIMEOUT_S = 120
HEARD_S = 20
# Longer than HEARD_S: a call that nobody cancelled is still in flight then.
SLEEP_MS = 40_000
POLL_S = 0.05
STATUS_URI = "ringmesh://status"


def check(condition, what):
    """Like assert, which `python -O` would leave out."""
    if not condition:
        raise SystemExit(f"FAILED: {what}")


async def until(condition, what):
    """Waits for what has to become true soon."""
    deadline = time.monotonic() + HEARD_S
    while not await condition():
        check(time.monotonic() < deadline, f"not within {HEARD_S} s: {what}")
        await asyncio.sleep(POLL_S)


class Ears:
    """What reaches a client that it did not ask for."""

    def __init__(self):
        self.messages = []
        self.logs = []

    async def on_message(self, message):
        check(not isinstance(message, Exception), f"the transport met {message!r}")
        self.messages.append(message)

    async def on_log(self, params):
        self.logs.append(params.data)

    def heard(self, kind):
        async def look():
            return any(isinstance(message, kind) for message in self.messages)

        return look


async def use(client, version):
    """`ringmesh serve`: tools with typed arguments, progress, a resource."""
    check(client.protocol_version == version, f"speaks {client.protocol_version}")

    names = [tool.name for tool in (await client.list_tools()).tools]
    missing = {"echo", "add", "time", "sleep_ms"} - set(names)
    check(not missing, f"tools/list has {names}")

    result = await client.call_tool("add", {"a": 19, "b": 23})
    check(not result.is_error, f"add: {result}")
    check("42" in result.content[0].text, f"19 + 23 = {result.content}")

    text = "Grüße, 世界"
    result = await client.call_tool("echo", {"text": text})
    check(result.content[0].text == text, f"echo: {result.content}")

    steps = []

    async def on_progress(progress, total, message):
        steps.append(progress)

    result = await client.call_tool("sleep_ms", {"ms": 500}, progress_callback=on_progress)
    check(not result.is_error, f"sleep_ms: {result}")
    check(len(steps) >= 2, f"progress of sleep_ms: {steps}")
    check(all(a < b for a, b in zip(steps, steps[1:])), f"progress goes back: {steps}")

    result = await client.call_tool("add", {"a": "no number"})
    check(result.is_error, f"add of a string: {result}")

    resources = (await client.list_resources()).resources
    check(STATUS_URI in [str(entry.uri) for entry in resources], f"no status among {resources}")
    contents = (await client.read_resource(STATUS_URI)).contents
    check(isinstance(json.loads(contents[0].text), dict), f"{STATUS_URI}: {contents}")
    return f"{client.protocol_version}, {len(names)} tools, {len(steps)} steps of progress"


async def cancel(client, in_flight):
    """Gives a call up. The server has to hear of it while the call still has long to go."""
    call = asyncio.create_task(client.call_tool("sleep_ms", {"ms": SLEEP_MS}))

    async def runs():
        check(not call.done(), f"sleep_ms ended at once: {call}")
        return await in_flight() == 1

    async def rests():
        return await in_flight() == 0

    await until(runs, "sleep_ms is in flight")
    call.cancel()
    await asyncio.wait([call])
    check(call.cancelled(), f"sleep_ms was cancelled, and gave {call}")
    await until(rests, "the server hears that sleep_ms was cancelled")
    result = await client.call_tool("add", {"a": 1, "b": 2})
    check("3" in result.content[0].text, f"add after a cancelled call: {result}")
    return "sleep_ms cancelled"


async def try_the_network(transport, options):
    """The same over HTTP, TCP or a Unix socket."""

    def totals():
        with urllib.request.urlopen(f"{options.admin}/status", timeout=HEARD_S) as response:
            return json.load(response)["totals"]

    async def in_flight():
        return (await asyncio.to_thread(totals))["calls_in_flight"]

    async def left():
        now = await asyncio.to_thread(totals)
        return not any(now.get(key) for key in ("calls_in_flight", "streams", "sessions"))

    ears = Ears()
    async with Client(transport, mode=options.mode, message_handler=ears.on_message) as client:
        used = await use(client, options.version)
        cancelled = await cancel(client, in_flight)
        if options.version == LEGACY:
            await client.subscribe_resource(STATUS_URI)
            # Long enough to be seen: the status counts what is in flight.
            await client.call_tool("sleep_ms", {"ms": 2_500})
            await until(ears.heard(types.ResourceUpdatedNotification), "an update of the status")
            await client.unsubscribe_resource(STATUS_URI)
    await until(left, "nothing is left of the client")
    return f"{used}, {cancelled}"


async def try_stdio(options):
    """The same with the program as a child. It has to end by itself when its input ends: the SDK
    kills what is not gone in time, and then nobody writes the status."""
    mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT = HEARD_S
    with tempfile.TemporaryDirectory() as folder:
        ended = Path(folder, "status")
        script = '"$1" serve --stdio; echo $? > "$2"'
        arguments = ["-c", script, "sh", options.stdio, str(ended)]
        server = StdioServerParameters(command="sh", args=arguments)
        ears = Ears()
        async with Client(server, mode=options.mode, message_handler=ears.on_message) as client:
            used = await use(client, options.version)
            call = asyncio.create_task(client.call_tool("sleep_ms", {"ms": SLEEP_MS}))
            await asyncio.sleep(10 * POLL_S)
            check(not call.done(), f"sleep_ms ended at once: {call}")
            call.cancel()
            await asyncio.wait([call])
        # Were the call still in flight, the program would answer it before it ends.
        status = ended.read_text().strip() if ended.exists() else "none: it was killed"
        check(status == "0", f"exit status {status}")
    return f"{used}, sleep_ms cancelled, exit status {status}"


async def answer_the_server(options):
    """The conformance server asks for the model, the user and the roots; it logs; it changes its
    lists; it closes a stream in the midst of a call."""

    async def on_sampling(context, params):
        check(params.max_tokens == 100, f"sampling of {params}")
        content = types.TextContent(type="text", text="a dream")
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    async def on_elicitation(context, params):
        return types.ElicitResult(action="accept", content={"username": "u", "email": "e"})

    async def on_roots(context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///r", name="r")])

    ears = Ears()
    async with Client(
        options.conformance,
        mode=options.mode,
        message_handler=ears.on_message,
        logging_callback=ears.on_log,
        log_level="info",
        sampling_callback=on_sampling,
        elicitation_callback=on_elicitation,
        list_roots_callback=on_roots,
    ) as client:

        async def text_of(tool, arguments):
            result = await client.call_tool(tool, arguments)
            check(not result.is_error, f"{tool}: {result}")
            return result.content[0].text

        text = await text_of("test_sampling", {"prompt": "What is this?"})
        check("a dream" in text, f"test_sampling: {text}")
        text = await text_of("test_elicitation", {"message": "Who are you?"})
        check("accept" in text and '"u"' in text, f"test_elicitation: {text}")
        text = await text_of("test_input_required_result_list_roots", {})
        check("file:///r" in text, f"roots: {text}")
        await text_of("test_reconnection", {})

        if options.version == LEGACY:
            await client.set_logging_level("info")
        await text_of("test_tool_with_logging", {})
        check(len(ears.logs) == 3, f"logs: {ears.logs}")

        if options.version == LEGACY:
            await client.call_tool("test_trigger_tool_change", {})
            await until(ears.heard(types.ToolListChangedNotification), "a change of the tools")
            return "asked, logged, reconnected, a change on the stream of GET"
        async with client.listen(tools_list_changed=True) as subscription:
            check(subscription.honored.tools_list_changed, f"honours {subscription.honored}")
            await client.call_tool("test_trigger_tool_change", {})
            async for event in subscription:
                check(type(event).__name__ == "ToolsListChanged", f"event {event}")
                return f"asked, logged, {event} on {subscription.subscription_id}"
        check(False, "the stream ended without an event")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="auto", help="of mcp.Client: auto, legacy or a revision")
    parser.add_argument("--serve", required=True, help="URL of `ringmesh serve`")
    parser.add_argument("--admin", required=True, help="URL of its admin listener")
    parser.add_argument("--tcp", help="its ADDR:PORT for lines")
    parser.add_argument("--unix", help="its Unix socket for lines")
    parser.add_argument("--stdio", help="the program, to start it with --stdio")
    parser.add_argument("--conformance", required=True, help="URL of examples/conformance")
    options = parser.parse_args()
    options.version = LEGACY if options.mode == "legacy" else MODERN
    # What the older versions have is what there is to try.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    async with asyncio.timeout(TIMEOUT_S):
        print("http:", await try_the_network(options.serve, options))
        if options.tcp:
            print("tcp:", await try_the_network(line_transport.tcp(options.tcp), options))
        if options.unix:
            print("unix:", await try_the_network(line_transport.unix(options.unix), options))
        if options.stdio:
            print("stdio:", await try_stdio(options))
        print("conformance:", await answer_the_server(options))


asyncio.run(main())
