# What a contributor and the CI run. `make` alone lists the targets.

SHELL     := bash
TOOLS     := bin/tools
GOFUMPT   := $(TOOLS)/gofumpt-v0.12.0
GOLANGCI  := $(TOOLS)/golangci-lint-v2.15.0
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BUILD     := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
FUZZTIME  := 30s

.PHONY: bench-bgp bench-dns bench-http help build test check race lab lab-image lab-clab bench fuzz demo peers clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 8

build: ## bin/catchment, one static binary
	@mkdir -p bin
	$(BUILD) -o bin/catchment ./cmd/catchment

test: peers ## all tests that need no rights; installs the peers they talk to, or says which tests will skip
	go test -shuffle=on ./...

race: peers ## the same under the race detector (needs a C compiler)
	@command -v $$(go env CC) >/dev/null || { echo "make race: no C compiler ($$(go env CC)); install gcc" >&2; exit 1; }
	go test -race -shuffle=on ./...

check: $(GOFUMPT) $(GOLANGCI) ## format, vet, lint, arrows, go.mod
	@unformatted=$$($(GOFUMPT) -l .); [ -z "$$unformatted" ] || { echo "not in gofumpt's format: $$unformatted; run $(GOFUMPT) -w ." >&2; exit 1; }
	go vet ./...
	go vet -tags 'faults lab drills' ./...
	$(GOLANGCI) run ./...
	go test -count=1 ./internal/arch
	go mod tidy -diff

lab: peers build ## the long tests: whole labs, drills again and again, planted faults
	go test -tags lab -count=1 -timeout 60m ./...

drills: peers build ## every drill of every shipped lab, on this machine and on network namespaces; DRILLS='-labs geodns' for some
	go test -tags drills -count=1 -timeout 30m -run TestEveryDrillOnEveryRunner ./labs/catalog $(DRILLS)

bench-labs: ## how long labs of 5, 20 and 50 machines take to come up and go, and what they take, on network namespaces
	go test -run '^$$' -bench Lab -benchtime 5x ./labs/netns

bench: ## all benchmarks, on a quiet machine
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## every fuzz target for FUZZTIME (30s)
	@set -euo pipefail; \
	grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file func; do \
		echo "fuzz $${func#func } in $$(dirname $$file)"; \
		go test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)"; \
	done

bench-bgp: build ## how fast routes are withdrawn and what a drain costs, beside ExaBGP and BIRD, with FRR and BIRD as transit (root); BGP='-rows death -v' for some
	go build -o bin/bench-bgp ./bench/bgp
	./bin/bench-bgp -binary bin/catchment $(BGP)

bench-http: build ## what a cache hit costs, beside nginx, Varnish, HAProxy, Traffic Server and a bare net/http server; HTTP='-rows 1k -servers catchment,nginx' for some
	go build -o bin/bench-http ./bench/http
	./bin/bench-http -binary bin/catchment $(HTTP)

bench-dns: build ## answers a second of processor time beside gdnsd, Knot, PowerDNS, NSD and CoreDNS; BENCHDNS='-rows catchment,gdnsd' for some
	go build -o bin/bench-dns ./bench/dns
	@command -v coredns >/dev/null || [ -x bin/tools/coredns ] || GOBIN=$$PWD/$(TOOLS) GOFLAGS= CGO_ENABLED=0 go install github.com/coredns/coredns@v1.15.0 >/dev/null 2>&1 || echo 'coredns cannot be built here: its row is skipped'
	PATH=$$PWD/$(TOOLS):$$PATH:/usr/sbin ./bin/bench-dns -binary bin/catchment $(BENCHDNS)

demo: build ## a lab of three POPs on this machine, its best POP killed before your eyes, and nothing left behind
	@set -euo pipefail; lab=demo-$$$$; \
	trap './bin/catchment lab down --lab '$$lab' >/dev/null 2>&1 || true' EXIT; trap 'exit 130' INT TERM HUP; \
	./bin/catchment lab up quickstart --name $$lab; \
	./bin/catchment drill run kill-best-pop --lab $$lab; \
	echo; echo 'Try next:'; \
	echo '  bin/catchment lab up quickstart      then paste the lines that it prints'; \
	echo '  bin/catchment drill list             and run freeze-best-pop or drain-best-pop'; \
	echo '  bin/catchment lab down'

# The programs that tests talk to, as COMMAND:PACKAGE. Without them the tests that need them skip, each saying so.
PEERS := bird:bird2 kdig:knot-dnsutils dig:dnsutils curl:curl openssl:openssl chromium:chromium vtysh:frr unbound:unbound tcpdump:tcpdump stayrtr:stayrtr knotd:knot nsd:nsd named:bind9

