//! Hooks merged into what people have, and the scripts run by a real shell.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::bounded;

fn claude(before: Option<&str>) -> Result<String, Error> {
    claude::merge(before, Path::new("settings.json"))
}

fn devcontainer(before: Option<&str>) -> Result<String, Error> {
    devcontainer::merge(before, Path::new("devcontainer.json"))
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn claude_settings_are_made() {
    let settings = value(&claude(None).unwrap());
    let entry = &settings["hooks"]["SessionStart"][0];
    assert_eq!(entry["matcher"], "startup|resume");
    assert_eq!(
        entry["hooks"][0]["command"],
        format!("\"$CLAUDE_PROJECT_DIR\"/.claude/hooks/{}", script::NAME)
    );
    assert_eq!(claude(Some("")).unwrap(), claude(None).unwrap());
}

#[test]
fn claude_settings_keep_everything_that_was_there() {
    let before = "{\n\t\"zeta\": 1.50,\n\t\"hooks\": {\n\t\t\"Stop\": [],\n\t\t\"SessionStart\": [\n\t\t\t{\"hooks\": [{\"type\": \"command\", \"command\": \"make\"}]}\n\t\t]\n\t},\n\t\"alpha\": {\"b\": null}\n}\n";
    let after = claude(Some(before)).unwrap();
    assert!(after.find("zeta").unwrap() < after.find("alpha").unwrap() && after.contains("1.50"));
    let mut settings = value(&after);
    let list = settings["hooks"]["SessionStart"].as_array_mut().unwrap();
    assert_eq!(list.len(), 2);
    assert!(list.remove(1).to_string().contains(script::NAME));
    assert_eq!(settings, value(before), "something else changed");
}

#[test]
fn merging_twice_changes_nothing() {
    for before in ["{}", "{\"hooks\": {}}", "{\"hooks\": {\"SessionStart\": []}}"] {
        let once = claude(Some(before)).unwrap();
        assert_eq!(claude(Some(&once)).unwrap(), once);
        assert_eq!(value(&once)["hooks"]["SessionStart"].as_array().unwrap().len(), 1);
    }
    for before in [
        "{}",
        "{\"postStartCommand\": \"make\"}",
        "{\"postStartCommand\": {\"a\": \"make\"}, \"remoteEnv\": {}}",
    ] {
        let once = devcontainer(Some(before)).unwrap();
        assert_eq!(devcontainer(Some(&once)).unwrap(), once);
    }
}

#[test]
fn what_cannot_be_understood_is_refused() {
    for before in [
        "{",
        "{\"hooks\": {}},",
        "// comment\n{}",
        "[1]",
        "{\"hooks\": []}",
        "{\"hooks\": {\"SessionStart\": {}}}",
    ] {
        assert!(claude(Some(before)).is_err(), "{before}");
    }
    for before in ["{", "[]", "{\"postStartCommand\": 1}", "{\"remoteEnv\": []}"] {
        assert!(devcontainer(Some(before)).is_err(), "{before}");
    }
}

#[test]
fn a_malformed_file_is_left_untouched_and_no_script_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join(".claude/settings.json");
    fs::create_dir(dir.path().join(".claude")).unwrap();
    fs::write(&settings, "{\"hooks\": ").unwrap();
    let error = write(Flavour::Claude, dir.path(), None, false).unwrap_err();
    assert!(error.to_string().contains("was not touched"), "{error}");
    assert_eq!(fs::read_to_string(&settings).unwrap(), "{\"hooks\": ");
    assert!(!dir.path().join(".claude/hooks").exists());
}

#[test]
fn files_are_written_once_with_their_modes() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(Flavour::Claude, dir.path(), None, false).unwrap();
    assert!(first.iter().all(|change| matches!(change, Change::Created(_))), "{first:?}");
    let script = dir.path().join(".claude/hooks").join(script::NAME);
    assert_eq!(fs::metadata(script).unwrap().permissions().mode() & 0o777, 0o755);
    let second = write(Flavour::Claude, dir.path(), None, false).unwrap();
    assert!(second.iter().all(|change| matches!(change, Change::Kept(_))), "{second:?}");
}

#[test]
fn a_command_of_the_project_stays_beside_ours() {
    let before = "// The project's container.\n{\n  \"name\": \"x\", // its name\n  \"postStartCommand\": [\"make\", \"dev\"],\n  \"remoteEnv\": {\"A\": \"b\"},\n}\n";
    let after = devcontainer(Some(before)).unwrap();
    assert!(after.starts_with("// The project's container.") && after.contains("// its name"));
    let plain: String = after.lines().map(|line| line.split(" //").next().unwrap()).skip(1).collect();
    let plain = value(&plain.replace("},}", "}}"));
    let command =
        json!({"project": ["make", "dev"], "sandbar": format!("sh .devcontainer/{}", script::NAME)});
    assert_eq!(plain["postStartCommand"], command);
    assert_eq!(plain["remoteEnv"], json!({"A": "b", "KUBECONFIG": KUBECONFIG}));
}

