//! The figures of a run, as Markdown on stderr and as JSON on stdout.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::Effect;
use crate::stats::{Summary, ratios, summarise};
use crate::variant::Variant::{self, Everything, Mount, Plain, Sandbar, Trace};

/// Per measure and variant, one figure a round.
#[derive(Default)]
pub struct Rounds(BTreeMap<(String, &'static str), Vec<f64>>);

/// What is set in relation, and to what.
const RATIOS: [(Variant, Variant); 6] = [
    (Sandbar, Plain),
    (Mount, Plain),
    (Trace, Plain),
    (Trace, Mount),
    (Everything, Sandbar),
    (Everything, Trace),
];

impl Rounds {
    pub fn record(&mut self, measure: String, variant: Variant, figure: f64) {
        self.0.entry((measure, variant.name())).or_default().push(figure);
    }

    fn of(&self, measure: &str, variant: Variant) -> Option<&Vec<f64>> {
        self.0.get(&(measure.to_owned(), variant.name()))
    }

    fn measures(&self) -> BTreeSet<&str> {
        self.0.keys().map(|(measure, _)| measure.as_str()).collect()
    }

    /// The variants and ratios of which there are figures.
    fn columns(&self) -> (Vec<Variant>, Vec<(Variant, Variant)>) {
        let there = |variant: &Variant| self.0.keys().any(|(_, name)| *name == variant.name());
        let variants = Variant::ALL.into_iter().filter(there).collect();
        let pairs = RATIOS.into_iter().filter(|(of, to)| there(of) && there(to)).collect();
        (variants, pairs)
    }

    fn ratio(&self, measure: &str, (of, to): (Variant, Variant)) -> Option<Summary> {
        Some(ratios(self.of(measure, of)?, self.of(measure, to)?))
    }

    fn print(&self) {
        if self.0.is_empty() {
            return;
        }
        let (variants, pairs) = self.columns();
        let mut head = vec!["measure".to_owned()];
        head.extend(variants.iter().map(|variant| format!("{} (spread)", variant.name())));
        head.extend(pairs.iter().map(|(of, to)| format!("{} / {} (95 %)", of.name(), to.name())));
        eprintln!("\n| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
        for measure in self.measures() {
            let figure = |variant| self.of(measure, variant).map(|values| spread(&summarise(values)));
            let mut row: Vec<String> = vec![measure.to_owned()];
            row.extend(variants.iter().map(|variant| figure(*variant).unwrap_or_default()));
            row.extend(
                pairs
                    .iter()
                    .map(|pair| self.ratio(measure, *pair).as_ref().map(interval).unwrap_or_default()),
            );
            eprintln!("| {} |", row.join(" | "));
        }
    }

    fn json(&self) -> Vec<serde_json::Value> {
        let (variants, pairs) = self.columns();
        let measure = |measure: &str| {
            let figures: BTreeMap<_, _> = variants
                .iter()
                .filter_map(|variant| Some((variant.name(), summarise(self.of(measure, *variant)?))))
                .collect();
            let ratios: BTreeMap<_, _> = pairs
                .iter()
                .filter_map(|pair| {
                    Some((format!("{}/{}", pair.0.name(), pair.1.name()), self.ratio(measure, *pair)?))
                })
                .collect();
            serde_json::json!({"measure": measure, "variants": figures, "ratios": ratios})
        };
        self.measures().into_iter().map(measure).collect()
    }
}

/// Prints all of it.
pub fn print(general: &Rounds, pods: &Rounds, lookups: &[(usize, f64)], effect: Option<&Effect>) {
    general.print();
    pods.print();
    let (variants, _) = pods.columns();
    if !variants.is_empty() && !variants.contains(&Plain) {
        eprintln!(
            "\nWithout sandbar no node comes up here: what it costs to trace is told against mount, where nothing is traced."
        );
    }
    eprintln!("\n| rules | ns per lookup |\n|---|---|");
    lookups.iter().for_each(|(count, time)| eprintln!("| {count} | {time:.0} |"));
    if let Some(Effect { apply, seen }) = effect {
        eprintln!("\n| from the start of `kubectl apply` | ms (95 %) | least to most |\n|---|---|---|");
        for (what, figure) in [("kubectl has ended", apply), ("a running process reads the new value", seen)]
        {
            eprintln!("| {what} | {} | {:.0} to {:.0} |", interval(figure), figure.minimum, figure.maximum);
        }
    }
    let document = serde_json::json!({
        "measures": general.json(), "pods": pods.json(), "lookup": lookups, "applyToEffect": effect,
    });
    println!("{document}");
}

fn spread(summary: &Summary) -> String {
    format!("{:.3} ({:.3} to {:.3})", summary.median, summary.minimum, summary.maximum)
}

fn interval(summary: &Summary) -> String {
    format!("{:.2} ({:.2} to {:.2})", summary.median, summary.low95, summary.high95)
}
