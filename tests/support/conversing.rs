//! Tools that say something before they answer, ask their client, or let it go and come back.

use std::time::Duration;

use ringmesh::{
    Builder, Call, Context, Elicited, Error, InputRequired, LogLevel, NoteError, Roots, Rounds,
    Sampled, Sampling, Tool,
};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Steps {
    steps: u32,
    ms: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Waits {
    ms: u64,
}

const LEVELS: &[(LogLevel, &str)] = &[
    (LogLevel::Debug, "debug"),
    (LogLevel::Info, "info"),
    (LogLevel::Warning, "warning"),
    (LogLevel::Error, "error"),
];

pub(super) fn add(builder: Builder) -> Builder {
    asking(builder)
        .tool(Tool::new("speaks").inline(|(): (), call: &Call<'_>| {
            for (level, name) in LEVELS {
                call.log(*level, Some("test"), name)?;
            }
            Ok::<_, NoteError>("spoken")
        }))
        .tool(Tool::new("steps").asynchronous(|asked: Steps, context: Context| async move {
            for step in 1..=asked.steps {
                tokio::time::sleep(Duration::from_millis(asked.ms)).await;
                context.progress(step.into(), Some(asked.steps.into()), None)?;
            }
            Ok::<_, NoteError>(format!("{} steps", asked.steps))
        }))
        .tool(Tool::new("polls").asynchronous(|asked: Waits, context: Context| async move {
            context.close_stream(Duration::from_millis(100))?;
            tokio::time::sleep(Duration::from_millis(asked.ms)).await;
            Ok::<_, NoteError>("polled")
        }))
}

fn asking(builder: Builder) -> Builder {
    builder
        .tool(Tool::new("asks_name").inline(|(): (), call: &Call<'_>| asks_name(call)))
        .tool(Tool::new("asks_model").asynchronous(|(): (), context: Context| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match context.input::<Sampled>("said") {
                Some(sampled) => Ok(sampled.text()),
                None => Err(Error::from(
                    InputRequired::new().sample("said", Sampling::new(10).user("Say something")),
                )),
            }
        }))
        .tool(Tool::new("asks_roots").blocking(|(): (), context: &Context| {
            match context.input::<Roots>("roots") {
                Some(Roots { roots }) => Ok(format!("{} roots", roots.len())),
                None => Err(Error::from(InputRequired::new().roots("roots"))),
            }
        }))
        .tool(Tool::new("asks_twice").inline(|(): (), call: &Call<'_>| {
            let asked: u32 = call.kept()?.unwrap_or(0);
            let name = call.input::<Elicited<Name>>("name").and_then(Elicited::accepted);
            match (asked, name) {
                (2, Some(Name { name })) => Ok(format!("twice {name}")),
                _ => Err(Error::from(
                    InputRequired::new().elicit_as::<Name>("name", "Who?").state(&(asked + 1)),
                )),
            }
        }))
        .tool(Tool::new("asks_all").inline(|(): (), call: &Call<'_>| {
            let name = call.input::<Elicited<Name>>("name").and_then(Elicited::accepted);
            let (said, roots) = (call.input::<Sampled>("said"), call.input::<Roots>("roots"));
            match (name, said, roots) {
                (Some(Name { name }), Some(said), Some(Roots { roots })) => {
                    Ok(format!("{name}, {}, {} roots", said.text(), roots.len()))
                }
                _ => Err(Error::from(
                    InputRequired::new()
                        .elicit_as::<Name>("name", "Who?")
                        .sample("said", Sampling::new(10).user("Say something"))
                        .roots("roots"),
                )),
            }
        }))
}

fn asks_name(call: &Call<'_>) -> Result<String, Error> {
    match call.input::<Elicited<Name>>("name") {
        Some(Elicited::Accept { content }) => Ok(format!("Hello, {}!", content.name)),
        Some(_) => Ok("Hello!".to_owned()),
        None => Err(Error::from(InputRequired::new().elicit_as::<Name>("name", "Who?"))),
    }
}
