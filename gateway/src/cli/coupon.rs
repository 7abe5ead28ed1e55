//! `sluice coupon`

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin_client::{AdminArgs, AdminClient, AdminClientError};
use super::common::{Failure, Reader, block_on, print, print_bytes, warn};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Call(Call),
    /// Print all outcomes of one campaign, one JSON object a line.
    /// Exits with 1 if outcomes of the campaign were deleted: the output has only those that are left.
    Export {
        /// The coupon id.
        coupon: u64,
    },
}

/// A call with one answer.
#[derive(Subcommand)]
enum Call {
    /// Create a campaign: a number of coupons, spread over shards.
    Create {
        /// The coupon id.
        #[arg(long)]
        coupon: u64,
        /// The id of the coupon's terms (policyId in requests; not a WebAssembly policy).
        #[arg(long)]
        policy: u64,
        /// The number of coupons.
        #[arg(long)]
        total: u64,
        /// The number of shards that hold the stock.
        #[arg(long, default_value_t = 4)]
        shards: u32,
        /// The most coupons that one user gets.
        #[arg(long, default_value_t = 1)]
        per_user_limit: u32,
        /// Opening time, such as 2026-12-24T00:00:00+09:00. Default: now.
        #[arg(long)]
        opens_at: Option<String>,
        /// Closing time. Default: never.
        #[arg(long)]
        closes_at: Option<String>,
        /// The ledger group that holds the campaign. Default: by a hash of the coupon id.
        #[arg(long)]
        group: Option<u32>,
    },
    /// List all campaigns.
    List {
        /// Only those of this ledger group, which are listed also while another group is unavailable.
        #[arg(long)]
        group: Option<u32>,
    },
    /// Show one campaign, shard by shard.
    Show {
        /// The coupon id.
        coupon: u64,
    },
    /// Show which policies decide about requests for one coupon, and which of them it sets itself.
    Pipeline {
        /// The coupon id.
        coupon: u64,
    },
    /// Check one campaign in the ledger: granted + remaining = total.
    /// Exits with 1 if the check fails.
    Audit {
        /// The coupon id.
        coupon: u64,
        /// Also count every outcome of the coupon: the tallies must agree, unless outcomes were deleted, and no user
        /// may be over the limit.
        #[arg(long)]
        recount: bool,
    },
    /// Refuse new requests until `resume`. Accepted requests are settled.
    Pause {
        /// The coupon id.
        coupon: u64,
    },
    /// Accept requests again.
    Resume {
        /// The coupon id.
        coupon: u64,
    },
    /// Refuse new requests for good. Accepted requests are settled.
    Close {
        /// The coupon id.
        coupon: u64,
    },
    /// Add coupons to the stock, spread over the shards.
    TopUp {
        /// The coupon id.
        coupon: u64,
        /// The number of coupons to add.
        amount: u64,
    },
    /// Spread the remaining stock over another number of shards, while requests arrive.
    Reshard {
        /// The coupon id.
        coupon: u64,
        /// The new number of shards.
        shards: u32,
    },
}

pub(super) fn run(Args { admin, command }: &Args) -> Result<(), Failure> {
    let client = admin.client()?;
    match command {
        Command::Call(command) => run_call(admin, &client, command),
        Command::Export { coupon } => block_on(export(&client, *coupon))?,
    }
}

fn run_call(admin: &AdminArgs, client: &AdminClient, command: &Call) -> Result<(), Failure> {
    let answer = block_on(call(client, command))?.map_err(Failure::run)?;
    print(&admin.format(&answer))?;
    match command {
        Call::Audit { recount, .. } => check_audit(&answer, *recount).map_err(Failure::run),
        _ => Ok(()),
    }
}

fn check_audit(audit: &Value, recount: bool) -> Result<(), &'static str> {
    let outcomes_deleted = audit["recount"]["outcomesDeleted"] == json!(true);
    if outcomes_deleted {
        warn("outcomes of this campaign were deleted: the recount is not compared with the tallies");
    }
    if audit["balanced"] != json!(true) {
        Err("audit failed: granted + remaining differs from total")
    } else if recount && !outcomes_deleted && audit["recount"]["agrees"] != json!(true) {
        Err("audit failed: the tallies differ from the outcomes")
    } else if recount && audit["recount"]["usersOverLimit"] != json!(0) {
        Err("audit failed: a user is over the limit")
    } else {
        Ok(())
    }
}

/// Ends early without a failure when the reader of standard output has all it wants.
async fn export(client: &AdminClient, coupon: u64) -> Result<(), Failure> {
    let mut outcomes = client.download(&format!("/admin/coupons/{coupon}/outcomes")).await.map_err(Failure::run)?;
    let outcomes_deleted = outcomes.has_header("sluice-outcomes-deleted");
    while let Some(lines) = outcomes.next().await.map_err(Failure::run)? {
        if print_bytes(&lines)? == Reader::Closed {
            return Ok(());
        }
    }
    if outcomes_deleted { Err(incomplete(coupon)) } else { Ok(()) }
}

fn incomplete(coupon: u64) -> Failure {
    Failure::run(format!(
        "export of coupon {coupon} is incomplete: outcomes were deleted before it; export a campaign within \
         ledger.keep_rejections_hours after it closed"
    ))
}

async fn call(client: &AdminClient, command: &Call) -> Result<Value, AdminClientError> {
    let path = |coupon: &u64, action: &str| format!("/admin/coupons/{coupon}{action}");
    match command {
        Call::Create { coupon, policy, total, shards, per_user_limit, opens_at, closes_at, group } => {
            let mut body = json!({
                "couponId": coupon, "policyId": policy, "total": total, "shards": shards,
                "perUserLimit": per_user_limit, "opensAt": opens_at, "closesAt": closes_at,
            });
            if let Some(group) = group {
                body["group"] = json!(group);
            }
            client.post("/admin/coupons", Some(body)).await
        }
        Call::List { group: None } => client.get("/admin/coupons").await,
        Call::List { group: Some(group) } => client.get(&format!("/admin/coupons?group={group}")).await,
        Call::Show { coupon } => client.get(&path(coupon, "")).await,
        Call::Pipeline { coupon } => client.get(&path(coupon, "/pipeline")).await,
        Call::Audit { coupon, recount: false } => client.get(&path(coupon, "/audit")).await,
        Call::Audit { coupon, recount: true } => client.get(&path(coupon, "/audit?recount=true")).await,
        Call::Pause { coupon } => client.post(&path(coupon, "/pause"), None).await,
        Call::Resume { coupon } => client.post(&path(coupon, "/resume"), None).await,
        Call::Close { coupon } => client.post(&path(coupon, "/close"), None).await,
        Call::TopUp { coupon, amount } => client.post_once(&path(coupon, "/top-up"), json!({ "amount": amount })).await,
        Call::Reshard { coupon, shards } => {
            client.post_once(&path(coupon, "/reshard"), json!({ "shards": shards })).await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_export_after_outcomes_were_deleted_fails_and_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let admin = format!("http://{}", listener.local_addr().expect("bound"));
        let gateway = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
            let answer = b"HTTP/1.1 200 OK\r\nSluice-Outcomes-Deleted: true\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).expect("answers");
        });
        let CommandLine { args } = CommandLine::parse_from(["coupon", "export", "104", "--admin", &admin]);
        let failure = run(&args).expect_err("fails");
        gateway.join().expect("answered");
        assert_eq!(failure.code, 1);
        assert!(failure.message.starts_with("export of coupon 104 is incomplete: "), "{}", failure.message);
    }
}
