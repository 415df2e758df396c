# msup: the two commands a newcomer needs are `make run` and `make test`; both set the machine up first.
# Recipes run through scripts/with-env, which puts the toolchains that scripts/setup found or fetched on PATH.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build run test test-quick test-cgroup2 test-containerd2 check bench hostile soak fuzz docs clean

env := scripts/with-env
# A version stamp needs a commit and a git that trusts this folder; without them the build does without.
vcs := $(if $(shell git rev-parse --verify -q HEAD 2>/dev/null),auto,false)

help: ## this list
	@echo 'make TARGET — msup runs trading strategies behind walls, and never loses or repeats a decision'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'Try: make run       Then: make run FEED=path/to/recording SPEED=10       Before a commit: make test'

setup: ## install what is missing: Go, Rust, .venv with the SDK (as root also Debian packages); safe to repeat
	@scripts/setup

# What the other targets call: nothing to do while none of its inputs changed.
build/setup.stamp: scripts/setup $(wildcard scripts/setup.d/*.sh) requirements-dev.txt pyproject.toml go.mod go.sum \
		$(wildcard wasmsdk/Cargo.*) $(if $(wildcard .venv/bin/python build/env.sh),,always)
	@scripts/setup
.PHONY: always
always:

# The SDK is compiled here because sandboxes see it read-only: without .pyc files every start of a strategy
# compiles it again, 60 ms.
build: build/setup.stamp ## bin/msup
	@$(env) python -m compileall -q pysdk/msup
	@$(env) go build -trimpath -buildvcs=$(vcs) -o bin/msup ./cmd/msup

run: build ## strategies in Python and Rust side by side on a synthetic market, or FEED=FILE [SPEED=max|N] [ARGS=…]
	@$(env) bin/msup run examples/ema_cross examples/mean_reversion examples/ema_cross_rs examples/market_maker \
		$(if $(FEED),--feed "$(FEED)") $(if $(SPEED),--speed "$(SPEED)") $(ARGS)

test: build ## everything that must hold, under 25 minutes; CI=true: recordings may not be missing
	@$(env) python scripts/runtests.py full

test-quick: build ## the tests that need neither recordings nor minutes
	@$(env) python scripts/runtests.py quick

test-cgroup2: build ## the sandboxes' tests on cgroup v2 alone, in an emulated machine (20 to 40 minutes): [PACKAGES="cgroup process msup"] [RUN=name] [ARCH=arm64]
	@RUN="$(RUN)" ARCH="$(ARCH)" $(env) scripts/test-cgroup2 $(PACKAGES)

test-containerd2: build/setup.stamp ## containers with containerd 2.x and a newer runc: [CONTAINERD=v2.2.9] [RUNC=v1.5.1] [RUN=name]
	@RUN="$(RUN)" CONTAINERD="$(CONTAINERD)" RUNC="$(RUNC)" scripts/test-containerd2

check: build/setup.stamp ## formatting, linters, types, documentation of all three languages
	@$(env) python scripts/runtests.py check

bench: build ## ratios against floors measured in the same run: a table and build/bench.json
	@$(env) go run ./tests/bench -out build/bench.json

soak-load: build/setup.stamp
	@$(env) go test ./tests/load -count=1 -v -run 'TestLoad$$' -timeout 0 -load.seconds $(or $(SECONDS),60)

fuzz: build/setup.stamp ## every fuzz target for SECONDS=10 each
	@$(env) python scripts/runtests.py fuzz --fuzz-seconds $(or $(SECONDS),10)

# A soak prints its seed and where to go on from: SEED=n begins there, COUNT=n makes so many trials, MINUTES=n goes on for so long (20 without
# either). name:test; sim's have their own counts.
soaks := supervisor:TestKilledSupervisor python-i:TestKilledSupervisorOfPythonI runners:TestKilledRunners containers:TestKilledContainers \
	bystanders:TestNoBystanderDies actions:TestCrashAtEveryAction failing-disk:TestFailingDisk full-disk:TestFullDisk damage:TestDamagedStateDirectory
soak_test = $(patsubst $*:%,%,$(filter $*:%,$(soaks)))

# DISTURB=600 with one of these, soak-lease or soak-boundary: goroutines of the supervisor pause before one of 600 statements.
disturb = $(if $(DISTURB),$(env) go run ./tests/disturb -one-in $(DISTURB) ./supervisor/... && GOFLAGS='-overlay=$(CURDIR)/build/disturbed/overlay.json -vet=off')

soak-%: build
	@test -n "$(soak_test)" || { echo "there is no soak-$*; there are: $(foreach s,$(soaks),soak-$(firstword $(subst :, ,$(s)))) soak-clock soak-simulation soak-replay soak-lease soak-boundary soak-stress soak-idle soak-load"; exit 2; }
	@$(disturb) $(env) go test ./tests/crash -count=1 -timeout 0 -v -run '^$(soak_test)$$' -seed $(or $(SEED),1) \
		$(if $(COUNT),-trials $(COUNT),-minutes $(or $(MINUTES),20))

soak-clock: build
	@$(env) go test ./tests/sim -count=1 -timeout 0 -v -run '^TestClockJumps$$' -worlds $(or $(COUNT),20000) -from $(or $(SEED),0)

# COUNT=200000 worlds of core, ledger, lease and I with all faults; a tenth as many with the real shell, and a hundredth with several owners.
# GOFLAGS=-race make soak-simulation looks for data races too, which the goroutines of the last two can have.
soak-simulation: build
	@$(env) go test ./tests/sim -count=1 -timeout 0 -v -run '^(TestWorlds|TestInstances|TestContests)$$' -worlds $(or $(COUNT),200000) \
		-instances $$(($(or $(COUNT),200000) / 10)) -contests $$(($(or $(COUNT),200000) / 100)) -from $(or $(SEED),0)

soak-replay: build
	@for n in $$(seq $(or $(COUNT),10)); do $(env) go test ./tests/replay -count=1 -timeout 0 -v -events 0 || exit 1; done

soak-lease: build
	@$(disturb) $(env) go test ./supervisor/lease -count=1 -timeout 0 -v -run Histor -schedules $(or $(COUNT),500) $(if $(SEED),-seed $(SEED))

soak-boundary: build
	@$(disturb) $(env) go test ./tests/e2e -count=1 -timeout 0 -v -run TestAnAdverseI -adverse-seeds $(or $(COUNT),20) -adverse-from $(or $(SEED),1)

# Every stressor for SECONDS=10 at L1 and in containers, COUNT=1 times.
soak-stress: build
	@$(env) go test ./tests/hostile -count=$(or $(COUNT),1) -timeout 0 -v -run TestStressNG -stress-all -stress-each $(or $(SECONDS),10)s

# COUNT=100 idle instances of each kind on this machine: walled Python, Python in containers, Wasm.
soak-idle: build
	@$(env) go test ./tests/hostile -count=1 -timeout 0 -v -run TestIdleInstances -idle $(or $(COUNT),100) -idle-containers $(or $(COUNT),100)
	@$(env) go test ./tests/hostile/wasm -count=1 -timeout 0 -v -run TestIdleModules -idle $(or $(COUNT),100)

hostile: build ## the hostile strategies in Python and Wasm, each at every level that applies, and what became of them
	@$(env) go test ./tests/hostile/... -count=1 -timeout 20m -v

soak: ## make soak-NAME [SEED=n] [COUNT=n | MINUTES=20] [DISTURB=600]: one class of faults for long; a wrong NAME lists them
	@$(MAKE) --no-print-directory soak-NAME

docs: build ## write docs/capabilities.md and docs/reasons.md anew
	@$(env) go run ./tests/capabilities/generate
	@$(env) bin/msup explain --all --markdown > docs/reasons.md.new && mv docs/reasons.md.new docs/reasons.md

clean: ## remove what was built here (toolchains outside the tree stay)
	@rm -rf bin build .venv wasmsdk/target examples/*/target .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
