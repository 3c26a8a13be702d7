//! What is refused, where, and how it is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cluster::{cluster, manifest, within};
use super::controller::{Supervisor, started};

#[test]
fn the_api_server_refuses_what_the_allow_list_refuses() {
    let cluster = cluster();
    let (_supervisor, _controller) = started(&cluster);
    for (spec, said) in [
        ("{files: [{path: /etc/passwd, value: x}]}", "outside the allow-list: /proc/**, /sys/**, /dev/kmsg"),
        ("{files: [{path: /proc, value: x}]}", "outside the allow-list"),
        ("{files: [{path: /dev/null, value: x}]}", "outside the allow-list"),
        ("{files: [{path: /proc/../etc/passwd, value: x}]}", "not in canonical form"),
        ("{files: [{path: /proc//x, value: x}]}", "not in canonical form"),
        ("{files: [{path: /proc/x/, value: x}]}", "not in canonical form"),
        ("{files: [{path: /proc/./x, value: x}]}", "not in canonical form"),
        ("{files: [{path: '/proc/*/x', value: x}]}", "wildcards are for redirects only"),
        ("{files: [{path: /proc/x}]}", "spec.files[0].value: Required value"),
        ("{files: [{path: /proc/x, value: 10}]}", "must be of type string"),
        ("{files: [{path: /proc/x, value: a, access: Maybe}]}", "Unsupported value: \"Maybe\""),
        ("{files: [{path: /proc/x, value: a}, {path: /proc/x, value: b}]}", "Duplicate value"),
        ("{redirects: [{from: /etc/x, to: /dev/null}]}", "outside the allow-list"),
        ("{redirects: [{from: /proc/x, to: /etc/shadow}]}", "target outside the allow-list"),
        (
            "{redirects: [{from: /proc/x, to: /var/lib/sandbar/files/../table}]}",
            "target not in canonical form",
        ),
        ("{redirects: [{from: /proc/x, to: /var/lib/sandbar/files/}]}", "target not in canonical form"),
        ("{redirects: [{from: /proc/x}]}", "give exactly one of `to` and `sibling`"),
        (
            "{redirects: [{from: /proc/x, to: /dev/null, sibling: b}]}",
            "give exactly one of `to` and `sibling`",
        ),
        ("{redirects: [{from: /proc/x, sibling: ../b}]}", "not a file name"),
        ("{redirects: [{from: /proc/x, sibling: ..}]}", "not a file name"),
        ("{filesystems: [{path: /proc, reportAs: ext4}]}", "the type of a kernel filesystem is never faked"),
        (
            "{filesystems: [{path: /sys/fs, reportAs: ext4}]}",
            "the type of a kernel filesystem is never faked",
        ),
        ("{filesystems: [{path: relative, reportAs: ext4}]}", "not absolute"),
        ("{filesystems: [{path: /, reportAs: proc}]}", "Unsupported value: \"proc\""),
        ("{k3s: {extraArgs: [--debug, --data-dir=/x]}}", "moves k3s's data, datastore or kubeconfig"),
        ("{k3s: {extraArgs: [-d]}}", "moves k3s's data, datastore or kubeconfig"),
        ("{k3s: {extraArgs: [--node-name, x]}}", "names the node"),
        ("{k3s: {flannelBackend: ipsec}}", "Unsupported value: \"ipsec\""),
        ("{k3s: {restartPolicy: Never}}", "Unsupported value: \"Never\""),
        ("{network: {cni: calico}}", "Unsupported value: \"calico\""),
        ("{interception: Off}", "must be of type string"),
        ("{interception: Never}", "Unsupported value: \"Never\""),
        ("{priority: 2000000}", "should be less than or equal to 1000000"),
        ("{file: []}", "unknown field \"spec.file\""),
    ] {
        let output = cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest("bad", spec));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{spec} was taken");
        assert!(stderr.contains(said), "{spec}: {stderr}");
    }
    for spec in [
        "{}",
        "{files: [{path: /dev/kmsg, value: ''}]}",
        "{redirects: [{from: '/sys/**/a*', to: /var/lib/sandbar/files/x}]}",
        "{filesystems: [{path: /, reportAs: overlay}]}",
        "{k3s: {extraArgs: [--debug, --kubelet-arg=config=/x]}}",
    ] {
        cluster.kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest("good", spec));
    }
}

