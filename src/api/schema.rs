//! The CustomResourceDefinition as it is installed and committed: the derived one, made to say what a hand would write.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::v1alpha1::SandboxConfig;

/// Name of the CustomResourceDefinition.
pub const CRD_NAME: &str = "sandboxconfigs.sandbar.dev";

/// Why the CustomResourceDefinition cannot be made; a fault in this program.
#[derive(Debug, thiserror::Error)]
#[error("the derived CustomResourceDefinition does not survive JSON: {0}")]
pub struct SchemaError(#[from] serde_json::Error);

/// The CustomResourceDefinition of SandboxConfig.
pub fn crd() -> Result<CustomResourceDefinition, SchemaError> {
    Ok(serde_json::from_value(crd_value()?)?)
}

/// The same as JSON, for printing: without empty parts that nobody would write.
pub fn crd_value() -> Result<Value, SchemaError> {
    let mut value = serde_json::to_value(SandboxConfig::crd())?;
    tidy(&mut value);
    Ok(value)
}

/// A null is no way to leave a field out: with `nullable`, `has()` would see a field that is not there. Limits of
/// integers are integers.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if let Some(Value::Array(allowed)) = map.get_mut("enum") {
                allowed.retain(|value| !value.is_null());
            }
            for limit in ["minimum", "maximum"] {
                if let Some(whole) =
                    map.get(limit).and_then(Value::as_f64).filter(|limit| limit.fract() == 0.0)
                {
                    map.insert(limit.to_owned(), (whole as i64).into());
                }
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_property(name: &str) -> Value {
        let crd = crd_value().unwrap();
        crd.pointer(&format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{name}"))
            .cloned()
            .unwrap_or_else(|| panic!("no {name} in {crd:#}"))
    }

    #[test]
    fn lists_merge_by_their_key() {
        for (list, key) in [("files", "path"), ("redirects", "from"), ("filesystems", "path")] {
            let schema = spec_property(list);
            assert_eq!(schema["x-kubernetes-list-type"], "map", "{list}");
            assert_eq!(schema["x-kubernetes-list-map-keys"], serde_json::json!([key]), "{list}");
            assert!(schema["maxItems"].is_number(), "{list} has no maxItems: {schema}");
        }
    }

    #[test]
    fn everything_that_cel_walks_is_bounded() {
        for (list, field) in [
            ("files", "path"),
            ("files", "value"),
            ("redirects", "from"),
            ("redirects", "to"),
            ("redirects", "sibling"),
            ("filesystems", "path"),
        ] {
            let schema = spec_property(list);
            assert!(
                schema["items"]["properties"][field]["maxLength"].is_number(),
                "{list}.{field}: {schema}"
            );
        }
        let args = &spec_property("k3s")["properties"]["extraArgs"];
        assert!(args["maxItems"].is_number() && args["items"]["maxLength"].is_number(), "{args}");
    }

    /// CEL's regular expressions are RE2's, of which that crate's are the like.
    #[test]
    fn the_double_stars_of_cel_are_those_of_the_allow_list() {
        use crate::rules::bounds::check_rule;
        use crate::rules::model::{Action, Rule, Target};
        let from = spec_property("redirects")["items"]["properties"]["from"].clone();
        let rules = from["x-kubernetes-validations"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["message"].as_str().unwrap().contains("at most 2 `**`"));
        let rule = rule.unwrap()["rule"].as_str().unwrap();
        let refused = rule.strip_prefix("!self.matches('").unwrap().strip_suffix("')").unwrap();
        let refused = regex::Regex::new(refused).unwrap();
        let parts = ["**", "a", "*", "a**", "***"];
        for number in 0..parts.len().pow(5) {
            let segment = |at: u32| parts[number / parts.len().pow(at) % parts.len()];
            for length in 1..=5 {
                let glob = format!("/proc/{}", (0..length).map(segment).collect::<Vec<_>>().join("/"));
                let action = Action::Redirect { from: glob.clone(), target: Target::To("/dev/null".into()) };
                let allowed = check_rule(&Rule { source: "test".into(), action }).is_ok();
                assert_eq!(refused.is_match(&glob), !allowed, "{glob}");
            }
        }
    }

    #[test]
    fn the_reserved_flags_of_cel_are_those_of_the_allow_list() {
        let args = spec_property("k3s")["properties"]["extraArgs"].clone();
        let rule = args["x-kubernetes-validations"][0]["rule"].as_str().unwrap().to_owned();
        let (_, listed) = rule.split_once("^-+(").unwrap();
        let mut listed: Vec<&str> = listed.split_once(')').unwrap().0.split('|').collect();
        let mut reserved: Vec<&str> =
            crate::rules::bounds::RESERVED_FLAGS.iter().map(|flag| flag.trim_start_matches('-')).collect();
        listed.sort_unstable();
        reserved.sort_unstable();
        assert_eq!(listed, reserved);
    }
}
