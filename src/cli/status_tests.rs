//! Goldens of the status screen and its JSON.

use super::*;
use crate::rules::observed::{
    ControllerState, InterceptorState, K3sArg, K3sState, ObservedDocument, ObservedRule, RefusedTable,
    RolledBack, SupervisorEvent,
};
use crate::supervisor::status::Counters;

fn arg(arg: &str, source: &str) -> K3sArg {
    K3sArg { arg: arg.into(), source: source.into() }
}

fn healthy() -> ObservedDocument {
    ObservedDocument {
        supervisor: 100,
        mode: "control-plane".into(),
        published: 2,
        applied: 2,
        rules: vec![ObservedRule {
            source: "profile-gvisor".into(),
            kind: "File".into(),
            pattern: "/proc/sys/kernel/panic".into(),
            means: "trace".into(),
            reason: None,
            slot: 0,
        }],
        k3s: K3sState {
            phase: "Ready".into(),
            pid: Some(101),
            version: "v1.34.2+k3s1".into(),
            args: vec![arg("server", "sandbar"), arg("--debug", "command line")],
            started_at: Some("2025-01-01T00:00:00Z".into()),
            ..Default::default()
        },
        interceptor: InterceptorState { backend: "seccomp-trace".into(), ..Default::default() },
        controller: ControllerState { pid: Some(102), ready: true, ..Default::default() },
        ..Default::default()
    }
}

fn status(document: &ObservedDocument) -> Status {
    let counters = Counters { acknowledged: 2, tracees: 12, stops: 3456, panics: 0 };
    Status::of(document, counters, |_| 7)
}

#[test]
fn a_healthy_cluster_fits_on_a_screen() {
    let expected = "\
✓ ready (control-plane)
✓ supervisor   pid 100
✓ k3s          Ready, pid 101, v1.34.2+k3s1, since 2025-01-01T00:00:00Z
✓ controller   pid 102
✓ interceptor  seccomp-trace, 12 tracees, 3456 stops
✓ rule table   generation 2, 1 rules, 7 hits
k3s arguments:
  server   (sandbar)
  --debug  (command line)";
    assert_eq!(screen(&status(&healthy()), false), expected);
}

#[test]
fn what_is_wrong_is_said_with_what_helps() {
    let mut document = healthy();
    document.k3s.phase = "BackingOff".into();
    document.k3s.pid = None;
    document.k3s.restarts = 2;
    document.k3s.args.clear();
    document.k3s.last_error = Some("boom".into());
    document.k3s.restart_pending = Some("generation 3: +--v=4".into());
    document.k3s.rolled_back = Some(RolledBack {
        generation: 2,
        args: vec!["--bad".into()],
        error: "not defined: -bad".into(),
        tried: true,
        ..Default::default()
    });
    document.refused = Some(RefusedTable { generation: 4, reason: "too many rules".into() });
    document.controller.ready = false;
    document.controller.restarts = 1;
    document.events = vec![SupervisorEvent {
        sequence: 1,
        at: "2025-01-01T00:00:00Z".into(),
        reason: "K3sRestarted".into(),
        message: "boom".into(),
        sources: Vec::new(),
    }];
    let expected = "\
✗ not ready (control-plane): waiting for k3s to become ready (now BackingOff; it last failed: boom)
✓ supervisor   pid 100
✗ k3s          BackingOff, not running, v1.34.2+k3s1, since 2025-01-01T00:00:00Z, 2 restarts
✗ controller   pid 102, not ready yet, 1 restart
✓ interceptor  seccomp-trace, 12 tracees, 3456 stops
✗ rule table   generation 2, 1 rules, 7 hits
  table refused: generation 4 refused: too many rules
  restart pending: generation 3: +--v=4 (sandbar restart)
  settings taken back: generation 2: not defined: -bad
recent events:
  2025-01-01T00:00:00Z K3sRestarted: boom";
    assert_eq!(screen(&status(&document), false), expected);
}

#[test]
fn a_snapshotter_is_said_with_why_and_what_it_lacks() {
    let mut document = healthy();
    let (name, why, limit) =
        ("overlayfs".into(), "asked for by mine".into(), Some("no file can be removed".into()));
    document.k3s.snapshotter = Some(ObservedSnapshotter { name, why, limit });
    document.k3s.rolled_back =
        Some(RolledBack { generation: 2, error: "vxlan: no".into(), ..Default::default() });
    let screen = screen(&status(&document), false);
    for line in [
        "  settings refused: generation 2: vxlan: no",
        "  limit: with the snapshotter overlayfs, no file can be removed",
        "snapshotter: overlayfs, asked for by mine",
    ] {
        assert!(screen.lines().any(|said| said == line), "{screen}");
    }
}

#[test]
fn the_json_has_the_documented_shape() {
    let value = serde_json::to_value(status(&healthy())).unwrap();
    for (pointer, expected) in [
        ("/ready", "true"),
        ("/mode", "\"control-plane\""),
        ("/supervisor/pid", "100"),
        ("/controller/pid", "102"),
        ("/k3s/pid", "101"),
        ("/k3s/version", "\"v1.34.2+k3s1\""),
        ("/k3s/args", "[\"server\",\"--debug\"]"),
        ("/k3s/argSources/1/source", "\"command line\""),
        ("/k3s/restarts", "0"),
        ("/k3s/startedAt", "\"2025-01-01T00:00:00Z\""),
        ("/interceptor/backend", "\"seccomp-trace\""),
        ("/interceptor/tracees", "12"),
        ("/interceptor/stops", "3456"),
        ("/table/published", "2"),
        ("/table/applied", "2"),
        ("/table/rules/0/hits", "7"),
        ("/table/error", "null"),
        ("/remedies", "[]"),
    ] {
        assert_eq!(value.pointer(pointer).map(ToString::to_string).as_deref(), Some(expected), "{pointer}");
    }
}

#[test]
fn not_ready_says_what_is_missing() {
    let waits_for = |change: fn(&mut ObservedDocument)| {
        let mut document = healthy();
        change(&mut document);
        status(&document).waiting_for.unwrap_or_default()
    };
    assert_eq!(waits_for(|_| {}), "");
    assert!(waits_for(|document| document.k3s.phase = "Starting".into()).contains("k3s to become ready"));
    assert!(waits_for(|document| document.controller.pid = None).contains("controller to run"));
    assert!(waits_for(|document| document.controller.ready = false).contains("built-in profile"));
    assert!(waits_for(|document| document.published = 3).contains("rule table 3"));
}

#[test]
fn a_table_that_could_not_be_published_is_told() {
    let mut document = healthy();
    document.controller.unpublishable = Some("document of 9000000 bytes".into());
    let screen = screen(&status(&document), false);
    assert!(screen.contains("table refused: not published: document of 9000000 bytes"), "{screen}");
    document.controller.ready = false;
    let waiting_for = status(&document).waiting_for.unwrap();
    assert_eq!(waiting_for, "a rule table that can be published: document of 9000000 bytes");
}
