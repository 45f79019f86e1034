//! The API as Swagger 1.2, written by hand: nothing generates that format any more, and old tools read it.

use serde_json::{Value, json};

use super::reply::to_json;

/// The resource listing, served at `/apidocs.json`.
pub fn listing() -> String {
    to_json(&json!({
        "swaggerVersion": "1.2",
        "apiVersion": env!("CARGO_PKG_VERSION"),
        "info": info(),
        "apis": [{"path": "/v1", "description": "floating IPs and pools"}],
    }))
}

/// The declaration of the resource `/v1`, served at `/apidocs.json/v1`. `base` is the URL of the server.
pub fn declaration(base: &str) -> String {
    to_json(&json!({
        "swaggerVersion": "1.2",
        "apiVersion": env!("CARGO_PKG_VERSION"),
        "basePath": base,
        "resourcePath": "/v1",
        "info": info(),
        "authorizations": {"bearer": {"type": "apiKey", "passAs": "header", "keyname": "Authorization"}},
        "apis": [
            {"path": "/v1/ip", "description": "addresses", "operations": [list(), release()]},
            {"path": "/v1/pool/{name}", "description": "one pool", "operations": [get_pool(), delete_pool()]},
            {"path": "/v1/pool", "description": "pools", "operations": [set_pool()]},
        ],
        "models": models(),
    }))
}

fn info() -> Value {
    json!({"title": "galaxy-ipam", "description": "Floating IPs of Kubernetes pods"})
}

fn list() -> Value {
    let text = |name: &str, description: &str| parameter("query", name, "string", description);
    let number = |name: &str, description: &str| parameter("query", name, "integer", description);
    let mut size = number("size", "addresses per page, 1 to 9999");
    size["defaultValue"] = "10".into();
    let mut sort = text("sort", "ip, namespace, podname or policy, followed by asc or desc");
    sort["defaultValue"] = "ip asc".into();
    let parameters = vec![
        text("keyword", "only addresses whose key contains this; the other filters are then ignored"),
        text("poolName", "only addresses of this pool"),
        text("appName", "only addresses of the workload of this name"),
        text("podName", "only addresses of the pod of exactly this name"),
        text("namespace", "only addresses in this namespace"),
        text(
            "appType",
            "kind of the workload: deployment, statefulset, or another kind; statefulset if appName is given without it",
        ),
        number("page", "page, 0 to 99999"),
        size,
        sort,
    ];
    let messages = vec![
        message(200, "a page of addresses", "api.ListIPResp"),
        message(500, "this replica does not know the cluster yet", RESP),
    ];
    operation("GET", "ListIPs", "List addresses", "api.ListIPResp", parameters, messages)
}

fn release() -> Value {
    let messages = vec![
        message(200, "all are released", "api.ReleaseIPResp"),
        message(202, "some are not released: see unreleased and reasons", "api.ReleaseIPResp"),
        message(400, "the body is malformed; nothing is released", RESP),
        message(500, "this replica cannot decide now", RESP),
    ];
    operation("POST", "ReleaseIPs", "Release addresses", "api.ReleaseIPResp", vec![body("api.ReleaseIPReq")], messages)
}

fn get_pool() -> Value {
    let messages = vec![
        message(200, "the pool", "api.GetPoolResp"),
        message(404, "there is no such pool", RESP),
        message(500, "the API server does not answer", RESP),
    ];
    operation("GET", "Get", "Show a pool", "api.GetPoolResp", vec![pool_name()], messages)
}

fn delete_pool() -> Value {
    let messages = vec![
        message(200, "deleted; its addresses stay reserved", RESP),
        message(404, "there is no such pool", RESP),
        message(500, "the API server does not answer", RESP),
    ];
    operation("DELETE", "Delete", "Delete a pool", RESP, vec![pool_name()], messages)
}

fn set_pool() -> Value {
    let messages = vec![
        message(200, "done", "api.UpdatePoolResp"),
        message(202, "No enough IPs", "api.UpdatePoolResp"),
        message(400, "name or size is wrong", RESP),
        message(500, "the pool could not be written", RESP),
    ];
    operation(
        "POST",
        "CreateOrUpdate",
        "Create or update a pool",
        "api.UpdatePoolResp",
        vec![body("api.Pool")],
        messages,
    )
}

