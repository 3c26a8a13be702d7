//! `/proc/self/mountinfo`.

use serde::Serialize;

use crate::mounts::points::unescaped;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted.
    pub target: String,
    /// What part of the filesystem it shows.
    pub root: String,
    /// Filesystem type.
    pub kind: String,
    /// Device or name.
    pub source: String,
    /// Options of the mount and of the filesystem.
    pub options: Vec<String>,
}

impl Mount {
    /// Whether an option is set.
    pub fn has_option(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }
}

/// Parses the file; lines that are not understood are left out.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    // A variable number of optional fields stands before the hyphen.
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<_> = before.split(' ').collect();
    let mut after = after.split(' ');
    let (kind, source, superblock) = (after.next()?, after.next()?, after.next().unwrap_or_default());
    let mut options: Vec<String> = Vec::new();
    for option in before.get(5)?.split(',').chain(superblock.split(',')) {
        if !option.is_empty() && !options.iter().any(|have| have == option) {
            options.push(option.to_owned());
        }
    }
    Some(Mount {
        target: unescaped(before.get(4)?),
        root: unescaped(before.get(3)?),
        kind: kind.to_owned(),
        source: unescaped(source),
        options,
    })
}

/// The mount that a path lies on: the longest target that is a prefix, the last one where several are stacked.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let covers = |target: &str| {
        target == "/" || path == target || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'))
    };
    mounts.iter().filter(|mount| covers(&mount.target)).max_by_key(|mount| mount.target.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::fixtures;

    #[test]
    fn gvisor_mounts() {
        let mounts = parse(fixtures::GVISOR_MOUNTINFO);
        let root = mount_of(&mounts, "/var/lib/rancher").unwrap();
        assert_eq!((root.kind.as_str(), root.target.as_str()), ("9p", "/"));
        let memory = mount_of(&mounts, "/sys/fs/cgroup/memory/x").unwrap();
        assert_eq!((memory.kind.as_str(), memory.root.as_str()), ("cgroup", "/sandbar-0"));
        assert!(memory.has_option("memory"));
    }

    #[test]
    fn optional_fields_and_escapes() {
        let text = "36 35 98:0 /a\\040b /mnt\\011x rw,noatime shared:7 master:1 - ext4 /dev/root rw,errors=continue\nbad\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].root.as_str(), mounts[0].target.as_str()), ("/a b", "/mnt\tx"));
        assert_eq!(mounts[0].options, ["rw", "noatime", "errors=continue"]);
    }

    #[test]
    fn a_later_mount_covers_an_earlier_one() {
        let text =
            "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /dev rw - devtmpfs b rw\n3 1 0:3 / /dev rw - tmpfs c rw\n";
        assert_eq!(mount_of(&parse(text), "/dev/null").unwrap().kind, "tmpfs");
        assert_eq!(mount_of(&parse(text), "/device").unwrap().kind, "ext4");
    }
}
