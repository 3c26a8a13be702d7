//! The observed table: what the supervisor reports. A document of state, published like the desired one, and beside it
//! plain counters that the tracer bumps without a lock.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::bounds::MAX_RULES;
use super::slots::Slots;
use super::table::TableError;
use crate::sys::shared::{SharedMapping, sealed_memfd};

const SLOT_CAPACITY: usize = 8 << 20;
const MAX_SYSCALLS: usize = 64;
const WORD: usize = 8;
const SCALARS_AT: usize = Slots::size(SLOT_CAPACITY);
const SYSCALLS_AT: usize = SCALARS_AT + Scalar::COUNT * WORD;
const RULES_AT: usize = SYSCALLS_AT + MAX_SYSCALLS * WORD;
const TRACE_AT: usize = RULES_AT + MAX_RULES * WORD;
const TRACE_ENTRIES: usize = 1024;
const TRACE_ENTRY: usize = 4 * WORD;
const SIZE: usize = TRACE_AT + TRACE_ENTRIES * TRACE_ENTRY;

/// Single counters and gauges, in the order of their place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Scalar {
    /// Generation of the desired table in force.
    Applied,
    /// Generation last taken or refused: its writer may go on.
    Acknowledged,
    /// Seccomp stops served.
    Stops,
    /// Of those, calls whose exit had to be awaited too.
    ExitStops,
    /// Threads traced now.
    Tracees,
    /// Handlers that panicked and were answered by letting the call run unchanged.
    Panics,
    /// Entries written to the trace ring so far.
    Traced,
}

impl Scalar {
    const COUNT: usize = 16;
}

/// One rule hit, from the bounded trace ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Thread that made the call.
    pub tid: u32,
    /// Index into the interceptor's syscall table.
    pub syscall: u32,
    /// Counter slot of the rule.
    pub slot: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// State that changes rarely; rewritten whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservedDocument {
    /// Pid of the supervisor.
    pub supervisor: u32,
    /// `control-plane` or `node`.
    pub mode: String,
    /// Generation last seen in the desired table.
    pub published: u64,
    /// Generation in force.
    pub applied: u64,
    /// Why a later generation was refused.
    pub refused: Option<RefusedTable>,
    /// Rules in force, in order of precedence.
    pub rules: Vec<ObservedRule>,
    /// k3s.
    pub k3s: K3sState,
    /// The interceptor.
    pub interceptor: InterceptorState,
    /// The controller process.
    pub controller: ControllerState,
    /// What was done about what a node lacks here.
    pub remedies: Vec<ObservedRemedy>,
    /// On a node: whether the limits of pods are enforced.
    pub limits: Vec<ObservedLimit>,
    /// Restarts, rollbacks and refusals, newest last, at most 64.
    pub events: Vec<SupervisorEvent>,
}

/// What became of a remedy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedRemedy {
    /// As in `spec.remedies.disabled`.
    pub name: String,
    /// `Applied`, `NotNeeded`, `Waiting`, `Off` or `Failed`.
    pub state: String,
    /// What was done, or why not.
    pub detail: String,
}

/// Whether a limit of pods is enforced, as it was found by exceeding it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedLimit {
    /// `memory`, `cpu` or `pids`.
    pub controller: String,
    /// `Yes`, `No` or `Unknown`.
    pub enforced: String,
    /// What was seen.
    pub detail: String,
}

/// A generation that was not taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RefusedTable {
    pub generation: u64,
    pub reason: String,
}

/// A rule in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedRule {
    /// SandboxConfig that it came from.
    pub source: String,
    /// `File`, `Redirect` or `Filesystem`.
    pub kind: String,
    /// Path or glob.
    pub pattern: String,
    /// `trace`, `mount`, or `none` for a rule that is not served.
    pub means: String,
    /// Why it is not served.
    #[serde(default)]
    pub reason: Option<String>,
    /// Where its hit counter is; kept over generations as long as the rule stands.
    pub slot: usize,
}

/// What k3s is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct K3sState {
    /// `Starting`, `Ready`, `Restarting`, `BackingOff`, `Stopping` or `Stopped`.
    pub phase: String,
    /// Pid, while running.
    pub pid: Option<u32>,
    /// As `k3s --version` says.
    pub version: String,
    /// The whole command line, each argument with where it came from.
    pub args: Vec<K3sArg>,
    /// Starts after the first.
    pub restarts: u64,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// What the node says that it lacks, while the API server is ready already.
    pub waiting_for: Option<String>,
    /// The snapshotter of its containers; nothing without a node, or where it is left to k3s.
    pub snapshotter: Option<ObservedSnapshotter>,
    /// How it last ended, with its own error.
    pub last_error: Option<String>,
    /// k3s was not started with the rules in force before, or did not stay ready: if it ends again and again, earlier ones come back.
    pub rules_on_trial: bool,
    /// What k3s is being restarted for.
    pub coming: Vec<StartPart>,
    /// Settings that wait for `sandbar restart` (restartPolicy Manual).
    pub restart_pending: Option<String>,
    /// Settings that were taken back because k3s did not become and stay ready with them, or that cannot work here.
    pub rolled_back: Option<RolledBack>,
}

