//! Tools that send something before their answer, or make the server send something.

use std::time::Duration;

use ringmesh::{
    Builder, Call, Capability, Context, Error, InputRequired, LogLevel, NoteError, Rounds, Tool,
};
use serde_json::json;

/// Between two reports of progress, or two logs.
const PAUSE: Duration = Duration::from_millis(50);
/// After how long a client whose stream was closed should come back.
const RETRY: Duration = Duration::from_millis(500);
/// How long a call goes on without its stream.
const ALONE: Duration = Duration::from_millis(100);

pub(crate) fn add(builder: Builder) -> Builder {
    let (tools, prompts) = (builder.handle(), builder.handle());
    builder
        .tool(progress())
        .tool(logging())
        .tool(reconnection())
        .tool(
            Tool::new("test_missing_capability").description("Needs a client that samples").inline(
                |(): (), call: &Call<'_>| match call.declares(Capability::Sampling) {
                    true => Ok("Success"),
                    false => Err(Error::capability(Capability::Sampling)),
                },
            ),
        )
        .tool(Tool::new("test_streaming_elicitation").description("Asks the user at once").inline(
            |(): (), call: &Call<'_>| match call.input::<serde_json::Value>("answer") {
                Some(_) => Ok("answered"),
                None => Err(Error::from(InputRequired::new().elicit(
                    "answer",
                    "Go on?",
                    json!({"type": "object", "properties": {"ok": {"type": "boolean"}}}),
                ))),
            },
        ))
        .tool(Tool::new("test_logging_tool").description("Logs where logs are wanted").inline(
            |(): (), call: &Call<'_>| {
                call.log(LogLevel::Info, Some("conformance"), "evaluated")?;
                Ok::<_, NoteError>("Logging evaluated")
            },
        ))
        .tool(
            Tool::new("test_trigger_tool_change")
                .description("Announces a change of tools")
                .inline(move |(): (), _: &Call<'_>| {
                    tools.notify_tools_changed();
                    "announced"
                }),
        )
        .tool(
            Tool::new("test_trigger_prompt_change")
                .description("Announces a change of prompts")
                .inline(move |(): (), _: &Call<'_>| {
                    prompts.notify_prompts_changed();
                    "announced"
                }),
        )
}

fn progress() -> Tool {
    let tool = Tool::new("test_tool_with_progress").description("Reports progress three times");
    tool.blocking(|(): (), context: &Context| {
        for (at, progress) in [0.0, 50.0, 100.0].into_iter().enumerate() {
            if at > 0 {
                std::thread::sleep(PAUSE);
            }
            context.progress(progress, Some(100.0), None)?;
        }
        Ok::<_, NoteError>("done")
    })
}

fn logging() -> Tool {
    let tool = Tool::new("test_tool_with_logging").description("Logs three times");
    tool.blocking(|(): (), context: &Context| {
        let steps = ["Tool execution started", "Tool processing data", "Tool execution completed"];
        for (at, step) in steps.into_iter().enumerate() {
            if at > 0 {
                std::thread::sleep(PAUSE);
            }
            context.log(LogLevel::Info, None, step)?;
        }
        Ok::<_, NoteError>("Tool with logging executed successfully")
    })
}

fn reconnection() -> Tool {
    Tool::new("test_reconnection")
        .description("Closes its stream and answers to the client that comes back")
        .blocking(|(): (), context: &Context| {
            context.close_stream(RETRY)?;
            std::thread::sleep(ALONE);
            Ok::<_, NoteError>("Reconnection test completed successfully.")
        })
}
