//! What is trusted, and what is refused with which words.

use super::*;

fn trusting(keys: &[&PrivateKey]) -> TrustedKeys {
    keys.iter().map(|key| key.public()).collect::<Vec<_>>().into()
}

fn key() -> PrivateKey {
    PrivateKey::generate().expect("random numbers")
}

fn digest() -> Digest {
    Digest::of(b"the bytes of a component")
}

#[test]
fn a_component_is_trusted_if_one_of_the_keys_signed_its_bytes() {
    let (mine, other, unknown) = (key(), key(), key());
    let trusted = trusting(&[&mine, &other]);
    let check = |signer: &PrivateKey| trusted.check(digest(), Some(&Signature::sign(signer, digest())));
    assert_eq!((check(&mine), check(&other)), (Ok(()), Ok(())));
    assert_eq!(check(&unknown), Err(SignatureError::UnknownKey(unknown.public().id())));
    assert_eq!(trusted.check(digest(), None), Err(SignatureError::Unsigned));
    let tampered = trusted.check(Digest::of(b"other bytes"), Some(&Signature::sign(&mine, digest())));
    assert_eq!(tampered, Err(SignatureError::Mismatch(mine.public().id())));
}

#[test]
fn without_trusted_keys_every_component_is_trusted() {
    let none = TrustedKeys::default();
    assert_eq!(none.check(digest(), None), Ok(()));
    assert_eq!(none.check(digest(), Some(&Signature::sign(&key(), digest()))), Ok(()));
}

#[test]
fn what_another_key_signed_or_this_one_for_another_purpose_is_no_signature_of_a_component() {
    let (mine, other) = (key(), key());
    let id = mine.public().id();
    let forged = Signature { key: id, ..Signature::sign(&other, digest()) };
    let bare_digest = Signature { key: id, bytes: mine.sign(digest().as_bytes()) };
    for signature in [forged, bare_digest] {
        assert_eq!(trusting(&[&mine]).check(digest(), Some(&signature)), Err(SignatureError::Mismatch(id)));
    }
}

#[test]
fn signatures_and_keys_read_back_from_text() {
    let mine = key();
    let signature = Signature::sign(&mine, digest());
    assert_eq!(format!("{signature}\n").parse(), Ok(signature));
    assert_eq!(mine.public().to_string().parse(), Ok(mine.public()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("key");
    mine.store(&path).expect("stores");
    assert_eq!(PrivateKey::read(&path).expect("reads").public(), mine.public());
    assert!(mine.store(&path).is_err(), "an existing key is not overwritten");
    let error = PrivateKey::read(&signature_file(&path)).err().expect("is refused");
    assert!(error.starts_with("read ") && error.contains("key.sig: No such file"), "{error}");
}

#[test]
fn text_that_is_no_signature_is_refused_and_quoted_in_part() {
    let signature = Signature::sign(&key(), digest()).to_string();
    let (id, base64) = signature.split_once(' ').expect("two words");
    let (short, unnamed, long) = (format!("{id} {}", &base64[4..]), format!("key {base64}"), "x".repeat(1_000));
    for text in ["", id, base64, &short, &unnamed, &long] {
        let quoted: String = text.chars().take(40).collect();
        assert_eq!(text.parse::<Signature>(), Err(SignatureError::Malformed(quoted)), "{text}");
    }
}

#[test]
fn a_text_that_is_no_public_key_and_a_weak_key_are_refused() {
    let weak = base64::encode_block(&[0; 32]);
    for text in ["", "mine", "AAAA", &weak] {
        let error = text.parse::<PublicKey>().expect_err("is refused").to_string();
        assert_eq!(error, format!("expected a public key as `sluice policy keygen` prints it, found `{text}`"));
    }
}
