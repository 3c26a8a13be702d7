//! `make bench`: sandbar's means against no interception and against PTRACE_SYSCALL on everything, alternated in one run.
//!
//! Prints one JSON document on stdout and Markdown tables on stderr. Options: `--rounds N`, `--cluster-rounds N`,
//! `--effect-rounds N`, `--pod-rounds N` (0 leaves a part out); for clusters also `--cluster-variants A,B` and `--cluster-passes N` (0:
//! readiness alone); for pods also `--images FILE`, `--pod-variants A,B`, `--machine PROGRAM`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod build;
mod busy;
mod client;
mod cluster;
mod effect;
mod lookup;
mod micro;
mod node;
mod pods;
mod report;
mod stats;
mod up;
mod variant;

use std::io::Write;
use std::path::{Path, PathBuf};

use pods::Pods;
use report::Rounds;
use variant::Variant;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let given = |name: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).map(String::as_str)
    };
    let k3s = std::env::var_os("SANDBAR_K3S").map(PathBuf::from);
    if args.iter().any(|arg| arg == "--guest") {
        return micro::guest();
    }
    if args.iter().any(|arg| arg == "--reader") {
        return effect::guest();
    }
    if args.iter().any(|arg| arg == "--busy") {
        return busy::guest().unwrap();
    }
    if let Some(place) = given("--build") {
        return build::guest(Path::new(place)).unwrap();
    }
    if let (Some(name), Some(k3s), Some(images)) = (given("--node"), &k3s, given("--images")) {
        return node::guest(Variant::named(name).unwrap(), k3s, Path::new(images)).unwrap();
    }
    let count = |name: &str, default: usize| given(name).map_or(default, |value| value.parse().unwrap());
    let config = write_config();
    let (mut general, mut pods) = (Rounds::default(), Rounds::default());
    micro_rounds(count("--rounds", 9), &config, &mut general);
    let mut effect = None;
    if let Some(k3s) = &k3s {
        let variants = variants_named(given("--cluster-variants"), "none,sandbar,trace,everything");
        let counts = (count("--cluster-rounds", 5), count("--cluster-passes", cluster::PASSES));
        cluster_rounds(counts, &variants, k3s, &config, &mut general);
        let rounds = count("--effect-rounds", 20);
        effect = (rounds > 0).then(|| effect::measure(k3s, rounds).unwrap());
        if let Some(images) = given("--images") {
            let variants = variants_named(given("--pod-variants"), "none,mount,trace");
            let machine = given("--machine").map(PathBuf::from);
            let nodes = Pods { variants, images: images.into(), machine };
            pod_rounds(count("--pod-rounds", 5), k3s, &nodes, &mut pods);
        } else {
            eprintln!("no --images: pods are not measured");
        }
    } else {
        eprintln!("SANDBAR_K3S is not set: neither the cluster nor pods are measured");
    }
    report::print(&general, &pods, &lookup::measure(), effect.as_ref());
}

fn variants_named(given: Option<&str>, default: &str) -> Vec<Variant> {
    let names = given.unwrap_or(default).split(',');
    names.map(|name| Variant::named(name).expect("a variant")).collect()
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
        for variant in variant::order(&Variant::OF_A_COMMAND, round) {
            let output = variant.command(config, &own).arg("--guest").output().unwrap();
            assert!(output.status.success(), "{variant:?}: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            for (call, time) in micro::CALLS.iter().zip(text.lines()) {
                rounds.record(format!("us per {call}"), variant, time.parse().unwrap());
            }
        }
    }
}

fn cluster_rounds(
    (count, passes): (usize, usize),
    variants: &[Variant],
    k3s: &Path,
    config: &Path,
    rounds: &mut Rounds,
) {
    for round in 0..count {
        eprintln!("cluster: round {} of {count}", round + 1);
        for variant in variant::order(variants, round) {
            let figures = cluster::measure(variant, passes, k3s, config).unwrap();
            for (measure, seconds) in cluster::MEASURES.iter().zip(figures) {
                rounds.record(format!("s to {measure}"), variant, seconds);
            }
        }
    }
}

fn pod_rounds(count: usize, k3s: &Path, nodes: &Pods, rounds: &mut Rounds) {
    for round in 0..count {
        eprintln!("pods: round {} of {count}", round + 1);
        for variant in variant::order(&nodes.variants, round) {
            for (measure, seconds) in nodes.measure(variant, k3s).unwrap() {
                rounds.record(format!("s, {measure}"), variant, seconds);
            }
        }
    }
}
