//! Judgements on made-up findings.

use super::*;
use crate::doctor::abilities::Abilities;
use crate::doctor::environment::{Cgroups, Environment, Privileges};
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
        egress: None,
        tools: Vec::new(),
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
