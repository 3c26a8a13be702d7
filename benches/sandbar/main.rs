//! `make bench`: sandbar against no interception and against PTRACE_SYSCALL on everything, alternated in one run.
//!
//! Prints one JSON document on stdout and a Markdown table on stderr. Options: `--rounds N`, `--cluster-rounds N`, `--effect-rounds N`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod cluster;
mod effect;
mod lookup;
mod micro;
mod stats;
mod variant;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use effect::Effect;
use stats::{Summary, ratios, summarise};
use variant::Variant;

/// Per measure and variant, one figure a round.
type Rounds = BTreeMap<(String, &'static str), Vec<f64>>;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--guest") {
        return micro::guest();
    }
    if args.iter().any(|arg| arg == "--reader") {
        return effect::guest();
    }
    let option = |name: &str, default: usize| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let config = write_config();
    let mut rounds = Rounds::new();
    micro_rounds(option("--rounds", 9), &config, &mut rounds);
    let effect = match std::env::var_os("SANDBAR_K3S") {
        Some(k3s) => {
            cluster_rounds(option("--cluster-rounds", 5), Path::new(&k3s), &config, &mut rounds);
            eprintln!("apply to effect");
            Some(effect::measure(Path::new(&k3s), option("--effect-rounds", 20)).unwrap())
        }
        None => {
            eprintln!("SANDBAR_K3S is not set: the cluster is not measured");
            None
        }
    };
    report(&rounds, &lookup::measure(), effect.as_ref());
}

fn write_config() -> PathBuf {
    let path = std::env::temp_dir().join(format!("sandbar-bench-{}.yaml", std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(micro::CONFIG.as_bytes()).unwrap();
    path
}

fn micro_rounds(count: usize, config: &Path, rounds: &mut Rounds) {
    let own = std::env::current_exe().unwrap();
    for round in 0..count {
        eprintln!("system calls: round {} of {count}", round + 1);
        for variant in variant::order(round) {
            let output = variant.command(config, &own).arg("--guest").output().unwrap();
            assert!(output.status.success(), "{variant:?}: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            for (call, time) in micro::CALLS.iter().zip(text.lines()) {
                record(rounds, format!("us per {call}"), variant, time.parse().unwrap());
            }
        }
    }
}

fn cluster_rounds(count: usize, k3s: &Path, config: &Path, rounds: &mut Rounds) {
    for round in 0..count {
        eprintln!("cluster: round {} of {count}", round + 1);
        for variant in variant::order(round) {
            let figures = cluster::measure(variant, k3s, config).unwrap();
            for (measure, seconds) in cluster::MEASURES.iter().zip(figures) {
                record(rounds, format!("s to {measure}"), variant, seconds);
            }
        }
    }
}

fn record(rounds: &mut Rounds, measure: String, variant: Variant, figure: f64) {
    rounds.entry((measure, variant.name())).or_default().push(figure);
}

fn report(rounds: &Rounds, lookups: &[(usize, f64)], effect: Option<&Effect>) {
    let measures: std::collections::BTreeSet<&String> = rounds.keys().map(|(measure, _)| measure).collect();
    let mut document = Vec::new();
    eprintln!(
        "| measure | none | sandbar | ratio to none (95 %) | everything | sandbar faster by (95 %) |\n|---|---|---|---|---|---|"
    );
    for measure in measures {
        let of = |variant: Variant| &rounds[&(measure.clone(), variant.name())];
        let [plain, sandbar, everything] = Variant::ALL.map(of);
        let (cost, gain) = (ratios(sandbar, plain), ratios(everything, sandbar));
        let medians = [plain, sandbar, everything].map(|values| summarise(values));
        eprintln!(
            "| {measure} | {:.2} | {:.2} | {} | {:.2} | {} |",
            medians[0].median,
            medians[1].median,
            interval(&cost),
            medians[2].median,
            interval(&gain)
        );
        document.push(serde_json::json!({
            "measure": measure, "none": medians[0], "sandbar": medians[1], "ptraceSyscall": medians[2],
            "sandbarToNone": cost, "ptraceSyscallToSandbar": gain,
        }));
    }
    eprintln!("\n| rules | ns per lookup |\n|---|---|");
    lookups.iter().for_each(|(count, time)| eprintln!("| {count} | {time:.0} |"));
    if let Some(Effect { apply, seen }) = effect {
        eprintln!("\n| from the start of `kubectl apply` | ms (95 %) | least to most |\n|---|---|---|");
        for (what, figure) in [("kubectl has ended", apply), ("a running process reads the new value", seen)]
        {
            eprintln!("| {what} | {} | {:.0} to {:.0} |", interval(figure), figure.minimum, figure.maximum);
        }
    }
    println!("{}", serde_json::json!({"measures": document, "lookup": lookups, "applyToEffect": effect}));
}

fn interval(summary: &Summary) -> String {
    format!("{:.2} ({:.2} to {:.2})", summary.median, summary.low95, summary.high95)
}
