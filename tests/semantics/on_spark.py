"""Runs the cases on real Spark and says where it answers otherwise than they do.

    python tests/semantics/on_spark.py [words of names ...]

Needs PySpark 4.x and a JVM. The format is explained in case.rs. A case with a line `spark:` is run and expected to differ.
"""

import datetime
import json
import os
import pathlib
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

os.environ["TZ"] = "UTC"

from pyspark.sql import SparkSession, functions as F  # noqa: E402

EPOCH = 1_704_067_200
COLUMNS = "t TIMESTAMP, k STRING, v BIGINT, g STRING"
UTC = datetime.timezone.utc


def event(text):
    """One event as a line of JSON."""
    parts = text.split(":")
    line = {}
    if parts[0] != "null":
        micros = round((EPOCH + float(parts[0])) * 1e6)
        instant = datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(microseconds=micros)
        line["t"] = instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
    key = parts[1] if len(parts) > 1 else ""
    if key != "null":
        line["k"] = key
    value = parts[2] if len(parts) > 2 else "1"
    if value != "null":
        line["v"] = int(value)
    if len(parts) > 3 and parts[3] != "null":
        line["g"] = parts[3].replace("_", " ")
    return json.dumps(line)


def events(text):
    return [event(part) for part in text.split()]


class Case:
    def __init__(self, path):
        self.name, self.conf, self.steps, self.table, self.differs = path.stem, [], [], [], None
        for line in path.read_text().splitlines():
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            key, value = (part.strip() for part in line.split(":", 1))
            if key == "in":
                self.steps.append({"inputs": [[events(part)] for part in value.split("|")]})
            elif key == "queued":
                self.steps.append({"inputs": [[events(part) for part in value.split(";")]]})
            elif self.steps:
                self.steps[-1][key] = value
            elif key == "conf":
                self.conf.append(value.split("=", 1))
            elif key == "table":
                self.table = events(value)
            elif key == "spark":
                self.differs = value
            elif key == "watermark":
                self.delays = [delay.strip() for delay in value.split("|")]
            elif key == "query":
                self.query = [operation.strip() for operation in value.split(" > ")]
            else:
                self.mode = value


def parts_of(text):
    """What stands between commas outside parentheses."""
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]


def key_of(frame, key):
    if not key.endswith(")"):
        return F.col(key)
    kind, arguments = key[:-1].split("(", 1)
    arguments = parts_of(arguments)
    time = next((name for name in ("window", "session_window") if name in frame.columns), "t")
    if kind == "window":
        return F.window(time, *arguments)
    return F.session_window(time, arguments[0] if " " in arguments[0] else F.col(arguments[0]))


def aggregate(call):
    if call == "count":
        return F.count(F.lit(1))
    name, column = call.split(" ")
    return getattr(F, name)(column)


def operate(frame, operation):
    verb, _, rest = operation.partition(" ")
    names = parts_of(rest)
    if verb in ("count", "agg"):
        calls, _, keys = rest.rpartition("by ") if "by " in rest else (rest, "", "")
        calls = [F.count(F.lit(1)).alias("count")] if verb == "count" else [aggregate(c) for c in parts_of(calls)]
        return frame.groupBy(*[key_of(frame, key) for key in parts_of(keys)]).agg(*calls)
    if verb == "dedupe":
        return frame.dropDuplicates(names)
    if verb == "dedupeWithinWatermark":
        return frame.dropDuplicatesWithinWatermark(names)
    if verb == "select":
        return frame.selectExpr(*names)
    if verb == "where":
        return frame.where(rest)
    if verb == "with":
        name, value = rest.split(" = ", 1)
        return frame.withColumn(name, F.expr(value))
    if verb == "watermark":
        return frame.withWatermark(*rest.split(" ", 1))
    if verb == "limit":
        return frame.limit(int(rest))
    if verb == "offset":
        return frame.offset(int(rest))
    if verb == "sort":
        return frame.orderBy(*names)
    raise ValueError(f"unknown operation {operation!r}")


def number(value):
    text = repr(float(value))
    return text[:-2] if text.endswith(".0") else text


def seconds(instant):
    micros = (instant.replace(tzinfo=UTC) - datetime.datetime(1970, 1, 1, tzinfo=UTC)) // datetime.timedelta(microseconds=1)
    return number((micros - EPOCH * 1_000_000) / 1e6)


