//! What all encrypted connections share: rustls, with ring as the only provider of cryptography, and files of certificates.

use std::path::Path;

use rustls::crypto::{CryptoProvider, ring};

use crate::{Error, Result};

/// Sees to it that there is a provider of cryptography for this process.
pub(super) fn provide() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, or the program chose one of its own: that is used.
        let _ = ring::default_provider().install_default();
    }
}

/// Reads a file that an option names, in which there must be something of this kind.
pub(super) fn read(option: &str, path: &Path, kind: &str) -> Result<Vec<u8>> {
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
