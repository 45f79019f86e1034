//! Calls of the API server, each with a deadline, and what their failures prove.

use std::future::Future;
use std::time::Duration;

use kube::core::Status;

/// The longest a call may take. The scheduler waits 5 s for a bind, which takes two calls one after the other; kube retries
/// 429, 503 and 504 by itself up to 15 times, so only a deadline from outside bounds a call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Who writes, as the API server records it.
pub(crate) const FIELD_MANAGER: &str = "galaxy-ipam";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The API server answered.
    #[error("{} ({})", .0.message, .0.code)]
    Api(Box<Status>),
    /// The answer was lost, or never came.
    #[error("{0}")]
    Lost(String),
}

/// What a failure proves about a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Another version of the object is there than the one expected: 409.
    Conflict,
    /// The object is not there: 404.
    NotFound,
    /// The write was not done and will not be as it stands.
    Refused,
    /// It may or may not have been done.
    Nothing,
}

impl CallError {
    /// The HTTP status of the answer.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            CallError::Api(status) => Some(status.code),
            CallError::Lost(_) => None,
        }
    }

    /// What the failure proves.
    pub(crate) fn proof(&self) -> Proof {
        match self.code() {
            Some(409) => Proof::Conflict,
            Some(404) => Proof::NotFound,
            Some(400 | 401 | 403 | 405 | 410 | 413 | 415 | 422) => Proof::Refused,
            _ => Proof::Nothing,
        }
    }

    /// Whether it may succeed when tried again.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.proof(), Proof::Nothing)
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => CallError::Api(status),
            other => CallError::Lost(chain(&other)),
        }
    }
}

/// An error with its causes, which the client's own texts leave out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// Makes one call within [`DEADLINE`].
pub(crate) async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    call_within(DEADLINE, request).await
}

/// Makes one call within a deadline of its own.
pub(crate) async fn call_within<T>(
    deadline: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, request).await {
        Ok(result) => result.map_err(CallError::from),
        Err(_) => Err(CallError::Lost(format!("no answer within {} s", deadline.as_secs_f64()))),
    }
}

/// Delays that double from `first` to `last`.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    last: Duration,
}

impl Backoff {
    /// Starts at `first`.
    pub(crate) fn new(first: Duration, last: Duration) -> Self {
        Backoff { next: first, last }
    }

    /// Waits the next delay.
    pub(crate) async fn wait(&mut self) {
        let delay = self.next;
        self.next = (delay * 2).min(self.last);
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> CallError {
        CallError::from(kube::Error::Api(Box::new(Status { code, ..Status::failure("no", "Reason") })))
    }

    #[test]
    fn what_an_answer_proves() {
        for (code, proof) in [
            (400, Proof::Refused),
            (401, Proof::Refused),
            (403, Proof::Refused),
            (404, Proof::NotFound),
            (408, Proof::Nothing),
            (409, Proof::Conflict),
            (422, Proof::Refused),
            (429, Proof::Nothing),
            (500, Proof::Nothing),
            (503, Proof::Nothing),
            (504, Proof::Nothing),
        ] {
            assert_eq!(status(code).proof(), proof, "{code}");
        }
        assert_eq!(CallError::Lost("connection reset".into()).proof(), Proof::Nothing);
    }

    #[tokio::test]
    async fn a_call_without_an_answer_ends_at_the_deadline() {
        let never = std::future::pending::<kube::Result<()>>();
        let error = call_within(Duration::from_millis(5), never).await.unwrap_err();
        assert_eq!(error.proof(), Proof::Nothing);
        assert_eq!(error.to_string(), "no answer within 0.005 s");
    }
}
