//! Tools that send something before their answer, or make the server send something.

use std::time::Duration;

use ringmesh::{
    Builder, Call, Capability, Context, Error, InputRequired, LogLevel, NoteError, Rounds, Tool,
};
use serde_json::json;

/// Between two reports of progress.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn add(builder: Builder) -> Builder {
    let (tools, prompts) = (builder.handle(), builder.handle());
    builder
        .tool(progress())
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
