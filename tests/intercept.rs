//! The interceptor on Linux: guests that cannot tell that they are traced, and guests that get the right answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::answers;
use common::transparent::{CASES, all_that_differ};

#[test]
fn guests_behave_the_same_with_and_without() {
    if !common::needs_root("guests_behave_the_same_with_and_without") {
        return;
    }
    let different = all_that_differ(None);
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        CASES.len(),
        different.join("\n\n")
    );
}

#[test]
fn rules_are_answered_right() {
    if !common::needs_root("rules_are_answered_right") {
        return;
    }
    let failed = answers::all_that_fail(false);
    assert!(
        failed.is_empty(),
        "{} of {} failed:\n{}",
        failed.len(),
        answers::CASES.len(),
        failed.join("\n\n")
    );
}
