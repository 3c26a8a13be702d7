//! The bounds of numbers, texts and lists in a schema, for objects that no API server has seen yet. Pure.

use serde_json::Value;

/// What in `value`, called `field`, is beyond the bounds of its schema; the first such thing.
pub fn exceeded(value: &Value, schema: &Value, field: &str) -> Option<String> {
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let beyond = |size: f64, least: &str, most: &str, unit: &str| {
        let less = limit(least).filter(|least| size < *least).map(|least| format!("less than {least}"));
        let more = || limit(most).filter(|most| size > *most).map(|most| format!("more than {most}"));
        less.or_else(more).map(|how| format!("{field}: {size}{unit}, {how}"))
    };
    match value {
        Value::Number(number) => beyond(number.as_f64()?, "minimum", "maximum", ""),
        Value::String(text) => beyond(text.chars().count() as f64, "minLength", "maxLength", " characters"),
        Value::Array(items) => beyond(items.len() as f64, "minItems", "maxItems", " items").or_else(|| {
            let schema = schema.get("items")?;
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| exceeded(item, schema, &format!("{field}[{index}]")))
        }),
        Value::Object(map) => {
            beyond(map.len() as f64, "minProperties", "maxProperties", " entries").or_else(|| {
                let of = |key: &str| {
                    schema
                        .get("properties")
                        .and_then(|all| all.get(key))
                        .or(schema.get("additionalProperties"))
                };
                map.iter().find_map(|(key, inner)| exceeded(inner, of(key)?, &format!("{field}.{key}")))
            })
        }
        Value::Null | Value::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_texts_lists_and_maps_are_bounded_at_every_depth() {
        let schema = json!({"properties": {
            "n": {"minimum": -1, "maximum": 1},
            "list": {"maxItems": 2, "items": {"minLength": 1, "maxLength": 2}},
            "map": {"maxProperties": 1, "additionalProperties": {"maxLength": 1}},
        }});
        let told = |value: Value| exceeded(&value, &schema, "spec").unwrap_or_default();
        assert_eq!(told(json!({"n": 1, "list": ["éé", "a"], "map": {"a": "b"}, "other": 9})), "");
        assert_eq!(told(json!({"n": 2})), "spec.n: 2, more than 1");
        assert_eq!(told(json!({"n": -2})), "spec.n: -2, less than -1");
        assert_eq!(told(json!({"list": ["a", "a", "a"]})), "spec.list: 3 items, more than 2");
        assert_eq!(told(json!({"list": ["a", ""]})), "spec.list[1]: 0 characters, less than 1");
        assert_eq!(told(json!({"map": {"a": "bb"}})), "spec.map.a: 2 characters, more than 1");
        assert_eq!(told(json!({"map": {"a": "", "b": ""}})), "spec.map: 2 entries, more than 1");
    }
}
