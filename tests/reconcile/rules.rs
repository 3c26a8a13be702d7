//! Rules: applied, changed, in conflict, deleted.

use std::time::{Duration, Instant};

use super::cluster::{cluster, condition, manifest, profile, profile_rules, within};
use super::controller::started;

#[test]
fn the_profile_is_applied_programmed_and_ready() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    let (reason, message) = cluster.await_condition(&profile(), "Ready", "True");
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("Programmed", format!("{} rules in force on test-node", profile_rules()).as_str())
    );
    let status = cluster.await_status(&profile(), "an entry for the node", |status| {
        status["nodes"][0]["appliedGeneration"].is_number()
    })["status"]
        .clone();
    assert_eq!(status["nodes"][0]["name"], "test-node");
    assert_eq!(status["nodes"][0]["rules"], profile_rules());
    assert_eq!(status["nodes"][0]["appliedGeneration"], supervisor.shared.reader.generation());
    for absent in ["Reconciling", "Stalled"] {
        assert!(condition(&status, absent).is_null(), "{absent} in {status:#}");
    }
    let table = cluster.kubectl(&["get", "sandbar"], "");
    let row: Vec<&str> =
        table.lines().find(|line| line.contains(&profile())).unwrap().split_whitespace().collect();
    assert_eq!(row[1..3], ["True", &profile_rules().to_string()], "{table}");
}

#[test]
fn an_applied_rule_is_in_the_table_within_a_second_and_gone_with_its_object() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let begun = Instant::now();
        cluster
            .apply("mine", &format!("{{files: [{{path: /proc/sys/kernel/panic, value: 'round {round}'}}]}}"));
        let applied = Instant::now();
        let seen = supervisor.await_value("/proc/sys/kernel/panic", Some(&format!("round {round}")));
        slowest = slowest.max(seen.saturating_duration_since(applied));
        eprintln!("kubectl apply {:?}, in the table {:?} after its begin", applied - begun, seen - begun);
    }
    eprintln!("slowest: {slowest:?} after kubectl apply had returned");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    let (_, message) = cluster.await_condition(&profile(), "Conflicted", "True");
    assert_eq!(message, "/proc/sys/kernel/panic is taken from mine");
    assert_eq!(cluster.await_condition("mine", "Ready", "True").0, "Programmed");
    cluster.delete("mine");
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
    cluster.await_condition(&profile(), "Conflicted", "False");
}

#[test]
fn every_kind_of_rule_reaches_the_table_and_leaves_it() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    cluster.apply(
        "kinds",
        "{files: [{path: /proc/sys/kernel/x, value: a}], redirects: [{from: /dev/kmsg, to: /dev/null}, \
         {from: /sys/fs/cgroup/**/a, sibling: b}], filesystems: [{path: /, reportAs: ext4}]}",
    );
    supervisor.await_value("/proc/sys/kernel/x", Some("a"));
    let kinds = |source: &str| -> Vec<&'static str> {
        supervisor
            .document()
            .rules
            .iter()
            .filter(|rule| rule.source == source)
            .map(|rule| rule.action.kind())
            .collect()
    };
    assert_eq!(kinds("kinds"), ["File", "Redirect", "Redirect", "Filesystem"]);
    cluster.apply("kinds", "{redirects: [{from: /dev/kmsg, to: /var/lib/sandbar/files/log}]}");
    supervisor.await_value("/proc/sys/kernel/x", None);
    assert_eq!(kinds("kinds"), ["Redirect"]);
    cluster.delete("kinds");
    within(Duration::from_secs(5), "its rules are gone", || kinds("kinds").is_empty().then_some(()));
}

#[test]
fn managers_of_lists_own_their_own_items() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    for (manager, path) in [("one", "/proc/one"), ("two", "/proc/two")] {
        let text = manifest("shared", &format!("{{files: [{{path: {path}, value: v}}]}}"));
        cluster.kubectl(&["apply", "--server-side", "--field-manager", manager, "-f", "-"], &text);
    }
    supervisor.await_value("/proc/two", Some("v"));
    assert_eq!(
        supervisor.value("/proc/one").as_deref(),
        Some("v"),
        "the second manager took the first one's item"
    );
    cluster.delete("shared");
}

