//! `sandbar rules`: the rules in force with their hit counters, straight from shared memory.

use std::time::Duration;

use serde::Serialize;

use super::output::{self, Format};
use super::wait;
use crate::exit::{Exit, Failure, Outcome};
use crate::rules::observed::{Hit, ObservedDocument, Scalar};
use crate::supervisor::client::{self, ClientError, View};
use crate::supervisor::clock;
use crate::supervisor::paths::Paths;
use crate::supervisor::status::{RuleStatus, Status};

/// Time between two looks at the trace ring.
const STEP: Duration = Duration::from_millis(100);

/// Flags of `sandbar rules`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Print hits as they happen, from now on.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    paths: Paths,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let view = client::observe(&args.paths).map_err(ClientError::failure)?;
    if args.follow {
        return follow(&view, args.output);
    }
    let rules = Status::read(&view.observed)?.table.rules;
    match args.output {
        Format::Json => output::json(&rules)?,
        Format::Text if rules.is_empty() => output::text("no rules in force")?,
        Format::Text => {
            output::text(&listing(&rules))?;
            unserved(&rules).try_for_each(|line| output::text(&line))?;
        }
    }
    Ok(0)
}

fn listing(rules: &[RuleStatus]) -> String {
    let head = ["KIND", "MEANS", "HITS", "SOURCE", "PATTERN"].map(str::to_owned).to_vec();
    let row = |rule: &RuleStatus| {
        vec![
            rule.kind.clone(),
            rule.means.clone(),
            rule.hits.to_string(),
            rule.source.clone(),
            rule.pattern.clone(),
        ]
    };
    output::table(&std::iter::once(head).chain(rules.iter().map(row)).collect::<Vec<_>>())
}

/// A line for each rule that is not served.
fn unserved(rules: &[RuleStatus]) -> impl Iterator<Item = String> {
    rules.iter().filter_map(|rule| Some(format!("not served: {}: {}", rule.pattern, rule.reason.as_ref()?)))
}

/// A hit with its rule's and syscall's names.
#[derive(Debug, PartialEq, Serialize)]
struct Named {
    at: String,
    tid: u32,
    syscall: String,
    source: String,
    pattern: String,
}

fn follow(view: &View, format: Format) -> Outcome {
    let mut next = view.observed.scalar(Scalar::Traced);
    while output::wait_for_reader(STEP) {
        if !wait::alive(view) {
            return Err(Failure::new(Exit::NotRunning, "the supervisor has ended").hint("sandbar up"));
        }
        let (hits, end) = view.observed.hits_since(next);
        if !hits.is_empty() {
            // Read per batch: rules may have changed since the last one.
            let document = view.document().map_err(ClientError::failure)?;
            for hit in &hits {
                print(&named(&document, hit), format)?;
            }
        }
        let missed = (end - next).saturating_sub(hits.len() as u64);
        if missed > 0 {
            eprintln!("({missed} hits came faster than they could be shown)");
        }
        next = end;
    }
    Ok(0)
}

fn named(document: &ObservedDocument, hit: &Hit) -> Named {
    let rule = document.rules.iter().find(|rule| rule.slot as u64 == hit.slot);
    let syscall = document.interceptor.trapped.get(hit.syscall as usize);
    let milliseconds = hit.at_ms % 1000;
    let at = clock::rfc3339(hit.at_ms / 1000);
    Named {
        at: format!("{}.{milliseconds:03}Z", at.trim_end_matches('Z')),
        tid: hit.tid,
        syscall: syscall.cloned().unwrap_or_else(|| hit.syscall.to_string()),
        source: rule.map_or_else(|| "(gone)".to_owned(), |rule| rule.source.clone()),
        pattern: rule.map(|rule| rule.pattern.clone()).unwrap_or_default(),
    }
}

fn print(hit: &Named, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::text(&serde_json::to_string(hit)?),
        Format::Text => output::text(&format!(
            "{} {:>7} {:<12} {} ({})",
            hit.at, hit.tid, hit.syscall, hit.pattern, hit.source
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::observed::ObservedRule;

    #[test]
    fn a_hit_is_told_by_name_even_when_its_rule_is_gone() {
        let rule = ObservedRule {
            source: "profile".into(),
            pattern: "/proc/x".into(),
            slot: 3,
            ..Default::default()
        };
        let mut document = ObservedDocument { rules: vec![rule], ..Default::default() };
        document.interceptor.trapped = vec!["open".into(), "openat".into()];
        let hit = Hit { tid: 7, syscall: 1, slot: 3, at_ms: 1_735_689_600_042 };
        let told = named(&document, &hit);
        assert_eq!((told.at.as_str(), told.syscall.as_str()), ("2025-01-01T00:00:00.042Z", "openat"));
        assert_eq!((told.source.as_str(), told.pattern.as_str()), ("profile", "/proc/x"));
        assert_eq!(named(&document, &Hit { slot: 4, ..hit }).source, "(gone)");
    }

    #[test]
    fn the_listing_has_one_line_per_rule() {
        let rule = RuleStatus {
            source: "profile-gvisor".into(),
            kind: "File".into(),
            pattern: "/proc/sys/kernel/panic".into(),
            means: "trace".into(),
            reason: None,
            hits: 12,
        };
        assert_eq!(
            listing(&[rule]),
            "KIND  MEANS  HITS  SOURCE          PATTERN\nFile  trace  12    profile-gvisor  /proc/sys/kernel/panic"
        );
    }
}