/// Origin of the user's flags after `sandbar up --`.
pub const COMMAND_LINE: &str = "command line";

/// One k3s argument and its origin: `sandbar`, [`COMMAND_LINE`] or a SandboxConfig's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct K3sArg {
    pub arg: String,
    pub source: String,
}

/// A snapshotter and how it came to be this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedSnapshotter {
    /// As in `--snapshotter`.
    pub name: String,
    /// Who has asked for it, or why sandbar has chosen it.
    pub why: String,
    /// What containers lack with it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// A part of how k3s is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartPart {
    /// A flag with its value, or what else it is, in words.
    pub what: String,
    /// Who brought it, as in [`K3sArg`]; nobody, where something is left out.
    pub source: Option<String>,
}

/// Settings that were taken back, or not even tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// Generation that brought them.
    pub generation: u64,
    /// The flags.
    pub args: Vec<String>,
    /// What of them k3s does not run with now.
    #[serde(default)]
    pub parts: Vec<StartPart>,
    /// k3s's own error; what the kernel lacks, if k3s was not even started with them.
    pub error: String,
    /// Whether it was.
    pub tried: bool,
}

/// Who runs under the interceptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Traced {
    /// k3s, all that it starts, and what `sandbar exec` starts.
    #[default]
    Everything,
    /// What `sandbar exec` starts; k3s sees what mounts can serve.
    Commands,
    /// Nobody: what mounts cannot serve is not served.
    Nothing,
}

/// How calls are intercepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InterceptorState {
    /// `seccomp-trace`, or `ptrace-syscall` for the comparison mode; empty while nothing is traced.
    pub backend: String,
    /// Who is traced.
    pub traced: Traced,
    /// `exit` (Linux ≥ 4.8) or `entry-exit` (gVisor): what follows a seccomp stop.
    pub stop_order: String,
    /// `process_vm` or `proc_mem`.
    pub memory_access: String,
    /// Names of the trapped syscalls; the order is that of the counters.
    pub trapped: Vec<String>,
}

/// The controller process as the supervisor sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ControllerState {
    pub pid: Option<u32>,
    pub restarts: u64,
    /// It has said that definition and built-in profile are applied.
    #[serde(default)]
    pub ready: bool,
    /// Why the table that it wants cannot even be published.
    #[serde(default)]
    pub unpublishable: Option<String>,
}

/// Something that people should hear of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SupervisorEvent {
    /// Rises by one per event.
    pub sequence: u64,
    /// RFC 3339.
    pub at: String,
    /// CamelCase, as in a Kubernetes Event.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The SandboxConfigs that it is about, if it is about some more than about others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// Makes the memory file of an observed table.
pub fn create_observed() -> Result<OwnedFd, TableError> {
    let fd = sealed_memfd("sandbar-observed", SIZE)?;
    Slots::create(Arc::new(SharedMapping::new(&fd, SIZE, true)?), SLOT_CAPACITY);
    Ok(fd)
}

/// The observed table. Opened writable by the supervisor alone; shared by its threads.
#[derive(Clone, Debug)]
pub struct Observed {
    mapping: Arc<SharedMapping>,
    slots: Slots,
}

impl Observed {
    /// Maps `fd`, for writing or for reading.
    pub fn open(fd: &impl AsFd, writable: bool) -> Result<Self, TableError> {
        let mapping = Arc::new(SharedMapping::new(fd, SIZE, writable)?);
        let slots = Slots::open(mapping.clone(), SLOT_CAPACITY)?;
        Ok(Self { mapping, slots })
    }

    /// Publishes the state. One writer.
    pub fn publish(&self, document: &ObservedDocument) -> Result<(), TableError> {
        let payload = serde_json::to_vec(document)?;
        Ok(self.slots.publish(self.slots.generation() + 1, &payload)?)
    }

    /// Number of the state last published; changes when the state does.
    pub fn revision(&self) -> u64 {
        self.slots.generation()
    }

    /// The state last published.
    pub fn read(&self) -> Result<ObservedDocument, TableError> {
        let (_, payload) = self.slots.read()?;
        Ok(serde_json::from_slice(&payload)?)
    }

    /// A single counter or gauge.
    pub fn scalar(&self, scalar: Scalar) -> u64 {
        self.mapping.load(SCALARS_AT + scalar as usize * WORD, Ordering::Acquire)
    }

    /// Sets a gauge.
    pub fn set(&self, scalar: Scalar, value: u64) {
        self.mapping.store(SCALARS_AT + scalar as usize * WORD, value, Ordering::Release);
    }

