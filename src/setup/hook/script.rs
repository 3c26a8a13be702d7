//! The script that a hook runs: starts the cluster in the background and names its kubeconfig.

use std::path::Path;

use super::KUBECONFIG;
use crate::supervisor::paths::UP_LOG;

/// Name of the script, by which an existing hook is recognised.
pub const NAME: &str = "sandbar-session-start.sh";

/// The state directory, unless a variable names another one.
const STATE: &str = "/var/lib/sandbar";

/// The script. `guard` is a shell test that must hold, or nothing happens.
pub fn render(guard: Option<&str>, binary: Option<&Path>) -> String {
    let guard = guard.map_or_else(String::new, |test| format!("{test} || exit 0\n"));
    // The session may be a fresh machine: the binary that wrote this is only a second guess after PATH.
    let fallback = binary.map_or_else(String::new, |path| quote(&path.display().to_string()));
    format!(
        r#"#!/bin/sh
# Written by `sandbar setup --session-hook`: a Kubernetes cluster for this session. Delete this file to be rid of it.
{guard}sandbar=$(command -v sandbar) || sandbar={fallback}
if [ ! -x "$sandbar" ]; then
  echo "sandbar is not installed in this session, so there is no cluster; install it and run: sandbar up"
  exit 0
fi

# Claude Code reads this file before every command.
if [ -n "${{CLAUDE_ENV_FILE:-}}" ] && ! grep -qs KUBECONFIG= "$CLAUDE_ENV_FILE"; then
  echo 'export KUBECONFIG={KUBECONFIG}' >>"$CLAUDE_ENV_FILE"
fi

# Detached, with nothing inherited: the session neither waits for it nor ends it.
{log}elevate=
[ "$(id -u)" = 0 ] || elevate='sudo -n'
if command -v setsid >/dev/null; then
  setsid $elevate "$sandbar" up </dev/null >>"$log" 2>&1 &
else
  nohup $elevate "$sandbar" up </dev/null >>"$log" 2>&1 &
fi
# Some hosts kill what a hook leaves behind before it has detached itself.
sleep 1
echo "A Kubernetes cluster is starting (KUBECONFIG={KUBECONFIG}). Wait for it with: sandbar status --wait. Log: $log"
"#,
        log = log("log")
    )
}

/// Shell lines that put the name of a log into a variable: in a directory that nobody but its user writes to, and root's is
/// sandbar's own. A name that others could have made a link of would have us write to wherever that leads.
pub fn log(variable: &str) -> String {
    format!(
        r#"if [ "$(id -u)" = 0 ]; then {variable}=${{SANDBAR_STATE_DIR:-{STATE}}}/logs
else {variable}=${{XDG_STATE_HOME:-${{HOME:-/nonexistent}}/.local/state}}/sandbar; fi
if (umask 077 && mkdir -p "${variable}") 2>/dev/null; then {variable}=${variable}/{UP_LOG}; else {variable}=/dev/null; fi
"#
    )
}

/// Quotes a word for sh.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