/// The schema counts characters, the allow-list bytes.
#[test]
fn what_only_the_controller_can_see_is_refused_whole_and_told() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    controller.await_ready();
    let long = "é".repeat(60_000);
    let spec = format!("{{files: [{{path: /proc/fine, value: v}}, {{path: /proc/long, value: '{long}'}}]}}");
    cluster.kubectl(&["create", "-f", "-"], &manifest("long", &spec));
    let (reason, message) = cluster.await_condition("long", "Stalled", "True");
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("/proc/long") && message.contains("120000 bytes"), "{message}");
    cluster.await_condition("long", "Ready", "False");
    assert_eq!(supervisor.value("/proc/fine"), None, "an object must be refused whole");
    let events = within(Duration::from_secs(5), "an Event", || {
        Some(cluster.events("long")).filter(|found| !found.is_empty())
    });
    assert_eq!(events[0].0, "Refused");
    let said = controller.says();
    assert!(said.starts_with("refused {\"object\":\"long\"") && said.contains("120000 bytes"), "{said}");
    cluster.delete("long");
}

#[test]
fn a_typo_in_the_flags_of_one_object_is_its_own() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    cluster.apply("typo", "{k3s: {extraArgs: [debug]}}");
    cluster.apply("twice", "{k3s: {snapshotter: native, extraArgs: [--snapshotter=overlayfs]}}");
    cluster.apply("other", "{k3s: {extraArgs: [--v=4]}, files: [{path: /proc/other, value: v}]}");
    for (name, said) in [("typo", "\"debug\" from typo: not a flag"), ("twice", "--snapshotter is set twice")]
    {
        let (reason, message) = cluster.await_condition(name, "Stalled", "True");
        assert_eq!(reason, "InvalidSpec");
        assert!(message.contains(said), "{message}");
    }
    cluster.await_condition("other", "Ready", "True");
    let sources = |k3s: sandbar::rules::model::K3sSettings| -> Vec<String> {
        k3s.extra_args
            .into_iter()
            .map(|list| list.source)
            .filter(|source| !source.starts_with("profile"))
            .collect()
    };
    assert_eq!(sources(supervisor.document().k3s), ["other"]);
    for name in ["typo", "twice", "other"] {
        cluster.delete(name);
    }
}

#[test]
fn an_object_that_cannot_be_read_stops_nothing() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    let open = r#"[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-preserve-unknown-fields", "value": true}]"#;
    cluster.kubectl(&["patch", "crd", "sandboxconfigs.sandbar.dev", "--type=json", "-p", open], "");
    within(Duration::from_secs(10), "the schema is open", || {
        let output = cluster.try_kubectl(&["apply", "-f", "-"], &manifest("future", "{teleport: true}"));
        let kept = output.status.success() && cluster.get("future")["spec"]["teleport"] == true;
        if !kept {
            cluster.delete("future");
        }
        kept.then_some(())
    });
    let (reason, message) = cluster.await_condition("future", "Stalled", "True");
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("teleport"), "{message}");
    cluster.apply("after", "{files: [{path: /proc/after, value: v}]}");
    supervisor.await_value("/proc/after", Some("v"));
    cluster.delete("future");
    cluster.delete("after");
    // The next controller puts its own definition back.
    controller.kill();
    let _next = supervisor.controller(&cluster.kubeconfig());
    within(Duration::from_secs(10), "the schema is closed again", || {
        let output = cluster
            .try_kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest("x", "{teleport: true}"));
        (!output.status.success()).then_some(())
    });
}

