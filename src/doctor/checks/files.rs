//! The needed files: what is good in one line, each lack in its own.

use crate::doctor::files::{Seen, State};
use crate::doctor::needs::Breaks;
use crate::doctor::report::{Check, Mode};

/// The whole category.
pub fn all(files: &[Seen]) -> Vec<Check> {
    let good = files.iter().filter(|seen| matches!(seen.state, State::Good | State::Settable(_))).count();
    let mut checks = vec![Check::good(
        "files",
        format!(
            "{good} of {} are as needed or can be set; a control plane without a node needs none",
            files.len()
        ),
    )];
    // What is merely tolerated would drown what matters; it is in the JSON.
    let (matter, tolerated): (Vec<_>, Vec<_>) =
        files.iter().filter(|seen| lacks(seen)).partition(|seen| seen.breaks != Breaks::Little);
    checks.extend(matter.into_iter().map(lacking));
    if !tolerated.is_empty() {
        let names: Vec<_> = tolerated.iter().map(|seen| seen.path.as_str()).collect();
        let what =
            format!("{} more are missing, and those who ask do without: {}", names.len(), names.join(" "));
        checks.push(Check::good("files-tolerated", what));
    }
    let unseen = files.iter().filter(|seen| matches!(seen.state, State::Unseen(_)));
    let (matter, little): (Vec<_>, Vec<_>) = unseen.partition(|seen| seen.breaks != Breaks::Little);
    let names = |seen: &[&Seen]| seen.iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>().join(" ");
    if !matter.is_empty() {
        checks.push(Check::warning("files-unseen", format!("not visible to this user: {}", names(&matter))));
    }
    if !little.is_empty() {
        let what = format!("not visible to this user, and of little use: {}", names(&little));
        checks.push(Check::good("files-unseen-little", what));
    }
    checks
}

fn lacks(seen: &Seen) -> bool {
    matches!(seen.state, State::Fixed(_) | State::Missing(_))
}

fn lacking(seen: &Seen) -> Check {
    let reason = match &seen.state {
        State::Fixed(detail) | State::Missing(detail) => detail.as_str(),
        _ => "",
    };
    let wanted = seen.expected.map_or_else(String::new, |value| format!(" wants {value:?}"));
    let description = format!("{}: {reason} ({}{wanted})", seen.path, seen.needed_by);
    let check = match (seen.met, seen.breaks) {
        (false, Breaks::Node | Breaks::Pods) => Check::blocking(Mode::Node, &seen.path, description),
        _ => Check::warning(&seen.path, description),
    };
    match &seen.remedy {
        Some(remedy) => check.remedy(remedy),
        None => check,
    }
}
