//! Tests of the planner, on a machine made up of a few paths.

use super::*;
use crate::rules::model::FilesystemType;

struct Machine {
    files: Vec<&'static str>,
    directories: Vec<&'static str>,
    refused: Option<&'static str>,
}

fn machine() -> Machine {
    Machine {
        files: vec!["/dev/null", "/proc/sys/kernel/hostname", "/sys/fs/cgroup/cpu/cpu.shares"],
        directories: vec![
            "/dev",
            "/proc",
            "/proc/sys",
            "/proc/sys/kernel",
            "/proc/sys/net",
            "/sys/fs/cgroup",
        ],
        refused: None,
    }
}

impl Look for Machine {
    fn mounts(&self) -> Result<(), String> {
        self.refused.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn at(&self, path: &Path) -> Place {
        let is = |known: &[&str], path: &Path| known.iter().any(|known| Path::new(known) == path);
        match path.to_str() {
            Some("/proc/self/x") => Place::BehindLink,
            Some("/dev/kmsg-link") => Place::Link("/dev/null".into()),
            _ if is(&self.files, path) => Place::File,
            _ if is(&self.directories, path) => Place::Directory,
            _ => {
                let above = path.ancestors().skip(1).find(|above| is(&self.directories, above));
                let above = above.unwrap_or(Path::new("/")).to_owned();
                if above == Path::new("/dev") { Place::Free(above) } else { Place::Closed(above) }
            }
        }
    }
}

fn file(path: &str) -> Action {
    Action::File { path: path.into(), value: "1\n".into(), access: Access::ReadWrite }
}

fn to(from: &str, to: &str) -> Action {
    Action::Redirect { from: from.into(), target: Target::To(to.into()) }
}

fn planned(machine: &Machine, actions: Vec<Action>) -> Vec<Means> {
    let rules: Vec<Rule> = actions.into_iter().map(|action| Rule { source: "test".into(), action }).collect();
    plan(&rules, machine)
}

fn reason(action: Action) -> String {
    match planned(&machine(), vec![action]).remove(0) {
        Means::Refused(reason) => reason,
        other => format!("served: {other:?}"),
    }
}

fn place(action: Action) -> Option<Place> {
    match planned(&machine(), vec![action]).remove(0) {
        Means::Mount(lay) => Some(lay.place),
        _ => None,
    }
}

#[test]
fn what_gvisor_lacks_and_linux_has_can_be_mounted() {
    assert_eq!(place(file("/proc/sys/kernel/hostname")), Some(Place::File));
    assert_eq!(place(file("/proc/sys/kernel/panic")), Some(Place::Closed("/proc/sys/kernel".into())));
    let deep = "/proc/sys/kernel/keys/root_maxkeys";
    assert_eq!(place(file(deep)), Some(Place::Closed("/proc/sys/kernel".into())));
    assert_eq!(place(to("/dev/kmsg", "/dev/null")), Some(Place::Free("/dev".into())));
    assert_eq!(place(to("/dev/kmsg-link", "/dev/null")), Some(Place::Link("/dev/null".into())));
}

#[test]
fn what_mounts_cannot_serve_is_refused_with_the_reason() {
    let glob = Action::Redirect {
        from: "/sys/fs/cgroup/**/cpuacct.usage_percpu".into(),
        target: Target::Sibling("cpuacct.usage".into()),
    };
    let filesystem = Action::Filesystem { path: "/".into(), report_as: FilesystemType::Ext4 };
    for (action, expected) in [
        (glob, "a pattern"),
        (filesystem, "statfs"),
        (file("/sys/fs/cgroup/x"), "come and go"),
        (file("/proc/x"), "come and go"),
        (file("/proc/12/x"), "one process"),
        (file("/proc/self/x"), "symbolic link"),
        (file("/proc/sys/kernel"), "a directory"),
        (file("/proc/sys/net/x"), "network namespace"),
        (to("/dev/kmsg", "/var/lib/sandbar/files/none"), "there is no"),
        (to("/dev/kmsg", "/dev"), "is a directory"),
        (to("/dev/kmsg-link", "/proc/sys/kernel/hostname"), "symbolic link"),
    ] {
        let reason = reason(action);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn a_sibling_of_a_file_that_exists_is_mounted_even_in_cgroupfs() {
    let mut machine = machine();
    machine.files.push("/sys/fs/cgroup/cpu/cpu.weight");
    let target = Target::Sibling("cpu.weight".into());
    let sibling = Action::Redirect { from: "/sys/fs/cgroup/cpu/cpu.shares".into(), target };
    let planned = planned(&machine, vec![sibling]);
    let Means::Mount(lay) = &planned[0] else { panic!("{planned:?}") };
    assert_eq!(lay.content, Content::File("/sys/fs/cgroup/cpu/cpu.weight".into()));
}

#[test]
fn the_first_of_two_rules_for_a_path_is_served() {
    let planned = planned(&machine(), vec![file("/dev/kmsg"), to("/dev/kmsg", "/dev/null")]);
    assert!(matches!(&planned[0], Means::Mount(_)), "{planned:?}");
    assert!(matches!(&planned[1], Means::Refused(why) if why.contains("precedence")), "{planned:?}");
}

#[test]
fn a_rule_that_cannot_be_mounted_does_not_make_way_for_one_below_it() {
    let missing = to("/dev/kmsg", "/var/lib/sandbar/files/none");
    let glob = Action::Redirect { from: "/dev/k*".into(), target: Target::To("/dev/null".into()) };
    for first in [missing, glob.clone()] {
        let planned = planned(&machine(), vec![first, to("/dev/kmsg", "/dev/null")]);
        assert!(matches!(&planned[0], Means::Refused(_)), "{planned:?}");
        assert!(matches!(&planned[1], Means::Refused(why) if why.contains("precedence")), "{planned:?}");
    }
    let planned = planned(&machine(), vec![to("/dev/kmsg", "/dev/null"), glob]);
    assert!(matches!(&planned[0], Means::Mount(_)), "{planned:?}");
}

#[test]
fn without_a_namespace_of_our_own_nothing_is_mounted() {
    let refusing = Machine { refused: Some("no namespace"), ..machine() };
    let planned = planned(&refusing, vec![file("/proc/sys/kernel/hostname")]);
    assert_eq!(planned, [Means::Refused("no namespace".to_owned())]);
}
