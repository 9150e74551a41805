//! Prompts of each kind.

use ringmesh::{
    Blob, Builder, Call, Completion, Content, Elicited, Error, InputRequired, Prompt, PromptResult,
    ResourceContents, Rounds,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::content::PNG;

pub(crate) fn add(builder: Builder) -> Builder {
    builder
        .prompt(
            Prompt::new("test_simple_prompt")
                .description("One message")
                .inline(|(): (), _: &Call<'_>| "This is a simple prompt for testing."),
        )
        .prompt(with_arguments())
        .prompt(with_embedded_resource())
        .prompt(
            Prompt::new("test_prompt_with_image").description("A message with an image").inline(
                |(): (), _: &Call<'_>| {
                    PromptResult::new()
                        .user(Content::image(Blob::base64(PNG), "image/png"))
                        .user("Please analyze the image above.")
                },
            ),
        )
        .prompt(input_required())
}

#[derive(Deserialize)]
struct Two {
    arg1: String,
    arg2: String,
}

fn with_arguments() -> Prompt {
    Prompt::new("test_prompt_with_arguments")
        .description("A message with two arguments")
        .required("arg1", "First test argument")
        .required("arg2", "Second test argument")
        .complete("arg1", |typed: &str, _: &Call<'_>| {
            Completion::starting(typed, ["test1", "test2", "other"])
        })
        .inline(|Two { arg1, arg2 }: Two, _: &Call<'_>| {
            format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")
        })
}

#[derive(Deserialize)]
struct Embedded {
    #[serde(rename = "resourceUri")]
    resource_uri: String,
}

fn with_embedded_resource() -> Prompt {
    Prompt::new("test_prompt_with_embedded_resource")
        .description("A message with a resource")
        .required("resourceUri", "URI of the resource to embed")
        .inline(|arguments: Embedded, _: &Call<'_>| {
            let text = "Embedded resource content for testing.";
            let contents = ResourceContents::text(arguments.resource_uri, text);
            PromptResult::new()
                .user(contents.mime_type("text/plain"))
                .user("Please process the embedded resource above.")
        })
}

#[derive(Deserialize, JsonSchema)]
struct UserContext {
    context: String,
}

fn input_required() -> Prompt {
    Prompt::new("test_input_required_result_prompt").description("Asks before it answers").inline(
        |(): (), call: &Call<'_>| match call.input::<Elicited<UserContext>>("user_context") {
            Some(Elicited::Accept { content }) => Ok(format!("Use this: {}", content.context)),
            Some(_) => Ok("Use no context.".to_owned()),
            None => {
                Err(Error::from(InputRequired::new().elicit_as::<UserContext>(
                    "user_context",
                    "What context should the prompt use?",
                )))
            }
        },
    )
}
