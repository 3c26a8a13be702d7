//! Guests that must not be able to tell: run without sandbar, under it, and under it with rules that they never meet.

use std::process::Command;

use super::{Ended, UNRELATED, guest, run, traced};

/// A guest and its arguments.
pub struct Case {
    pub guest: &'static str,
    pub args: &'static [&'static str],
    /// Started by the guest `odd`, which gives it (or sandbar) unusual things to inherit.
    pub odd: bool,
    /// Not in gVisor, and why.
    pub linux_only: Option<&'static str>,
}

const fn case(guest: &'static str, args: &'static [&'static str]) -> Case {
    Case { guest, args, odd: false, linux_only: None }
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
    case("stop", &[]),
    case("pty", &[]),
    case("jobs", &[]),
    case("namespaces", &[]),
    case("roots", &[]),
    case("own_filter", &[]),
    case("setuid", &[]),
    case("calls", &[]),
];

/// Runs one case each way; a description of the first difference, if any.
pub fn differs(case: &Case) -> Option<String> {
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
