//! `/v1/pool`: sizes of shared pools, kept in Pool objects.

use std::future::Future;

use axum::{
    extract::{Path, State},
    response::Response,
};
use galaxy_api::{
    Pool,
    http::{Envelope, PoolBody, PoolGetResponse, PoolRequest, PoolSetResponse},
    names::SYSTEM_NAMESPACE,
    pool::PoolSpec,
};
use galaxy_core::ledger::{PoolStatus, Uid};
use kube::{
    Api as KubeApi, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
    core::response::Status,
};
use tokio::time::{Instant, timeout};

use super::{
    Api,
    backend::change,
    reply::{Body, Failure, answer},
};

/// How often a write is tried when somebody else writes the same object.
const ATTEMPTS: usize = 5;

/// Shows a pool.
#[utoipa::path(
    get,
    path = "/v1/pool/{name}",
    operation_id = "GetPool",
    tag = "pool",
    params(("name" = String, Path, description = "Name of the pool")),
    responses(
        (status = 200, description = "The pool", body = PoolGetResponse),
        (status = 404, description = "There is no such pool", body = Envelope),
        (status = 500, description = "The API server does not answer", body = Envelope)
    )
)]
pub(super) async fn get(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Failure> {
    let pool = api.find(&name).await?;
    let body = PoolBody { name, size: pool.spec.size, pre_allocate_ip: pool.spec.pre_allocate_ip };
    Ok(answer(200, &PoolGetResponse::new(body)))
}

/// Creates or updates a pool.
///
/// With `preAllocateIP` the answer comes when the pool has reserved addresses up to its size, or none are left.
#[utoipa::path(
    post,
    path = "/v1/pool",
    operation_id = "CreateOrUpdatePool",
    tag = "pool",
    request_body = PoolBody,
    responses(
        (status = 200, description = "Done; with preAllocateIP realPoolSize says how many addresses the pool has", body = PoolSetResponse),
        (status = 202, description = "The pool is written but there are too few free addresses to fill it", body = PoolSetResponse),
        (status = 400, description = "Name or size is wrong", body = Envelope),
        (status = 500, description = "The pool could not be written, or this replica cannot decide now", body = Envelope)
    )
)]
pub(super) async fn set(State(api): State<Api>, Body(request): Body<PoolRequest>) -> Result<Response, Failure> {
    request.validate().map_err(Failure::bad_request)?;
    api.backend.ready().map_err(Failure::server_error)?;
    let mut settled = api.backend.settled();
    let written = api.write(&request).await?;
    api.backend.pool_written(&written);
    let status = api.backend.pool_status(&request.name);
    ours_counts(&written, &status)?;
    tracing::info!(
        pool = request.name,
        size = request.size,
        pre_allocate = request.pre_allocate_ip,
        "pool set by a user"
    );
    if !request.pre_allocate_ip {
        return Ok(answer(200, &PoolSetResponse::ok()));
    }

    let deadline = Instant::now() + api.settings.fill_patience;
    let mut status = status;
    while status.settling && change(&mut settled, deadline).await {
        status = api.backend.pool_status(&request.name);
    }
    let real = u64::from(status.used) + u64::from(status.reserved);
    let wanted = u64::try_from(request.size).unwrap_or_default();
    let mut response = PoolSetResponse::pre_allocated(real, real >= wanted);
    if status.settling && real < wanted {
        response.envelope =
            Envelope::accepted(format!("{real} of {wanted} IPs so far, the pool is still being filled"));
    }
    Ok(answer(response.envelope.code, &response))
}

/// Deletes a pool.
///
/// Its addresses stay reserved in the pool; release them one by one if they are not wanted any more.
#[utoipa::path(
    delete,
    path = "/v1/pool/{name}",
    operation_id = "DeletePool",
    tag = "pool",
    params(("name" = String, Path, description = "Name of the pool")),
    responses(
        (status = 200, description = "Deleted", body = Envelope),
        (status = 404, description = "There is no such pool", body = Envelope),
        (status = 500, description = "The API server does not answer", body = Envelope)
    )
)]
pub(super) async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Failure> {
    let pool = api.find(&name).await?;
    let uid = pool.uid().unwrap_or_default();
    let namespace = pool.namespace().unwrap_or_default();
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.call(api.pools(&namespace).delete(&name, &params)).await? {
        // Finalizers may keep it for a while: then the watch says when it is gone.
        Ok(answer) if answer.is_right() => api.backend.pool_deleted(&Uid::from(uid)),
        Ok(_) => {}
        // NotFound, or another pool of the name has taken its place: the one that was asked about is gone.
        Err(status) if matches!(status.code, 404 | 409) => return Err(no_such_pool(&name)),
        Err(status) => return Err(refused(&name, &status)),
    }
    tracing::info!(pool = name, namespace, "pool deleted by a user");
    Ok(answer(200, &Envelope::ok()))
}

