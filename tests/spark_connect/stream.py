"""What scripts need to drive a streaming query batch by batch, the same on every run.

In: lines of files, and a query to start. Out: per step, the new rows and what each batch reported.
An error of the query comes out of the step in which it happens.
"""

import json
import os
import pathlib

START = 1_704_067_200


class Feed:
    """A folder of files; each `add` is one file, and with maxFilesPerTrigger = 1 one batch."""

    def __init__(self, folder, suffix="json"):
        self.folder, self.suffix, self.count = pathlib.Path(folder), suffix, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = str(self.folder)

    def add(self, *lines):
        """A file of these lines; what is no text is written as JSON. It appears whole, with a modification time of its own."""
        self.count += 1
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        hidden = self.folder / f"_{self.count:05}"
        hidden.write_text("".join(line + "\n" for line in texts))
        os.utime(hidden, (START + self.count, START + self.count))
        hidden.rename(self.folder / f"{self.count:05}.{self.suffix}")
        return self


def at(seconds):
    """An event time: seconds after 2024-01-01T00:00:00Z."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"2024-01-01T{hours:02}:{minutes:02}:{rest:06.3f}Z"


def batch(progress):
    """What a batch reported, less times, sizes and paths."""
    event_time = {key: value for key, value in (progress.eventTime or {}).items()}
    operators = [
        {
            "operator": operator.operatorName,
            "total": operator.numRowsTotal,
            "updated": operator.numRowsUpdated,
            "removed": operator.numRowsRemoved,
            "dropped": operator.numRowsDroppedByWatermark,
        }
        for operator in progress.stateOperators
    ]
    return {
        "batch": progress.batchId,
        "input": progress.numInputRows,
        "eventTime": event_time,
        "state": operators,
    }


def batches(query):
    """The batches of a query that ran, not its idle reports."""
    return [batch(p) for p in query.recentProgress if "addBatch" in p.durationMs]


class Watch:
    """A query into a memory table, step by step."""

    tables = 0

    def __init__(self, spark, frame, mode="append", **options):
        Watch.tables += 1
        self.spark, self.mode, self.name = spark, mode, f"watch_{Watch.tables}"
        self.writer = frame.writeStream.format("memory").queryName(self.name).outputMode(mode).options(**options)
        self.query, self.rows, self.last = None, 0, -1

    def step(self):
        """Everything there is, processed: the rows that are new (in complete mode the table) and the batches."""
        if self.query is None:
            self.query = self.writer.start()
        self.query.processAllAvailable()
        rows = [list(row) for row in self.spark.table(self.name).collect()]
        new = rows if self.mode == "complete" else rows[self.rows :]
        self.rows = len(rows)
        done = [b for b in batches(self.query) if b["batch"] > self.last]
        self.last = max([b["batch"] for b in done], default=self.last)
        return {"rows": sorted(new, key=repr), "batches": done}

    def stop(self):
        if self.query is not None:
            self.query.stop()


class Runs:
    """An append query into Parquet files that is started for each step, goes on from its checkpoint, and ends when it has read all there is."""

    def __init__(self, frame, folder):
        self.frame, self.folder, self.rows = frame, folder, []

    def step(self):
        done = available(self.frame, self.folder)
        read = self.frame.sparkSession.read.schema(self.frame.schema).parquet(f"{self.folder}/out")
        rows, new = sorted((list(row) for row in read.collect()), key=repr), []
        before = [repr(row) for row in self.rows]
        for row in rows:
            if repr(row) in before:
                before.remove(repr(row))
            else:
                new.append(row)
        self.rows = rows
        return {"rows": new, "batches": done, "gone": before}

    def stop(self):
        """There is nothing that runs between steps."""


def steps(check, name, watch, feed, *files):
    """One check per file."""
    for number, lines in enumerate(files):
        feed.add(*lines)
        check(f"{name}, file {number}", watch.step)
    watch.stop()


def available(frame, folder, mode="append", sink="parquet", **options):
    """Runs the query over all there is now, and gives its batches."""
    writer = frame.writeStream.format(sink).outputMode(mode).option("checkpointLocation", f"{folder}/checkpoint").options(**options)
    writer = writer.trigger(availableNow=True)
    query = writer.start(f"{folder}/out") if sink in ("parquet", "json", "csv", "text") else writer.start()
    query.awaitTermination(50)
    failure = query.exception()
    query.stop()
    if failure is not None:
        raise failure
    return batches(query)
