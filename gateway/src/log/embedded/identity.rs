//! The identity of the file. A file that is deleted and created again has none.

use sqlx::Row;

use crate::coupon::LogId;
use crate::log::LogError;
use crate::sqlite_file::SqliteFile;

pub(super) async fn read(file: &SqliteFile) -> Result<Option<LogId>, LogError> {
    let step = "read the log's identity";
    let row = sqlx::query(include_str!("../sql/embedded/select_identity.sql"))
        .fetch_optional(&file.readers)
        .await
        .map_err(|source| LogError { step, source: source.into() })?;
    let Some(row) = row else { return Ok(None) };
    let text: &str = row.try_get("log_id").map_err(|source| LogError { step, source: source.into() })?;
    text.parse().map(Some).map_err(|source: uuid::Error| LogError { step, source: source.into() })
}

pub(super) async fn store(file: &SqliteFile, log_id: LogId) -> Result<(), LogError> {
    sqlx::query(include_str!("../sql/embedded/store_identity.sql"))
        .bind(log_id.to_string())
        .execute(&file.writer)
        .await
        .map_err(|source| LogError { step: "store the log's identity", source: source.into() })?;
    Ok(())
}
