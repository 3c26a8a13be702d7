//! The variables by which hosted environments make themselves known.

/// A variable and who sets it.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// Name of the variable.
    pub name: &'static str,
    /// Who sets it.
    pub host: &'static str,
}

const fn by(host: &'static str, name: &'static str) -> Telling {
    Telling { name, host }
}

/// None of them holds a secret, so their values may be shown.
pub const TABLE: &[Telling] = &[
    by("a coding sandbox", "IS_SANDBOX"),
    by("Claude Code on the web", "CLAUDE_CODE_REMOTE"),
    by("Claude Code", "CLAUDECODE"),
    by("Codex", "CODEX_SANDBOX"),
    by("GitHub Codespaces", "CODESPACES"),
    by("a dev container", "REMOTE_CONTAINERS"),
    by("Gitpod", "GITPOD_WORKSPACE_ID"),
    by("Replit", "REPL_ID"),
    by("CodeSandbox", "CSB"),
    by("StackBlitz", "STACKBLITZ"),
    by("Google Cloud Shell", "CLOUD_SHELL"),
    by("Cloud Run", "K_SERVICE"),
    by("Modal", "MODAL_TASK_ID"),
    by("E2B", "E2B_SANDBOX"),
    by("Daytona", "DAYTONA_WS_ID"),
    by("Coder", "CODER_WORKSPACE_NAME"),
    by("a CI runner", "CI"),
    by("GitHub Actions", "GITHUB_ACTIONS"),
    by("GitLab CI", "GITLAB_CI"),
    by("Buildkite", "BUILDKITE"),
    by("CircleCI", "CIRCLECI"),
    by("a Kubernetes pod", "KUBERNETES_SERVICE_HOST"),
    by("AWS ECS", "ECS_CONTAINER_METADATA_URI_V4"),
    by("AWS Lambda", "AWS_LAMBDA_FUNCTION_NAME"),
    by("WSL", "WSL_DISTRO_NAME"),
    by("a container", "container"),
];

/// Those that are set, in the table's order.
pub fn present(get: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    TABLE
        .iter()
        .filter_map(|telling| {
            Some((telling.name.to_owned(), get(telling.name).filter(|value| !value.is_empty())?))
        })
        .collect()
}

/// Who set them; a value that says no says no.
pub fn hosts(present: &[(String, String)]) -> Vec<&'static str> {
    let says_no = |value: &str| matches!(value, "0" | "false" | "no");
    let mut found: Vec<&'static str> = Vec::new();
    for (name, value) in present {
        let host = TABLE.iter().find(|telling| telling.name == name).map(|telling| telling.host);
        found.extend(host.filter(|host| !says_no(value) && !found.contains(host)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_by_their_variables() {
        let set = [("CODESPACES", "true"), ("CI", "false"), ("GITHUB_ACTIONS", ""), ("HOME", "/root")];
        let present =
            present(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()));
        assert_eq!(present.len(), 2);
        assert_eq!(hosts(&present), ["GitHub Codespaces"]);
    }
}