    /// Adds one to a counter.
    pub fn bump(&self, scalar: Scalar) {
        self.mapping.add(SCALARS_AT + scalar as usize * WORD, 1);
    }

    /// Counts a stop of the trapped syscall with this index.
    pub fn bump_syscall(&self, index: usize) {
        if index < MAX_SYSCALLS {
            self.mapping.add(SYSCALLS_AT + index * WORD, 1);
        }
    }

    /// Stops of the trapped syscall with this index.
    pub fn syscall(&self, index: usize) -> u64 {
        if index < MAX_SYSCALLS {
            self.mapping.load(SYSCALLS_AT + index * WORD, Ordering::Relaxed)
        } else {
            0
        }
    }

    /// Hits of the rule in this counter slot.
    pub fn hits(&self, slot: usize) -> u64 {
        if slot < MAX_RULES { self.mapping.load(RULES_AT + slot * WORD, Ordering::Relaxed) } else { 0 }
    }

    /// Sets a rule's counter to zero, for a slot that is given to another rule.
    pub fn reset_hits(&self, slot: usize) {
        if slot < MAX_RULES {
            self.mapping.store(RULES_AT + slot * WORD, 0, Ordering::Relaxed);
        }
    }

    /// Counts a hit and puts it into the trace ring. Called by the tracer thread alone.
    pub fn hit(&self, hit: Hit) {
        let slot = usize::try_from(hit.slot).unwrap_or(usize::MAX);
        if slot < MAX_RULES {
            self.mapping.add(RULES_AT + slot * WORD, 1);
        }
        let sequence = self.scalar(Scalar::Traced);
        let at = trace_at(sequence);
        // The stamp is invalid while the entry changes, so that a reader never takes a mixed one.
        self.mapping.store(at + 3 * WORD, u64::MAX, Ordering::SeqCst);
        self.mapping.store(at, u64::from(hit.tid) << 32 | u64::from(hit.syscall), Ordering::Relaxed);
        self.mapping.store(at + WORD, hit.slot, Ordering::Relaxed);
        self.mapping.store(at + 2 * WORD, hit.at_ms, Ordering::Relaxed);
        self.mapping.store(at + 3 * WORD, sequence, Ordering::Release);
        self.set(Scalar::Traced, sequence + 1);
    }

    /// The hits from `from` on that are still in the ring, and where to go on. What was overwritten is left out.
    pub fn hits_since(&self, from: u64) -> (Vec<Hit>, u64) {
        let end = self.scalar(Scalar::Traced);
        let start = from.max(end.saturating_sub(TRACE_ENTRIES as u64));
        let hits = (start..end).filter_map(|sequence| self.trace_entry(sequence)).collect();
        (hits, end)
    }

    fn trace_entry(&self, sequence: u64) -> Option<Hit> {
        let at = trace_at(sequence);
        let stamp = || self.mapping.load(at + 3 * WORD, Ordering::Acquire);
        if stamp() != sequence {
            return None;
        }
        let [who, slot, at_ms] = [0, 1, 2].map(|word| self.mapping.load(at + word * WORD, Ordering::Relaxed));
        let hit = Hit { tid: (who >> 32) as u32, syscall: who as u32, slot, at_ms };
        (stamp() == sequence).then_some(hit)
    }
}

fn trace_at(sequence: u64) -> usize {
    TRACE_AT + (sequence % TRACE_ENTRIES as u64) as usize * TRACE_ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_counters_are_seen_by_a_read_only_reader() {
        let fd = create_observed().unwrap();
        let writer = Observed::open(&fd, true).unwrap();
        let reader = Observed::open(&crate::sys::shared::read_only(&fd).unwrap(), false).unwrap();
        let document = ObservedDocument { supervisor: 7, applied: 3, ..Default::default() };
        writer.publish(&document).unwrap();
        writer.set(Scalar::Applied, 3);
        writer.hit(Hit { tid: 1, syscall: 2, slot: 5, at_ms: 9 });
        assert_eq!(reader.read().unwrap(), document);
        assert_eq!((reader.scalar(Scalar::Applied), reader.hits(5)), (3, 1));
        assert_eq!(reader.hits_since(0), (vec![Hit { tid: 1, syscall: 2, slot: 5, at_ms: 9 }], 1));
    }

    #[test]
    fn a_follower_that_falls_behind_gets_the_newest_and_never_a_mixed_entry() {
        let writer = Observed::open(&create_observed().unwrap(), true).unwrap();
        let total = TRACE_ENTRIES as u64 * 2 + 3;
        for tid in 0..total {
            writer.hit(Hit { tid: tid as u32, syscall: 0, slot: 0, at_ms: tid });
        }
        let (hits, next) = writer.hits_since(0);
        assert_eq!((hits.len(), next), (TRACE_ENTRIES, total));
        assert_eq!(hits[0].at_ms, total - TRACE_ENTRIES as u64);
    }
}
