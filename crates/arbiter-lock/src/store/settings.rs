//! The settings of stores.

use std::sync::Arc;
use std::time::Duration;

/// The settings of stores: the prefix of keys, and those of servers.
#[derive(Clone)]
pub(crate) struct ServerSettings {
    pub(crate) key_prefix: String,
    pub(crate) command_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// How connections show in the server's list; else the host and the process.
    pub(crate) client_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// The only certificate authorities to trust, in PEM; else the system's.
    pub(crate) authorities: Option<Vec<u8>>,
    /// The addresses at which this client reaches announced addresses.
    pub(crate) address_map: Option<AddressMap>,
}

/// Returns the address at which a client reaches a server announced at that host and port.
pub(crate) type AddressMap = Arc<dyn Fn(&str, u16) -> (String, u16) + Send + Sync>;

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            key_prefix: "arbiter:".to_owned(),
            command_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            client_name: None,
            username: None,
            password: None,
            authorities: None,
            address_map: None,
        }
    }
}
