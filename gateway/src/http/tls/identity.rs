//! A certificate with its key, ready for handshakes.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{AlpnError, SslAcceptor, SslMethod, SslOptions, SslSessionCacheMode, SslVersion, select_next_proto};
use openssl::x509::X509;

use super::files::{Files, Pem, TlsError};

/// As ALPN writes it: each name after its length, the preferred one first.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";
/// Of TLS 1.2: forward secret, with authenticated encryption. TLS 1.3 has no others.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20";
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

pub(super) struct Identity {
    /// What it was made of.
    pub(super) pem: Pem,
    pub(super) acceptor: SslAcceptor,
    /// When the first certificate of the chain expires, in seconds since 1970.
    pub(super) expires_at_seconds: i64,
}

impl Identity {
    /// # Errors
    /// If a file holds nothing usable, or the key does not belong to the certificate.
    pub(super) fn new(files: &Files, pem: Pem) -> Result<Self, TlsError> {
        let chain = X509::stack_from_pem(&pem.certificate).map_err(|error| {
            let reason = reason(&error);
            files.certificate_error(format_args!("no usable certificate ({reason}): expected PEM"))
        })?;
        let Some((certificate, issuers)) = chain.split_first() else {
            let problem = "no certificate found: expected PEM, this server's certificate first, then its intermediates";
            return Err(files.certificate_error(problem));
        };
        let key = read_key(&pem.key).map_err(|error| {
            let reason = reason(&error);
            files.key_error(format_args!("no usable private key ({reason}): expected one unencrypted key in PEM"))
        })?;
        if !certificate.public_key().is_ok_and(|public| public.public_eq(&key)) {
            let certificate = files.certificate.display();
            let problem = format!("the key does not belong to the first certificate in {certificate}: name its key");
            return Err(files.key_error(problem));
        }
        let unusable = |error: ErrorStack| files.certificate_error(format_args!("not usable: {}", reason(&error)));
        let acceptor = acceptor(certificate, issuers, &key).map_err(unusable)?;
        let expiries = chain.iter().map(|certificate| in_seconds(certificate.not_after()));
        let expires_at_seconds = expiries.collect::<Result<Vec<_>, _>>().map_err(unusable)?.into_iter().min();
        let expires_at_seconds = expires_at_seconds.expect("the chain has a certificate");
        Ok(Self { pem, acceptor, expires_at_seconds })
    }
}

/// Refuses an encrypted key. Without the callback, OpenSSL would ask for its passphrase at the terminal.
fn read_key(pem: &[u8]) -> Result<PKey<Private>, ErrorStack> {
    PKey::private_key_from_pem_callback(pem, |_| Err(ErrorStack::get()))
}

/// TLS 1.2 and 1.3 only. Sessions are not resumed: no session takes memory, and no key that is kept for long can
/// decrypt a connection.
fn acceptor(certificate: &X509, issuers: &[X509], key: &PKey<Private>) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    builder.set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    builder.set_certificate(certificate)?;
    for issuer in issuers {
        builder.add_extra_chain_cert(issuer.clone())?;
    }
    builder.set_private_key(key)?;
    Ok(builder.build())
}

fn in_seconds(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since_1970 = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since_1970.days) * SECONDS_PER_DAY + i64::from(since_1970.secs))
}

/// The last error says most. The others name functions of the library.
fn reason(error: &ErrorStack) -> String {
    let reason = error.errors().last().and_then(openssl::error::Error::reason);
    reason.map_or_else(|| "not readable".to_owned(), str::to_lowercase)
}
