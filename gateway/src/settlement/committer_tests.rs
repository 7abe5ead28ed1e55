use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::campaign_cache::CampaignCache;
use crate::counters::local::Local;
use crate::coupon::{GroupLayout, Offset, PartitionNo, RequestId};
use crate::ledger::Ledger;
use crate::ledger::sqlite::Sqlite;
use crate::log;
use crate::settlement::Progress;
use crate::settlement::verdict::{Item, Verdict};
use crate::telemetry::Telemetry;

const PARTITIONS: [PartitionNo; 3] = [PartitionNo(0), PartitionNo(1), PartitionNo(2)];

struct Fixture {
    committer: Committer,
    ledger: Arc<dyn Ledger>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (telemetry, layout) = (Telemetry::new(), GroupLayout::new(1, 12));
        let options = log::Options {
            url: format!("embedded:{}", folder.path().join("log").display()),
            ..log::Options::default()
        };
        let (log, _) = log::open(&options, &telemetry).await.expect("opens");
        let path = folder.path().join("ledger");
        let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens"));
        let campaigns = CampaignCache::load(Arc::clone(&ledger), layout, telemetry.clone()).await.expect("reads");
        let settlement = Settlement {
            log,
            ledger: Arc::clone(&ledger),
            counters: Arc::new(Local::new()),
            campaigns: Arc::new(campaigns),
            progress: Arc::new(Progress::new(vec![0; 12])),
            telemetry,
            layout,
            batch_records_max: 1024,
        };
        let committer = Committer::new(Arc::new(settlement), GroupNo::FIRST);
        Self { committer, ledger, _folder: folder }
    }

    /// A part of each partition, with one record that cannot be decoded.
    async fn parts(&self, requests: [u8; 3]) -> Vec<Arc<Part>> {
        let mut parts = Vec::new();
        for (partition, name) in PARTITIONS.into_iter().zip(requests) {
            let request_id = RequestId::from([name; 16]);
            let item = Item { partition, offset: 0, request_id, content: Err("truncated".into()) };
            parts.push(Arc::new(Part {
                claim: self.ledger.claim(partition).await.expect("claims"),
                released_offset: 0,
                batch: Arc::new([item]),
                range: 0..1,
                wanted: BTreeMap::new(),
                is_suspect: false,
            }));
        }
        parts
    }

    async fn next_offsets(&self) -> Vec<Offset> {
        let read = PARTITIONS.map(|partition| self.ledger.next_offset(partition));
        join_all(read).await.into_iter().map(|read| read.expect("reads")).collect()
    }
}

fn begin<'a>(committer: &'a Committer, part: &'a Arc<Part>) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
    let mut settling = Box::pin(committer.settle(part));
    assert!(settling.as_mut().now_or_never().is_none(), "it takes time");
    settling
}

fn verdict(answer: Answer) -> Arc<Verdict> {
    match answer {
        Ok(Attempt::Done(verdict)) => verdict,
        _ => panic!("not settled"),
    }
}

#[tokio::test]
async fn parts_that_wait_share_the_next_transaction_and_a_request_in_two_of_them_is_settled_once() {
    let fixture = Fixture::new().await;
    let parts = fixture.parts([1, 2, 2]).await;
    let answers = join_all(parts.iter().map(|part| fixture.committer.settle(part))).await;
    let verdicts: Vec<_> = answers.into_iter().map(verdict).collect();
    assert!(Arc::ptr_eq(&verdicts[1], &verdicts[2]) && !Arc::ptr_eq(&verdicts[0], &verdicts[1]));
    assert_eq!((verdicts[1].settled.len(), verdicts[1].replayed), (1, 1));
    assert_eq!(fixture.next_offsets().await, [1, 1, 1]);
}

#[tokio::test]
async fn a_part_is_settled_by_another_partition_if_the_one_that_settles_it_is_revoked() {
    let fixture = Fixture::new().await;
    let parts = fixture.parts([1, 2, 3]).await;
    let [first, mut second, third] = [0, 1, 2].map(|part| begin(&fixture.committer, &parts[part]));
    verdict(first.await);
    assert!(second.as_mut().now_or_never().is_none(), "it settles both that wait");
    drop(second);
    verdict(third.await);
    assert_eq!(fixture.next_offsets().await, [1, 0, 1]);
}

#[tokio::test]
async fn a_partition_that_is_revoked_while_another_one_settles_it_is_settled() {
    let fixture = Fixture::new().await;
    let parts = fixture.parts([1, 2, 3]).await;
    let [first, mut second, third] = [0, 1, 2].map(|part| begin(&fixture.committer, &parts[part]));
    verdict(first.await);
    assert!(second.as_mut().now_or_never().is_none(), "it settles both that wait");
    drop(third);
    verdict(second.await);
    assert_eq!(fixture.next_offsets().await, [1, 1, 1]);
}

#[test]
fn a_transaction_takes_all_that_fit_into_it_and_those_that_do_not_fit_stay_in_order() {
    let records = |next: &usize| *next;
    assert_eq!(share(vec![1, 4, 2, 3], 4, records), (vec![1, 2], vec![4, 3]));
    assert_eq!(share(vec![4, 3], 4, records), (vec![4], vec![3]));
    assert_eq!(share(Vec::new(), 4, records), (vec![], vec![]));
}
