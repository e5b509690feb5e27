#!/usr/bin/env bash
# Makes the environment in .venv and runs the project in it, in one process or in one per host. `./launch.sh help`.
set -euo pipefail
((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || {
  echo "error: bash $BASH_VERSION is too old; 4.4 or newer is needed" >&2
  exit 2
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
venv=$root/.venv
most_test_processes=4 # pytest-xdist workers of `./launch.sh test`, which take a core and about 2 GB each

die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

join_commas() {
  local IFS=,
  echo "$*"
}

say() { printf 'launch.sh: %s\n' "$*" >&2; }

usage() {
  cat <<'HELP'
usage: ./launch.sh [launch options] --config FILE [flags]   train: python -m crcfp_jax.main --config FILE [flags]
       ./launch.sh [launch options] COMMAND [arguments]

commands
  test [pytest arguments]   run the test suite
  build NAME [flags]        prepare a data set: python -m data_pipelines.build NAME [flags]
  predict [arguments]       segment images and slides: python -m crcfp_jax.predict [arguments]
  suggest [arguments]       where to annotate next: python -m crcfp_jax.suggest [arguments]
  python [arguments]        Python in the project's environment
  install [extra ...]       only make the environment, with these extras of pyproject.toml (e.g. dev)
  help                      this text

launch options (anywhere; with `python`, before it)
  --hosts local:N           N processes on this machine, their GPUs shared out evenly
  --hosts slurm             one process per node of the current Slurm allocation (found by itself inside sbatch)
  --tpu NAME --zone ZONE    one process per host of a Cloud TPU slice, started through gcloud
  --project P --tpu-dir D   the slice's project; the checkout's folder on its hosts (default: this folder's name)
  --dry-run                 print the commands that would be run, one per line, and do nothing

environment variables
  PYTHON                    interpreter of a new environment, 3.11 or newer, e.g. PYTHON=python3.12
  CRCFP_EXTRA               cpu, cuda, cuda12 or tpu instead of what is detected
  CRCFP_INSTALLER           uv or pip (default: uv where it is installed)
docs/install.md and docs/clusters.md say more.
HELP
}

# ---------------------------------------------------------------- what this machine has

tpu_present() {
  local folder vendor device
  [[ -z ${TPU_WORKER_ID:-} ]] || return 0 # Kubernetes
  for folder in /sys/bus/pci/devices/*; do # the numbers by which JAX itself finds TPU chips
    if read -r vendor <"$folder/vendor" && read -r device <"$folder/device" &&
      [[ $vendor == 0x1ae0 && $device =~ ^0x00(27|56|5e|62|63|6f|76)$ ]]; then
      return 0
    fi
  done 2>/dev/null
  return 1
}

# Prints cpu, cuda, cuda12 or tpu: both the device to run on and the extra to install.
detect_extra() {
  local driver
  if [[ -n ${CRCFP_EXTRA:-} ]]; then
    [[ $CRCFP_EXTRA =~ ^(cpu|cuda|cuda12|tpu)$ ]] || die "CRCFP_EXTRA=$CRCFP_EXTRA is not cpu, cuda, cuda12 or tpu"
    echo "$CRCFP_EXTRA"
  elif driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) &&
    [[ $driver =~ ^[0-9]+ ]]; then
    # CUDA 13 needs driver 580.
    if ((BASH_REMATCH[0] >= 580)); then echo cuda; else echo cuda12; fi
  elif tpu_present; then
    echo tpu
  else
    echo cpu
  fi
}

# Prints the GPUs that a process started here would see, one per line.
gpus() {
  if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep . || true
  else
    nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true
  fi
}

# ---------------------------------------------------------------- the environment

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

new_enough() { [[ $1 =~ ^3\.([0-9]+)$ ]] && ((BASH_REMATCH[1] >= 11)); }

# Prints the interpreter that a new environment is made with.
find_python() {
  local candidate version
  if [[ -n ${PYTHON:-} ]]; then
    version=$(python_version "$PYTHON") || die "PYTHON=$PYTHON does not run"
    new_enough "$version" || die "PYTHON=$PYTHON is Python $version; 3.11 or newer is needed"
    echo "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11; do
    if version=$(python_version "$candidate") && new_enough "$version"; then
      echo "$candidate"
      return
    fi
  done
  # uv fetches an interpreter where there is none.
  [[ $installer == uv ]] || die "no Python 3.11 or newer found; install one or name it: PYTHON=/its/path/python3"
  echo 3.12
}

choose_installer() {
  installer=${CRCFP_INSTALLER:-}
  if [[ -z $installer ]]; then
    installer=pip
    if command -v uv >/dev/null; then installer=uv; fi
  fi
  [[ $installer =~ ^(uv|pip)$ ]] || die "CRCFP_INSTALLER=$installer is not uv or pip"
}

# True where .venv runs, is of the Python asked for, and the installer can install into it.
usable() {
  local version
  version=$(python_version "$venv/bin/python") && new_enough "$version" || return 1
  [[ -z ${PYTHON:-} || $version == "$(python_version "$PYTHON")" ]] || return 1
  [[ $installer == uv ]] || "$venv/bin/python" -c 'import pip' 2>/dev/null
}

stamped() { [[ -f $venv/.installed-$1 && $(<"$venv/.installed-$1") == "$stamp" ]]; }

# make_environment EXTRA...: installs what has no stamp. A stamp is written after the installation has ended, and
# names the state of pyproject.toml and the folder, so a moved checkout or an interrupted installation is redone.
make_environment() {
  local extra missing=() python version
  stamp="$(cksum <"$root/pyproject.toml") $root"
  if [[ -n ${PYTHON:-} ]]; then
    find_python >/dev/null
    version=$(python_version "$PYTHON")
    [[ $(python_version "$venv/bin/python" || true) == "$version" ]] || rm -f "$venv"/.installed-*
  fi
  for extra in "$@"; do stamped "$extra" || missing+=("$extra"); done
  if ((${#missing[@]} == 0)) && [[ -x $venv/bin/python ]]; then return; fi

  choose_installer
  exec 9<"$root/pyproject.toml" # two launches at once must not install into the same folder
  if command -v flock >/dev/null && ! flock -n 9; then
    say "waiting for another launch to finish installing"
    flock 9 || true # some network file systems cannot lock
  fi
  if ! usable; then
    python=$(find_python)
    say "making .venv with $python"
    rm -rf "$venv"
    if [[ $installer == uv ]]; then
      uv venv --quiet --python "$python" "$venv" || die "uv could not make $venv; its message is above"
    else
      "$python" -m venv "$venv" || die "could not make $venv (on Debian and Ubuntu: apt install python3-venv)"
    fi
  fi
  missing=() # another launch may have finished while this one waited
  for extra in "$@"; do stamped "$extra" || missing+=("$extra"); done
  if ((${#missing[@]} > 0)); then install_extras "${missing[@]}"; fi
  exec 9<&-
}

install_extras() {
  local extra wanted=() target=.
  for extra in "$@"; do [[ $extra == cpu ]] || wanted+=("$extra"); done
  if ((${#wanted[@]} > 0)); then target=".[$(join_commas "${wanted[@]}")]"; fi
  say "installing the project (${wanted[*]:-cpu}) with $installer, once; this takes a few minutes"
  if [[ $installer == uv ]]; then
    (cd "$root" && uv pip install --quiet --python "$venv/bin/python" --editable "$target") >&2 ||
      die "uv could not install the project; its message is above (CRCFP_INSTALLER=pip uses pip and its settings)"
  else
    (cd "$root" && "$venv/bin/python" -m pip install -qq --editable "$target") >&2 ||
      die "pip could not install the project; its message is above"
  fi
  for extra in "$@" cpu; do
    printf '%s\n' "$stamp" >"$venv/.installed-$extra.part"
    mv -f "$venv/.installed-$extra.part" "$venv/.installed-$extra"
  done
}

# ---------------------------------------------------------------- the processes

# Sets `settings` to the variables, as NAME=value, that a process on this kind of device gets.
device_settings() {
  settings=()
  # Asked for, not detected (here, or by the launch that started this job step): in an environment with CUDA, JAX would
  # take the GPU all the same.
  if [[ ${CRCFP_EXTRA:-} == cpu && -z ${JAX_PLATFORMS:-} && ${CRCFP_DISTRIBUTED:-} != auto ]]; then
    settings+=("JAX_PLATFORMS=cpu")
  fi
}

# first_ids N: 0,1,...,N-1
first_ids() { seq -s , 0 $(($1 - 1)); }

print_command() {
  local word line=''
  for word in "$@"; do
    if [[ $word == "$(printf '%q' "$word")" ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
  done
  printf '%s\n' "${line# }"
}

run() {
  if [[ -n $dry_run ]]; then
    print_command "$@"
  else
    exec "$@"
  fi
}

run_here() {
  local visible
  if [[ ${SLURM_STEP_NUM_TASKS:-1} != 1 && -z ${CRCFP_DISTRIBUTED:-}${CRCFP_COORDINATOR:-} ]]; then
    die "this is one of $SLURM_STEP_NUM_TASKS tasks of a Slurm step: leave srun out, or set CRCFP_DISTRIBUTED=auto"
  fi
  device_settings
  # Inside a Slurm step JAX takes one GPU per process; alone on its node, a process shall have them all.
  if [[ $extra == cuda* && ${CRCFP_DISTRIBUTED:-} == auto && -z ${JAX_LOCAL_DEVICE_IDS:-} &&
    ${SLURM_STEP_TASKS_PER_NODE:-} =~ ^1(\(x[0-9]+\))?$ ]]; then
    visible=$(gpus | wc -l)
    if ((visible > 0)); then settings+=("JAX_LOCAL_DEVICE_IDS=$(first_ids "$visible")"); fi
  fi
  run env "${settings[@]}" "${program[@]}"
}

free_port() {
  local port=$((20000 + $$ % 20000))
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

# Reads lines to the end whatever is signalled, so that the last words of a stopped process are seen.
prefix_lines() {
  local line
  trap '' INT TERM
  while IFS= read -r line || [[ -n $line ]]; do printf '[%s] %s\n' "$1" "$line"; done
}

# share_gpus COUNT: sets `visible` to the GPUs and `share` to how many of them each of COUNT processes gets.
share_gpus() {
  visible=()
  share=0
  [[ $extra != tpu ]] || die "--hosts local:$1 is for CPUs and GPUs; one process drives all the TPU chips of a host"
  if [[ $extra == cuda* ]]; then
    mapfile -t visible < <(gpus)
    share=$((${#visible[@]} / $1))
    ((share > 0 && share * $1 == ${#visible[@]})) ||
      die "--hosts local:$1 cannot share out ${#visible[@]} GPUs evenly; choose them with CUDA_VISIBLE_DEVICES"
  fi
}

run_local() {
  local count=$1 index coordinator own output pids=() printers=()
  coordinator=${CRCFP_COORDINATOR:-127.0.0.1:$(free_port)}
  device_settings
  for ((index = 0; index < count; index++)); do
    own=(env "${settings[@]}" "CRCFP_COORDINATOR=$coordinator" "CRCFP_PROCESSES=$count" "CRCFP_PROCESS=$index")
    if ((share > 0)); then
      own+=("CUDA_VISIBLE_DEVICES=$(join_commas "${visible[@]:index*share:share}")")
      own+=("JAX_LOCAL_DEVICE_IDS=$(first_ids "$share")")
    fi
    if [[ -n $dry_run ]]; then
      print_command "${own[@]}" "${program[@]}"
      continue
    fi
    exec {output}> >(prefix_lines "$index")
    printers+=("$!")
    "${own[@]}" "${program[@]}" >&"$output" 2>&1 </dev/null {output}>&- &
    pids+=("$!")
    exec {output}>&-
  done
  [[ -n $dry_run ]] || supervise
}

send() { if ((${#pids[@]} > 0)); then kill "-$1" "${pids[@]}" 2>/dev/null || true; fi; }

# Waits for the processes `pids`; when one fails, stops the others, which would wait for it for ever.
supervise() {
  local index status failed=0 culprit='' deadline='' signalled='' running errors
  exec {errors}>&2 2>/dev/null # bash's own remarks on killed processes
  # A process saves its state on SIGTERM and ends by itself; a second signal does not wait for that.
  trap 'if [[ -z $signalled ]]; then signalled=yes; send TERM; else send KILL; fi' INT TERM
  while ((${#pids[@]} > 0)); do
    running=" $(jobs -rp | tr '\n' ' ') "
    for index in "${!pids[@]}"; do
      if [[ $running == *" ${pids[index]} "* ]]; then continue; fi
      status=0
      wait "${pids[index]}" || status=$?
      unset "pids[index]"
      if ((status != 0 && failed == 0)); then
        failed=$status
        if [[ -z $signalled ]]; then
          culprit=$index
          deadline=$((SECONDS + ${CRCFP_GRACE_SECONDS:-20}))
          send TERM
        fi
      fi
    done
    if [[ -n $deadline ]] && ((SECONDS >= deadline)); then send KILL; fi
    sleep 0.2
  done
  wait "${printers[@]}" || true
  if [[ -n $culprit ]]; then
    printf 'error: process %s ended with status %s; the others were stopped\n' "$culprit" "$failed" >&"$errors"
  fi
  exit "$failed"
}

run_slurm() {
  local nodes=${SLURM_JOB_NUM_NODES:-} cpus=${SLURM_JOB_CPUS_PER_NODE:-} options
  options=("--nodes=$nodes" "--ntasks=$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 --label)
  # srun does not pass the job's CPUs on to a step by itself (Slurm 22.05 and newer).
  if [[ $cpus =~ ^([0-9]+)(\(x[0-9]+\))?$ ]]; then options+=("--cpus-per-task=${BASH_REMATCH[1]}"); fi
  local variables=(CRCFP_DISTRIBUTED=auto "CRCFP_EXTRA=$extra")
  if [[ ${CRCFP_EXTRA:-} == cpu && -z ${JAX_PLATFORMS:-} ]]; then variables+=("JAX_PLATFORMS=cpu"); fi
  run srun "${options[@]}" env "${variables[@]}" "$root/launch.sh" "${given[@]}"
}

run_tpu() {
  local line options=(--worker=all)
  [[ -z $zone ]] || options+=("--zone=$zone")
  [[ -z $project ]] || options+=("--project=$project")
  line="cd $(printf '%q' "${tpu_dir:-$(basename -- "$root")}") &&"
  line+=" CRCFP_DISTRIBUTED=auto CRCFP_EXTRA=tpu ./launch.sh $(print_command "${given[@]}")"
  run gcloud compute tpus tpu-vm ssh "$tpu" "${options[@]}" "--command=$line"
}

# ---------------------------------------------------------------- the command line

command='' program=() hosts='' tpu='' zone='' project='' tpu_dir='' dry_run=''
arguments=()
while (($# > 0)); do
  case $1 in
    --hosts | --tpu | --zone | --project | --tpu-dir)
      (($# > 1)) || die "$1 needs a value"
      set -- "$1=$2" "${@:3}"
      continue
      ;;
    --hosts=*) hosts=${1#*=} ;;
    --tpu=*) tpu=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --tpu-dir=*) tpu_dir=${1#*=} ;;
    --dry-run) dry_run=yes ;;
    -h | --help)
      if [[ -z $command ]]; then
        usage
        exit
      fi
      arguments+=("$1")
      ;;
    *)
      if [[ -n $command ]]; then
        arguments+=("$1")
      elif [[ $1 == -* ]]; then
        command=train
        arguments+=("$1")
      else
        command=$1
        if [[ $command == python ]]; then
          arguments=("${@:2}")
          break
        fi
      fi
      ;;
  esac
  shift
done

given=("$command" "${arguments[@]}") # the command line for launch.sh on another host
extras=()
case $command in
  train)
    program=("$venv/bin/python" -m crcfp_jax.main "${arguments[@]}")
    given=("${arguments[@]}")
    ;;
  build)
    extras=(slides) # TIFF is read with them
    program=("$venv/bin/python" -m data_pipelines.build "${arguments[@]}")
    ;;
  predict | suggest)
    extras=(slides)
    program=("$venv/bin/python" -m "crcfp_jax.$command" "${arguments[@]}")
    ;;
  python) program=("$venv/bin/python" "${arguments[@]}") ;;
  install)
    [[ -z $hosts ]] || die "install makes one environment for all processes: leave --hosts out"
    extras=("${arguments[@]}")
    ;;
  test)
    extras=(test)
    if ((${#arguments[@]} == 0)); then
      test_processes=$(nproc 2>/dev/null || echo 1)
      if ((test_processes > most_test_processes)); then test_processes=$most_test_processes; fi
      # Files stay whole: their tests share runs and compiled steps.
      arguments=(-n "$test_processes" --dist loadfile)
    fi
    program=("$venv/bin/python" -m pytest "${arguments[@]}")
    ;;
  help)
    usage
    exit
    ;;
  '') die "nothing to do: give --config FILE or a command; ./launch.sh help lists them" ;;
  *) die "unknown command '$command'; ./launch.sh help lists them" ;;
esac

if [[ -n $tpu ]]; then
  [[ -z $hosts ]] || die "--hosts and --tpu exclude each other"
  run_tpu
  exit
fi
[[ -z $zone$project$tpu_dir ]] || die "--zone, --project and --tpu-dir belong to --tpu NAME"
if [[ -z $hosts && $command == train && -z ${SLURM_STEP_ID:-} ]] && ((${SLURM_JOB_NUM_NODES:-1} > 1)); then
  hosts=slurm
fi
[[ -z $hosts || $hosts == slurm || $hosts =~ ^local:[1-9][0-9]*$ ]] || die "--hosts $hosts is not local:N or slurm"

extra=$(detect_extra)
if [[ $hosts == slurm ]]; then
  [[ -n ${SLURM_JOB_NUM_NODES:-} ]] || die "--hosts slurm works inside an allocation (sbatch, salloc)"
  # A login node has no GPU of its own.
  if [[ $extra == cpu && -z ${CRCFP_EXTRA:-} && -n ${SLURM_JOB_GPUS:-}${SLURM_GPUS:-}${SLURM_GPUS_PER_NODE:-} ]]; then
    extra=cuda
  fi
fi
if [[ $hosts == local:* ]]; then share_gpus "${hosts#local:}"; fi
if [[ -z $dry_run ]]; then make_environment "$extra" "${extras[@]}"; fi

case $hosts in
  slurm) run_slurm ;;
  local:*) run_local "${hosts#local:}" ;;
  *)
    [[ $command != install ]] || exit 0
    if [[ $command == test ]]; then
      [[ -z $dry_run ]] || print_command cd "$root"
      cd "$root"
    fi
    run_here
    ;;
esac
