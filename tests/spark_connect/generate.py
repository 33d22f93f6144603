"""Random queries over random files, on real Spark and on Tidemill, and the smallest program for each way in which answers differ.

    python tests/spark_connect/generate.py --seconds 600 --seed 7

A case is a script like those in scripts/: filters, projections, windows, aggregates, deduplication, joins, unions, late
rows, files one by one or all at once, some or all in a batch, restarts, and the same query over the same files as a table.
The same seed gives the same cases. A case that differs is made smaller; one that then differs as an earlier one did is only
counted. Needs what compare.py needs; ends with 1 when something differed.
"""

import argparse
import ast
import collections
import contextlib
import pathlib
import sys
import tempfile
import threading
import time

import compare
import servers
from random_queries import Queries, source
from values import text


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
    """Both servers, and what they answer to a case. Servers of its own are new after every 500 programs, before Spark's memory is full."""

    def __init__(self, options, folder):
        self.options, self.folder, self.count, self.stack = options, folder, 0, contextlib.ExitStack()

    def __enter__(self):
        options, stack = self.options, self.stack
        self.workers = [
            compare.Worker("spark", options.reference or stack.enter_context(servers.spark()), self.folder),
            compare.Worker("tidemill", options.ours or stack.enter_context(servers.tidemill(options.tidemill)), self.folder),
        ]
        for worker in self.workers:
            stack.callback(worker.end)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def differs(self, case):
        """None, or the checks that differ: name, Spark's answer, ours."""
        self.count += 1
        if self.count % 500 == 0:
            self.stack.close()
            self.__enter__()
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


def parts(line):
    """The line with one expression in it replaced by a part of itself, or a call with an argument less; the largest cuts first."""
    tree = ast.parse(line.strip())
    for number, node in enumerate(ast.walk(tree)):
        places = []
        if isinstance(node, ast.Call):
            places = [("arg", place) for place in range(len(node.args))]
            places += [("less", place) for place in range(len(node.args) if len(node.args) > 1 else 0)]
            places += [("value", 0)] if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name) else []
        elif isinstance(node, ast.BinOp):
            places = [("left", 0), ("right", 0)]
        elif isinstance(node, ast.UnaryOp):
            places = [("operand", 0)]
        for place in places:
            yield ast.unparse(Cut(number, *place).visit_whole(ast.parse(line.strip())))


class Cut(ast.NodeTransformer):
    """Replaces the node with a number (in the order of `ast.walk`) by a part of it."""

    def __init__(self, number, what, place):
        self.number, self.what, self.place = number, what, place

    def visit_whole(self, tree):
        self.target = next(node for number, node in enumerate(ast.walk(tree)) if number == self.number)
        return self.visit(tree)

    def generic_visit(self, node):
        if node is not self.target:
            return super().generic_visit(node)
        if self.what == "less":
            node.args = node.args[: self.place] + node.args[self.place + 1 :]
            return node
        if self.what == "value":
            return node.func.value
        return node.args[self.place] if self.what == "arg" else getattr(node, self.what)


def smaller(case):
    """Cases with a little less in them."""
    files, lines = case["files"], case["lines"]
    if case["runs"]:
        yield case | {"runs": False}
    if case["stepwise"]:
        yield case | {"stepwise": False}
    if len(files) > 1:
        yield case | {"files": [[row for rows in files for row in rows]]}
    for number in range(len(files) if len(files) > 1 else 0):
        yield case | {"files": files[:number] + files[number + 1 :]}
    for number in range(len(lines)):
        yield case | {"lines": lines[:number] + lines[number + 1 :]}
    for number, line in enumerate(lines):
        for cut in parts(line):
            yield case | {"lines": lines[:number] + ["    " + cut] + lines[number + 1 :]}
    for number, rows in enumerate(files):
        for place in range(len(rows)):
            yield case | {"files": files[:number] + [rows[:place] + rows[place + 1 :]] + files[number + 1 :]}


def where(theirs, ours, path=""):
    """The paths at which two comparable answers differ, without the numbers of rows and batches."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        return {found for key in theirs if not compare.close(theirs[key], ours[key]) for found in where(theirs[key], ours[key], f"{path}.{key}")}
    if isinstance(theirs, list) and isinstance(ours, list) and "rows" not in path:
        if len(theirs) != len(ours):
            return {f"{path} count"}
        return {found for one, other in zip(theirs, ours) if not compare.close(one, other) for found in where(one, other, path)}
    return {path}


def kind(different):
    """What a smaller case must still show: the first check's kind of disagreement."""
    name, theirs, ours = different[0]
    errors = tuple(answer["value"].get("condition") if isinstance(answer["value"], dict) and "error" in answer["value"] else "rows" for answer in (theirs, ours))
    return name.split(" ")[0], errors, errors == ("rows", "rows") and tuple(sorted(where(comparable(theirs["value"]), comparable(ours["value"]))))


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


def sign(case, different):
    """What two cases have in common that differ for the same reason, as far as a program can tell: the kind, and the calls in the query."""
    calls = {node.attr for line in case["lines"] for node in ast.walk(ast.parse(line.strip())) if isinstance(node, ast.Attribute)}
    return text([kind(different), sorted(calls - {"F", "col", "lit", "alias"})])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tries", type=int, default=40, help="smaller programs to try for each that differs")
    parser.add_argument("--again", type=int, default=2, help="how often to shrink cases that differ in the same kind of place")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the scripts of the cases that differ")
    parser.add_argument("--tidemill", help="the tidemill binary")
    parser.add_argument("--ours", help="address of a Tidemill server that runs already")
    parser.add_argument("--reference", help="address of a Spark Connect server that runs already")
    options = parser.parse_args()
    deadline, failures, cases = time.monotonic() + options.seconds, 0, 0
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        pair = stack.enter_context(Pair(options, folder))
        seen, kinds = collections.Counter(), collections.Counter()
        while time.monotonic() < deadline:
            name = f"{options.seed}/{options.first + cases}"
            case = Queries(name).case(name)
            cases += 1
            different = pair.differs(case)
            if different is None:
                continue
            failures += 1
            # Where every other case differs in one way, time is better spent on new cases than on making each of them small.
            whole = sign(case, different)
            kinds[text(kind(different))] += 1
            if kinds[text(kind(different))] > options.again * 4 or seen[whole]:
                print(f"\n--- case {name} differs in a place seen before: {text(kind(different))}", flush=True)
                continue
            seen[whole] += 1
            case, different = shrink(pair, case, different, options.tries)
            signature = sign(case, different)
            seen[signature] += 1
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"case_{case['name'].replace('/', '_')}.py").write_text(source(case))
            if seen[signature] > options.again:
                print(f"\n--- case {name} differs as one before: {signature}", flush=True)
                continue
            print(f"\n=== case {case['name']} differs\n{source(case)}")
            for name, theirs, ours in different[:3]:
                for who, answer in (("spark", theirs), ("tidemill", ours)):
                    print(f"# {name}, {who}: {compare.short(answer['value'], 700)}")
                    if answer["note"]:
                        print(f"#     {answer['note'][:500]!r}")
            sys.stdout.flush()
    print(f"{cases} cases, {failures} differ, in these places:")
    for place, count in kinds.most_common():
        print(f"{count:6} {place}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
