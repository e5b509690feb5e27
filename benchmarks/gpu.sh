#!/usr/bin/env bash
# One sitting on a GPU: the tests that need one, the step of several networks and of plain PyTorch, whole slides, the
# device's own rate, then one table of all of it.
#
#   benchmarks/gpu.sh [--small] [OUTPUT_FOLDER]
#
# Ends within LIMIT seconds (540). Give the same command again until nothing is put off: parts that are complete are not
# run again, those that were cut off come after those that have not begun. A part that failed is not repeated until its
# log is removed. Whole logs are left in OUTPUT_FOLDER (gpu_logs).
#
# PYTHON=... chooses the interpreter (python3); PyTorch with CUDA has to lie beside the packages of this project. No
# network is needed. --small tries all of it out on a CPU, at sizes that say nothing about speed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
small=
[[ ${1:-} == --small ]] && small=yes && shift
if (($# > 1)) || [[ ${1:-} == -* ]]; then
  echo "usage: benchmarks/gpu.sh [--small] [OUTPUT_FOLDER]" >&2
  exit 2
fi
out=${1:-gpu_logs${small:+_small}}
python=${PYTHON:-python3}
limit=${LIMIT:-540}
mkdir -p "$out" || exit
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export JAX_PLATFORMS=cuda,cpu # and not silently the CPU where CUDA can't be started
failed=() later=()

# part NAME NEEDS COMMAND...: runs a part that takes about NEEDS seconds, where it has not been run and that much is left.
# In the first pass those without a log, in the second those with one that is not complete.
part() {
  local name=$1 needs=$2 log=$out/$1.log end left started=$SECONDS code
  shift 2
  end=$(tail -n 1 "$log" 2>/dev/null)
  if [[ $end == "== exit "* ]]; then
    [[ $pass == second && $end != "== exit 0 "* ]] && failed+=("$name")
    return
  fi
  [[ $pass == first && -e $log ]] && return
  left=$((limit - SECONDS))
  [[ -n $small ]] && needs=0
  if ((left <= needs)); then
    [[ $pass == second ]] && later+=("$name")
    return
  fi
  echo "== $name"
  timeout --kill-after=5 "$left" "$@" 2>&1 | tee "$log"
  code=${PIPESTATUS[0]}
  if ((code == 124 || code == 137)); then # by `timeout`, or by the system
    [[ $pass == second ]] && later+=("$name")
    return
  fi
  echo "== exit $code after $((SECONDS - started)) s" | tee -a "$log"
  [[ $pass == second && $code != 0 ]] && failed+=("$name")
}

steps=30 side=320 batch=8 negatives=1200 matmul=8192 slide=12000x12000 windows=16 bare=10
torch=(--side "$side" --batch "$batch" --device cuda --bf16 --channels_last --warmup 5)
narrow=() width=() # fewer channels
if [[ -n $small ]]; then
  export JAX_PLATFORMS=cpu TORCHDYNAMO_DISABLE=1 # so that no C++ compiler is needed
  steps=1 side=96 batch=2 negatives=128 matmul=128 slide=700x700 windows=2 bare=0.1
  torch=(--side 160 --batch 2 --device cpu --channels_last --warmup 1 --joined) # less is too small for its negatives
  narrow=(--config.model.decoder_width=32) width=(--config.model.width=8)
fi
step=(-m crcfp_jax.bench --config configs/bcss.py:release --random_input --steps "$steps" --config.model.pretrained=
  --config.train.batch_size="$batch" --config.train.unlabelled_batch_size="$batch" --config.data.side="$side"
  --config.cross_consistency.classifiers=4 --config.contrastive.negatives="$negatives"
  --config.contrastive.bank_steps=2 "${narrow[@]}") # as many as the PyTorch step has
resnet=("${step[@]}" "${width[@]}")
torch=(benchmarks/pytorch_step.py --steps "$steps" "${torch[@]}")
slides=(benchmarks/slides.py --folder "$out/slides" --sizes "$slide" --batch_size "$windows" --bare_seconds "$bare")

command -v nvidia-smi >/dev/null &&
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$out/device.log"
for pass in first second; do
  part tests 120 "$python" -m pytest -q -m gpu tests/crcfp_jax/test_gpu.py
  part jax_v3plus 60 "$python" "${resnet[@]}"
  part jax_v3 60 "$python" "${resnet[@]}" --config.model.decoder=v3
  part jax_supervised 45 "$python" "${resnet[@]}" --config.method=supervised
  part jax_efficientnet 60 "$python" "${step[@]}" --config.model.backbone=efficientnet_lite0
  part jax_vit 60 "$python" "${step[@]}" --config.model.backbone=vit_small_patch16_224 --config.model.output_stride=8
  part pytorch_eager 45 "$python" "${torch[@]}"
  part pytorch_compiled 90 "$python" "${torch[@]}" --compile
  part predict_none 75 "$python" "${slides[@]}" --network none
  part predict_random 75 "$python" "${slides[@]}" --network random
  part matmul 20 "$python" benchmarks/matmul.py --side "$matmul"
done

echo
"$python" benchmarks/gpu_table.py "$out"
((${#later[@]})) && echo "put off, for the next call: ${later[*]}" >&2
((${#failed[@]})) && echo "failed: ${failed[*]}; remove a log of $out to run its part again" >&2
((${#later[@]} + ${#failed[@]} == 0))
