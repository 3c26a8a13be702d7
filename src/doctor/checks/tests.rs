//! Judgements on made-up findings.

use super::*;
use crate::doctor::abilities::Abilities;
use crate::doctor::docker::{Daemon, Docker};
use crate::doctor::environment::{Cgroups, Environment, Privileges};
use crate::doctor::limits::{Binding, Limit, Limits};
use crate::doctor::parse::cgroup::Version;
use crate::doctor::report::{Outcome, Report};

/// A place where everything works.
fn healthy() -> Findings {
    let controllers = ["cpu", "cpuset", "memory", "pids"].map(str::to_owned).to_vec();
    Findings {
        environment: Environment {
            cgroups: Cgroups { version: Version::V2, controllers, places: Vec::new() },
            ..Environment::default()
        },
        abilities: Abilities::default(),
        limits: Limits::default(),
        egress: None,
        tools: Vec::new(),
        docker: Docker::default(),
        files: Vec::new(),
    }
}

fn no(reason: &str) -> Tried {
    Some(reason.to_owned())
}

#[test]
fn a_healthy_place_runs_both_modes() {
    let report = Report::new(healthy());
    assert!(report.success && report.modes.node.works, "{:?}", report.modes);
}

#[test]
fn without_root_or_interception_nothing_works() {
    let mut found = healthy();
    found.environment.privileges = Privileges { uid: 1000, ..Privileges::default() };
    found.abilities.intercept = no("installing a seccomp filter: EINVAL");
    let modes = Report::new(found).modes;
    assert_eq!(modes.control_plane.why.len(), 2);
    assert!(modes.control_plane.why[0].contains("uid 1000"));
    assert!(!modes.node.works);
}

#[test]
fn old_gvisor_runs_pods_without_exec() {
    let mut found = healthy();
    found.abilities.join_pid_namespace = no("EINVAL");
    found.abilities.proc_root_inode = no("inode 87");
    found.abilities.node.overlay = no("EINVAL");
    found.abilities.node.fuse_overlayfs = no("nothing is mounted");
    let report = Report::new(found);
    assert!(report.modes.node.works);
    assert_eq!(report.modes.node.limits, ["kubectl exec into pods will fail"]);
    let overlay = report
        .categories
        .iter()
        .flat_map(|category| &category.checks)
        .find(|check| check.name == "overlayfs");
    assert_eq!(overlay.unwrap().remedy.as_deref(), Some("`snapshotter: auto` takes native"));
}

#[test]
fn a_limit_that_does_not_bind_is_no_obstacle_but_is_said() {
    let mut found = healthy();
    let limit = |controller, binding, detail: &str| Limit { controller, binding, detail: detail.to_owned() };
    found.limits = Limits(vec![
        limit("memory", Binding::No, "64 MiB were used under a limit of 16 MiB"),
        limit("cpu", Binding::Unknown, "the group cannot be made"),
        limit("pids", Binding::Yes, "a process was refused"),
    ]);
    assert_eq!(found.limits.not_enforced(), ["memory"]);
    assert_eq!(found.limits.unknown(), ["cpu"]);
    let modes = Report::new(found).modes;
    assert!(modes.node.works);
    assert_eq!(
        modes.node.limits,
        ["memory limits of pods are accepted, and not enforced", "cpu limits of pods may not be enforced"]
    );
}

#[test]
fn missing_cgroups_leave_the_control_plane() {
    let mut found = healthy();
    found.environment.cgroups = Cgroups::default();
    let report = Report::new(found);
    assert!(report.success && report.modes.node.why == ["no cgroups are mounted"]);
    assert!(
        report
            .categories
            .iter()
            .flat_map(|category| &category.checks)
            .all(|check| check.result != Outcome::Error)
    );
}

#[test]
fn the_documented_shape_of_the_json() {
    let document = serde_json::to_value(Report::new(healthy())).unwrap();
    assert_eq!(document["success"], true);
    assert_eq!(document["modes"]["control-plane"]["works"], true);
    assert!(document["modes"]["node"]["why"].is_array());
    assert_eq!(document["environment"]["kind"], "linux");
    assert!(document["environment"]["privileges"]["capabilities"]["bounding"].is_array());
    let check = &document["categories"][0]["checks"][0];
    assert_eq!((check["name"].as_str(), check["result"].as_str()), (Some("kind"), Some("success")));
}

#[test]
fn docker_is_told_by_its_daemon_and_never_needed() {
    let look = |docker: Docker, lacks: Tried| {
        let mut found = healthy();
        found.abilities.node.overlay = lacks;
        found.docker = docker;
        let report = Report::new(found);
        assert!(report.success && report.modes.node.works && report.modes.node.limits.is_empty());
        let checks = report.categories.into_iter().flat_map(|category| category.checks);
        checks
            .filter(|check| check.name.starts_with("docker"))
            .map(|check| check.description)
            .collect::<Vec<_>>()
    };
    let answers = Daemon { version: "27.1".into(), driver: "overlay2".into(), cgroup: "systemd, v2".into() };
    let client = Some("/usr/bin/docker".into());
    let running = look(Docker { client: client.clone(), daemon: Some(answers), error: None }, None);
    assert!(running[0].contains("27.1, storage driver overlay2"), "{running:?}");
    assert!(running.iter().any(|line| line.contains("docker save")));
    let silent = look(Docker { client, daemon: None, error: no("no socket") }, no("EINVAL"));
    assert!(silent[0].contains("no socket"), "{silent:?}");
    assert!(silent.iter().any(|line| line.contains("vfs") && line.contains("EINVAL")), "{silent:?}");
    let none = look(Docker::default(), None);
    assert!(none[0].contains("no client"), "{none:?}");
}
