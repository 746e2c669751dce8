# The commands of kvd. `make help` lists them; `make run` and `make test` are the two that a newcomer needs.
#
# Everything that the machine lacks is installed first, from Debian's packages and PyPI alone (.ci/install).

SHELL := /bin/bash
SWIFT ?= swift
# Options for the server of `make run`, for example: make run ARGS="--io epoll --cores 1"
ARGS ?=
# Seconds that `make fuzz` gives each decoder.
FUZZ_SECONDS ?= 60
# How long each history of `make histories` is, and the seed that chooses its faults (a new one if empty).
SECONDS ?= 60
SEED ?=
# Mebibytes that the first node of `make joins` holds: 5 GiB need 18 GiB of memory.
MIB ?= 5120
# What `make bench` measures, as in CASE=get-p1,idle (everything if empty), and QUICK=1 for short runs.
CASE ?=
QUICK ?=

RELEASE := -c release --static-swift-stdlib
OPTIMIZED := .build-optimized/release/kvd
PYTEST := cd Tests && ../.build/venv/bin/python -m pytest
export SWIFT FUZZ_SECONDS

.PHONY: help build optimized run test unit lint format sanitize fuzz e2e conformance contract simulate histories joins \
  null bench micro clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):[^#]*## (.*)/\1\t\2/' | \
	  while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

build: ## build the release binary, .build/release/kvd
	@.ci/install build
	@$(SWIFT) build $(RELEASE)

# Made anew only when something changed that it is made of: it takes a while.
optimized: $(OPTIMIZED) ## build .build-optimized/release/kvd with the compiler's profile of a load: a tenth faster; five minutes

$(OPTIMIZED): Package.swift $(shell find Sources Benchmarks/Micro -type f) .ci/optimize Benchmarks/train.py
	@.ci/install optimized
	@.ci/optimize

run: build ## build, start one node on port 3000 and print three commands to try
	@.ci/start $(ARGS)

test: ## lint, unit tests, release build, end-to-end, conformance and contract tests, short fuzzing (about 25 minutes)
	@.ci/install test
	@.ci/test

unit: ## the Swift tests alone
	@.ci/install build
	@$(SWIFT) test --disable-xctest

lint: ## check the formatting
	@$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Tests

format: ## format the Swift sources in place
	@$(SWIFT) format --in-place --parallel --recursive Package.swift Sources Tests

sanitize: ## the Swift tests under AddressSanitizer, then those with threads under ThreadSanitizer
	@.ci/install build
	@KVD_SANITIZED=1 LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/Support/lsan.supp \
	  $(SWIFT) test --disable-xctest --sanitize=address --scratch-path .build-address
	@KVD_THREADED_ONLY=1 KVD_SANITIZED=1 TSAN_OPTIONS=suppressions=$(CURDIR)/Tests/Support/tsan.supp \
	  $(SWIFT) test --disable-xctest --sanitize=thread --scratch-path .build-thread

fuzz: ## libFuzzer on every decoder, FUZZ_SECONDS each
	@.ci/install build
	@.ci/fuzz

e2e: build ## the end-to-end tests against the release binary; one of them: make e2e ARGS="-k listing"
	@.ci/install test
	@$(PYTEST) EndToEndTests $(ARGS)

conformance: build ## the HTTP/1.1 conformance tests against the release binary
	@.ci/install test
	@$(PYTEST) ConformanceTests $(ARGS)

contract: build ## the server's answers against the OpenAPI document, Sources/Engine/Engine.docc/openapi.yaml
	@.ci/install test
	@$(PYTEST) ContractTests $(ARGS)

simulate: ## clusters under simulated faults: fresh seeds until Ctrl-C; ARGS="7" replays seed 7, ARGS="1 --seeds 500"
	@.ci/install build
	@$(SWIFT) build -c release --product simulate
	@.build/release/simulate $(ARGS)

histories: build ## histories of real clusters under faults, SECONDS=60 each, recorded and checked; SEED=7 repeats one
	@.ci/install test
	@cd Tests && KVD_HISTORY_SECONDS=$(SECONDS) KVD_HISTORY_SEED=$(SEED) ../.build/venv/bin/python -m pytest \
	  EndToEndTests/test_histories.py -k long -s $(ARGS)

joins: build ## a node joins one that holds MIB=5120: judges the sender's memory and how much longer its clients wait
	@.ci/install test
	@cd Tests && KVD_JOIN_MIB=$(MIB) ../.build/venv/bin/python -m pytest EndToEndTests/test_joins.py \
	  -k joiner_costs -s $(ARGS)

null: ## build the C servers that benchmarks are compared with
	@.ci/install build
	@$(MAKE) --no-print-directory -C Benchmarks/null

bench: optimized null ## compare with C servers, redis, nginx and etcd; CASE=get-p1 for one case, QUICK=1 for short runs
	@.ci/install bench
	@KVD_BINARY=$(CURDIR)/$(OPTIMIZED) python3 Benchmarks/bench.py $(if $(CASE),--case $(CASE)) $(if $(QUICK),--quick) $(ARGS)

micro: ## the hot leaves alone; fails if one costs more than 1.5 times its budget
	@.ci/install build
	@$(SWIFT) build $(RELEASE) --product micro
	@.build/release/micro --check 1.5 $(ARGS)

clean: ## remove everything that was built
	@rm -rf .build .build-address .build-counting .build-optimized .build-thread
	@$(MAKE) --no-print-directory -C Benchmarks/null clean
