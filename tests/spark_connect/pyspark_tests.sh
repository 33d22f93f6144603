#!/usr/bin/env bash
# Runs PySpark's own streaming tests, unmodified, against a Connect server that runs already.
#
#     tests/spark_connect/pyspark_tests.sh FOLDER [PORT] [MODULE ...]
#
# The tests are those of the PySpark that is installed: its package has them, in pyspark/python/lib/pyspark.zip. FOLDER is where the
# files are that they read, python/test_support of a Spark source release. Start the server in FOLDER too, because they name the files
# relative to it, and with what Spark's own server has: SPARK_HOME is the package, and PYTHONPATH that zip, from which workers import
# the tests' modules.
# PORT is the server's, 15002 if not given.
# Prints a line for each test and the counts at the end; ends with 1 when a test failed.
set -euo pipefail

folder=${1:?usage: pyspark_tests.sh FOLDER [PORT] [MODULE ...]}
port=${2:-15002}
shift $(($# > 2 ? 2 : $#))

cd "$folder"
export SPARK_CONNECT_TESTING_REMOTE="sc://localhost:$port"
# Without this the test case looks for a JVM beside the client.
export SPARK_SKIP_CONNECT_COMPAT_TESTS=1
export TZ=UTC
exec "${PYTHON:-python3}" -W ignore - "$@" <<'PYTHON'
import pathlib
import sys
import time
import unittest

import pyspark.sql

MODULES = [
    "streaming.test_parity_streaming",
    "streaming.test_parity_listener",
    "streaming.test_parity_foreach",
    "streaming.test_parity_foreach_batch",
]

# The tests come from the zip, everything else from the package around it.
pyspark.sql.__path__.append(str(pathlib.Path(pyspark.__path__[0], "python/lib/pyspark.zip/pyspark/sql")))
names = sys.argv[1:] or MODULES


class Lines(unittest.TestResult):
    counts = {"passed": 0, "failed": 0, "skipped": 0}

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def line(self, outcome, test, why=""):
        self.counts[outcome] += 1
        print(f"{outcome:8}{time.monotonic() - getattr(self, 'began', time.monotonic()):6.1f} s  {test.id().split('.tests.')[-1]}  {why}", flush=True)

    def addSuccess(self, test):
        self.line("passed", test)

    def addFailure(self, test, problem):
        self.line("failed", test, repr(str(problem[1])[:300]))

    addError = addFailure

    def addSkip(self, test, reason):
        self.line("skipped", test, reason)


result = Lines()
for name in names:
    unittest.defaultTestLoader.loadTestsFromName(f"pyspark.sql.tests.connect.{name}").run(result)
print(", ".join(f"{count} {outcome}" for outcome, count in result.counts.items()))
sys.exit(1 if result.counts["failed"] else 0)
PYTHON