peers:
	@set -uo pipefail; PATH=$$PATH:/usr/sbin:/sbin; missing=; packages=; \
	for p in $(PEERS); do command -v $${p%%:*} >/dev/null || { missing+=" $${p%%:*}"; packages+=" $${p##*:}"; }; done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$$packages"; \
		( export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		  { apt-get update -q && apt-get install -y -q --no-install-recommends $$packages; } >/dev/null ) && exit 0; \
	fi; \
	echo "not installed:$$missing; the tests against them will be skipped (Debian:$$packages)"

# Tools are pinned here and not in go.mod: their dependencies are not ours. A binary of the right version in GOPATH/bin
# is taken as it is, since building the linter takes minutes.
$(GOFUMPT):
	@$(call tool,$@,gofumpt,v0.12.0,mvdan.cc/gofumpt,-version)

$(GOLANGCI):
	@$(call tool,$@,golangci-lint,2.15.0,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,version)

# $(call tool,FILE,NAME,VERSION,PACKAGE,VERSION-FLAG)
define tool
set -euo pipefail; mkdir -p $(TOOLS); have=$$(go env GOPATH)/bin/$(2); version=$(3); \
if [ -x $$have ] && $$have $(5) 2>&1 | grep -qwF -- '$(3)'; then cp $$have $(1); exit 0; fi; \
echo "building $(2) $(3); this takes a while the first time"; \
GOBIN=$$PWD/$(TOOLS) GOFLAGS= CGO_ENABLED=0 go install $(4)@v$${version#v}; mv $(TOOLS)/$(2) $(1)
endef

clean: ## remove what make built
	rm -rf bin

lab-image: build ## the image of every container of a rendered lab: the binary and nothing else
	tar -c -C $(CURDIR)/bin catchment -C $(CURDIR)/containerlab Dockerfile | docker build -q -t catchment/lab:latest -

LABS ?= $(notdir $(patsubst %/,%,$(dir $(wildcard labs/catalog/*/topology.yaml))))

# FRR holds each change back for 50 ms before it tells the next router, so this drill's withdrawal(best) < 100ms is not met.
SLOW_FRR := quickstart/frr/kill-best-pop

lab-clab: ## every lab in containers, deployed by containerlab as it is and driven by us, with its drills; LABS="a b" chooses
	@set -uo pipefail; \
	skip() { echo "make lab-clab: skipped: $$1"; exit 0; }; \
	[ "$$(id -u)" = 0 ] || skip 'it needs root'; \
	command -v docker >/dev/null || skip 'docker is not installed (Debian: docker.io)'; \
	docker version >/dev/null 2>&1 || skip 'the docker daemon does not answer'; \
	command -v containerlab >/dev/null || skip 'containerlab is not installed (https://containerlab.dev/install)'; \
	$(MAKE) --no-print-directory lab-image >/dev/null || exit 1; \
	routers=ours; image=$${FRR_IMAGE:-quay.io/frrouting/frr:10.5.1}; \
	if docker image inspect "$$image" >/dev/null 2>&1; then routers='ours frr'; \
	else echo "without FRR: there is no image $$image here; name one in FRR_IMAGE"; fi; \
	export CLAB_VERSION_CHECK=disable; failed=; dir=$$(mktemp -d); \
	for lab in $(LABS); do for router in $$routers; do \
		name=$$lab-$$router-$$$$; \
		echo "== $$lab, routers $$router: containerlab deploy"; \
		./bin/catchment lab render $$lab -o $$dir/$$name --name $$name --router $$router >/dev/null \
			&& ( cd $$dir/$$name && file=$$(echo *.clab.yml) && containerlab deploy -t $$file >deploy.log 2>&1 \
				|| { tail -5 deploy.log; false; } ) || failed+=" $$lab/$$router/deploy"; \
		( cd $$dir/$$name && containerlab destroy -t $$(echo *.clab.yml) --cleanup >/dev/null 2>&1 ); \
		echo "== $$lab, routers $$router: driven"; \
		if ./bin/catchment lab up $$lab --name $$name --runner containerlab --router $$router | grep -E '^(deployed|converged)'; then \
			for drill in labs/catalog/$$lab/drills/*.yaml; do \
				drill=$$(basename $$drill .yaml); ./bin/catchment drill run $$lab/$$drill --lab $$name >$$dir/drill.log 2>&1; rc=$$?; \
				case $$rc in \
				0) tail -1 $$dir/drill.log;; \
				3) echo "SKIP  $$drill: $$(tail -1 $$dir/drill.log)";; \
				*) tail -40 $$dir/drill.log; \
					if [ "$$lab/$$router/$$drill" = $(SLOW_FRR) ] && [ "$$(grep -c '^FAIL .*found' $$dir/drill.log)" = "$$(grep -c '^FAIL .*withdrawal(best) < 100ms' $$dir/drill.log)" ]; \
					then echo "EXCUSED  $$drill: FRR holds changes back"; else failed+=" $$lab/$$router/$$drill"; fi;; esac; \
			done; \
			./bin/catchment lab down --lab $$name >/dev/null || failed+=" $$lab/$$router/down"; \
		else failed+=" $$lab/$$router/up"; fi; \
	done; done; rm -rf $$dir; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }
