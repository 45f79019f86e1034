//! Answers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use galaxy_api::extender::FilterResult;
use galaxy_api::wire;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

/// A request that is no JSON of the right shape is answered with 500 and plain text, as ever.
pub(super) fn unreadable(error: &serde_json::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("bad request: {}\n", wire::error_text(error))).into_response()
}

/// JSON indented by one space.
pub(super) fn json(value: &impl Serialize) -> Response {
    match wire::to_text(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The answer to a filter call. Whole nodes are sent back as the very bytes of the request, which are not even copied.
pub(super) fn filtered(request: &Bytes, result: &FilterResult<'_>) -> Response {
    let (head, tail) = match result.around_nodes() {
        Ok(around) => around,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let mut pieces = VecDeque::from([Bytes::from(head)]);
    for (index, run) in runs(request, result.nodes()).into_iter().enumerate() {
        pieces.extend((index > 0).then_some(Bytes::from_static(b",")));
        pieces.push_back(request.slice(run));
    }
    pieces.push_back(Bytes::from(tail));
    pieces.retain(|piece| !piece.is_empty());
    let left = pieces.iter().map(Bytes::len).sum();
    ([(header::CONTENT_TYPE, "application/json")], Body::new(Pieces { pieces, left })).into_response()
}

/// Where the nodes, which are parts of the request, stand in it. Those with nothing but a comma in between are one.
fn runs(request: &[u8], nodes: &[&str]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for node in nodes {
        let start = node.as_ptr().addr() - request.as_ptr().addr();
        let end = start + node.len();
        match runs.last_mut() {
            Some(last) if request.get(last.end..start) == Some(b",") => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// A body of several pieces and known length.
struct Pieces {
    pieces: VecDeque<Bytes>,
    left: usize,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let next = self.pieces.pop_front();
        self.left -= next.as_ref().map_or(0, Bytes::len);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_sent_in_one_piece() {
        let request = br#"[{"a":1},{"b":2},  {"c":3},{"d":4},{"e":5}]"#;
        let part = |range: Range<usize>| std::str::from_utf8(&request[range]).unwrap();
        let (a, b, c, e) = (part(1..8), part(9..16), part(19..26), part(35..42));
        assert_eq!(runs(request, &[a, b, c, e]), [1..16, 19..26, 35..42]);
        assert!(runs(request, &[]).is_empty());
    }
}
