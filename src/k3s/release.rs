//! k3s releases: the pinned one, their names and their addresses.

use super::Error;

/// The release that is fetched when none is named: the newest of the Kubernetes 1.34 line when this was written.
pub const DEFAULT: &str = "v1.34.12+k3s1";

/// Where k3s publishes.
pub const GITHUB: &str = "https://github.com/k3s-io/k3s/releases/download";

/// The binary's name among a release's files (other architectures carry a suffix).
pub const BINARY: &str = "k3s";

/// Brings `1.34.2+k3s1` into the form of a release tag, `v1.34.2+k3s1`, and refuses what is none: the version becomes part
/// of a path and of a URL.
pub fn normalise(given: &str) -> Result<String, Error> {
    let bad = |reason| Error::BadVersion { given: given.to_owned(), reason };
    let version = given.trim().trim_start_matches('v');
    if version.is_empty()
        || !version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte))
    {
        return Err(bad("only letters, digits, '.', '+' and '-'"));
    }
    let core = version.split(['+', '-']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').collect();
    if numbers.len() != 3 || numbers.iter().any(|number| number.parse::<u16>().is_err()) {
        return Err(bad("it needs major.minor.patch"));
    }
    if !version.contains("+k3s") {
        return Err(bad("releases end in +k3s1 or the like"));
    }
    Ok(format!("v{version}"))
}

/// One release at one mirror.
#[derive(Clone, Debug)]
pub struct Release {
    base: String,
}

impl Release {
    /// `version` as [`normalise`] gives it.
    pub fn new(version: &str, mirror: &str) -> Self {
        Self { base: format!("{}/{}", mirror.trim_end_matches('/'), version.replace('+', "%2B")) }
    }

    /// The binary.
    pub fn binary_url(&self) -> String {
        format!("{}/{BINARY}", self.base)
    }

    /// The published checksums.
    pub fn checksums_url(&self) -> String {
        format!("{}/sha256sum-amd64.txt", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_brought_into_the_form_of_a_tag() {
        assert_eq!(normalise("1.34.2+k3s1").unwrap(), "v1.34.2+k3s1");
        assert_eq!(normalise("v1.34.3-rc1+k3s1").unwrap(), "v1.34.3-rc1+k3s1");
        assert_eq!(normalise(DEFAULT).unwrap(), DEFAULT);
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for bad in
            ["", "v1.34", "v1.34.2", "latest", "../../etc", "v1.34.2+k3s1/..", "1.34.x+k3s1", "v1..2+k3s1"]
        {
            assert!(normalise(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn addresses_encode_the_plus_sign() {
        let release = Release::new("v1.34.2+k3s1", "https://mirror.example/k3s/");
        assert_eq!(release.binary_url(), "https://mirror.example/k3s/v1.34.2%2Bk3s1/k3s");
        assert_eq!(release.checksums_url(), "https://mirror.example/k3s/v1.34.2%2Bk3s1/sha256sum-amd64.txt");
    }
}
