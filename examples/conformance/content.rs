//! Tools that return each kind of content, and tools with special schemas.

use ringmesh::{Blob, Builder, Call, Content, ResourceContents, Tool, ToolResult};
use serde::Deserialize;
use serde_json::{Value, json};

/// A picture of one pixel, in base64.
pub(crate) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAA\
    DUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// One sample of silence, in base64.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

pub(crate) fn add(builder: Builder) -> Builder {
    builder
        .tool(
            Tool::new("test_simple_text")
                .description("Returns text")
                .inline(|(): (), _: &Call<'_>| "This is a simple text response for testing."),
        )
        .tool(
            Tool::new("test_image_content")
                .description("Returns an image")
                .inline(|(): (), _: &Call<'_>| Content::image(Blob::base64(PNG), "image/png")),
        )
        .tool(
            Tool::new("test_audio_content")
                .description("Returns a sound")
                .inline(|(): (), _: &Call<'_>| Content::audio(Blob::base64(WAV), "audio/wav")),
        )
        .tool(embedded_resource())
        .tool(multiple_content_types())
        .tool(Tool::new("test_error_handling").description("Fails").inline(
            |(): (), _: &Call<'_>| {
                ToolResult::error("This tool intentionally returns an error for testing")
            },
        ))
        .tool(json_schema_2020_12())
        .tool(custom_header())
}

fn embedded_resource() -> Tool {
    Tool::new("test_embedded_resource").description("Returns an embedded resource").inline(
        |(): (), _: &Call<'_>| {
            let text = "This is an embedded resource content.";
            let contents = ResourceContents::text("test://embedded-resource", text);
            Content::resource(contents.mime_type("text/plain"))
        },
    )
}

fn multiple_content_types() -> Tool {
    Tool::new("test_multiple_content_types").description("Returns text, image and resource").inline(
        |(): (), _: &Call<'_>| {
            let text = r#"{"test":"data","value":123}"#;
            let contents = ResourceContents::text("test://mixed-content-resource", text);
            ToolResult::new()
                .text("Multiple content types test:")
                .content(Content::image(Blob::base64(PNG), "image/png"))
                .content(contents.mime_type("application/json"))
        },
    )
}

fn json_schema_2020_12() -> Tool {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {
            "properties": {"contactMethod": {"const": "phone"}},
            "required": ["contactMethod"],
        },
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    Tool::new("json_schema_2020_12_tool")
        .description("Tool with JSON Schema 2020-12 features")
        .input_schema(schema)
        .inline(|arguments: Value, _: &Call<'_>| format!("called with {arguments}"))
}

#[derive(Deserialize, schemars::JsonSchema)]
struct CustomHeader {
    value: String,
}

fn custom_header() -> Tool {
    let value = json!({"type": "string", "x-mcp-header": "Value"});
    Tool::new("test_custom_header")
        .description("Returns an argument that is mirrored into a header")
        .input_schema(
            json!({"type": "object", "properties": {"value": value}, "required": ["value"]}),
        )
        .inline(|arguments: CustomHeader, _: &Call<'_>| arguments.value)
}
