#!/usr/bin/env python3
"""The Python SDK as a client, as an agent would use it.

`cargo xtask test --only clients` installs the SDK (tests/requirements.txt), starts both servers
and runs this. By hand: python_client.py --mode auto --serve URL --conformance URL
"""

import argparse
import asyncio
import json

from mcp import Client

REVISION = "2026-07-28"
# No more than a bound: a machine under load is slow, not wrong.
TIMEOUT_S = 60


def check(condition, what):
    """Like assert, which `python -O` would leave out."""
    if not condition:
        raise SystemExit(f"FAILED: {what}")


async def try_the_program(url, mode):
    """`ringmesh serve`: tools with typed arguments, progress, a resource."""
    async with Client(url, mode=mode) as client:
        check(client.protocol_version == REVISION, f"speaks {client.protocol_version}")

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
        status = [str(entry.uri) for entry in resources if "status" in str(entry.uri)]
        check(len(status) == 1, f"no status among {resources}")
        contents = (await client.read_resource(status[0])).contents
        check(isinstance(json.loads(contents[0].text), dict), f"{status[0]}: {contents}")
        return f"{len(names)} tools, {len(steps)} steps of progress, {status[0]}"


async def hear_of_a_change(url, mode):
    """The conformance server: a change of a list over `subscriptions/listen`."""
    async with Client(url, mode=mode) as client:
        async with client.listen(tools_list_changed=True) as subscription:
            check(subscription.honored.tools_list_changed, f"honours {subscription.honored}")
            await client.call_tool("test_trigger_tool_change", {})
            async for event in subscription:
                check(type(event).__name__ == "ToolsListChanged", f"event {event}")
                return f"{event} on {subscription.subscription_id}"
        check(False, "the stream ended without an event")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", default="auto", help="of mcp.Client: auto, or a revision")
    parser.add_argument("--serve", required=True, help="URL of `ringmesh serve`")
    parser.add_argument("--conformance", required=True, help="URL of examples/conformance.rs")
    options = parser.parse_args()
    async with asyncio.timeout(TIMEOUT_S):
        print("serve:", await try_the_program(options.serve, options.mode))
        print("conformance:", await hear_of_a_change(options.conformance, options.mode))


asyncio.run(main())
