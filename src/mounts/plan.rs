//! Which rules mounts can serve here, and why not the others. Pure: what is on disk is asked of [`Look`].

use std::path::{Path, PathBuf};

use crate::rules::matcher::Matcher;
use crate::rules::model::{Access, Action, Rule, Target};

/// By what a rule is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// A mount.
    Mount(Lay),
    /// Nothing, for this reason.
    Refused(String),
}

/// Something that is laid over a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lay {
    /// Where.
    pub path: PathBuf,
    /// What is seen there.
    pub content: Content,
    /// What is there without it.
    pub place: Place,
}

/// What is seen at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Content {
    Value { value: String, access: Access },
    File(PathBuf),
}

/// What is at a path, our own mounts aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, over which another can be mounted.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that leads there.
    Link(PathBuf),
    /// One of the directories on the way is a symbolic link.
    BehindLink,
    /// Nothing; the nearest directory takes new names.
    Free(PathBuf),
    /// Nothing; the nearest directory takes no new names.
    Closed(PathBuf),
}

/// What is asked about this machine.
pub trait Look {
    /// Whether we may mount at all, or why not.
    fn mounts(&self) -> Result<(), String>;
    /// What is at a path.
    fn at(&self, path: &Path) -> Place;
}

/// The means of each rule, in the order of the rules: highest precedence first.
pub fn plan(rules: &[Rule], look: &impl Look) -> Vec<Means> {
    let matcher = Matcher::compile(rules);
    let means = |(index, rule): (usize, &Rule)| match mountable(&rule.action, look) {
        // Even if that one cannot be mounted: nobody asked for this one's value where it is not the first.
        Ok(_) if matcher.lookup(rule.action.pattern()) != Some(index) => {
            Means::Refused("another rule for this path has precedence".to_owned())
        }
        Ok(lay) => Means::Mount(lay),
        Err(reason) => Means::Refused(reason),
    };
    rules.iter().enumerate().map(means).collect()
}

fn mountable(action: &Action, look: &impl Look) -> Result<Lay, String> {
    let (path, content) = match action {
        Action::Filesystem { .. } => {
            return Err("what statfs says takes interception".into());
        }
        Action::Redirect { from, .. } if from.contains('*') => {
            return Err("a pattern cannot be mounted over, only a path; it takes interception".into());
        }
        Action::File { path, value, access } => {
            (Path::new(path), Content::Value { value: value.clone(), access: *access })
        }
        Action::Redirect { from, target } => {
            let from = Path::new(from);
            let to = match target {
                Target::To(to) => PathBuf::from(to),
                Target::Sibling(name) => from.with_file_name(name),
            };
            (from, Content::File(to))
        }
    };
    look.mounts()?;
    // Before anything is looked at: a process could answer for what lies below its root.
    if of_one_process(path) {
        return Err("it belongs to one process; it takes interception".to_owned());
    }
    if let Content::File(to) = &content {
        match look.at(to) {
            Place::File | Place::Link(_) | Place::BehindLink => {}
            Place::Directory => return Err(format!("{} is a directory", to.display())),
            Place::Free(_) | Place::Closed(_) => return Err(format!("there is no {} yet", to.display())),
        }
    }
    let place = look.at(path);
    match &place {
        Place::File | Place::Free(_) => {}
        Place::Link(to) if content == Content::File(to.clone()) => {}
        Place::Link(_) | Place::BehindLink => {
            return Err("there is a symbolic link on the way, so a mount would lie elsewhere".to_owned());
        }
        Place::Directory => return Err("there is a directory".to_owned()),
        Place::Closed(directory) => {
            if let Some(why) = not_replaceable(directory) {
                return Err(format!(
                    "{} has no such file, and {why}; it takes interception",
                    directory.display()
                ));
            }
        }
    }
    Ok(Lay { path: path.to_owned(), content, place })
}

fn of_one_process(path: &Path) -> bool {
    let process = path.strip_prefix("/proc").ok().and_then(|rest| rest.iter().next());
    process.and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Why no copy with a name more may take the place of a directory; a copy never learns of entries that come later.
fn not_replaceable(directory: &Path) -> Option<&'static str> {
    let settled = ["/sys/kernel", "/sys/module", "/sys/devices/system"];
    if directory.starts_with("/proc/sys/net") {
        return Some("the files of this directory differ by network namespace");
    }
    if directory.starts_with("/proc/sys") && directory != Path::new("/proc/sys") {
        return None;
    }
    match settled.iter().any(|top| directory.starts_with(top)) {
        true => None,
        false => Some("no copy can stand in for this directory, whose entries come and go"),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
