//! WebSockets: a stream both ways for a session that exists already.

use std::sync::Arc;
use std::time::Duration;

use anypath_transports::https::session::split_session_id;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use crate::driver::{Input, Piece};
use crate::http::{Answer, Face, Here, status};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a request for a WebSocket, and serves it from then on.
pub(crate) fn upgrade(face: &Arc<Face>, mut request: Request<Incoming>) -> Response<Answer> {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let wants = header(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && header(SEC_WEBSOCKET_VERSION) == Some(b"13");
    let Some(accept) = header(SEC_WEBSOCKET_KEY).filter(|_| wants).map(derive_accept_key) else {
        return status(StatusCode::UPGRADE_REQUIRED);
    };
    let Ok(accept) = HeaderValue::from_str(&accept) else { return status(StatusCode::BAD_REQUEST) };
    let (face, upgraded) = (Arc::clone(face), hyper::upgrade::on(&mut request));
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        serve(&face, socket).await;
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Serves one until either end is over. While something is written nothing is read, so that who does not read cannot
/// make us keep more and more answers.
async fn serve(face: &Face, mut socket: Socket) {
    let Some(first) = timeout(face.body_time_max, next(&mut socket)).await.ok().flatten() else { return };
    let Some((session, rest)) = split_session_id(&first) else { return };
    let (answer, mut pieces) = mpsc::unbounded_channel();
    let (reply, replied) = oneshot::channel();
    if face.inputs.send(Input::Begin { session, is_new: None, answer, reply }).await.is_err() {
        return;
    }
    let number = match replied.await {
        Ok(Ok(number)) => number,
        Ok(Err(forgotten)) => return drop(socket.send(Message::Binary(forgotten)).await),
        Err(_) => return,
    };
    let _present = face.metrics.socket();
    let _here = Here { inputs: face.inputs.clone(), gone: Some(Input::Gone { session, number }) };
    let mut bytes = Some(first.slice_ref(rest));
    loop {
        if let Some(bytes) = bytes.take()
            && face.inputs.send(Input::Bytes { session, number, bytes, share: None }).await.is_err()
        {
            return;
        }
        tokio::select! {
            came = next(&mut socket) => match came {
                Some(came) => bytes = Some(came),
                None => return,
            },
            piece = pieces.recv() => {
                let Some(Piece { bytes, ends }) = piece else { return };
                let written = timeout(WRITE_TIME_MAX, write(&mut socket, bytes)).await;
                if ends || !matches!(written, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}

async fn write(socket: &mut Socket, parts: Vec<Bytes>) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    for part in parts {
        socket.feed(Message::Binary(part)).await?;
    }
    socket.flush().await
}

/// Returns the next message; nothing at the end, or if it is none of ours.
async fn next(socket: &mut Socket) -> Option<Bytes> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(bytes) => return Some(bytes),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

/// The longest message, in bytes: a record and what belongs to it.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// How long a client may take to read what is written to it: much longer than any line needs for a few segments.
const WRITE_TIME_MAX: Duration = Duration::from_secs(60);