#[test]
fn an_object_for_other_nodes_is_ready_and_in_no_table() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    cluster.apply("elsewhere", "{nodeSelector: {zone: moon}, files: [{path: /proc/moon, value: v}]}");
    assert_eq!(cluster.await_condition("elsewhere", "Ready", "True").0, "NoNodeSelected");
    assert_eq!(supervisor.value("/proc/moon"), None);
    assert!(cluster.get("elsewhere")["status"]["nodes"].is_null());
    // A Node with the label makes it take part, and only then.
    cluster.kubectl(
        &["create", "-f", "-"],
        "{apiVersion: v1, kind: Node, metadata: {name: test-node, labels: {zone: moon}}}",
    );
    supervisor.await_value("/proc/moon", Some("v"));
    cluster.await_condition("elsewhere", "RulesProgrammed", "True");
    cluster.kubectl(&["delete", "node", "test-node"], "");
    supervisor.await_value("/proc/moon", None);
    cluster.await_status("elsewhere", "without an entry", |status| {
        status["nodes"].as_array().is_none_or(Vec::is_empty)
    });
    cluster.delete("elsewhere");
}

#[test]
fn a_burst_of_changes_makes_few_tables_and_the_last_word_counts() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    let before = supervisor.shared.reader.generation();
    let all: Vec<String> = (0..50)
        .map(|n| {
            manifest(&format!("burst-{n}"), &format!("{{files: [{{path: /proc/burst, value: '{n}'}}]}}"))
        })
        .collect();
    cluster.kubectl(&["create", "-f", "-"], &all.join("---\n"));
    supervisor.await_value("/proc/burst", Some("0"));
    let tables = supervisor.shared.reader.generation() - before;
    eprintln!("50 objects, {tables} tables");
    let names: Vec<String> = (0..50).map(|n| format!("burst-{n}")).collect();
    cluster.await_condition("burst-49", "Conflicted", "True");
    let mut delete = vec!["delete", "sbx", "--wait=false"];
    delete.extend(names.iter().map(String::as_str));
    cluster.kubectl(&delete, "");
    supervisor.await_value("/proc/burst", None);
}

#[test]
fn four_thousand_rules_fit_one_object_and_the_next_table_waits_for_the_answer() {
    let cluster = cluster();
    let (supervisor, controller) = started(&cluster);
    let files: Vec<String> = (0..4096).map(|n| format!("{{path: /proc/many/{n}, value: v}}")).collect();
    let text = manifest("many", &format!("{{files: [{}]}}", files.join(", ")));
    cluster.kubectl(&["apply", "--server-side", "-f", "-"], &text);
    supervisor.await_value("/proc/many/4095", Some("v"));
    eprintln!("controller with 4096 rules: {}", controller.memory());
    supervisor.shared.mute.store(true, std::sync::atomic::Ordering::SeqCst);
    cluster.apply("next", "{files: [{path: /proc/next, value: '1'}]}");
    within(Duration::from_secs(5), "published", || supervisor.value("/proc/next"));
    let unanswered = supervisor.shared.reader.generation();
    cluster.apply("next", "{files: [{path: /proc/next, value: '2'}]}");
    assert_eq!(cluster.await_condition("next", "Reconciling", "True").0, "AwaitingAcknowledgement");
    assert_eq!(supervisor.shared.reader.generation(), unanswered, "published over an unanswered table");
    supervisor.shared.mute.store(false, std::sync::atomic::Ordering::SeqCst);
    supervisor.await_value("/proc/next", Some("2"));
    cluster.await_condition("next", "Ready", "True");
    cluster.delete("next");
    cluster.delete("many");
}

#[test]
fn hits_are_in_status_within_half_a_minute() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    cluster.await_condition(&profile(), "Ready", "True");
    let slot = supervisor.shared.state.lock().unwrap().rules[0].slot as u64;
    for _ in 0..3 {
        let hit = sandbar::rules::observed::Hit { tid: 1, syscall: 0, slot, at_ms: 0 };
        supervisor.shared.observed.hit(hit);
    }
    let tables = supervisor.shared.reader.generation();
    within(Duration::from_secs(35), "3 hits in status", || {
        (cluster.get(&profile())["status"]["nodes"][0]["hits"] == 3).then_some(())
    });
    assert_eq!(supervisor.shared.reader.generation(), tables, "hits made a new table");
}
