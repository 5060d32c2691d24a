# Everything a developer or CI runs. On systems without make, docs/start_restorer.md shows the same as plain pip lines.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo docs docs-lint wheel publish-dry-run lock test test-all test-facexlib coverage lint fuzz test-host bench gpu-kit pictures report clean

$(BIN)/priorsr: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

demo: $(BIN)/priorsr
	$(BIN)/python -m priorsr.methods.cli.demo demo

# a worker for each core: more threads in each would wait for one another
test: $(BIN)/priorsr
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n auto -m "not slow"

# with those that take minutes: the same picture in other threads and processes, memory over many runs, graphs
test-all: $(BIN)/priorsr
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n auto

# how much of nodes/ its tests run without ComfyUI
coverage: $(BIN)/priorsr
	$(BIN)/python -m coverage run -m pytest -q tests/nodes
	$(BIN)/python -m coverage report

lint: $(BIN)/priorsr
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/vermin --quiet --violations --target=3.10- --exclude long samplers methods nodes tools __init__.py

# what `make test` does with small numbers, with large ones: hours on a slow machine, figures in docs/reliability.md
fuzz: $(BIN)/priorsr
	PRIORSR_FUZZ=10000 $(BIN)/python -m pytest -q tests/fuzz/test_weight_files.py tests/fuzz/test_pictures.py
	PRIORSR_FUZZ=2000 $(BIN)/python -m pytest -q tests/fuzz/test_command_lines.py tests/fuzz/test_graphs.py
	PRIORSR_KILLS=20 PRIORSR_PICTURES=50 $(BIN)/python -m pytest -q tests/reliability/test_kill.py

# needs COMFYUI_PATH: a ComfyUI checkout; HOST_PYTHON runs it (default: this environment)
test-host: $(BIN)/priorsr
	@test -n "$(COMFYUI_PATH)" || { echo "set COMFYUI_PATH to a ComfyUI checkout"; exit 2; }
	$(BIN)/python -m pytest -q -m host

# our face networks beside facexlib's own; it needs a torchvision made for its torch, so an environment of its own
test-facexlib:
	$(PYTHON) -m venv .venv-facexlib
	.venv-facexlib/bin/pip install --quiet -e ".[faces]" pytest hypothesis
	.venv-facexlib/bin/python -m pytest -q -m facexlib tests/methods/nets/test_facexlib.py

bench: $(BIN)/priorsr
	$(BIN)/python benchmarks/srcnn_tiling.py
	$(BIN)/python benchmarks/sampler_overhead.py
	$(BIN)/python benchmarks/dpi_overhead.py
	$(BIN)/python benchmarks/srdg_overhead.py
	$(BIN)/python benchmarks/faces.py
	$(BIN)/python benchmarks/stablesr_overhead.py
	$(BIN)/python benchmarks/stablesr_memory.py

# what benchmarks/gpu.py needs beside the repository on a machine that has torch: small wheels, in gpu-kit/
gpu-kit: $(BIN)/priorsr
	$(BIN)/pip download --quiet --no-deps --dest gpu-kit -c constraints.txt \
		einops safetensors kornia tqdm pytest pluggy iniconfig hypothesis sortedcontainers

pictures: $(BIN)/priorsr
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_stablesr.py
	$(BIN)/python docs/make_srdg.py
	$(BIN)/python docs/make_visionrefine.py

# the site in build/site, strictly: a link that leads nowhere ends it; nothing is fetched
docs: $(BIN)/priorsr
	$(BIN)/python tools/make_site.py

# the English of README, docs and the nodes' help; rules that are off, and why: tools/check_english.py
docs-lint: $(BIN)/priorsr
	$(BIN)/python tools/check_english.py

# wheel and sdist in dist/, the wheel installed alone in a fresh environment and tried there
wheel: $(BIN)/priorsr
	$(BIN)/python tools/check_wheel.py

# what a tag sets off, short of publishing: versions agree, the wheel does what it promises, PyPI would take both files
publish-dry-run: wheel
	$(BIN)/python tools/check_release.py "v$$($(BIN)/python -c 'import priorsr; print(priorsr.__version__)')"
	$(BIN)/pip install --quiet twine
	$(BIN)/python -m twine check --strict dist/*

# what CI installs, for every Python and system; needs uv
lock:
	uv pip compile pyproject.toml --extra test -c constraints.txt --universal --python-version 3.10 \
		--no-emit-index-url --no-header --quiet --upgrade -o ci.lock

# docs/report.md anew: DATA holds faces/test_64.zip, faces_rgb/test_128.zip and sr/BSD20; goes on in WORK
report: $(BIN)/priorsr
	@test -n "$(DATA)" || { echo "set DATA to the folder of test pictures"; exit 2; }
	$(BIN)/python tools/report.py $(DATA) $(or $(WORK),build/report) --count $(or $(COUNT),8)

clean:
	rm -rf $(VENV) demo build dist *.egg-info
