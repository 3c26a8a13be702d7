//! The fetcher against a real server on loopback that misbehaves in every way that matters.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::progress::Silent;
use super::testserver::{Served, TestServer};
use super::*;

const KNOWN_LENGTH: usize = 300_000;

fn body() -> Vec<u8> {
    (0..KNOWN_LENGTH).map(|index| (index * 7 % 251) as u8).collect()
}

struct Case {
    server: TestServer,
    dir: tempfile::TempDir,
    sha256: String,
}

impl Case {
    fn new(served: Served) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let original = dir.path().join("original");
        fs::write(&original, body()).unwrap();
        let sha256 = sha256_of(&original).unwrap();
        Self { server: TestServer::start([("/file".to_owned(), served)]), dir, sha256 }
    }

    fn dest(&self) -> PathBuf {
        self.dir.path().join("into/file")
    }

    fn partial(&self) -> PathBuf {
        partial_path(&self.dest())
    }

    fn fetch(&self) -> Result<(), Error> {
        self.fetch_as(&self.sha256)
    }

    fn fetch_as(&self, sha256: &str) -> Result<(), Error> {
        let url = format!("{}/file", self.server.url());
        let dest = self.dest();
        let download = Download { label: "file", url: &url, sha256, dest: &dest, mode: 0o755 };
        Fetcher::for_tests().file(&download, &mut Silent)
    }

    fn assert_in_place(&self) {
        assert!(fs::read(self.dest()).unwrap() == body(), "content differs");
        assert_eq!(fs::metadata(self.dest()).unwrap().permissions().mode() & 0o7777, 0o755);
        assert!(!self.partial().exists(), "a partial file was left behind");
    }

    fn assert_nothing_in_place(&self) {
        assert!(!self.dest().exists(), "something was put in place");
    }

    fn offsets(&self) -> Vec<Option<u64>> {
        self.server.requests().into_iter().map(|(_, offset)| offset).collect()
    }
}

fn whole() -> Served {
    Served { body: body(), ..Served::default() }
}

#[test]
fn a_file_is_fetched_verified_and_put_in_place() {
    let case = Case::new(whole());
    case.fetch().unwrap();
    case.assert_in_place();
    case.fetch().unwrap();
    assert_eq!(case.offsets(), [None], "the second fetch asked the server again");
}

#[test]
fn a_cut_connection_is_continued_within_the_run() {
    let case = Case::new(Served { cut_at: Some(100_000), cuts: 2, ..whole() });
    case.fetch().unwrap();
    case.assert_in_place();
    assert_eq!(case.offsets(), [None, Some(100_000), Some(200_000)]);
}

#[test]
fn what_an_earlier_run_left_is_continued() {
    let case = Case::new(whole());
    fs::create_dir_all(case.dest().parent().unwrap()).unwrap();
    fs::write(case.partial(), &body()[..123_456]).unwrap();
    case.fetch().unwrap();
    case.assert_in_place();
    assert_eq!(case.offsets(), [Some(123_456)]);
}

#[test]
fn a_complete_partial_file_needs_only_verification() {
    let case = Case::new(whole());
    fs::create_dir_all(case.dest().parent().unwrap()).unwrap();
    fs::write(case.partial(), body()).unwrap();
    case.fetch().unwrap();
    case.assert_in_place();
}

#[test]
fn a_stale_partial_file_is_given_up_for_a_clean_try() {
    let case = Case::new(whole());
    fs::create_dir_all(case.dest().parent().unwrap()).unwrap();
    fs::write(case.partial(), vec![0xFF; 1000]).unwrap();
    case.fetch().unwrap();
    case.assert_in_place();
    assert_eq!(case.offsets(), [Some(1000), None]);
}

#[test]
fn a_partial_file_longer_than_the_whole_is_given_up() {
    let case = Case::new(whole());
    fs::create_dir_all(case.dest().parent().unwrap()).unwrap();
    fs::write(case.partial(), vec![0; KNOWN_LENGTH + 1]).unwrap();
    case.fetch().unwrap();
    case.assert_in_place();
}

#[test]
fn a_server_that_ignores_range_is_read_from_the_start() {
    let case = Case::new(Served { ignores_range: true, cut_at: Some(100_000), cuts: 1, ..whole() });
    case.fetch().unwrap();
    case.assert_in_place();
    assert_eq!(case.offsets(), [None, Some(100_000)]);
}

#[test]
fn a_server_that_always_stops_early_ends_in_an_interruption_that_can_be_continued() {
    let case = Case::new(Served { ignores_range: true, cut_at: Some(100_000), cuts: 99, ..whole() });
    let error = case.fetch().unwrap_err();
    assert!(matches!(error, Error::Interrupted { got: 100_000, total: Some(300_000), .. }), "{error}");
    case.assert_nothing_in_place();
    assert_eq!(fs::metadata(case.partial()).unwrap().len(), 100_000);
}

#[test]
fn a_truncated_file_without_a_length_fails_its_checksum() {
    let case = Case::new(Served { no_length: true, cut_at: Some(100_000), cuts: 99, ..whole() });
    let error = case.fetch().unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    case.assert_nothing_in_place();
    assert!(!case.partial().exists(), "what failed its checksum was kept");
}

#[test]
fn a_wrong_checksum_deletes_the_file_and_says_so() {
    let case = Case::new(whole());
    let error = case.fetch_as(&"0".repeat(64)).unwrap_err();
    assert!(error.to_string().contains("checksum mismatch, the file was deleted"), "{error}");
    case.assert_nothing_in_place();
    assert!(!case.partial().exists());
}

#[test]
fn refusals_are_final_and_server_errors_are_tried_again() {
    for (status, requests) in [(404, 1), (403, 1), (503, 3)] {
        let case = Case::new(Served { status: Some(status), ..whole() });
        let error = case.fetch().unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(case.offsets().len(), requests, "status {status}");
        case.assert_nothing_in_place();
    }
}

#[test]
fn a_closed_port_fails_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Fetcher::for_tests().text(&format!("http://127.0.0.1:{port}/x")).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let case = Case::new(whole());
    fs::create_dir_all(case.dest().parent().unwrap()).unwrap();
    // A real ENOSPC, without filling a disk.
    std::os::unix::fs::symlink("/dev/full", case.partial()).unwrap();
    let error = case.fetch().unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    case.assert_nothing_in_place();
    assert!(fs::symlink_metadata(case.partial()).is_err(), "the partial file was left on a full disk");
}

#[test]
fn a_place_that_cannot_be_written_is_told() {
    let case = Case::new(whole());
    fs::write(case.dir.path().join("into"), "a file where a directory is needed").unwrap();
    let error = case.fetch().unwrap_err();
    assert!(matches!(error, Error::Unwritable { .. }), "{error}");
    assert!(error.hint().contains("SANDBAR_CACHE"));
}

#[test]
fn two_at_once_fetch_once() {
    let case = Case::new(whole());
    std::thread::scope(|scope| {
        let both = [scope.spawn(|| case.fetch()), scope.spawn(|| case.fetch())];
        both.into_iter().for_each(|one| one.join().unwrap().unwrap());
    });
    case.assert_in_place();
    assert_eq!(case.offsets().len(), 1);
}
