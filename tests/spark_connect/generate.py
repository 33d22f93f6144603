"""Random queries over random files, on real Spark and on Tidemill, until an answer differs; then the smallest such program.

    python tests/spark_connect/generate.py --seconds 600 --seed 7

A case is a script like those in scripts/: filters, projections, windows, aggregates, deduplication, joins, unions, late
rows, files one by one or all at once, and the same query over the same files as a table. The same seed gives the same
cases. Needs what compare.py needs; ends with 1 when something differed.
"""

import argparse
import contextlib
import pathlib
import random
import sys
import tempfile
import threading
import time

import compare
import servers
from values import text

COLUMNS = {"t": "ts", "k": "str", "g": "str", "v": "num", "d": "dbl"}
SCRIPT = '''"""Case {name}."""

from pyspark.sql import functions as F

from stream import Feed, Watch, at

SCHEMA = "t TIMESTAMP, k STRING, g STRING, v BIGINT, d DOUBLE"


def query(frame):
{lines}
    return frame


def run(spark, check, work_dir):
    feed = Feed(work_dir / "in")
    stream = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
    watch = Watch(spark, query(stream), "{mode}")
    files = [
{files}
    ]
    for number, lines in enumerate(files):
        feed.add(*lines)
        if {stepwise} or number == len(files) - 1:
            check(f"file {{number}}", watch.step)
    watch.stop()
{table}'''
TABLE = '    check("table", lambda: query(spark.read.schema(SCHEMA).json(feed.path)))\n'


