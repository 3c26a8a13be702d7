//! The loop: hear of changes, build, publish, and when the supervisor answered, say so in status. It never waits for the
//! API server: one write at a time is under way beside it.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::ControllerError;
use super::api::Heard;
use super::build::{self, Conflict};
use super::events::{self, Regarding};
use super::findings::{Standing, View};
use super::http::Health;
use super::link::Signals;
use super::metrics::{Failure, Metrics};
use super::node_status::{self, Counters};
use super::publish::{Published, Publisher};
use super::queue::Queue;
use super::store::{Change, Store};
use super::tell;
use super::write::{self, Write, Written};
use crate::api::conditions::shorten;
use crate::rules::model::DesiredDocument;
use crate::rules::observed::ObservedDocument;
use crate::supervisor::controller_process::Refused;

/// A burst of changes becomes one table.
const BURST: Duration = Duration::from_millis(20);
/// How long the supervisor's answer is awaited before status says that it is.
const ANSWER: Duration = Duration::from_millis(300);
/// Between the supervisor's answer and the status that tells of it.
const SETTLE: Duration = Duration::from_millis(20);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(2);
/// How often counters in status are brought up to date at most.
const REFRESH: Duration = Duration::from_secs(30);
/// How often is looked whether there is contact with the API server.
const LOOK: Duration = Duration::from_secs(5);

/// Everything the loop knows.
pub struct Engine {
    node: String,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    client: Option<Client>,
    store: Store,
    labels: Option<BTreeMap<String, String>>,
    wanted: DesiredDocument,
    conflicts: Vec<Conflict>,
    unpublishable: Option<String>,
    observed: (u64, ObservedDocument),
    publish_at: Option<Instant>,
    tell_at: Option<Instant>,
    resume_at: Option<Instant>,
    waiting: bool,
    writes: Queue,
    told_events: u64,
    told_refusals: BTreeMap<Option<String>, i64>,
    /// The refusal of the whole table that was told.
    told_unpublishable: Option<String>,
    /// Refusals that the supervisor is to write down, and `None` for the end of one of the table.
    to_report: Vec<Option<Refused>>,
}

/// Longest reason that the supervisor is told.
const MAX_REASON: usize = 1000;

impl Engine {
    /// Nothing is published before the objects and the node's labels are known.
    /// An earlier controller has told of the supervisor's events up to `told_events`.
    pub fn new(
        node: String,
        publisher: Publisher,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        told_events: u64,
    ) -> Self {
        Self {
            node,
            publisher,
            metrics,
            health,
            client: None,
            store: Store::default(),
            labels: None,
            wanted: DesiredDocument::default(),
            conflicts: Vec::new(),
            unpublishable: None,
            observed: (0, ObservedDocument::default()),
            publish_at: None,
            tell_at: None,
            resume_at: None,
            waiting: false,
            writes: Queue::default(),
            told_events,
            told_refusals: BTreeMap::new(),
            told_unpublishable: None,
            to_report: Vec::new(),
        }
    }

    /// Runs for ever, or until it cannot.
    pub async fn run(mut self, mut heard: Receiver<Heard>, signals: &Signals) -> Result<(), ControllerError> {
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut writing: Option<BoxFuture<'static, Written>> = None;
        let (mut said_applied, mut settled, mut said_ready) = (false, false, false);
        let mut said_told = self.told_events;
        loop {
            if !said_applied && self.client.is_some() {
                // As below.
                said_applied = signals.say_applied().is_ok();
            }
            if writing.is_none() {
                writing = self.next_write();
            }
            settled = settled || (writing.is_none() && self.at_rest());
            let ready = settled && self.health.in_contact();
            if ready != said_ready {
                let said = if ready { signals.say_ready() } else { signals.say_unready() };
                // One that is gone is noticed by `gone`.
                said_ready = if said.is_ok() { ready } else { said_ready };
            }
            for refused in std::mem::take(&mut self.to_report) {
                // As above.
                let _ = refused.map_or_else(|| signals.say_taken(), |refused| signals.say_refused(&refused));
            }
            if settled && said_told != self.told_events && writing.is_none() && self.writes.is_empty() {
                // As above.
                said_told = signals.say_told(self.told_events).map_or(said_told, |()| self.told_events);
            }
            tokio::select! {
                news = heard.recv() => self.hear(news.ok_or(ControllerError::ApiTask)?),
                rang = signals.observed_changed() => {
                    rang.map_err(ControllerError::Bell)?;
                    self.answered();
                }
                () = at(self.publish_at) => self.publish(),
                () = at(self.tell_at) => self.tell(false),
                () = at(self.resume_at) => self.resume(),
                _ = look.tick() => {}
                written = finished(&mut writing) => {
                    writing = None;
                    self.written(written);
                }
                _ = refresh.tick() => {
                    self.health.beat();
                    self.answered();
                    self.tell(true);
                }
            }
        }
    }

