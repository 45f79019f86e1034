//! The FAQ of float-ip.md, at length: ten rollouts with the default strategy (rule 17).

use anyhow::Result;

use crate::{Lab, promises::rollouts::rolls};

/// 1 replica.
pub async fn one_replica_rolls_ten_times(lab: Lab) -> Result<()> {
    rolls(lab, 1, "immutable", 10).await
}

/// 2 replicas.
pub async fn two_replicas_roll_ten_times(lab: Lab) -> Result<()> {
    rolls(lab, 2, "never", 10).await
}

/// 3 replicas.
pub async fn three_replicas_roll_ten_times(lab: Lab) -> Result<()> {
    rolls(lab, 3, "immutable", 10).await
}

/// 4 replicas.
pub async fn four_replicas_roll_ten_times(lab: Lab) -> Result<()> {
    rolls(lab, 4, "immutable", 10).await
}
