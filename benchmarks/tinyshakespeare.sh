#!/usr/bin/env bash
# Validation loss of every encoding on tinyshakespeare, three paired seeds each, two runs at a time on one thread each.
#
#   benchmarks/tinyshakespeare.sh FOLDER     trains what is missing in FOLDER, then prints the table
#
# RELIN (default: target/release/relin) is the binary, SOURCE (default: tinyshakespeare) the text; INITIALIZER_RANGE, if it
# is set, the standard deviation of the initial weights.
set -euo pipefail
out=${1:?the folder for the runs}
export INITIALIZER_RANGE=${INITIALIZER_RANGE:-}
export RELIN=${RELIN:-target/release/relin} SOURCE=${SOURCE:-tinyshakespeare} OUT=$out
positions=(none sinusoidal rope lrpe-unitary lrpe-unitary-learned lrpe-orthogonal lrpe-permutation softmax+rope)
mkdir -p "$out"

train() {
    attention=linear position=$1
    if [[ $1 == softmax+* ]]; then attention=softmax position=${1#softmax+}; fi
    "$RELIN" train tinyshakespeare-char --threads 1 --quiet --json --out "$OUT/$1-seed$2" --seed "$2" \
        --set data.source="$SOURCE" --set model.attention="$attention" \
        --set model.output_norm="$([[ $attention == linear ]] && echo layer || echo none)" \
        ${INITIALIZER_RANGE:+--set model.initializer_range="$INITIALIZER_RANGE"} \
        --set model.position="$position" | tail -n 1 >"$OUT/$1-seed$2.json"
}
export -f train
for seed in 0 1 2; do
    for position in "${positions[@]}"; do echo "$position $seed"; done
done | xargs -P 2 -L 1 bash -c 'train "$@"' _

echo "| position | seed 0 | seed 1 | seed 2 | mean ± sd |"
echo "|---|--:|--:|--:|--:|"
for position in "${positions[@]}"; do
    sed 's/.*"valid_loss":\([0-9.]*\).*/\1/' "$out/$position"-seed[012].json | awk -v name="$position" '
        { x[NR] = $1; sum += $1 }
        END {
            mean = sum / NR
            for (i = 1; i <= NR; i++) square += (x[i] - mean) ^ 2
            printf "| %s | %.4f | %.4f | %.4f | %.4f ± %.4f |\n", name, x[1], x[2], x[3], mean, sqrt(square / (NR - 1))
        }'
done
