//! The chart by real helm, the kustomizations by real kubectl, the roles as the API server sees them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::cluster::{Cluster, cluster};
use super::controller::started;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn helm(cluster: &Cluster, args: &[&str]) -> String {
    let found =
        Command::new(Path::new(ROOT).join("hack/helm/build.sh")).stderr(Stdio::inherit()).output().unwrap();
    assert!(found.status.success(), "hack/helm/build.sh found no helm and built none");
    let output = Command::new(String::from_utf8(found.stdout).unwrap().trim())
        .args(args)
        .args(["--kubeconfig", cluster.kubeconfig().to_str().unwrap()])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "helm {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_chart_is_installed_upgraded_rolled_back_and_uninstalled_with_effect() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    let value = |value: &str| format!("sandboxConfig.spec.files[0].value={value}");
    let path = "sandboxConfig.spec.files[0].path=/proc/sys/kernel/panic";
    let on = ["--set", "sandboxConfig.enabled=true", "--set", path, "--set-string"];
    let notes = helm(&cluster, &[&["install", "sb", "charts/sandbar"][..], &on, &[&value("30")]].concat());
    assert!(notes.contains("kubectl wait --for=condition=Ready --timeout=60s sbx/sb-sandbar"), "{notes}");
    supervisor.await_value("/proc/sys/kernel/panic", Some("30"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", "sbx/sb-sandbar"], "");
    // helm replaces lists whole: what is set in one is set with its key.
    helm(&cluster, &[&["upgrade", "sb", "charts/sandbar"][..], &on, &[&value("31")]].concat());
    supervisor.await_value("/proc/sys/kernel/panic", Some("31"));
    helm(
        &cluster,
        &["upgrade", "sb", "charts/sandbar", "--reuse-values", "--set", "sandboxConfig.spec.priority=-1000"],
    );
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
    helm(&cluster, &["rollback", "sb", "1"]);
    supervisor.await_value("/proc/sys/kernel/panic", Some("30"));
    let may = |verb: &str, group: &str| {
        let args = [
            "auth",
            "can-i",
            verb,
            "sandboxconfigs.sandbar.dev",
            "--as=someone",
            &format!("--as-group={group}"),
        ];
        cluster.try_kubectl(&args, "").status.success()
    };
    // The chart's own edit role is for an administrator to bind: the built-in `edit` and `admin` may read.
    for role in ["view", "edit", "admin", "sb-sandbar-edit"] {
        let binding = [
            "create",
            "clusterrolebinding",
            &format!("test-{role}"),
            &format!("--clusterrole={role}"),
            &format!("--group={role}ers"),
        ];
        cluster.kubectl(&binding, "");
    }
    super::cluster::within(std::time::Duration::from_secs(10), "the role to join `view`", || {
        let read = ["viewers", "editers", "adminers"].iter().all(|group| may("get", group));
        (read && may("delete", "sb-sandbar-editers")).then_some(())
    });
    for group in ["viewers", "editers", "adminers", "strangers"] {
        assert!(!may("delete", group) && !may("update", group) && !may("create", group), "{group}");
    }
    assert!(!may("get", "strangers"));
    let bindings = ["test-view", "test-edit", "test-admin", "test-sb-sandbar-edit"];
    cluster.kubectl(&[&["delete", "clusterrolebinding"][..], &bindings].concat(), "");
    helm(&cluster, &["uninstall", "sb"]);
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
}

#[test]
fn the_overlay_is_applied_and_deleted_by_kubectl() {
    let cluster = cluster();
    let (supervisor, _controller) = started(&cluster);
    let overlay = format!("{ROOT}/manifests/overlays/dev");
    // Its resource definition is the one that the binary applied: two appliers of one text are in no conflict.
    cluster.kubectl(&["apply", "--server-side", "-k", &overlay], "");
    supervisor.await_value("/proc/sys/kernel/panic", Some("42\n"));
    cluster.await_condition("dev", "Ready", "True");
    let again = cluster.kubectl(&["apply", "-k", &overlay], "");
    assert!(again.contains("sandboxconfig.sandbar.dev/dev"), "{again}");
    cluster.delete("dev");
    cluster.kubectl(&["delete", "clusterrole", "sandbar-view", "sandbar-edit"], "");
    supervisor.await_value("/proc/sys/kernel/panic", Some("10\n"));
}

#[test]
fn every_sample_is_accepted_by_the_api_server_and_becomes_ready() {
    let cluster = cluster();
    let (_supervisor, _controller) = started(&cluster);
    for name in ["fake-file", "redirects", "filesystem", "k3s", "mount", "node-selector"] {
        cluster.kubectl(&["apply", "-f", &format!("{ROOT}/manifests/samples/{name}.yaml")], "");
        cluster.await_condition(name, "Ready", "True");
        cluster.delete(name);
    }
}
