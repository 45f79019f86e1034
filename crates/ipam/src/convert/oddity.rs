//! What is odd about a FloatingIP. Such an object is read as if the odd member were absent; it never hides an address in use.

use galaxy_api::FloatingIP;
use galaxy_api::floatingip::Attribute;
use galaxy_api::wire::shorten;
use galaxy_core::ledger::{Record, State};
use serde_json::Value;

/// Names the members of an object that make no sense, with their values; `spec` is as it came over the wire.
pub(crate) fn oddity(fip: &FloatingIP, spec: &Value, record: &Record) -> Option<String> {
    let mut odd = Vec::new();
    let mut say = |member: &str, value: &Value, consequence: &str| {
        odd.push(format!("spec.{member} {} {consequence}", shorten(&value.to_string())));
    };
    let read = &fip.spec;
    // Of the wrong type, or out of bounds.
    for (member, is_read) in [
        ("key", spec["key"].is_string()),
        ("attribute", read.attribute.is_some()),
        ("policy", spec["policy"].is_i64() && read.release_policy().is_some()),
        ("updateTime", read.update_time.is_some()),
        ("state", read.state.is_some()),
        ("owner", read.owner.is_some()),
        ("pod", read.pod.is_some()),
        ("pool", read.pool.is_some()),
        ("node", read.node.is_some()),
        ("address", read.address.is_some()),
        ("gateway", read.gateway.is_some()),
        ("vlan", read.vlan.is_some()),
        ("releasedAt", read.released_at.is_some()),
    ] {
        let value = &spec[member];
        if !is_read && !value.is_null() {
            say(member, value, "cannot be read and counts as absent");
        }
    }
    if let Some(error) = read.attribute.as_deref().and_then(|attribute| Attribute::parse(attribute).err()) {
        say("attribute", &spec["attribute"], &format!("is not read: {error}"));
    }
    // An administrator may write any key; without the label it has to name an owner.
    if record.state == State::Admin && !fip.is_reserved_by_admin() {
        let member = if read.state.is_some() { "state" } else { "key" };
        let what = if read.state.is_some() { "does not agree with the other members" } else { "names no owner" };
        say(
            member,
            &spec[member],
            &format!("{what}: the address is left to the administrator and handed out to nobody"),
        );
    }
    (!odd.is_empty()).then(|| odd.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::convert::floating_ip::stored;

    fn of(labels: Value, spec: Value) -> Option<String> {
        let object = json!({"metadata": {"name": "10.0.0.5", "labels": labels}, "spec": spec});
        let fip: FloatingIP = serde_json::from_value(object).unwrap();
        oddity(&fip, &spec, &stored(&fip).unwrap().record)
    }

    #[test]
    fn odd_members_are_named_with_their_values() {
        let attribute = r#"{"NodeName":"n1","Uid":"u"}"#;
        for (spec, expected) in [
            (
                json!({"key": "dp_shop_web_", "policy": 1, "attribute": attribute, "updateTime": "2024-03-05T08:00:12Z"}),
                vec![],
            ),
            (json!({"key": "dp_shop_web_", "policy": 1, "attribute": "", "subnet": "10.0.0.0/24"}), vec![]),
            (json!({"key": "junk", "policy": 0}), vec!["spec.key \"junk\" names no owner"]),
            (json!({}), vec!["spec.key null names no owner"]),
            (json!({"key": "dp_shop_web_", "policy": 7}), vec!["spec.policy 7 cannot be read"]),
            (
                json!({"key": "dp_shop_web_", "policy": "1", "updateTime": "noon"}),
                vec!["spec.policy \"1\"", "spec.updateTime \"noon\""],
            ),
            (
                json!({"key": "dp_shop_web_w-1-x", "attribute": "{junk"}),
                vec!["spec.attribute \"{junk\" is not read: key must be"],
            ),
            (
                json!({"key": "dp_shop_web_", "attribute": {"NodeName": "n1"}}),
                vec!["spec.attribute {\"NodeName\":\"n1\"} cannot be read"],
            ),
            (json!({"key": "x", "state": "Bound"}), vec!["spec.state \"Bound\" does not agree"]),
            (json!({"key": "dp_shop_web_", "state": "Lost"}), vec!["spec.state \"Lost\" cannot be read"]),
            (json!({"key": "dp_shop_web_", "vlan": -1, "owner": 5}), vec!["spec.owner 5", "spec.vlan -1"]),
        ] {
            let found = of(Value::Null, spec.clone()).unwrap_or_default();
            assert_eq!(found.is_empty(), expected.is_empty(), "{spec}: {found}");
            expected.iter().for_each(|part| assert!(found.contains(part), "{spec}: {found}"));
        }
        let long = of(Value::Null, json!({"key": "k".repeat(100_000)})).unwrap();
        assert!(long.len() < 250, "{long}");
    }

    #[test]
    fn an_administrator_may_write_any_key() {
        assert_eq!(of(json!({"reserved": ""}), json!({"key": "for the printer", "policy": 2})), None);
        assert!(of(json!({"reserved": ""}), json!({"key": "x", "policy": 9})).is_some());
    }
}
