# make test    installs the real clients and servers that the tests need, then runs every test
# make tools   only installs them
# make bench   figures against nginx and raw upstreams, as a table for benches/README.md

SHELL := /bin/bash
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

# Absolute, because tests run in their package's folder and CARGO_TARGET_DIR may be relative.
TOOLS := $(abspath $(CARGO_TARGET_DIR))/tools
HELM3 := v3.21.4
HELM4 := v4.2.4

.PHONY: test tools bench

test: tools
	CHARTGATE_TOOLS=1 CHARTGATE_TOOLS_DIR=$(TOOLS) cargo test --locked --lib --test main

tools: $(TOOLS)/helm-$(HELM3)/helm $(TOOLS)/helm-$(HELM4)/helm
	@tests/install-servers redis-server
	@ln -sfn helm-$(HELM3) $(TOOLS)/helm3
	@ln -sfn helm-$(HELM4) $(TOOLS)/helm4

$(TOOLS)/helm-v3%/helm:
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install helm.sh/helm/v3/cmd/helm@v3$*

$(TOOLS)/helm-v4%/helm:
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install helm.sh/helm/v4/cmd/helm@v4$*

bench: tools
	@tests/install-servers nginx wrk
	cargo build --release --locked
	CHARTGATE_TOOLS_DIR=$(TOOLS) python3 benches/side_by_side/run.py
