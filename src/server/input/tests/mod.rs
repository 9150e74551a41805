//! The check as a tool's caller meets it; and, in files of their own, its bounds and its short cut.

mod bounds;
mod flat;

use serde_json::{Value, json};

use super::*;

fn input(schema: &Value) -> Input {
    Input::compile("t", schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn flaw(schema: &Value) -> String {
    let shown: String = schema.to_string().chars().take(200).collect();
    Input::compile("t", schema).err().unwrap_or_else(|| panic!("taken: {shown}")).to_string()
}

fn check(schema: &Value, arguments: &Value) -> Result<(), String> {
    input(schema).check(&arguments.to_string())
}

/// Checks values of a property `v`: for each schema those that fit, and those that do not.
fn check_values<const N: usize>(table: [(Value, Vec<Value>, Vec<Value>); N]) {
    for (schema, fit, unfit) in table {
        let compiled = input(&json!({"type": "object", "properties": {"v": schema}}));
        for value in fit {
            let checked = compiled.check(&json!({"v": value}).to_string());
            assert_eq!(checked, Ok(()), "{schema} {value}");
        }
        for value in unfit {
            let checked = compiled.check(&json!({"v": value}).to_string());
            let reason = checked.expect_err(&format!("{schema} {value}"));
            assert!(reason.starts_with("arguments.v"), "{schema} {value}: {reason}");
        }
    }
}

#[test]
fn keywords_of_scalars_and_arrays_are_checked() {
    check_values([
        (
            json!({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}),
            vec![json!(["a", 1]), json!(["a"])],
            vec![json!([1]), json!(["a", 1, 2])],
        ),
        (json!({"const": {"a": [1]}}), vec![json!({"a": [1.0]})], vec![json!({"a": [2]})]),
        (json!({"enum": ["a", 1, null]}), vec![json!("a"), Value::Null], vec![json!("b")]),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMaximum": 5, "multipleOf": 2}),
            vec![json!(2), json!(4.0)],
            vec![json!(0), json!(3), json!(6), json!("2")],
        ),
        (
            json!({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^\\p{L}+$"}),
            vec![json!("äö"), json!("abc")],
            vec![json!("a"), json!("abcd"), json!("a1")],
        ),
        (
            json!({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}),
            vec![json!([1, 1, 0])],
            vec![json!([1]), json!([1, 1, 1, 1])],
        ),
        (
            json!({"uniqueItems": true, "minItems": 1, "maxItems": 3}),
            vec![json!([1, 2])],
            vec![json!([1, 1.0]), json!([]), json!([1, 2, 3, 4])],
        ),
    ]);
}

#[test]
fn keywords_of_objects_and_alternatives_are_checked() {
    check_values([
        (
            json!({"dependentRequired": {"card": ["name"]}}),
            vec![json!({}), json!({"card": 1, "name": 2})],
            vec![json!({"card": 1})],
        ),
        (
            json!({"dependentSchemas": {"a": {"required": ["b"]}}}),
            vec![json!({"b": 1})],
            vec![json!({"a": 1})],
        ),
        (
            json!({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}],
            "unevaluatedProperties": false}),
            vec![json!({"a": 1, "b": 2})],
            vec![json!({"c": 1})],
        ),
        (
            json!({"prefixItems": [{}], "unevaluatedItems": {"type": "null"}}),
            vec![json!([1, null])],
            vec![json!([1, 2])],
        ),
        (
            json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
            vec![json!({"a": 1, "b": 1}), json!({"c": 1})],
            vec![json!({"a": 1}), json!({})],
        ),
        (
            json!({"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": false,
            "minProperties": 1}),
            vec![json!({"xa": null})],
            vec![json!({"xa": 1}), json!({"a": null}), json!({})],
        ),
        (
            json!({"propertyNames": {"maxLength": 2}}),
            vec![json!({"ab": 1})],
            vec![json!({"abc": 1})],
        ),
        (
            json!({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}),
            vec![json!(2), json!(3)],
            vec![json!(6), json!(5)],
        ),
        (json!({"not": {"type": "string"}}), vec![json!(1)], vec![json!("a")]),
        (json!({"type": ["string", "null"]}), vec![json!("a"), Value::Null], vec![json!(1)]),
        (json!(false), vec![], vec![json!(1)]),
        // An annotation.
        (json!({"format": "email", "contentEncoding": "base64"}), vec![json!("no @")], vec![]),
    ]);
}

#[test]
fn references_within_the_schema_are_followed() {
    let tree = json!({
        "type": "object",
        "$id": "https://example.com/tree",
        "properties": {
            "by_pointer": {"$ref": "#/$defs/a~1b%25"},
            "by_anchor": {"$ref": "#positive"},
            "by_id": {"$ref": "https://example.com/tree#/$defs/a~1b%25"},
            "children": {"type": "array", "items": {"$ref": "#"}},
            "dynamic": {"$dynamicRef": "#node"},
        },
        "$defs": {
            "a/b%": {"type": "integer"},
            "p": {"$anchor": "positive", "exclusiveMinimum": 0},
            "n": {"$dynamicAnchor": "node", "type": "null"},
        },
    });
    assert_eq!(
        check(&tree, &json!({"by_pointer": 1, "by_anchor": 1, "by_id": 1, "dynamic": null})),
        Ok(())
    );
    for name in ["by_pointer", "by_anchor", "by_id", "dynamic"] {
        let reason = check(&tree, &json!({name: -0.5})).expect_err(name);
        assert!(reason.starts_with(&format!("arguments.{name}: ")), "{reason}");
    }
    let deep = json!({"children": [{}, {"children": [{"by_anchor": 0}]}]});
    let reason = check(&tree, &deep).expect_err("zero");
    let place = "arguments.children[1].children[0].by_anchor: 0 is less than or equal to";
    assert!(reason.starts_with(place), "{reason}");
}

#[test]
fn reasons_name_place_and_cause() {
    let schema = json!({
        "type": "object",
        "properties": {
            "n": {"type": "integer", "maximum": 9},
            "list": {"items": {"properties": {"name": {"type": "string"}}}},
            "shape": {"oneOf": [
                {"properties": {"kind": {"const": "circle"}, "r": {"type": "number"}},
                    "required": ["kind", "r"]},
                {"properties": {"kind": {"const": "square"}, "side": {"type": "number"}},
                    "required": ["kind", "side"]},
            ]},
        },
        "required": ["n"],
        "additionalProperties": false,
    });
    let table = [
        (json!({}), r#"arguments: "n" is a required property"#),
        (json!({"n": 10}), "arguments.n: 10 is greater than the maximum of 9"),
        (json!({"n": "1"}), r#"arguments.n: "1" is not of type "integer""#),
        (
            json!({"n": 1, "list": [{}, {"name": 5}]}),
            r#"arguments.list[1].name: 5 is not of type "string""#,
        ),
        (
            json!({"n": 1, "m": 2}),
            "arguments: Additional properties are not allowed ('m' was unexpected)",
        ),
        (
            json!({"n": 1, "shape": {"kind": "circle", "r": "2"}}),
            "arguments.shape: fits none of the alternatives; nearest to one: \
             arguments.shape.r: \"2\" is not of type \"number\"",
        ),
    ];
    for (arguments, expected) in table {
        assert_eq!(check(&schema, &arguments), Err(expected.to_owned()), "{arguments}");
    }
    let twice = input(&schema).check(r#"{"n":1,"n":2}"#).expect_err("twice");
    assert_eq!(twice, "arguments.n: duplicate field `n`");
}

#[test]
fn reasons_are_short_whatever_the_client_sent() {
    let long = "ä".repeat(1 << 19);
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer"}, "e": {"enum": ["a"]}, "o": {"maxProperties": 0}},
        "additionalProperties": {"additionalProperties": false},
    });
    let deep = (0..50).fold(json!(1), |inner, _| json!({&long[..200]: inner}));
    for arguments in [
        json!({"n": &long}),
        json!({"e": &long}),
        json!({"n": vec![0; 100_000]}),
        json!({"o": {&long: 1}}),
        json!({"x": {&long: 1}}),
        json!({&long: {&long: 1}}),
        json!({"x": deep}),
    ] {
        let reason = check(&schema, &arguments).expect_err("unfit");
        assert!(reason.len() < 600, "{} bytes: {reason}", reason.len());
        assert!(reason.starts_with("arguments"), "{reason}");
    }
    // The cause is there even where the value is not.
    let reason = check(&schema, &json!({"n": &long})).expect_err("no integer");
    assert_eq!(reason, r#"arguments.n: value is not of type "integer""#);
    let twice = format!(r#"{{"{long}":{{}},"{long}":{{}}}}"#);
    assert!(input(&schema).check(&twice).expect_err("twice").len() < 1_200);
}

#[test]
fn schemas_that_cannot_be_used_are_refused_with_place_and_reason() {
    let of = |schema: Value| json!({"type": "object", "properties": {"a/b": schema}});
    let chain: Value = (0..40)
        .map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)})))
        .collect();
    let table = [
        (of(json!({"type": "text"})), "inputSchema/properties/a~1b/type: "),
        (of(json!({"minimum": "1"})), "inputSchema/properties/a~1b/minimum: "),
        (json!(5), "inputSchema: "),
        (of(json!({"pattern": "("})), "inputSchema/properties/a~1b/pattern: "),
        (of(json!({"pattern": "(?=a)b"})), "inputSchema/properties/a~1b/pattern: "),
        (of(json!({"pattern": "(\\w{1,1000}){1,1000}"})), "inputSchema/properties/a~1b/pattern: "),
        (of(json!({"$ref": "#/$defs/none"})), "'#/$defs/none' refers to nothing"),
        (of(json!({"$ref": "#none"})), "'#none' names no anchor"),
        (of(json!({"$ref": ""})), "'' refers to nothing"),
        (of(json!({"$ref": "#/properties"})), "refers to a place where no schema is"),
        (
            of(json!({"$ref": "http://127.0.0.1:1/s.json"})),
            "inputSchema/properties/a~1b/$ref: 'http://127.0.0.1:1/s.json' refers to another document",
        ),
        (of(json!({"$ref": "https://json-schema.org/draft/2020-12/schema"})), "another document"),
        (of(json!({"$ref": "file:///etc/passwd"})), "another document"),
        (of(json!({"$ref": "other.json#/a"})), "another document"),
        (of(json!({"$dynamicRef": "other#a"})), "another document"),
        (of(json!({"$id": "other", "type": "null"})), "embed no other documents"),
        (
            json!({"$schema": "https://example.com/dialect", "type": "object"}),
            "inputSchema/$schema: ",
        ),
        (json!({"$schema": 5, "type": "object"}), "inputSchema/$schema: "),
        (json!({"type": "object", "$ref": "#"}), "refers to itself without an end"),
        (
            json!({"type": "object", "$defs": {"a": {"not": {"$ref": "#/$defs/b"}},
            "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
            "refers to itself without an end",
        ),
        (json!({"type": "object", "$defs": chain, "$ref": "#/$defs/d0"}), "refers to nothing"),
        (
            json!({"type": "object", "allOf": [nested(30, |inner| json!({"not": inner}))]}),
            "nests more than 24 schemas for the same value",
        ),
        (
            json!({"type": "object", "properties": nested(100, |inner| json!({"x": inner}))}),
            "nested more than 64 levels deep",
        ),
        (json!({"type": "object", "description": "x".repeat(300 << 10)}), "bytes, more than"),
    ];
    for (schema, expected) in table {
        let flaw = flaw(&schema);
        assert!(flaw.starts_with("tool 't': inputSchema") && flaw.contains(expected), "{flaw}");
        assert!(flaw.len() < 1_000, "{flaw}");
    }
}

#[test]
fn dialects_that_are_known_are_taken() {
    for (dialect, name) in [
        ("https://json-schema.org/draft/2020-12/schema", "2020-12"),
        ("https://json-schema.org/draft/2019-09/schema#", "2019-09"),
        ("http://json-schema.org/draft-07/schema#", "7"),
        ("http://json-schema.org/draft-06/schema#", "6"),
        ("http://json-schema.org/draft-04/schema#", "4"),
    ] {
        let schema = json!({"$schema": dialect, "type": "object",
            "properties": {"a": {"type": "integer", "format": "email"}}});
        assert_eq!(check(&schema, &json!({"a": 1})), Ok(()), "{name}");
        assert!(check(&schema, &json!({"a": "1"})).is_err(), "{name}");
        // An integer is a matter of writing in draft 4.
        assert_eq!(check(&schema, &json!({"a": 1.0})).is_ok(), name != "4", "{name}");
    }
    // Items of older dialects.
    let tuple = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {"a": {"items": [{"type": "null"}], "additionalItems": false}}});
    assert!(check(&tuple, &json!({"a": [null, 1]})).is_err());
}

/// A schema nested so many times.
fn nested(times: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..times).fold(json!({}), |inner, _| wrap(inner))
}
