//! The report as text: categories underlined, a symbol per check, hints indented, the verdict last.

use std::fmt::Write as _;

use super::report::{Check, Outcome, Report, Verdict};

/// Renders the report; colours only where they are wanted.
pub fn text(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    for category in &report.categories {
        let _ = writeln!(out, "{}\n{}", category.name, "-".repeat(category.name.chars().count()));
        for one in &category.checks {
            check(&mut out, one, colour);
        }
        out.push('\n');
    }
    let modes = &report.modes;
    verdict(&mut out, "control-plane", &modes.control_plane, colour);
    verdict(&mut out, "node", &modes.node, colour);
    out
}

fn check(out: &mut String, check: &Check, colour: bool) {
    let _ = writeln!(out, "{} {}", symbol(check.result, colour), check.description);
    if let Some(remedy) = &check.remedy {
        let _ = writeln!(out, "    sandbar: {remedy}");
    }
    if let Some(limit) = &check.limit {
        let _ = writeln!(out, "    limit: {limit}");
    }
    if let Some(hint) = &check.hint {
        let _ = writeln!(out, "    hint: {hint}");
    }
}

fn verdict(out: &mut String, mode: &str, verdict: &Verdict, colour: bool) {
    let result = match (verdict.works, mode) {
        (true, _) => Outcome::Success,
        (false, "control-plane") => Outcome::Error,
        (false, _) => Outcome::Warning,
    };
    let says = if verdict.works { "will work" } else { "will not work" };
    let _ = writeln!(out, "{} {mode} mode {says}", symbol(result, colour));
    for why in &verdict.why {
        let _ = writeln!(out, "    {why}");
    }
    for limit in &verdict.limits {
        let _ = writeln!(out, "    limit: {limit}");
    }
}

fn symbol(result: Outcome, colour: bool) -> String {
    let (symbol, code) = match result {
        Outcome::Success => ("√", 32),
        Outcome::Warning => ("‼", 33),
        Outcome::Error => ("×", 31),
    };
    if colour { format!("\x1b[{code}m{symbol}\x1b[0m") } else { symbol.to_owned() }
}
