//! A web service whose handler works under a lock, answers 409 if it is busy, and 503 in an outage.
//!
//! Run it with `cargo run -p arbiter-lock --example http_handler`. It serves requests of its own and
//! ends; with an address as argument (`-- 127.0.0.1:8080`) it serves until Ctrl-C. It uses the
//! store that `ARBITER_STORE` names, or one in memory.

use std::time::Duration;

use arbiter_lock::{Client, Error};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn service(client: Client) -> Router {
    Router::new()
        .route("/accounts/{id}/debit", post(debit))
        .route("/ready", get(ready))
        .with_state(client)
}

/// Debits an account. If the request is canceled, the work is dropped and the lock is released.
async fn debit(State(client): State<Client>, Path(id): Path<u32>) -> Result<String, Failed> {
    let lock = client
        .lock(&format!("account:{id}"))
        .wait_timeout(Duration::from_millis(200));
    let balance = lock
        .run(|hold| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            format!("debited under fence {}", hold.fence())
        })
        .await?;
    Ok(balance)
}

/// Answers a readiness probe, without I/O.
async fn ready(State(client): State<Client>) -> Response {
    let health = client.health();
    let status = match health.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, health.to_string()).into_response()
}

struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::Contended(_) => StatusCode::CONFLICT,
            Error::Unavailable(_) | Error::Lost(_) | Error::Closed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // The message names the holder and the server: log it, and keep it from the caller.
        println!("log: {}", self.0);
        (status, [("retry-after", "1")], "try again").into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::connect_lazy(&store)?; // the service starts before its store
    let given = std::env::args().nth(1);
    let listener = TcpListener::bind(given.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    let serving = axum::serve(listener, service(client.clone())).with_graceful_shutdown(async {
        let _ = tokio::signal::ctrl_c().await;
    });
    if given.is_some() {
        println!("serving on {address}: POST /accounts/7/debit, GET /ready");
        serving.await?;
    } else {
        tokio::spawn(serving.into_future());
        println!("free: {}", ask(address, "POST /accounts/7/debit").await?);
        let other = client
            .lock("account:7")
            .label("another service")
            .acquire()
            .await?;
        println!("held: {}", ask(address, "POST /accounts/7/debit").await?);
        other.release().await?;
        println!("ready: {}", ask(address, "GET /ready").await?);
    }
    client.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Sends a request, and returns the status and the body of the answer.
async fn ask(address: std::net::SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default().to_owned();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok(format!("{status}: {body}"))
}
