//! The folder of one gateway: its configuration, its data, and its own copy of the policies.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) struct Home {
    folder: TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Home {
    pub(crate) fn new(http: SocketAddr, admin: SocketAddr) -> Self {
        let home = Self { folder: tempfile::tempdir().expect("a temporary folder"), http, admin };
        home.configure("");
        let copies = home.path().join("policies");
        std::fs::create_dir(&copies).expect("a folder for the policies");
        for component in built_policies() {
            let name = component.file_name().expect("a file");
            std::fs::copy(&component, copies.join(name)).expect("a component is copied");
        }
        home
    }

    /// Writes `sluice.toml` and appends `more`.
    pub(crate) fn configure(&self, more: &str) {
        let Self { http, admin, .. } = self;
        let text = format!(
            "[http]\nlisten = \"{http}\"\n\n[admin]\nlisten = \"{admin}\"\n\n\
             [log]\nurl = \"embedded:data/log\"\n\n[ledger]\nurl = \"sqlite:data/ledger.db\"\n\n\
             [policies]\ndir = \"policies\"\n\n[telemetry]\nlog_format = \"json\"\n\n{more}"
        );
        replace(&self.path().join("sluice.toml"), text.as_bytes());
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Installs a component atomically, so that the watcher never reads half of it.
    pub(crate) fn install(&self, name: &str, component: &[u8]) {
        replace(&self.path().join("policies").join(format!("{name}.wasm")), component);
    }

    pub(crate) fn install_hostile(&self, name: &str) {
        self.install(name, &hostile(name));
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let mut half = path.as_os_str().to_owned();
    half.push(".new");
    std::fs::write(&half, bytes).expect("a file can be written");
    std::fs::rename(&half, path).expect("a file can be renamed");
}

pub(crate) fn policy(name: &str) -> Vec<u8> {
    read(&workspace().join(format!("policies/{name}.wasm")), "policies/build")
}

pub(crate) fn hostile(name: &str) -> Vec<u8> {
    read(&hostile_folder().join(format!("{name}.wasm")), "policies/build --hostile")
}

pub(crate) fn hostile_policies() -> Vec<String> {
    let guests = components(&hostile_folder());
    assert!(!guests.is_empty(), "the hostile policies are not built: run `policies/build --hostile` first");
    guests.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

/// Those of the earlier release if one is upgraded: it cannot load newer ones, and they stay when the gateway is replaced.
fn built_policies() -> Vec<PathBuf> {
    let earlier = std::env::var_os("SLUICE_EARLIER_POLICIES").map(PathBuf::from);
    let policies = components(&earlier.unwrap_or_else(|| workspace().join("policies")));
    assert!(!policies.is_empty(), "the policies are not built: run `policies/build` first");
    policies
}

fn components(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path, made_by: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}: run `{made_by}` first", path.display()))
}

fn hostile_folder() -> PathBuf {
    workspace().join("target/policies/hostile")
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}
