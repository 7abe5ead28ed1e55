//! From a core module to a component.

use super::error::LoadError;

/// Builds a component from a core module that carries the metadata of `wit-bindgen`.
///
/// # Errors
/// [`LoadError::Invalid`] when the module does not.
pub fn pack(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let encoded = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| LoadError::Invalid(format!("{error:#}")))
}
