"""How fast rows come to a PySpark client, from Tidemill and from Spark's own Connect server, one after the other in one run.

    python tests/spark_connect/measure.py                   1,000,000 rows, five rounds, medians and their ratios
    python tests/spark_connect/measure.py --rows 100000 --rounds 3
    python tests/spark_connect/measure.py --starts 3        and from the start of the server to the first answer

Needs what compare.py needs, and a release build: `cargo build --release --bin tidemill`. The rows are computed, not read: three columns,
BIGINT, DOUBLE and STRING. Both servers stay up during the run, and each round asks each of them once for the same. Checks the rows, too.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
import warnings

os.environ["TZ"] = "UTC"
warnings.filterwarnings("ignore")

import servers  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402

WAYS = {
    "toArrow": lambda frame: frame.toArrow().num_rows,
    "toPandas": lambda frame: len(frame.toPandas()),
    "collect": lambda frame: len(frame.collect()),
    # Nothing but an answer: what every call costs.
    "count": lambda frame: frame.count(),
}


def connected(address):
    spark = SparkSession.builder.remote(address).create()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return spark


def frame(spark, rows):
    id = F.col("id")
    return spark.range(rows).select("id", (id * 1.5).alias("fare"), F.concat(F.lit("ride number "), id).alias("name"))


def seconds(action):
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def first_answer(server):
    """From the start of the server's process to a row in the client, which runs already."""

    def answer():
        spark = connected(stack.enter_context(server()))
        assert spark.range(1).collect()[0].id == 0

    with contextlib.ExitStack() as stack:
        return seconds(answer)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=0)
    parser.add_argument("--tidemill", help="the tidemill binary")
    options = parser.parse_args()
    sides = {"tidemill": lambda: servers.tidemill(options.tidemill), "spark": servers.spark}
    print(f"load of this machine, {os.cpu_count()} cores: {os.getloadavg()[0]:.1f}; {servers.binary(options.tidemill)}", flush=True)

    if options.starts:
        starts = {side: statistics.median(first_answer(server) for _ in range(options.starts)) for side, server in sides.items()}
        print(f"start to first answer: tidemill {starts['tidemill']:.2f} s, spark {starts['spark']:.2f} s", flush=True)

    with contextlib.ExitStack() as stack:
        sessions = {side: connected(stack.enter_context(server())) for side, server in sides.items()}
        tables = {side: frame(spark, options.rows).toArrow() for side, spark in sessions.items()}
        ours, theirs = tables["tidemill"], tables["spark"]
        assert ours.cast(theirs.schema).equals(theirs), "the rows differ"
        size = tables["spark"].nbytes / 1e6
        times = {(side, way): [] for side in sides for way in WAYS}
        for number in range(options.rounds + 1):
            for way, ask in WAYS.items():
                for side, spark in sessions.items():
                    took, count = seconds(lambda: ask(frame(spark, options.rows)))
                    assert count == options.rows
                    # The first round warms up.
                    if number:
                        times[side, way].append(took)
        print(f"{options.rows} rows, {size:.1f} MB as Arrow; medians of {options.rounds}\n")
        print("| | tidemill | | spark | | tidemill is |\n|---|---|---|---|---|---|")
        for way in WAYS:
            ours, theirs = (statistics.median(times[side, way]) for side in ("tidemill", "spark"))
            rates = [f"{took * 1000:.0f} ms" if way == "count" else f"{took:.3f} s | {size / took:.0f} MB/s" for took in (ours, theirs)]
            rates = [rate if "|" in rate else f"{rate} |" for rate in rates]
            print(f"| {way} | {rates[0]} | {rates[1]} | {theirs / ours:.2f} times as fast |")
        print(f"\nload at the end: {os.getloadavg()[0]:.1f}")
        for spark in sessions.values():
            spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
