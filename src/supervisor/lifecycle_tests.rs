//! Tests of the k3s state machine, each a story told in inputs.

use super::*;
use crate::rules::observed::K3sArg;

fn plan(generation: u64, flag: &str) -> Plan {
    let args = vec![K3sArg { arg: flag.into(), source: format!("object-{generation}") }];
    Plan { generation, args, ..Plan::default() }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn desired(plan: Plan) -> Input {
    Input::Desired { plan, manual: false }
}

fn exited(error: &str) -> Input {
    Input::Exited { error: error.into() }
}

fn fresh() -> Lifecycle {
    let mut life = Lifecycle::new(Timing::default(), plan(1, "--one"), None, None);
    assert_eq!(life.handle(at(0), Input::Begin), [Output::Launch(plan(1, "--one"))]);
    life
}

/// Running, proven with `--one`.
fn settled() -> Lifecycle {
    let mut life = fresh();
    life.handle(at(5), Input::Ready(true));
    assert_eq!(life.handle(at(35), Input::Tick), [Output::Proven(plan(1, "--one"))]);
    life
}

fn reasons(outputs: &[Output]) -> Vec<&str> {
    let reason = |output: &Output| match output {
        Output::Launch(plan) => plan.args[0].arg.clone().leak() as &str,
        Output::Terminate => "terminate",
        Output::Kill => "kill",
        Output::Proven(_) => "proven",
        Output::Report { reason, .. } => reason,
        Output::Stopped => "stopped",
    };
    outputs.iter().map(reason).collect()
}

#[test]
fn settings_are_proven_by_being_ready_without_a_break() {
    let mut life = fresh();
    life.handle(at(5), Input::Ready(true));
    assert_eq!(life.deadline(), Some(at(35)));
    life.handle(at(20), Input::Ready(false));
    assert!(life.handle(at(40), Input::Tick).is_empty());
    life.handle(at(41), Input::Ready(true));
    assert!(life.handle(at(70), Input::Tick).is_empty());
    assert_eq!(reasons(&life.handle(at(71), Input::Tick)), ["proven"]);
    assert!(life.deadline().is_none(), "nothing to wait for");
}

#[test]
fn a_crash_is_followed_by_longer_and_longer_waits_until_k3s_was_ready_for_long() {
    let mut life = settled();
    let mut now = 36;
    for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(reasons(&life.handle(at(now), exited("boom"))), ["K3sRestarted"]);
        assert_eq!((life.phase(), life.deadline()), (Phase::BackingOff, Some(at(now + delay))));
        now += delay;
        assert_eq!(reasons(&life.handle(at(now), Input::Tick)), ["--one"]);
    }
    assert_eq!((life.restarts(), life.last_error()), (8, Some("boom")));
    life.handle(at(now), Input::Ready(true));
    life.handle(at(now + 60), exited("boom"));
    assert_eq!(life.deadline(), Some(at(now + 61)));
}

#[test]
fn changed_settings_restart_k3s_and_the_same_ones_do_not() {
    let mut life = settled();
    assert!(life.handle(at(40), desired(plan(2, "--one"))).is_empty());
    assert_eq!(life.current().args[0].source, "object-2", "the origin is taken over");
    assert_eq!(reasons(&life.handle(at(41), desired(plan(3, "--two")))), ["K3sSettingsChanged", "terminate"]);
    assert_eq!(life.phase(), Phase::Restarting);
    assert_eq!(reasons(&life.handle(at(42), exited("killed"))), ["--two"]);
    life.handle(at(50), Input::Ready(true));
    assert_eq!(reasons(&life.handle(at(80), Input::Tick)), ["proven"]);
}

#[test]
fn settings_with_which_k3s_exits_are_taken_back_and_not_tried_again() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--bad")));
    assert_eq!(reasons(&life.handle(at(41), exited(""))), ["--bad"]);
    let outputs = life.handle(at(42), exited("flag provided but not defined: -bad"));
    assert_eq!(reasons(&outputs), ["K3sSettingsRolledBack", "--one"]);
    let refused = life.refused().unwrap();
    assert_eq!((refused.plan.generation, refused.error.as_str()), (2, "flag provided but not defined: -bad"));
    assert!(life.handle(at(43), desired(plan(3, "--bad"))).is_empty(), "the same flags are not tried again");
    assert!(life.refused().is_some());
    assert_eq!(
        reasons(&life.handle(at(44), desired(plan(4, "--good")))),
        ["K3sSettingsChanged", "terminate"]
    );
    assert!(life.refused().is_none());
}

#[test]
fn taking_a_bad_setting_back_by_hand_clears_the_report_without_a_restart() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--bad")));
    life.handle(at(41), exited(""));
    life.handle(at(42), exited("bad flag"));
    assert!(life.handle(at(43), desired(plan(3, "--one"))).is_empty());
    assert!(life.refused().is_none());
}

