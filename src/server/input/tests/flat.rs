//! The short cut against the validator.

use proptest::prelude::*;

use super::*;

/// Schemas that are flat, or nearly.
fn any_schema() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        json!("integer"),
        json!("number"),
        json!("string"),
        json!("boolean"),
        json!("null"),
        json!(["integer", "null"]),
        json!(["string", "number"]),
        json!("array"),
    ]);
    let bound =
        || prop::option::of(prop::sample::select(vec![json!(-1), json!(0), json!(1), json!(0.5)]));
    let property = (kind, bound(), bound(), 0..8).prop_map(|(kind, least, most, shape)| {
        let mut schema = json!({"type": kind, "description": "d", "format": "int64"});
        if let Some(least) = least {
            schema["minimum"] = least;
        }
        if let Some(most) = most {
            schema["maximum"] = most;
        }
        match shape {
            0 => json!(true),
            1 => json!({}),
            2 => json!({"$ref": "#"}),
            _ => schema,
        }
    });
    let names = prop::collection::vec(prop::sample::select(vec!["a", "b", "ä"]), 0..3);
    let properties =
        prop::collection::btree_map(prop::sample::select(vec!["a", "b", "ä"]), property, 0..4);
    (properties, names, prop::option::of(any::<bool>())).prop_map(|(properties, names, open)| {
        let mut required = names;
        required.sort_unstable();
        required.dedup();
        let mut schema = json!({"type": "object", "properties": properties, "required": required});
        if let Some(open) = open {
            schema["additionalProperties"] = open.into();
        }
        schema
    })
}

/// Texts of objects, some with members that are there twice.
fn any_arguments() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let name = prop::sample::select(vec!["a", "b", "ä", "\\u0061", "c"]);
    let value = prop::sample::select(vec![
        "1",
        "0",
        "-1",
        "-0",
        "2",
        "1.0",
        "1.5",
        "1e2",
        "0.5",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "null",
        "true",
        "\"1\"",
        "\"\\n\"",
        "[1]",
        "{\"a\":1}",
        "[]",
        "1e400",
    ]);
    prop::collection::vec((name, value), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_flat_schemas_accept_the_validator_accepts(
        schema in any_schema(),
        members in any_arguments(),
    ) {
        let Some(flat) = Flat::of(&schema) else { return Ok(()) };
        let compiled = compile(&schema).expect("a valid schema");
        let texts = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
        let text = format!("{{{}}}", texts.collect::<Vec<_>>().join(","));
        let checked = compiled.validate(&text);
        let unescaped = members.iter().map(|(name, _)| name.replace("\\u0061", "a"));
        let mut names: Vec<_> = unescaped.collect();
        names.sort_unstable();
        names.dedup();
        let twice = names.len() < members.len();
        if flat.accepts(&text) {
            // Of unknown members that are there twice, or hold a number that no reader takes, a
            // flat schema says nothing.
            let unsaid = twice || text.contains("1e400");
            prop_assert!(checked.is_ok() || unsaid, "{schema} {text} {checked:?}");
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let plain = jsonschema::options().build(&schema).expect("a valid schema");
                prop_assert!(plain.is_valid(&value), "{schema} {text}");
            }
        } else if !text.contains(['.', 'e']) && !text.contains("00") && !twice {
            // It gives up nothing but numbers with bounds that are no integers of 64 bits.
            let wide = text.contains("18446744073709551616") || text.contains("-0")
                || text.contains("-9223372036854775809");
            prop_assert!(checked.is_err() || wide, "{schema} {text}");
        }
    }
}

#[test]
fn flat_schemas_are_told_from_others() {
    let of =
        |schema: Value| Flat::of(&json!({"type": "object", "properties": {"v": schema}})).is_some();
    for schema in [
        json!({"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255, "title": "t"}),
        json!({"type": ["string", "null"], "default": null, "x-mcp-header": "V"}),
        json!(true),
        json!({"description": "anything"}),
    ] {
        assert!(of(schema.clone()), "{schema}");
    }
    for schema in [
        json!(false),
        json!({"type": "string", "maxLength": 3}),
        json!({"type": "integer", "exclusiveMinimum": 0}),
        json!({"type": "integer", "minimum": 0.5}),
        json!({"type": "array"}),
        json!({"type": "object"}),
        json!({"enum": [1]}),
        json!({"unknown": 1}),
    ] {
        assert!(!of(schema.clone()), "{schema}");
    }
    for schema in [
        json!({"type": "object", "required": ["a"]}),
        json!({"type": "object", "anyOf": []}),
        json!({"type": "object", "patternProperties": {}}),
        json!({"type": "object", "additionalProperties": {"type": "null"}}),
        json!({"properties": 5}),
    ] {
        assert!(Flat::of(&schema).is_none(), "{schema}");
    }
}
