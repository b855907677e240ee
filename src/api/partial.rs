//! An answer with all of an object or the part that the request asks for (RFC 9110 §14).

use std::fmt::Display;
use std::ops::Range;

use crate::error::Result;
use crate::http::range::Selection;
use crate::http::{Body, Response, StatusCode, header};

/// 200, 206 or 416 for an object called `name` of `length` bytes; `body` yields a range of it, `0..u64::MAX` for everything.
pub(super) async fn respond(
    selection: Selection,
    name: impl Display,
    length: u64,
    body: impl AsyncFnOnce(Range<u64>) -> Result<Body>,
) -> Result<Response> {
    Ok(match selection {
        Selection::Unsatisfiable => Response::text(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("`{name}` has {length} bytes, and the range asks for others"),
        )
        .with_header(header::CONTENT_RANGE, format!("bytes */{length}")),
        Selection::Part(part) => {
            let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            Response::new(StatusCode::PARTIAL_CONTENT, body(part).await?)
                .with_header(header::CONTENT_RANGE, range)
        }
        Selection::Whole => Response::new(StatusCode::OK, body(0..u64::MAX).await?),
    })
}
