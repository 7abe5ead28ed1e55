//! From a component's bytes to compiled code that can be instantiated.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};

use wasmtime::component::{Component, InstancePre, Linker};

use super::component::ComponentBytes;
use super::digest::Digest;
use super::engine::{Bounds, ENGINE};
use super::error::LoadError;

/// A guest that carries a language runtime takes 12 to 18 MB.
pub(super) const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Switching between a few policies compiles each of them once.
const CACHED_COMPONENTS_MAX: usize = 16;

static CACHE: LazyLock<Mutex<VecDeque<(Digest, Component)>>> = LazyLock::new(Mutex::default);

/// A component that imports nothing, ready to be instantiated.
#[derive(Clone)]
pub(super) struct Compiled {
    pub(super) pre: InstancePre<Bounds>,
}

impl Compiled {
    pub(super) fn new(component: &ComponentBytes) -> Result<Self, LoadError> {
        let bytes = &component.bytes;
        if bytes.len() > COMPONENT_BYTES_MAX {
            return Err(LoadError::TooLarge { bytes_max: COMPONENT_BYTES_MAX, found: bytes.len() });
        }
        if !component.is_web_assembly() {
            return Err(LoadError::NotWebAssembly);
        }
        // The layer field of the header: 1 is a core module.
        if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
            return Err(LoadError::Module);
        }
        let component = compile(component)?;
        // The linker stays empty: a component with an import does not link, which is the proof of the sandbox.
        let pre = Linker::new(&ENGINE)
            .instantiate_pre(&component)
            .map_err(|error| LoadError::Imports(format!("{error:#}")))?;
        Ok(Self { pre })
    }
}

fn compile(ComponentBytes { digest, bytes }: &ComponentBytes) -> Result<Component, LoadError> {
    if let Some(component) = cached(digest) {
        return Ok(component);
    }
    // Compiling takes long, so the cache is not locked meanwhile; a component compiled twice does no harm.
    let component = Component::from_binary(&ENGINE, bytes).map_err(|error| LoadError::Invalid(one_line(&error)))?;
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.push_back((*digest, component.clone()));
    if cache.len() > CACHED_COMPONENTS_MAX {
        cache.pop_front();
    }
    Ok(component)
}

/// The parser adds an excerpt of the bytes, line by line.
fn one_line(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

fn cached(digest: &Digest) -> Option<Component> {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.iter().find(|(cached, _)| cached == digest).map(|(_, component)| component.clone())
}
