//! Encrypted connections.
//!
//! In: the files of a certificate and its key. Out: what makes connections of sockets; or a sentence that says what is wrong with
//! which file.

use std::path::Path;
use std::sync::Arc;

use stonechat_runtime::error::reason;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as TlsError, ServerConfig};

use crate::settings::Certificate;

/// Reads a certificate and its key.
pub fn acceptor(certificate: &Certificate) -> Result<TlsAcceptor, String> {
    let (chain, key) = (&certificate.chain, &certificate.key);
    let of_chain = |error| wrong(chain, "certificate", error);
    let certificates = CertificateDer::pem_file_iter(chain).map_err(of_chain)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(of_chain)?;
    if certificates.is_empty() {
        return Err(wrong(chain, "certificate", PemError::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "private key", error))?;
    let unusable = |error: TlsError| match error {
        TlsError::InconsistentKeys(_) => {
            format!(
                "the key in {} does not belong to the certificate in {}; give both of one pair",
                key.display(),
                chain.display()
            )
        }
        error => format!("the certificate in {} cannot be used: {error}", chain.display()),
    };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(certificates, private));
    let mut config = config.map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn wrong(path: &Path, what: &str, error: PemError) -> String {
    match error {
        PemError::Io(error) => format!("cannot read {}: {}", path.display(), reason(&error)),
        PemError::NoItemsFound => {
            format!("there is no {what} in {}; give a file in PEM format", path.display())
        }
        error => format!("the {what} in {} is damaged ({error}); give a file in PEM format", path.display()),
    }
}
