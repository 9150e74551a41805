// The TypeScript SDK as a client, as an agent would use it: line 1 of it (`sdk`, legacy alone) or
// line 2 (`client`, legacy unless it is told otherwise).
//
// `cargo xtask test --only clients` installs both (tests/clients/package.json), starts the servers
// and runs this. By hand:
//
//     node typescript_client.mjs --modules node_modules --sdk client --mode auto \
//         --serve URL --admin URL --stdio target/debug/ringmesh --conformance URL

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";
// No more than bounds: a machine under load is slow, not wrong.
const TIMEOUT_MS = 120_000;
const HEARD_MS = 20_000;
// Longer than HEARD_MS: a call that nobody cancelled is still in flight then.
const SLEEP_MS = 40_000;
const POLL_MS = 50;
const STATUS_URI = "ringmesh://status";

const text = { type: "string" };
const { values: options } = parseArgs({
  options: {
    modules: text, sdk: text, mode: text, serve: text, admin: text, stdio: text, conformance: text,
  },
});
const version = options.mode === "legacy" ? LEGACY : MODERN;

// The packages are not beside this file.
const require = createRequire(join(resolve(options.modules), "here.js"));
const load = async (name) => import(pathToFileURL(require.resolve(name)));

/** What differs between the two lines. */
async function line1() {
  const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
  const http = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const stdio = await load("@modelcontextprotocol/sdk/client/stdio.js");
  const types = await load("@modelcontextprotocol/sdk/types.js");
  const requests = {
    "sampling/createMessage": types.CreateMessageRequestSchema,
    "elicitation/create": types.ElicitRequestSchema,
    "roots/list": types.ListRootsRequestSchema,
  };
  const notifications = {
    "notifications/message": types.LoggingMessageNotificationSchema,
    "notifications/resources/updated": types.ResourceUpdatedNotificationSchema,
    "notifications/tools/list_changed": types.ToolListChangedNotificationSchema,
  };
  return {
    http: http.StreamableHTTPClientTransport,
    stdio: stdio.StdioClientTransport,
    make: (capabilities) => new Client({ name: "test", version: "1" }, { capabilities }),
    answer: (client, method, answer) => client.setRequestHandler(requests[method], answer),
    hear: (client, method, hear) => client.setNotificationHandler(notifications[method], hear),
    call: (client, params, how) => client.callTool(params, undefined, how),
    version: (client) => client.transport.protocolVersion,
  };
}

async function line2() {
  const { Client, StreamableHTTPClientTransport } = await load("@modelcontextprotocol/client");
  const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");
  const mode = options.mode === MODERN ? { pin: MODERN } : options.mode;
  return {
    http: StreamableHTTPClientTransport,
    stdio: StdioClientTransport,
    make: (capabilities) =>
      new Client({ name: "test", version: "1" }, { capabilities, versionNegotiation: { mode } }),
    answer: (client, method, answer) => client.setRequestHandler(method, answer),
    hear: (client, method, hear) => client.setNotificationHandler(method, hear),
    call: (client, params, how) => client.callTool(params, how),
    version: (client) => client.getNegotiatedProtocolVersion(),
  };
}

const sdk = options.sdk === "sdk" ? await line1() : await line2();

async function connected(transport, use, capabilities = {}) {
  const client = sdk.make(capabilities);
  const faults = [];
  let leaving = false;
  // Of two messages in one chunk the SDK handles a notification after the response that followed.
  const late = /^Received a progress notification for an unknown token/;
  client.onerror = (error) => leaving || late.test(error.message) || faults.push(error);
  await client.connect(transport);
  const seen = await use(client);
  leaving = true;
  await transport.terminateSession?.();
  await client.close();
  assert.deepEqual(faults, []);
  return seen;
}

