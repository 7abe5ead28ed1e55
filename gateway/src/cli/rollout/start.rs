//! `sluice rollout start`

use serde_json::{Map, Value, json};

use super::{history, status};
use crate::cli::common::{Failure, object};

#[derive(clap::Args)]
#[command(after_help = "\
Only compare: the candidate decides without effect about requests that the active policy decides.
  sluice rollout start --hook user-limit=sliding-window --config '{\"limit\": 3, \"window_ms\": 60000}'

Serve 5 % of the users, with a stricter bound on failures:
  sluice rollout start --hook shard-picker=weighted --canary 5 --guard failures=0.001

Go from 1 to 10, 50 and 100 % by itself, each step for 10 minutes at least:
  sluice rollout start --hook shard-picker=weighted --auto --step-seconds 600")]
pub(super) struct Args {
    /// A hook and its new policy, which must be uploaded or in the policies folder. Without a policy, only the
    /// configuration changes. Repeat it to change several hooks at once.
    #[arg(long = "hook", value_name = "HOOK[=POLICY]", required = true)]
    hooks: Vec<String>,
    /// The configuration of the new policy. Needs exactly one --hook.
    #[arg(long, value_name = "JSON", value_parser = object)]
    config: Option<Map<String, Value>>,
    /// The coupon whose pipeline changes. Default: the default pipeline.
    #[arg(long, value_name = "ID")]
    coupon: Option<u64>,
    /// The share of the users that the candidate serves first, in percent. Default: 0, which only compares.
    #[arg(long, value_name = "PERCENT")]
    canary: Option<f64>,
    /// Do not ask the candidate about requests that the active policies decide.
    #[arg(long)]
    no_shadow: bool,
    /// Larger shares, and then all users, follow by themselves while all guards are within their bounds.
    #[arg(long)]
    auto: bool,
    /// The shares, in percent, rising. Default: 1,10,50.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', requires = "auto")]
    steps: Option<Vec<f64>>,
    /// The shortest duration of a step. Default: 300.
    #[arg(long, value_name = "SECONDS", requires = "auto")]
    step_seconds: Option<u64>,
    /// The fewest decisions of each arm in a step. Default: 1000.
    #[arg(long, value_name = "NUMBER", requires = "auto")]
    step_decisions: Option<u64>,
    /// The bound of a guard: failures, fallbacks, refusals, divergence, spread, call-p99, decisions-min or
    /// ledger-seconds, as in failures=0.001. Repeat it for several. docs/rollouts.md has the defaults.
    #[arg(long = "guard", value_name = "GUARD=BOUND", value_parser = guard)]
    guards: Vec<Bound>,
    /// A bound on the replay of recorded decisions: changed, failures or decisions-min, as in changed=0.1.
    #[arg(long = "replay", value_name = "NAME=BOUND", value_parser = replay)]
    replay: Vec<Bound>,
}

/// A key of the admin API, and its value.
type Bound = (&'static str, Value);
/// The names of bounds here, and in the admin API.
type Names = [(&'static str, &'static str)];

const GUARDS: &Names = &[
    ("failures", "failures"),
    ("fallbacks", "fallbacks"),
    ("refusals", "refusals"),
    ("divergence", "divergence"),
    ("spread", "spread"),
    ("call-p99", "callP99Ratio"),
    ("decisions-min", "decisionsMin"),
    ("ledger-seconds", "ledgerSeconds"),
];

const REPLAY: &Names = &[("changed", "changed"), ("failures", "failures"), ("decisions-min", "decisionsMin")];

fn guard(text: &str) -> Result<Bound, String> {
    bound(GUARDS, text)
}

fn replay(text: &str) -> Result<Bound, String> {
    bound(REPLAY, text)
}

fn bound(names: &Names, text: &str) -> Result<Bound, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=BOUND")?;
    let Some((_, key)) = names.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = names.iter().map(|(known, _)| *known).collect();
        return Err(format!("unknown bound `{name}`: expected {}", known.join(", ")));
    };
    match serde_json::from_str(value) {
        Ok(Value::Number(number)) => Ok((key, number.into())),
        _ => Err(format!("{name}: expected a number, found `{value}`")),
    }
}

