//! Reviews: who has a token, and who may do what. The sandbox itself lets everybody do everything; its answers are for programs that
//! ask, as galaxy-ipam does about the callers of its HTTP API.

use serde_json::{Value, json};

/// Somebody whose token the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The bearer token.
    pub token: String,
    /// The user's name.
    pub name: String,
    /// What the user may do.
    pub rights: Vec<Right>,
}

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Such as `list`.
    pub verb: String,
    /// Plural name with its group, as `floatingips.galaxy.k8s.io`.
    pub resource: String,
    /// Only in this namespace; everywhere and at cluster scope, if empty.
    pub namespace: String,
}

/// The answer to a POST of a review; none for another path.
pub(super) fn answer(users: &[User], path: &str, body: &[u8]) -> Option<Value> {
    let mut review: Value = serde_json::from_slice(body).unwrap_or_default();
    if !review.is_object() {
        review = json!({});
    }
    let admin = || json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]});
    let status = match path.strip_prefix("/apis/")? {
        "authentication.k8s.io/v1/tokenreviews" => {
            match users.iter().find(|user| review["spec"]["token"] == user.token.as_str()) {
                Some(user) => json!({
                    "authenticated": true,
                    "user": {"username": user.name, "groups": ["system:authenticated"]},
                    "audiences": ["galaxy-sandbox"],
                }),
                None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
            }
        }
        "authentication.k8s.io/v1/selfsubjectreviews" => json!({"userInfo": admin()}),
        "authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            json!({"allowed": true, "reason": "galaxy-sandbox allows everything"})
        }
        "authorization.k8s.io/v1/subjectaccessreviews" => {
            let spec = &review["spec"];
            let masters = spec["groups"].as_array().is_some_and(|groups| groups.contains(&json!("system:masters")));
            let user = users.iter().find(|user| spec["user"] == user.name.as_str());
            let may = user.is_some_and(|user| user.may(&spec["resourceAttributes"]));
            json!({"allowed": masters || may})
        }
        _ => return None,
    };
    review["status"] = status;
    Some(review)
}

impl User {
    fn may(&self, attributes: &Value) -> bool {
        let text = |member: &str| attributes[member].as_str().unwrap_or_default();
        let resource = match text("group") {
            "" => text("resource").to_owned(),
            group => format!("{}.{group}", text("resource")),
        };
        self.rights.iter().any(|right| {
            right.verb == text("verb")
                && right.resource == resource
                && (right.namespace.is_empty() || right.namespace == text("namespace"))
        })
    }
}
