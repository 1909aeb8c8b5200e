//! Encrypted connections: by rustls, with ring as the only provider of cryptography.

use redis::{Client, ConnectionInfo};

use crate::{Error, Result, ServerOptions};

#[cfg(feature = "tls")]
pub(super) fn client(server: ConnectionInfo, options: &ServerOptions) -> Result<Client> {
    use redis::{ClientTlsConfig, TlsCertificates};
    use rustls::crypto::{CryptoProvider, ring};

    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, or the program chose one of its own: that is used.
        let _ = ring::default_provider().install_default();
    }
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

/// Reads a file that an option names, in which there must be something of this kind.
#[cfg(feature = "tls")]
fn read(option: &str, path: &std::path::Path, kind: &str) -> Result<Vec<u8>> {
    let failed = |why: &str, advice: &str| {
        Error::invalid("connect", format!("{option}={} {why}", path.display())).advise(advice)
    };
    let text = std::fs::read(path).map_err(|e| {
        failed("cannot be read", "a file that is there, and that the user of this program may read")
            .because(e)
    })?;
    let is_pem = String::from_utf8_lossy(&text)
        .lines()
        .any(|line| line.starts_with("-----BEGIN") && line.contains(kind));
    if is_pem {
        Ok(text)
    } else {
        Err(failed(
            &format!("holds no {kind} in the form PEM"),
            "openssl x509 -in FILE -text shows a certificate, openssl pkey -in FILE -text a key",
        ))
    }
}

#[cfg(not(feature = "tls"))]
pub(super) fn client(_server: ConnectionInfo, _options: &ServerOptions) -> Result<Client> {
    Err(Error::new(
        crate::ErrorKind::Unsupported,
        "connect",
        "rediss:// cannot be used: this program was built without the feature `tls`",
    ))
}
