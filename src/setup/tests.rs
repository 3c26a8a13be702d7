//! Installing from a real server on loopback, with real archives.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::catalog::Way;
use super::*;
use crate::fetch::progress::Silent;
use crate::fetch::testserver::{Served, TestServer};
use crate::fetch::{Fetcher, sha256_of};
use crate::k3s::Places;

const ARCHIVE: Way = Way::Download { url: "example.org/tool-{v}.tar.gz", sums: ".sha256sum" };
const PLAIN: Way = Way::Download { url: "example.org/{v}/tool", sums: "example.org/{v}/checksums.txt" };

fn tool(ways: &'static [Way]) -> Tool {
    Tool {
        name: "tool",
        purpose: "testing",
        programs: &["tool"],
        version_arguments: &["--version"],
        version: "v1",
        directory: None,
        default: false,
        ways,
    }
}

struct Case {
    dir: tempfile::TempDir,
    installer: Installer,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::for_tests(dir.path(), "");
        let prefix = dir.path().join("prefix");
        let mirror = Some("http://127.0.0.1:1".to_owned());
        Self { installer: Installer { places, prefix, mirror, fetcher: Fetcher::for_tests() }, dir }
    }

    fn program(&self, path: &str, script: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Serves both forms of the tool, with the given program.
    fn serve(&mut self, script: &str) -> TestServer {
        let program = self.program("build/linux-amd64/tool", script);
        let archive = self.dir.path().join("tool-v1.tar.gz");
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(self.dir.path().join("build")).arg("linux-amd64");
        assert!(tar.status().unwrap().success());
        let served = |body| Served { body, ..Served::default() };
        let list = |path: &Path, name: &str| format!("{}  {name}\n", sha256_of(path).unwrap()).into_bytes();
        let server = TestServer::start([
            ("/example.org/tool-v1.tar.gz.sha256sum".to_owned(), served(list(&archive, "tool-v1.tar.gz"))),
            ("/example.org/tool-v1.tar.gz".to_owned(), served(fs::read(&archive).unwrap())),
            ("/example.org/v1/checksums.txt".to_owned(), served(list(&program, "tool"))),
            ("/example.org/v1/tool".to_owned(), served(fs::read(&program).unwrap())),
        ]);
        self.installer.mirror = Some(server.url().to_owned());
        server
    }

    fn provide(&self, ways: &'static [Way]) -> Outcome {
        provide(&self.installer, &tool(ways), false, &mut Silent)
    }

    fn prefix_entries(&self) -> Vec<OsString> {
        let entries = fs::read_dir(&self.installer.prefix).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }
}

#[test]
fn a_tool_on_path_is_left_alone() {
    let case = Case::new();
    let path = case.program("bin/tool", "#!/bin/sh\necho tool v0\n");
    let Outcome::Found(present) = case.provide(&[ARCHIVE]) else { panic!("it was not found") };
    assert_eq!(present, Present { path, version: "tool v0".to_owned() });
}

#[test]
fn archives_and_plain_files_are_installed() {
    for ways in [&[ARCHIVE], &[PLAIN]] {
        let mut case = Case::new();
        let _server = case.serve("#!/bin/sh\necho tool v1\n");
        let Outcome::Installed(how, present) = case.provide(ways) else { panic!("{ways:?} failed") };
        assert!(how.starts_with("v1 from http://"), "{how}");
        assert_eq!(present.path, case.installer.prefix.join("tool"));
        assert_eq!(case.prefix_entries(), ["tool"], "staging was left behind");
    }
}

#[test]
fn what_does_not_run_is_not_put_in_place() {
    let mut case = Case::new();
    let _server = case.serve("#!/bin/sh\necho cannot >&2; exit 1\n");
    let Outcome::Lacking(failures) = case.provide(&[ARCHIVE]) else { panic!("it was installed") };
    assert_eq!(failures[0].to_string(), "tool: cannot");
    assert!(case.prefix_entries().is_empty(), "{:?}", case.prefix_entries());
}

#[test]
fn a_way_that_fails_leads_to_the_next() {
    let mut case = Case::new();
    let _server = case.serve("#!/bin/sh\necho tool v1\n");
    const GONE: Way = Way::Download { url: "example.org/gone", sums: ".sha256" };
    assert!(matches!(case.provide(&[Way::K3s, GONE, PLAIN]), Outcome::Installed(..)));
}

#[test]
fn checking_installs_nothing() {
    let mut case = Case::new();
    let server = case.serve("#!/bin/sh\necho tool v1\n");
    let outcome = provide(&case.installer, &tool(&[PLAIN]), true, &mut Silent);
    assert!(matches!(outcome, Outcome::Lacking(failures) if failures.is_empty()));
    assert!(server.requests().is_empty() && !case.installer.prefix.exists());
}

#[test]
fn k3s_lends_its_own_tools() {
    let case = Case::new();
    case.program(
        "bin/k3s",
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'k3s version v1.34.2+k3s1 (abc)' || echo \"k3s ran $*\"\n",
    );
    let Outcome::Installed(how, present) = case.provide(&[Way::K3s]) else { panic!("it was not installed") };
    assert!(how.starts_with("k3s v1.34.2+k3s1 carries it"), "{how}");
    assert_eq!(present.version, "k3s ran tool --version");
}

#[test]
fn a_prefix_that_cannot_be_written_is_told() {
    let mut case = Case::new();
    let _server = case.serve("#!/bin/sh\necho tool v1\n");
    fs::write(&case.installer.prefix, "a file").unwrap();
    let Outcome::Lacking(failures) = case.provide(&[PLAIN]) else { panic!("it was installed") };
    assert!(failures[0].to_string().contains("prefix/.sandbar-setup-"), "{}", failures[0]);
}

#[test]
fn a_plugin_is_not_taken_for_a_program_of_the_same_name() {
    let case = Case::new();
    case.program("bin/tool", "#!/bin/sh\necho iproute2\n");
    let directory: &'static str =
        Box::leak(case.dir.path().join("cni").display().to_string().into_boxed_str());
    let plugin = Tool { directory: Some(directory), version_arguments: &[], ..tool(&[Way::K3s]) };
    assert_eq!(look(&case.installer, &plugin), None);
    let path = case.program("cni/tool", "#!/bin/sh\n");
    assert_eq!(look(&case.installer, &plugin).unwrap().path, path);
}
