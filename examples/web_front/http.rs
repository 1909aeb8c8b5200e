//! What is said in HTTP.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
};
use manyhands::{Outcome, TaskId};

pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer whose body is JSON already.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer that says what is wrong.
pub(crate) fn error(status: StatusCode, what: &str) -> Answer {
    json(status, serde_json::json!({ "error": what }).to_string())
}

/// The same where sending it again later may help.
pub(crate) fn later(status: StatusCode, what: &str) -> Answer {
    with(error(status, what), RETRY_AFTER, "1")
}

/// An answer about a task that goes on, and where to ask for its answer.
pub(crate) fn of_task(status: StatusCode, id: &TaskId, what: &str) -> Answer {
    let place = format!("/tasks/{id}");
    let answer = json(status, serde_json::json!({ "status": what, "task": place }).to_string());
    with(with(answer, LOCATION, &place), RETRY_AFTER, "1")
}

/// What became of a task.
pub(crate) fn outcome(id: &TaskId, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Done(result) => json(StatusCode::OK, result.as_str().to_owned()),
        Outcome::Pending { .. } => of_task(StatusCode::ACCEPTED, id, "it is not done yet"),
        Outcome::Dead(why) => error(StatusCode::BAD_GATEWAY, &why),
        Outcome::Cancelled => error(StatusCode::GONE, "it was cancelled"),
        Outcome::Unknown => {
            error(StatusCode::NOT_FOUND, "there is no such task, or its result is kept no longer")
        }
    }
}

pub(crate) fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Whether who asks will come back for the answer: `Prefer: respond-async`, RFC 7240.
pub(crate) fn respond_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = preferences.flat_map(|value| value.split(','));
    preferences.any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// Reads a body of at most so many bytes; else the answer to it.
pub(crate) async fn read(body: Incoming, most: usize) -> Result<Bytes, Answer> {
    let too_large = || error(StatusCode::PAYLOAD_TOO_LARGE, &format!("a body has {most} bytes at most"));
    // One that says so is refused before it is read.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(why) if why.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(error(StatusCode::BAD_REQUEST, "the body broke off")),
    }
}
