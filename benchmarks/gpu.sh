#!/usr/bin/env bash
# One sitting on a GPU: the tests that need one, then the step against plain PyTorch's, then a short table.
#
#   benchmarks/gpu.sh [OUTPUT_FOLDER]        about 8 minutes; PYTHON=... chooses the interpreter (default python3)
#
# Needs PyTorch with CUDA beside the packages of this project. Whole logs are left in OUTPUT_FOLDER (default gpu_logs).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu_logs}
python=${PYTHON:-python3}
mkdir -p "$out"
failed=()

# run NAME COMMAND...: shows and keeps the output; a failure is reported at the end, the other parts go on.
run() {
  local name=$1
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$out/$name.log" || failed+=("$name")
}

step=(-m crcfp_jax.bench --config configs/bcss.py:release --random_input --steps 30
  --config.model.pretrained= --config.cross_consistency.classifiers=4 --config.contrastive.negatives=1200
  --config.contrastive.bank_steps=2) # as many as the PyTorch step has
torch=(benchmarks/pytorch_step.py --device cuda --side 320 --batch 8 --steps 30 --warmup 5 --bf16 --channels_last)

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.log"
run tests env JAX_PLATFORMS=cuda,cpu "$python" -m pytest -q -m gpu tests/crcfp_jax/test_gpu.py
run jax_v3plus "$python" "${step[@]}" --config.train.batch_size=8 --config.train.unlabelled_batch_size=8
run jax_v3 "$python" "${step[@]}" --config.train.batch_size=8 --config.train.unlabelled_batch_size=8 \
  --config.model.decoder=v3
run jax_supervised "$python" "${step[@]}" --config.method=supervised --config.train.batch_size=8
run pytorch_eager "$python" "${torch[@]}"
run pytorch_compiled "$python" "${torch[@]}" --compile
if [[ -d data/synthetic ]]; then
  run jax_input "$python" -m crcfp_jax.bench --config configs/quickstart.py --steps 50
fi

echo "== seconds a step, 8 + 8 images of 320 px, bfloat16"
for name in jax_v3plus jax_v3 jax_supervised jax_input; do
  [[ -f $out/$name.log ]] && grep -hE 'alone|both|compile|memory' "$out/$name.log" | sed "s/^/$name: /"
done
grep -h 'median' "$out"/pytorch_eager.log | sed 's/^/pytorch eager: /'
grep -h 'median' "$out"/pytorch_compiled.log | sed 's/^/pytorch compiled: /'
tail -n 1 "$out/tests.log"
if ((${#failed[@]})); then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
