//! Who may use the API: every route and method with no token, a wrong one, one without rights and one with.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use galaxy_ipam::http::Settings;
use galaxy_sandbox::apiserver::{Right, User};

use crate::{Answer, Site};

/// Method, path, body and what they need.
const ROUTES: [(Method, &str, &str, &[&str]); 7] = [
    (Method::GET, "/v1/ip", "", &["list floatingips"]),
    (Method::HEAD, "/v1/ip?size=1", "", &["list floatingips"]),
    (Method::POST, "/v1/ip", r#"{"ips":[{"ip":"10.0.0.1"}]}"#, &["delete floatingips"]),
    (Method::POST, "/v1/pool", r#"{"name":"blue","size":2}"#, &["create pools", "update pools"]),
    (Method::GET, "/v1/pool/blue", "", &["get pools"]),
    (Method::HEAD, "/v1/pool/blue", "", &["get pools"]),
    (Method::DELETE, "/v1/pool/blue", "", &["delete pools"]),
];

const ALL: [&str; 6] =
    ["list floatingips", "delete floatingips", "create pools", "update pools", "get pools", "delete pools"];

fn user(name: &str, rights: &[&str]) -> User {
    let right = |right: &&str| {
        let (verb, resource) = right.split_once(' ').unwrap();
        // Pools are asked about in kube-system, addresses at cluster scope.
        let namespace = if resource == "pools" { "kube-system" } else { "" };
        Right { verb: verb.into(), resource: format!("{resource}.galaxy.k8s.io"), namespace: namespace.into() }
    };
    User { token: format!("token-of-{name}"), name: name.into(), rights: rights.iter().map(right).collect() }
}

async fn site(users: Vec<User>) -> Site {
    let site = Site::with_users(Settings::default(), users).await;
    site.shelf.free("10.0.0.1");
    site
}

async fn ask(router: &Router, method: &Method, path: &str, body: &str, authorization: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    crate::send(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn nobody_does_anything_without_a_token_that_has_the_right() {
    for (method, path, body, needs) in ROUTES {
        let others: Vec<&str> = ALL.into_iter().filter(|right| !needs.contains(right)).collect();
        let site = site(vec![user("nobody", &[]), user("other", &others), user("somebody", needs)]).await;
        let ask = async |authorization: Option<&str>| ask(&site.router, &method, path, body, authorization).await;
        let what = format!("{method} {path}");

        for wrong in [None, Some("Basic YTpi"), Some("Bearer"), Some("Bearer made-up"), Some("Bearer token-of-nobody2")]
        {
            let answer = ask(wrong).await;
            assert_eq!(answer.status, 401, "{what} with {wrong:?}");
            assert!(answer.challenge.starts_with("Bearer realm=\"galaxy-ipam\""), "{what}: {answer:?}");
        }
        for without in ["nobody", "other"] {
            let answer = ask(Some(&format!("Bearer token-of-{without}"))).await;
            assert_eq!(answer.status, 403, "{what} as {without}: {answer:?}");
            assert_eq!(answer.challenge, "");
        }
        assert!(site.shelf.things().asked.is_empty(), "{what} did something");
        for verb in ["create", "update", "delete"] {
            assert_eq!(site.kubernetes.calls().count(verb, "pools", ""), 0, "{what} did something");
        }

        let answer = ask(Some("Bearer token-of-somebody")).await;
        assert!(![401, 403, 503].contains(&answer.status.as_u16()), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_what_is_missing() {
    let site = site(vec![user("half", &["create pools"])]).await;
    let message = async |method: Method, path: &str, authorization: Option<&str>| {
        ask(&site.router, &method, path, "{}", authorization).await.message()
    };
    let none = message(Method::GET, "/v1/ip", None).await;
    assert!(
        none.starts_with("unauthorized: there is no bearer token; send the header Authorization: Bearer"),
        "{none}"
    );
    assert_eq!(
        message(Method::GET, "/v1/ip", Some("Bearer made-up")).await,
        "unauthorized: the API server does not accept the token: invalid bearer token"
    );
    for (method, path, text) in [
        (Method::GET, "/v1/ip", "may not list floatingips.galaxy.k8s.io; bind them to ClusterRole galaxy-ipam-viewer"),
        (
            Method::POST,
            "/v1/ip",
            "may not delete floatingips.galaxy.k8s.io; bind them to ClusterRole galaxy-ipam-operator",
        ),
        (
            Method::POST,
            "/v1/pool",
            "may not update pools.galaxy.k8s.io in namespace kube-system; bind them to ClusterRole galaxy-ipam-operator",
        ),
        (
            Method::GET,
            "/v1/pool/a%2fb",
            "may not get pools.galaxy.k8s.io \"a/b\" in namespace kube-system; bind them to ClusterRole galaxy-ipam-viewer",
        ),
        (
            Method::DELETE,
            "/v1/pool/blue",
            "may not delete pools.galaxy.k8s.io \"blue\" in namespace kube-system; bind them to ClusterRole galaxy-ipam-operator",
        ),
    ] {
        let told = message(method.clone(), path, Some("Bearer token-of-half")).await;
        assert_eq!(told, format!("forbidden: user \"half\" {text}"), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_open_stays_open_and_what_is_not_served_says_so() {
    let site = site(Vec::new()).await;
    for path in
        ["/healthy", "/readyz", "/metrics", "/openapi.json", "/apidocs.json", "/apidocs.json/v1", "/swagger-ui/"]
    {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    assert_eq!(site.get("/v1/nothing").await.status, 404);
    assert_eq!(ask(&site.router, &Method::PUT, "/v1/ip", "{}", None).await.status, 405);
    assert_eq!(ask(&site.router, &Method::PATCH, "/v1/pool/blue", "{}", None).await.status, 405);
}

#[tokio::test]
async fn answers_are_kept_for_seconds() {
    let site = site(vec![user("reader", &["list floatingips"])]).await;
    for _ in 0..20 {
        let answer = ask(&site.router, &Method::GET, "/v1/ip", "", Some("Bearer token-of-reader")).await;
        assert_eq!(answer.status, 200);
    }
    let asked = |what| site.kubernetes.calls().count("create", what, "galaxy-ipam");
    assert_eq!((asked("tokenreviews"), asked("subjectaccessreviews")), (1, 1));
    // Another question is another answer.
    assert_eq!(ask(&site.router, &Method::POST, "/v1/ip", "{}", Some("Bearer token-of-reader")).await.status, 403);
    assert_eq!((asked("tokenreviews"), asked("subjectaccessreviews")), (1, 2));
}

#[tokio::test]
async fn nobody_passes_while_the_api_server_is_away() {
    let site = site(vec![user("reader", &["list floatingips"])]).await;
    site.kubernetes.stop();
    let answer = ask(&site.router, &Method::GET, "/v1/ip", "", Some("Bearer token-of-reader")).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.message().starts_with("server error: who asks cannot be checked now: create tokenreviews: "),
        "{answer:?}"
    );
    // What needs no question needs no API server.
    assert_eq!(ask(&site.router, &Method::GET, "/v1/ip", "", None).await.status, 401);
    let scrape = site.get("/metrics").await.text;
    for line in [
        "galaxy_ipam_turned_away_total{port=\"api\",reason=\"unavailable\"} 1",
        "galaxy_ipam_turned_away_total{port=\"api\",reason=\"unauthenticated\"} 1",
    ] {
        assert!(scrape.contains(line), "{line}: {scrape}");
    }
}

#[tokio::test]
async fn the_documents_say_how_to_authorize() {
    let site = site(Vec::new()).await;
    let document = site.get("/openapi.json").await.json();
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&"http".into(), &"bearer".into()), "{scheme}");
    assert!(document["security"].as_array().unwrap()[0]["bearer"].is_array());
    for operations in document["paths"].as_object().unwrap().values() {
        for (method, operation) in operations.as_object().unwrap() {
            for code in ["401", "403", "503"] {
                assert!(operation["responses"][code].is_object(), "{method} says nothing of {code}: {operation}");
            }
        }
    }
    let old = site.get("/apidocs.json/v1").await.json();
    assert_eq!(old["authorizations"]["bearer"]["keyname"], "Authorization");
}
