//! `sluice policy keygen`, `sluice policy sign` and `sluice policy verify`

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::common::failed;
use crate::cli::common::{ConfigArgs, Failure, print};
use crate::policy::{Digest, PrivateKey, PublicKey, Signature, TrustedKeys, signature_file};

#[derive(clap::Args)]
pub(in crate::cli) struct SignArgs {
    /// A built component, such as policies/random.wasm.
    file: PathBuf,
    /// The private key, as `sluice policy keygen` wrote it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(clap::Args)]
pub(in crate::cli) struct VerifyArgs {
    /// A built component, with its signature beside it.
    file: PathBuf,
    /// A public key to trust; may be repeated. Default: policies.trusted_keys of the configuration.
    #[arg(long, value_name = "PUBLIC KEY")]
    key: Vec<PublicKey>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn keygen(file: &Path) -> Result<(), Failure> {
    let key = PrivateKey::generate().map_err(|error| Failure::run(format!("create a key: {error}")))?;
    key.store(file).map_err(|error| failed("create", file, &error))?;
    print(&format!("{}\n", key.public()))
}

pub(super) fn sign(args: &SignArgs) -> Result<(), Failure> {
    let key = PrivateKey::read(&args.key).map_err(Failure::run)?;
    let signature = Signature::sign(&key, digest(&args.file)?);
    let path = signature_file(&args.file);
    std::fs::write(&path, format!("{signature}\n")).map_err(|error| failed("write", &path, &error))?;
    print_signer(&args.file, &signature)
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let trusted = match &*args.key {
        [] => args.config.load()?.policies.trusted_keys,
        keys => TrustedKeys::from(keys.to_vec()),
    };
    if trusted.is_empty() {
        return Err(Failure::usage("no key is trusted: set policies.trusted_keys, or name a public key with --key"));
    }
    let signature = read(&signature_file(&args.file))?;
    let checked = trusted.check(digest(&args.file)?, signature.as_ref());
    checked.map_err(|error| Failure::run(format!("{}: {error}", args.file.display())))?;
    signature.map_or(Ok(()), |signature| print_signer(&args.file, &signature))
}

/// `None` if there is no such file.
fn read(signature: &Path) -> Result<Option<Signature>, Failure> {
    match std::fs::read_to_string(signature) {
        Ok(text) => {
            let parsed = text.parse().map(Some);
            parsed.map_err(|error| Failure::run(format!("{}: {error}", signature.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", signature, &error)),
    }
}

fn digest(component: &Path) -> Result<Digest, Failure> {
    let bytes = std::fs::read(component).map_err(|error| failed("read", component, &error))?;
    Ok(Digest::of(&bytes))
}

fn print_signer(component: &Path, signature: &Signature) -> Result<(), Failure> {
    print(&format!("{}: signed by {}\n", component.display(), signature.key))
}