#[test]
fn a_table_that_the_supervisor_refuses_is_told_and_the_next_one_heals() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    supervisor.shared.refuse.store(true, Ordering::SeqCst);
    cluster.apply("doomed", "{files: [{path: /proc/doomed, value: v}]}");
    let (reason, message) = cluster.await_condition("doomed", "Stalled", "True");
    assert_eq!(reason, "TableRefused");
    assert!(message.contains("refused for the test; the last good rules stay in force"), "{message}");
    supervisor.shared.refuse.store(false, Ordering::SeqCst);
    cluster.apply("doomed", "{files: [{path: /proc/doomed, value: w}]}");
    cluster.await_condition("doomed", "Ready", "True");
    cluster.delete("doomed");
}

/// `sandbar up -f`: what the API server will not have must not keep the cluster from its controller.
#[test]
fn a_file_that_the_api_server_refuses_is_left_out_and_the_next_one_applied() {
    let cluster = cluster();
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, object: &str, spec: &str| {
        let path = dir.path().join(file);
        std::fs::write(&path, manifest(object, spec)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let given = "{files: [{path: /proc/given, value: v}]}";
    // More than its store takes; it does not say so with a code of its own.
    let long: Vec<String> =
        (0..40).map(|n| format!("{{path: /proc/{n}, value: {}}}", "x".repeat(65_536))).collect();
    let files = [
        write("bad.yaml", "not/a/name", given),
        write("large.yaml", "too-large", &format!("{{files: [{}]}}", long.join(", "))),
        write("good.yaml", "given", given),
    ]
    .join(":");
    let supervisor = Supervisor::start();
    let mut controller = supervisor.controller_with(&cluster.kubeconfig(), &files);
    controller.await_ready();
    assert_eq!(supervisor.value("/proc/given").as_deref(), Some("v"));
    let log = controller.log();
    let left_out = |name: &str| log.lines().any(|line| line.contains("left out") && line.contains(name));
    assert!(left_out("not/a/name") && left_out("the SandboxConfig too-large"), "{log}");
    cluster.await_condition("given", "Ready", "True");
    cluster.delete("given");
}

#[test]
fn a_table_that_is_too_large_is_told_to_who_made_it_so_and_to_the_supervisor() {
    let cluster = cluster();
    let (supervisor, mut controller) = started(&cluster);
    controller.await_ready();
    cluster.apply("small", "{files: [{path: /proc/small, value: v}]}");
    cluster.await_condition("small", "Ready", "True");
    let names = ["large-1", "large-2", "large-3", "large-4", "large-5", "large-6"];
    for name in names {
        let value = "x".repeat(65_536);
        let files: Vec<String> =
            (0..25).map(|n| format!("{{path: /proc/{name}/{n}, value: {value}}}")).collect();
        let spec = format!("{{files: [{}]}}", files.join(", "));
        cluster.kubectl(&["create", "-f", "-"], &manifest(name, &spec));
    }
    let (reason, _) = cluster.await_condition("large-6", "Stalled", "True");
    assert_eq!(reason, "TableRefused");
    let told = || cluster.events("large-6").into_iter().find(|event| event.0 == "TableRefused");
    let (_, note) = within(Duration::from_secs(5), "an Event", told);
    assert!(note.contains("larger than a slot"), "{note}");
    assert!(cluster.events("small").is_empty(), "{:?}", cluster.events("small"));
    let said = controller.says();
    assert!(said.starts_with("refused {\"object\":null") && said.contains("larger than a slot"), "{said}");
    for name in names {
        cluster.delete(name);
    }
    assert_eq!(controller.says(), "taken");
    cluster.await_condition("small", "Ready", "True");
    assert_eq!(supervisor.value("/proc/small").as_deref(), Some("v"));
    cluster.delete("small");
}
