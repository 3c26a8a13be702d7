//! Any other place: login shells start the cluster if it is not running, and know its kubeconfig.

use std::path::{Path, PathBuf};

use super::script::{self, quote};
use super::{Error, KUBECONFIG, Wanted, existing};

const SYSTEM: &str = "/etc/profile.d/sandbar.sh";
const BEGIN: &str = "# >>> sandbar (written by `sandbar setup --session-hook`) >>>";
const END: &str = "# <<< sandbar <<<";

/// The profile as it should be: a file of its own for root, a marked block in `~/.profile` for others.
pub(super) fn plan(home: Option<&Path>, root: bool, binary: Option<&Path>) -> Result<Vec<Wanted>, Error> {
    let path = match home {
        Some(home) if !root => home.join(".profile"),
        _ => PathBuf::from(SYSTEM),
    };
    let before = existing(&path)?.unwrap_or_default();
    Ok(vec![Wanted { content: merge(&before, &snippet(binary)), path, mode: 0o644 }])
}

/// The text with the block in it, replacing an earlier one.
pub(super) fn merge(before: &str, snippet: &str) -> String {
    let block = format!("{BEGIN}\n{snippet}{END}\n");
    let found = before.find(BEGIN).and_then(|start| {
        let end = start + before[start..].find(END)? + END.len();
        Some((start, end))
    });
    match found {
        Some((start, end)) => {
            let after = before[end..].strip_prefix('\n').unwrap_or(&before[end..]);
            format!("{}{block}{after}", &before[..start])
        }
        None if before.is_empty() || before.ends_with('\n') => format!("{before}{block}"),
        None => format!("{before}\n{block}"),
    }
}

/// It must never end or delay a login: no `exit`, nothing in the foreground but a quick look.
pub(super) fn snippet(binary: Option<&Path>) -> String {
    let fallback = binary.map_or_else(String::new, |path| quote(&path.display().to_string()));
    let log: String = script::log("__log").lines().map(|line| format!("    {line}\n")).collect();
    format!(
        r#"export KUBECONFIG="${{KUBECONFIG:-{KUBECONFIG}}}"
__sandbar=$(command -v sandbar) || __sandbar={fallback}
if [ -x "$__sandbar" ]; then
  "$__sandbar" status >/dev/null 2>&1 </dev/null
  # 3: not running.
  if [ $? -eq 3 ]; then
    if [ "$(id -u)" = 0 ]; then __sudo=; else __sudo='sudo -n'; fi
{log}    (setsid $__sudo "$__sandbar" up </dev/null >>"$__log" 2>&1 &)
  fi
fi
unset __sandbar __sudo __log
"#
    )
}
