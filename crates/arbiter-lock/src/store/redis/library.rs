//! The library's name in the server's `CLIENT LIST`.

use redis::aio::MultiplexedConnection;

/// Sends the library's name and version. An error is ignored: the server does not know the command,
/// or the user lacks the right.
pub(super) async fn send_library(mut connection: MultiplexedConnection) {
    let mut library = redis::pipe();
    for (what, value) in [
        ("LIB-NAME", env!("CARGO_PKG_NAME")),
        ("LIB-VER", env!("CARGO_PKG_VERSION")),
    ] {
        let command = library.cmd("CLIENT").arg("SETINFO").arg(what);
        command.arg(value).ignore();
    }
    let _: Result<(), _> = library.query_async(&mut connection).await;
}