/// The plain envelope.
const RESP: &str = "httputil.Resp";

fn operation(
    method: &str,
    nickname: &str,
    summary: &str,
    model: &str,
    parameters: Vec<Value>,
    mut messages: Vec<Value>,
) -> Value {
    messages.extend([
        message(401, "there is no valid bearer token", RESP),
        message(403, "the token's user may not do this", RESP),
        message(503, "the API server cannot be asked who may", RESP),
    ]);
    json!({
        "type": model,
        "method": method,
        "summary": summary,
        "nickname": nickname,
        "parameters": parameters,
        "responseMessages": messages,
        "produces": ["application/json"],
        "consumes": ["application/json"],
        "authorizations": {"bearer": []},
    })
}

fn parameter(place: &str, name: &str, kind: &str, description: &str) -> Value {
    json!({
        "type": kind,
        "paramType": place,
        "name": name,
        "description": description,
        "required": place != "query",
        "allowMultiple": false,
    })
}

fn body(model: &str) -> Value {
    parameter("body", "body", model, "")
}

fn pool_name() -> Value {
    parameter("path", "name", "string", "name of the pool")
}

fn message(code: u16, text: &str, model: &str) -> Value {
    json!({"code": code, "message": text, "responseModel": model})
}

fn models() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let number = |description: &str| json!({"type": "integer", "format": "int64", "description": description});
    let truth = |description: &str| json!({"type": "boolean", "description": description});
    let texts = |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
    let list_of = |model: &str| json!({"type": "array", "items": {"$ref": model}});
    let (code, why) = (number("HTTP status"), text("what went wrong; empty for success"));
    let entry = json!({
        "ip": text("the address"),
        "namespace": text("namespace of the workload"),
        "appName": text("name of the workload"),
        "podName": text("name of the pod"),
        "poolName": text("name of the pool, if the workload uses one"),
        "policy": number("release policy: 0 with the pod, 1 immutable, 2 never"),
        "appType": text("kind of the workload: deployment, statefulset, or another kind in lower case"),
        "updateTime": {"type": "string", "format": "date-time", "description": "when it was last taken, given up or kept"},
        "status": text("phase of the pod, or Deleted"),
        "releasable": truth("no pod has it, so that it can be released"),
        "note": text("why it is out of the ordinary: AdminReserved, Quarantined, Orphaned, Disputed"),
    });
    let page = json!({
        "content": list_of("api.FloatingIP"),
        "last": truth("this is the last page"),
        "totalElements": number("addresses on all pages"),
        "totalPages": number("pages"),
        "first": truth("this is the first page"),
        "numberOfElements": number("addresses on this page"),
        "size": number("addresses per page"),
        "number": number("this page, from 0"),
    });
    let pool = json!({
        "name": text("name of the pool"),
        "size": number("how many addresses pods of the pool may use at once"),
        "preAllocateIP": truth("reserve addresses up to the size ahead of any pod"),
    });
    let page_required = ["last", "totalElements", "totalPages", "first", "numberOfElements", "size", "number"];
    let models = [
        model("api.ListIPResp", &page_required, page),
        model("api.FloatingIP", &["ip", "policy"], entry),
        model("api.ReleaseIPReq", &["ips"], json!({"ips": list_of("api.FloatingIP")})),
        model(
            "api.ReleaseIPResp",
            &["code", "message"],
            json!({
                "code": code, "message": why,
                "unreleased": texts("addresses that are not released"),
                "reasons": texts("why, one for each of unreleased"),
            }),
        ),
        model("api.Pool", &["name", "size", "preAllocateIP"], pool),
        model(
            "api.GetPoolResp",
            &["code", "message", "pool"],
            json!({"code": code, "message": why, "pool": {"$ref": "api.Pool"}}),
        ),
        model(
            "api.UpdatePoolResp",
            &["code", "message"],
            json!({
                "code": code, "message": why,
                "realPoolSize": number("addresses the pool has now, used and reserved; only with preAllocateIP"),
            }),
        ),
        model(RESP, &["code", "message"], json!({"code": code, "message": why})),
    ];
    Value::Object(models.into_iter().map(|(id, model)| (id.to_owned(), model)).collect())
}

fn model<'a>(id: &'a str, required: &[&str], properties: Value) -> (&'a str, Value) {
    (id, json!({"id": id, "required": required, "properties": properties}))
}
