//! Encrypted connections.

use redis::{Client, ConnectionInfo};

use crate::{Error, Result, ServerOptions};

#[cfg(feature = "tls")]
pub(super) fn client(server: ConnectionInfo, options: &ServerOptions) -> Result<Client> {
    use redis::{ClientTlsConfig, TlsCertificates};

    use crate::backends::tls::{provide, read};

    provide();
    let root_cert = options.ca.as_ref().map(|path| read("ca", path, "CERTIFICATE")).transpose()?;
    let client_tls = match &options.identity {
        Some(identity) => Some(ClientTlsConfig {
            client_cert: read("cert", &identity.cert, "CERTIFICATE")?,
            client_key: read("key", &identity.key, "PRIVATE KEY")?,
        }),
        None => None,
    };
    Client::build_with_tls(server, TlsCertificates { client_tls, root_cert }).map_err(|e| {
        Error::invalid("connect", "the certificates of the redis URL cannot be used")
            .because(e.to_string())
            .advise("ca, cert and key each name a file in the form PEM")
    })
}

#[cfg(not(feature = "tls"))]
pub(super) fn client(_server: ConnectionInfo, _options: &ServerOptions) -> Result<Client> {
    Err(Error::new(
        crate::ErrorKind::Unsupported,
        "connect",
        "rediss:// cannot be used: this program was built without the feature `tls`",
    ))
}
