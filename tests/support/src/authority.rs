//! Certificates for servers that encrypt.

use std::{fs, io, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Somebody who signs certificates, and a folder for them.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one. Its own certificate is in `ca.pem`.
    ///
    /// # Errors
    ///
    /// If a certificate cannot be made or written.
    pub fn new() -> io::Result<Self> {
        let folder = TempDir::new()?;
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let own = params.self_signed(&key).map_err(io::Error::other)?;
        fs::write(folder.path().join("ca.pem"), own.pem())?;
        Ok(Self { folder, issuer: Issuer::new(params, key) })
    }

    /// The path of a file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for a name, and writes it and its key.
    ///
    /// # Errors
    ///
    /// As [`Authority::new`].
    pub fn sign(&self, name: &str) -> io::Result<[PathBuf; 2]> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let files = ["pem", "key"].map(|ending| self.file(&format!("{name}.{ending}")));
        fs::write(&files[0], cert.pem())?;
        fs::write(&files[1], key.serialize_pem())?;
        Ok(files)
    }
}
