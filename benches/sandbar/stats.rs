//! Paired statistics: the median of per-round ratios and its 95 % interval by bootstrap.

/// A median with the spread of what it was taken from.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Summary {
    pub median: f64,
    pub minimum: f64,
    pub maximum: f64,
    pub low95: f64,
    pub high95: f64,
    pub rounds: usize,
}

const RESAMPLES: usize = 2000;

/// Summarises `values`; the interval is that of the median.
pub fn summarise(values: &[f64]) -> Summary {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut medians: Vec<f64> = {
        let mut random = Random(0x5eed);
        (0..RESAMPLES)
            .map(|_| {
                let mut sample: Vec<f64> =
                    sorted.iter().map(|_| sorted[random.below(sorted.len())]).collect();
                sample.sort_by(f64::total_cmp);
                middle(&sample)
            })
            .collect()
    };
    medians.sort_by(f64::total_cmp);
    Summary {
        median: middle(&sorted),
        minimum: sorted[0],
        maximum: sorted[sorted.len() - 1],
        low95: medians[RESAMPLES / 40],
        high95: medians[RESAMPLES - 1 - RESAMPLES / 40],
        rounds: sorted.len(),
    }
}

/// The median alone.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    middle(&sorted)
}

/// Round by round, `of` over `to`.
pub fn ratios(of: &[f64], to: &[f64]) -> Summary {
    summarise(&of.iter().zip(to).map(|(a, b)| a / b).collect::<Vec<_>>())
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// A fixed sequence (xorshift), so that the same figures give the same interval.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
