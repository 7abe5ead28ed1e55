# The commands of this repository. `make` lists them.

.DEFAULT_GOAL := help
.PHONY: help run build policies check test soak upgrade vitess bench stack smoke ramp drop comparison-tools compare compare-stack bootstrap tests-built

step := infra/step
# Tests and clippy use the dev profile: arithmetic overflow and broken assertions panic.
target := $(or $(CARGO_TARGET_DIR),target)
debug := $(target)/debug/sluice
release := $(target)/release/sluice

# The policies and the example are packages of their own, with one target folder.
policies := --locked --manifest-path policies/Cargo.toml --target-dir target/policies
example := --locked --manifest-path examples/own-policy/Cargo.toml --target-dir target/policies
deny = target/tools/bin/cargo-deny --manifest-path $(1) --config deny.toml --locked check bans licenses sources
# The documentation is for maintainers and includes private items, so public items can link to them.
rustdoc := -D warnings -A rustdoc::private_intra_doc_links

# Most tests wait, for servers or for time to pass. More of them than processors can run at once.
library_tests := cargo test --locked -p sluice --lib -- --test-threads 6
system_tests := cargo test --locked -p sluice --test system -- --test-threads 6
binary_tests := cargo test --locked -p sluice --test it -- --test-threads 128
# These need the servers of infra/native/services.
need_servers := ledger::mysql::tests counters::redis::tests log::kafka::tests

help: ## List these targets.
	@echo 'Usage: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

run: policies ## Start the gateway on this machine. It needs nothing else.
	@echo 'Ask for a coupon:'
	@echo "  curl -i http://127.0.0.1:8080/coupon/issue -H 'Content-Type: application/json' -d '{\"userId\": 48213, \"couponId\": 104, \"policyId\": 21, \"typeSnapshot\": \"FIXED\"}'"
	$(release) serve

build: ## Build the gateway for `run`, `stack` and the load tests (release profile).
	@infra/bootstrap build
	cargo build --release --locked -p sluice

policies: build ## Build the gateway and the policies.
	SLUICE=$(release) policies/build

check: ## Check everything that needs no server: under 2 minutes once built.
	@infra/bootstrap check
	@$(step) 'format' cargo fmt --check
	@$(step) 'format of the policies' cargo fmt --manifest-path policies/Cargo.toml --all --check
	@$(step) 'format of the example' cargo fmt --manifest-path examples/own-policy/Cargo.toml --all --check
	@$(step) 'licenses and sources' $(call deny,Cargo.toml)
	@$(step) 'licenses and sources of the policies' $(call deny,policies/Cargo.toml)
	@$(step) 'licenses and sources of the example' $(call deny,examples/own-policy/Cargo.toml)
	@$(step) 'clippy' cargo clippy --locked -p sluice --all-targets -- -D warnings
	@$(step) 'clippy of the policies' cargo clippy $(policies) --all-targets -- -D warnings
	@$(step) 'clippy of the example' cargo clippy $(example) --all-targets -- -D warnings
	@RUSTDOCFLAGS='$(rustdoc)' $(step) 'documentation' cargo doc --locked -p sluice --no-deps --document-private-items
	@$(MAKE) --no-print-directory tests-built
	@$(step) 'rules about the sources' cargo test --locked -p sluice --test it -- tidy::
	@$(step) 'library tests without servers' $(library_tests) $(need_servers:%=--skip %)
	@$(step) 'system tests' $(system_tests)
	@$(step) 'tests of the policies' cargo test $(policies)
	@$(step) 'tests of the example' cargo test $(example)
	@$(step) 'tests of the comparison' env PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover --quiet \
		--start-directory k6/compare --top-level-directory k6

# infra/check needs promtool, shellcheck and schemas, which it installs: so it belongs here and not to `check`.
test: ## Run all tests, from nothing, on real servers that it starts and stops: under 20 minutes.
	@infra/bootstrap test
	@$(step) 'configuration of the servers, alerts and dashboards' infra/check
	@$(MAKE) --no-print-directory tests-built
	@{ $(step) 'start the servers' infra/native/services up kafka mariadb mariadb-2 redis redis-cluster observability && \
		$(step) 'library tests' $(library_tests) && \
		$(step) 'system tests' $(system_tests) && \
		$(step) 'tests of the binary' $(binary_tests); }; \
		status=$$?; infra/native/services down; exit $$status
	@$(step) 'tests of the policies' cargo test $(policies)
	@$(step) 'tests of the example' cargo test $(example)

