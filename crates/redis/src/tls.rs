//! The files that TLS needs: whom to trust, and who one is oneself.

use std::path::{Path, PathBuf};

use ::redis::{ClientTlsConfig, TlsCertificates};

use crate::address::AddressError;

/// Where they are. Without a CA the usual public ones are trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TlsFiles {
    pub(crate) fn read(&self) -> Result<TlsCertificates, AddressError> {
        let ca = self.ca.as_deref().map(|path| read(path, "CERTIFICATE")).transpose()?;
        let client_tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: read(certificate, "CERTIFICATE")?,
                client_key: read(key, "PRIVATE KEY")?,
            }),
            (None, None) => None,
            _ => {
                let cause = "it has one of `cert_file` and `key_file`";
                return Err(AddressError::new(cause, "give both, or neither"));
            }
        };
        Ok(TlsCertificates { client_tls, root_cert: ca })
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, AddressError> {
    let bytes = std::fs::read(path).map_err(|error| {
        let cause = format!("{} cannot be read: {error}", path.display());
        AddressError::new(cause, "check the path and who may read it")
    })?;
    // What one ends with says its kind: `BEGIN RSA PRIVATE KEY` is one as well.
    let end = format!("{what}-----");
    if !bytes.windows(end.len()).any(|part| part == end.as_bytes()) {
        let cause = format!("{} has no {} in it", path.display(), what.to_lowercase());
        return Err(AddressError::new(cause, "give a file in the PEM format"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use crate::Redis;

    #[test]
    fn a_file_that_is_missing_or_something_else_is_named() {
        let missing = Redis::open("rediss://a?ca_file=/nowhere/ca.pem").unwrap_err();
        assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let other = Redis::open(&format!("rediss://a?ca_file={manifest}")).unwrap_err();
        assert!(other.to_string().contains("has no certificate"), "{other}");
        let half = Redis::open(&format!("rediss://a?cert_file={manifest}")).unwrap_err();
        assert!(half.fix().contains("both"), "{half}");
    }
}
