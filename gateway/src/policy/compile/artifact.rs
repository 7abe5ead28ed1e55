//! Native code that the compiler has produced.

use wasmtime::Engine;
use wasmtime::component::Component;

/// What the gateway reads of the compiler's output: its memory must not grow with a component. The code of a language
/// runtime takes about 40 MiB.
pub(super) const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Output of the compiler.
pub(super) struct Artifact(Vec<u8>);

impl Artifact {
    /// The caller vouches for the bytes: they run as native code.
    pub(super) fn from_compiler(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// When the component needs more than an instance may have, or the code is for another engine.
    #[expect(unsafe_code, reason = "loading native code; the only place in the gateway")]
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` requires bytes that `Engine::precompile_component` has returned, and runs whatever else
        // it is given. An artifact is made in two places. `child` reads it from the compiler, a process of the same
        // program. `cache` reads one that was written before, from a folder that belongs to this user alone, and checks
        // its digest. Nothing that was uploaded, downloaded or configured becomes an artifact.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
