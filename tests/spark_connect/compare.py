"""Runs the same PySpark programs on real Spark and on Tidemill and says where the answers differ.

    python tests/spark_connect/compare.py                         every script, on both servers
    python tests/spark_connect/compare.py windows joins           the scripts with these words in their names
    python tests/spark_connect/compare.py --record recorded.json  real Spark's answers into a file (with names: into the file that is there)
    python tests/spark_connect/compare.py --recorded recorded.json  ours against that file: needs neither Java nor Spark

Needs Python 3.11 and `pip install 'pyspark[connect]==4.3.*'` with Java 17 (with --recorded, `pyspark-client` is enough).
Answers that differ on purpose stand in differences.toml, each with its reason. Ends with 1 when an answer differs otherwise.
"""

import argparse
import contextlib
import fnmatch
import json
import math
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

import servers
from values import text

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT_SECONDS = 1200


class Worker:
    """A process that runs scripts against one server, and is started anew when one hangs."""

    def __init__(self, name, address, folder):
        self.name, self.address, self.folder, self.process = name, address, folder, None

    def start(self):
        command = [sys.executable, "-W", "ignore", str(HERE / "worker.py"), self.address]
        errors = open(self.folder / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8")
        self.lines = queue.Queue()
        threading.Thread(target=self.read, args=(self.process.stdout, self.lines), daemon=True).start()

    def read(self, stream, lines):
        for line in stream:
            lines.put(line)
        lines.put("")

    def run(self, script):
        """The script's checks: name -> {value, note}."""
        if self.process is None:
            self.start()
        work_dir = self.folder / self.name / script.stem
        work_dir.mkdir(parents=True)
        self.process.stdin.write(json.dumps({"script": str(script), "work_dir": str(work_dir)}) + "\n")
        self.process.stdin.flush()
        answers, deadline = {}, time.monotonic() + SCRIPT_SECONDS
        while True:
            try:
                line = self.lines.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                line = ""
            if not line:
                answers["the script ended"] = {"value": "it hung, or its process died", "note": None}
                self.end()
                return answers
            message = json.loads(line)
            if "end" in message:
                return answers
            name = message.pop("check")
            if name in answers:
                raise SystemExit(f"{script.name} has two checks named {name!r}")
            answers[name] = message

    def end(self):
        if self.process:
            self.process.kill()
            self.process = None


def close(one, other):
    """The same but for the last digits of doubles."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def named(theirs, ours):
    """The same exception class, with a condition where Spark has none, or one of its numbers for those it has not named."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict) or "error" not in theirs or theirs["error"] != ours.get("error"):
        return False
    condition = theirs["condition"]
    return (condition is None or condition.startswith("_LEGACY_ERROR_TEMP_")) and bool(ours["condition"]) and bool(ours["sqlState"])


def looser(theirs, ours):
    """Which fields may be null: all that may in Spark, and perhaps more."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(looser(theirs[key], ours[key]) for key in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(looser, theirs, ours))
    return theirs == ours or (theirs is False and ours is True)


def without_input(value):
    """The answer without the numbers of rows read."""
    if isinstance(value, list):
        return [without_input(part) for part in value]
    if isinstance(value, dict):
        return {key: without_input(part) for key, part in value.items() if key != "input"}
    return value


class Differences:
    """The list of what differs on purpose."""

    def __init__(self, path):
        self.entries = tomllib.loads(path.read_text())["difference"]
        for entry in self.entries:
            entry["used"] = False

    def allow(self, name, theirs, ours):
        for entry in self.entries:
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in entry["checks"]):
                continue
            rule = entry.get("rule", "any")
            if rule == "any":
                agrees = True
            elif rule == "more":
                agrees = isinstance(ours, list) and set(map(text, theirs)) <= set(map(text, ours))
            elif rule == "close":
                agrees = close(theirs, ours)
            elif rule == "named":
                agrees = named(theirs, ours)
            elif rule == "input":
                agrees = text(without_input(theirs)) == text(without_input(ours))
            elif rule == "looser":
                agrees = looser(theirs, ours)
            elif rule == "ours":
                agrees = text(ours) == text(entry["ours"])
            else:
                raise SystemExit(f"differences.toml: unknown rule {rule!r}")
            if agrees:
                entry["used"] = True
                return entry["reason"]
        return None


def short(value, limit):
    value = text(value)
    return value if len(value) <= limit else f"{value[:limit]} ... ({len(value)} characters)"


def compare(script, theirs, ours, differences, limit):
    """Counts: same, listed, different."""
    counts = [0, 0, 0]
    missing = {"value": "(no such check)", "note": None}
    for name in [*theirs, *[name for name in ours if name not in theirs]]:
        spark, tidemill = theirs.get(name, missing), ours.get(name, missing)
        if text(spark["value"]) == text(tidemill["value"]):
            counts[0] += 1
            continue
        reason = differences.allow(f"{script}/{name}", spark["value"], tidemill["value"])
        counts[1 if reason else 2] += 1
        if not reason:
            print(f"DIFFERS  {script}/{name}")
            for who, answer in (("spark", spark), ("tidemill", tidemill)):
                print(f"    {who:9}{short(answer['value'], limit)}")
                if answer["note"]:
                    print(f"             {answer['note'][:limit]!r}")
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="run only scripts with one of these words in their names")
    parser.add_argument("--tidemill", help="the tidemill binary; default: $TIDEMILL, or the newest that cargo built")
    parser.add_argument("--ours", help="address of a Tidemill server that runs already, sc://host:port")
    parser.add_argument("--reference", help="address of a Spark Connect server that runs already")
    parser.add_argument("--record", type=pathlib.Path, help="write real Spark's answers into this file, and run nothing of ours")
    parser.add_argument("--recorded", type=pathlib.Path, help="compare with the answers in this file instead of a running Spark")
    parser.add_argument("--width", type=int, default=600, help="characters to print of a value that differs")
    options = parser.parse_args()

    scripts = sorted((HERE / "scripts").glob("*.py"))
    scripts = [path for path in scripts if not options.names or any(words in path.stem for words in options.names)]
    recorded = json.loads(options.recorded.read_text()) if options.recorded else None
    if recorded is not None:
        scripts = [path for path in scripts if path.stem in recorded]
    differences, totals = Differences(HERE / "differences.toml"), [0, 0, 0]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        workers = {}
        if recorded is None:
            workers["spark"] = Worker("spark", options.reference or stack.enter_context(servers.spark()), folder)
        if not options.record:
            workers["tidemill"] = Worker("tidemill", options.ours or stack.enter_context(servers.tidemill(options.tidemill)), folder)
        for worker in workers.values():
            stack.callback(worker.end)
        answers = {}
        for script in scripts:
            started, found = time.monotonic(), {}
            threads = [
                threading.Thread(target=lambda w=worker: found.__setitem__(w.name, w.run(script))) for worker in workers.values()
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if any(name not in found for name in workers):
                raise SystemExit(f"{script.name} could not be run")
            seconds = time.monotonic() - started
            if options.record:
                answers[script.stem] = {name: answer["value"] for name, answer in found["spark"].items()}
                print(f"{script.stem}: {len(found['spark'])} answers recorded, {seconds:.0f} s", flush=True)
                if "the script ended" in found["spark"]:
                    print(found["spark"]["the script ended"])
                continue
            if recorded is not None:
                found["spark"] = {name: {"value": value, "note": None} for name, value in recorded[script.stem].items()}
            counts = compare(script.stem, found["spark"], found["tidemill"], differences, options.width)
            totals = [total + count for total, count in zip(totals, counts)]
            print(f"{script.stem}: {counts[0]} the same, {counts[1]} differ as listed, {counts[2]} differ, {seconds:.0f} s", flush=True)
    if options.record:
        if options.names and options.record.exists():
            answers = json.loads(options.record.read_text()) | answers
        lines = [f"{json.dumps(name)}: {text(answers[name])}" for name in sorted(answers)]
        options.record.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return 0
    if not options.names:
        for entry in differences.entries:
            if not entry["used"]:
                print(f"listed, and not seen: {entry['checks']}")
    print(f"{totals[0]} answers are the same, {totals[1]} differ as listed, {totals[2]} differ")
    return 1 if totals[2] else 0


if __name__ == "__main__":
    sys.exit(main())
