#!/usr/bin/env bash
# Everything that needs a GPU, in one call, without installing the package: the self-test, kernels beside the exact
# theory, compute-sanitizer where it is there, the benchmark, and the recall experiment. From the repository's root:
#
#     kernels/benchmarks/on_gpu.sh FOLDER [SECONDS]
#
# FOLDER gets selftest.json, crosscheck/, fuzz/, their_tests.csv, results.json, results.csv, table.md, kernels.md,
# recall/, figures, logs. The benchmark ends after SECONDS (540). Each step is stopped after its LIMIT_* seconds, STEPS
# picks some of them, SHAPES is the benchmark's grid, EVERY the kernel whose configurations are all held against the
# theory, FUZZ how long chunk_osdn is fuzzed, OSLA a checkout of the authors' repository, FLA one of
# flash-linear-attention, whose own tests are then run with our operators. Exit code: that of the first step that failed.
set -uo pipefail

out=$(realpath -m "${1:?usage: on_gpu.sh FOLDER [SECONDS]}")
seconds=${2:-540}
steps=${STEPS:-selftest crosscheck fuzz theirs sanitizer benchmark recall}
root=$(cd "$(dirname "$0")/../.." && pwd)
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
ln -s "$root/kernels" "$site/osdn_kernels"
cat >"$site/osdn-theory" <<'COMMAND'
import os
from contextlib import nullcontext

from osdn_kernels.launch.forced import forced
from osdn_theory.commands.main import main

if __name__ == "__main__":  # worker processes import this file
    with forced({}) if os.environ.get("UNTUNED") else nullcontext():
        main()
COMMAND
(cd "$root" && python3 -c 'import setuptools; setuptools.setup()' -q egg_info --egg-base "$site") # the entry points
export PYTHONPATH="$site:$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
: >"$out/summary.txt"

# The step called NAME, for at most LIMIT seconds.
step() {
    local name=$1 limit=$2 code=0 started=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$out/$name.out" 2>"$out/$name.log" || code=$?
    echo "$name: exit code $code, $((SECONDS - started)) s" | tee -a "$out/summary.txt"
    return "$code"
}

selftest() {
    step selftest "${LIMIT_SELFTEST:-600}" python3 -m osdn_kernels.selftest --json "$out/selftest.json"
}

# Kernels and dtypes of the cross-check; the first configuration of ours, since tuning is not what it is about.
EXAMINED=(
    "chunk_osdn float32" "chunk_osdn bfloat16" "fused_recurrent_osdn float32" "fused_recurrent_osdn bfloat16"
    "fla_chunk_delta_rule bfloat16" "fla_fused_recurrent_delta_rule float32" "fla_chunk_gated_delta_rule bfloat16"
    "fla_chunk_kda bfloat16" "fla_chunk_precond_gated_delta_rule bfloat16" "fla_chunk_precond_kda bfloat16"
)

# One kernel examined; exit code 3, something that a precision cannot show, is no failure.
examine() {
    local kernel=$1 dtype=$2 name=${1##*:}-$2 code=0
    shift 2
    UNTUNED=1 OMP_NUM_THREADS=2 step "crosscheck-$name" "${LIMIT_CROSSCHECK:-600}" python3 "$site/osdn-theory" \
        crosscheck --kernel "$kernel" --dtype "$dtype" --out "$out/crosscheck/$name" "$@" || code=$?
    [ "$code" -eq 3 ] || return "$code"
}

crosscheck() {
    local each
    for each in "${EXAMINED[@]}"; do
        # shellcheck disable=SC2086
        examine $each &
        room
    done
    if [ -n "${OSLA:-}" ]; then
        for each in chunk_stepped chunk_wy; do
            PYTHONPATH="$OSLA:$PYTHONPATH" examine "osdn_kernels.benchmarks.operators.osla:$each" bfloat16 &
            room
        done
    fi
    [ -z "${EVERY:-}" ] || examine "$EVERY" float32 --every-config --gradients --stream interpolating --tokens 128 &
    finished
}

fuzz() {
    UNTUNED=1 OMP_NUM_THREADS=2 step fuzz "$((${FUZZ:-180} + 60))" python3 "$site/osdn-theory" \
        fuzz --kernel chunk_osdn --seconds "${FUZZ:-180}" --out "$out/fuzz"
}

theirs() {
    [ -z "${FLA:-}" ] || step their_tests "${LIMIT_THEIRS:-600}" \
        python3 -m osdn_kernels.benchmarks.their_tests "$FLA" --out "$out/their_tests.csv"
}

# Until fewer than JOBS (8) run in the background: compilers are what fills the memory.
room() {
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-8}" ]; do wait -n || true; done
}

sanitizer() {
    command -v compute-sanitizer >/dev/null || return 0
    for tool in memcheck racecheck; do
        for problem in "chunk bf16" "recurrent bf16"; do
            step "$tool-${problem// /-}" "${LIMIT_SANITIZER:-600}" compute-sanitizer --tool "$tool" \
                --error-exitcode 9 python3 -m osdn_kernels.selftest --problem "$problem" &
        done
    done
    finished
    grep -H 'ERROR SUMMARY\|RACECHECK SUMMARY' "$out"/*check-*.out | sed "s|$out/||" | tee -a "$out/summary.txt"
}

benchmark() {
    step benchmark "${LIMIT_BENCHMARK:-$((seconds + 60))}" \
        python3 -m osdn_kernels.benchmarks --out "$out" --seconds "$seconds" --shapes "${SHAPES:-small}" --profile ${OSLA:+--osla "$OSLA"}
}

recall() {
    WORK="$out/recall" step recall "$((${LIMIT_RECALL:-600} + 60))" \
        "$root/kernels/experiments/on_gpu.sh" recall "$out" "${LIMIT_RECALL:-600}" --preset h200 --device cuda
}

# Wait for all that runs in the background: the code of the last that failed.
finished() {
    local code=0 job
    for job in $(jobs -p); do
        wait "$job" || code=$?
    done
    return "$code"
}

status=0
for name in $steps; do
    "$name" || { code=$?; [ "$status" -ne 0 ] || status=$code; }
done
tail -n 5 "$out/selftest.out" 2>/dev/null
cat "$out/table.md" 2>/dev/null
exit "$status"
