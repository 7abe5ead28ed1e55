//! The addresses, certificates and the admin token, which are checked before anything else is opened.

use std::net::SocketAddr;

use super::error::StartError;
use crate::config::{Config, Role};
use crate::http::{self, AdminAccess, AdminTokens, Bound, Reserved, Tls, TlsError};

/// Reserved, so that a wrong address is reported before the process waits for a server. Clients cannot connect yet.
pub(super) struct Listeners {
    /// Absent in the role `consumer`.
    pub(super) public: Option<Listener>,
    pub(super) admin: Listener,
    pub(super) access: AdminAccess,
}

/// One address, and the key that configures it.
pub(super) struct Listener {
    key: &'static str,
    reserved: Reserved,
    tls: Option<Tls>,
}

impl Listeners {
    pub(super) fn reserve(config: &Config) -> Result<Self, StartError> {
        let Certificates { public: public_tls, admin: admin_tls } = Certificates::read(config)?;
        let uses_tls = admin_tls.is_some();
        let access = AdminAccess { tokens: read_tokens(config)?, listen: config.admin.listen.ip(), uses_tls };
        check_addresses(config)?;
        let reserve_public = || Listener::reserve("http.listen", config.http.listen, public_tls);
        let public = (config.role != Role::Consumer).then(reserve_public).transpose()?;
        let admin = Listener::reserve("admin.listen", config.admin.listen, admin_tls)?;
        if !uses_tls && !config.admin.listen.ip().to_canonical().is_loopback() {
            warn_of_plain_admin(config.admin.listen);
        }
        Ok(Self { public, admin, access })
    }
}

fn warn_of_plain_admin(listen: SocketAddr) {
    tracing::warn!(
        %listen,
        "other machines can reach the admin listener without TLS, and tokens can be read on the way: set \
         admin.tls_certificate_file and admin.tls_key_file, or set admin.listen to a loopback address"
    );
}

impl Listener {
    fn reserve(key: &'static str, address: SocketAddr, tls: Option<Tls>) -> Result<Self, StartError> {
        let reserved = http::reserve(address).map_err(|source| StartError::Listen { key, address, source })?;
        Ok(Self { key, reserved, tls })
    }

    /// Lets clients connect.
    pub(super) fn listen(self) -> Result<Bound, StartError> {
        let Self { key, reserved, tls } = self;
        let address = reserved.address;
        reserved.listen(tls).map_err(|source| StartError::Listen { key, address, source })
    }
}

/// The certificates of the listeners that have one.
pub(super) struct Certificates {
    /// Always absent in the role `consumer`, which has no public listener.
    public: Option<Tls>,
    admin: Option<Tls>,
}

impl Certificates {
    pub(super) fn read(config: &Config) -> Result<Self, TlsError> {
        let Config { http, admin, role, .. } = config;
        let public = match role {
            Role::Consumer => None,
            Role::Gateway | Role::All => {
                Tls::open("http", http.tls_certificate_file.as_deref(), http.tls_key_file.as_deref())?
            }
        };
        let admin = Tls::open("admin", admin.tls_certificate_file.as_deref(), admin.tls_key_file.as_deref())?;
        Ok(Self { public, admin })
    }
}

pub(super) fn read_tokens(config: &Config) -> Result<AdminTokens, StartError> {
    AdminTokens::read(&config.admin).map_err(StartError::Token)
}

/// Two listeners on one port of one address would take each other's calls.
pub(super) fn check_addresses(config: &Config) -> Result<(), StartError> {
    let (public, admin) = (config.http.listen, config.admin.listen);
    let has_same_ip = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    let is_same = has_same_ip && public.port() == admin.port() && public.port() != 0;
    if is_same && config.role != Role::Consumer { Err(StartError::SameAddress { public, admin }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn config(public: &str, admin: &str) -> Config {
        let mut config = Config::default();
        config.http.listen = public.parse().expect("an address");
        config.admin.listen = admin.parse().expect("an address");
        config
    }

    #[test]
    fn two_listeners_on_one_address_are_refused_unless_there_is_only_one() {
        for admin in ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080"] {
            let mut config = config("127.0.0.1:8080", admin);
            let error = check_addresses(&config).expect_err("is refused").to_string();
            let expected = format!("http.listen and admin.listen: 127.0.0.1:8080 and {admin} overlap");
            assert!(error.starts_with(&expected), "{error}");
            config.role = Role::Consumer;
            check_addresses(&config).expect("a consumer has one listener");
        }
        for admin in ["127.0.0.1:8081", "127.0.0.2:8080"] {
            check_addresses(&config("127.0.0.1:8080", admin)).expect("do not overlap");
        }
        check_addresses(&config("127.0.0.1:0", "127.0.0.1:0")).expect("port 0 takes a free port");
    }

    #[tokio::test]
    async fn an_address_is_reserved_once_and_clients_connect_only_after_listen() {
        let reserved = Listeners::reserve(&config("127.0.0.1:0", "127.0.0.1:0")).expect("are free");
        let address = reserved.admin.reserved.address;
        assert!(TcpStream::connect(address).is_err(), "nothing listens yet");
        let _admin = reserved.admin.listen().expect("listens");
        TcpStream::connect(address).expect("listens");
        let error = Listeners::reserve(&config("127.0.0.1:0", &address.to_string())).err().expect("is taken");
        assert!(error.to_string().ends_with("stop the process that uses it, or set admin.listen to another port"));
    }
}
