//! Whether what a pod may not exceed is kept from it.

use crate::doctor::limits::{Binding, Limit, Limits};
use crate::doctor::report::Check;

/// The whole category.
pub fn all(limits: &Limits) -> Vec<Check> {
    limits.0.iter().map(one).collect()
}

fn one(limit: &Limit) -> Check {
    let (name, detail) = (format!("limit-{}", limit.controller), &limit.detail);
    let what = format!("{} limits", limit.controller);
    match limit.binding {
        Binding::Yes => Check::good(name, format!("{what} are enforced: {detail}")),
        Binding::No => Check::warning(name, format!("{what} are not enforced: {detail}"))
            .limit(format!("{what} of pods are accepted, and not enforced")),
        Binding::Unknown => Check::warning(name, format!("whether {what} are enforced is unknown: {detail}"))
            .limit(format!("{what} of pods may not be enforced")),
    }
}
