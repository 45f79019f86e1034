//! Pools.

use galaxy_api::Pool;
use galaxy_api::pool::MAX_SIZE;
use galaxy_core::ledger::PoolView;

use super::{created, uid, version};

/// A Pool as the ledger knows it. A size out of bounds, which only an object from before the bounds can have, counts as the
/// nearest one within; the pool's condition says so.
pub(crate) fn pool_view(pool: &Pool) -> PoolView {
    let size = pool.spec.size.clamp(0, MAX_SIZE);
    PoolView {
        uid: uid(&pool.metadata),
        namespace: pool.metadata.namespace.as_deref().unwrap_or_default().into(),
        name: pool.metadata.name.as_deref().unwrap_or_default().into(),
        version: version(&pool.metadata),
        created: created(&pool.metadata),
        size: u32::try_from(size).ok(),
        pre_allocate: pool.spec.pre_allocate_ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_bounds_count_as_the_nearest_within() {
        for (size, expected) in [(-3, 0), (0, 0), (4, 4), (i64::MAX, 1 << 24)] {
            let json = serde_json::json!({"metadata": {"name": "blue", "namespace": "shop", "uid": "u", "resourceVersion": "3",
                "creationTimestamp": "1970-01-01T00:00:01Z"}, "size": size});
            let view = pool_view(&serde_json::from_value(json).unwrap());
            assert_eq!(view.size, Some(expected));
            assert_eq!((&*view.name, &*view.namespace, view.version, view.created.0), ("blue", "shop", 3, 1_000_000));
            assert!(!view.pre_allocate);
        }
    }
}
