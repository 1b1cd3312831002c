#!/usr/bin/env bash
# Everything that needs a GPU, in one call, without installing the package: the self-test, the benchmark, and
# compute-sanitizer where it is there. From the repository's root:
#
#     kernels/benchmarks/on_gpu.sh FOLDER [SECONDS]
#
# FOLDER gets selftest.json, results.json, results.csv, table.md, kernels.md, figures, and the logs. After SECONDS (300)
# the benchmark starts no further row. Exit code: that of the first step that failed.
set -uo pipefail

out=$(realpath -m "${1:?usage: on_gpu.sh FOLDER [SECONDS]}")
seconds=${2:-300}
root=$(cd "$(dirname "$0")/../.." && pwd)
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
ln -s "$root/kernels" "$site/osdn_kernels"
export PYTHONPATH="$site:$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$out"
status=0

step() {
    local name=$1 code=0
    shift
    "$@" >"$out/$name.log" 2>&1 || code=$?
    echo "$name: exit code $code" | tee -a "$out/summary.txt"
    [ "$status" -ne 0 ] || status=$code
}

: >"$out/summary.txt"
step selftest python3 -m osdn_kernels.selftest --json "$out/selftest.json"
step benchmark python3 -m osdn_kernels.benchmarks --out "$out" --seconds "$seconds" --profile
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        for problem in "chunk bf16" "recurrent bf16"; do
            step "$tool-${problem// /-}" compute-sanitizer --tool "$tool" --error-exitcode 9 \
                python3 -m osdn_kernels.selftest --problem "$problem"
            grep -h 'ERROR SUMMARY\|RACECHECK SUMMARY' "$out/$tool-${problem// /-}.log" | tee -a "$out/summary.txt"
        done
    done
fi
tail -n 5 "$out/selftest.log"
cat "$out/table.md" 2>/dev/null
exit "$status"
