//! From a path to the rule in force, in time that does not grow with the number of rules.
//!
//! Literal paths sit in a hash map; globs in a tree by path segment, so a lookup walks the path's own segments and not
//! the list of globs. A set of last segments answers the usual case, "no rule could be meant", before the path is even
//! made absolute.

use std::collections::{HashMap, HashSet};

use super::canonical::canonical;
use super::model::{Action, Rule};

/// Index of a rule in the list that the matcher was compiled from.
pub type RuleIndex = usize;

/// A compiled rule list.
#[derive(Debug, Default)]
pub struct Matcher {
    exact: HashMap<String, RuleIndex>,
    globs: Node,
    last_segments: HashSet<String>,
    any_last_segment: bool,
    filesystems: Vec<(String, RuleIndex)>,
}

#[derive(Debug, Default)]
struct Node {
    rule: Option<RuleIndex>,
    literal: HashMap<String, Node>,
    wild: Vec<(Wildcard, Node)>,
    any_depth: Option<Box<Node>>,
}

/// A segment with at least one `*`, as the literal pieces around the stars.
#[derive(Debug, PartialEq, Eq)]
struct Wildcard(Vec<String>);

impl Matcher {
    /// Compiles `rules`, highest precedence first.
    pub fn compile(rules: &[Rule]) -> Self {
        let mut matcher = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            match &rule.action {
                Action::Filesystem { path, .. } => matcher.filesystems.push((path.clone(), index)),
                action => matcher.insert(&canonical(action.pattern()), index),
            }
        }
        // Longest path first, so that the most specific filesystem rule is found first; ties by precedence.
        matcher.filesystems.sort_by_key(|(path, index)| (usize::MAX - path.len(), *index));
        matcher
    }

    fn insert(&mut self, pattern: &str, index: RuleIndex) {
        let last = pattern.rsplit('/').next().unwrap_or_default();
        if last.contains('*') {
            self.any_last_segment = true;
        } else {
            self.last_segments.insert(last.to_owned());
        }
        if pattern.contains('*') {
            let node = self.globs.descend(segments(pattern));
            node.rule.get_or_insert(index);
        } else {
            self.exact.entry(pattern.to_owned()).or_insert(index);
        }
    }

    /// Whether a path with this last segment could match at all; `false` needs no resolution of the path.
    pub fn could_match(&self, last_segment: &str) -> bool {
        self.any_last_segment || self.last_segments.contains(last_segment)
    }

    /// The file or redirect rule for an absolute path without `.` and `..`.
    pub fn lookup(&self, path: &str) -> Option<RuleIndex> {
        let path = &*canonical(path);
        let mut walk = Walk::default();
        walk.enter(&self.globs);
        segments(path).for_each(|segment| walk.step(segment));
        self.exact.get(path).copied().into_iter().chain(walk.rules()).min()
    }

    /// Whether there is any filesystem rule.
    pub fn has_filesystems(&self) -> bool {
        !self.filesystems.is_empty()
    }

    /// The filesystem rules whose path is `path` or above it, most specific first.
    pub fn filesystems<'a>(&'a self, path: &'a str) -> impl Iterator<Item = RuleIndex> + 'a {
        self.filesystems.iter().filter(move |(top, _)| is_below(path, top)).map(|(_, index)| *index)
    }
}

/// Whether `path` is `top` or lies below it.
pub fn is_below(path: &str, top: &str) -> bool {
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

impl Node {
    fn descend<'a>(&mut self, segments: impl Iterator<Item = &'a str>) -> &mut Node {
        let mut node = self;
        for segment in segments {
            node = node.child(segment);
        }
        node
    }

    fn child(&mut self, segment: &str) -> &mut Node {
        match segment {
            "**" => self.any_depth.get_or_insert_default(),
            wild if wild.contains('*') => {
                let wanted = Wildcard::new(wild);
                let at = self.wild.iter().position(|(known, _)| *known == wanted).unwrap_or_else(|| {
                    self.wild.push((wanted, Node::default()));
                    self.wild.len() - 1
                });
                &mut self.wild[at].1
            }
            literal => self.literal.entry(literal.to_owned()).or_default(),
        }
    }

    fn take_children(&mut self, into: &mut Vec<Node>) {
        into.extend(self.literal.drain().map(|(_, node)| node));
        into.extend(self.wild.drain(..).map(|(_, node)| node));
        into.extend(self.any_depth.take().map(|node| *node));
    }
}

