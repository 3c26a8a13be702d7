//! Publishing: the next document only after the last one was acknowledged, and never the same one twice.

use super::link::Tables;
use crate::rules::model::DesiredDocument;
use crate::rules::observed::Scalar;
use crate::rules::table::TableError;

/// What became of a document that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is the one in the table already.
    Unchanged,
    /// It is in the table under this generation.
    New(u64),
    /// The supervisor has not answered the last one yet: offer it again when it has.
    Busy,
}

/// The one writer of the desired table.
#[derive(Debug)]
pub struct Publisher {
    tables: Tables,
    last: Option<DesiredDocument>,
    settings_generation: u64,
}

impl Publisher {
    /// Takes up the table where an earlier controller, or the supervisor, left it.
    pub fn new(tables: Tables) -> Self {
        // What cannot be read was refused by the supervisor too: it is replaced by the first document offered.
        let last = tables.reader.read().ok().map(|(_, document)| document);
        Self { tables, last, settings_generation: 0 }
    }

    /// The tables behind it.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The document last published, if it is known.
    pub fn last(&self) -> Option<&DesiredDocument> {
        self.last.as_ref()
    }

    /// Generation last published.
    pub fn generation(&self) -> u64 {
        self.tables.writer.generation()
    }

    /// Generation that brought the k3s settings in force, 0 if an earlier process published it.
    pub fn settings_generation(&self) -> u64 {
        self.settings_generation
    }

    /// Whether the supervisor took or refused what was published last.
    pub fn acknowledged(&self) -> bool {
        self.tables.observed.scalar(Scalar::Acknowledged) >= self.generation()
    }

    /// Publishes `document` if it is new and the supervisor is ready for it. An error means that it is refused whole;
    /// what was published last stays.
    pub fn offer(&mut self, document: &DesiredDocument) -> Result<Published, TableError> {
        if self.last.as_ref() == Some(document) {
            return Ok(Published::Unchanged);
        }
        if !self.acknowledged() {
            return Ok(Published::Busy);
        }
        let generation = self.tables.writer.publish(document)?;
        let settings = |document: &DesiredDocument| {
            let node = (document.network.clone(), document.remedies_off.clone());
            (document.k3s.clone(), document.interception, node)
        };
        if self.last.as_ref().map(settings) != Some(settings(document)) {
            self.settings_generation = generation;
        }
        self.last = Some(document.clone());
        if let Err(error) = self.tables.ring() {
            // The supervisor also looks by itself, only later.
            tracing::warn!(%error, generation, "cannot ring the supervisor's bell");
        }
        Ok(Published::New(generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::link;
    use crate::rules::model::{Access, Action, Rule};
    use crate::rules::observed::{Observed, create_observed};
    use crate::rules::table::create_desired;
    use crate::sys::shared::read_only;
    use nix::sys::eventfd::EventFd;
    use std::os::fd::OwnedFd;

    struct Supervisor {
        desired: OwnedFd,
        observed_fd: OwnedFd,
        observed: Observed,
    }

    impl Supervisor {
        fn new() -> Self {
            let observed_fd = create_observed().unwrap();
            let observed = Observed::open(&observed_fd, true).unwrap();
            Self { desired: create_desired().unwrap(), observed_fd, observed }
        }

        fn publisher(&self) -> Publisher {
            let fds = [
                self.desired.try_clone().unwrap(),
                read_only(&self.observed_fd).unwrap(),
                EventFd::new().unwrap().into(),
                EventFd::new().unwrap().into(),
                nix::unistd::pipe().unwrap().0,
            ];
            Publisher::new(link::open(fds).unwrap().0)
        }

        fn acknowledge(&self, generation: u64) {
            self.observed.set(Scalar::Acknowledged, generation);
        }
    }

    fn document(path: &str) -> DesiredDocument {
        let action = Action::File { path: path.into(), value: "1".into(), access: Access::ReadOnly };
        DesiredDocument { rules: vec![Rule { source: "a".into(), action }], ..Default::default() }
    }

    #[tokio::test]
    async fn the_next_document_waits_for_the_acknowledgement_of_the_last() {
        let supervisor = Supervisor::new();
        let mut publisher = supervisor.publisher();
        assert_eq!(publisher.offer(&document("/proc/a")).unwrap(), Published::New(1));
        assert_eq!(publisher.offer(&document("/proc/b")).unwrap(), Published::Busy);
        supervisor.acknowledge(1);
        assert_eq!(publisher.offer(&document("/proc/b")).unwrap(), Published::New(2));
    }

    #[tokio::test]
    async fn the_same_document_is_not_published_again_not_even_by_the_next_controller() {
        let supervisor = Supervisor::new();
        let mut publisher = supervisor.publisher();
        publisher.offer(&document("/proc/a")).unwrap();
        assert_eq!(publisher.offer(&document("/proc/a")).unwrap(), Published::Unchanged);
        let mut next = supervisor.publisher();
        assert_eq!(next.offer(&document("/proc/a")).unwrap(), Published::Unchanged);
        assert_eq!(next.generation(), 1);
    }

    #[tokio::test]
    async fn a_document_outside_the_allow_list_is_refused_and_the_last_one_stays() {
        let supervisor = Supervisor::new();
        let mut publisher = supervisor.publisher();
        publisher.offer(&document("/proc/a")).unwrap();
        supervisor.acknowledge(1);
        assert!(publisher.offer(&document("/etc/shadow")).is_err());
        assert_eq!(publisher.generation(), 1);
    }
}
