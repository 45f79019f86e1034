use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Body,
    http::{Request, header},
};
use galaxy_ipam::{
    http::{Settings, openapi_json, router, swagger12_declaration},
    metrics::Metrics,
};
use serde_json::Value;

use crate::{Site, send, shelf::Shelf};

const PATHS: [&str; 3] = ["/v1/ip", "/v1/pool", "/v1/pool/{name}"];

#[tokio::test]
async fn openapi() {
    let site = Site::new().await;
    let answer = site.get("/openapi.json").await;
    assert_eq!(answer.text, openapi_json());
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, PATHS);
    let schemas = &document["components"]["schemas"];
    assert!(schemas["ReleaseResponse"].to_string().contains("reasons"), "{schemas}");
    assert!(schemas["PoolBody"]["properties"]["preAllocateIP"].is_object(), "{schemas}");
    // Every reference leads somewhere.
    let mut references = BTreeSet::new();
    collect(&document, "$ref", &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert!(references.len() >= 6);
    let names: Vec<&str> =
        document["paths"]["/v1/ip"]["get"]["parameters"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(names, QUERY);
}

/// Parameters of a list.
const QUERY: [&str; 9] = ["keyword", "poolName", "appName", "podName", "namespace", "appType", "page", "size", "sort"];

fn name(parameter: &Value) -> &str {
    parameter["name"].as_str().unwrap()
}

/// All values of members called `member`.
fn collect(value: &Value, member: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == member => drop(found.insert(text.clone())),
                    value => collect(value, member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, member, found)),
        _ => {}
    }
}

#[tokio::test]
async fn swagger_1_2() {
    let site = Site::new().await;
    let listing = site.get("/apidocs.json").await.json();
    assert_eq!((&listing["swaggerVersion"], &listing["apis"][0]["path"]), (&"1.2".into(), &"/v1".into()));

    let request = Request::get("/apidocs.json/v1").header(header::HOST, "192.168.30.7:9041");
    let answer = site.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.text, swagger12_declaration("http://192.168.30.7:9041"));
    let document = answer.json();
    assert_eq!(document["basePath"], "http://192.168.30.7:9041");
    assert_eq!((&document["swaggerVersion"], &document["resourcePath"]), (&"1.2".into(), &"/v1".into()));
    let apis = document["apis"].as_array().unwrap();
    let paths: BTreeSet<&str> = apis.iter().map(|api| api["path"].as_str().unwrap()).collect();
    assert_eq!(paths, PATHS.into());
    let operations: BTreeSet<String> = apis
        .iter()
        .flat_map(|api| api["operations"].as_array().unwrap())
        .map(|operation| format!("{} {}", operation["method"].as_str().unwrap(), operation["type"].as_str().unwrap()))
        .collect();
    let expected = [
        "GET api.ListIPResp",
        "POST api.ReleaseIPResp",
        "GET api.GetPoolResp",
        "POST api.UpdatePoolResp",
        "DELETE httputil.Resp",
    ];
    assert_eq!(operations, expected.map(str::to_owned).into());
    let parameters = apis[0]["operations"][0]["parameters"].as_array().unwrap();
    assert_eq!(parameters.iter().map(name).collect::<Vec<_>>(), QUERY);

    let models = document["models"].as_object().unwrap();
    let mut references = BTreeSet::new();
    for member in ["$ref", "responseModel", "type"] {
        collect(&document, member, &mut references);
    }
    for reference in references.iter().filter(|reference| reference.contains('.')) {
        assert_eq!(models[reference]["id"], **reference);
    }
    let members =
        |model: &str| models[model]["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for (model, expected) in [
        ("api.ReleaseIPResp", &["code", "message", "unreleased", "reasons"][..]),
        ("api.UpdatePoolResp", &["code", "message", "realPoolSize"]),
        ("api.Pool", &["name", "size", "preAllocateIP"]),
    ] {
        assert_eq!(members(model), expected.iter().map(|member| (*member).to_owned()).collect(), "{model}");
    }
    // Both descriptions name the same members.
    let openapi: Value = serde_json::from_str(&openapi_json()).unwrap();
    for (model, schema) in [("api.FloatingIP", "IpEntry"), ("api.ListIPResp", "IpList")] {
        let schema = openapi["components"]["schemas"][schema]["properties"].as_object().unwrap();
        assert_eq!(members(model), schema.keys().cloned().collect(), "{model}");
    }
    // Whatever is sent as host stays a text.
    let request = Request::get("/apidocs.json/v1").header(header::HOST, "a\",\"x\":\"");
    assert_eq!(site.send(request.body(Body::empty()).unwrap()).await.json()["basePath"], "http://a\",\"x\":\"");
}

#[tokio::test]
async fn the_page_comes_with_the_program() {
    let site = Site::new().await;
    let answer = site.get("/swagger-ui").await;
    assert_eq!((answer.status.as_u16(), &*answer.location), (303, "/swagger-ui/"));
    let page = site.get("/swagger-ui/").await;
    assert_eq!(page.status, 200);
    assert!(page.content_type.starts_with("text/html"), "{}", page.content_type);
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "nothing from elsewhere: {}", page.text);
    let start = site.get("/swagger-ui/swagger-initializer.js").await;
    assert!(
        start.text.contains("/openapi.json") && start.text.contains("\"validatorUrl\": \"none\""),
        "{}",
        start.text
    );
    for asset in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-standalone-preset.js"] {
        let answer = site.get(&format!("/swagger-ui/{asset}")).await;
        assert!(answer.status == 200 && answer.text.len() > 10_000, "{asset}");
    }
    assert_eq!(site.get("/swagger-ui/none").await.status, 404);
}

#[tokio::test]
async fn the_flag_serves_the_page_at_the_original_path_too() {
    let site = Site::new().await;
    let client = site.kubernetes.client("galaxy-ipam");
    let settings = Settings { swagger_page: true, ..Settings::default() };
    let router = router(Arc::new(Shelf::default()), client, Arc::new(Metrics::new()), settings);
    let get = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
    for uri in ["/apidocs/", "/apidocs/swagger-ui.css", "/apidocs.json", "/apidocs.json/v1", "/swagger-ui/"] {
        assert_eq!(send(&router, get(uri)).await.status, 200, "{uri}");
    }
    let start = send(&router, get("/apidocs/swagger-initializer.js")).await;
    assert!(start.text.contains("/openapi.json"));
}
