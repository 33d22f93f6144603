"""Runs scripts against one Connect server: a process of its own, so that a script that hangs can be ended.

In: one JSON object per line on standard input, `{"script": path, "work_dir": path}`. Out: one JSON object per check,
`{"check": name, "value": ..., "note": ...}`, and `{"end": true}` after each script.
A check that fails is a value too; an error between checks is the check named "the script ended".
"""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import signal
import sys
import traceback
import warnings

os.environ["TZ"] = "UTC"
warnings.filterwarnings("ignore")

import values  # noqa: E402

SECONDS = 60


class Late(Exception):
    """A check took longer than it may."""


def alarm(_signal, _frame):
    raise Late(f"no answer in {SECONDS} seconds")


class Check:
    """What a script calls with each name and value. A value that is a function is called here, and its error is the value."""

    def __init__(self, send, work_dir):
        self.send, self.work_dir = send, str(work_dir)

    def __call__(self, name, value):
        kind = None
        signal.alarm(SECONDS)
        try:
            value = value() if callable(value) else value
            if type(value).__name__ == "DataFrame" and hasattr(value, "isStreaming"):
                kind = values.nullable(value.schema)
                value = values.table(value)
            self.out(name, values.plain(value))
            if kind is not None:
                self.out(f"{name}, nullable", kind)
        except Exception as problem:
            self.out(name, *values.error(problem))
        finally:
            signal.alarm(0)

    def printed(self, name, action):
        """What the action prints."""

        def capture():
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                action()
            return output.getvalue().splitlines()

        self(name, capture)

    def out(self, name, value, note=None):
        self.send({"check": name, "value": values.without(value, self.work_dir), "note": note})


def load(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def session(address):
    from pyspark.sql import SparkSession

    # For scripts that need sessions of their own; `newSession` came with PySpark 4.3.
    os.environ["CONNECT_ADDRESS"] = address
    spark = SparkSession.builder.remote(address).create()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.shuffle.partitions", "1")
    return spark


def main():
    address = sys.argv[1]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, alarm)

    def send(message):
        print(json.dumps(message, ensure_ascii=False), file=out, flush=True)

    for line in sys.stdin:
        request = json.loads(line)
        work_dir = pathlib.Path(request["work_dir"])
        check = Check(send, work_dir)
        spark = None
        try:
            spark = session(address)
            load(pathlib.Path(request["script"])).run(spark, check, work_dir)
        except Exception as problem:
            kinds, _ = values.error(problem)
            check.out("the script ended", kinds, traceback.format_exc()[-3000:])
        finally:
            with contextlib.suppress(Exception):
                signal.alarm(20)
                spark.stop()
            signal.alarm(0)
        send({"end": True})


if __name__ == "__main__":
    main()
