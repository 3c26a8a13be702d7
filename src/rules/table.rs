//! The desired table: the controller writes, the supervisor validates and reads.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::bounds::{self, Refusal};
use super::model::DesiredDocument;
use super::slots::{SlotError, Slots};
use crate::sys::shared::{SharedMapping, sealed_memfd};

const SLOT_CAPACITY: usize = 8 << 20;

/// Why a desired table was not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TableError {
    #[error("cannot map the rule table: {0}")]
    Map(#[from] std::io::Error),
    #[error("rule table: {0}")]
    Slot(#[from] SlotError),
    #[error("rule table: not a document that this sandbar understands: {0}")]
    Document(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Makes the memory file of a desired table.
pub fn create_desired() -> Result<OwnedFd, TableError> {
    let fd = sealed_memfd("sandbar-desired", Slots::size(SLOT_CAPACITY))?;
    Slots::create(Arc::new(SharedMapping::new(&fd, Slots::size(SLOT_CAPACITY), true)?), SLOT_CAPACITY);
    Ok(fd)
}

/// The writing side.
#[derive(Debug)]
pub struct DesiredWriter(Slots);

/// The reading side.
#[derive(Debug)]
pub struct DesiredReader(Slots);

impl DesiredWriter {
    /// Maps `fd` for writing.
    pub fn open(fd: &impl AsFd) -> Result<Self, TableError> {
        let mapping = SharedMapping::new(fd, Slots::size(SLOT_CAPACITY), true)?;
        Ok(Self(Slots::open(Arc::new(mapping), SLOT_CAPACITY)?))
    }

    /// Generation last published, 0 if none.
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Checks and publishes a document under the next generation, which is returned. The caller must have seen the
    /// previous generation acknowledged: the slot that is overwritten may otherwise still be read.
    pub fn publish(&self, document: &DesiredDocument) -> Result<u64, TableError> {
        bounds::check(document)?;
        let generation = self.0.generation() + 1;
        self.0.publish(generation, &serde_json::to_vec(document)?)?;
        Ok(generation)
    }
}

impl DesiredReader {
    /// Maps `fd` for reading.
    pub fn open(fd: &impl AsFd) -> Result<Self, TableError> {
        let mapping = SharedMapping::new(fd, Slots::size(SLOT_CAPACITY), false)?;
        Ok(Self(Slots::open(Arc::new(mapping), SLOT_CAPACITY)?))
    }

    /// Generation last published, 0 if none.
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// The published document, checked against the allow-list: whole or refused whole.
    pub fn read(&self) -> Result<(u64, DesiredDocument), TableError> {
        let (generation, payload) = self.0.read()?;
        let document = serde_json::from_slice(&payload)?;
        bounds::check(&document)?;
        Ok((generation, document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::model::{Access, Action, Rule};

    fn document(path: &str) -> DesiredDocument {
        let action = Action::File { path: path.into(), value: "10\n".into(), access: Access::ReadWrite };
        DesiredDocument { rules: vec![Rule { source: "test".into(), action }], ..Default::default() }
    }

    #[test]
    fn a_published_document_is_read_back_with_its_generation() {
        let fd = create_desired().unwrap();
        let (writer, reader) = (DesiredWriter::open(&fd).unwrap(), DesiredReader::open(&fd).unwrap());
        assert!(matches!(reader.read(), Err(TableError::Slot(SlotError::Empty))));
        assert_eq!(writer.publish(&document("/proc/sys/kernel/panic")).unwrap(), 1);
        assert_eq!(reader.read().unwrap(), (1, document("/proc/sys/kernel/panic")));
    }

    #[test]
    fn the_reader_refuses_what_a_writer_should_not_have_published() {
        let fd = create_desired().unwrap();
        let (writer, reader) = (DesiredWriter::open(&fd).unwrap(), DesiredReader::open(&fd).unwrap());
        assert!(writer.publish(&document("/etc/shadow")).is_err());
        writer.0.publish(1, &serde_json::to_vec(&document("/etc/shadow")).unwrap()).unwrap();
        assert!(matches!(reader.read(), Err(TableError::Refused(_))));
        writer.0.publish(2, br#"{"rules":[],"k3s":{},"unknown":1}"#).unwrap();
        assert!(matches!(reader.read(), Err(TableError::Document(_))));
    }
}
