//! The ledger: who has which address, and what follows from it.

mod ids;
mod record;
mod verdict;
mod view;

pub use ids::*;
pub use record::*;
pub use verdict::*;
pub use view::*;
