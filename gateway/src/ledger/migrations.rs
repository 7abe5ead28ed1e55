//! The migrations of both databases, compiled into the binary.
//!
//! They are listed here because `sqlx::migrate!` would compile both databases' drivers a second time, for its
//! procedural macro.

use std::sync::LazyLock;

use sqlx::SqlSafeStr;
use sqlx::migrate::{AppliedMigration, Migration, MigrationType, Migrator};

pub(super) static MYSQL: LazyLock<Migrator> = LazyLock::new(|| {
    migrator([
        (1, "ledger", include_str!("../../../migrations/mysql/0001_ledger.sql")),
        (2, "pipeline", include_str!("../../../migrations/mysql/0002_pipeline.sql")),
        (3, "releases", include_str!("../../../migrations/mysql/0003_releases.sql")),
        (4, "log_identity", include_str!("../../../migrations/mysql/0004_log_identity.sql")),
        (5, "admin_keys", include_str!("../../../migrations/mysql/0005_admin_keys.sql")),
        (6, "tallies", include_str!("../../../migrations/mysql/0006_tallies.sql")),
        (7, "retention", include_str!("../../../migrations/mysql/0007_retention.sql")),
        (8, "policy_versions", include_str!("../../../migrations/mysql/0008_policy_versions.sql")),
        (9, "groups", include_str!("../../../migrations/mysql/0009_groups.sql")),
        (10, "signatures", include_str!("../../../migrations/mysql/0010_signatures.sql")),
        (11, "pipelines_of_coupons", include_str!("../../../migrations/mysql/0011_pipelines_of_coupons.sql")),
        (12, "arm", include_str!("../../../migrations/mysql/0012_arm.sql")),
        (13, "rollouts", include_str!("../../../migrations/mysql/0013_rollouts.sql")),
        (14, "registered_by", include_str!("../../../migrations/mysql/0014_registered_by.sql")),
        (15, "terms_of_campaigns", include_str!("../../../migrations/mysql/0015_terms_of_campaigns.sql")),
    ])
});

pub(super) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| {
    migrator([
        (1, "ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql")),
        (2, "pipeline", include_str!("../../../migrations/sqlite/0002_pipeline.sql")),
        (3, "releases", include_str!("../../../migrations/sqlite/0003_releases.sql")),
        (4, "log_identity", include_str!("../../../migrations/sqlite/0004_log_identity.sql")),
        (5, "admin_keys", include_str!("../../../migrations/sqlite/0005_admin_keys.sql")),
        (6, "tallies", include_str!("../../../migrations/sqlite/0006_tallies.sql")),
        (7, "retention", include_str!("../../../migrations/sqlite/0007_retention.sql")),
        (8, "policy_versions", include_str!("../../../migrations/sqlite/0008_policy_versions.sql")),
        (9, "groups", include_str!("../../../migrations/sqlite/0009_groups.sql")),
        (10, "signatures", include_str!("../../../migrations/sqlite/0010_signatures.sql")),
        (11, "pipelines_of_coupons", include_str!("../../../migrations/sqlite/0011_pipelines_of_coupons.sql")),
        (12, "arm", include_str!("../../../migrations/sqlite/0012_arm.sql")),
        (13, "rollouts", include_str!("../../../migrations/sqlite/0013_rollouts.sql")),
        (14, "registered_by", include_str!("../../../migrations/sqlite/0014_registered_by.sql")),
        (15, "terms_of_campaigns", include_str!("../../../migrations/sqlite/0015_terms_of_campaigns.sql")),
    ])
});

fn migrator<const N: usize>(files: [(i64, &'static str, &'static str); N]) -> Migrator {
    let migration = |(version, description, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(files.map(migration).into());
    // The MySQL adapter takes a lock of its own: MariaDB does not wait for that of sqlx. SQLite needs none.
    migrator.set_locking(false);
    migrator
}

/// The name of the migration's file without its extension.
fn name(migration: &Migration) -> String {
    format!("{:04}_{}", migration.version, migration.description)
}

/// The names of the migrations that `applied` lacks.
pub(super) fn missing(migrator: &Migrator, applied: &[AppliedMigration]) -> Vec<String> {
    let is_missing = |migration: &&Migration| applied.iter().all(|applied| applied.version != migration.version);
    migrator.iter().filter(is_missing).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_compiled_in_unchanged() {
        for (folder, migrator) in [("mysql", &MYSQL), ("sqlite", &SQLITE)] {
            let folder = format!("{}/../migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let entries = std::fs::read_dir(folder).expect("a folder of migrations");
            let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
            files.sort();
            let stems: Vec<_> = files.iter().map(|file| file.file_stem().expect("a name").to_string_lossy()).collect();
            assert_eq!(migrator.iter().map(name).collect::<Vec<_>>(), stems);
            for (file, migration) in files.iter().zip(migrator.iter()) {
                assert_eq!(std::fs::read_to_string(file).expect("a file"), migration.sql.as_str());
            }
        }
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |migrator: &Migrator| migrator.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names(&MYSQL), names(&SQLITE));
    }
}
