#!/usr/bin/env bash
# Check and time everything that runs on a GPU, in at most 8 minutes: benchmarks/gpu.sh [--device cpu] [CHECK ...]
# Takes the project's own environment where there is one, else the first Python that has PyTorch. Downloads nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

# cuBLAS reads it once, when the first process computes: without it, deterministic algorithms are refused.
export CUBLAS_WORKSPACE_CONFIG=:4096:8
export PYTHONDONTWRITEBYTECODE=1

for python in .venv/bin/python python3 python; do
  if command -v "$python" >/dev/null && "$python" -c "import torch" 2>/dev/null; then
    exec "$python" -m benchmarks.gpu "$@"
  fi
done
echo "No Python with PyTorch: make install, or activate an environment that has it." >&2
exit 1
