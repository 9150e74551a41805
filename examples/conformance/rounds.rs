//! Tools that need several rounds.

use ringmesh::{
    Builder, Call, Capability, Elicited, Error, InputRequired, Roots, Rounds, Sampled, Sampling,
    Tool,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Confirm {
    ok: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Color {
    color: String,
}

pub(crate) fn add(builder: Builder) -> Builder {
    builder
        .tool(elicitation())
        .tool(sampling())
        .tool(list_roots())
        .tool(confirmed("test_input_required_result_request_state"))
        .tool(multiple_inputs())
        .tool(multi_round())
        .tool(confirmed("test_input_required_result_tampered_state"))
        .tool(capabilities())
}

fn elicitation() -> Tool {
    Tool::new("test_input_required_result_elicitation").description("Asks the user's name").inline(
        |(): (), call: &Call<'_>| match call.input::<Elicited<Name>>("user_name") {
            Some(Elicited::Accept { content }) => Ok(format!("Hello, {}!", content.name)),
            Some(_) => Ok("Hello, whoever you are!".to_owned()),
            None => {
                let asked = InputRequired::new();
                Err(Error::from(asked.elicit_as::<Name>("user_name", "What is your name?")))
            }
        },
    )
}

fn sampling() -> Tool {
    Tool::new("test_input_required_result_sampling").description("Asks the model").inline(
        |(): (), call: &Call<'_>| match call.input::<Sampled>("capital_question") {
            Some(sampled) => Ok(sampled.text()),
            None => {
                let question = Sampling::new(100).user("What is the capital of France?");
                Err(Error::from(InputRequired::new().sample("capital_question", question)))
            }
        },
    )
}

fn list_roots() -> Tool {
    Tool::new("test_input_required_result_list_roots").description("Asks for the roots").inline(
        |(): (), call: &Call<'_>| match call.input::<Roots>("client_roots") {
            Some(Roots { roots }) => {
                let uris: Vec<_> = roots.into_iter().map(|root| root.uri).collect();
                Ok(format!("roots: {}", uris.join(", ")))
            }
            None => Err(Error::from(InputRequired::new().roots("client_roots"))),
        },
    )
}

/// A tool whose second round needs the state of its first.
fn confirmed(name: &str) -> Tool {
    Tool::new(name).description("Asks for a confirmation and keeps a state").inline(
        |(): (), call: &Call<'_>| {
            let confirmed = call.input::<Elicited<Confirm>>("confirm").and_then(Elicited::accepted);
            match (call.kept::<String>()?, confirmed) {
                (Some(state), Some(Confirm { ok })) => Ok(format!("{state}, confirmed: {ok}")),
                _ => Err(Error::from(
                    InputRequired::new()
                        .elicit_as::<Confirm>("confirm", "Please confirm")
                        .state("state-ok"),
                )),
            }
        },
    )
}

fn multiple_inputs() -> Tool {
    Tool::new("test_input_required_result_multiple_inputs").description("Asks three things").inline(
        |(): (), call: &Call<'_>| {
            let name = call.input::<Elicited<Name>>("user_name").and_then(Elicited::accepted);
            let greeting = call.input::<Sampled>("greeting");
            let roots = call.input::<Roots>("client_roots");
            let state = call.kept::<String>()?;
            if let (Some(name), Some(greeting), Some(roots), Some(_)) =
                (name, greeting, roots, state)
            {
                let (text, count) = (greeting.text(), roots.roots.len());
                return Ok(format!("{text} {} has {count} roots", name.name));
            }
            Err(Error::from(
                InputRequired::new()
                    .elicit_as::<Name>("user_name", "What is your name?")
                    .sample("greeting", Sampling::new(50).user("Generate a greeting"))
                    .roots("client_roots")
                    .state("asked"),
            ))
        },
    )
}

/// What the rounds so far brought.
#[derive(Serialize, Deserialize)]
enum Step {
    Named,
    Colored { name: String },
}

fn multi_round() -> Tool {
    Tool::new("test_input_required_result_multi_round").description("Asks twice").inline(
        |(): (), call: &Call<'_>| -> Result<String, Error> {
            let first = InputRequired::new()
                .elicit_as::<Name>("step1", "Step 1: What is your name?")
                .state(&Step::Named);
            let second = |name: String| {
                InputRequired::new()
                    .elicit_as::<Color>("step2", "Step 2: What is your favorite color?")
                    .state(&Step::Colored { name })
            };
            match call.kept::<Step>()? {
                None => Err(first.into()),
                Some(Step::Named) => {
                    match call.input::<Elicited<Name>>("step1").and_then(Elicited::accepted) {
                        Some(Name { name }) => Err(second(name).into()),
                        None => Err(first.into()),
                    }
                }
                Some(Step::Colored { name }) => {
                    match call.input::<Elicited<Color>>("step2").and_then(Elicited::accepted) {
                        Some(Color { color }) => Ok(format!("{name} likes {color}")),
                        None => Err(second(name).into()),
                    }
                }
            }
        },
    )
}

fn capabilities() -> Tool {
    Tool::new("test_input_required_result_capabilities")
        .description("Asks what the client is able to answer")
        .inline(|(): (), call: &Call<'_>| {
            let answered = call.input::<Sampled>("sampled").is_some()
                || call.input::<Elicited<Name>>("elicited").is_some()
                || call.input::<Roots>("roots").is_some();
            let mut asked = InputRequired::new();
            if call.declares(Capability::Sampling) {
                asked = asked.sample("sampled", Sampling::new(50).user("Say hello"));
            }
            if call.declares(Capability::Elicitation) {
                asked = asked.elicit_as::<Name>("elicited", "What is your name?");
            }
            if call.declares(Capability::Roots) {
                asked = asked.roots("roots");
            }
            if answered || asked.is_empty() { Ok("complete") } else { Err(Error::from(asked)) }
        })
}
