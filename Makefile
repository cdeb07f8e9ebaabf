# Quintet's targets. `make` alone lists them.

SHELL       := /bin/bash
GO          ?= go
GOTESTFLAGS ?=
DEMO        ?=
BENCH       ?=
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Packages whose code runs over ordinary heap memory in tests, where the race detector can see it.
RACE := ./ipc/... ./sim/... ./storage/... ./files/ext4/... ./supervisor/... ./network/... ./gateway/...

# Packages with tests that play deaths at writes to shared memory, under a build tag of their own.
SIMULATED := ./sim/ ./network/server/

export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help build demo test tests test-long check bench peers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/quintet, one static binary
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/quintet ./cmd/quintet

demo: build ## copy real files into a volume while its server is killed about ten times a second; DEMO='--duration 10s'
	bin/quintet demo $(DEMO)

test: ## all checks and tests; the last lines are go test's own, and a list of what was skipped, if anything was
	tools/install-packages test
	@skips=$$(mktemp); trap 'rm -f "$$skips"' EXIT; \
	QUINTET_SKIPS=$$skips $(MAKE) --no-print-directory tests; status=$$?; \
	if [ -s "$$skips" ]; then echo "Not tested on this host:"; sort -u "$$skips"; fi; exit $$status

# What test runs. No test runs twice in the same form: check has run archtest, and the
# simulated packages run whole under their tag. Three packages run at a time: many wait.
tests:
	$(MAKE) --no-print-directory check build
	$(GO) test -p 3 -race -short -timeout 20m $(GOTESTFLAGS) $$($(GO) list -e -find $(RACE) 2>/dev/null)
	$(GO) test -tags simulator -timeout 10m $(GOTESTFLAGS) $(SIMULATED)
	cd test/clients && CGO_ENABLED=0 $(GO) test -timeout 10m $(GOTESTFLAGS) ./...
	CGO_ENABLED=0 $(GO) test -p 3 -timeout 30m $(GOTESTFLAGS) $$($(GO) list ./... | grep -v -x -f <($(GO) list ./internal/archtest/ $(SIMULATED)))

test-long: build ## the storms and sweeps at full length (hours)
	tools/install-packages test
	QUINTET_LONG=1 $(GO) test -count=1 -timeout 8h -v ./...
	QUINTET_LONG=1 $(GO) test -tags simulator -count=1 -timeout 8h -v $(SIMULATED)

check: ## format, vet and build on both architectures, staticcheck, direction of dependencies
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt these files:"; echo "$$unformatted"; exit 1; }
	GOARCH=amd64 $(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) vet -tags simulator $(SIMULATED)
	cd test/clients && $(GO) vet ./...
	GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./internal/archtest/

bench: build peers ## print the benchmark tables, beside C, fio, Unix sockets and Linux; BENCH=attack, ext4, ipc, network or storage for one
	tools/install-packages bench
	$(if $(BENCH),bin/quintet bench $(BENCH),bin/quintet bench ipc && bin/quintet bench storage && bin/quintet bench network && bin/quintet bench ext4 && bin/quintet bench attack)

peers: ## build bin/quintet-bench-peers, the libraries beside which the network is measured, from their own module
	@mkdir -p bin
	cd bench/peers && CGO_ENABLED=0 $(GO) build -mod=mod -trimpath -buildvcs=false -o ../../bin/quintet-bench-peers .

clean: ## remove what was built
	rm -rf bin
