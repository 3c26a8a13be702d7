//! The interceptor on Linux: guests that cannot tell that they are traced, and guests that get the right answers.

mod common;

use common::transparent::{CASES, differs};

#[test]
fn guests_behave_the_same_with_and_without() {
    if !common::needs_root("guests_behave_the_same_with_and_without") {
        return;
    }
    let different: Vec<String> = CASES
        .iter()
        .filter_map(|case| {
            let start = std::time::Instant::now();
            let found = differs(case);
            println!("{:5} ms  {} {:?}", start.elapsed().as_millis(), case.guest, case.args);
            found
        })
        .collect();
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        CASES.len(),
        different.join("\n\n")
    );
}