async function until(condition, what) {
  const deadline = Date.now() + HEARD_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not within ${HEARD_MS} ms: ${what}`);
    await pause(POLL_MS);
  }
}

async function totals() {
  return (await (await fetch(`${options.admin}/status`)).json()).totals;
}

/** `ringmesh serve`: tools with typed arguments, progress, a resource. */
async function use(client) {
  const spoken = sdk.version(client);
  // Over stdio line 1 does not tell what it speaks.
  assert.ok(spoken === version || spoken === undefined, `speaks ${spoken}`);
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  for (const name of ["echo", "add", "time", "sleep_ms"]) assert.ok(names.includes(name), name);

  let result = await sdk.call(client, { name: "add", arguments: { a: 19, b: 23 } });
  assert.equal(result.content[0].text, "42");
  result = await sdk.call(client, { name: "time", arguments: {} });
  assert.equal(typeof result.structuredContent.unixMs, "number");

  const steps = [];
  const onprogress = ({ progress }) => steps.push(progress);
  result = await sdk.call(client, { name: "sleep_ms", arguments: { ms: 500 } }, { onprogress });
  assert.ok(!result.isError && steps.length >= 2, `progress of sleep_ms: ${steps}`);

  const { resources } = await client.listResources();
  assert.ok(resources.some(({ uri }) => uri === STATUS_URI));
  const { contents } = await client.readResource({ uri: STATUS_URI });
  assert.equal(typeof JSON.parse(contents[0].text), "object");
  return `${spoken ?? "stdio"}, ${names.length} tools, ${steps.length} steps of progress`;
}

/** Gives a call up, and returns once `gone` says that the server knows. */
async function cancel(client, begun, gone) {
  const controller = new AbortController();
  const { signal } = controller;
  const how = { signal, timeout: TIMEOUT_MS };
  const call = sdk.call(client, { name: "sleep_ms", arguments: { ms: SLEEP_MS } }, how);
  const ended = call.then(() => "answered", () => "cancelled");
  await until(begun, "sleep_ms is in flight");
  controller.abort("the user pressed escape");
  assert.equal(await ended, "cancelled");
  await until(gone, "the server hears that sleep_ms was cancelled");
  const result = await sdk.call(client, { name: "add", arguments: { a: 1, b: 2 } });
  assert.equal(result.content[0].text, "3");
  return "sleep_ms cancelled";
}

async function tryHttp() {
  const inFlight = async () => (await totals()).calls_in_flight;
  const seen = await connected(new sdk.http(new URL(options.serve)), async (client) => {
    const used = await use(client);
    const begun = async () => (await inFlight()) === 1;
    const cancelled = await cancel(client, begun, async () => (await inFlight()) === 0);
    if (version === LEGACY) {
      let updates = 0;
      sdk.hear(client, "notifications/resources/updated", () => void (updates += 1));
      await client.subscribeResource({ uri: STATUS_URI });
      // Long enough to be seen: the status counts what is in flight.
      await sdk.call(client, { name: "sleep_ms", arguments: { ms: 2_500 } });
      await until(() => updates > 0, "an update of the status");
      await client.unsubscribeResource({ uri: STATUS_URI });
    }
    return `${used}, ${cancelled}`;
  });
  const left = (now) => now.calls_in_flight || now.streams || now.sessions;
  await until(async () => !left(await totals()), "nothing is left of the client");
  return seen;
}

/** That the server hears of the cancellation is not seen from here: python_client.py looks. */
async function tryStdio() {
  const transport = new sdk.stdio({ command: options.stdio, args: ["serve", "--stdio"] });
  return connected(transport, async (client) => {
    const used = await use(client);
    const soon = Date.now() + 10 * POLL_MS;
    return `${used}, ${await cancel(client, () => Date.now() > soon, () => true)}`;
  });
}

/** The conformance server asks, logs, changes its lists, closes a stream in the midst of a call. */
async function answerTheServer() {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  return connected(new sdk.http(new URL(options.conformance)), async (client) => {
    sdk.answer(client, "sampling/createMessage", () => ({
      role: "assistant", model: "none", content: { type: "text", text: "a dream" },
    }));
    sdk.answer(client, "elicitation/create", () => ({
      action: "accept", content: { username: "u", email: "e" },
    }));
    sdk.answer(client, "roots/list", () => ({ roots: [{ uri: "file:///r", name: "r" }] }));
    const textOf = async (name, given) => {
      const result = await sdk.call(client, { name, arguments: given });
      assert.ok(!result.isError, `${name}: ${JSON.stringify(result)}`);
      return result.content[0].text;
    };
    assert.match(await textOf("test_sampling", { prompt: "What is this?" }), /a dream/);
    assert.match(await textOf("test_elicitation", { message: "Who are you?" }), /accept.*"u"/);
    assert.match(await textOf("test_input_required_result_list_roots", {}), /file:\/\/\/r/);
    await textOf("test_reconnection", {});
    if (version === MODERN) return "asked";

    const logs = [];
    sdk.hear(client, "notifications/message", ({ params }) => void logs.push(params.data));
    await client.setLoggingLevel("info");
    await textOf("test_tool_with_logging", {});
    assert.equal(logs.length, 3);
    let changes = 0;
    sdk.hear(client, "notifications/tools/list_changed", () => void (changes += 1));
    await textOf("test_trigger_tool_change", {});
    await until(() => changes > 0, "a change of the tools");
    return "asked, logged, reconnected, a change on the stream of GET";
  }, capabilities);
}

setTimeout(() => assert.fail(`not done in ${TIMEOUT_MS} ms`), TIMEOUT_MS).unref();
console.log("http:", await tryHttp());
if (options.stdio) console.log("stdio:", await tryStdio());
console.log("conformance:", await answerTheServer());
