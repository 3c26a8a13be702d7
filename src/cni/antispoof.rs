//! A pod speaks for itself alone: the node's end of its link takes packets only from addresses to which the node's route leads back
//! by that link, which is the pod's own. The capability to forge others (NET_RAW) is a container's by default.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

const LINKS: &str = "/proc/sys/net/ipv4/conf";

/// Has the kernel check it for a link of this thread's namespace. gVisor has no such setting, and none is needed for a pod to work.
pub fn guard(link: &str) {
    if let Err(error) = guard_in(Path::new(LINKS), link) {
        eprintln!("sandbar-cni: senders are not checked on {link}: {error}");
    }
}

fn guard_in(links: &Path, link: &str) -> io::Result<()> {
    // Opened and not created: gVisor has a word of its own for who creates a file there.
    let opened = OpenOptions::new().write(true).open(links.join(link).join("rp_filter"));
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened?.write_all(b"1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strict_check_is_switched_on_where_there_is_one() {
        let links = tempfile::tempdir().unwrap();
        guard_in(links.path(), "sbr1").unwrap();
        assert!(!links.path().join("sbr1").exists());
        let setting = links.path().join("sbr1/rp_filter");
        std::fs::create_dir(links.path().join("sbr1")).unwrap();
        std::fs::write(&setting, "0").unwrap();
        guard_in(links.path(), "sbr1").unwrap();
        assert_eq!(std::fs::read_to_string(setting).unwrap(), "1");
    }
}
