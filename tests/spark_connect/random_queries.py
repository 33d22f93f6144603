"""Makes random queries over random files: what generate.py runs on both servers.

In: a seed. Out: cases, each a dict of query lines, files, output mode and how the files are fed; and `source`, a case as a
script like those in scripts/. The same seed gives the same cases. A case may be a program that Spark refuses.
"""

import random

COLUMNS = {"t": "ts", "k": "str", "g": "str", "v": "num", "d": "dbl"}
SCRIPT = '''"""Case {name}."""

from pyspark.sql import functions as F

from stream import Feed, Runs, Watch, at

SCHEMA = "t TIMESTAMP, k STRING, g STRING, v BIGINT, d DOUBLE"


def query(frame):
{lines}
    return frame


def run(spark, check, work_dir):
    feed = Feed(work_dir / "in")
    stream = spark.readStream.schema(SCHEMA){limit}.json(feed.path)
    watch = {watch}
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
            kind = self.one("num", "num", "dbl", "str", "bool", "ts")
            value = self.value(columns, kind, 1)
            calls.append(f'{self.aggregate(columns, kind, value, names, f"r{number}")}.alias("r{number}")')
        if self.chance(0.5):
            calls.append('F.count("*").alias("n")')
            names["n"] = "num"
        return ", ".join(calls), names

    def aggregate(self, columns, kind, value, names, name):
        """An aggregate of a value, whose order of rows does not matter. Says what it gives in `names`, unless no expression takes that."""
        plain = {"str": [("min", "str"), ("max", "str"), ("count", "num"), ("approx_count_distinct", "num")]}
        plain["bool"] = [("bool_and", "bool"), ("bool_or", "bool"), ("count_if", "num"), ("max", "bool"), ("count", "num")]
        plain["ts"] = [("min", "ts"), ("max", "ts"), ("count", "num"), ("approx_count_distinct", "num")]
        plain["dbl"] = [("sum", "dbl"), ("avg", "dbl"), ("min", "dbl"), ("max", "dbl"), ("count", "num"), ("stddev_samp", "dbl"), ("var_pop", "dbl")]
        plain["num"] = [("sum", "num"), ("avg", "dbl"), ("min", "num"), ("max", "num"), ("count", "num"), ("bit_xor", "num"), ("bit_or", "num"), ("try_sum", "num")]
        if self.chance(0.8):
            call, names[name] = self.random.choice(plain[kind])
            return f"F.{call}({value})"
        return self.one(
            lambda: f"F.sort_array(F.collect_set({value}))",
            lambda: f"F.sort_array(F.collect_list({value}))",
            lambda: f"F.size(F.collect_list({value}))",
            lambda: f"F.sum(F.when({self.value(columns, 'bool', 1)}, 1).otherwise(0))",
            lambda: f"F.percentile_approx({value if kind in ('num', 'dbl') else 'F.col(' + repr('v') + ')'}, 0.5)",
            lambda: f"F.struct(F.min({value}).alias('least'), F.max({value}).alias('most'))",
            lambda: f"(F.max({value}) == F.min({value}))",
        )()

    def condition(self):
        """When rows of two streams belong together: near in time, most often."""
        before, after = self.random.randint(0, 5), self.random.randint(0, 9)
        return self.one(
            *[f"k = k2 AND t2 >= t - INTERVAL {before} SECONDS AND t2 <= t + INTERVAL {after} SECONDS"] * 4,
            f"k = k2 AND t2 BETWEEN t AND t + INTERVAL {after} SECONDS AND v2 >= v",
            f"k = k2 AND t2 > t - INTERVAL {before} SECONDS",
            "k = k2 AND t = t2",
            "t = t2",
            "k = k2",
        )

    def times(self):
        return self.random.choice(["5 seconds", "10 seconds", "7 seconds"])

    def case(self, name):
        columns = dict(COLUMNS)
        delay = self.one("0 seconds", "5 seconds", "10 seconds", "30 seconds")
        lines = [f'    frame = frame.withWatermark("t", "{delay}")']
        lines += self.stateless(columns, self.random.randint(0, 3))
        shape = self.one("map", "window", "window", "window", "keys", "global", "session", "dedupe", "within", "table", "stream", "union", "twice", "deduped window", "table window", "stream window", "windows joined", "unions")
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
        if shape == "unions":
            lines = [f'    left = frame.where({self.value(dict(COLUMNS), "bool", 1)}).withWatermark("t", "{delay}").select("t", "k", "v")']
            lines.append(f'    right = frame.withWatermark("t", "{self.one("0 seconds", "10 seconds")}").select("v", "k", "t")')
            after = self.one("dropDuplicates(['k', 't']).select('k', 't')", "dropDuplicatesWithinWatermark(['k']).select('k')", "select('k', 'v')")
            lines.append(f"    frame = left.unionByName(right).{after}")
        if shape == "deduped window":
            lines.append(f'    frame = frame.{self.one("dropDuplicates", "dropDuplicatesWithinWatermark")}(["k", "t"])')
            keys, listed, columns = ["k"], ', "k"', {"t": "ts", "k": "str"} if "Within" in lines[-1] else columns
        if shape == "table window":
            lines.append('    table = frame.sparkSession.createDataFrame([("a", 1), ("b", 2), (None, 3), ("a", 4), ("c", 5)], "k STRING, w BIGINT")')
            lines.append(f'    frame = frame.join(table, "k", "{self.one("inner", "left")}")')
            columns["w"] = "num"
        if shape == "stream window":
            lines = [
                f"    left = frame.withWatermark('t', '{delay}').where({self.value(dict(COLUMNS), 'bool', 1)}).select('t', 'k', 'v')",
                f"    right = frame.withWatermark('t', '{self.one('0 seconds', '10 seconds')}').selectExpr('t AS t2', 'k AS k2', 'v AS v2')",
                f"    frame = left.join(right, F.expr('k = k2 AND t2 >= t AND t2 <= t + INTERVAL {self.random.randint(1, 9)} SECONDS'), '{self.one('inner', 'left')}')",
            ]
            columns, keys, listed = {"t": "ts", "k": "str", "v": "num", "v2": "num"}, ["k"], ', "k"'
        if shape in ("window", "union", "deduped window", "table window", "stream window"):
            width = self.times()
            slide = self.one("", "", ', "3 seconds"', ', "5 seconds"')
            start = ', "1 second"' if slide and self.chance(0.3) else ""
            calls, names = self.aggregates(columns)
            lines.append(f'    frame = frame.groupBy(F.window("t", "{width}"{slide}{start}){listed}).agg({calls})')
            lines += self.stateless(dict(names), self.random.randint(0, 2))
            modes = ["append", "update", "complete"] if shape not in ("deduped window", "stream window") else ["append"]
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
            modes = ["append", "append", "complete", "update"]
        elif shape == "windows joined":
            width = self.times()
            calls, names = self.aggregates(columns)
            more, _ = self.aggregates(dict(COLUMNS))
            # Spark's optimizer takes rows that no join can use out of the aggregates below it, whose state is then smaller than ours.
            lines.append("    frame = frame.where(F.col('t').isNotNull() & F.col('k').isNotNull())")
            lines.append(f'    right = frame.select("t", "k", "g", "v", "d").groupBy(F.window("t", "{width}"), "k").agg({more.replace(chr(34) + "r", chr(34) + "q").replace(chr(34) + "n" + chr(34), chr(34) + "m" + chr(34))})')
            lines.append(f'    left = frame.groupBy(F.window("t", "{width}"), "k").agg({calls})')
            lines.append(f'    frame = left.join(right, ["window", "k"], "{self.one("inner", "left", "full")}")')
            modes = ["append"]
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
            # In Spark a NULL finds a NULL in a full outer join of streams, as in no other join.
            known = " & F.col('k').isNotNull() & F.col('t').isNotNull()" if how == "full" else ""
            if self.chance(0.5):
                other = self.one("5 seconds", "20 seconds")
                lines = [f'    other, frame = frame.withWatermark("t", "{other}"), frame.withWatermark("t", "{delay}")'] + lines[1:]
            lines += [
                f"    left = frame.where({self.value(dict(COLUMNS), 'bool', 1)}{known}).select('t', 'k', 'v')",
                f"    right = {'other' if 'other' in lines[0] else 'frame'}.where({self.value(dict(COLUMNS), 'bool', 1)}{known})",
                "    right = right.selectExpr('t AS t2', 'k AS k2', 'v AS v2')",
                f'    near = F.expr("{self.condition()}")',
                f'    frame = left.join(right, near, "{how}")',
            ]
            modes = ["append"] if how != "inner" else ["append", "update"]
        elif shape == "twice":
            lines.append('    frame = frame.groupBy(F.window("t", "5 seconds"), "k").agg(F.count("*").alias("n"), F.sum("v").alias("s"))')
            lines.append('    frame = frame.groupBy(F.window("window", "10 seconds")).agg(F.sum("n"), F.max("s"))')
            modes = ["append"]
        # The files come one by one or all before the query starts; a batch takes one of them, or some, or all there are. Some
        # queries are stopped after each file and started again from their checkpoint. The two sides of a join list the folder one
        # after the other, and may see a new file in different batches, so such a query gets all files before it starts.
        mode = self.one(*modes)
        how = {"stepwise": shape not in ("stream", "stream window", "windows joined") and not self.chance(0.3), "limit": self.one(1, 1, 1, 2, None), "runs": mode == "append" and self.chance(0.15)}
        return {"name": name, "lines": lines, "files": self.files(), "mode": mode} | how

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
            if self.chance(0.06):
                rows.append(self.one("not json", '{"t": "soon", "k": "a", "v": 1}', '{"t": null, "k": "b", "v": "x"}', "{}"))
            files.append(rows)
        return files


def source(case):
    """The case as a script."""

    def row(fields):
        if isinstance(fields, str):
            return repr(fields)
        return "{" + ", ".join(f'"{key}": {value if key == "t" else repr(value)}' for key, value in fields.items()) + "}"

    files = "\n".join("        [" + ", ".join(row(fields) for fields in rows) + "]," for rows in case["files"])
    # Spark refuses this on a table.
    table = "" if any("WithinWatermark" in line for line in case["lines"]) else TABLE
    limit = f'.option("maxFilesPerTrigger", {case["limit"]})' if case["limit"] else ""
    watch = "Runs(query(stream), work_dir)" if case["runs"] else f'Watch(spark, query(stream), "{case["mode"]}")'
    lines = "\n".join(case["lines"]) or "    pass"
    return SCRIPT.format(table=table, name=case["name"], lines=lines, files=files, limit=limit, watch=watch, stepwise=case["stepwise"])
