//! `sandbar status`: health of k3s, controller and interceptor, on one screen.

use std::io;
use std::time::Duration;

use super::output::{self, Colour, Format, Phases, paint};
use super::wait::{self, Bound};
use crate::exit::{Exit, Failure, Outcome};
use crate::rules::observed::{ObservedSnapshotter, Traced};
use crate::supervisor::client::{self, ClientError, View};
use crate::supervisor::paths::Paths;
use crate::supervisor::status::Status;

/// Time between two looks of `--watch`.
const STEP: Duration = Duration::from_millis(250);
/// Counters alone are no reason to print again more often than this many steps.
const COUNTERS_EVERY: u32 = 8;

/// Flags of `sandbar status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Go on, printing whenever something changes.
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    /// Wait until all is ready, also for a supervisor that is being started.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "180s", value_parser = output::duration)]
    timeout: Duration,
    #[command(flatten)]
    paths: Paths,
}

/// Runs the verb.
pub fn run(args: Args) -> Outcome {
    let view = if args.wait {
        let mut phases = Phases::new();
        let bound = Bound::new(args.timeout);
        phases.begin("Waiting until all is ready");
        wait::supervisor(&args.paths, bound, &mut phases)?;
        let view = wait::ready(&args.paths, bound, &mut phases)?;
        phases.done();
        view
    } else {
        client::observe(&args.paths).map_err(ClientError::failure)?
    };
    if args.watch {
        return watch(&view, args.output);
    }
    print(&read(&view)?, args.output)?;
    Ok(0)
}

fn read(view: &View) -> Result<Status, Failure> {
    Ok(Status::read(&view.observed)?)
}

fn print(status: &Status, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(status),
        Format::Text => output::text(&screen(status, output::coloured(&io::stdout()))),
    }
}

/// Prints at once, then whenever something but a counter has changed, and for counters every two seconds.
fn watch(view: &View, format: Format) -> Outcome {
    let mut last: Option<Status> = None;
    let mut revision = 0;
    for step in 0_u32.. {
        if !wait::alive(view) {
            return Err(Failure::new(Exit::NotRunning, "the supervisor has ended").hint("sandbar up"));
        }
        let changed = view.observed.revision() != revision;
        if changed || step % COUNTERS_EVERY == 0 {
            revision = view.observed.revision();
            let status = read(view)?;
            if last.as_ref() != Some(&status) {
                match format {
                    // One document per line, for whoever reads them one by one.
                    Format::Json => output::text(&serde_json::to_string(&status)?)?,
                    Format::Text => {
                        if last.is_some() {
                            output::text("")?;
                        }
                        print(&status, format)?;
                    }
                }
                last = Some(status);
            }
        }
        if !output::wait_for_reader(STEP) {
            break;
        }
    }
    Ok(0)
}

/// The screen. Pure.
fn screen(status: &Status, colour: bool) -> String {
    let mark = |good: bool| {
        if good { paint(colour, Colour::Green, "✓") } else { paint(colour, Colour::Red, "✗") }
    };
    let pid = |pid: Option<u32>| pid.map_or("not running".to_owned(), |pid| format!("pid {pid}"));
    let restarts = |count: u64| match count {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        more => format!(", {more} restarts"),
    };
    let (k3s, controller, table) = (&status.k3s, &status.controller, &status.table);
    let mut lines = vec![match &status.waiting_for {
        None => format!("{} ready ({})", mark(true), status.mode),
        Some(waiting_for) => {
            format!("{} not ready ({}): waiting for {waiting_for}", mark(false), status.mode)
        }
    }];
    let mut component =
        |good: bool, name: &str, text: String| lines.push(format!("{} {name:<12} {text}", mark(good)));
    component(true, "supervisor", format!("pid {}", status.supervisor.pid));
    let since = k3s.started_at.as_ref().map(|at| format!(", since {at}")).unwrap_or_default();
    let version = if k3s.version.is_empty() { String::new() } else { format!(", {}", k3s.version) };
    let text = format!("{}, {}{version}{since}{}", k3s.phase, pid(k3s.pid), restarts(k3s.restarts));
    component(k3s.phase == "Ready", "k3s", text);
    let says = match (controller.pid, controller.ready) {
        (Some(_), false) => ", not ready yet",
        _ => "",
    };
    let text = format!("{}{says}{}", pid(controller.pid), restarts(controller.restarts));
    component(controller.ready, "controller", text);
    let interceptor = &status.interceptor;
    let backend = match interceptor.traced {
        Traced::Everything => interceptor.backend.clone(),
        Traced::Commands => format!("{} of `sandbar exec` alone", interceptor.backend),
        Traced::Nothing => "nothing is traced".to_owned(),
    };
    let text = format!("{backend}, {} tracees, {} stops", interceptor.tracees, interceptor.stops);
    let text = match interceptor.panics {
        0 => text,
        panics => format!("{text}, {panics} handlers failed"),
    };
    component(interceptor.panics == 0, "interceptor", text);
    let hits: u64 = table.rules.iter().map(|rule| rule.hits).sum();
    let text = format!("generation {}, {} rules, {hits} hits", table.applied, table.rules.len());
    component(table.error.is_none(), "rule table", text);
    details(status, colour, &mut lines);
    lines.join("\n")
}