/// One after the other: a glob may have 2,000 segments, and a stack would not have room for as many drops in each other.
impl Drop for Node {
    fn drop(&mut self) {
        let mut left = Vec::new();
        self.take_children(&mut left);
        while let Some(mut node) = left.pop() {
            node.take_children(&mut left);
        }
    }
}

/// Where a path may be in the tree. A node counts once in however many ways it was reached, so that a lookup takes no longer than
/// the path's segments times the tree's nodes, whatever the globs: with one walk per way it would be exponential in their `**`.
#[derive(Default)]
struct Walk<'a> {
    nodes: Vec<&'a Node>,
    /// Those behind a `**`, which take any further segment and stay.
    deep: Vec<&'a Node>,
    known_deep: HashSet<*const Node>,
}

impl<'a> Walk<'a> {
    fn enter(&mut self, mut node: &'a Node) {
        self.nodes.push(node);
        // `**` stands for any number of segments, none included. Of a node that is known all further ones are.
        while let Some(below) = node.any_depth.as_deref()
            && self.known_deep.insert(below)
        {
            self.deep.push(below);
            node = below;
        }
    }

    fn step(&mut self, segment: &str) {
        let before = std::mem::take(&mut self.nodes);
        // What is entered from here on has its turn with the next segment.
        let deep = self.deep.len();
        for node in before {
            self.leave(node, segment);
        }
        for at in 0..deep {
            self.leave(self.deep[at], segment);
        }
    }

    fn leave(&mut self, node: &'a Node, segment: &str) {
        if let Some(next) = node.literal.get(segment) {
            self.enter(next);
        }
        for (_, next) in node.wild.iter().filter(|(wild, _)| wild.matches(segment)) {
            self.enter(next);
        }
    }

    fn rules(&self) -> impl Iterator<Item = RuleIndex> {
        self.nodes.iter().chain(&self.deep).filter_map(|node| node.rule)
    }
}

impl Wildcard {
    fn new(segment: &str) -> Self {
        Self(segment.split('*').map(str::to_owned).collect())
    }

