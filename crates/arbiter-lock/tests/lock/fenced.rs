//! The examples of fenced writes pass their own checks.

#[path = "../../examples/fenced_http.rs"]
mod http;
#[path = "../../examples/fenced_redis.rs"]
#[expect(dead_code, reason = "the example's main")]
mod redis;
#[path = "../../examples/fenced_sql.rs"]
mod sql;

#[test]
fn table_refuses_an_older_fence() {
    sql::main().unwrap();
}

#[test]
fn service_refuses_an_older_fence() {
    http::main().unwrap();
}

#[tokio::test]
async fn redis_value_refuses_an_older_fence() {
    let server = testkit::Server::start();
    redis::run(&server.url()).await.unwrap();
}