#[test]
fn settings_with_which_k3s_hangs_are_taken_back_when_their_time_is_up() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--slow")));
    life.handle(at(41), exited(""));
    assert_eq!(life.deadline(), Some(at(41 + 180)));
    assert_eq!(reasons(&life.handle(at(221), Input::Tick)), ["terminate"]);
    assert_eq!(reasons(&life.handle(at(222), exited("signal 15"))), ["K3sSettingsRolledBack", "--one"]);
    assert_eq!(life.refused().unwrap().error, "not ready within 180 s; signal 15");
}

#[test]
fn settings_that_crash_before_they_are_proven_are_taken_back() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--two")));
    life.handle(at(41), exited(""));
    life.handle(at(45), Input::Ready(true));
    assert_eq!(reasons(&life.handle(at(60), exited("boom"))), ["K3sSettingsRolledBack", "--one"]);
}

#[test]
fn what_was_ready_is_a_way_back_even_before_it_is_proven() {
    let mut life = fresh();
    life.handle(at(5), Input::Ready(true));
    life.handle(at(6), desired(plan(2, "--bad")));
    life.handle(at(7), exited(""));
    assert_eq!(reasons(&life.handle(at(8), exited("bad"))), ["K3sSettingsRolledBack", "--one"]);
}

#[test]
fn a_first_start_that_fails_has_nothing_to_go_back_to() {
    let mut life = fresh();
    assert_eq!(reasons(&life.handle(at(1), exited("boom"))), ["K3sRestarted"]);
    assert_eq!(life.phase(), Phase::BackingOff);
}

#[test]
fn saved_settings_are_the_way_back_from_those_of_the_first_start() {
    let mut life = Lifecycle::new(Timing::default(), plan(1, "--new"), Some(plan(0, "--old")), None);
    life.handle(at(0), Input::Begin);
    assert_eq!(reasons(&life.handle(at(1), exited("boom"))), ["K3sSettingsRolledBack", "--old"]);
}

#[test]
fn manual_settings_wait_for_a_restart() {
    let mut life = settled();
    let manual = |plan| Input::Desired { plan, manual: true };
    assert!(life.handle(at(40), manual(plan(2, "--two"))).is_empty());
    assert_eq!(life.pending(), Some(&plan(2, "--two")));
    assert!(life.handle(at(41), manual(plan(3, "--one"))).is_empty());
    assert_eq!(life.pending(), None, "the object was changed back");
    life.handle(at(42), manual(plan(4, "--two")));
    assert_eq!(reasons(&life.handle(at(43), Input::Restart)), ["terminate"]);
    assert_eq!(reasons(&life.handle(at(44), exited(""))), ["--two"]);
    assert_eq!(life.pending(), None);
}

#[test]
fn a_restart_without_new_settings_uses_the_same_and_ends_a_wait() {
    let mut life = settled();
    assert_eq!(reasons(&life.handle(at(40), Input::Restart)), ["terminate"]);
    assert_eq!(reasons(&life.handle(at(41), exited(""))), ["--one"]);
    life.handle(at(42), exited("boom"));
    assert_eq!(reasons(&life.handle(at(42), Input::Restart)), ["--one"]);
}

#[test]
fn a_k3s_that_does_not_stop_is_killed() {
    let mut life = settled();
    assert_eq!(reasons(&life.handle(at(40), Input::Stop)), ["terminate"]);
    assert_eq!(life.deadline(), Some(at(60)));
    assert_eq!(reasons(&life.handle(at(60), Input::Tick)), ["kill"]);
    assert_eq!(reasons(&life.handle(at(61), exited("signal 9"))), ["stopped"]);
    assert_eq!(life.phase(), Phase::Stopped);
}

#[test]
fn a_stop_during_a_restart_or_a_wait_starts_nothing() {
    let mut life = settled();
    life.handle(at(40), Input::Restart);
    assert!(life.handle(at(41), Input::Stop).is_empty());
    assert_eq!(reasons(&life.handle(at(42), exited(""))), ["stopped"]);
    let mut life = settled();
    life.handle(at(40), exited("boom"));
    assert_eq!(reasons(&life.handle(at(40), Input::Stop)), ["stopped"]);
    assert!(life.handle(at(60), Input::Tick).is_empty());
}

#[test]
fn the_newest_of_several_changes_is_what_k3s_comes_back_with() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--two")));
    life.handle(at(41), desired(plan(3, "--three")));
    assert_eq!(reasons(&life.handle(at(42), exited(""))), ["--three"]);
}