# The tests' build includes the binary. `cargo build` would compile it and its dependencies again, because the
# tests enable more features of the dependencies.
tests-built:
	@$(step) 'build the tests' cargo test --locked -p sluice --no-run
	@SLUICE=$(debug) $(step) 'build the policies' policies/build --hostile

SOAK ?= pipeline_changes:: memory:: components:: loops:: floods:: compilation:: chaos:: aging:: openapi::
soak: ## Run the long forms of the tests in SOAK (pipeline_changes:: memory:: components:: loops:: floods:: compilation:: chaos:: aging:: openapi::): about two hours.
	@infra/bootstrap test
	@$(MAKE) --no-print-directory tests-built
	@# A filter that matches nothing would pass: a renamed test must not go unnoticed.
	@for filter in $(SOAK); do cargo test --quiet --locked -p sluice --test it -- --list $$filter | grep -q ': test$$' || \
		{ echo "SOAK: no test matches $$filter" >&2; exit 1; }; done
	@{ $(step) 'start the servers' infra/native/services up && \
		SLUICE_SOAK=1 $(step) 'long tests' cargo test --locked -p sluice --test it -- --nocapture $(SOAK); }; \
		status=$$?; infra/native/services down; exit $$status

# The earlier release is built in a checkout of its own.
upgrade: policies ## Test an upgrade from an earlier release with records in flight: FROM=COMMIT.
	@test -n '$(FROM)' || { echo 'upgrade: name the earlier release: make upgrade FROM=COMMIT' >&2; exit 2; }
	@infra/bootstrap test
	@rm -rf target/earlier && mkdir -p target/earlier
	git archive '$(FROM)' | tar --extract --directory target/earlier
	@$(step) 'build the earlier release' cargo build --release --locked --manifest-path target/earlier/Cargo.toml \
		--target-dir target/earlier-build -p sluice
	@SLUICE=$(CURDIR)/target/earlier-build/release/sluice $(step) 'build its policies' target/earlier/policies/build
	@$(MAKE) --no-print-directory tests-built
	@{ $(step) 'start the servers' infra/native/services up kafka mariadb redis && \
		SLUICE_EARLIER=$(CURDIR)/target/earlier-build/release/sluice \
		SLUICE_EARLIER_POLICIES=$(CURDIR)/target/earlier/policies $(step) 'upgrade tests' \
			cargo test --locked -p sluice --test it -- --ignored --nocapture upgrade::; }; \
		status=$$?; infra/native/services down; exit $$status

# Not a part of `test`: it needs Debian and Go, and builds Vitess.
vitess: ## Test ledger groups on Vitess: two keyspaces, and two shards of one. It builds Vitess with Go.
	@infra/bootstrap test
	@$(MAKE) --no-print-directory tests-built
	@{ $(step) 'start the servers' infra/native/services up kafka redis vitess && \
		$(step) 'tests on Vitess' cargo test --locked -p sluice --test it -- --ignored --nocapture vitess::; }; \
		status=$$?; infra/native/services down; exit $$status

# Others: aged_log and aged_ledger (many records and outcomes), many_campaigns, counters (one Redis and a cluster),
# rollout and roll_back (what good and bad candidates cost), coupon_pipelines.
BENCH ?= policy accept accept_kafka drain
bench: policies ## Measure what BENCH names: policy accept accept_kafka drain, as ratios; latency, growth. Leaves the servers running.
	infra/native/services up kafka mariadb mariadb-2 redis $(if $(filter counters,$(BENCH)),redis-cluster)
	cargo bench --locked -p sluice $(BENCH:%=--bench %)

stack: policies ## Start Kafka, MariaDB, Redis, and until Ctrl-C two gateways and three consumers.
	infra/native/services up
	SLUICE=$(release) infra/native/system

smoke: policies ## Load test with k6: 50 users for 30 seconds.
	k6/run $@

ramp: policies ## Load test with k6: up to 2,000 users in 5 minutes.
	k6/run $@

drop: policies ## Load test with k6: 30,000 requests for 10,000 coupons in 10 seconds.
	k6/run $@

# First, so that a missing tool does not wait for the build.
comparison-tools:
	@infra/bootstrap compare

COMPARE ?=
compare: comparison-tools policies ## Compare the policies with k6, and write a report to k6/results. COMPARE has the options of k6/run.
	k6/run $@ $(COMPARE)

compare-stack: comparison-tools policies ## The same on Kafka, MariaDB, Redis, two gateways and three consumers, with 30 % of the load.
	infra/native/services up
	SLUICE=$(release) infra/native/system k6/run compare --scale 0.3 $(COMPARE)

bootstrap: ## Install system packages and tools that are missing (Debian; elsewhere it names them).
	@infra/bootstrap
