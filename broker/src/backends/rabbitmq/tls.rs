//! Encrypted connections.

use std::fmt;

use crate::{Error, Result, ServerOptions};

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls {
    #[cfg(feature = "tls")]
    pub(super) connector: lapin::tcp::RustlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
impl Tls {
    /// Reads the files of the certificates. The server's must have the host's name, and be signed by one of those in the file of
    /// the URL, or, where it names none, by one that the system trusts.
    pub(super) fn new(options: &ServerOptions) -> Result<Self> {
        use lapin::tcp::RustlsConnectorConfig;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

        use crate::backends::tls::{provide, read};

        provide();
        let unusable = |why: String| {
            Error::invalid("connect", "the certificates of the RabbitMQ URL cannot be used")
                .because(why)
                .advise("ca, cert and key each name a file in the form PEM")
        };
        let certificates = |pem: &[u8]| {
            let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            read.map_err(|e| unusable(e.to_string()))
        };
        let trusted = match &options.ca {
            Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(certificates(&read(
                "ca",
                path,
                "CERTIFICATE",
            )?)?),
            None => RustlsConnectorConfig::new_with_native_certs().map_err(|e| unusable(e.to_string()))?,
        };
        let connector = match &options.identity {
            Some(identity) => {
                let cert = certificates(&read("cert", &identity.cert, "CERTIFICATE")?)?;
                let key = read("key", &identity.key, "PRIVATE KEY")?;
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| unusable(e.to_string()))?;
                trusted.connector_with_single_cert(cert, key)
            }
            None => trusted.connector_with_no_client_auth(),
        };
        Ok(Self { connector: connector.map_err(|e| unusable(e.to_string()))? })
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    /// Refuses what cannot be encrypted.
    pub(super) fn new(_options: &ServerOptions) -> Result<Self> {
        Err(Error::new(
            crate::ErrorKind::Unsupported,
            "connect",
            "amqps:// cannot be used: this program was built without the feature `tls`",
        ))
    }
}
