# `make run` starts the gateway; `make test` proves it. Both need Rust, a C compiler and make.

.PHONY: run build policies test chaos bench lint stack openssl smoke ramp drop compare

run: policies
	@echo 'Ask for a coupon:'
	@echo "  curl -i http://127.0.0.1:8080/coupon/issue -H 'Content-Type: application/json' -d '{\"userId\": 48213, \"couponId\": 104, \"policyId\": 21, \"typeSnapshot\": \"FIXED\"}'"
	target/release/sluice serve

build: openssl
	cargo build --release --locked -p sluice

# Kafka's client and TLS are built against the machine's OpenSSL.
openssl:
	@pkg-config --exists openssl || { echo 'installing libssl-dev and pkg-config'; \
		$(SUDO) apt-get install --quiet --yes --no-install-recommends libssl-dev pkg-config >/dev/null; } || \
		{ echo 'install libssl-dev and pkg-config (Debian), or openssl-devel and pkgconf (Fedora)' >&2; false; }

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo 'sudo -n')

policies: build
	policies/build

# The servers are brought up for the tests, and stopped afterwards whatever came of them. Faults at random take
# longer, and have a command of their own: chaos.
test: build
	infra/check
	policies/build --hostile
	infra/native/services up
	infra/native/services up $(WATCHERS)
	cargo test --release --locked -p sluice -- --skip whatever_fails; \
		status=$$?; infra/native/services down; exit $$status
	cd policies && cargo test --locked
	cd examples/own-policy && cargo test --locked --target-dir ../../target/policies

# Not every machine can have kafka_exporter. Without it the test of the dashboards leaves out what only it knows.
ifeq ($(shell command -v kafka_exporter 2>/dev/null),)
test: export SLUICE_WITHOUT_KAFKA_EXPORTER := 1
WATCHERS := prometheus mysqld-exporter node-exporter
else
WATCHERS := observability
endif

# Faults at random, for SLUICE_CHAOS_SECONDS, from SLUICE_CHAOS_SEED.
chaos: build
	policies/build --hostile
	infra/native/services up
	SLUICE_CHAOS_SECONDS=$${SLUICE_CHAOS_SECONDS:-1800} \
		cargo test --release --locked -p sluice --test it -- --nocapture whatever_fails; \
		status=$$?; infra/native/services down; exit $$status

# Kafka, MariaDB and Redis on this machine, and two gateways and three consumers on them, until Ctrl-C.
stack: policies
	infra/native/services up
	infra/native/system

bench: policies
	cargo bench --locked -p sluice --bench policy
	cargo bench --locked -p sluice --bench accept

lint:
	cargo fmt --check
	cargo clippy --release --locked -p sluice --all-targets -- -D warnings
	cd policies && cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings
	cd examples/own-policy && cargo fmt --check
	infra/check

# The scenarios of the write-up, a drop, and the shard pickers beside each other, with k6 from PATH or from
# a virtual environment under target/.
smoke ramp drop compare: policies
	k6/run $@
