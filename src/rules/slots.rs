//! Two slots and one atomic word: how a document is published in shared memory without a lock and read without tearing.
//!
//! ```text
//! 0      magic, format version, slot capacity, active word (generation << 1 | slot)
//! 4096   slot 0: generation, length, CRC-32, format version; payload from +32
//! …      slot 1: the same
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sys::shared::SharedMapping;

/// Version of the layout and of the documents in it. A reader refuses anything newer.
pub const FORMAT_VERSION: u64 = 1;
const MAGIC: u64 = u64::from_le_bytes(*b"sandbar\0");

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 8;
const CAPACITY_AT: usize = 16;
const ACTIVE_AT: usize = 24;
const FIRST_SLOT_AT: usize = 4096;
const PAYLOAD_AT: usize = 32;

/// Why a slot could not be read or written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SlotError {
    #[error("not a sandbar table (magic {found:#x})")]
    NotATable { found: u64 },
    #[error("table format {found}, newer than {FORMAT_VERSION}, the newest that this sandbar knows")]
    Newer { found: u64 },
    #[error("nothing published yet")]
    Empty,
    #[error("damaged: {what}")]
    Damaged { what: &'static str },
    #[error("document of {len} bytes, larger than a slot ({capacity} bytes)")]
    TooLarge { len: usize, capacity: usize },
}

/// The two slots at the head of a shared mapping.
#[derive(Clone, Debug)]
pub struct Slots {
    mapping: Arc<SharedMapping>,
    capacity: usize,
}

impl Slots {
    /// Bytes that two slots of `capacity` take, header included.
    pub const fn size(capacity: usize) -> usize {
        FIRST_SLOT_AT + 2 * (capacity + PAYLOAD_AT)
    }

    /// Lays out an empty table.
    pub fn create(mapping: Arc<SharedMapping>, capacity: usize) -> Self {
        mapping.store(MAGIC_AT, MAGIC, Ordering::Relaxed);
        mapping.store(VERSION_AT, FORMAT_VERSION, Ordering::Relaxed);
        mapping.store(CAPACITY_AT, capacity as u64, Ordering::Relaxed);
        mapping.store(ACTIVE_AT, 0, Ordering::Release);
        Self { mapping, capacity }
    }

    /// Takes up a table that another process laid out; its capacity must be the one we know.
    pub fn open(mapping: Arc<SharedMapping>, capacity: usize) -> Result<Self, SlotError> {
        let found = mapping.load(MAGIC_AT, Ordering::Relaxed);
        if found != MAGIC {
            return Err(SlotError::NotATable { found });
        }
        let found = mapping.load(VERSION_AT, Ordering::Relaxed);
        if found > FORMAT_VERSION {
            return Err(SlotError::Newer { found });
        }
        let stated = mapping.load(CAPACITY_AT, Ordering::Relaxed);
        if stated != capacity as u64 || mapping.len() < Self::size(capacity) {
            return Err(SlotError::Damaged { what: "slot capacity" });
        }
        Ok(Self { mapping, capacity })
    }

    /// Generation of the active slot; 0 before the first publication.
    pub fn generation(&self) -> u64 {
        self.mapping.load(ACTIVE_AT, Ordering::Acquire) >> 1
    }

    /// Writes `payload` into the idle slot and makes it the active one. One writer at a time.
    pub fn publish(&self, generation: u64, payload: &[u8]) -> Result<(), SlotError> {
        if payload.len() > self.capacity {
            return Err(SlotError::TooLarge { len: payload.len(), capacity: self.capacity });
        }
        let slot = (self.mapping.load(ACTIVE_AT, Ordering::Acquire) & 1) ^ 1;
        let at = self.slot_at(slot);
        self.mapping.store(at, generation, Ordering::Relaxed);
        self.mapping.store(at + 8, payload.len() as u64, Ordering::Relaxed);
        self.mapping.store(at + 16, u64::from(checksum(generation, payload)), Ordering::Relaxed);
        self.mapping.store(at + 24, FORMAT_VERSION, Ordering::Relaxed);
        if !self.mapping.write(at + PAYLOAD_AT, payload) {
            return Err(SlotError::Damaged { what: "mapping is read-only or too short" });
        }
        self.mapping.store(ACTIVE_AT, generation << 1 | slot, Ordering::Release);
        Ok(())
    }

