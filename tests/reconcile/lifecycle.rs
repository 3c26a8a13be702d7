//! Identity, restarts, outages, the user's changes to a profile, probes, the end.

use std::time::Duration;

use sandbar::rules::observed::SupervisorEvent;

use super::cluster::{cluster, manifest, profile, profile_rules, within};
use super::controller::{Supervisor, started};

const IDENTITY: &str = "system:serviceaccount:sandbar-system:sandbar-controller";

#[test]
fn the_controller_works_as_its_service_account_and_may_do_little() {
    let cluster = cluster();
    let (_supervisor, controller) = started(&cluster);
    cluster.await_condition(&profile(), "Ready", "True");
    assert!(
        controller.log().contains("working as sandbar-system/sandbar-controller"),
        "{}",
        controller.log()
    );
    let may = |verb: &str, what: &str| {
        cluster.try_kubectl(&["auth", "can-i", verb, what, "--as", IDENTITY], "").status.success()
    };
    assert!(may("list", "sandboxconfigs.sandbar.dev") && may("watch", "nodes"));
    for (verb, what) in [
        ("create", "pods"),
        ("get", "secrets"),
        ("delete", "sandboxconfigs.sandbar.dev"),
        ("update", "sandboxconfigs.sandbar.dev"),
        ("patch", "nodes"),
        ("create", "serviceaccounts/token"),
        ("patch", "customresourcedefinitions"),
        ("*", "*"),
    ] {
        assert!(!may(verb, what), "the controller may {verb} {what}");
    }
    let object = cluster.kubectl(&["get", "sbx", &profile(), "-o", "json", "--show-managed-fields"], "");
    for manager in ["\"manager\": \"sandbar\"", "\"manager\": \"sandbar-test-node\""] {
        assert!(object.contains(manager), "no {manager}");
    }
}

