//! Records that wait in Kafka, and a consumer that settles them on MariaDB.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sluice::coupon::{
    Accepted, Arm, CampaignCounts, DecidedBy, GroupLayout, GroupNo, IssueRequest, NewCampaign, PartitionNo, RequestId,
    ShardNo, Terms, now_ms,
};
use sluice::ledger::{self, Ledger};
use sluice::log::{self, Headers, Record};
use sluice::telemetry::Telemetry;
use sqlx::{MySqlConnection, Row};

use super::Server;
use super::distributed::Stage;

pub(crate) const COUPON: u64 = 7;
/// As many as partitions.
pub(crate) const SHARDS: u32 = 12;

/// What the waiting records ask for.
#[derive(Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) records: u64,
    /// The lowest number of its coupons.
    pub(crate) first_coupon: u64,
    pub(crate) coupons: u64,
    /// Of each coupon.
    pub(crate) stock: u64,
    pub(crate) ids: Ids,
}

#[derive(Clone, Copy)]
pub(crate) enum Ids {
    /// As of requests without an Idempotency-Key: new rows are neighbours in the ledger's index.
    OrderedByTime,
    /// As of requests with a key: new rows are anywhere among those of their coupon.
    UnderKeys,
}

impl Ids {
    fn id(self, request: &IssueRequest) -> RequestId {
        match self {
            Self::OrderedByTime => RequestId::new(),
            Self::UnderKeys => request.id_under(b"one request of each user"),
        }
    }
}

impl Backlog {
    /// Creates the campaigns and appends the records, as a gateway would.
    pub(crate) async fn fill(self, stage: &Stage) {
        self.create_campaigns_on(stage).await;
        self.append(&stage.log()).await;
    }

    pub(crate) async fn create_campaigns_on(self, stage: &Stage) {
        let opened = ledger::open_unverified(&stage.ledger(), stage.log().partitions).await;
        let ledger = opened.expect("opens");
        self.create_campaigns(&*ledger).await;
        ledger.close().await;
    }

    pub(crate) async fn create_campaigns(self, ledger: &dyn Ledger) {
        for coupon in self.first_coupon..self.first_coupon + self.coupons {
            ledger.create_campaign(&campaign(coupon, self.stock)).await.expect("makes the campaign");
        }
    }

    pub(crate) async fn append(self, log: &log::Options) {
        let layout = GroupLayout::new(log.groups, log.partitions);
        let (log, background) = log::open(log, &Telemetry::new()).await.expect("opens");
        background.into_iter().for_each(|task| _ = tokio::spawn(task.run));
        let mut waiting = Vec::new();
        for user in 1..=self.records {
            let (partition, record) = self.record(user, layout);
            waiting.push(log.append(partition, record).expect("has room"));
            if waiting.len() == 4096 {
                join_all(waiting.drain(..)).await.into_iter().for_each(|ack| _ = ack.expect("is durable"));
            }
        }
        join_all(waiting).await.into_iter().for_each(|ack| _ = ack.expect("is durable"));
        log.close().await;
    }

    pub(crate) fn record(self, user: u64, layout: GroupLayout) -> (PartitionNo, Record) {
        let coupon = self.first_coupon + user % self.coupons;
        // As even as a random picker, but no shard is exhausted early.
        let shard_no = ShardNo(u32::try_from(user / self.coupons % u64::from(SHARDS)).expect("a shard"));
        let request = request(user, coupon);
        let accepted = accepted(self.ids.id(&request), request, shard_no);
        let coupon_id = accepted.request.coupon_id;
        let group = GroupNo::of(coupon_id, layout.number_of_groups());
        let partition = layout.partition(group, coupon_id, shard_no);
        let decided_by = DecidedBy { generation: accepted.generation, arm: accepted.arm };
        let headers = Headers { request_id: Some(accepted.request_id), traceparent: None, decided_by };
        (partition, Record { key: format!("{coupon}:{shard_no}"), headers, value: accepted.encode() })
    }

    /// The id of this user's request.
    pub(crate) fn request_id(self, user: u64) -> RequestId {
        self.ids.id(&request(user, self.first_coupon + user % self.coupons))
    }

    /// Settles the records with one new consumer, which reaches the database at `database` if that is given. Returns
    /// its records per second from the first to the last, and its peak memory in MiB.
    pub(crate) async fn drain(
        self,
        stage: &Stage,
        database: Option<SocketAddr>,
        variables: &[(&'static str, &str)],
    ) -> (f64, u64) {
        let own = stage.variables(database);
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let variables: Vec<_> = own.chain(variables.iter().copied()).collect();
        let mut connections = stage.connect_all().await;
        let settled_before = settled(&mut connections).await;
        let consumer = Server::sluice("consumer", &variables);
        let mut begun = None;
        loop {
            let settled = settled(&mut connections).await - settled_before;
            if settled > 0 {
                // Records that settled before the first query have no known duration, so they are not counted.
                let (begun_at, uncounted) = *begun.get_or_insert((Instant::now(), settled));
                if settled == self.records {
                    let rate = (self.records - uncounted) as f64 / begun_at.elapsed().as_secs_f64();
                    return (rate, consumer.peak_mib());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn campaign(coupon: u64, stock: u64) -> NewCampaign {
    NewCampaign {
        coupon_id: coupon.try_into().expect("in range"),
        policy_id: 21_u64.try_into().expect("in range"),
        total: stock,
        shards: SHARDS,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    }
}

fn request(user: u64, coupon: u64) -> IssueRequest {
    IssueRequest {
        user_id: user.try_into().expect("in range"),
        coupon_id: coupon.try_into().expect("in range"),
        policy_id: 21_u64.try_into().expect("in range"),
        terms: terms(),
    }
}

fn accepted(request_id: RequestId, request: IssueRequest, shard_no: ShardNo) -> Accepted {
    Accepted {
        request_id,
        arrived_at_ms: now_ms(),
        shard_no,
        generation: 1,
        arm: Arm::Active,
        fingerprint: None,
        campaign_counts: CampaignCounts::default(),
        request,
    }
}

fn terms() -> Terms {
    Terms {
        type_snapshot: "FIXED".to_owned(),
        discount_rate_snapshot: Some(10.0),
        discount_amount_snapshot: Some(1000),
        minimum_order_amount_snapshot: Some(5000),
        usage_period_snapshot: Some(30),
        expired_at: Some("2025-12-31T23:59:59".parse().expect("a date")),
    }
}

async fn settled(connections: &mut [MySqlConnection]) -> u64 {
    let sum = "SELECT cast(coalesce(sum(next_offset), 0) AS UNSIGNED) AS settled FROM partition_offset";
    let mut settled = 0;
    for connection in connections {
        settled += sqlx::query(sum).fetch_one(connection).await.expect("reads").get::<u64, _>("settled");
    }
    settled
}