    fn matches(&self, segment: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else { return false };
        let Some(mut rest) = segment.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{FilesystemType, Target};
    use proptest::prelude::*;

    fn redirects(patterns: &[&str]) -> Matcher {
        let rule = |from: &&str| Rule {
            source: "test".into(),
            action: Action::Redirect { from: (*from).into(), target: Target::To("/dev/null".into()) },
        };
        Matcher::compile(&patterns.iter().map(rule).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_of_several_matching_rules_wins() {
        let matcher = redirects(&["/proc/*/x", "/proc/self/x", "/proc/**"]);
        assert_eq!(matcher.lookup("/proc/self/x"), Some(0));
        assert_eq!(matcher.lookup("/proc/self/y"), Some(2));
        assert_eq!(matcher.lookup("/sys/self/y"), None);
    }

    #[test]
    fn double_star_spans_any_number_of_segments() {
        let matcher = redirects(&["/sys/fs/cgroup/**/cpuacct.usage_percpu"]);
        for path in ["/sys/fs/cgroup/cpuacct.usage_percpu", "/sys/fs/cgroup/cpu/a/b/cpuacct.usage_percpu"] {
            assert_eq!(matcher.lookup(path), Some(0), "{path}");
        }
        assert_eq!(matcher.lookup("/sys/fs/cgroup/cpu/cpuacct.usage"), None);
    }

    #[test]
    fn a_lookup_takes_no_longer_for_many_double_stars() {
        let (done, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let matcher = redirects(&[&format!("/proc/{}x", "**/".repeat(330)), "/proc/**/a/**/a/**/y"]);
            let path = |last: &str| format!("/proc/{}{last}", "a/".repeat(1000));
            done.send(["x", "y", "z"].map(|last| matcher.lookup(&path(last)))).unwrap();
        });
        // Not joined: a thread that takes for ever would be the failure.
        let found = heard.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(found, Ok([Some(0), Some(1), None]));
    }

    #[test]
    fn a_rule_behind_a_link_of_procfs_is_found_by_either_name() {
        let matcher = redirects(&["/proc/mounts", "/proc/net/dev", "/proc/net/**/x", "/proc/self/net/tcp"]);
        for (path, expected) in [
            ("/proc/mounts", Some(0)),
            ("/proc/self/mounts", Some(0)),
            ("/proc/self/net/dev", Some(1)),
            ("/proc/net/dev", Some(1)),
            ("/proc/self/net/a/x", Some(2)),
            ("/proc/net/tcp", Some(3)),
            ("/proc/1/net/dev", None),
        ] {
            assert_eq!(matcher.lookup(path), expected, "{path}");
        }
    }

    #[test]
    fn globs_of_any_depth_need_little_stack() {
        let run = || {
            for part in ["a/", "*/", "a*/", "**/a/"] {
                let glob = format!("/proc/{}x*", part.repeat(4000 / part.len()));
                let matcher = redirects(&[&glob, "/proc/**/y"]);
                assert_eq!(
                    matcher.lookup(&format!("/proc/{}x", "a/".repeat(4000 / part.len()))),
                    Some(0),
                    "{part}"
                );
                drop(matcher);
            }
        };
        std::thread::Builder::new().stack_size(128 << 10).spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn the_most_specific_filesystem_rule_comes_first() {
        let rule = |path: &str| Rule {
            source: "test".into(),
            action: Action::Filesystem { path: path.into(), report_as: FilesystemType::Ext4 },
        };
        let matcher = Matcher::compile(&[rule("/"), rule("/var/lib")]);
        assert_eq!(matcher.filesystems("/var/lib/kubelet").collect::<Vec<_>>(), [1, 0]);
        assert_eq!(matcher.filesystems("/var/library").collect::<Vec<_>>(), [0]);
    }

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![3 => "[ab]{1,3}", 1 => Just("**".to_owned()), 2 => "[ab]{0,2}\\*[ab]{0,2}", 1 => "\\*[ab]\\*"]
    }

    proptest! {
        /// globset, the field's glob library, is the oracle for what a pattern means.
        #[test]
        fn globs_mean_what_globset_says(
            pattern in prop::collection::vec(segment(), 1..5),
            path in prop::collection::vec("[ab]{1,4}", 1..6),
        ) {
            let (pattern, path) = (format!("/{}", pattern.join("/")), format!("/{}", path.join("/")));
            // A trailing `**` matches its own directory here and not in globset: see the test above for ours.
            prop_assume!(!pattern.ends_with("**"));
            let oracle = globset::GlobBuilder::new(&pattern).literal_separator(true).build().unwrap().compile_matcher();
            prop_assert_eq!(redirects(&[&pattern]).lookup(&path).is_some(), oracle.is_match(&path), "{} {}", pattern, path);
        }

        /// The quick look at the last segment never rejects a path that a rule matches.
        #[test]
        fn the_quick_reject_is_never_wrong(
            pattern in prop::collection::vec(segment(), 1..5),
            path in prop::collection::vec("[ab]{1,4}", 1..6),
        ) {
            let (pattern, last) = (format!("/{}", pattern.join("/")), path[path.len() - 1].clone());
            let matcher = redirects(&[&pattern]);
            let hit = matcher.lookup(&format!("/{}", path.join("/"))).is_some();
            prop_assert!(!hit || matcher.could_match(&last));
        }
    }
}