fn details(status: &Status, colour: bool, lines: &mut Vec<String>) {
    let k3s = &status.k3s;
    let mut say =
        |what: &str, text: &str| lines.push(format!("  {} {text}", paint(colour, Colour::Yellow, what)));
    if let Some(error) = &status.table.error {
        say("table refused:", error);
    }
    for rule in &status.table.rules {
        if let Some(reason) = &rule.reason {
            say("rule not served:", &format!("{}: {reason}", rule.pattern));
        }
    }
    if let Some(pending) = &k3s.restart_pending {
        say("restart pending:", &format!("{pending} (sandbar restart)"));
    }
    if let Some(back) = &k3s.rolled_back {
        let what = if back.tried { "settings taken back:" } else { "settings refused:" };
        say(what, &format!("generation {}: {}", back.generation, back.error));
    }
    if let Some(ObservedSnapshotter { name, limit: Some(limit), .. }) = &k3s.snapshotter {
        say("limit:", &format!("with the snapshotter {name}, {limit}"));
    }
    if let Some(error) = k3s.last_error.as_ref().filter(|_| k3s.rolled_back.is_none() && k3s.phase != "Ready")
    {
        say("k3s last failed:", error);
    }
    if !k3s.arg_sources.is_empty() {
        lines.push("k3s arguments:".to_owned());
        let row = |arg: &crate::rules::observed::K3sArg| {
            vec![format!("  {}", arg.arg), format!("({})", arg.source)]
        };
        lines.push(output::table(&k3s.arg_sources.iter().map(row).collect::<Vec<_>>()));
    }
    if let Some(ObservedSnapshotter { name, why, .. }) = &k3s.snapshotter {
        lines.push(format!("snapshotter: {name}, {why}"));
    }
    if !status.remedies.is_empty() {
        lines.push("remedies:".to_owned());
        let row = |one: &crate::rules::observed::ObservedRemedy| {
            vec![format!("  {}", one.name), one.state.clone(), one.detail.clone()]
        };
        lines.push(output::table(&status.remedies.iter().map(row).collect::<Vec<_>>()));
    }
    if !status.limits.is_empty() {
        lines.push("limits of pods:".to_owned());
        let row = |one: &crate::rules::observed::ObservedLimit| {
            let enforced = match one.enforced.as_str() {
                "Yes" => "enforced",
                "No" => "not enforced",
                _ => "not known to be enforced",
            };
            vec![format!("  {}", one.controller), enforced.to_owned(), one.detail.clone()]
        };
        lines.push(output::table(&status.limits.iter().map(row).collect::<Vec<_>>()));
    }
    let recent = &status.events[status.events.len().saturating_sub(5)..];
    if !recent.is_empty() {
        lines.push("recent events:".to_owned());
        let text = |event: &crate::rules::observed::SupervisorEvent| {
            format!("  {} {}: {}", event.at, event.reason, event.message)
        };
        lines.extend(recent.iter().map(text));
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