#[test]
fn what_cannot_work_is_refused_once_and_k3s_goes_on() {
    let mut life = settled();
    let impossible = |generation| Input::Impossible { plan: plan(generation, "--two"), why: "EINVAL".into() };
    assert_eq!(reasons(&life.handle(at(40), impossible(2))), ["K3sSettingsRefused"]);
    assert!(life.handle(at(41), impossible(3)).is_empty(), "it is told once");
    assert_eq!((life.phase(), life.current()), (Phase::Ready, &plan(1, "--one")));
    let refused = life.refused().unwrap();
    assert_eq!((refused.plan.generation, refused.tried, refused.error.as_str()), (3, false, "EINVAL"));
    life.handle(at(42), desired(plan(4, "--one")));
    assert_eq!(life.refused(), None);
}

/// Running with `--one`; `--bad` of generation 2 was taken back.
fn taken_back() -> Lifecycle {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--bad")));
    life.handle(at(41), exited(""));
    assert_eq!(reasons(&life.handle(at(42), exited("bad"))), ["K3sSettingsRolledBack", "--one"]);
    life
}

#[test]
fn a_refusal_is_one_of_the_latest_table_that_asks_for_the_same() {
    let mut life = taken_back();
    life.handle(at(45), Input::Ready(true));
    for manual in [true, false] {
        let again = Input::Desired { plan: plan(5, "--bad"), manual };
        assert!(life.handle(at(50), again).is_empty(), "it is not tried again");
        assert_eq!(life.refused().unwrap().plan, plan(5, "--bad"));
        assert_eq!(life.pending(), None);
    }
}

#[test]
fn the_refusal_of_what_is_being_abandoned_is_one_of_the_latest_table_too() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--slow")));
    life.handle(at(41), exited(""));
    assert_eq!(reasons(&life.handle(at(221), Input::Tick)), ["terminate"]);
    assert!(life.handle(at(222), desired(plan(3, "--slow"))).is_empty());
    assert_eq!(reasons(&life.handle(at(223), exited("signal 15"))), ["K3sSettingsRolledBack", "--one"]);
    assert_eq!(life.refused().unwrap().plan.generation, 3);
}

#[test]
fn what_has_failed_once_and_is_proven_now_is_refused_no_more() {
    let refused = Refused { plan: plan(1, "--new"), error: "no memory".into(), tried: true };
    let mut life = Lifecycle::new(Timing::default(), plan(1, "--new"), Some(plan(0, "--old")), Some(refused));
    life.handle(at(0), desired(plan(1, "--new")));
    assert_eq!(reasons(&life.handle(at(0), Input::Begin)), ["--new"]);
    assert!(life.handle(at(1), desired(plan(2, "--new"))).is_empty());
    assert_eq!(life.current().generation, 2, "it is known whose it is");
    life.handle(at(5), Input::Ready(true));
    assert!(life.refused().is_some(), "on trial");
    assert_eq!(reasons(&life.handle(at(35), Input::Tick)), ["proven"]);
    assert_eq!(life.refused(), None);
}

#[test]
fn what_was_taken_back_stays_refused_when_something_else_is_proven() {
    let mut life = taken_back();
    life.handle(at(45), Input::Ready(true));
    life.handle(at(100), Input::Tick);
    assert_eq!(life.refused().unwrap().plan, plan(2, "--bad"));
}

#[test]
fn settings_that_waited_end_the_refusal_of_former_ones() {
    let mut life = settled();
    life.handle(at(40), desired(plan(2, "--bad")));
    life.handle(at(41), exited(""));
    life.handle(at(42), Input::Desired { plan: plan(3, "--good"), manual: true });
    assert_eq!(reasons(&life.handle(at(43), exited("bad"))), ["K3sSettingsRolledBack", "--one"]);
    assert_eq!((life.refused().unwrap().plan.generation, life.pending().unwrap().generation), (2, 3));
    life.handle(at(50), Input::Ready(true));
    life.handle(at(51), Input::Restart);
    assert_eq!((life.refused(), life.pending(), life.next().unwrap().generation), (None, None, 3));
}

#[test]
fn what_was_not_at_fault_is_tried_again() {
    let mut life = settled();
    life.handle(at(40), desired(plan(7, "--seven")));
    life.handle(at(41), exited("asked to"));
    assert_eq!(reasons(&life.handle(at(42), exited("a rule"))), ["K3sSettingsRolledBack", "--one"]);
    assert!(life.refused().is_some());
    life.handle(at(44), Input::Acquit);
    assert!(life.refused().is_none());
    assert_eq!(
        reasons(&life.handle(at(45), desired(plan(8, "--seven")))),
        ["K3sSettingsChanged", "terminate"]
    );
    assert!(!life.stays(at(46)));
}
