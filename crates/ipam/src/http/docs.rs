//! The documentation of the API: OpenAPI 3 with a page to try it out, and Swagger 1.2 as the original served it.

use axum::{
    Router,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{openapi::openapi_json, swagger12};

/// `/openapi.json`, `/swagger-ui/`, `/apidocs.json`, `/apidocs.json/v1` and, if wanted, `/apidocs/`.
pub(super) fn router(swagger_page: bool, scheme: &'static str) -> Router {
    let router = Router::new()
        .route("/openapi.json", get(|| async { json(openapi_json()) }))
        .route("/apidocs.json", get(|| async { json(swagger12::listing()) }))
        .route("/apidocs.json/v1", get(move |uri, headers| declaration(scheme, uri, headers)))
        .merge(page("/swagger-ui"));
    if swagger_page { router.merge(page("/apidocs")) } else { router }
}

/// The page, which comes with the program and loads nothing from elsewhere.
fn page(path: &'static str) -> SwaggerUi {
    SwaggerUi::new(path).config(Config::new(["/openapi.json"]).validator_url("none"))
}

async fn declaration(scheme: &str, uri: Uri, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    json(swagger12::declaration(&format!("{scheme}://{}", host.unwrap_or("localhost:9041"))))
}

fn json(document: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