impl Args {
    /// The body of `POST /admin/rollouts`. Where an option is absent, the gateway's default holds.
    pub(super) fn body(&self) -> Result<Value, Failure> {
        let mut body = json!({ "hooks": self.hooks()?, "shadow": !self.no_shadow });
        let bounds = |given: &[Bound]| (!given.is_empty()).then(|| given.iter().cloned().collect::<Value>());
        let optional = [
            ("couponId", self.coupon.map(Value::from)),
            ("canaryPercent", self.canary.map(Value::from)),
            ("auto", self.auto.then(|| self.plan())),
            ("guards", bounds(&self.guards)),
            ("replay", bounds(&self.replay)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        Ok(body)
    }

    fn hooks(&self) -> Result<Map<String, Value>, Failure> {
        if self.config.is_some() && self.hooks.len() > 1 {
            let message =
                "--config: expected one --hook; for several hooks with configurations, use POST /admin/rollouts";
            return Err(Failure::usage(message));
        }
        let hook = |text: &String| {
            let (hook, policy) =
                text.split_once('=').map_or((text.as_str(), None), |(hook, policy)| (hook, Some(policy)));
            let spec = [("policy", policy.map(Value::from)), ("config", self.config.clone().map(Value::from))];
            let given = spec.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            (hook.to_owned(), given.collect::<Map<_, _>>().into())
        };
        Ok(self.hooks.iter().map(hook).collect())
    }

    fn plan(&self) -> Value {
        let keys = [
            ("percents", self.steps.clone().map(Value::from)),
            ("seconds", self.step_seconds.map(Value::from)),
            ("decisions", self.step_decisions.map(Value::from)),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// What was checked, and what comes next.
pub(super) fn started(rollout: &Value) -> String {
    let id = &rollout["id"];
    let next = [
        (format!("sluice rollout status {id}"), "both arms side by side"),
        (format!("sluice rollout watch {id}"), "the same, until it is over"),
        (format!("sluice rollout canary 10 {id}"), "serve 10 % of the users"),
        (format!("sluice rollout promote {id}"), "serve all users"),
        (format!("sluice rollout abort {id}"), "return to the active policies"),
    ];
    let next: String = next.iter().map(|(command, does)| format!("  {command:28}  {does}\n")).collect();
    format!("{}{}next:\n{next}", status::summary(rollout), history::of_rollout(rollout))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Start {
        #[command(flatten)]
        args: Args,
    }

    fn body(arguments: &[&str]) -> Result<Value, String> {
        let parsed = Start::try_parse_from([&["start"], arguments].concat()).map_err(|error| error.to_string())?;
        parsed.args.body().map_err(|failure| failure.message)
    }

    #[test]
    fn what_is_not_given_is_left_to_the_gateway() {
        let expected = json!({ "hooks": { "shard-picker": { "policy": "weighted" } }, "shadow": true });
        assert_eq!(body(&["--hook", "shard-picker=weighted"]), Ok(expected));
        let auto = body(&["--hook", "user-limit", "--config", "{\"limit\": 3}", "--auto", "--no-shadow"]);
        let expected = json!({ "hooks": { "user-limit": { "config": { "limit": 3 } } }, "shadow": false, "auto": {} });
        assert_eq!(auto, Ok(expected));
    }

    #[test]
    fn everything_can_be_given() {
        let arguments = "--hook rate-shaper=lottery --hook shard-picker=weighted --coupon 104 --canary 2.5 --auto \
                         --steps 5,50 --step-seconds 60 --step-decisions 10 --guard failures=0.001 --guard call-p99=2 \
                         --replay changed=0.1";
        let expected = json!({
            "hooks": { "rate-shaper": { "policy": "lottery" }, "shard-picker": { "policy": "weighted" } },
            "shadow": true, "couponId": 104, "canaryPercent": 2.5,
            "auto": { "percents": [5.0, 50.0], "seconds": 60, "decisions": 10 },
            "guards": { "failures": 0.001, "callP99Ratio": 2 }, "replay": { "changed": 0.1 },
        });
        assert_eq!(body(&arguments.split_whitespace().collect::<Vec<_>>()), Ok(expected));
    }

    #[test]
    fn a_wrong_argument_is_refused_with_what_was_expected() {
        let refused =
            |more: &[&str]| body(&[&["--hook", "shard-picker=weighted"], more].concat()).expect_err("refused");
        let unknown = refused(&["--guard", "latency=1"]);
        assert!(unknown.contains("unknown bound `latency`: expected failures, fallbacks"), "{unknown}");
        assert!(refused(&["--guard", "failures=few"]).contains("failures: expected a number, found `few`"));
        assert!(refused(&["--steps", "1,2"]).contains("--auto"));
        let two = refused(&["--hook", "user-limit=quota", "--config", "{}"]);
        assert!(two.starts_with("--config: expected one --hook"), "{two}");
    }
}
