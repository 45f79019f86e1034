//! Pod templates compared and hashed.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// The label that tells a Deployment's versions apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// The characters of generated names: no vowels, so no words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The template as it compares: without the hash label.
pub(super) fn substance(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    serde_json::to_value(template).unwrap_or_default()
}

/// A short name for the template; `collisions` makes another one when it is taken.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut text = substance(template).to_string();
    if collisions > 0 {
        text.push_str(&collisions.to_string());
    }
    // FNV-1a, 32 bits.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_label_does_not_count() {
        let template = |labels: Value, image: &str| -> PodTemplateSpec {
            let spec = json!({"containers": [{"name": "c", "image": image}]});
            serde_json::from_value(json!({"metadata": {"labels": labels}, "spec": spec})).unwrap()
        };
        let plain = template(json!({"app": "web"}), "a");
        let labelled = template(json!({"app": "web", HASH_LABEL: "x"}), "a");
        let other = template(json!({"app": "web"}), "b");
        assert_eq!(substance(&plain), substance(&labelled));
        assert_eq!(hash(&plain, 0), hash(&labelled, 0));
        assert_ne!(hash(&plain, 0), hash(&other, 0));
        assert_ne!(hash(&plain, 0), hash(&plain, 1));
    }
}
