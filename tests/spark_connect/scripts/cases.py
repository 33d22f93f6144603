"""Every tests/semantics/cases/*.case through Connect: what each step gave, on either server."""

import importlib.util
import os
import pathlib
import tempfile

from pyspark.sql import SparkSession

CASES = pathlib.Path(__file__).resolve().parents[2] / "semantics"


def on_spark():
    specification = importlib.util.spec_from_file_location("on_spark", CASES / "on_spark.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def outcome(cases, spark, path):
    """The steps of one case; the last one is the failure, if there is one."""
    case = cases.Case(path)

    class ThroughConnect(cases.Run):
        def __init__(self, place):
            self.case, self.place = case, place
            self.session = SparkSession.builder.remote(os.environ["CONNECT_ADDRESS"]).create()
            self.session.conf.set("spark.sql.session.timeZone", "UTC")
            self.session.conf.set("spark.sql.shuffle.partitions", "1")
            for key, value in case.conf:
                self.session.conf.set(key.strip(), value.strip())
            if case.table:
                self.write("table", case.table)
            for number in range(len([delay for delay in case.delays if not delay.startswith("same,")])):
                (place / f"in{number}").mkdir()

        def steps(self):
            query, seen_rows, seen_batch, found = None, 0, -1, []
            try:
                for step in case.steps:
                    for source, files in enumerate(step["inputs"]):
                        for lines in files:
                            if lines:
                                self.write(f"in{source}", lines)
                    try:
                        if query is None:
                            writer = self.frame().writeStream.format("memory").queryName("out").outputMode(case.mode)
                            query = writer.option("checkpointLocation", str(self.place / "checkpoint")).start()
                        query.processAllAvailable()
                    except Exception as error:
                        found.append({"fails": type(error).__name__, "condition": getattr(error, "getCondition", lambda: None)()})
                        return found
                    rows = self.session.table("out").collect()
                    texts = [" ".join(cases.cell(n, v) for n, v in zip(row.__fields__, row)) for row in rows]
                    new_rows = texts if case.mode == "complete" else texts[seen_rows:]
                    seen_rows = len(texts)
                    progress = [p for p in query.recentProgress if p.batchId > seen_batch and "addBatch" in p.durationMs]
                    seen_batch = max([p.batchId for p in progress], default=seen_batch)
                    found.append(self.report(new_rows, progress))
                return found
            finally:
                if query is not None:
                    query.stop()
                self.session.stop()

        def report(self, rows, progress):
            shapes = [
                {
                    "batchId": p.batchId,
                    "numInputRows": p.numInputRows,
                    "eventTime": p.eventTime or {},
                    "stateOperators": [
                        {"numRowsTotal": o.numRowsTotal, "numRowsDroppedByWatermark": o.numRowsDroppedByWatermark} for o in p.stateOperators
                    ],
                }
                for p in progress
            ]
            return self.found(rows, shapes)

    def expected(found):
        if len(found) != len(case.steps):
            return True
        for step, seen in zip(case.steps, found):
            wanted = ThroughConnect.expected(ThroughConnect.__new__(ThroughConnect), step) if "fails" not in step else None
            if wanted is None or any(seen.get(key) != value for key, value in wanted.items()):
                return False
        return True

    ThroughConnect.case = case
    # A batch may begin between the files of two sources; in one of three runs none does.
    for _ in range(3 if len(case.delays) > 1 else 1):
        with tempfile.TemporaryDirectory() as place:
            found = ThroughConnect(pathlib.Path(place)).steps()
        if case.differs or expected(found):
            break
    return found


def run(spark, check, work_dir):
    cases = on_spark()
    for path in sorted((CASES / "cases").glob("*.case")):
        check(path.stem, lambda: outcome(cases, spark, path))
