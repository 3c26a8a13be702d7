# The two commands that the project stands on are `make up` and `make test`; both set up what they need.

SHELL := bash
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

up: ## Build what is needed and start the cluster
	@hack/up $(ARGS)

down: ## Stop it
	@$$(hack/build) down

test: ## All tests (needs root; at most an hour cold, a few minutes warm)
	@hack/test

test-full: test ## Also nodes in every place, a second node of the stand-in, and the Go and CPython suites under the interceptor
	@hack/e2e/run --node linux gvisor-4.4 gvisor-strict
	@hack/e2e/agent
	@hack/suites/go
	@hack/suites/cpython

e2e: ## One whole up, apply, see, down on this machine
	@hack/e2e/run linux

e2e-gvisor: ## The same in both gVisor generations and the stricter sandbox
	@hack/e2e/run gvisor gvisor-4.4 gvisor-strict

e2e-node: ## A node with pods, on this machine and in gVisor
	@hack/e2e/run --node linux gvisor gvisor-4.4 gvisor-strict

soak: ## A cluster watched for growth, for half an hour
	@hack/soak $(ARGS)

conformance: ## Upstream's conformance tests (FOCUS=regex SKIP=regex WHERE=gvisor|gvisor-4.4|linux)
	@FOCUS='$(FOCUS)' SKIP='$(SKIP)' WHERE='$(or $(WHERE),gvisor)' REST='$(REST)' hack/conformance/run

bench: ## Against no interception and against PTRACE_SYSCALL on everything
	@hack/bench $(ARGS)

update: ## Regenerate what is generated
	@for script in hack/update-*; do "$$script" || exit 1; done

verify: ## Compare what is generated
	@hack/verify-all

.PHONY: help up down test test-full e2e e2e-gvisor e2e-node soak conformance bench update verify
