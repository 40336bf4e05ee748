#!/usr/bin/env bash
# On a worker of a TPU slice: the environment of this checkout. Done once for a checkout; `tpu_vm.sh setup` calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# uv brings its own Python, with its checksum: the images of Ubuntu 22.04 that TPU VMs start from have 3.10 (JAX since
# 0.7 needs 3.11). A fixed uv also fixes which 3.11.
UV_VERSION=0.13.9
PYTHON_VERSION=3.11

# Where the commands that only look find the scripts, whatever commit they are called from.
ln -sfn "$PWD" "$HOME/fsfm_jax-current"
if [[ -e .ready ]]; then
    echo "the environment is ready"
    exit 0
fi
# A folder of its own: works too where the system's Python is marked as managed by the system (PEP 668).
python3 -m pip install --quiet --upgrade --target=.uv "uv==$UV_VERSION"
.uv/bin/uv venv --quiet --clear --python="$PYTHON_VERSION" .venv
.uv/bin/uv pip install --quiet --python=.venv/bin/python --require-hashes --requirement=requirements/tpu.lock
touch .ready
echo "the environment is made"
