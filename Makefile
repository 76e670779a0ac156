# Each target is at most three lines; what needs more is a program or a script with a name.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
PROGRAMS    := diamante diamante-node diamante-signer diamante-gateway

.PHONY: all run demo test deps build unit sim kill judges fips lint vuln fuzz bench release clean
all: build

# Bring the whole system up under .run/, play the story once, stay up until interrupted.
run: deps build
	bin/diamante up --story

# The same story, then down; the exit status says whether every step held.
demo: deps build
	bin/diamante demo

# Everything CI runs.
test: deps build lint vuln unit judges fips

# What a bare Debian-like machine lacks.
deps:
	deploy/dev/deps.sh

build:
	go build -trimpath -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

# The race detector has nothing to find in the two packages of the second line. The whole system is killed at every
# boundary and at some random moments after everything else, alone on the machine; never from the cache, which does not know
# that the test runs the programs.
unit:
	go test -race -timeout 20m $$(go list ./... | grep -v -e /cmd/internal/rig -e /cmd/internal/tidy -e /compliance/export)
	go test ./cmd/internal/tidy ./compliance/export
	DIAMANTE_SEEDS=2000 go test -count=1 -timeout 20m ./node/sim
	DIAMANTE_KILLS=50 go test -count=1 -timeout 20m ./cmd/internal/rig

# Networks of validators in virtual time, with everything going wrong: SEEDS of them.
sim:
	DIAMANTE_SEEDS=$(or $(SEEDS),100000) go test -count=1 -timeout 24h -run TestSeeds ./node/sim

# At 200 random moments, or at KILLS of them; and 3000 random schedules of the signer, or SCHEDULES of them.
kill: deps build
	DIAMANTE_KILLS=$(or $(KILLS),200) go test -count=1 -timeout 60m -v -run TestKill ./cmd/internal/rig
	DIAMANTE_SCHEDULES=$(or $(SCHEDULES),3000) go test -count=1 -timeout 60m -v -run TestNoSchedule ./keymgmt/service

# Others' libraries, which no program links, judge what our readers of coins understand.
judges:
	cd deploy/judges/bitcoin && go test ./...
	cd deploy/judges/ethereum && CGO_ENABLED=0 go test ./...

# The cryptographic packages once more with everything outside FIPS 140-3 switched off.
fips:
	GODEBUG=fips140=only go test -count=1 ./keymgmt/payload ./keymgmt/payload/bitcoin ./keymgmt/payload/ethereum ./keymgmt/policy ./compliance/export ./node/protocol ./node/txbuild

lint:
	test -z "$$(gofmt -l .)" || { gofmt -l . ; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

# Offline, from a copy of the vulnerability database.
vuln:
	deploy/dev/vuln.sh $(GOVULNCHECK)

# Every fuzz target for FUZZTIME each; the seeds alone run in unit.
fuzz:
	deploy/dev/fuzz.sh $(or $(FUZZTIME),60s)

# Ratios measured in one run, with the machine named.
bench: deps build
	bin/diamante bench

# What is shipped: Go's FIPS 140-3 module, no development keyring; only the signer links C.
release:
	GOFIPS140=v1.0.0 CGO_ENABLED=1 go build -trimpath -tags release -o bin/release/ ./cmd/diamante-signer
	GOFIPS140=v1.0.0 CGO_ENABLED=0 go build -trimpath -tags release -o bin/release/ ./cmd/diamante-node ./cmd/diamante-gateway ./cmd/diamante

clean:
	rm -rf bin .run