    /// The active document and its generation, whole or not at all.
    pub fn read(&self) -> Result<(u64, Vec<u8>), SlotError> {
        // A writer that publishes twice while we copy once makes one attempt fail; several in a row mean damage.
        let mut last = SlotError::Empty;
        for _ in 0..8 {
            let active = self.mapping.load(ACTIVE_AT, Ordering::Acquire);
            if active >> 1 == 0 {
                return Err(SlotError::Empty);
            }
            last = match self.read_slot(active) {
                Err(error) => error,
                Ok(payload) => return Ok((active >> 1, payload)),
            };
            if self.mapping.load(ACTIVE_AT, Ordering::Acquire) == active {
                break;
            }
        }
        Err(last)
    }

    fn read_slot(&self, active: u64) -> Result<Vec<u8>, SlotError> {
        let at = self.slot_at(active & 1);
        let [generation, len, crc, version] =
            [0, 8, 16, 24].map(|offset| self.mapping.load(at + offset, Ordering::Relaxed));
        if version > FORMAT_VERSION {
            return Err(SlotError::Newer { found: version });
        }
        if generation != active >> 1 {
            return Err(SlotError::Damaged { what: "generation of the active slot" });
        }
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= self.capacity)
            .ok_or(SlotError::Damaged { what: "length" })?;
        let payload =
            self.mapping.read(at + PAYLOAD_AT, len).ok_or(SlotError::Damaged { what: "slot bounds" })?;
        if u64::from(checksum(generation, &payload)) != crc {
            return Err(SlotError::Damaged { what: "checksum" });
        }
        Ok(payload)
    }

    fn slot_at(&self, slot: u64) -> usize {
        FIRST_SLOT_AT + if slot & 1 == 1 { self.capacity + PAYLOAD_AT } else { 0 }
    }
}

fn checksum(generation: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::sealed_memfd;
    use proptest::prelude::*;

    const CAPACITY: usize = 4096;

    fn table() -> (Arc<SharedMapping>, Slots) {
        let fd = sealed_memfd("test", Slots::size(CAPACITY)).unwrap();
        let mapping = Arc::new(SharedMapping::new(&fd, Slots::size(CAPACITY), true).unwrap());
        (mapping.clone(), Slots::create(mapping, CAPACITY))
    }

    #[test]
    fn what_is_published_is_what_is_read() {
        let (_, slots) = table();
        assert_eq!(slots.read(), Err(SlotError::Empty));
        for generation in 1..5 {
            let payload = vec![generation as u8; generation as usize * 100];
            slots.publish(generation, &payload).unwrap();
            assert_eq!(slots.read(), Ok((generation, payload)));
        }
    }

    #[test]
    fn too_large_and_newer_are_refused() {
        let (mapping, slots) = table();
        assert!(matches!(slots.publish(1, &[0; CAPACITY + 1]), Err(SlotError::TooLarge { .. })));
        mapping.store(VERSION_AT, FORMAT_VERSION + 1, Ordering::Relaxed);
        assert!(matches!(Slots::open(mapping, CAPACITY), Err(SlotError::Newer { .. })));
    }

    #[test]
    fn readers_beside_a_fast_writer_never_see_a_torn_document() {
        let (_, slots) = table();
        slots.publish(1, &[1; 512]).unwrap();
        let writer = slots.clone();
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                for generation in 2..20_000_u64 {
                    writer.publish(generation, &vec![generation as u8; 512]).unwrap();
                }
            });
            let mut read = 0;
            while !writing.is_finished() {
                if let Ok((generation, payload)) = slots.read() {
                    assert!(payload.iter().all(|byte| *byte == generation as u8));
                    read += 1;
                }
            }
            assert!(read > 0, "the reader never got a document");
        });
    }

    proptest! {
        /// Whatever one flipped bit in the active slot does, a changed document is never returned.
        #[test]
        fn one_flipped_bit_never_yields_another_document(bit in 0..(CAPACITY + PAYLOAD_AT) * 8) {
            let (mapping, slots) = table();
            let payload = vec![0x5a; CAPACITY];
            slots.publish(1, &payload).unwrap();
            let word = (FIRST_SLOT_AT + CAPACITY + PAYLOAD_AT) + bit / 64 * 8;
            let flipped = mapping.load(word, Ordering::Relaxed) ^ (1 << (bit % 64));
            mapping.store(word, flipped, Ordering::Relaxed);
            if let Ok((generation, read)) = slots.read() {
                prop_assert_eq!((generation, read), (1, payload));
            }
        }
    }
}
