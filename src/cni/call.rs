//! One call of the plugin as the runtime makes it: the command and its parameters, from environment variables.

use std::path::PathBuf;

use super::error::CniError;

/// What the runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// The parameters of a call. What a verb does not need may be empty.
#[derive(Clone, Debug)]
pub struct Call {
    /// The command.
    pub verb: Verb,
    /// The container's id.
    pub container: String,
    /// Its network namespace.
    pub netns: Option<PathBuf>,
    /// The name that the interface has, or is to get, in there.
    pub ifname: String,
    /// Where other plugins are.
    pub path: Vec<PathBuf>,
}

impl Call {
    /// Reads the variables through `variable`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let verb = match value("CNI_COMMAND").as_deref() {
            Some("ADD") => Verb::Add,
            Some("DEL") => Verb::Del,
            Some("CHECK") => Verb::Check,
            Some("GC") => Verb::Gc,
            Some("STATUS") => Verb::Status,
            Some("VERSION") => Verb::Version,
            other => {
                return Err(wrong("CNI_COMMAND", format!("{:?} is no command", other.unwrap_or_default())));
            }
        };
        let path = value("CNI_PATH").map(|list| std::env::split_paths(&list).collect()).unwrap_or_default();
        let call = Self {
            verb,
            container: value("CNI_CONTAINERID").unwrap_or_default(),
            netns: value("CNI_NETNS").map(PathBuf::from),
            ifname: value("CNI_IFNAME").unwrap_or_default(),
            path,
        };
        call.complete()
    }

    fn complete(self) -> Result<Self, CniError> {
        let missing = |variable| Err(wrong(variable, "is missing".into()));
        if self.verb != Verb::Version && self.path.is_empty() {
            return missing("CNI_PATH");
        }
        if matches!(self.verb, Verb::Add | Verb::Del | Verb::Check) {
            check_id("CNI_CONTAINERID", &self.container)?;
            check_ifname(&self.ifname)?;
        }
        if matches!(self.verb, Verb::Add | Verb::Check) && self.netns.is_none() {
            return missing("CNI_NETNS");
        }
        Ok(self)
    }
}

/// An id or a network's name: as the specification has it, since both become parts of file names.
pub fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.bytes().all(plain) && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Whether the kernel and `ip` take this as an interface's name.
pub fn is_ifname(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    (1..=15).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(plain)
}

fn check_id(variable: &'static str, value: &str) -> Result<(), CniError> {
    match value {
        "" => Err(wrong(variable, "is missing".into())),
        id if is_id(id) => Ok(()),
        id => Err(wrong(variable, format!("{id:?} is no id"))),
    }
}

fn check_ifname(name: &str) -> Result<(), CniError> {
    match name {
        "" => Err(wrong("CNI_IFNAME", "is missing".into())),
        name if is_ifname(name) => Ok(()),
        name => Err(wrong("CNI_IFNAME", format!("{name:?} is no name of an interface"))),
    }
}

fn wrong(variable: &'static str, problem: String) -> CniError {
    CniError::Environment { variable, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Call, CniError> {
        Call::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ADD: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "pod-1"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/a:/b"),
    ];

    #[test]
    fn a_whole_call() {
        let call = read(&ADD).unwrap();
        assert_eq!((call.verb, call.path.len(), call.ifname.as_str()), (Verb::Add, 2, "eth0"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (index, (name, _)) in ADD.iter().enumerate() {
            let mut variables = ADD.to_vec();
            variables[index].1 = "";
            assert!(read(&variables).unwrap_err().to_string().starts_with(name), "{name}");
        }
    }

    #[test]
    fn del_needs_no_namespace_and_version_nothing() {
        assert!(read(&[("CNI_COMMAND", "DEL"), ADD[1], ADD[3], ADD[4]]).unwrap().netns.is_none());
        assert_eq!(read(&[("CNI_COMMAND", "VERSION")]).unwrap().verb, Verb::Version);
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        for (variable, value) in [("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "a/b"), ("CNI_IFNAME", "..")] {
            let mut variables: Vec<_> = ADD.iter().copied().filter(|(name, _)| *name != variable).collect();
            variables.push((variable, value));
            assert_eq!(read(&variables).unwrap_err().code(), 4, "{value}");
        }
    }
}
