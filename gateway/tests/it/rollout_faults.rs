//! A gateway is killed, or the ledger goes down, in each step of a rollout: what is active afterwards, on both gateways?

mod kills;
mod outages;
mod step;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use self::view::View;
use crate::checker::{Exchange, Reply};
use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Databases, Gateway, Launch, eventually};

/// Of each gateway.
const PER_SECOND: f64 = 50.0;
/// More coupons than there are requests.
const CAMPAIGNS: [Campaign; 2] = [Campaign::of(100_000, 4), Campaign { coupon: 7_002, ..Campaign::of(100_000, 4) }];
/// Far more than any step needs, also on a slow machine where other tests run.
const PATIENCE: Duration = Duration::from_secs(120);

/// The gateway that the operator calls, and the other one.
const CALLED: usize = 0;
const OTHER: usize = 1;

/// Two gateways under load on one ledger.
struct Pair {
    cluster: Cluster,
    /// The users of each gateway request a coupon of their own.
    crowds: [Crowd; 2],
    load: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    /// How long a gateway may be without the ledger in a rollout.
    ledger_seconds: u64,
}

impl Pair {
    async fn start(databases: Databases, ledger_seconds: u64) -> Self {
        // Enough decisions that their replay takes a while.
        let launch = Launch::with(&[("DECISIONS__SAMPLE", "0.2")]);
        let cluster = Cluster::start_on(databases, launch, 2, 1).await;
        for campaign in CAMPAIGNS {
            cluster.gateways[CALLED].create(campaign).await;
            cluster.wait_for_campaign(campaign.coupon).await;
        }
        let crowds = [CALLED, OTHER].map(|of| Crowd::at(&cluster.gateways[of], CAMPAIGNS[of].coupon));
        let (mut load, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for crowd in crowds.clone() {
            let is_over = Arc::clone(&is_over);
            load.spawn(async move {
                let users = (1..).take_while(|_| !is_over.load(Ordering::Relaxed));
                crowd.send_at_rate(PER_SECOND, users).await;
            });
        }
        Self { cluster, crowds, load, is_over, ledger_seconds }
    }

    /// Ends the load. Every accepted request has an outcome.
    async fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.load.join_all().await;
        for ((crowd, gateway), campaign) in self.crowds.iter().zip(&self.cluster.gateways).zip(CAMPAIGNS) {
            crowd.verify(gateway, campaign).await.assert_holds();
        }
        self.cluster.tear_down().await;
    }

    fn called(&self) -> &Gateway {
        &self.cluster.gateways[CALLED]
    }

    /// What both gateways say, once they agree that no rollout runs.
    async fn at_rest(&self) -> View {
        self.agreed("no rollout runs", View::is_at_rest).await
    }

    /// What both gateways say, once they agree on the rollout that was started since, and it has one of these states.
    async fn agreed_since(&self, before: &View, states: &[&str]) -> View {
        self.agreed(&format!("one of {states:?}"), |view| states.contains(&view.state_since(before))).await
    }

    async fn agreed(&self, what: &str, is_expected: impl Fn(&View) -> bool) -> View {
        let mut last = None;
        let agreed = async || {
            let views = (View::of(self.called()).await?, View::of(&self.cluster.gateways[OTHER]).await?);
            if last.as_ref() != Some(&views) {
                println!("{views:?}");
                last = Some(views.clone());
            }
            let (called, other) = views;
            (called == other && called.is_followed() && is_expected(&called)).then_some(called)
        };
        eventually(&format!("both gateways agree: {what}"), PATIENCE, agreed).await
    }

    /// Ends the rollout of the last case, if it still runs.
    async fn end_rollout(&self, after: &View) {
        if after.state() == "running" {
            let path = format!("/admin/rollouts/{}/abort", after.rollout);
            let aborted = self.called().operator.post(&path, "{}").await;
            assert_eq!(aborted.status, 200, "{aborted}");
        }
    }

    /// The number of answers that each crowd has.
    fn answered(&self) -> [usize; 2] {
        [CALLED, OTHER].map(|of| self.crowds[of].history.exchanges().len())
    }

    /// Every request since then was accepted, except on the connections of a killed gateway.
    fn assert_accepted(&self, since: [usize; 2], killed: &[usize]) {
        for (of, crowd) in self.crowds.iter().enumerate() {
            let is_cut_off = |exchange: &Exchange| {
                killed.contains(&of) && matches!(exchange.reply, Reply::Unanswered | Reply::NotSent)
            };
            for exchange in &crowd.history.exchanges()[since[of]..] {
                assert!(exchange.reply.is_accepted() || is_cut_off(exchange), "gateway {of}: {exchange:?}");
            }
        }
    }
}