#[test]
fn a_killed_controller_is_replaced_without_a_new_table_or_a_new_transition() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    cluster.apply("stays", "{files: [{path: /proc/stays, value: v}]}");
    supervisor.await_value("/proc/stays", Some("v"));
    cluster.await_condition("stays", "Ready", "True");
    let (before, tables) = (cluster.get("stays"), supervisor.shared.reader.generation());
    controller.kill();
    let next = supervisor.controller(&cluster.kubeconfig());
    within(Duration::from_secs(10), "ready again", || next.get("/readyz").0.contains("200").then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(supervisor.shared.reader.generation(), tables, "an identical document was published");
    assert_eq!(cluster.get("stays")["status"], before["status"]);
    assert_eq!(cluster.get("stays")["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    cluster.delete("stays");
}

#[test]
fn an_outage_of_the_api_server_changes_nothing_and_ends_by_itself() {
    let mut cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    cluster.apply("before", "{files: [{path: /proc/before, value: v}]}");
    supervisor.await_value("/proc/before", Some("v"));
    let tables = supervisor.shared.reader.generation();
    cluster.stop();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(supervisor.value("/proc/before").as_deref(), Some("v"));
    supervisor.shared.report(|state| {
        state.events = vec![SupervisorEvent {
            sequence: 1,
            at: k8s_openapi::jiff::Timestamp::now().to_string(),
            reason: "K3sRestarted".into(),
            message: "told during the outage".into(),
            sources: Vec::new(),
        }];
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(controller.child.try_wait().unwrap().is_none(), "the controller ended: {}", controller.log());
    cluster.resume();
    cluster.apply("after", "{files: [{path: /proc/after, value: v}]}");
    supervisor.await_value("/proc/after", Some("v"));
    assert_eq!(supervisor.shared.reader.generation(), tables + 1);
    cluster.await_condition("after", "Ready", "True");
    within(Duration::from_secs(10), "what happened during the outage is told after it", || {
        let events = cluster.all_events();
        events.iter().any(|event| event["note"] == "told during the outage").then_some(())
    });
    cluster.delete("before");
    cluster.delete("after");
}

#[test]
fn another_port_or_authority_of_k3s_is_taken_from_its_kubeconfig() {
    let mut cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    controller.await_ready();
    cluster.stop();
    let silent = || controller.get("/readyz").1.contains("[-]api-server").then_some(());
    within(Duration::from_secs(60), "silence is told", silent);
    assert_eq!(controller.says(), "unready");
    cluster.move_port();
    cluster.resume();
    cluster.apply("moved", "{files: [{path: /proc/moved, value: v}]}");
    supervisor.await_value("/proc/moved", Some("v"));
    cluster.await_condition("moved", "Ready", "True");
    assert_eq!(controller.says(), "ready");
    cluster.stop();
    cluster.forget_authorities();
    cluster.resume();
    cluster.apply("moved", "{files: [{path: /proc/moved, value: w}]}");
    supervisor.await_value("/proc/moved", Some("w"));
    cluster.await_condition("moved", "Ready", "True");
    cluster.delete("moved");
}

#[test]
fn what_a_user_changed_in_a_profile_stays_his() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    let edit = r#"[{"op": "replace", "path": "/spec/files/2/value", "value": "60\n"}, {"op": "remove", "path": "/spec/files/5"}]"#;
    cluster.kubectl(&["patch", "sbx", &profile(), "--type=json", "-p", edit], "");
    supervisor.await_value("/proc/sys/kernel/panic", Some("60\n"));
    controller.kill();
    let mut next = supervisor.controller(&cluster.kubeconfig());
    within(Duration::from_secs(10), "ready", || next.get("/readyz").0.contains("200").then_some(()));
    assert_eq!(
        supervisor.value("/proc/sys/kernel/panic").as_deref(),
        Some("60\n"),
        "a restart took the change back"
    );
    assert_eq!(
        supervisor.document().rules.len(),
        profile_rules() - 1,
        "a restart brought a deleted rule back"
    );
    // Another version of the binary has another text: what is the user's stays, the rest is brought up to date.
    next.kill();
    let older = r#"{"metadata": {"annotations": {"sandbar.dev/profile-hash": "older"}}}"#;
    cluster
        .kubectl(&["patch", "sbx", &profile(), "--type=merge", "--field-manager=sandbar", "-p", older], "");
    let mut upgraded = supervisor.controller(&cluster.kubeconfig());
    within(Duration::from_secs(10), "the deleted rule is back with the new version", || {
        (supervisor.document().rules.len() == profile_rules()).then_some(())
    });
    assert_eq!(supervisor.value("/proc/sys/kernel/panic").as_deref(), Some("60\n"), "{}", upgraded.log());
    // Deleted, it is gone at once, and back at the next start.
    cluster.delete(&profile());
    supervisor.await_value("/proc/sys/kernel/panic", None);
    upgraded.kill();
    let _last = supervisor.controller(&cluster.kubeconfig());
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
}

#[test]
fn a_deleted_resource_definition_is_put_back() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    cluster.kubectl(&["delete", "crd", "sandboxconfigs.sandbar.dev"], "");
    within(Duration::from_secs(30), "the profile is back", || {
        cluster.try_kubectl(&["get", "sbx", &profile()], "").status.success().then_some(())
    });
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
    cluster.await_condition(&profile(), "Ready", "True");
}

#[test]
fn what_was_given_to_up_is_applied_once_and_not_by_the_next_session() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("given.yaml");
    std::fs::write(&file, manifest("given-once", "{files: [{path: /proc/given, value: v}]}")).unwrap();
    let supervisor = Supervisor::start();
    let mut controller = supervisor.controller_with(&cluster.kubeconfig(), file.to_str().unwrap());
    controller.await_ready();
    supervisor.await_value("/proc/given", Some("v"));
    // Ends the session, and takes all objects along.
    cluster.kubectl(&["delete", "crd", "sandboxconfigs.sandbar.dev"], "");
    within(Duration::from_secs(30), "the profile is back", || {
        cluster.try_kubectl(&["get", "sbx", &profile()], "").status.success().then_some(())
    });
    cluster.await_condition(&profile(), "Ready", "True");
    let output = cluster.try_kubectl(&["get", "sbx", "given-once"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not found"), "{}", controller.log());
    supervisor.await_value("/proc/given", None);
}

#[test]
fn entries_of_nodes_that_are_gone_are_removed() {
    let cluster = cluster();
    let (_supervisor, mut controller) = started(&cluster);
    cluster.await_condition(&profile(), "Ready", "True");
    let stale = format!(
        "{{apiVersion: sandbar.dev/v1alpha1, kind: SandboxConfig, metadata: {{name: {}}}, \
         status: {{nodes: [{{name: old-host, appliedGeneration: 1, rules: 1}}]}}}}",
        profile()
    );
    let args =
        ["apply", "--server-side", "--subresource=status", "--field-manager=sandbar-old-host", "-f", "-"];
    cluster.kubectl(&args, &stale);
    let names = || -> Vec<String> {
        let nodes = cluster.get(&profile())["status"]["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names().contains(&"old-host".to_owned()));
    controller.kill();
    let (_supervisor, _next) = started(&cluster);
    within(Duration::from_secs(40), "the entry is gone", || (names() == ["test-node"]).then_some(()));
}

#[test]
fn probes_and_metrics_are_served_and_memory_is_small() {
    let cluster = cluster();
    let (supervisor, controller) = started(&cluster);
    cluster.await_condition(&profile(), "Ready", "True");
    assert!(controller.get("/livez").0.contains("200"));
    let (line, body) = controller.get("/readyz");
    assert!(line.contains("200"), "{line}: {body}");
    supervisor.shared.report(|state| state.k3s.phase = "BackingOff".into());
    let (line, body) = controller.get("/readyz");
    assert!(line.contains("503") && body.contains("[-]k3s"), "{line}: {body}");
    let (_, metrics) = controller.get("/metrics");
    let generation = supervisor.shared.reader.generation();
    for wanted in [
        format!("sandbar_table_generation_applied {generation}"),
        format!("sandbar_table_rules {}", profile_rules()),
    ] {
        assert!(metrics.lines().any(|line| line == wanted), "no `{wanted}` in\n{metrics}");
    }
    assert!(controller.get("/nothing").0.contains("404"));
    eprintln!("controller: {}", controller.memory());
    assert!(controller.rss() < 40 * 1024, "{} KiB resident", controller.rss());
}

#[test]
fn the_controller_ends_with_its_supervisor_and_refuses_to_work_without_one() {
    let cluster = cluster();
    let (_supervisor, mut controller) = started(&cluster);
    controller.await_ready();
    drop(controller.lifeline.take());
    let status = within(Duration::from_secs(5), "its end", || controller.child.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sandbar"))
        .arg("controller")
        .env_remove("SANDBAR_FDS")
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("sandbar up"));
}
