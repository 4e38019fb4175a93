//! A page of figures for Prometheus, at an address of its own that strangers need not reach.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::driver::Input;
use crate::metrics::Metrics;

/// What the page is made of.
#[derive(Clone)]
pub(crate) struct Figures {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) metrics: Metrics,
}

/// Answers `/metrics`, as long as it is polled.
pub(crate) async fn expose(listener: TcpListener, figures: Figures) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let figures = figures.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(figures.clone(), request));
            let mut builder = Builder::new();
            builder.timer(TokioTimer::new()).keep_alive(false);
            let served = timeout(CONNECTION_TIME_MAX, builder.serve_connection(TokioIo::new(stream), service)).await;
            drop((served, place));
        });
    }
}

async fn answer(figures: Figures, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    }
    let (reply, replied) = oneshot::channel();
    let sent = figures.inputs.send(Input::Size { reply }).await;
    let size = if sent.is_ok() { replied.await.unwrap_or_default() } else { [0; 4] };
    let mut response = Response::new(Full::from(figures.metrics.text(size)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
    Ok(response)
}

/// The form of the page.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How many may ask at once: one or two programs do, some times a minute.
const CONNECTIONS_MAX: usize = 8;
/// How long one of them may take.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
