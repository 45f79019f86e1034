//! The API as OpenAPI 3, made from the handlers and bodies themselves.

use utoipa::OpenApi;

use super::{list, pools, release, reply::to_json};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "galaxy-ipam",
        description = "Who has which floating IP; releasing them; sizes of shared pools. \
            Every answer is an object with `code` and `message` (the HTTP status is the same), except lists.",
        license(name = "Apache-2.0")
    ),
    paths(list::list, release::release, pools::get, pools::set, pools::delete),
    tags(
        (name = "ip", description = "Addresses: list and release"),
        (name = "pool", description = "Pools: addresses that several workloads share")
    )
)]
struct Document;

/// The document that `/openapi.json` serves.
pub fn openapi_json() -> String {
    to_json(&Document::openapi())
}
