//! Names, labels and annotations as the API server takes them. Pure.

use std::collections::BTreeMap;

const MAX_SUBDOMAIN: usize = 253;
const MAX_LABEL: usize = 63;
/// Of all annotations of an object together, with their keys.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Why `name` is no name of an object (an RFC 1123 subdomain), if it is none.
pub fn refused_name(name: &str) -> Option<String> {
    let fits = name.len() <= MAX_SUBDOMAIN && name.split('.').all(is_dns_label);
    (!fits).then(|| {
        format!(
            "{name:?} is no name: lower-case letters, digits, `-` and `.`, a letter or digit at the ends of each part, \
             at most {MAX_SUBDOMAIN} bytes"
        )
    })
}

/// Why these are no labels.
pub fn refused_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    labels.iter().find_map(|(key, value)| {
        let fits = is_qualified(key) && (value.is_empty() || is_label(value));
        (!fits).then(|| format!("`{key}: {value}` is no label"))
    })
}

/// Why these are no annotations.
pub fn refused_annotations(annotations: &BTreeMap<String, String>) -> Option<String> {
    let odd = annotations.keys().find(|key| !is_qualified(&key.to_lowercase()));
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    odd.map(|key| format!("{key:?} is no key of an annotation")).or_else(|| {
        (size > MAX_ANNOTATIONS)
            .then(|| format!("{size} bytes of annotations, more than the {MAX_ANNOTATIONS} that are taken"))
    })
}

fn is_dns_label(label: &str) -> bool {
    let alone = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    spelled(label.as_bytes(), alone, |byte| alone(byte) || byte == b'-')
}

/// The value of a label, or the last part of a key.
fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= MAX_LABEL && spelled(text.as_bytes(), |byte| byte.is_ascii_alphanumeric(), inside)
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => refused_name(prefix).is_none() && is_label(name),
        None => is_label(key),
    }
}

fn spelled(bytes: &[u8], at_the_ends: impl Fn(u8) -> bool, inside: impl Fn(u8) -> bool) -> bool {
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|byte| at_the_ends(*byte)))
        && bytes.iter().all(|byte| inside(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rfc_1123_subdomains() {
        for name in ["a", "0", "a-b.c", &"a".repeat(253)] {
            assert_eq!(refused_name(name), None, "{name}");
        }
        for name in ["", "a/b", "fake file", "A", "-a", "a-", "a..b", ".a", "a_b", "é", &"a".repeat(254)] {
            assert!(refused_name(name).is_some(), "{name} was taken");
        }
    }

    #[test]
    fn keys_have_a_prefix_or_none_and_values_may_be_empty() {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        for (key, value) in [("a", ""), ("a.b/C_d", "1.2-x"), ("x", &"a".repeat(63))] {
            assert_eq!(refused_labels(&one(key, value)), None, "{key}: {value}");
        }
        for (key, value) in
            [("a b", ""), ("/a", ""), ("A.b/c", ""), ("a/b/c", ""), ("x", "-a"), ("x", &"a".repeat(64))]
        {
            assert!(refused_labels(&one(key, value)).is_some(), "{key}: {value} was taken");
        }
        assert_eq!(refused_annotations(&one("A.b/c", "any text at all")), None);
        assert!(refused_annotations(&one("a b", "")).is_some());
        assert!(refused_annotations(&one("a", &"x".repeat(MAX_ANNOTATIONS))).is_some());
    }
}
