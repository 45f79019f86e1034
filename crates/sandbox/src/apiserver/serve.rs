//! The HTTP side: connections, and the path from a request to its answer.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Status,
    api::{Api, Reply, Request, is_of_kubernetes, unknown},
    calls::{Answered, Call},
    discovery,
    faults::Action,
    form::Form,
    object,
    path::{Params, Target},
    resource::Resource,
    review,
};

const JSON: &str = "application/json";

type Body = BoxBody<Bytes, Infallible>;

/// Larger than any object etcd would take.
const BODY_LIMIT: usize = 3 << 20;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(super) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped by an injected fault")
    }
}

impl std::error::Error for Dropped {}

/// Takes connections until the server stops.
pub(super) async fn serve(api: Arc<Api>, listener: TcpListener) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    // Out of file descriptors, most likely: let some close.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = api.stop.cancelled() => return,
        };
        let _ = stream.set_nodelay(true);
        let api = api.clone();
        tokio::spawn(async move {
            let stop = api.stop.clone();
            let service = hyper::service::service_fn(move |request| answer(api.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::select! {
                result = connection => if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                },
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn answer(api: Arc<Api>, request: http::Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Ok(failure(&Status::new(
                413,
                "RequestEntityTooLarge",
                format!("the request body is larger than {BODY_LIMIT} bytes or was cut off"),
            )));
        }
    };
    // A task of its own: like a real API server's storage, a write goes on when the client hangs up.
    let task = tokio::spawn(async move { route(api, parts, body).await });
    match task.await {
        Ok(result) => result,
        Err(error) => Ok(failure(&Status::internal(format!("request failed: {error}")))),
    }
}

async fn route(api: Arc<Api>, parts: http::request::Parts, body: Bytes) -> Result<Response<Body>, Dropped> {
    let accept = text_header(&parts.headers, header::ACCEPT);
    let path = parts.uri.path();
    if parts.method == Method::GET
        && let Some((value, content_type)) = discovery::get(&api, path, &accept)
    {
        return Ok(bytes_response(200, value, &content_type));
    }
    if parts.method == Method::POST
        && let Some(review) = review::answer(&api.users, path, &body)
    {
        record_review(&api, &parts, path);
        return Ok(json_response(201, &review, JSON));
    }
    let Some(target) = Target::parse(path) else {
        return Ok(no_such_page());
    };
    // A body of an unknown resource need not be readable to say that it is not served.
    if !is_served(&api, &target) {
        return Ok(if is_of_kubernetes(&target) { failure(&unknown(&target)) } else { no_such_page() });
    }
    let request = match read(&parts, target, &body) {
        Ok(request) => request,
        Err(status) => return Ok(failure(&status)),
    };
    let form = match Form::negotiate(&accept, &request.params, &api.clock) {
        Ok(form) => form,
        Err(status) => return Ok(failure(&status)),
    };
    let outcome = call(&api, &request).await?;
    Ok(match outcome {
        Err(status) => failure(&status),
        Ok(Reply::Object { code, value, warnings }) => {
            let resource = {
                let t = &request.target;
                api.store().registry.get(&t.group, &t.version, &t.resource)
            };
            let shown = match &resource {
                Some(resource) if is_of(resource, &value) => form.one(resource, &value),
                _ => (*value).clone(),
            };
            let mut response = json_response(code, &shown, JSON);
            for warning in warnings {
                let text: String = warning.chars().filter(|c| (' '..='~').contains(c)).collect();
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                if let Ok(value) = format!("299 - \"{text}\"").parse() {
                    response.headers_mut().append(header::WARNING, value);
                }
            }
            response
        }
        Ok(Reply::List { resource, items, meta }) => bytes_response(200, form.list(&resource, &items, meta), JSON),
        Ok(Reply::Watch(watch)) => {
            let (sink, lines) = mpsc::channel(64);
            tokio::spawn(watch.run(form, sink));
            let frames = ReceiverStream::new(lines).map(|line| Ok(Frame::data(line)));
            let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(JSON));
            response
        }
    })
}

/// Reviews are not stored and meet no faults, but they are calls like any other.
fn record_review(api: &Api, parts: &http::request::Parts, path: &str) {
    let Some(target) = Target::parse(path) else { return };
    let call = Call {
        verb: "create".into(),
        group: target.group,
        resource: target.resource,
        user_agent: text_header(&parts.headers, header::USER_AGENT),
        ..Call::default()
    };
    api.calls.record(Answered { call, at: api.clock.now(), code: 201, revision: api.store().revision() });
}

/// Whether the resource is served; `bindings` is another name of a subresource of pods.
fn is_served(api: &Api, t: &Target) -> bool {
    let bindings = t.group.is_empty() && t.resource == "bindings";
    bindings || api.store().registry.get(&t.group, &t.version, &t.resource).is_some()
}

/// Carries a request out, with the faults that apply to it, and records it.
pub(super) async fn call(api: &Arc<Api>, request: &Request) -> Result<Result<Reply, Status>, Dropped> {
    let outcome = faulty(api, request).await;
    let code = match &outcome {
        Ok(Ok(Reply::Object { code, .. })) => *code,
        Ok(Ok(_)) => 200,
        Ok(Err(status)) => status.code,
        Err(Dropped) => 0,
    };
    api.calls.record(Answered {
        call: request.call.clone(),
        at: api.clock.now(),
        code,
        revision: api.store().revision(),
    });
    outcome
}

async fn faulty(api: &Arc<Api>, request: &Request) -> Result<Result<Reply, Status>, Dropped> {
    let fault = api.faults.on_call(&request.call, request.body.as_ref());
    match fault {
        None | Some(Action::Event(_)) => Ok(api.perform(request)),
        Some(Action::Error(status)) => Ok(Err(status)),
        Some(Action::Drop) => Err(Dropped),
        Some(Action::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            Ok(api.perform(request))
        }
        Some(Action::Hold(gate)) => {
            gate.pass().await;
            Ok(api.perform(request))
        }
        Some(Action::ErrorAfter(status)) => {
            let _ = api.perform(request);
            Ok(Err(status))
        }
        Some(Action::DropAfter) => {
            let _ = api.perform(request);
            Err(Dropped)
        }
        Some(Action::DelayAfter(delay)) => {
            let result = api.perform(request);
            tokio::time::sleep(delay).await;
            Ok(result)
        }
        Some(Action::HoldAfter(gate)) => {
            let result = api.perform(request);
            gate.pass().await;
            Ok(result)
        }
    }
}

fn read(parts: &http::request::Parts, target: Target, body: &Bytes) -> Result<Request, Status> {
    let params = Params::parse(&parts.uri)?;
    let named = target.name.is_some();
    let verb = match parts.method.as_str() {
        "GET" if named => "get",
        "GET" if params.flag("watch") => "watch",
        "GET" => "list",
        "POST" => "create",
        "PUT" if named => "update",
        "PATCH" if named => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        other => {
            return Err(Status::method_not_allowed(format!("{other} of {}", parts.uri.path())));
        }
    };
    let content_type = text_header(&parts.headers, header::CONTENT_TYPE);
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_string();
    if parts.method == Method::POST && named && target.subresource.is_none() {
        return Err(Status::method_not_allowed(format!("POST of {}", parts.uri.path())));
    }
    let body = parse_body(body, &content_type)?;
    let mut target = target;
    // `bindings` is the collection form of `pods/NAME/binding`; the body has the name.
    if target.group.is_empty() && target.resource == "bindings" && verb == "create" {
        let name = body.as_ref().map_or("", |b| object::name(b));
        target.name = Some(name.to_string());
        target.resource = "pods".into();
        target.subresource = Some("binding".into());
    }
    let in_body = body.as_ref().map_or("", |b| object::name(b));
    let call = Call {
        verb: verb.into(),
        group: target.group.clone(),
        resource: target.resource.clone(),
        subresource: target.subresource.clone().unwrap_or_default(),
        namespace: target.namespace.clone().unwrap_or_default(),
        name: target.name.clone().unwrap_or_else(|| in_body.into()),
        user_agent: text_header(&parts.headers, header::USER_AGENT),
    };
    Ok(Request { call, target, params, content_type, body })
}

fn parse_body(body: &Bytes, content_type: &str) -> Result<Option<Value>, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let parsed = if content_type == "application/vnd.kubernetes.protobuf" {
        super::protobuf::decode(body)
    } else if content_type.contains("yaml") {
        // What clients send as YAML is mostly JSON, which is read faster.
        serde_json::from_slice(body).or_else(|_| {
            let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
            serde_saphyr::from_str(text).map_err(|error| error.to_string())
        })
    } else {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    };
    parsed.map(Some).map_err(|error| Status::bad_request(format!("the object provided is unrecognized: {error}")))
}

fn is_of(resource: &Resource, value: &Value) -> bool {
    value["kind"] == resource.kind.as_str()
}

fn text_header(headers: &HeaderMap, name: header::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// What a real API server answers where nothing is.
fn no_such_page() -> Response<Body> {
    bytes_response(404, "404 page not found\n".into(), "text/plain; charset=utf-8")
}

fn failure(status: &Status) -> Response<Body> {
    json_response(status.code, &status.to_json(), JSON)
}

fn json_response(code: u16, value: &Value, content_type: &str) -> Response<Body> {
    bytes_response(code, value.to_string().into(), content_type)
}

fn bytes_response(code: u16, body: Bytes, content_type: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}
