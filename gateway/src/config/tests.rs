use super::*;

fn load_variables(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, "").expect("writes");
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::load(Some(&path), variables)
}

fn load_file(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, text).expect("writes");
    let config = Config::load(Some(&path), [])?;
    assert_eq!(config.file.as_ref(), Some(&path));
    Ok(Config { file: None, is_from_file: false, ..config })
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(load_file("").expect("loads"), Config::default());
}

#[test]
fn printed_configuration_reads_back_unchanged() {
    assert_eq!(load_file(&Config::default().to_toml()).expect("loads"), Config::default());
}

#[test]
fn a_password_is_used_and_never_printed() {
    let secret = [("SLUICE__LEDGER__URL", "mysql://u:secret@db/s"), ("SLUICE__LEDGER__PASSWORD_FILE", "pass")];
    let config = load_variables(&secret).expect("loads");
    assert_eq!(config.ledger.url, "mysql://u:secret@db/s");
    assert_eq!(config.ledger.password_file, Some("pass".into()));
    assert!(config.to_toml().contains("mysql://u:***@db/s"), "{}", config.to_toml());
    let error = load_file("[ledger]\nurl = \"mysql://u:secret@db/s\n").expect_err("refused").to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_list_of_databases_comes_from_a_file_or_a_variable_and_shows_no_password() {
    let list = "[\"mysql://u:secret@a/s\", \"mysql://u:secret@b/s\"]";
    let config = load_variables(&[("SLUICE__LEDGER__URLS", list)]).expect("loads");
    assert_eq!(config.ledger.urls, ["mysql://u:secret@a/s", "mysql://u:secret@b/s"]);
    assert_eq!((config.ledger.groups(), config.whole_log().groups), (2, 2));
    assert!(config.to_toml().contains("\"mysql://u:***@b/s\""), "{}", config.to_toml());
    assert!(!format!("{config:?}{}", config.to_toml()).contains("secret"));
    load_file(&config.to_toml()).expect("can be read back");
    let error = load_variables(&[("SLUICE__LEDGER__URLS", "mysql://u:secret@a/s")]).expect_err("no list").to_string();
    assert!(error.contains("expected a sequence") && !error.contains("secret"), "{error}");
}

#[test]
fn one_database_and_a_list_of_databases_exclude_each_other() {
    let list = ("SLUICE__LEDGER__URLS", "[\"sqlite:a\", \"sqlite:b\"]");
    let error = load_variables(&[("SLUICE__LEDGER__URL", "sqlite:c"), list]).expect_err("refused").to_string();
    assert!(error.starts_with("ledger.url and ledger.urls are both set: remove"), "{error}");
}

#[test]
fn a_variable_overrides_a_key() {
    let config = load_variables(&[
        ("SLUICE__HTTP__LISTEN", "127.0.0.1:0"),
        ("SLUICE__LOG__PARTITIONS", "3"),
        ("SLUICE__ADMIN__TOKEN_FILE", "token"),
        ("SLUICE__PIPELINE__SHARD_PICKER__POLICY", "hash-user"),
        ("SLUICE__PIPELINE__USER_LIMIT__CONFIG__LIMIT", "7"),
    ])
    .expect("loads");
    assert_eq!(config.http.listen.port(), 0);
    assert_eq!(config.log.partitions, 3);
    assert_eq!(config.admin.token_file, Some("token".into()));
    assert_eq!(config.pipeline.shard_picker.policy, "hash-user");
}

#[test]
fn a_key_that_a_hook_lacks_has_the_default_of_the_hook() {
    let file = "[pipeline.user-limit]\npolicy = \"sliding-window\"\n[pipeline.rate-shaper]\ndeadline_ms = 9\n";
    let pipeline = load_file(file).expect("loads").pipeline;
    assert_eq!(pipeline.user_limit.on_failure, policy::OnFailure::Refuse);
    assert!(pipeline.user_limit.config.is_empty());
    let default = policy::Pipeline::default().rate_shaper;
    assert_eq!(pipeline.rate_shaper, policy::HookSpec { deadline_ms: 9, ..default });
}

#[test]
fn a_variable_that_names_another_policy_leaves_no_configuration_of_the_former_one() {
    let pipeline = load_variables(&[
        ("SLUICE__PIPELINE__RATE_SHAPER__POLICY", "lag-aware"),
        ("SLUICE__PIPELINE__USER_LIMIT__CONFIG__LIMIT", "7"),
        ("SLUICE__PIPELINE__USER_LIMIT__POLICY", "sliding-window"),
    ])
    .expect("loads")
    .pipeline;
    assert!(pipeline.rate_shaper.config.is_empty());
    assert_eq!(pipeline.user_limit.on_failure, policy::OnFailure::Refuse);
    assert_eq!(pipeline.user_limit.config["limit"], 7);
}

#[test]
fn an_error_names_line_column_key_and_what_was_expected() {
    let error = load_file("[log]\npartitions = \"many\"\n").expect_err("refused").to_string();
    for part in ["sluice.toml", "line 2, column 14", "expected a whole number from 1 to 256, found string \"many\""] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_address_or_a_section_of_another_type_is_refused_without_the_words_of_the_parser() {
    let address = "expected an IP address and port, such as 127.0.0.1:8080, found";
    let error = load_variables(&[("SLUICE__HTTP__LISTEN", "localhost:8080")]).expect_err("refused").to_string();
    assert_eq!(error, format!("SLUICE__HTTP__LISTEN: {address} `localhost:8080`"));
    let error = load_variables(&[("SLUICE__LOG__PARTITIONS", "abc")]).expect_err("refused").to_string();
    assert_eq!(error, "SLUICE__LOG__PARTITIONS: expected a whole number from 1 to 256, found string \"abc\"");
    for (text, expected) in [
        ("[admin]\nlisten = 8081\n", format!("{address} integer `8081`")),
        (
            "[pipeline]\nshard-picker = \"random\"\n",
            "expected a section with the key `policy`, found string \"random\"".to_owned(),
        ),
        ("pipeline = 1\n", "expected a section, found integer `1`".to_owned()),
        ("log = \"kafka:\"\n", "expected a section, found string \"kafka:\"".to_owned()),
    ] {
        let error = load_file(text).expect_err("refused").to_string();
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn a_file_that_does_not_exist_is_watched_and_counts_as_absent() {
    let config = Config::load(None, []).expect("the tests run in a folder without this file");
    assert_eq!((config.file, config.is_from_file), (Some(DEFAULT_FILE.into()), false));
}

#[test]
fn sections_that_differ_are_listed() {
    let config = load_variables(&[("SLUICE__HTTP__DRAIN_SECONDS", "3"), ("SLUICE__LOG__TLS", "true")]);
    assert_eq!(config.expect("loads").sections_unlike(&Config::default()), ["http", "log"]);
}

#[test]
fn an_unknown_variable_is_refused_with_the_valid_keys() {
    let error = load_variables(&[("SLUICE__LOG__PARTITION", "3")]).expect_err("refused").to_string();
    assert!(error.starts_with("SLUICE__LOG__PARTITION: unknown key `partition`; expected one of"), "{error}");
    assert!(error.contains("partitions"), "{error}");
}

#[test]
fn a_variable_out_of_range_is_refused_with_its_name() {
    let error = load_variables(&[("SLUICE__LOG__PARTITIONS", "0")]).expect_err("refused").to_string();
    assert_eq!(error, "SLUICE__LOG__PARTITIONS: expected a whole number from 1 to 256, found 0");
}

#[test]
fn the_deprecated_keys_of_the_role_still_choose_it() {
    for (text, role) in [
        ("[http]\nenabled = false\n", Role::Consumer),
        ("[settlement]\nenabled = false\n", Role::Gateway),
        ("[http]\nenabled = true\n", Role::All),
    ] {
        assert_eq!(load_file(text).expect("loads").role, role, "{text}");
    }
    assert_eq!(load_variables(&[("SLUICE__SETTLEMENT__ENABLED", "false")]).expect("loads").role, Role::Gateway);
    let neither = "[http]\nenabled = false\n[settlement]\nenabled = false\n";
    let error = load_file(neither).expect_err("refused").to_string();
    assert_eq!(error, "http.enabled and settlement.enabled: expected one of them to be true");
}

#[test]
fn a_variable_of_an_option_that_is_text_is_text() {
    for value in ["12345", "true", "1.50", "[x]", "\"quoted\"", "2025-12-31"] {
        let config = load_variables(&[
            ("SLUICE__LOG__USERNAME", value),
            ("SLUICE__LOG__PASSWORD_FILE", value),
            ("SLUICE__ADMIN__TOKEN_FILE", value),
            ("SLUICE__LEDGER__TLS_CA_FILE", value),
            ("SLUICE__HTTP__TLS_CERTIFICATE_FILE", value),
            ("SLUICE__ADMIN__TLS_KEY_FILE", value),
            ("SLUICE__POLICIES__DIR", value),
            ("SLUICE__TELEMETRY__LOG_FILTER", value),
            ("SLUICE__PIPELINE__SHARD_PICKER__POLICY", "12345"),
        ])
        .expect("loads");
        assert_eq!(config.log.username.as_deref(), Some(value));
        assert_eq!(config.log.password_file, Some(value.into()));
        assert_eq!(config.admin.token_file, Some(value.into()));
        assert_eq!(config.ledger.tls_ca_file, Some(value.into()));
        assert_eq!(config.http.tls_certificate_file, Some(value.into()));
        assert_eq!(config.admin.tls_key_file, Some(value.into()));
        assert_eq!(config.policies.dir, PathBuf::from(value));
        assert_eq!(config.telemetry.log_filter, value);
        assert_eq!(config.pipeline.shard_picker.policy, "12345");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused_by_name_or_passed_over() {
    use std::os::unix::ffi::OsStringExt as _;

    let load = |name: &[u8], value: &[u8]| {
        let variable = (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
        Config::load(None, [variable]).map_err(|error| error.to_string())
    };
    load(b"UNRELATED", b"\xff").expect("is passed over");
    load(b"UNRELATED\xff", b"1").expect("is passed over");
    let error = load(b"SLUICE__LOG__URL", b"\xff").expect_err("is refused");
    assert_eq!(error, "SLUICE__LOG__URL: expected UTF-8");
    let error = load(b"SLUICE__LOG\xff", b"1").expect_err("is refused");
    assert_eq!(error, "SLUICE__LOG\u{fffd}: expected UTF-8");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_not_matter() {
    let config = load_file("\u{feff}[log]\r\npartitions = 3\r\n").expect("loads");
    assert_eq!(config.log.partitions, 3);
}

#[test]
fn native_isolation_is_refused_with_the_values_for_operators() {
    let text = "[pipeline.shard-picker]\npolicy = \"random\"\nisolation = \"native\"\n";
    let error = load_file(text).expect_err("refused").to_string();
    assert!(error.contains("expected `warm` or `fresh`, found `native`"), "{error}");
}