class Queries:
    """Makes cases. A frame is known by its columns and their kinds: num, dbl, str, bool, ts."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def column(self, columns, kind):
        names = [name for name, has in columns.items() if has == kind]
        return f'F.col("{self.random.choice(names)}")' if names else None

    def literal(self, kind):
        if kind == "num":
            return f"F.lit({self.random.randint(-3, 9)})"
        if kind == "dbl":
            return f"F.lit({self.random.randint(-8, 20) / 4})"
        if kind == "str":
            return f'F.lit("{self.one("", "a", "b", "xy", "Z 1")}")'
        if kind == "bool":
            return f"F.lit({self.one(True, False)})"
        return 'F.lit("2024-01-01 00:00:20").cast("timestamp")'

    def value(self, columns, kind, depth=2):
        """An expression of a kind, as Python text."""
        if depth == 0 or self.chance(0.25):
            return (self.chance(0.8) and self.column(columns, kind)) or self.literal(kind)
        num, dbl, string, boolean, ts = (lambda kind: lambda: self.value(columns, kind, depth - 1))("num"), *[
            (lambda kind: lambda: self.value(columns, kind, depth - 1))(kind) for kind in ("dbl", "str", "bool", "ts")
        ]
        if kind == "num":
            return self.one(
                lambda: f"({num()} {self.one('+', '-', '*')} {num()})",
                lambda: f"F.length({string()})",
                lambda: f"F.abs({num()})",
                lambda: f"F.pmod({num()}, F.lit({self.random.randint(2, 5)}))",
                lambda: f"({num()} % F.lit({self.random.randint(2, 5)}))",
                lambda: f"F.when({boolean()}, {num()}).otherwise({num()})",
                lambda: f"F.coalesce({num()}, {num()})",
                lambda: f"F.{self.one('hour', 'minute', 'second', 'dayofyear', 'unix_timestamp')}({ts()})",
                lambda: f"F.{self.one('greatest', 'least')}({num()}, {num()})",
                lambda: f"F.{self.one('floor', 'ceil')}({dbl()})",
                lambda: f"F.{self.one('hash', 'xxhash64', 'ascii', 'crc32')}({string()})",
                lambda: f"F.instr({string()}, 'a')",
                lambda: f"{dbl()}.cast('long')",
                lambda: f"{boolean()}.cast('int')",
                lambda: f"F.nullif({num()}, {num()})",
                lambda: f"F.size(F.split({string()}, ' '))",
                lambda: f"F.{self.one('bit_count', 'sign')}({num()}).cast('long')",
                lambda: f"F.levenshtein({string()}, {string()})",
            )()
        if kind == "dbl":
            return self.one(
                lambda: f"({dbl()} {self.one('+', '-', '*')} {dbl()})",
                lambda: f"({num()} / F.lit({self.one(2, 4, 8)}))",
                lambda: f"F.round({dbl()}, 1)",
                lambda: f"F.sqrt(F.abs({dbl()}))",
                lambda: f"{num()}.cast('double')",
                lambda: f"F.when({boolean()}, {dbl()})",
                lambda: f"F.nanvl({dbl()}, {dbl()})",
                lambda: f"F.try_divide({num()}, {num()})",
                lambda: f"F.{self.one('floor', 'ceil', 'rint', 'negative')}({dbl()}).cast('double')",
            )()
        if kind == "str":
            return self.one(
                lambda: f"F.{self.one('upper', 'lower', 'trim', 'reverse', 'initcap', 'md5', 'soundex', 'hex', 'base64')}({string()})",
                lambda: f"F.concat({string()}, {string()})",
                lambda: f"F.concat_ws('-', {string()}, {string()})",
                lambda: f"F.substring({string()}, {self.one(1, 2, -2)}, 2)",
                lambda: f"F.{self.one('lpad', 'rpad')}({string()}, 4, '*')",
                lambda: f"F.regexp_replace({string()}, '[a-m]+', '#')",
                lambda: f"F.regexp_extract({string()}, '([a-z])', 1)",
                lambda: f"F.translate({string()}, 'ab', 'BA')",
                lambda: f"{num()}.cast('string')",
                lambda: f"{dbl()}.cast('string')",
                lambda: f"{boolean()}.cast('string')",
                lambda: f"{ts()}.cast('string')",
                lambda: f"F.date_format({ts()}, 'yyyy-MM-dd HH:mm')",
                lambda: f"F.coalesce({string()}, {string()})",
                lambda: f"F.when({boolean()}, {string()}).otherwise({string()})",
                lambda: f"F.to_json(F.struct({num()}.alias('n'), {string()}.alias('s'), {ts()}.alias('t')))",
                lambda: f"F.get_json_object(F.to_json(F.struct({string()}.alias('s'))), '$.s')",
                lambda: f"F.split({string()}, '')[0]" if self.chance(0.1) else f"F.element_at(F.split({string()}, ' '), 1)",
                lambda: f"F.array_join(F.array({string()}, {string()}), '|', '?')",
                lambda: f"F.format_string('%s/%s', {string()}, {num()})",
                lambda: f"F.repeat({string()}, 2)",
                lambda: f"F.conv({num()}.cast('string'), 10, 16)",
            )()
        if kind == "bool":
            return self.one(
                lambda: f"({num()} {self.one('>', '<', '>=', '<=', '==', '!=')} {num()})",
                lambda: f"({dbl()} {self.one('>', '<')} {dbl()})",
                lambda: f"({string()} {self.one('==', '!=', '<')} {string()})",
                lambda: f"({boolean()} {self.one('&', '|')} {boolean()})",
                lambda: f"(~{boolean()})",
                lambda: f"{self.one(num, dbl, string)()}.{self.one('isNull', 'isNotNull')}()",
                lambda: f"{string()}.isin('a', 'b', '')",
                lambda: f"{num()}.between(0, 5)",
                lambda: f"{string()}.{self.one('like', 'rlike', 'startswith', 'contains')}('a')",
                lambda: f"{num()}.eqNullSafe({num()})",
                lambda: f"({ts()} > {ts()})",
            )()
        return self.one(
            lambda: f"F.date_trunc('minute', {ts()})",
            lambda: f"({ts()} + F.expr('INTERVAL {self.random.randint(1, 9)} SECONDS'))",
            lambda: f"F.timestamp_seconds(F.unix_timestamp({ts()}))",
            lambda: f"F.coalesce({ts()}, {ts()})",
        )()

    def stateless(self, columns, count):
        lines = []
        for _ in range(count):
            if self.chance(0.4):
                lines.append(f"    frame = frame.where({self.value(columns, 'bool')})")
            else:
                kind = self.one("num", "dbl", "str", "str", "bool")
                name = f"c{len(columns)}"
                lines.append(f'    frame = frame.withColumn("{name}", {self.value(columns, kind)})')
                columns[name] = kind
        return lines

    def aggregates(self, columns):
        calls, names = [], {}
        for number in range(self.random.randint(1, 3)):
            kind = self.one("num", "num", "dbl", "str")
            value = self.value(columns, kind, 1)
            if kind == "str":
                call, gives = self.one(("min", "str"), ("max", "str"), ("count", "num"), ("approx_count_distinct", "num"))
            else:
                call, gives = self.one(("sum", kind), ("avg", "dbl"), ("min", kind), ("max", kind), ("count", "num"))
            calls.append(f'F.{call}({value}).alias("r{number}")')
            names[f"r{number}"] = gives
        if self.chance(0.5):
            calls.append('F.count("*").alias("n")')
            names["n"] = "num"
        return ", ".join(calls), names

    def times(self):
        return self.random.choice(["5 seconds", "10 seconds", "7 seconds"])

    def case(self, name):
        columns = dict(COLUMNS)
        delay = self.one("0 seconds", "5 seconds", "10 seconds", "30 seconds")
        lines = [f'    frame = frame.withWatermark("t", "{delay}")']
        lines += self.stateless(columns, self.random.randint(0, 3))
        shape = self.one("map", "window", "window", "window", "keys", "global", "session", "dedupe", "within", "table", "stream", "union", "twice")
        modes = ["append", "update"]
        keys = [key for key in ("k", "g") if self.chance(0.5)]
        if self.chance(0.3):
            keys.append("c")
            lines.append(f'    frame = frame.withColumn("c", {self.value(columns, self.one("num", "str", "bool"), 1)})')
        listed = "".join(f', "{key}"' for key in keys)
        if shape in ("union",):
            other = self.one("0 seconds", "10 seconds", "20 seconds")
            lines = [
                f"    left = frame.where({self.value(columns | COLUMNS, 'bool', 1) if not lines else self.value(dict(COLUMNS), 'bool', 1)})",
                f'    right = frame.where({self.value(dict(COLUMNS), "bool", 1)}).withWatermark("t", "{other}")',
                f'    frame = left.withWatermark("t", "{delay}").union(right)',
            ]
            columns, keys, listed = dict(COLUMNS), ["k"], ', "k"'
        if shape in ("window", "union"):
            width = self.times()
            slide = self.one("", "", ', "3 seconds"', ', "5 seconds"')
            start = ', "1 second"' if slide and self.chance(0.3) else ""
            calls, names = self.aggregates(columns)
            lines.append(f'    frame = frame.groupBy(F.window("t", "{width}"{slide}{start}){listed}).agg({calls})')
            lines += self.stateless(dict(names), self.random.randint(0, 2))
            modes = ["append", "update", "complete"]
        elif shape == "keys":
            calls, names = self.aggregates(columns)
            lines.append(f'    frame = frame.groupBy("k"{listed.replace(", " + chr(34) + "k" + chr(34), "")}).agg({calls})')
            lines += self.stateless(dict(names), self.random.randint(0, 2))
            modes = ["update", "complete"]
        elif shape == "global":
            calls, names = self.aggregates(columns)
            lines.append(f"    frame = frame.agg({calls})")
            modes = ["update", "complete"]
        elif shape == "session":
            calls, names = self.aggregates(columns)
            lines.append(f'    frame = frame.groupBy(F.session_window("t", "{self.times()}"), "k").agg({calls})')
            modes = ["append", "complete"]
        elif shape == "dedupe":
            lines.append(f'    frame = frame.dropDuplicates([{self.one(chr(34) + "k" + chr(34) + ", " + chr(34) + "t" + chr(34), chr(34) + "k" + chr(34))}]).select("k"{self.one("", ", " + chr(34) + "t" + chr(34))})')
        elif shape == "within":
            lines.append('    frame = frame.dropDuplicatesWithinWatermark(["k"]).select("k")')
        elif shape == "table":
            how = self.one("inner", "left", "left_semi", "left_anti")
            lines.append('    table = frame.sparkSession.createDataFrame([("a", 1), ("b", 2), (None, 3), ("a", 4)], "k STRING, w INT")')
            lines.append(f'    frame = frame.join(table, {self.one(chr(34) + "k" + chr(34), "frame.k == table.k", "(frame.k == table.k) & (table.w < frame.v)")}, "{how}")')
        elif shape == "stream":
            how = self.one("inner", "left", "right", "full", "left_semi")
            lines += [
                f"    left = frame.where({self.value(dict(COLUMNS), 'bool', 1)} & F.col('k').isNotNull()).select('t', 'k', 'v')",
                f"    right = frame.where({self.value(dict(COLUMNS), 'bool', 1)} & F.col('k').isNotNull())",
                "    right = right.selectExpr('t AS t2', 'k AS k2', 'v AS v2')",
                f'    near = F.expr("k = k2 AND t2 >= t - INTERVAL {self.random.randint(0, 5)} SECONDS AND t2 <= t + INTERVAL {self.random.randint(0, 9)} SECONDS")',
                f'    frame = left.join(right, near, "{how}")',
            ]
            modes = ["append"] if how != "inner" else ["append", "update"]
        elif shape == "twice":
            lines.append('    frame = frame.groupBy(F.window("t", "5 seconds"), "k").agg(F.count("*").alias("n"), F.sum("v").alias("s"))')
            lines.append('    frame = frame.groupBy(F.window("window", "10 seconds")).agg(F.sum("n"), F.max("s"))')
            modes = ["append"]
        # Two reads of a folder may see a new file in different batches, so a query with two gets all files before it starts.
        stepwise = shape not in ("stream", "union") and not self.chance(0.25)
        return {"name": name, "lines": lines, "files": self.files(), "mode": self.one(*modes), "stepwise": stepwise}

    def files(self):
        now, files = self.random.randint(0, 30), []
        for _ in range(self.random.randint(1, 5)):
            now += self.random.choice([0, 3, 10, 25])
            rows = []
            for _ in range(self.random.randint(0, 6)):
                seconds = max(0, now + (self.random.randint(0, 6) if self.chance(0.75) else -self.random.randint(1, 50)))
                row = {"t": f"at({seconds})", "k": self.one("a", "b", "a", "Z 1"), "g": self.one("x", "y"), "v": self.random.randint(-2, 9)}
                row["d"] = self.random.randint(-8, 40) / 4
                rows.append({key: value for key, value in row.items() if self.chance(0.93)})
            files.append(rows)
        return files


def source(case):
    """The case as a script."""

    def row(fields):
        return "{" + ", ".join(f'"{key}": {value if key == "t" else repr(value)}' for key, value in fields.items()) + "}"

    files = "\n".join("        [" + ", ".join(row(fields) for fields in rows) + "]," for rows in case["files"])
    # Spark refuses this on a table.
    table = "" if any("WithinWatermark" in line for line in case["lines"]) else TABLE
    return SCRIPT.format(table=table, name=case["name"], lines="\n".join(case["lines"]) or "    pass", files=files, mode=case["mode"], stepwise=case["stepwise"])


def comparable(value):
    """An answer without what differs on purpose: how many rows were read, and statistics in which Spark takes NULL for 1970."""
    if isinstance(value, list):
        return [comparable(part) for part in value]
    if isinstance(value, dict):
        kept = {key: comparable(part) for key, part in value.items() if key != "input"}
        if "eventTime" in kept:
            kept["eventTime"] = kept["eventTime"].get("watermark")
        return kept
    return value


def same(theirs, ours):
    return compare.named(theirs, ours) or compare.close(comparable(theirs), comparable(ours))


class Pair:
    """Both servers, and what they answer to a case."""

    def __init__(self, workers, folder):
        self.workers, self.folder, self.count = workers, folder, 0

    def differs(self, case):
        """None, or the checks that differ: name, Spark's answer, ours."""
        self.count += 1
        script = self.folder / f"case_{self.count:05}.py"
        script.write_text(source(case))
        found = {}
        threads = [threading.Thread(target=lambda w=worker: found.__setitem__(w.name, w.run(script))) for worker in self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spark, ours = found["spark"], found["tidemill"]
        missing = {"value": "(no such check)", "note": None}
        pairs = [(name, spark.get(name, missing), ours.get(name, missing)) for name in {**spark, **ours}]
        different = [(name, theirs, our) for name, theirs, our in pairs if not same(theirs["value"], our["value"])]
        return [d for d in different if not d[0].endswith(", nullable")] or None


def smaller(case):
    """Cases with a little less in them."""
    for number in range(len(case["files"]) if len(case["files"]) > 1 else 0):
        yield case | {"files": case["files"][:number] + case["files"][number + 1 :]}
    for number in range(len(case["lines"])):
        yield case | {"lines": case["lines"][:number] + case["lines"][number + 1 :]}
    for number, rows in enumerate(case["files"]):
        for place in range(len(rows)):
            yield case | {"files": [rows[:place] + rows[place + 1 :] if other == number else part for other, part in enumerate(case["files"])]}


def kind(different):
    """What a smaller case must still show: the first check's kind of disagreement."""
    _, theirs, ours = different[0]
    return isinstance(theirs["value"], dict) and "error" in theirs["value"], text(ours["value"].get("condition")) if isinstance(ours["value"], dict) else ""


def shrink(pair, case, different, tries):
    progress = True
    while progress and tries > 0:
        progress = False
        for candidate in smaller(case):
            tries -= 1
            if tries <= 0:
                break
            now = pair.differs(candidate)
            if now and kind(now) == kind(different):
                case, different, progress = candidate, now, True
                break
    return case, different


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tries", type=int, default=40, help="smaller programs to try for each that differs")
    parser.add_argument("--failures", type=int, default=10, help="end after so many that differ")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the scripts of the cases that differ")
    parser.add_argument("--tidemill", help="the tidemill binary")
    parser.add_argument("--ours", help="address of a Tidemill server that runs already")
    parser.add_argument("--reference", help="address of a Spark Connect server that runs already")
    options = parser.parse_args()
    deadline, failures, cases = time.monotonic() + options.seconds, 0, 0
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        workers = [
            compare.Worker("spark", options.reference or stack.enter_context(servers.spark()), folder),
            compare.Worker("tidemill", options.ours or stack.enter_context(servers.tidemill(options.tidemill)), folder),
        ]
        for worker in workers:
            stack.callback(worker.end)
        pair = Pair(workers, folder)
        while time.monotonic() < deadline and failures < options.failures:
            case = Queries(f"{options.seed}/{cases}").case(f"{options.seed}/{cases}")
            cases += 1
            different = pair.differs(case)
            if different is None:
                continue
            failures += 1
            case, different = shrink(pair, case, different, options.tries)
            print(f"\n=== case {case['name']} differs\n{source(case)}")
            for name, theirs, ours in different[:3]:
                for who, answer in (("spark", theirs), ("tidemill", ours)):
                    print(f"# {name}, {who}: {compare.short(answer['value'], 700)}")
                    if answer["note"]:
                        print(f"#     {answer['note'][:500]!r}")
            sys.stdout.flush()
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"case_{case['name'].replace('/', '_')}.py").write_text(source(case))
    print(f"{cases} cases, {failures} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
