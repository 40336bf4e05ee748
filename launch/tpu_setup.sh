#!/usr/bin/env bash
# Create the environment of this checkout on a worker of a TPU slice, once per checkout; `tpu_vm.sh setup` calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# uv installs its own Python and verifies its checksum. The Ubuntu 22.04 images of TPU VMs have 3.10, but JAX since 0.7
# needs 3.11. The pinned version of uv also determines the patch version of Python.
UV_VERSION=0.13.9
PYTHON_VERSION=3.11

# A fixed path to the scripts for status, logs and stop, which may be called from another commit.
ln -sfn "$PWD" "$HOME/fsfm_jax-current"
if [[ -e .ready ]]; then
    echo "the environment exists already"
    exit 0
fi
# A separate folder also works if the system's Python is externally managed (PEP 668).
python3 -m pip install --quiet --upgrade --target=.uv "uv==$UV_VERSION"
.uv/bin/uv venv --quiet --clear --python="$PYTHON_VERSION" .venv
.uv/bin/uv pip install --quiet --python=.venv/bin/python --require-hashes --requirement=requirements/tpu.lock
touch .ready
echo "the environment has been created"