    fn hear(&mut self, news: Heard) {
        match news {
            Heard::Session(client) => {
                self.client = Some(client);
                self.health.session();
            }
            Heard::Config(event) => {
                let change = self.store.apply(*event);
                if change == Change::Rules {
                    self.due();
                }
            }
            Heard::Labels(labels) => {
                let labels = labels.unwrap_or_default();
                if self.labels.as_ref() != Some(&labels) {
                    self.labels = Some(labels);
                    self.due();
                }
            }
        }
    }

    /// Whether everything that is known is in force and told.
    fn at_rest(&self) -> bool {
        let known = self.client.is_some() && self.store.complete() && self.labels.is_some();
        let told = self.publish_at.is_none() && self.tell_at.is_none() && self.writes.is_empty();
        known && told && !self.waiting && self.unpublishable.is_none() && self.publisher.acknowledged()
    }

    /// A table is due once everything that it is made of is known.
    fn due(&mut self) {
        if self.store.complete() && self.labels.is_some() {
            self.publish_at.get_or_insert_with(|| Instant::now() + BURST);
        }
    }

    /// The supervisor took or refused a table, or reports something else.
    fn answered(&mut self) {
        if self.waiting && self.publisher.acknowledged() {
            self.publish();
        }
        self.soon(SETTLE);
    }

    /// Status is told after `wait`, or sooner if that was agreed already.
    fn soon(&mut self, wait: Duration) {
        let then = Instant::now() + wait;
        self.tell_at = Some(self.tell_at.map_or(then, |agreed| agreed.min(then)));
    }

    fn publish(&mut self) {
        self.publish_at = None;
        let Some(labels) = &self.labels else { return };
        let run = self.metrics.run();
        let (document, conflicts) = build::desired(self.store.configs(), labels);
        self.wanted = document;
        self.conflicts = conflicts;
        self.waiting = false;
        match self.publisher.offer(&self.wanted) {
            Ok(published) => {
                if self.unpublishable.take().is_some() {
                    self.told_unpublishable = None;
                    self.to_report.push(None);
                }
                self.waiting = published == Published::Busy;
                if let Published::New(generation) = published {
                    tracing::info!(generation, rules = self.wanted.rules.len(), "rule table published");
                }
                self.health.publish(self.publisher.generation(), self.wanted.rules.len());
                self.soon(if self.publisher.acknowledged() { SETTLE } else { ANSWER });
            }
            Err(error) => {
                tracing::warn!(%error, "rule table refused");
                run.failed(Failure::Refused);
                let why = error.to_string();
                if self.unpublishable.as_ref() != Some(&why) {
                    self.report(None, &why);
                }
                self.unpublishable = Some(why);
                self.soon(SETTLE);
            }
        }
    }

    /// Works out what has to be written; replaces what was worked out before and not written yet.
    fn tell(&mut self, refresh: bool) {
        self.tell_at = None;
        let Some(labels) = self.labels.clone().filter(|_| self.client.is_some() && self.store.complete())
        else {
            return;
        };
        self.read_observed();
        let now = Timestamp::now();
        let mut events = self.refusals(&labels, now);
        events.extend(self.table_refusal(now));
        events.extend(self.news(now));
        let statuses = self.statuses(&labels, refresh, now);
        self.writes.renew(statuses, events);
    }

