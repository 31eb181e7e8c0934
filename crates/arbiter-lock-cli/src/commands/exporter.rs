//! `arbiter exporter`: serves metrics of the locks of a store to Prometheus.

mod survey;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, NoopLogger};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::signal::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};

use survey::{Survey, text};

use crate::cli::{ExporterArgs, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::signals::Listener;
use crate::store;

/// The maximum number of connections.
const MOST_CONNECTIONS: usize = 32;
/// How long a client may take to send its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long reading the store may take if the scrape states no timeout.
const READ_LIMIT: Duration = Duration::from_secs(9);
/// How long reading the store may take at most, even if the scrape states more.
const LONGEST_LIMIT: Duration = Duration::from_secs(60);
/// How much earlier than its timeout a scrape is answered.
const MARGIN: Duration = Duration::from_millis(500);
/// How long a scrape is used for others.
const FRESH: Duration = Duration::from_secs(1);
/// The timeout of a scrape, in seconds.
const TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves metrics until a signal ends it.
pub(crate) async fn exporter(args: &ExporterArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let client = store::client(store, NoopLogger)?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        output::say(&format!("cannot listen on {}: {error}", args.listen));
        Exit::Os
    })?;
    let address = listener.local_addr().map_err(|e| output::refused(&e))?;
    output::say(&format!("metrics: http://{address}/metrics"));
    let exporter = Arc::new(Exporter {
        client,
        pattern: args.pattern.clone(),
        most_named: args.names,
        last: Mutex::default(),
    });
    let ended = end_signal().map_err(|e| output::refused(&e))?;
    tokio::select! {
        () = serve(&listener, &exporter) => Ok(Exit::Success),
        signal = ended => Ok(Exit::DieOf(signal as i32)),
    }
}

/// Completes when a signal ends the exporter.
fn end_signal() -> std::io::Result<impl Future<Output = Signal>> {
    let mut term = Listener::new(Signal::SIGTERM as i32)?;
    let mut int = Listener::new(Signal::SIGINT as i32)?;
    Ok(async move {
        tokio::select! {
            () = term.received() => Signal::SIGTERM,
            () = int.received() => Signal::SIGINT,
        }
    })
}

/// Accepts connections.
async fn serve(listener: &TcpListener, exporter: &Arc<Exporter>) {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let exporter = exporter.clone();
        tokio::spawn(async move {
            serve_connection(stream, exporter).await;
            drop(permit);
        });
    }
}

/// Answers the requests of one connection.
async fn serve_connection(stream: TcpStream, exporter: Arc<Exporter>) {
    let answer = service_fn(|request| {
        let exporter = exporter.clone();
        async move { Ok::<_, Infallible>(exporter.answer(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    // A client that leaves or sends no HTTP needs no report.
    drop(served);
}

struct Exporter {
    client: Client,
    pattern: String,
    most_named: usize,
    /// The last scrape. Locked while the store is read, so that it is read once at a time.
    last: Mutex<Scrape>,
}

/// The last scrape.
#[derive(Default)]
struct Scrape {
    /// When it ended, and its text.
    text: Option<(Instant, Bytes)>,
    failures: u64,
    /// Whether the last failure was printed.
    is_reported: bool,
}

impl Exporter {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let (body, content_type) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => {
                (self.scrape(limit_of(request.headers())).await, OPENMETRICS)
            }
            (&Method::GET | &Method::HEAD, "/") => (Bytes::from("the metrics: /metrics\n"), PLAIN),
            (&Method::GET | &Method::HEAD, _) => {
                *response.status_mut() = StatusCode::NOT_FOUND;
                (Bytes::from("not found; the metrics: /metrics\n"), PLAIN)
            }
            _ => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allowed);
                (Bytes::from("use GET\n"), PLAIN)
            }
        };
        let content_type = hyper::header::HeaderValue::from_static(content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        *response.body_mut() = Full::new(body);
        response
    }

    /// Returns the text of a scrape. The store is read within the limit.
    async fn scrape(&self, limit: Duration) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((ended, text)) = &last.text
            && ended.elapsed() < FRESH
        {
            return text.clone();
        }
        let begun = Instant::now();
        let read = tokio::time::timeout(limit, self.read()).await;
        let failure = match &read {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("the list takes longer than {limit:?}")),
        };
        last.failures += u64::from(failure.is_some());
        // Printed once per outage.
        match &failure {
            Some(failure) if !last.is_reported => output::say(&format!("cannot scrape: {failure}")),
            None if last.is_reported => output::say("scrapes succeed again"),
            _ => {}
        }
        last.is_reported = failure.is_some();
        let survey = read.ok().and_then(Result::ok);
        let text = Bytes::from(text(survey.as_ref(), begun.elapsed(), last.failures));
        last.text = Some((Instant::now(), text.clone()));
        text
    }

    /// Reads the locks of the store.
    async fn read(&self) -> Result<Survey, arbiter_lock::Error> {
        let mut survey = Survey::new(self.most_named);
        let mut locks = self.client.list(&self.pattern);
        while let Some(lock) = locks.next().await? {
            survey.add(lock);
        }
        Ok(survey)
    }
}

/// Returns how long the store may be read for a scrape with these headers.
fn limit_of(headers: &HeaderMap) -> Duration {
    let timeout = headers.get(TIMEOUT_HEADER).and_then(|timeout| {
        let seconds = timeout.to_str().ok()?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    });
    let limit = timeout.map_or(READ_LIMIT, |timeout| timeout.saturating_sub(MARGIN));
    limit.clamp(MARGIN, LONGEST_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrape_ends_before_its_timeout() {
        for (header, limit_ms) in [
            (None, 9_000),
            (Some("10"), 9_500),
            (Some("0.8"), 500),
            (Some("1e6"), 60_000),
            (Some("-1"), 9_000),
            (Some("1e300"), 9_000),
            (Some("x"), 9_000),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(TIMEOUT_HEADER, header.parse().unwrap());
            }
            let limit = Duration::from_millis(limit_ms);
            assert_eq!(limit_of(&headers), limit, "{header:?}");
        }
    }
}
