//! Tools that ask the client once. A client of the modern era gets the question as a result and
//! calls again; one of the legacy eras gets a request of the server's in the midst of its call.

use ringmesh::{Builder, Call, Elicited, Error, InputRequired, Rounds, Sampled, Sampling, Tool};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Of an answer to a sampling request.
const TOKENS_MAX: u32 = 100;

pub(crate) fn add(builder: Builder) -> Builder {
    builder
        .tool(sampling())
        .tool(elicitation())
        .tool(form(
            "test_elicitation_sep1034_defaults",
            "Asks for each kind of primitive, with defaults",
            "Please review and update the form fields with defaults",
            defaults(),
        ))
        .tool(form(
            "test_elicitation_sep1330_enums",
            "Asks for each kind of choice",
            "Please choose",
            enums(),
        ))
}

#[derive(Deserialize, JsonSchema)]
struct Prompt {
    /// The prompt to send to the model.
    prompt: String,
}

fn sampling() -> Tool {
    Tool::new("test_sampling").description("Asks the model").inline(
        |Prompt { prompt }: Prompt, call: &Call<'_>| match call.input::<Sampled>("answer") {
            Some(sampled) => Ok(format!("LLM response: {}", sampled.text())),
            None => {
                let question = Sampling::new(TOKENS_MAX).user(prompt);
                Err(Error::from(InputRequired::new().sample("answer", question)))
            }
        },
    )
}

#[derive(Deserialize, JsonSchema)]
struct Message {
    /// The message to show the user.
    message: String,
}

fn elicitation() -> Tool {
    Tool::new("test_elicitation").description("Asks the user").inline(
        |Message { message }: Message, call: &Call<'_>| match answer(call) {
            Some(answer) => Ok(format!("User response: {answer}")),
            None => Err(Error::from(InputRequired::new().elicit("answer", &message, contact()))),
        },
    )
}

/// A tool without arguments that asks for the fields of `schema`.
fn form(name: &str, description: &str, message: &'static str, schema: Value) -> Tool {
    Tool::new(name).description(description).inline(move |(): (), call: &Call<'_>| {
        match answer(call) {
            Some(answer) => Ok(format!("Elicitation completed: {answer}")),
            None => {
                Err(Error::from(InputRequired::new().elicit("answer", message, schema.clone())))
            }
        }
    })
}

/// What the user did, as text, once the client said so.
fn answer(call: &Call<'_>) -> Option<String> {
    let elicited = call.input::<Elicited<Option<Value>>>("answer")?;
    let (action, content) = match elicited {
        Elicited::Accept { content } => ("accept", content.unwrap_or_default()),
        Elicited::Decline => ("decline", Value::Null),
        Elicited::Cancel => ("cancel", Value::Null),
    };
    Some(format!("action={action}, content={content}"))
}

fn contact() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    })
}

/// Defaults of all primitive types (SEP-1034).
fn defaults() -> Value {
    let status = json!({
        "type": "string",
        "description": "Status",
        "enum": ["active", "inactive", "pending"],
        "default": "active",
    });
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Name", "default": "John Doe"},
            "age": {"type": "integer", "description": "Age", "default": 30},
            "score": {"type": "number", "description": "Score", "default": 95.5},
            "status": status,
            "verified": {"type": "boolean", "description": "Verified", "default": true},
        },
        "required": [],
    })
}

/// All five forms of a choice (SEP-1330).
fn enums() -> Value {
    let options = ["option1", "option2", "option3"];
    let titled = |noun: &str| {
        json!([
            {"const": "value1", "title": format!("First {noun}")},
            {"const": "value2", "title": format!("Second {noun}")},
            {"const": "value3", "title": format!("Third {noun}")},
        ])
    };
    let names = ["Option One", "Option Two", "Option Three"];
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled("Option")},
            "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
        },
        "required": [],
    })
}