    fn view(&self) -> View<'_> {
        View {
            node: &self.node,
            document: &self.wanted,
            conflicts: &self.conflicts,
            settled: !self.waiting && self.publish_at.is_none() && self.publisher.acknowledged(),
            unpublishable: self.unpublishable.as_deref(),
            generation: self.publisher.generation(),
            settings_generation: self.publisher.settings_generation(),
            observed: &self.observed.1,
        }
    }

    fn statuses(&self, labels: &BTreeMap<String, String>, refresh: bool, now: Timestamp) -> Vec<Write> {
        let (view, observed) = (self.view(), &self.publisher.tables().observed);
        let counters = Counters::read(observed);
        let mut writes = Vec::new();
        for (name, object) in self.store.iter() {
            let standing = object.standing(labels);
            let entry = (standing == Standing::Selected).then(|| {
                node_status::entry(name, &self.node, view.observed, counters, |slot| observed.hits(slot))
            });
            let patches = tell::patches(name, object, &standing, &view, entry, refresh, now);
            writes.extend(patches.into_iter().map(Write::Status));
            if refresh {
                let others = object.status.nodes.iter().filter(|node| node.name != self.node);
                writes.extend(
                    others.map(|node| Write::Forget { name: name.to_owned(), node: node.name.clone() }),
                );
            }
        }
        writes
    }

    /// An Event for each object that is refused, once for each generation of it.
    fn refusals(&mut self, labels: &BTreeMap<String, String>, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        let (mut told, mut refused) = (BTreeMap::new(), Vec::new());
        for (name, object) in self.store.iter() {
            let Standing::Invalid(why) = object.standing(labels) else { continue };
            let (uid, generation) =
                (object.metadata.uid.clone(), object.metadata.generation.unwrap_or_default());
            let before = self.told_refusals.get(&uid);
            told.insert(uid.clone(), generation);
            if before != Some(&generation) {
                refused.push((name.to_owned(), why.clone()));
                let regarding = Regarding { name: name.to_owned(), uid };
                writes.push(Write::event(events::refused(&regarding, generation, &why, &self.node, now)));
            }
        }
        self.told_refusals = told;
        refused.into_iter().for_each(|(name, why)| self.report(Some(name), &why));
        writes
    }

    /// An Event for each object on account of which the table cannot be published, once for each reason.
    fn table_refusal(&mut self, now: Timestamp) -> Vec<Write> {
        let Some(why) =
            self.unpublishable.clone().filter(|why| self.told_unpublishable.as_ref() != Some(why))
        else {
            return Vec::new();
        };
        let behind = events::behind(&self.wanted, self.publisher.last());
        let event = |name: String| {
            let metadata = &self.store.get(&name)?.metadata;
            let generation = metadata.generation.unwrap_or_default();
            let regarding = Regarding { name, uid: metadata.uid.clone() };
            Some(Write::event(events::unpublishable(&regarding, generation, &why, &self.node, now)))
        };
        let writes = behind.into_iter().filter_map(event).collect();
        self.told_unpublishable = Some(why);
        writes
    }

    /// Has the supervisor write down what is refused here.
    fn report(&mut self, object: Option<String>, why: &str) {
        self.to_report.push(Some(Refused { object, reason: shorten(why, MAX_REASON) }));
    }

    /// An Event for each thing that the supervisor reports and that was not told yet.
    fn news(&mut self, now: Timestamp) -> Vec<Write> {
        let view = self.view();
        let mut writes = Vec::new();
        let mut told = self.told_events;
        for event in view.observed.events.iter().filter(|event| event.sequence > self.told_events) {
            told = told.max(event.sequence);
            for name in events::about(event, &view) {
                // Gone by now: there is nobody to tell.
                let Some(object) = self.store.get(&name) else { continue };
                let uid = object.metadata.uid.clone();
                let event = events::from_supervisor(event, &Regarding { name, uid }, &self.node, now);
                writes.extend(event.map(Write::event));
            }
        }
        self.told_events = told;
        writes
    }

    fn read_observed(&mut self) {
        let observed = &self.publisher.tables().observed;
        let revision = observed.revision();
        if revision == self.observed.0 {
            return;
        }
        match observed.read() {
            Ok(document) => self.observed = (revision, document),
            Err(error) => {
                tracing::warn!(%error, "cannot read what the supervisor reports");
                self.metrics.failure(Failure::Observed);
            }
        }
    }

    fn next_write(&mut self) -> Option<BoxFuture<'static, Written>> {
        let client = self.client.clone().filter(|_| self.resume_at.is_none())?;
        Some(write::run(client, self.writes.pop()?))
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Status(name, status) => self.store.wrote(&name, *status),
            Written::Done => {}
            Written::Refused(write, error) => {
                tracing::warn!(error, what = write.kind(), "not written: the API server will not have it");
                self.metrics.failure(Failure::Api);
            }
            Written::Failed(write, error) => {
                tracing::debug!(error, what = write.kind(), "not written; trying again");
                self.metrics.failure(Failure::Api);
                self.writes.failed(write);
                self.resume_at = Some(Instant::now() + RETRY);
            }
        }
    }

    fn resume(&mut self) {
        self.resume_at = None;
        self.tell(false);
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => pending().await,
    }
}

async fn finished(writing: &mut Option<BoxFuture<'static, Written>>) -> Written {
    match writing {
        Some(writing) => writing.await,
        None => pending().await,
    }
}
