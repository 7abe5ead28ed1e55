//! A command that cannot authenticate fails at once: it does not retry, because only an operator can fix a password.

use std::time::Duration;

use crate::harness::{Exit, Home, Launch, Process, authority};

const TIMEOUT: Duration = Duration::from_secs(120);
const WRONG_PASSWORD: &str = "wr0ng";

/// Runs a command with a wrong password for every server that the variables name.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Exit {
    let anywhere = "127.0.0.1:0".parse().expect("an address");
    let home = Home::new(anywhere, anywhere);
    let password = home.path().join("password");
    std::fs::write(&password, WRONG_PASSWORD).expect("writes");
    let authority = authority();
    let files: Vec<(String, String)> = variables
        .iter()
        .filter_map(|(name, _)| name.strip_suffix("__URL"))
        .flat_map(|section| [(section, "PASSWORD_FILE", &password), (section, "TLS_CA_FILE", &authority)])
        .map(|(section, key, path)| (format!("{section}__{key}"), path.display().to_string()))
        .collect();
    let files = files.iter().map(|(name, path)| (name.as_str(), path.as_str()));
    let variables: Vec<_> = variables.iter().copied().chain(files).collect();
    Process::run(Launch::with(&variables).command(home.path(), arguments), TIMEOUT).await
}

const LOG: &[(&str, &str)] = &[
    ("LOG__URL", "kafka://127.0.0.1:19292,127.0.0.1:19293,127.0.0.1:19294/coupon-issue"),
    ("LOG__TLS", "true"),
    ("LOG__USERNAME", "sluice"),
    // A topic needs a ledger that processes share. It is opened after the log.
    ("LEDGER__URL", "mysql://sluice_tls@127.0.0.1:13306/sluice"),
];
const LEDGER: &[(&str, &str)] = &[("LEDGER__URL", "mysql://sluice_tls@127.0.0.1:13306/sluice")];
const COUNTERS: &[(&str, &str)] = &[("COUNTERS__URL", "rediss://sluice@127.0.0.1:16380")];

#[tokio::test]
async fn a_wrong_password_fails_every_command_at_once() {
    let log = "sluice: log.password_file: Kafka authentication failed: ";
    let ledger = "sluice: authentication failed for user `sluice_tls` at the database server 127.0.0.1:13306: ";
    let counters = "sluice: counters.url: authentication failed for user `sluice` at 127.0.0.1:16380: ";
    for (arguments, variables, beginning, instruction) in [
        (&["serve"][..], LOG, log, "check log.username, log.password_file"),
        (&["topic", "ensure"], LOG, log, "check log.username, log.password_file"),
        (&["serve"], LEDGER, ledger, "ledger.password_file"),
        (&["migrate"], LEDGER, ledger, "ledger.password_file"),
        (&["serve"], COUNTERS, counters, "counters.password_file"),
    ] {
        let ended = run(arguments, variables).await;
        let error = ended.stderr.lines().last().unwrap_or_default();
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended}");
        assert!(error.starts_with(beginning) && error.contains(instruction), "{arguments:?}: {ended}");
        assert!(!ended.to_string().contains(WRONG_PASSWORD), "{arguments:?}: {ended}");
    }
}