impl Api {
    fn pools(&self, namespace: &str) -> KubeApi<Pool> {
        KubeApi::namespaced(self.client.clone(), namespace)
    }

    /// A call of the API server: its answer or its refusal; no answer is a failure of the request.
    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<Result<T, Box<Status>>, Failure> {
        let deadline = self.settings.call_deadline;
        match timeout(deadline, call).await {
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Ok(Err(kube::Error::Api(status))) => Ok(Err(status)),
            Ok(Err(error)) => Err(Failure::server_error(format_args!("the API server cannot be asked: {error}"))),
            Err(_) => Err(Failure::server_error(format_args!("the API server did not answer within {deadline:?}"))),
        }
    }

    /// The Pool object of the name that counts.
    async fn find(&self, name: &str) -> Result<Pool, Failure> {
        let named = PoolBody { name: name.to_owned(), ..PoolBody::default() };
        if named.validate().is_err() {
            return Err(no_such_pool(name));
        }
        let counts = self.backend.pool_status(name).object;
        let namespace = counts.as_ref().map_or(SYSTEM_NAMESPACE, |pool| &*pool.namespace);
        match self.call(self.pools(namespace).get(name)).await? {
            Ok(pool) => Ok(pool),
            Err(status) if status.code == 404 => Err(no_such_pool(name)),
            Err(status) => Err(refused(name, &status)),
        }
    }

    /// Creates or updates the Pool in kube-system. Whoever else writes it meanwhile is not overwritten unseen: the object
    /// is read again and only `size` and `preAllocateIP` are changed.
    async fn write(&self, request: &PoolRequest) -> Result<Pool, Failure> {
        let pools = self.pools(SYSTEM_NAMESPACE);
        let (name, spec) = (&request.name, PoolSpec::from(request));
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let written = match self.call(pools.get(name)).await? {
                Ok(found) if found.spec == spec && found.metadata.deletion_timestamp.is_none() => return Ok(found),
                Ok(mut found) => {
                    found.spec = spec.clone();
                    self.call(pools.replace(name, &PostParams::default(), &found)).await?
                }
                Err(status) if status.code == 404 => {
                    self.call(pools.create(&PostParams::default(), &Pool::new(name, spec.clone()))).await?
                }
                Err(status) => Err(status),
            };
            match written {
                Ok(pool) => return Ok(pool),
                // Conflict, AlreadyExists, or deleted between read and write: look again.
                Err(status) if matches!(status.code, 404 | 409) => last = Some(status),
                Err(status) if status.code == 422 => return Err(Failure::bad_request(&status.message)),
                Err(status) => return Err(refused(name, &status)),
            }
        }
        let why = last.map_or_else(String::new, |status| status.message);
        Err(Failure::server_error(format_args!("pool {name} is being changed by others, try again: {why}")))
    }
}

/// Another object of the same name may count instead, or none where `--pool-namespaces` leaves kube-system out.
fn ours_counts(written: &Pool, status: &PoolStatus) -> Result<(), Failure> {
    let uid = written.uid().unwrap_or_default();
    if status.object.as_ref().is_some_and(|pool| pool.uid.to_string() == uid) {
        return Ok(());
    }
    let name = written.name_any();
    Err(Failure::server_error(match &status.object {
        Some(pool) => format!(
            "pool {name} is written in {SYSTEM_NAMESPACE}, but the one in namespace {} counts; delete that or change it",
            pool.namespace
        ),
        None => format!(
            "pool {name} is written in {SYSTEM_NAMESPACE}, where pools do not count; see --pool-namespaces of galaxy-ipam"
        ),
    }))
}

fn no_such_pool(name: &str) -> Failure {
    Failure::not_found(format_args!("pool {name:?}"))
}

fn refused(name: &str, status: &Status) -> Failure {
    Failure::server_error(format_args!("pool {name}: {}", status.message))
}
