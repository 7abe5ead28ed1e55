//! Heavy tests run alone, light ones beside each other.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::const_new(());

/// For a test that loads the machine or measures something: no other runs while it does.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().await
}

/// For every other test that starts a gateway.
pub(crate) async fn together() -> RwLockReadGuard<'static, ()> {
    TURN.read().await
}
