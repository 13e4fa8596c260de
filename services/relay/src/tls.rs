//! The certificate of the TLS listeners, which is renewed while the relay runs.
//!
//! A handshake takes the certificate of its moment and keeps it: a renewal touches no connection
//! that is there.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::RelayError;

/// Where the certificate is, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Whether a relay could serve with them.
    ///
    /// # Errors
    /// [`RelayError::Certificate`].
    pub fn check(&self) -> Result<(), RelayError> {
        certified(self, &read(self)?, &aws_lc_rs::default_provider()).map(drop)
    }
}

/// What came of looking for a new certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The files are what they were, or there is no TLS listener.
    Unchanged,
    /// Handshakes from here on get the new one.
    Replaced,
}

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// Of both files' bytes: tells whether there is anything new.
    fingerprint: u64,
}

/// Both files as they were read.
struct Read {
    cert: Vec<u8>,
    key: Vec<u8>,
    fingerprint: u64,
}

impl Certificate {
    /// # Errors
    /// [`RelayError::Certificate`].
    pub(crate) fn load(files: TlsFiles) -> Result<Arc<Self>, RelayError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let read = read(&files)?;
        let key = certified(&files, &read, &provider)?;
        let current = RwLock::new(Loaded { key, fingerprint: read.fingerprint });
        Ok(Arc::new(Self { files, provider, current }))
    }

    /// Takes the files anew if they have changed. Where they are no good the old certificate stays.
    pub(crate) fn reload(&self) -> Result<Reload, RelayError> {
        let read = read(&self.files)?;
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner).fingerprint;
        if read.fingerprint == known {
            return Ok(Reload::Unchanged);
        }
        let key = certified(&self.files, &read, &self.provider)?;
        let loaded = Loaded { key, fingerprint: read.fingerprint };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(Reload::Replaced)
    }

    /// What the TLS listeners speak: TLS 1.2 and 1.3, without client certificates.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, RelayError> {
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.unusable(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        Ok(Arc::new(config))
    }

    fn unusable(&self, cause: &dyn std::fmt::Display) -> RelayError {
        RelayError::Certificate { file: self.files.cert.clone(), cause: cause.to_string() }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.key))
    }
}

fn read(files: &TlsFiles) -> Result<Read, RelayError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| RelayError::Certificate {
            file: path.to_owned(),
            cause: error.to_string(),
        })
    };
    let (cert, key) = (read(&files.cert)?, read(&files.key)?);
    let mut hasher = DefaultHasher::new();
    (&cert, &key).hash(&mut hasher);
    Ok(Read { cert, key, fingerprint: hasher.finish() })
}

fn certified(
    files: &TlsFiles,
    read: &Read,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, RelayError> {
    let bad = |file: &Path, cause: String| RelayError::Certificate { file: file.to_owned(), cause };
    let chain = CertificateDer::pem_slice_iter(&read.cert).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| bad(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, "it holds no certificate in PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read.key)
        .map_err(|error| bad(&files.key, format!("it holds no private key in PEM: {error}")))?;
    // Also checks that both belong together.
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|error| bad(&files.cert, format!("it cannot be used with the key: {error}")))
}