def cell(name, value):
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"{seconds(value[0])} {seconds(value[1])}" if name == "session_window" else seconds(value[0])
    if isinstance(value, datetime.datetime):
        return seconds(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return "[" + ",".join(cell("", part) for part in value) + "]"
    return "''" if value == "" else str(value)


class Run:
    written = 0

    def __init__(self, session, case, place):
        self.case, self.place = case, place
        self.session = session.newSession()
        for key, value in case.conf:
            self.session.conf.set(key, value)
        if case.table:
            self.write("table", case.table)
        sources = [delay for delay in case.delays if not delay.startswith("same,")]
        for number in range(len(sources)):
            (place / f"in{number}").mkdir()

    def write(self, directory, lines):
        self.written += 1
        (self.place / directory).mkdir(exist_ok=True)
        hidden = self.place / directory / f"_{self.written:05}"
        hidden.write_text("\n".join(lines) + "\n")
        os.utime(hidden, (EPOCH + self.written, EPOCH + self.written))
        hidden.rename(self.place / directory / f"{self.written:05}.json")

    def frame(self):
        sources, events, number = [], None, 0
        for delay in self.case.delays:
            if delay.startswith("same,"):
                delay = delay.removeprefix("same,").strip()
            else:
                reader = self.session.readStream.schema(COLUMNS).option("maxFilesPerTrigger", 1)
                events, number = reader.json(str(self.place / f"in{number}")), number + 1
            sources.append(events if delay == "none" else events.withWatermark("t", delay))
        frame, operations = sources[0], self.case.query
        if operations[0].startswith("join "):
            right = sources[1] if len(sources) > 1 else self.session.read.schema(COLUMNS).json(str(self.place / "table"))
            right = right.selectExpr("t AS t2", "k AS k2", "v AS v2", "g AS g2")
            kind, condition = operations[0].removeprefix("join ").split(" on ", 1)
            frame, operations = frame.join(right, F.expr(condition), kind.strip()), operations[1:]
        else:
            for other in sources[1:]:
                frame = frame.union(other)
        for operation in operations:
            frame = operate(frame, operation)
        return frame

    def run(self):
        """None, or what differs."""
        query = None
        try:
            seen_rows, seen_batch = 0, -1
            for step_number, step in enumerate(self.case.steps):
                for source, files in enumerate(step["inputs"]):
                    for lines in files:
                        if lines:
                            self.write(f"in{source}", lines)
                try:
                    if query is None:
                        writer = self.frame().writeStream.format("memory").queryName("out").outputMode(self.case.mode)
                        query = writer.option("checkpointLocation", str(self.place / "checkpoint")).start()
                    query.processAllAvailable()
                except Exception as error:
                    words = step.get("fails")
                    return None if words and words in str(error) else f"step {step_number}: {str(error)[:600]}"
                if "fails" in step:
                    return f"step {step_number}: no failure"
                rows = self.session.table("out").collect()
                texts = [" ".join(cell(n, v) for n, v in zip(row.__fields__, row)) for row in rows]
                new_rows = texts if self.case.mode == "complete" else texts[seen_rows:]
                seen_rows = len(texts)
                progress = [json.loads(p.json) for p in query.recentProgress]
                progress = [p for p in progress if p["batchId"] > seen_batch and "addBatch" in p["durationMs"]]
                seen_batch = max([p["batchId"] for p in progress], default=seen_batch)
                found, expected = self.found(new_rows, progress), self.expected(step)
                if "input" not in step:
                    found.pop("input")
                if found != expected:
                    return f"step {step_number}:\n  spark    {found}\n  expected {expected}"
            return None
        finally:
            if query is not None:
                query.stop()

    def in_order(self, rows):
        return rows if any(o.startswith("sort") for o in self.case.query) else sorted(rows)

    def found(self, rows, progress):
        last = progress[-1] if progress else {"stateOperators": []}
        watermark = last.get("eventTime", {}).get("watermark")
        if watermark is not None:
            instant = datetime.datetime.fromisoformat(watermark.replace("Z", "+00:00"))
            watermark = "0" if instant.timestamp() == 0 else seconds(instant)
        operators = [o for p in progress for o in p["stateOperators"]]
        return {
            "rows": self.in_order(rows),
            "batches": [p["batchId"] for p in progress],
            "watermark": watermark or "none",
            "state": [o["numRowsTotal"] for o in last["stateOperators"]],
            "dropped": sum(o["numRowsDroppedByWatermark"] for o in operators),
            "input": sum(p["numInputRows"] for p in progress),
        }

    def expected(self, step):
        numbers = lambda text: [int(n) for n in text.split()]  # noqa: E731
        rows = [" ".join(row.split()) for row in step["rows"].split("|")] if "rows" in step else []
        expected = {
            "rows": self.in_order(rows),
            "batches": numbers(step.get("batches", "")),
            "watermark": step.get("watermark", "none"),
            "state": numbers(step.get("state", "")),
            "dropped": int(step.get("dropped", "0")),
        }
        return expected | ({"input": int(step["input"])} if "input" in step else {})


def main():
    paths = sorted((pathlib.Path(__file__).parent / "cases").glob("*.case"))
    paths = [p for p in paths if not sys.argv[1:] or any(words in p.stem for words in sys.argv[1:])]
    builder = SparkSession.builder.master("local[4]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.sql.shuffle.partitions", "1").config("spark.sql.session.timeZone", "UTC")
    session = builder.config("spark.log.level", "OFF").getOrCreate()
    printing = threading.Lock()

    def run(path):
        case = Case(path)
        # A batch may begin between the files of two sources; in one of three runs none does.
        for _ in range(3):
            with tempfile.TemporaryDirectory() as place:
                try:
                    difference = Run(session, case, pathlib.Path(place)).run()
                except Exception as error:
                    difference = f"{type(error).__name__}: {str(error)[:600]}"
            agrees = (difference is not None) == (case.differs is not None)
            if agrees or len(case.delays) == 1:
                break
        with printing:
            print("ok      " if agrees else "DIFFERS ", case.name, difference or "", flush=True)
        return agrees

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(run, paths))
    session.stop()
    print(f"{sum(outcomes)} of {len(outcomes)} cases are as expected")
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