#[test]
fn a_profile_gets_one_block_that_is_replaced() {
    let once = profile::merge("export A=1", "one\n");
    assert!(once.starts_with("export A=1\n# >>> sandbar"));
    let twice = profile::merge(&format!("{once}export B=2\n"), "two\n");
    assert!(twice.contains("two\n") && !twice.contains("one\n") && twice.ends_with("export B=2\n"));
    assert_eq!(profile::merge(&twice, "two\n"), twice);
}

#[test]
fn auto_takes_claude_where_it_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let auto = |set: &str| resolve(Flavour::Auto, dir.path(), |name| name == set);
    assert_eq!(auto("CLAUDE_CODE_REMOTE"), Flavour::Claude);
    assert_eq!(auto("CODESPACES"), Flavour::Profile, "a dev container is changed only on request");
    fs::create_dir(dir.path().join(".claude")).unwrap();
    assert_eq!(auto(""), Flavour::Claude);
}

/// A directory with a `sandbar` that notes how it was called.
fn stub(status: i32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let body = format!(
        "#!/bin/sh\n[ $1 = status ] && exit {status}\necho called $* >>\"{}/calls\"\n",
        dir.path().display()
    );
    fs::write(dir.path().join("sandbar"), body).unwrap();
    fs::set_permissions(dir.path().join("sandbar"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("sudo"), "#!/bin/sh\nshift\nexec \"$@\"\n").unwrap();
    fs::set_permissions(dir.path().join("sudo"), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn sh(dir: &Path, script: &str, variables: &[(&str, &str)]) -> bounded::Ran {
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let mut command = Command::new("/bin/sh");
    command.env_clear().env("PATH", path).env("TMPDIR", dir).env("HOME", dir).envs(variables.iter().copied());
    command.env("SANDBAR_STATE_DIR", dir.join("state"));
    bounded::run(command.args(["-euc", script]), Duration::from_secs(10)).unwrap()
}

fn calls(dir: &Path) -> String {
    for _ in 0..100 {
        if let Ok(text) = fs::read_to_string(dir.join("calls")) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    String::new()
}

#[test]
fn the_claude_script_starts_a_cluster_only_in_remote_sessions() {
    let dir = stub(3);
    let script = script::render(Some("[ \"${CLAUDE_CODE_REMOTE:-}\" = true ]"), None);
    let local = sh(dir.path(), &script, &[]);
    assert!(local.status.success() && local.stdout.is_empty(), "{local:?}");
    let file = dir.path().join("env");
    let variables = [("CLAUDE_CODE_REMOTE", "true"), ("CLAUDE_ENV_FILE", file.to_str().unwrap())];
    for _ in 0..2 {
        let remote = sh(dir.path(), &script, &variables);
        assert!(remote.status.success() && remote.stdout.contains("sandbar status --wait"), "{remote:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("export KUBECONFIG={KUBECONFIG}\n"));
    assert!(calls(dir.path()).starts_with("called up\n"));
}

/// With an `id` that says this.
fn as_user(dir: &Path, id: u32) {
    fs::write(dir.join("id"), format!("#!/bin/sh\necho {id}\n")).unwrap();
    fs::set_permissions(dir.join("id"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_hooks_up_says_is_kept_where_nobody_else_writes() {
    let sourced = format!("set +e\n{}", profile::snippet(None));
    for script in [script::render(None, None), sourced] {
        for (user, log) in [(0, "state/logs"), (1000, ".local/state/sandbar")] {
            let dir = stub(3);
            as_user(dir.path(), user);
            for _ in 0..2 {
                assert!(sh(dir.path(), &script, &[]).status.success());
            }
            assert!(calls(dir.path()).starts_with("called up\n"));
            let place = dir.path().join(log);
            assert!(place.join("up.log").is_file(), "{user}: {script}");
            assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
            let others = fs::read_dir(dir.path()).unwrap();
            assert!(others.flatten().all(|one| !one.file_name().to_string_lossy().ends_with(".log")));
        }
    }
}

#[test]
fn a_session_without_sandbar_is_told_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ran = sh(dir.path(), &script::render(None, None), &[]);
    assert!(ran.status.success() && ran.stdout.contains("not installed"), "{ran:?}");
}

#[test]
fn the_profile_starts_a_cluster_only_if_none_runs() {
    let stopped = stub(3);
    // A profile is sourced without -e.
    let sourced = format!("set +e\n{}echo $KUBECONFIG", profile::snippet(None));
    assert_eq!(sh(stopped.path(), &sourced, &[]).stdout.trim(), KUBECONFIG);
    assert!(calls(stopped.path()).starts_with("called up\n"));
    let running = stub(0);
    sh(running.path(), &sourced, &[]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!running.path().join("calls").exists());
}
