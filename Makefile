# `make run` starts the gateway; `make test` proves it. Both need Rust, a C compiler and make.

.PHONY: run build policies test bench lint smoke ramp drop compare

run: policies
	@echo 'Ask for a coupon:'
	@echo "  curl -i http://127.0.0.1:8080/coupon/issue -H 'Content-Type: application/json' -d '{\"userId\": 48213, \"couponId\": 104, \"policyId\": 21, \"typeSnapshot\": \"FIXED\"}'"
	target/release/sluice serve

build:
	cargo build --release --locked -p sluice

policies: build
	policies/build

test: build
	policies/build --hostile
	cargo test --release --locked -p sluice
	cd policies && cargo test --locked
	cd examples/own-policy && cargo test --locked --target-dir ../../target/policies

bench: policies
	cargo bench --locked -p sluice --bench policy
	cargo bench --locked -p sluice --bench accept

lint:
	cargo fmt --check
	cargo clippy --release --locked -p sluice --all-targets -- -D warnings
	cd policies && cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings
	cd examples/own-policy && cargo fmt --check

# The scenarios of the write-up, a drop, and the shard pickers beside each other, with k6 from PATH or from
# a virtual environment under target/.
smoke ramp drop compare: policies
	k6/run $@
