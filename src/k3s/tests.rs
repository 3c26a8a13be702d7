//! Locating k3s, with a real server on loopback and real (shell) binaries.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fetch::progress::{Lines, Silent};
use crate::fetch::sha256_of;
use crate::fetch::testserver::{Served, TestServer};

struct Case {
    dir: tempfile::TempDir,
    places: Places,
    fetcher: Fetcher,
}

fn script(version: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho 'k3s version {version} (0123abcd)'\necho 'go version go1.25.0'\n").into_bytes()
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::for_tests(dir.path(), "http://127.0.0.1:1");
        fs::create_dir(dir.path().join("bin")).unwrap();
        Self { dir, places, fetcher: Fetcher::for_tests() }
    }

    /// A mirror of one release; the list may name another checksum than the file's.
    fn mirror(&mut self, version: &str, sha256: Option<&str>) -> TestServer {
        let body = script(version);
        let original = self.dir.path().join("original");
        fs::write(&original, &body).unwrap();
        let actual = sha256_of(&original).unwrap();
        let list = format!("{}  k3s-images.txt\n{}  k3s\n", "1".repeat(64), sha256.unwrap_or(&actual));
        let base = format!("/{}", version.replace('+', "%2B"));
        let served = |body| Served { body, ..Served::default() };
        let server = TestServer::start([
            (format!("{base}/k3s"), served(body)),
            (format!("{base}/sha256sum-amd64.txt"), served(list.into_bytes())),
        ]);
        self.places.mirror = server.url().to_owned();
        server
    }

    fn put(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn locate(&self, request: &Request) -> Result<Located, Error> {
        locate_in(request, &self.places, &self.fetcher, &mut Silent)
    }
}

fn version(version: &str) -> Request {
    Request { version: Some(version.to_owned()), ..Request::default() }
}

#[test]
fn the_pinned_release_is_fetched_once_and_then_cached() {
    let mut case = Case::new();
    let server = case.mirror(release::DEFAULT, None);
    let first = case.locate(&Request::default()).unwrap();
    assert_eq!((first.version.as_str(), first.origin), (release::DEFAULT, Origin::Downloaded));
    assert_eq!(first.path, case.places.cached(release::DEFAULT));
    let requests = server.requests().len();
    let second = case.locate(&Request::default()).unwrap();
    assert_eq!((second.path, second.origin), (first.path, Origin::Cache));
    assert_eq!(server.requests().len(), requests, "a cached k3s made a request");
}

#[test]
fn another_version_can_be_asked_for() {
    let mut case = Case::new();
    let _server = case.mirror("v1.34.2+k3s1", None);
    let found = case.locate(&version("1.34.2+k3s1")).unwrap();
    assert_eq!(found.version, "v1.34.2+k3s1");
}

#[test]
fn a_wrong_checksum_leaves_no_k3s() {
    let mut case = Case::new();
    let _server = case.mirror(release::DEFAULT, Some(&"0".repeat(64)));
    let error = case.locate(&Request::default()).unwrap_err();
    assert!(error.to_string().contains("checksum mismatch"), "{error}");
    assert!(!case.places.cached(release::DEFAULT).exists());
}

#[test]
fn a_release_that_does_not_exist_is_told_with_its_address() {
    let mut case = Case::new();
    let _server = case.mirror(release::DEFAULT, None);
    let error = case.locate(&version("v1.34.99+k3s1")).unwrap_err();
    assert!(error.to_string().contains("v1.34.99%2Bk3s1/sha256sum-amd64.txt: HTTP status 404"), "{error}");
    assert!(error.hint().contains("releases"));
}

#[test]
fn a_list_without_k3s_is_refused() {
    let mut case = Case::new();
    let list = Served { body: b"nothing here\n".to_vec(), ..Served::default() };
    let path = format!("/{}/sha256sum-amd64.txt", release::DEFAULT.replace('+', "%2B"));
    case.places.mirror = TestServer::start([(path, list)]).url().to_owned();
    let error = case.locate(&Request::default()).unwrap_err();
    assert!(error.to_string().contains("lists no sha256 for k3s"), "{error}");
}

#[test]
fn a_named_path_is_used_or_refused_and_nothing_else_tried() {
    let mut case = Case::new();
    let server = case.mirror(release::DEFAULT, None);
    let good = case.put("good", &script("v1.33.1+k3s1"), 0o755);
    let found = case.locate(&Request { explicit: Some(good.clone()), ..Request::default() }).unwrap();
    assert_eq!((found.version.as_str(), found.origin), ("v1.33.1+k3s1", Origin::Flag));

    let refused = [
        (case.dir.path().join("absent"), "No such file"),
        (case.dir.path().to_owned(), "not a regular file"),
        (case.put("data", b"text", 0o644), "not executable"),
        (case.put("other", b"#!/bin/sh\necho hello\n", 0o755), "this is no k3s"),
        (case.put("fails", b"#!/bin/sh\nexit 7\n", 0o755), "exit status: 7"),
    ];
    for (path, reason) in refused {
        let error = case.locate(&Request { explicit: Some(path), ..Request::default() }).unwrap_err();
        assert!(error.to_string().contains(reason), "{error} lacks {reason}");
    }

    case.places.named = Some(good.clone());
    assert_eq!(case.locate(&Request::default()).unwrap().origin, Origin::Environment);
    let request = Request { explicit: Some(good), ..version("v1.34.2+k3s1") };
    assert!(matches!(case.locate(&request), Err(Error::OtherVersion { .. })));
    assert_eq!(server.requests().len(), 0, "a named path led to a request");
}

#[test]
fn path_is_searched_for_one_that_runs_and_fits() {
    let case = Case::new();
    case.put("bin/k3s", &script("v1.33.1+k3s1"), 0o755);
    let found = case.locate(&Request::default()).unwrap();
    assert_eq!((found.version.as_str(), found.origin), ("v1.33.1+k3s1", Origin::Path));

    let mut notes = Vec::new();
    let request = Request { offline: true, ..version("v1.34.2+k3s1") };
    let error = locate_in(&request, &case.places, &case.fetcher, &mut Lines::new(&mut notes)).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert!(String::from_utf8(notes).unwrap().contains("is v1.33.1+k3s1, not v1.34.2+k3s1: passed over"));
}

#[test]
fn offline_names_what_the_cache_has() {
    let case = Case::new();
    case.put("cache/k3s/v1.34.2+k3s1/k3s", &script("v1.34.2+k3s1"), 0o755);
    let error = case.locate(&Request { offline: true, ..Request::default() }).unwrap_err();
    assert!(error.to_string().contains("(cached: v1.34.2+k3s1)"), "{error}");
    assert_eq!(error.hint(), "use the cached one: --k3s-version v1.34.2+k3s1");
}
