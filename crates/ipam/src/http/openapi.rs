//! The API as OpenAPI 3, made from the handlers and bodies themselves.

use galaxy_api::http::Envelope;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, Content, Ref, RefOr, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{list, pools, release, reply::to_json};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "galaxy-ipam",
        description = "Who has which floating IP; releasing them; sizes of shared pools. \
            Every answer is an object with `code` and `message` (the HTTP status is the same), except lists.",
        license(name = "Apache-2.0")
    ),
    modifiers(&Guarded),
    components(schemas(Envelope)),
    paths(list::list, release::release, pools::get, pools::set, pools::delete),
    tags(
        (name = "ip", description = "Addresses: list and release"),
        (name = "pool", description = "Pools: addresses that several workloads share")
    )
)]
struct Document;

/// What holds for every operation: it wants a bearer token, and says why it turns somebody away.
struct Guarded;

/// Name of the security scheme.
const BEARER: &str = "bearer";

impl Modify for Guarded {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let token = "A token that the API server knows, as `kubectl create token SERVICEACCOUNT` prints it. Its user needs \
            verbs of the API group galaxy.k8s.io: list floatingips to list, delete floatingips to release; get, \
            create and update, delete pools in kube-system for pools. Not needed with --api-auth=none.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(token)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
        document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
        let paths = document.paths.paths.values_mut();
        let operations = paths.flat_map(|path| [&mut path.get, &mut path.post, &mut path.delete]).flatten();
        for operation in operations {
            for (code, why) in [
                ("401", "There is no valid bearer token"),
                ("403", "The token's user may not do this; the message says which verb is missing"),
                ("503", "The API server cannot be asked who may"),
            ] {
                let body = Content::new(Some(Ref::from_schema_name("Envelope")));
                let response = ResponseBuilder::new().description(why).content("application/json", body).build();
                operation.responses.responses.insert(code.to_owned(), RefOr::T(response));
            }
        }
    }
}

/// The document that `/openapi.json` serves.
pub fn openapi_json() -> String {
    to_json(&Document::openapi())
}
