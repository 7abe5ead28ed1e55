//! The rollouts, and what each gateway has measured for them.

use futures_util::future::BoxFuture;
use sqlx::error::ErrorKind;

use super::Sqlite;
use super::call::{check, during};
use crate::ledger::rollout_table::ROLLOUTS_MAX;
use crate::ledger::{LedgerError, RolloutReport, RolloutRow, RolloutTable, rows};

impl RolloutTable for Sqlite {
    fn running(&self) -> BoxFuture<'_, Result<Vec<RolloutRow>, LedgerError>> {
        let step = "read the running rollouts";
        Box::pin(async move {
            let statement = include_str!("../sql/common/select_running_rollouts.sql");
            rows::rollouts(&sqlx::query(statement).fetch_all(&self.file.readers).await.map_err(during(step))?)
        })
    }

    fn get(&self, id: u64) -> BoxFuture<'_, Result<Option<RolloutRow>, LedgerError>> {
        let step = "read the rollout";
        Box::pin(async move {
            let select = sqlx::query(include_str!("../sql/common/select_rollout.sql")).bind(id.cast_signed());
            Ok(rows::rollouts(&select.fetch_all(&self.file.readers).await.map_err(during(step))?)?.pop())
        })
    }

    fn newest(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<RolloutRow>, LedgerError>> {
        let step = "read the rollouts";
        Box::pin(async move {
            let select = sqlx::query(include_str!("../sql/common/select_rollouts.sql")).bind(rows_max);
            rows::rollouts(&select.fetch_all(&self.file.readers).await.map_err(during(step))?)
        })
    }

    fn create<'a>(&'a self, row: &'a RolloutRow) -> BoxFuture<'a, Result<bool, LedgerError>> {
        let step = "store the rollout";
        Box::pin(async move {
            check(&self.file, step)?;
            let insert = sqlx::query(include_str!("../sql/common/insert_rollout.sql"))
                .bind(row.id.cast_signed())
                .bind(row.scope())
                .bind(row.running())
                .bind(row.version.cast_signed())
                .bind(&row.record);
            match insert.execute(&self.file.writer).await {
                Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => return Ok(false),
                inserted => inserted.map_err(during(step))?,
            };
            sqlx::query(include_str!("../sql/common/delete_old_rollouts.sql"))
                .bind(row.id.saturating_sub(ROLLOUTS_MAX).cast_signed())
                .execute(&self.file.writer)
                .await
                .map_err(during("delete old rollouts"))?;
            sqlx::query(include_str!("../sql/common/delete_old_rollout_reports.sql"))
                .execute(&self.file.writer)
                .await
                .map_err(during("delete old rollouts"))?;
            Ok(true)
        })
    }

    fn update<'a>(&'a self, row: &'a RolloutRow) -> BoxFuture<'a, Result<bool, LedgerError>> {
        let step = "change the rollout";
        Box::pin(async move {
            check(&self.file, step)?;
            let update = sqlx::query(include_str!("../sql/common/update_rollout.sql"))
                .bind(row.running())
                .bind(row.version.cast_signed())
                .bind(&row.record)
                .bind(row.id.cast_signed())
                .bind(row.version.cast_signed() - 1);
            Ok(update.execute(&self.file.writer).await.map_err(during(step))?.rows_affected() == 1)
        })
    }

    fn report<'a>(&'a self, report: &'a RolloutReport) -> BoxFuture<'a, Result<(), LedgerError>> {
        let step = "report on the rollout";
        Box::pin(async move {
            check(&self.file, step)?;
            let replace = sqlx::query(include_str!("../sql/common/replace_rollout_report.sql"))
                .bind(report.rollout.cast_signed())
                .bind(&report.gateway)
                .bind(report.step_no)
                .bind(&report.tallies);
            replace.execute(&self.file.writer).await.map_err(during(step))?;
            Ok(())
        })
    }

    fn reports(&self, rollout: u64) -> BoxFuture<'_, Result<Vec<RolloutReport>, LedgerError>> {
        let step = "read the reports on the rollout";
        Box::pin(async move {
            let select =
                sqlx::query(include_str!("../sql/common/select_rollout_reports.sql")).bind(rollout.cast_signed());
            rows::rollout_reports(&select.fetch_all(&self.file.readers).await.map_err(during(step))?)
        })
    }
}
