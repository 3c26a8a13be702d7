//! Tests of the trial of rules, each a story of starts and ends.

use super::*;
use crate::rules::model::{Access, Remedy};

fn table(paths: &[&str]) -> DesiredDocument {
    let rule = |path: &&str| Rule {
        source: "mine".into(),
        action: Action::File { path: (*path).to_owned(), value: "1".into(), access: Access::ReadOnly },
    };
    DesiredDocument { rules: paths.iter().map(rule).collect(), ..Default::default() }
}

fn start(trial: &mut RulesTrial, document: &DesiredDocument) {
    trial.started(Table { generation: 7, document: document.clone() });
}

fn stay(trial: &mut RulesTrial, document: &DesiredDocument) -> bool {
    start(trial, document);
    trial.ready(document);
    trial.stayed()
}

fn ends(trial: &mut RulesTrial, document: &DesiredDocument) -> Verdict {
    start(trial, document);
    trial.ended(document, "exit status 1")
}

fn back(document: &DesiredDocument) -> Verdict {
    Verdict::ComeBack(Box::new(Table { generation: 7, document: document.clone() }))
}

#[test]
fn the_last_rules_that_it_stayed_ready_with_come_back_after_three_ends_in_a_row() {
    let [builtin, good, bad] =
        [&["/proc/a"][..], &["/proc/a", "/proc/b"], &["/proc/a", "/proc/c"]].map(table);
    let mut trial = RulesTrial::new(builtin, None);
    assert!(stay(&mut trial, &good) && !trial.stayed(), "new, and then no more");
    assert_eq!([1, 2].map(|_| ends(&mut trial, &bad)), [Verdict::None, Verdict::None]);
    assert_eq!(trial.refusal(&bad), None);
    assert_eq!(ends(&mut trial, &bad), back(&good));
    let (why, sources) = trial.refusal(&bad).unwrap();
    assert!(
        why.contains("3 times") && why.contains("(/proc/c of mine)") && why.contains("exit status 1"),
        "{why}"
    );
    assert_eq!(sources, ["mine"]);
    assert_eq!(trial.refusal(&good), None);
    let other = DesiredDocument { remedies_off: Remedy::ALL.to_vec(), ..bad.clone() };
    assert!(trial.refusal(&other).is_some(), "the same rules, whatever else has changed");
    let saved = serde_json::to_string(trial.distrusted().unwrap()).unwrap();
    assert!(trial.forgive() && !trial.forgive());
    assert_eq!(trial.refusal(&bad), None);
    let mut next = RulesTrial::new(good.clone(), serde_json::from_str(&saved).unwrap());
    assert!(next.refusal(&bad).is_some(), "the next supervisor knows");
    assert!(
        [1, 2, 3].map(|_| ends(&mut next, &good)).iter().all(|one| *one == Verdict::None),
        "and does not try"
    );
}

#[test]
fn rules_without_which_it_ends_just_so_are_tried_again_and_not_judged_again() {
    let [builtin, other] = [&["/proc/a"][..], &["/proc/b"]].map(table);
    let mut trial = RulesTrial::new(builtin.clone(), None);
    let verdicts = |trial: &mut RulesTrial, document| [1, 2, 3].map(|_| ends(trial, document));
    assert_eq!(
        verdicts(&mut trial, &other)[2],
        Verdict::ComeBack(Box::new(Table { generation: 0, document: builtin.clone() }))
    );
    assert_eq!(verdicts(&mut trial, &builtin), [Verdict::None, Verdict::None, Verdict::TryAgain]);
    assert_eq!(trial.refusal(&other), None);
    assert_eq!(verdicts(&mut trial, &other), [Verdict::None, Verdict::None, Verdict::None]);
    assert!(!trial.is_on(&other) && !trial.is_on(&builtin));
    assert!(!trial.forgive() && trial.is_on(&other), "until somebody asks");
    // What is wrong with the machine is over; another day it is the rules.
    stay(&mut trial, &builtin);
    assert_eq!(verdicts(&mut trial, &other)[2], back(&builtin));
    assert!(!stay(&mut trial, &builtin));
    assert_eq!(verdicts(&mut trial, &builtin), [Verdict::None, Verdict::None, Verdict::None], "convicted");
    assert!(trial.refusal(&other).is_some());
}

#[test]
fn only_ends_in_a_row_and_with_the_same_rules_count() {
    let [builtin, one, other] = [&["/proc/a"][..], &["/proc/b"], &["/proc/c"]].map(table);
    let mut trial = RulesTrial::new(builtin.clone(), None);
    for document in [&one, &one, &other, &other, &one, &one] {
        assert_eq!(ends(&mut trial, document), Verdict::None);
    }
    assert!(stay(&mut trial, &one));
    assert_eq!([1, 2, 3].map(|_| ends(&mut trial, &one)), [Verdict::None, Verdict::None, Verdict::None]);
    // Corrected while it was starting.
    start(&mut trial, &other);
    assert!([1, 2, 3, 4].map(|_| trial.ended(&builtin, "")).iter().all(|one| *one == Verdict::None));
    let settings = DesiredDocument { remedies_off: Remedy::ALL.to_vec(), ..one };
    let verdicts = [1, 2, 3].map(|_| ends(&mut trial, &settings));
    assert!(verdicts.iter().all(|one| *one == Verdict::None), "settings have a trial of their own");
}

#[test]
fn good_are_rules_that_it_was_started_with_and_became_ready_with() {
    let [builtin, one, other] = [&["/proc/a"][..], &["/proc/b"], &["/proc/c"]].map(table);
    let mut trial = RulesTrial::new(builtin.clone(), None);
    start(&mut trial, &one);
    trial.ready(&other);
    assert!(!trial.stayed(), "it is the others that made it ready");
    assert_eq!(trial.good_rules(), builtin.rules);
    start(&mut trial, &one);
    assert!(!trial.stayed(), "it was not ready");
    trial.ready(&one);
    assert!(trial.stayed());
    assert_eq!(trial.good_rules(), one.rules);
}

#[test]
fn settings_are_innocent_only_of_ends_that_rules_are_blamed_for() {
    let [builtin, bad] = [&["/proc/a"][..], &["/proc/b"]].map(table);
    let mut trial = RulesTrial::new(builtin.clone(), None);
    trial.settings_were_refused();
    assert!(!trial.settings_are_innocent(), "that was before");
    ends(&mut trial, &bad);
    trial.settings_were_refused();
    ends(&mut trial, &bad);
    ends(&mut trial, &bad);
    assert!(trial.settings_are_innocent() && !trial.settings_are_innocent());
    ends(&mut trial, &bad);
    trial.settings_were_refused();
    stay(&mut trial, &builtin);
    assert!(!trial.settings_are_innocent(), "other rules, another story");
}

#[test]
fn what_is_new_is_named_and_the_list_is_short() {
    let rules = |paths: &[&str]| table(paths).rules;
    let before = rules(&["/proc/a", "/proc/b"]);
    for (now, said) in [
        (rules(&["/proc/a", "/proc/b", "/proc/c"]), "/proc/c of mine"),
        (rules(&["/proc/a"]), "without /proc/b of mine"),
        (rules(&["/proc/b", "/proc/a"]), "in another order"),
        (
            rules(&["/proc/1", "/proc/2", "/proc/3", "/proc/4", "/proc/5"]),
            "/proc/1 of mine, /proc/2 of mine, /proc/3 of mine and 2 more",
        ),
    ] {
        assert_eq!(news(&before, &now).0, said);
    }
}
