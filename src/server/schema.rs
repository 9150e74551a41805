//! JSON Schemas (2020-12) derived from Rust types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};

/// The schema of what deserialises into `T`, without `$schema` and the type's own title: MCP takes
/// JSON Schema 2020-12 where nothing else is said.
pub fn schema_of<T: JsonSchema>() -> Value {
    plain(settings().into_generator().into_root_schema_for::<T>())
}

/// The schema of what `T` serialises to.
pub(super) fn output_schema_of<T: JsonSchema>() -> Value {
    plain(settings().for_serialize().into_generator().into_root_schema_for::<T>())
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with_transform(RecursiveTransform(forget_width))
}

/// Formats such as `uint64` are OpenAPI's: validators of JSON Schema warn of what they do not know.
fn forget_width(schema: &mut schemars::Schema) {
    let width = |format: &Value| {
        format.as_str().is_some_and(|name| {
            let kind = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
            ["int", "uint", "float", "double"].contains(&kind)
        })
    };
    if schema.get("format").is_some_and(width) {
        schema.remove("format");
    }
}

fn plain(schema: schemars::Schema) -> Value {
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    schema
}

/// The schema of a tool's arguments, which are an object always: `()` and types without fields
/// take none, enums of structs get the `type` that their variants share.
pub(super) fn arguments_schema_of<A: JsonSchema>() -> Value {
    let mut schema = match schema_of::<A>() {
        Value::Object(object) if object.get("type").is_none_or(|kind| kind != "null") => object,
        _ => Map::new(),
    };
    let kind = schema.entry("type").or_insert_with(|| "object".into());
    let composed = ["oneOf", "anyOf", "allOf", "$ref"];
    if *kind == "object" && !composed.iter().any(|key| schema.contains_key(*key)) {
        schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Add {
        /// The first summand.
        a: i64,
        b: Option<i64>,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "kind")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Shape {
        Circle { radius: f64 },
        Point,
    }

    #[test]
    fn arguments_are_objects() {
        let none = json!({"type": "object", "properties": {}});
        assert_eq!(arguments_schema_of::<()>(), none);
        assert_eq!(arguments_schema_of::<Value>(), none);
        let add = arguments_schema_of::<Add>();
        assert_eq!(add["type"], "object");
        assert_eq!(add["required"], json!(["a"]));
        assert_eq!(add["properties"]["a"]["description"], "The first summand.");
        assert!(!add.to_string().contains("int64"), "{add}");
        assert!(add.get("$schema").is_none() && add.get("title").is_none());
        let shape = arguments_schema_of::<Shape>();
        assert_eq!(
            (&shape["type"], shape["oneOf"].as_array().map(Vec::len)),
            (&json!("object"), Some(2))
        );
        assert_eq!(arguments_schema_of::<u8>()["type"], "integer");
    }
}
