#!/bin/sh
# The city query of the README on the same files, by PySpark and by Tidemill, in turn, on the same two cores.
#
#   benches/peers/run.sh [EVENTS] [ROUNDS]      (2000000 and 3)
#
# Needs: cargo, Python 3.10 or newer with venv, Java 17 or newer, and the network once, for PySpark from PyPI. Everything it makes is below
# target/peers. It takes about a minute a round and prints a table. Each program runs the query once to warm up in every round, then once
# for the clock: JSON files to a sink that does nothing, update mode, availableNow, a durable checkpoint on this disk.
set -eu
cd "$(dirname "$0")/../.."
events=${1:-2000000}
rounds=${2:-3}
files=20
work=target/peers
input=$work/rides-$events
mkdir -p "$work"
TMPDIR=$(pwd)/$work
export TMPDIR

if [ ! -x "$work/venv/bin/python" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet 'pyspark>=4,<5'
fi

# Neither Kafka nor a GPU takes part. Two cores for everyone, where the system can pin.
tidemill="cargo bench --quiet --no-default-features --bench peers"
$tidemill --no-run
tidemill="$tidemill --"
pin=""
if command -v taskset >/dev/null; then pin="taskset -c 0,1"; fi

if [ ! -d "$input" ]; then
    rm -rf "$input.part"
    $tidemill generate "$input.part" "$events" "$files"
    mv "$input.part" "$input"
fi

: >"$work/spark.txt"
: >"$work/tidemill.txt"
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "round $round of $rounds" >&2
    $pin "$work/venv/bin/python" benches/peers/spark.py "$input" 1 2>"$work/spark.log" | tee -a "$work/spark.txt" >&2
    $pin $tidemill run "$input" 2 2>"$work/tidemill.log" | tail -n 1 | tee -a "$work/tidemill.txt" >&2
done

rate() { sort -n "$1" | awk -v events="$events" '{ seconds[NR] = $1 } END { printf "%d", events / seconds[int((NR + 1) / 2)] }'; }
spark=$(rate "$work/spark.txt")
ours=$(rate "$work/tidemill.txt")
version=$("$work/venv/bin/python" -c 'import pyspark; print(pyspark.__version__)')
printf '| engine | events/s, median of %s |\n|---|---|\n| PySpark %s, local[2] | %s |\n| Tidemill | %s |\n' "$rounds" "$version" "$spark" "$ours"
awk -v ours="$ours" -v spark="$spark" 'BEGIN { printf "\nTidemill is %.1f times as fast.\n", ours / spark }'
