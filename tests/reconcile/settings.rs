//! k3s settings: told as pending, as rolled back, and once as an Event.

use std::time::Duration;

use sandbar::rules::observed::{K3sArg, RolledBack, StartPart, SupervisorEvent};

use super::cluster::{cluster, profile, within};
use super::controller::started;

#[test]
fn settings_reach_the_table_with_their_source_and_wait_visibly() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    cluster.apply("net", "{k3s: {flannelBackend: host-gw, snapshotter: native, restartPolicy: Manual}}");
    let k3s = within(Duration::from_secs(5), "settings in the table", || {
        Some(supervisor.document().k3s)
            .filter(|k3s| k3s.flannel_backend.as_ref().is_some_and(|set| set.source == "net"))
    });
    assert_eq!(
        k3s.flannel_backend.map(|set| (set.value, set.source)),
        Some(("host-gw".into(), "net".into()))
    );
    assert_eq!(k3s.restart_policy, sandbar::rules::model::RestartPolicy::Manual);
    supervisor.shared.report(|state| state.k3s.restart_pending = Some("--flannel-backend=host-gw".into()));
    let (reason, message) = cluster.await_condition("net", "RestartPending", "True");
    assert_eq!(reason, "SettingsWaitForRestart");
    assert!(
        message.contains("--flannel-backend=host-gw") && message.contains("sandbar restart"),
        "{message}"
    );
    cluster.await_condition("net", "Ready", "True");
    cluster.await_condition(&profile(), "RestartPending", "False");
    supervisor.shared.report(|state| state.k3s.restart_pending = None);
    cluster.await_condition("net", "RestartPending", "False");
    cluster.delete("net");
}

#[test]
fn a_rollback_is_told_with_k3s_own_error_and_as_one_event_over_restarts_of_the_controller() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    cluster.apply("typo", "{k3s: {extraArgs: [--no-such-flag]}}");
    within(Duration::from_secs(5), "settings in the table", || {
        (!supervisor.document().k3s.extra_args.is_empty()).then_some(())
    });
    let error = "flag provided but not defined: -no-such-flag";
    let generation = supervisor.shared.reader.generation();
    supervisor.shared.report(|state| {
        state.k3s.args = vec![K3sArg { arg: "server".into(), source: "sandbar".into() }];
        state.k3s.rolled_back = Some(RolledBack {
            generation,
            args: vec!["server".into(), "--no-such-flag".into()],
            parts: vec![StartPart { what: "--no-such-flag".into(), source: Some("typo".into()) }],
            error: error.into(),
            tried: true,
        });
        state.events = vec![SupervisorEvent {
            sequence: 1,
            at: k8s_openapi::jiff::Timestamp::now().to_string(),
            reason: "K3sSettingsRolledBack".into(),
            message: error.into(),
            sources: Vec::new(),
        }];
    });
    let (reason, message) = cluster.await_condition("typo", "Stalled", "True");
    assert_eq!(reason, "K3sSettingsRolledBack");
    assert!(message.contains(error), "{message}");
    let status = cluster.await_status("typo", "rolled back on the node", |status| {
        status["nodes"][0]["k3s"]["rolledBack"]["error"] == error
    });
    assert_eq!(status["status"]["nodes"][0]["k3s"]["args"], serde_json::json!(["server"]));
    cluster.await_condition(&profile(), "Ready", "True");
    let told = || cluster.events("typo").into_iter().filter(|event| event.1 == error).count();
    within(Duration::from_secs(5), "an Event", || (told() == 1).then_some(()));
    controller.kill();
    let _next = supervisor.controller(&cluster.kubeconfig());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(told(), 1, "told again after a restart");
    // Better settings end it.
    cluster.apply("typo", "{k3s: {extraArgs: [--debug]}}");
    cluster.await_condition("typo", "Ready", "True");
    cluster.delete("typo");
}

#[test]
fn an_event_goes_to_the_object_that_it_names_and_not_to_whoever_comes_later() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    controller.await_ready();
    cluster.apply("named", "{redirects: [{from: '/proc/**/named', to: /dev/null}]}");
    cluster.apply("setter", "{k3s: {extraArgs: [--v=2]}}");
    cluster.await_condition("setter", "Ready", "True");
    supervisor.shared.report(|state| {
        let event = |sequence, message: &str, sources: &[&str]| SupervisorEvent {
            sequence,
            at: k8s_openapi::jiff::Timestamp::now().to_string(),
            reason: "RuleNotServed".into(),
            message: message.into(),
            sources: sources.iter().map(|name| (*name).to_owned()).collect(),
        };
        state.events =
            vec![event(1, "a pattern", &["named"]), event(2, "gone", &["deleted"]), event(3, "old", &[])];
    });
    assert_eq!(controller.says(), "told 3");
    let told =
        |name: &str| -> Vec<String> { cluster.events(name).into_iter().map(|event| event.1).collect() };
    assert_eq!(told("named"), ["a pattern"]);
    assert!(told("setter").contains(&"old".to_owned()) && !told("setter").contains(&"a pattern".to_owned()));
    assert!(told("deleted").is_empty());
    controller.kill();
    cluster.apply("later", "{k3s: {extraArgs: [--debug]}}");
    let mut next = supervisor.controller_after(&cluster.kubeconfig(), "", 3);
    next.await_ready();
    cluster.await_condition("later", "Ready", "True");
    std::thread::sleep(Duration::from_secs(1));
    assert!(told("later").is_empty(), "{:?}", told("later"));
    for name in ["named", "setter", "later"] {
        cluster.delete(name);
    }
}
