//! The relay's face: what each path answers.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anypath_transports::https::session::{SessionId, split_session_id};
use anypath_transports::https::{DESCRIPTOR_PATH, Descriptor};
use anypath_wire::KeyPair;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::budget::{Budget, Share};
use crate::crowd::{Crowd, Pace, address_of};
use crate::driver::{Input, Piece};
use crate::duplex;
use crate::metrics::Metrics;
use crate::socket;
use crate::tls::ServerTls;

/// What all connections share.
pub(crate) struct Face {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) identity: KeyPair,
    pub(crate) descriptor: Descriptor,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) page: String,
    pub(crate) metrics: Metrics,
    pub(crate) is_retiring: watch::Receiver<bool>,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_time_max: Duration,
    pub(crate) bodies: Budget,
    pub(crate) fronts: Vec<IpAddr>,
    pub(crate) pace: Pace,
    pub(crate) sessions: Crowd,
}

impl Face {
    /// Returns what the relay says about itself, signed, with the certificate that it has now.
    fn descriptor(&self) -> String {
        let tls_key = self.tls.as_ref().and_then(ServerTls::key_hash);
        Descriptor { tls_key, ..self.descriptor.clone() }.encode(&self.identity)
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From {
    pub(crate) address: IpAddr,
    /// Whether it is the first on its connection, where that tells anything: with a front, the connection is the front's.
    pub(crate) is_new: Option<bool>,
}

/// Answers a request.
pub(crate) async fn answer(
    face: Arc<Face>,
    from: From,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let route = Route::of(request.method(), request.uri().path());
    // Who balances relays tries another one; sessions that are here go on.
    let is_retiring = *face.is_retiring.borrow() && !matches!(route, Route::Exchange | Route::Socket | Route::Duplex);
    let mut response = match route {
        _ if is_retiring => status(StatusCode::SERVICE_UNAVAILABLE),
        Route::Page => text("text/html; charset=utf-8", face.page.clone()),
        Route::Descriptor => text("text/plain; charset=utf-8", face.descriptor()),
        Route::Robots => text("text/plain", "User-agent: *\nDisallow: /v1/\n".to_owned()),
        Route::Open => open(&face, from.address, request).await,
        Route::Exchange => exchange(&face, from.is_new, request).await,
        Route::Socket => socket::upgrade(&face, request),
        Route::Duplex => duplex::begin(&face, request),
        Route::Nowhere => status(StatusCode::NOT_FOUND),
    };
    face.metrics.request(route.name(), response.status().as_u16());
    response.headers_mut().insert(SERVER, HeaderValue::from_static("anypath relay"));
    if is_retiring {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// What may be asked for.
enum Route {
    Page,
    Descriptor,
    Robots,
    Open,
    Exchange,
    Socket,
    Duplex,
    Nowhere,
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        match (method, path) {
            (&Method::GET | &Method::HEAD, "/") => Self::Page,
            (&Method::GET | &Method::HEAD, DESCRIPTOR_PATH) => Self::Descriptor,
            (&Method::GET | &Method::HEAD, "/robots.txt") => Self::Robots,
            (&Method::GET, path) if path.starts_with("/v1/w/") => Self::Socket,
            (&Method::POST, path) if path.starts_with("/v1/w/") => Self::Duplex,
            (&Method::POST, path) if path.starts_with(OPEN_PATH) => Self::Open,
            (&Method::POST, path) if path.starts_with("/v1/x/") => Self::Exchange,
            _ => Self::Nowhere,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Descriptor => "descriptor",
            Self::Robots => "robots",
            Self::Open => "open",
            Self::Exchange => "exchange",
            Self::Socket => "socket",
            Self::Duplex => "duplex",
            Self::Nowhere => "nowhere",
        }
    }
}

async fn open(face: &Face, from: IpAddr, request: Request<Incoming>) -> Response<Answer> {
    let from = address_of(from, &face.fronts, request.headers());
    if !face.pace.allows(from) {
        return status(StatusCode::TOO_MANY_REQUESTS);
    }
    let Some(seat) = face.sessions.enter(from) else { return status(StatusCode::TOO_MANY_REQUESTS) };
    let tag = request.uri().path().strip_prefix(OPEN_PATH).unwrap_or_default().to_owned();
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return status(StatusCode::NOT_FOUND);
    }
    let (body, _share) = match whole(face, request.into_body(), BytesMut::new()).await {
        Ok(body) => body,
        Err(refused) => return status(refused),
    };
    let (reply, replied) = oneshot::channel();
    let sent = face.inputs.send(Input::Open { tag, body, seat, reply }).await;
    match replied.await.ok().flatten().filter(|_| sent.is_ok()) {
        Some(body) => records(Answer::whole(body)),
        None => status(StatusCode::NOT_FOUND),
    }
}

/// Hands a request over, and answers when the session says so.
async fn exchange(face: &Face, is_new: Option<bool>, request: Request<Incoming>) -> Response<Answer> {
    let mut body = request.into_body();
    let Some(begun) = timeout(face.body_time_max, session_of(&mut body)).await.ok().flatten() else {
        return status(StatusCode::NOT_FOUND);
    };
    let (session, came) = begun;
    let (answer, mut pieces) = mpsc::unbounded_channel();
    let (reply, replied) = oneshot::channel();
    if face.inputs.send(Input::Begin { session, is_new, answer, reply }).await.is_err() {
        return status(StatusCode::SERVICE_UNAVAILABLE);
    }
    let number = match replied.await {
        Ok(Ok(number)) => number,
        Ok(Err(forgotten)) => return records(Answer::whole(forgotten)),
        Err(_) => return status(StatusCode::SERVICE_UNAVAILABLE),
    };
    let mut here = Here { inputs: face.inputs.clone(), gone: Some(Input::Gone { session, number }) };
    let (bytes, share) = match whole(face, body, came).await {
        Ok(body) => body,
        Err(refused) => return status(refused),
    };
    let handed = face.inputs.send(Input::Bytes { session, number, bytes, share: Some(share) }).await.is_ok()
        && face.inputs.send(Input::End { session, number }).await.is_ok();
    let since = Instant::now();
    let piece = pieces.recv().await.filter(|_| handed);
    face.metrics.held(since.elapsed());
    match piece {
        Some(Piece { bytes, ends: true }) => {
            here.gone = None;
            records(Answer::whole(bytes.concat().into()))
        }
        Some(Piece { bytes, ends: false }) => {
            records(Answer { first: Some(bytes.concat().into()), rest: Some((pieces, Guard::Here(here))) })
        }
        None => {
            here.gone = None;
            status(StatusCode::NOT_FOUND)
        }
    }
}

/// Reads as much of a body as names its session; returns that and what came with it.
pub(crate) async fn session_of(body: &mut Incoming) -> Option<(SessionId, BytesMut)> {
    let mut came = BytesMut::new();
    loop {
        if let Some((session, _)) = split_session_id(&came) {
            let rest = came.split_off(SESSION_ID_BYTES);
            return Some((session, rest));
        }
        came.extend_from_slice(&body.frame().await?.ok()?.into_data().ok()?);
    }
}

/// Reads a body to its end; otherwise it is too long, too slow or broken, or there are too many at once.
async fn whole(face: &Face, mut body: Incoming, mut came: BytesMut) -> Result<(Bytes, Share), StatusCode> {
    let hint = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if hint > face.body_bytes_max {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut share = face.bodies.share();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else { continue };
            if came.len() + data.len() > face.body_bytes_max {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            if !share.grow(data.len()) {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            came.extend_from_slice(&data);
        }
        Ok(came.freeze())
    };
    let body = timeout(face.body_time_max, reading).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)??;
    Ok((body, share))
}

fn text(kind: &'static str, text: String) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub(crate) fn status(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Returns an answer with records, which nothing on the way should keep, change or wait for the end of.
pub(crate) fn records(answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Tells the hub when a request is gone, however that comes about.
pub(crate) struct Here {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) gone: Option<Input>,
}

impl Drop for Here {
    fn drop(&mut self) {
        let Some(gone) = self.gone.take() else { return };
        // The hub is behind: somebody has to wait for it.
        if let Err(mpsc::error::TrySendError::Full(gone)) = self.inputs.try_send(gone) {
            let inputs = self.inputs.clone();
            tokio::spawn(async move { drop(inputs.send(gone).await) });
        }
    }
}

/// An answer's body: whole, or in pieces as they come.
pub(crate) struct Answer {
    first: Option<Bytes>,
    rest: Option<(mpsc::UnboundedReceiver<Piece>, Guard)>,
}

/// What an answer in pieces holds until it is over, or nobody hears it any more.
enum Guard {
    /// Tells the hub, unless it has ended it.
    Here(Here),
    /// Tells who serves the request.
    Open(#[expect(dead_code, reason = "it is there to be dropped")] oneshot::Sender<()>),
}

impl Answer {
    fn whole(bytes: Bytes) -> Self {
        Self { first: Some(bytes), rest: None }
    }

    /// Makes one of pieces that all come later.
    pub(crate) fn open(pieces: mpsc::UnboundedReceiver<Piece>, open: oneshot::Sender<()>) -> Self {
        Self { first: None, rest: Some((pieces, Guard::Open(open))) }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some((pieces, guard)) = &mut self.rest else { return Poll::Ready(None) };
        let piece = std::task::ready!(pieces.poll_recv(context));
        let ends = piece.as_ref().is_none_or(|piece| piece.ends);
        if ends {
            if let Guard::Here(here) = guard {
                here.gone = None;
            }
            self.rest = None;
        }
        let data = piece.map(|piece| Bytes::from(piece.bytes.concat())).filter(|data| !data.is_empty());
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.first.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.first.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// Where sessions are opened; a tag follows.
const OPEN_PATH: &str = "/v1/o/";
/// The longest tag: a balancer needs no more.
const TAG_BYTES_MAX: usize = 32;
/// How long a session's number is, in bytes.
const SESSION_ID_BYTES: usize = 16;
