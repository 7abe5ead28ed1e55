# `make run` starts the gateway; `make test` proves it. Both need Rust, a C compiler and make.

.PHONY: run build policies test test-build chaos bench lint stack openssl smoke ramp drop compare

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

# The binary is built along with the tests: by itself it would be built with fewer features of what both use,
# and much of it twice. The servers are brought up for the tests, and stopped afterwards whatever came of them.
# Tests mostly wait, for servers and for time to pass, so more of them run at once than there are processors;
# those in `it` take turns.
test: test-build
	infra/check
	infra/native/services up observability
	cargo test --release --locked -p sluice --lib -- --test-threads 6 && \
		cargo test --release --locked -p sluice --test it -- --test-threads 128; \
		status=$$?; infra/native/services down; exit $$status
	cd policies && cargo test --locked
	cd examples/own-policy && cargo test --locked --target-dir ../../target/policies

test-build: openssl
	cargo test --release --locked -p sluice --no-run
	policies/build --hostile
	infra/native/services up

# Faults at random, for SLUICE_CHAOS_SECONDS, from SLUICE_CHAOS_SEED. Half a minute of it is among the tests.
chaos: test-build
	SLUICE_CHAOS_SECONDS=$${SLUICE_CHAOS_SECONDS:-1800} \
		cargo test --release --locked -p sluice --test it -- --nocapture whatever_fails; \
		status=$$?; infra/native/services down; exit $$status

# Kafka, MariaDB and Redis on this machine, and two gateways and three consumers on them, until Ctrl-C.
stack: policies
	infra/native/services up
	infra/native/system

bench: policies
	infra/native/services up
	cargo bench --locked -p sluice --bench policy --bench accept --bench accept_kafka --bench drain

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
