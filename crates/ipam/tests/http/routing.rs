use axum::{
    body::Body,
    http::{Method, Request, header},
};

use crate::Site;

#[tokio::test]
async fn what_has_no_handler_is_answered_in_plain_text() {
    let site = Site::new().await;
    for (method, uri, content_type, accept, status, text) in [
        (Method::GET, "/", None, None, 404, "404: Page Not Found"),
        (Method::GET, "/v1", None, None, 404, "404: Page Not Found"),
        (Method::GET, "/v1/ip/10.0.0.1", None, None, 404, "404: Page Not Found"),
        (Method::GET, "/apidocs/", None, None, 404, "404: Page Not Found"),
        (Method::PUT, "/v1/ip", None, None, 405, "405: Method Not Allowed"),
        (Method::DELETE, "/v1/ip", None, None, 405, "405: Method Not Allowed"),
        (Method::GET, "/v1/pool", None, None, 405, "405: Method Not Allowed"),
        (Method::POST, "/v1/pool/blue", None, None, 405, "405: Method Not Allowed"),
        (Method::POST, "/metrics", None, None, 405, "405: Method Not Allowed"),
        (Method::POST, "/v1/ip", None, None, 415, "415: Unsupported Media Type"),
        (Method::POST, "/v1/ip", Some("text/plain"), None, 415, "415: Unsupported Media Type"),
        (Method::POST, "/v1/pool", Some("application/x-www-form-urlencoded"), None, 415, "415: Unsupported Media Type"),
        (Method::GET, "/v1/ip", None, Some("application/xml"), 406, "406: Not Acceptable"),
        (Method::POST, "/v1/ip", Some("application/json"), Some("text/html"), 406, "406: Not Acceptable"),
    ] {
        let mut request = Request::builder().method(method.clone()).uri(uri);
        for (name, value) in [(header::CONTENT_TYPE, content_type), (header::ACCEPT, accept)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = site.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.status, status, "{method} {uri}");
        assert!(answer.text.starts_with(text), "{method} {uri}: {}", answer.text);
        assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn what_clients_send_as_headers_is_understood() {
    let site = Site::new().await;
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let request = Request::post("/v1/ip").header(header::CONTENT_TYPE, content_type);
        assert_eq!(site.send(request.body(Body::from("{}")).unwrap()).await.status, 200, "{content_type}");
    }
    for accept in ["*/*", "application/json", "text/html,application/xml;q=0.9,*/*;q=0.8", "application/*", ""] {
        let request = Request::get("/v1/ip").header(header::ACCEPT, accept);
        assert_eq!(site.send(request.body(Body::empty()).unwrap()).await.status, 200, "{accept}");
    }
}

#[tokio::test]
async fn health_and_metrics() {
    let site = Site::new().await;
    for (uri, text) in [("/healthy", "ok"), ("/readyz", "ok: leader")] {
        let answer = site.get(uri).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (200, text), "{uri}");
    }
    site.shelf.things().ready = Err("no configuration yet".to_owned());
    let answer = site.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (503, "no configuration yet"));
    assert_eq!(site.get("/healthy").await.status, 200);

    let scrape = site.get("/metrics").await;
    assert_eq!(scrape.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(scrape.text.contains("# TYPE galaxy_ip_counter gauge") || scrape.text.contains("galaxy_ipam_leader 0"));
    let request =
        Request::get("/metrics").header(header::ACCEPT, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let scrape = site.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(scrape.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(scrape.text.ends_with("# EOF\n"));
}
