//! The command line. Each command is one call into the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};
use sluice::client::Client;
use sluice::config::Config;
use sluice::{app, ledger, log, policy, telemetry};

const WORKERS_PER_PROCESSOR: usize = 2;

/// First come, first served: an issuance gateway whose decisions are WebAssembly policies.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Start one on this machine, with nothing else installed:
  sluice serve
  curl -i http://127.0.0.1:8080/coupon/issue -H 'Content-Type: application/json' -d '{
    \"userId\": 48213, \"couponId\": 104, \"policyId\": 21, \"typeSnapshot\": \"FIXED\"}'

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM, which lets requests under way finish.
    Serve {
        #[command(flatten)]
        config: ConfigArgs,
        /// What this process does. Gateways and consumers that share a log, a ledger and counters make one
        /// system; start as many of each as are needed, in any order.
        #[arg(long, value_enum, default_value_t = Role::All)]
        role: Role,
    },
    /// Bring the database that ledger.url names to this version. Safe to repeat, and to run twice at once.
    Migrate {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Make the topic that log.url names, with its partitions and replicas. Safe to repeat.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Look at the configuration without running anything.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make campaigns and look at them, through the admin API of a running gateway.
    Coupon {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(subcommand)]
        command: CouponCommand,
    },
    /// Look at policies, and make components of them.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Takes requests.
    Gateway,
    /// Settles what was accepted.
    Consumer,
    /// Both.
    All,
}

