//! Rule lookup by number of rules: it must stay flat.

use std::hint::black_box;
use std::time::Instant;

use sandbar::rules::matcher::Matcher;
use sandbar::rules::model::{Access, Action, Rule, Target};

/// Nanoseconds per lookup (half of them hits) with 10, 1,000 and 10,000 rules.
pub fn measure() -> Vec<(usize, f64)> {
    [10, 1_000, 10_000].map(|count| (count, nanoseconds(count))).to_vec()
}

fn nanoseconds(count: usize) -> f64 {
    let rules: Vec<Rule> = (0..count).map(rule).collect();
    let matcher = Matcher::compile(&rules);
    let paths: Vec<String> = (0..64)
        .map(|index| match index % 4 {
            0 => format!("/proc/sys/bench/value{}", index * 7 % count),
            1 => format!("/sys/fs/cgroup/cpu/kubepods/pod{index}/gone{}", index * 5 % count),
            2 => format!("/usr/lib/x86_64-linux-gnu/lib{index}.so"),
            _ => "/sys/fs/cgroup/memory/kubepods/burstable/memory.stat".to_owned(),
        })
        .collect();
    let rounds = 4000;
    let start = Instant::now();
    for _ in 0..rounds {
        for path in &paths {
            black_box(matcher.lookup(black_box(path)));
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds) / paths.len() as f64
}

fn rule(index: usize) -> Rule {
    let action = if index.is_multiple_of(2) {
        let path = format!("/proc/sys/bench/value{index}");
        Action::File { path, value: "1\n".to_owned(), access: Access::ReadOnly }
    } else {
        let from = format!("/sys/fs/cgroup/**/gone{index}");
        Action::Redirect { from, target: Target::Sibling("there".to_owned()) }
    };
    Rule { source: "bench".to_owned(), action }
}
