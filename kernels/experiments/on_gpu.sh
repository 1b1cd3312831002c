#!/usr/bin/env bash
# `osdn-theory train` or `osdn-theory recall` on a machine that lends its GPU for some minutes, without installing the
# package. From the repository's root:
#
#     kernels/experiments/on_gpu.sh train|recall FOLDER SECONDS [options of the command]
#
# FOLDER/NAME.tar.gz has what was finished before, and in the end what is finished then: results and tables without
# checkpoints and activations; FOLDER/streams.tar.gz the streams to deliver. The work stays in WORK (/tmp/NAME), where
# the next call on the same machine goes on, also inside a run; on another machine runs that were cut begin anew.
# Training ends after SECONDS, the sum of what is finished within a minute more. Exit code: 0 all done, 124 the time is
# over.
set -uo pipefail

name=${1:?usage: on_gpu.sh train|recall FOLDER SECONDS [options]} out=$(realpath -m "$2") seconds=$3
shift 3
work=${WORK:-/tmp/$name}
root=$(cd "$(dirname "$0")/../.." && pwd)
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
ln -s "$root/kernels" "$site/osdn_kernels"
(cd "$root" && python3 -c 'import setuptools; setuptools.setup()' -q egg_info --egg-base "$site") # the entry points
export PYTHONPATH="$site:$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
# Several models share the GPU's memory.
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
mkdir -p "$work" "$out"
if [ -f "$out/$name.tar.gz" ]; then tar -xzf "$out/$name.tar.gz" -C "$work" --skip-old-files; fi

timeout --signal=INT --kill-after=10 "$seconds" python3 -m osdn_theory "$name" --out "$work" "$@"
code=$?
case $code in 130 | 137) code=124 ;; esac
[ "$code" -eq 0 ] || timeout 40 python3 -m osdn_theory "$name" --summary --out "$work"
(cd "$work" && find . \( -name '*.json' -o -name '*.csv' -o -name '*.png' \) -not -name held_out.json -print0 |
    tar -czf "$out/$name.tar.gz" --null -T -)
if [ -d "$work/streams" ]; then tar -czf "$out/streams.tar.gz" -C "$work" streams; fi
ls -l "$out"
find "$work/runs" -name result.json 2>/dev/null | wc -l
exit "$code"
