//! Rules: what they say (`model`), what they may say (`bounds`), how a path finds its rule (`matcher`), and how both
//! sides share them (`slots`, `table`, `observed`).

pub mod bounds;
pub mod canonical;
pub mod matcher;
pub mod model;
pub mod observed;
pub mod slots;
pub mod table;
