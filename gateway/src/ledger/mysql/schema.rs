//! The version of the tables. A gateway checks it, `sluice migrate` changes it.

use sqlx::migrate::{Migrate, MigrateError};
use sqlx::{Connection, Executor, MySqlConnection, Row};

use super::call::number;
use super::server::Server;
use crate::ledger::OpenError;
use crate::ledger::migrations::{self, MYSQL};

/// Fails unless the tables are at exactly this binary's version.
pub(super) async fn check(server: &Server, connection: &mut MySqlConnection) -> Result<(), OpenError> {
    let applied = match connection.list_applied_migrations(&MYSQL.table_name).await {
        Ok(applied) => applied,
        Err(MigrateError::Execute(sqlx::Error::Database(error))) if number(&*error) == Some(NO_SUCH_TABLE) => {
            Vec::new()
        }
        Err(error) => return Err(server.failed(error)),
    };
    let found = applied.last().map_or(0, |newest| newest.version);
    let needed = MYSQL.iter().map(|migration| migration.version).max().unwrap_or(0);
    if applied.iter().any(|applied| !MYSQL.version_exists(applied.version)) {
        return Err(OpenError::Ahead { place: server.place(), found, known: needed });
    }
    let interrupted = match found {
        0 => None,
        _ => connection.dirty_version(&MYSQL.table_name).await.map_err(|error| server.failed(error))?,
    };
    let found = interrupted.map_or(found, |version| version - 1);
    if applied.len() < MYSQL.iter().count() || interrupted.is_some() {
        return Err(OpenError::Behind { place: server.place(), found, needed });
    }
    Ok(())
}

/// `ER_NO_SUCH_TABLE`.
const NO_SUCH_TABLE: u16 = 1146;

/// Migrates the tables to this binary's version and returns the names of the applied migrations.
pub(in crate::ledger) async fn migrate(server: &Server) -> Result<Vec<String>, OpenError> {
    // The lock comes before the database: vtgate refuses locks in a session that is bound to a shard.
    let mut connection = server.connect_outside().await?;
    lock(server, &mut connection).await.map_err(|error| server.failed(error))?;
    server.enter(&mut connection).await?;
    let applied = apply(&mut connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => {
            let known = MYSQL.iter().map(|migration| migration.version).max().unwrap_or(0);
            OpenError::Ahead { place: server.place(), found, known }
        }
        other => server.failed(other),
    })?;
    // The server releases the lock with the session, also after a failed goodbye.
    let _ = connection.close().await;
    Ok(applied)
}

async fn lock(server: &Server, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let lock = sqlx::query(include_str!("../sql/mysql/lock_migrations.sql")).bind(server.database());
    // By its place: vtgate does not return the alias.
    if lock.fetch_one(connection).await?.try_get::<Option<i64>, _>(0)? == Some(1) {
        Ok(())
    } else {
        let problem = "another `sluice migrate` has been running for ten minutes: wait until it ends, or stop it";
        Err(sqlx::Error::Protocol(problem.into()))
    }
}

async fn apply(connection: &mut MySqlConnection) -> Result<Vec<String>, MigrateError> {
    connection.ensure_migrations_table(&MYSQL.table_name).await?;
    connection.execute(include_str!("../sql/mysql/delete_interrupted.sql")).await?;
    let before = connection.list_applied_migrations(&MYSQL.table_name).await?;
    // As `run`, whose future cannot be sent to another thread.
    MYSQL.run_direct(None, connection, false).await?;
    Ok(migrations::missing(&MYSQL, &before))
}
