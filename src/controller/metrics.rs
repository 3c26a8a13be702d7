//! Prometheus metrics: what the controller did, and what the supervisor's tables hold at the moment of the scrape.
//! Labels come from small fixed sets, never from paths or names of objects.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::http::Health;
use crate::rules::observed::{Observed, ObservedDocument, Scalar};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a reconcile failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)]
pub enum Failure {
    Refused,
    Observed,
    Api,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabel {
    error: Failure,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs: Counter,
    failures: Family<FailureLabel, Counter>,
    duration: Histogram,
}

/// One reconcile; it is counted and timed when this is dropped.
#[derive(Debug)]
pub struct Run {
    metrics: Arc<Metrics>,
    since: Instant,
}

impl Metrics {
    /// Metrics over the supervisor's table and the controller's own state.
    pub fn new(observed: Observed, health: Arc<Health>) -> Self {
        let mut registry = Registry::with_prefix("sandbar");
        let (runs, failures) = (Counter::default(), Family::default());
        let duration = Histogram::new([0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0]);
        let reconcile = registry.sub_registry_with_prefix("reconcile");
        reconcile.register("runs", "Reconciles", runs.clone());
        reconcile.register("failures", "Reconciles, reads and writes that failed", failures.clone());
        reconcile.register_with_unit("duration", "Time of a reconcile", Unit::Seconds, duration.clone());
        registry.register_collector(Box::new(Tables { observed, health }));
        Self { registry, runs, failures, duration }
    }

    /// Begins a reconcile.
    pub fn run(self: &Arc<Self>) -> Run {
        Run { metrics: self.clone(), since: Instant::now() }
    }

    /// Counts a failure outside of a reconcile.
    pub fn failure(&self, error: Failure) {
        self.failures.get_or_create(&FailureLabel { error }).inc();
    }

    /// The text of a scrape.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Run {
    /// Counts it as failed.
    pub fn failed(&self, error: Failure) {
        self.metrics.failure(error);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.metrics.runs.inc();
        self.metrics.duration.observe(self.since.elapsed().as_secs_f64());
    }
}

/// Reads the tables when asked.
#[derive(Debug)]
struct Tables {
    observed: Observed,
    health: Arc<Health>,
}

impl Collector for Tables {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.observed.read().unwrap_or_default();
        let scalar = |scalar| self.observed.scalar(scalar);
        let (published, wanted) = self.health.published();
        gauge(
            &mut encoder,
            "table_generation_published",
            "Generation of the rule table last published",
            published,
        )?;
        gauge(
            &mut encoder,
            "table_generation_applied",
            "Generation of the rule table in force",
            scalar(Scalar::Applied),
        )?;
        gauge(&mut encoder, "table_rules", "Rules wanted", wanted)?;
        gauge(&mut encoder, "intercept_tracees", "Threads traced", scalar(Scalar::Tracees))?;
        counter(&mut encoder, "intercept_stops", "Stops served", scalar(Scalar::Stops))?;
        counter(
            &mut encoder,
            "intercept_exit_stops",
            "Stops at which the exit was awaited too",
            scalar(Scalar::ExitStops),
        )?;
        counter(&mut encoder, "intercept_panics", "Handlers that panicked", scalar(Scalar::Panics))?;
        counter(&mut encoder, "k3s_restarts", "Starts of k3s after the first", state.k3s.restarts)?;
        gauge(&mut encoder, "k3s_ready", "Whether k3s is ready", u64::from(state.k3s.phase == "Ready"))?;
        self.syscalls(&mut encoder, &state)?;
        self.hits(&mut encoder, &state)
    }
}

impl Tables {
    fn syscalls(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        state: &ObservedDocument,
    ) -> Result<(), fmt::Error> {
        let counts = state.interceptor.trapped.iter().enumerate();
        let counts = counts.map(|(index, name)| (name.clone(), self.observed.syscall(index)));
        family(encoder, "intercept_syscalls", "Stops by syscall", "syscall", counts)
    }

    fn hits(&self, encoder: &mut DescriptorEncoder<'_>, state: &ObservedDocument) -> Result<(), fmt::Error> {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for rule in &state.rules {
            *kinds.entry(rule.kind.clone()).or_default() += self.observed.hits(rule.slot);
        }
        family(
            encoder,
            "table_hits",
            "Uses of the rules in force, by kind of rule",
            "kind",
            kinds.into_iter(),
        )
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, ConstCounter::<u64>::TYPE)?)
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl Iterator<Item = (String, u64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        let labels = [(label, value)];
        ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::observed::{InterceptorState, K3sState, ObservedRule, create_observed};

    #[test]
    fn a_scrape_shows_the_tables_and_ends_as_openmetrics_does() {
        let observed = Observed::open(&create_observed().unwrap(), true).unwrap();
        let rule = |kind: &str, slot| ObservedRule { kind: kind.into(), slot, ..Default::default() };
        let state = ObservedDocument {
            rules: vec![rule("File", 0), rule("File", 1), rule("Redirect", 2)],
            k3s: K3sState { restarts: 2, phase: "Ready".into(), ..Default::default() },
            interceptor: InterceptorState {
                trapped: vec!["openat".into(), "statx".into()],
                ..Default::default()
            },
            ..Default::default()
        };
        observed.publish(&state).unwrap();
        observed.bump(Scalar::Stops);
        observed.bump_syscall(1);
        for slot in 0..2 {
            observed.hit(crate::rules::observed::Hit { tid: 1, syscall: 1, slot, at_ms: 0 });
        }
        let metrics = Arc::new(Metrics::new(observed.clone(), Arc::new(Health::new(observed))));
        drop(metrics.run());
        metrics.failure(Failure::Api);
        let text = metrics.encode().unwrap();
        for line in [
            "sandbar_reconcile_runs_total 1",
            "sandbar_reconcile_failures_total{error=\"Api\"} 1",
            "sandbar_reconcile_duration_seconds_count 1",
            "sandbar_intercept_stops_total 1",
            "sandbar_intercept_syscalls_total{syscall=\"statx\"} 1",
            "sandbar_table_hits_total{kind=\"File\"} 2",
            "sandbar_k3s_restarts_total 2",
            "sandbar_k3s_ready 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
