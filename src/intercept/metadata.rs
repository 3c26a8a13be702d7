//! What stat(2) and its kin say about a fake file, in each caller's layout.

use super::syscalls::Layout;

/// Metadata of a fake file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Device; that of memfds, so that an open fake agrees.
    pub device: u64,
    /// Inode number, made from the path.
    pub inode: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since the epoch, for all three times.
    pub seconds: i64,
}

const REGULAR: u32 = libc::S_IFREG;
const BLOCK: u32 = 1024;

/// The filled structure; length 0 as procfs reports it.
pub fn encode(metadata: &Metadata, layout: Layout) -> Vec<u8> {
    let mode = REGULAR | metadata.mode;
    let time = metadata.seconds;
    match layout {
        Layout::Stat64Bit => {
            let out = Struct::new(144);
            let out = out
                .u64(0, metadata.device)
                .u64(8, metadata.inode)
                .u64(16, 1)
                .u32(24, mode)
                .u64(56, u64::from(BLOCK));
            out.u64(72, time as u64).u64(88, time as u64).u64(104, time as u64).0
        }
        Layout::Stat32 => {
            let out = Struct::new(64);
            let out = out
                .u32(0, metadata.device as u32)
                .u32(4, metadata.inode as u32)
                .u16(8, mode as u16)
                .u16(10, 1);
            out.u32(24, BLOCK).u32(32, time as u32).u32(40, time as u32).u32(48, time as u32).0
        }
        Layout::Stat64 => {
            let out = Struct::new(96);
            let out = out
                .u64(0, metadata.device)
                .u32(12, metadata.inode as u32)
                .u32(16, mode)
                .u32(20, 1)
                .u32(52, BLOCK);
            out.u32(64, time as u32).u32(72, time as u32).u32(80, time as u32).u64(88, metadata.inode).0
        }
        Layout::Statx => {
            let out = Struct::new(256);
            // STATX_BASIC_STATS and no more: a mount id would claim that this is an object of some mount.
            let out = out.u32(0, 0x7ff).u32(4, BLOCK).u32(16, 1).u16(28, mode as u16).u64(32, metadata.inode);
            let out = out.u64(64, time as u64).u64(96, time as u64).u64(112, time as u64);
            out.u32(136, libc::major(metadata.device)).u32(140, libc::minor(metadata.device)).0
        }
    }
}

/// Where the inode number lies in a layout, and the bytes that make it `inode`.
pub fn inode_field(layout: Layout, inode: u64) -> (u64, Vec<u8>) {
    match layout {
        Layout::Stat64Bit => (8, inode.to_le_bytes().to_vec()),
        Layout::Stat32 => (4, (inode as u32).to_le_bytes().to_vec()),
        Layout::Stat64 => (88, inode.to_le_bytes().to_vec()),
        Layout::Statx => (32, inode.to_le_bytes().to_vec()),
    }
}

/// A stable inode number for a path (FNV-1a, kept within 32 bits for old callers).
pub fn inode(path: &str) -> u64 {
    let hash =
        path.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash.max(2))
}

struct Struct(Vec<u8>);

impl Struct {
    fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn u16(self, at: usize, value: u16) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    fn u32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    fn u64(self, at: usize, value: u64) -> Self {
        self.put(at, &value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn the_native_layout_is_libcs() {
        let metadata = Metadata { device: 0x1234, inode: 99, mode: 0o444, seconds: 7 };
        let bytes = encode(&metadata, Layout::Stat64Bit);
        assert_eq!(bytes.len(), size_of::<libc::stat>());
        let at = |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
        assert_eq!(at(offset_of!(libc::stat, st_dev)), 0x1234);
        assert_eq!(at(offset_of!(libc::stat, st_ino)), 99);
        assert_eq!(at(offset_of!(libc::stat, st_nlink)), 1);
        assert_eq!(at(offset_of!(libc::stat, st_mtime)), 7);
        assert_eq!(at(offset_of!(libc::stat, st_mode)) as u32, libc::S_IFREG | 0o444);
    }

    #[test]
    fn the_inode_number_is_where_it_was_encoded() {
        for layout in [Layout::Stat64Bit, Layout::Stat32, Layout::Stat64, Layout::Statx] {
            let bytes = encode(&Metadata { device: 0, inode: 99, mode: 0, seconds: 0 }, layout);
            let (at, field) = inode_field(layout, 99);
            assert_eq!(bytes[at as usize..at as usize + field.len()], field, "{layout:?}");
        }
    }

    #[test]
    fn statx_claims_the_basic_fields_only() {
        let bytes = encode(&Metadata { device: 0, inode: 5, mode: 0o644, seconds: 1 }, Layout::Statx);
        assert_eq!(bytes.len(), size_of::<libc::statx>());
        let mask = u32::from_le_bytes(bytes[0..4].try_into().unwrap());
        assert_eq!(mask & libc::STATX_MNT_ID, 0);
        let ino = offset_of!(libc::statx, stx_ino);
        assert_eq!(u64::from_le_bytes(bytes[ino..ino + 8].try_into().unwrap()), 5);
    }
}