#[derive(Subcommand)]
enum TopicCommand {
    /// Make it if it is absent, and verify it.
    Ensure {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration file. Without it, ./sluice.toml where it exists, and defaults where not.
    /// Any key is overridden by SLUICE__SECTION__KEY, as in SLUICE__HTTP__LISTEN=0.0.0.0:80.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration is right; if not, where it is wrong and what was expected.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print the whole configuration, defaults and overrides included, as a file that reads back.
    Show {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
struct AdminArgs {
    /// The admin listener of the gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", env = "SLUICE_ADMIN")]
    admin: String,
    /// The bearer token; only needed from another machine.
    #[arg(long, env = "SLUICE_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum CouponCommand {
    /// Make a campaign: so many coupons, in so many shards.
    Create {
        /// The coupon.
        #[arg(long)]
        coupon: u64,
        /// The coupon policy (the terms) it belongs to.
        #[arg(long)]
        policy: u64,
        /// How many coupons.
        #[arg(long)]
        total: u64,
        /// Into how many shards the stock is spread.
        #[arg(long, default_value_t = 4)]
        shards: u32,
        /// How many one user may have.
        #[arg(long, default_value_t = 1)]
        per_user_limit: u32,
        /// When it opens, such as 2026-12-24T00:00:00+09:00. Now, without it.
        #[arg(long)]
        opens_at: Option<String>,
        /// When it closes. Never, without it.
        #[arg(long)]
        closes_at: Option<String>,
    },
    /// All campaigns.
    List,
    /// One campaign, shard by shard.
    Show {
        /// The coupon.
        coupon: u64,
    },
    /// What the ledger holds of a campaign: granted + remaining = total, and nobody over the limit.
    /// Exits with 1 when that does not hold.
    Audit {
        /// The coupon.
        coupon: u64,
    },
    /// Take no more requests until it is resumed; what was accepted is settled.
    Pause {
        /// The coupon.
        coupon: u64,
    },
    /// Take requests again.
    Resume {
        /// The coupon.
        coupon: u64,
    },
    /// Take no requests ever again; what was accepted is settled.
    Close {
        /// The coupon.
        coupon: u64,
    },
    /// Add coupons, spread over the shards.
    TopUp {
        /// The coupon.
        coupon: u64,
        /// How many more.
        amount: u64,
    },
    /// Spread what is left over so many shards, while people ask.
    Reshard {
        /// The coupon.
        coupon: u64,
        /// How many.
        shards: u32,
    },
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Say what a component is: its world, size, digest, measures and limits.
    Inspect {
        /// A built component, such as policies/random.wasm.
        file: PathBuf,
        /// Its configuration, as JSON; the measures may depend on it.
        #[arg(long, default_value = "{}", value_name = "JSON")]
        config: String,
    },
    /// Make a component of a core module that was built with the SDK.
    Pack {
        /// What `cargo build --target wasm32-unknown-unknown` left.
        module: PathBuf,
        /// Where the component goes.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Why a command ended badly, and the exit code that says so.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    fn run(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve { config, role } => serve(&config, role),
        Command::Migrate { config } => migrate(&config),
        Command::Topic(TopicCommand::Ensure { config }) => ensure_topics(&config),
        Command::Config(ConfigCommand::Check { config }) => check(&config),
        Command::Config(ConfigCommand::Show { config }) => load(&config).map(|config| print!("{}", config.to_toml())),
        Command::Coupon { admin, command } => coupon(&admin, &command),
        Command::Policy(PolicyCommand::Inspect { file, config }) => inspect(&file, &config),
        Command::Policy(PolicyCommand::Pack { module, output }) => pack(&module, &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[expect(clippy::print_stderr, reason = "the command line's own voice")]
            {
                eprintln!("sluice: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn load(args: &ConfigArgs) -> Result<Config, Failure> {
    Config::load(args.config.as_deref(), std::env::vars()).map_err(Failure::usage)
}

fn check(args: &ConfigArgs) -> Result<(), Failure> {
    app::check(&load(args)?).map_err(Failure::usage)?;
    println!("the configuration is right");
    Ok(())
}

fn migrate(args: &ConfigArgs) -> Result<(), Failure> {
    let config = load(args)?;
    let applied = block_on(ledger::migrate(&config.ledger))?.map_err(Failure::run)?.applied;
    if applied.is_empty() {
        println!("nothing to do");
    }
    applied.iter().for_each(|name| println!("applied {name}"));
    Ok(())
}

fn ensure_topics(args: &ConfigArgs) -> Result<(), Failure> {
    let config = load(args)?;
    for ensured in block_on(log::ensure_topics(&config.log))?.map_err(Failure::run)? {
        println!("{} {}", ensured.topic, if ensured.is_new { "made" } else { "is there" });
    }
    Ok(())
}

fn serve(args: &ConfigArgs, role: Role) -> Result<(), Failure> {
    let mut config = load(args)?;
    config.http.enabled &= role != Role::Consumer;
    config.settlement.enabled &= role != Role::Gateway;
    telemetry::start_logging(&config.telemetry).map_err(Failure::usage)?;
    let file = args.config.clone().or_else(|| {
        let default = PathBuf::from(sluice::config::DEFAULT_FILE);
        default.exists().then_some(default)
    });
    block_on(app::serve(config, file))?.map_err(Failure::run)
}

/// Runs on more workers than processors: a worker in a policy that burns its deadline is then one of several
/// that its processor has to run, and holds up nobody else's request.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS_PER_PROCESSOR * processors).enable_all().build();
    Ok(runtime.map_err(Failure::run)?.block_on(future))
}

fn coupon(args: &AdminArgs, command: &CouponCommand) -> Result<(), Failure> {
    let client = Client::new(&args.admin, args.token.clone());
    let answer = block_on(call(&client, command))?.map_err(Failure::run)?;
    if args.json {
        println!("{answer:#}");
    } else {
        print!("{}", sluice::client::table(&answer));
    }
    let audit_failed = matches!(command, CouponCommand::Audit { .. })
        && (answer["balanced"] != json!(true) || answer["usersOverLimit"] != json!(0));
    if audit_failed { Err(Failure::run("the audit does not hold")) } else { Ok(()) }
}

async fn call(client: &Client, command: &CouponCommand) -> Result<Value, sluice::client::ClientError> {
    let path = |coupon: &u64, action: &str| format!("/admin/coupons/{coupon}{action}");
    match command {
        CouponCommand::Create { coupon, policy, total, shards, per_user_limit, opens_at, closes_at } => {
            let body = json!({
                "couponId": coupon, "policyId": policy, "total": total, "shards": shards,
                "perUserLimit": per_user_limit, "opensAt": opens_at, "closesAt": closes_at,
            });
            client.post("/admin/coupons", Some(body)).await
        }
        CouponCommand::List => client.get("/admin/coupons").await,
        CouponCommand::Show { coupon } => client.get(&path(coupon, "")).await,
        CouponCommand::Audit { coupon } => client.get(&path(coupon, "/audit")).await,
        CouponCommand::Pause { coupon } => client.post(&path(coupon, "/pause"), None).await,
        CouponCommand::Resume { coupon } => client.post(&path(coupon, "/resume"), None).await,
        CouponCommand::Close { coupon } => client.post(&path(coupon, "/close"), None).await,
        CouponCommand::TopUp { coupon, amount } => {
            client.post(&path(coupon, "/top-up"), Some(json!({ "amount": amount }))).await
        }
        CouponCommand::Reshard { coupon, shards } => {
            client.post(&path(coupon, "/reshard"), Some(json!({ "shards": shards }))).await
        }
    }
}

fn inspect(file: &Path, config: &str) -> Result<(), Failure> {
    let bytes = std::fs::read(file).map_err(|error| Failure::run(format!("read {}: {error}", file.display())))?;
    let inspection =
        policy::inspect(&bytes, config).map_err(|error| Failure::run(format!("{}: {error}", file.display())))?;
    print!("{inspection}");
    Ok(())
}

fn pack(module: &Path, output: &Path) -> Result<(), Failure> {
    let failed = |step: &str, path: &Path, error: &dyn std::fmt::Display| {
        Failure::run(format!("{step} {}: {error}", path.display()))
    };
    let bytes = std::fs::read(module).map_err(|error| failed("read", module, &error))?;
    let component = policy::pack(&bytes).map_err(|error| failed("pack", module, &error))?;
    std::fs::write(output, component).map_err(|error| failed("write", output, &error))
}
