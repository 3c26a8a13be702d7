//! Guests that must not be able to tell: run without sandbar, under it, and under it with rules that they never meet.

use std::process::Command;
use std::time::Instant;

use super::{Ended, UNRELATED, guest, run, traced};

/// A guest and its arguments.
pub struct Case {
    pub guest: &'static str,
    pub args: &'static [&'static str],
    /// Started by the guest `odd`, which gives it (or sandbar) unusual things to inherit.
    pub odd: bool,
    /// Not in gVisor, and why.
    pub linux_only: Option<&'static str>,
    /// May differ in the gVisor that reports 4.4.0, and why.
    pub differs_in_4_4: Option<&'static str>,
}

const fn case(guest: &'static str, args: &'static [&'static str]) -> Case {
    Case { guest, args, odd: false, linux_only: None, differs_in_4_4: None }
}

/// All of them.
pub const CASES: &[Case] = &[
    case("processes", &[]),
    case("exec_thread", &[]),
    case("threads", &[]),
    case("forkstorm", &[]),
    case("ends", &["exit", "0"]),
    case("ends", &["exit", "77"]),
    case("ends", &["exit", "255"]),
    case("ends", &["thread", "5"]),
    case("ends", &["signal", "1"]),
    case("ends", &["signal", "9"]),
    case("ends", &["signal", "15"]),
    case("ends", &["signal", "40"]),
    case("ends", &["abort"]),
    case("ends", &["null"]),
    case("ends", &["illegal"]),
    case("ends", &["divide"]),
    case("ends", &["masked"]),
    case("exec_errors", &[]),
    case("fds", &[]),
    case("state", &["one", "two words", ""]),
    Case { odd: true, ..case("state", &[]) },
    Case { odd: true, ..case("ends", &["signal", "10"]) },
    case("signals", &[]),
    Case {
        differs_in_4_4: Some(
            "a SIGSTOP that comes while a thread is stopped for us waits for its next signal",
        ),
        ..case("stop", &[])
    },
    case("pty", &[]),
    case("jobs", &[]),
    case("namespaces", &[]),
    case("roots", &[]),
    case("own_filter", &[]),
    case("setuid", &[]),
    case("calls", &[]),
    case("static_go", &[]),
    Case { linux_only: Some("gVisor runs no 32-bit programs"), ..case("calls32", &[]) },
];

/// Runs all cases, here or in a `gvisor` of this generation; a description of each that differs.
pub fn all_that_differ(gvisor: Option<&str>) -> Vec<String> {
    let timed = |case: &Case| {
        if let Some(reason) = case.linux_only.filter(|_| gvisor.is_some()) {
            println!("not here  {} {:?}: {reason}", case.guest, case.args);
            return None;
        }
        let start = Instant::now();
        let found = differs(case);
        println!("{:5} ms  {} {:?}", start.elapsed().as_millis(), case.guest, case.args);
        if let (Some(reason), Some("4.4"), true) = (case.differs_in_4_4, gvisor, found.is_some()) {
            println!("          differs, as is known: {reason}");
            return None;
        }
        found
    };
    CASES.iter().filter_map(timed).collect()
}

/// Runs one case each way; a description of the first difference, if any.
fn differs(case: &Case) -> Option<String> {
    let program = guest(case.guest);
    let mut plain = Command::new(&program);
    plain.args(case.args);
    let alone = run(&mut started(case, plain));
    let ways = [("no rules", None), ("unrelated rules", Some(UNRELATED))];
    ways.into_iter().find_map(|(name, rules)| {
        let mut traced = traced(rules, &program);
        traced.args(case.args);
        let under = run(&mut started(case, traced));
        (under != alone).then(|| difference(case, name, &alone, &under))
    })
}

/// The command itself, or `odd` with it as arguments.
fn started(case: &Case, command: Command) -> Command {
    if !case.odd {
        return command;
    }
    let mut odd = Command::new(guest("odd"));
    odd.arg(command.get_program()).args(command.get_args());
    odd
}

fn difference(case: &Case, way: &str, alone: &Ended, under: &Ended) -> String {
    let first = alone
        .stdout
        .lines()
        .zip(under.stdout.lines())
        .find(|(a, b)| a != b)
        .map(|(a, b)| format!("\n  without: {a}\n  with:    {b}"))
        .unwrap_or_default();
    format!(
        "{} {:?} with {way}: {} instead of {}{first}\n--- without\n{}{}--- with\n{}{}",
        case.guest, case.args, under.how, alone.how, alone.stdout, alone.stderr, under.stdout, under.stderr
    )
}
