//! A reserved port.

use tokio::net::TcpSocket;

/// A port on loopback that is reserved until drop. A server can still listen on it. Connections are
/// refused while none does.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _held: TcpSocket,
}

impl Port {
    pub(crate) fn hold() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // With this option on both sockets, Linux lets a server bind next to a socket that does not
        // listen.
        socket.set_reuseaddr(true).expect("a port that is shared");
        let any = ([127, 0, 0, 1], 0).into();
        socket.bind(any).expect("a free port on loopback");
        Self {
            number: socket.local_addr().expect("its address").port(),
            _held: socket,
        }
    }
}
