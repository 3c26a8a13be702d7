//! Container images as archives: one made here from a single static program.

use std::io;

use sha2::{Digest, Sha256};

/// An image archive (`docker save` format, which containerd imports) of one program at `/NAME`, which is its entrypoint.
/// The same program gives the same bytes.
pub fn archive(image: &str, name: &str, program: &[u8]) -> io::Result<Vec<u8>> {
    let layer = tar(&[(name, 0o755, program)])?;
    let digest = Sha256::digest(&layer).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [format!("/{name}")], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]);
    tar(&[
        ("manifest.json", 0o644, manifest.to_string().as_bytes()),
        ("config.json", 0o644, config.to_string().as_bytes()),
        ("layer.tar", 0o644, &layer),
    ])
}

fn tar(files: &[(&str, u32, &[u8])]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, name, *content)?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_names_its_image_and_the_digest_of_its_layer() {
        let bytes = archive("localhost/x:1", "x", b"program").unwrap();
        assert_eq!(bytes, archive("localhost/x:1", "x", b"program").unwrap());
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let digest: String = Sha256::digest(&files["layer.tar"]).iter().map(|b| format!("{b:02x}")).collect();
        let config = String::from_utf8(files["config.json"].clone()).unwrap();
        assert!(config.contains(&digest) && config.contains("\"/x\""), "{config}");
        assert!(String::from_utf8(files["manifest.json"].clone()).unwrap().contains("localhost/x:1"));
    }
}
