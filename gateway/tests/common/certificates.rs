//! A private CA, and the certificates that it signs. Made anew for each test.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

pub(crate) struct Authority {
    pub(crate) certificate: X509,
    key: PKey<Private>,
}

/// A certificate and its key, both in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (key, name) = (new_key(), name("Test CA"));
        let mut builder = unsigned(&name, &key, 1);
        builder.set_issuer_name(&name).expect("a name");
        builder.append_extension(BasicConstraints::new().critical().ca().build().expect("an extension")).expect("fits");
        builder.sign(&key, MessageDigest::sha256()).expect("signs");
        Self { certificate: builder.build(), key }
    }

    /// A certificate for this machine.
    pub(crate) fn sign(&self, valid_days: u32) -> Pair {
        let key = new_key();
        let mut builder = unsigned(&name("localhost"), &key, valid_days);
        builder.set_issuer_name(self.certificate.subject_name()).expect("a name");
        let hosts =
            SubjectAlternativeName::new().dns("localhost").ip("127.0.0.1").build(&builder.x509v3_context(None, None));
        builder.append_extension(hosts.expect("an extension")).expect("fits");
        builder.sign(&self.key, MessageDigest::sha256()).expect("signs");
        let certificate = builder.build().to_pem().expect("PEM");
        Pair { certificate, key: key.private_key_to_pem_pkcs8().expect("PEM") }
    }
}

fn new_key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&curve).expect("a key")).expect("a key")
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509Name::builder().expect("a name");
    name.append_entry_by_text("CN", common_name).expect("fits");
    name.build()
}

fn unsigned(name: &X509Name, key: &PKey<Private>, valid_days: u32) -> X509Builder {
    let mut serial = BigNum::new().expect("a number");
    serial.rand(64, MsbOption::MAYBE_ZERO, false).expect("random");
    let mut builder = X509::builder().expect("a certificate");
    // Version 3 has the number 2.
    builder.set_version(2).expect("a version");
    builder.set_serial_number(&serial.to_asn1_integer().expect("an integer")).expect("a number");
    builder.set_subject_name(name).expect("a name");
    builder.set_pubkey(key).expect("a key");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("a time")).expect("a time");
    builder.set_not_after(&Asn1Time::days_from_now(valid_days).expect("a time")).expect("a time");
    builder
}
