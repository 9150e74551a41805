-- One modern (2026-07-28) `tools/call` of `add`, sent over and over by wrk, and a verdict on the
-- replies.
--
--   wrk -t1 -c64 -d5s -s perf/wrk.lua http://127.0.0.1:PORT/mcp            measures
--   wrk -t1 -c64 -d5s -s perf/wrk.lua http://127.0.0.1:PORT/mcp -- check   looks at every reply
--
-- Looking at a reply costs wrk more than the reply costs a fast server, so the two are apart:
-- measuring, wrk itself counts statuses above 399 and the bytes, from which perf/compare tells
-- whether all replies were as long as the checked ones. Either way the last line printed is
-- `verdict {JSON}`.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

-- Globals of one thread, since `thread:get` reads nothing else.
checked = 0
bad_status = 0
bad_body = 0
bad_sample = ""
reply_sample = ""

local function on_reply(status, _, body)
  checked = checked + 1
  local broken = false
  if status ~= 200 then
    bad_status = bad_status + 1
    broken = true
  elseif not body:find('"result"', 1, true) then
    bad_body = bad_body + 1
    broken = true
  elseif reply_sample == "" then
    reply_sample = body
  end
  if broken and bad_sample == "" then
    bad_sample = status .. " " .. body:sub(1, 300)
  end
end

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json, text/event-stream"
  wrk.headers["MCP-Protocol-Version"] = "2026-07-28"
  wrk.headers["Mcp-Method"] = "tools/call"
  wrk.headers["Mcp-Name"] = "add"
  wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{'
    .. '"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    .. '"io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"4.1"},'
    .. '"io.modelcontextprotocol/clientCapabilities":{}},'
    .. '"name":"add","arguments":{"a":2,"b":3}}}'
  request_bytes = #wrk.format()
  if args[1] == "check" then
    response = on_reply
  end
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return string.format("\\u%04x", c:byte())
  end) .. '"'
end

local function total(name)
  local sum = 0
  for _, thread in ipairs(threads) do
    sum = sum + thread:get(name)
  end
  return sum
end

local function first(name)
  for _, thread in ipairs(threads) do
    local text = thread:get(name)
    if text ~= "" then
      return text
    end
  end
  return ""
end

function done(summary, latency)
  local errors = summary.errors
  local fields = {
    { "requests", summary.requests },
    { "duration_us", summary.duration },
    { "bytes", summary.bytes },
    { "request_bytes", threads[1]:get("request_bytes") },
    { "latency_p50_us", latency:percentile(50) },
    { "latency_p90_us", latency:percentile(90) },
    { "latency_p99_us", latency:percentile(99) },
    { "latency_p999_us", latency:percentile(99.9) },
    { "latency_max_us", latency.max },
    { "errors_connect", errors.connect },
    { "errors_read", errors.read },
    { "errors_write", errors.write },
    { "errors_timeout", errors.timeout },
    { "errors_status", errors.status },
    { "checked", total("checked") },
    { "bad_status", total("bad_status") },
    { "bad_body", total("bad_body") },
  }
  local parts = {}
  for i, field in ipairs(fields) do
    parts[i] = string.format('"%s":%d', field[1], field[2])
  end
  table.insert(parts, '"bad_sample":' .. quoted(first("bad_sample")))
  table.insert(parts, '"reply_sample":' .. quoted(first("reply_sample")))
  print("verdict {" .. table.concat(parts, ",") .. "}")
end
