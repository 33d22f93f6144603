# make demo        the ride analytics, on an embedded broker, with a table at the end
# make test        everything that must hold
# make bench       benchmarks of kernels, decoder and pipeline
# make bench-peers the city query beside PySpark on the same files (needs Python 3 and Java 17)

# Without it, Vulkan's window-system layer complains on every start of a machine without a desktop.
export XDG_RUNTIME_DIR ?= /tmp

.PHONY: setup demo test bench bench-peers

setup:
	@.ci/setup

demo: setup
	@echo "building; the first time takes some minutes"
	@cargo run --locked --quiet --example ride_analytics -- --fast

test: setup
	@.ci/test

bench: setup
	cargo bench --locked --workspace

bench-peers: setup
	benches/peers/run.sh
