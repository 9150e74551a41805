//! Schemas and arguments made to take long, or much memory, or much stack.

use std::time::{Duration, Instant};

use super::*;

/// Far more than any check takes, and far less than one without bounds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Definitions `d0` to `d<count>`, each made of the name of the next; the last is `last`.
fn doubling(count: usize, last: Value, each: impl Fn(Value) -> Value) -> Value {
    let mut definitions: serde_json::Map<_, _> = (0..count)
        .map(|at| (format!("d{at}"), each(json!({"$ref": format!("#/$defs/d{}", at + 1)}))))
        .collect();
    definitions.insert(format!("d{count}"), last);
    Value::Object(definitions)
}

#[test]
fn repetition_at_one_place_is_bounded_as_the_schema_is_taken() {
    let bomb = json!({"type": "object", "$ref": "#/$defs/d0",
        "$defs": doubling(10, json!(true), |next| json!({"allOf": [next, next]}))});
    assert!(flaw(&bomb).contains("more than 1000 schemas at one place"), "{}", flaw(&bomb));
}

#[test]
fn checks_end_however_schema_and_arguments_multiply() {
    let deep = |depth: usize| {
        (0..depth).fold(json!({"kind": "none"}), |inner, _| json!({"kind": "none", "next": inner}))
    };
    // Each level is tried twice, so errors are 2^60; found within is where the levels differ.
    let recursive = json!({"type": "object", "$ref": "#/$defs/node", "$defs": {"node": {"anyOf": [
        {"properties": {"kind": {"const": "a"}, "next": {"$ref": "#/$defs/node"}}},
        {"properties": {"kind": {"const": "b"}, "next": {"$ref": "#/$defs/node"}}},
    ]}}});
    let levels = json!({"type": "object", "$ref": "#/$defs/d0",
    "$defs": doubling(55, json!({"type": "null"}), |next| {
        let next = json!({"properties": {"next": next}});
        json!({"oneOf": [next, next, false]})
    })});
    let closed = json!({"type": "object", "$ref": "#/$defs/node", "$defs": {"node": {
        "allOf": [
            {"properties": {"next": {"$ref": "#/$defs/node"}}},
            {"properties": {"next": {"$ref": "#/$defs/node"}}},
        ],
        "unevaluatedProperties": {"$ref": "#/$defs/node"},
    }}});
    let started = Instant::now();
    for schema in [&recursive, &levels] {
        let reason = check(schema, &deep(55)).expect_err("no kind fits");
        assert!(reason.starts_with("arguments"), "{reason}");
    }
    // Whether this one fits or takes too long, it ends.
    check(&closed, &deep(55)).ok();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn checks_end_whatever_the_size_of_arguments() {
    let schema = json!({"type": "object", "properties": {
        "unique": {"uniqueItems": true},
        "contains": {"contains": {"type": "string", "pattern": "^(a|b)*c"}, "minContains": 1_000_000},
        "text": {"pattern": "(?:a|b)*a(?:a|b){3000}c"},
        "names": {"propertyNames": {"pattern": "^(?:a|b)*a(?:a|b){100}$"}},
        "pairs": {"items": {"uniqueItems": true}},
    }});
    let compiled = input(&schema);
    let many: Vec<Value> = (0..100_000).map(|at| json!([at])).collect();
    let names: Value = (0..10_000).map(|at| (format!("{at:b}"), json!(1))).collect();
    let started = Instant::now();
    for arguments in [
        json!({"unique": many}),
        json!({"contains": vec!["ab"; 100_000]}),
        json!({"text": "ab".repeat(1 << 19)}),
        json!({"names": names}),
        json!({"pairs": vec![vec!["x".repeat(1_000); 2]; 1_000]}),
    ] {
        let text = arguments.to_string();
        let reason = compiled.check(&text).err();
        assert!(reason.is_none_or(|reason| reason.starts_with("arguments")), "{}", &text[..50]);
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    // Ordinary sizes are checked, not given up.
    assert_eq!(check(&schema, &json!({"unique": many})), Ok(()));
    let mut twice = many;
    twice[99_999] = json!([7.0]);
    let reason = check(&schema, &json!({"unique": twice})).expect_err("twice");
    assert!(reason.starts_with("arguments.unique: "), "{reason}");
}

#[test]
fn the_deepest_that_is_allowed_fits_a_small_stack() {
    // As many schemas for each value as may be, on each level that a message can have.
    let node = nested(IN_PLACE_NESTED, |inner| json!({"allOf": [inner]}));
    let mut node = node.to_string();
    let leaf =
        json!({"properties": {"n": {"$ref": "#/$defs/node"}}, "unevaluatedProperties": false});
    node = node.replacen("{}", &leaf.to_string(), 1);
    let node: Value = serde_json::from_str(&node).expect("JSON");
    let schema = json!({"type": "object", "$ref": "#/$defs/node", "$defs": {"node": node}});
    // A long chain of definitions, which compiling follows.
    let chain = json!({"type": "object", "$ref": "#/$defs/d0", "$defs": doubling(2_000,
        json!(true), |next| json!({"properties": {"n": next}}))});
    let run = move || {
        let deep = (0..62).fold(json!({}), |inner, _| json!({"n": inner}));
        let wrong = (0..62).fold(json!({"m": 1}), |inner, _| json!({"n": inner}));
        for schema in [&schema, &chain] {
            let compiled = input(schema);
            compiled.check(&deep.to_string()).ok();
            compiled.check(&wrong.to_string()).ok();
        }
    };
    // What threads have where nothing else is said: the shards', the pools'.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread");
    thread.join().expect("no overflow");
}

const IN_PLACE_NESTED: usize = audit::IN_PLACE_DEPTH_MAX - 2;
