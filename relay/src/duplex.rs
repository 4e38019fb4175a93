//! Requests that are open both ways, over HTTP/2: a stream for a session that exists already.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::driver::{Input, Piece};
use crate::http::{Answer, Face, Here, records, session_of};

/// Answers such a request at once, and serves it from then on.
pub(crate) fn begin(face: &Arc<Face>, request: Request<Incoming>) -> Response<Answer> {
    let (answer, pieces) = mpsc::unbounded_channel();
    let (open, is_open) = oneshot::channel();
    let face = Arc::clone(face);
    tokio::spawn(async move {
        tokio::select! {
            () = serve(&face, request.into_body(), answer) => {}
            // Nobody hears the answer any more.
            _ = is_open => {}
        }
    });
    records(Answer::open(pieces, open))
}

/// Serves one until the client is done with it.
async fn serve(face: &Face, mut body: Incoming, answer: mpsc::UnboundedSender<Piece>) {
    let begun = timeout(face.body_time_max, session_of(&mut body)).await.ok().flatten();
    let Some((session, came)) = begun else { return };
    let (reply, replied) = oneshot::channel();
    if face.inputs.send(Input::Begin { session, is_new: None, answer: answer.clone(), reply }).await.is_err() {
        return;
    }
    let number = match replied.await {
        Ok(Ok(number)) => number,
        Ok(Err(forgotten)) => return drop(answer.send(Piece { bytes: vec![forgotten], ends: true })),
        Err(_) => return,
    };
    // From here on the hub says when the answer ends.
    drop(answer);
    let _present = face.metrics.duplex();
    let _here = Here { inputs: face.inputs.clone(), gone: Some(Input::Gone { session, number }) };
    let mut bytes = came.freeze();
    loop {
        if !bytes.is_empty() && face.inputs.send(Input::Bytes { session, number, bytes, share: None }).await.is_err() {
            return;
        }
        let Some(Ok(frame)) = body.frame().await else { return };
        bytes = frame.into_data().unwrap_or_default();
    }
}
