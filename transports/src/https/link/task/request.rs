//! One request: made, and what comes of it told.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::Came;
use crate::https::posts::{Content, PostError, Posts};
use crate::https::session::{CarrierId, Failure};

/// A request to be made.
pub(super) struct Post {
    pub(super) carrier: CarrierId,
    pub(super) path: String,
    pub(super) content: Content,
    pub(super) patient: bool,
}

/// Joins parts, without copying if there is one.
pub(super) fn joined(parts: &[Bytes]) -> Bytes {
    if let [one] = parts { one.clone() } else { parts.concat().into() }
}

/// Makes one request, and tells what comes of it.
pub(super) async fn request(posts: Arc<Posts>, post: Post, came: mpsc::Sender<(CarrierId, Came)>) {
    let carrier = post.carrier;
    let outcome = exchange(&posts, post, &came).await;
    let last = outcome.unwrap_or_else(|error| {
        tracing::debug!(%error, "a request failed");
        Came::Failure(Failure::Broken)
    });
    // If nobody hears it, the session is over.
    drop(came.send((carrier, last)).await);
}

async fn exchange(posts: &Posts, post: Post, came: &mpsc::Sender<(CarrierId, Came)>) -> Result<Came, PostError> {
    let Post { carrier, path, content, patient } = post;
    let mut answered = posts.post(&path, content, patient).await?;
    let status = answered.response.status();
    if status != hyper::StatusCode::OK {
        return Ok(Came::Failure(Failure::Status(status.as_u16())));
    }
    while let Some(frame) = answered.response.body_mut().frame().await {
        if let Ok(bytes) = frame?.into_data() {
            drop(came.send((carrier, Came::Bytes(bytes))).await);
        }
    }
    posts.keep(answered);
    Ok(Came::End)
}
