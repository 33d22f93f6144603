"""Streaming queries: identity, status, progress, exceptions, the manager, listeners."""

import json
import threading

from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQueryListener

from stream import Feed, at

SCHEMA = "t TIMESTAMP, k STRING, v BIGINT"


def keys(value, prefix=""):
    """The keys of nested objects, as paths."""
    found = []
    for key, part in value.items():
        found.append(prefix + key)
        if isinstance(part, dict) and key not in ("durationMs", "customMetrics", "metrics", "observedMetrics", "startOffset", "endOffset", "latestOffset"):
            found += keys(part, f"{prefix}{key}.")
        if isinstance(part, list) and part and isinstance(part[0], dict):
            found += keys(part[0], f"{prefix}{key}[].")
    return sorted(found)


def error(action):
    try:
        return action()
    except Exception as problem:
        return [type(problem).__name__, problem.getCondition(), problem.getSqlState()]


class Listener(StreamingQueryListener):
    def __init__(self):
        self.events, self.ended = [], threading.Event()

    def onQueryStarted(self, event):
        self.events.append(["started", event.name, str(event.id) != str(event.runId)])

    def onQueryProgress(self, event):
        progress = event.progress
        if "addBatch" in progress.durationMs:
            observed = {name: row.asDict() for name, row in (progress.observedMetrics or {}).items()}
            self.events.append(["progress", progress.name, progress.batchId, progress.numInputRows, observed])

    def onQueryIdle(self, event):
        pass

    def onQueryTerminated(self, event):
        self.events.append(["terminated", event.exception is not None, event.errorClassOnException])
        self.ended.set()


def run(spark, check, work_dir):
    feed = Feed(work_dir / "in").add({"t": at(1), "k": "a", "v": 1})
    events = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(feed.path)
    counts = events.withWatermark("t", "5 seconds").groupBy(F.window("t", "5 seconds")).count()

    query = counts.writeStream.format("memory").queryName("counts").outputMode("update").option("checkpointLocation", f"{work_dir}/counts").start()
    check("name", lambda: query.name)
    check("ids", lambda: [len(query.id), len(query.runId), query.id != query.runId])
    check("the id is the checkpoint's", lambda: json.loads((work_dir / "counts" / "metadata").read_text())["id"] == query.id)
    check("processAllAvailable", query.processAllAvailable)
    check("isActive", lambda: query.isActive)
    check("status", lambda: query.status)
    check("exception", query.exception)
    check("awaitTermination with a timeout", lambda: query.awaitTermination(0.1))
    check("awaitTermination with a wrong timeout", lambda: query.awaitTermination(-1))
    check("active", lambda: [q.name for q in spark.streams.active])
    check("get", lambda: spark.streams.get(query.id).name)
    check("get of nothing", lambda: spark.streams.get("00000000-0000-0000-0000-000000000000"))
    check("awaitAnyTermination with a timeout", lambda: spark.streams.awaitAnyTermination(0.1))
    check("progress: keys", lambda: keys(json.loads(query.recentProgress[0].json)))
    check("progress: keys of durationMs", lambda: sorted(query.recentProgress[0].durationMs))
    check("progress: attributes", lambda: attributes(query.recentProgress[0]))
    check("progress: of a batch without data", lambda: attributes(query.lastProgress))
    check("progress: id and runId", lambda: [str(query.lastProgress.id) == query.id, str(query.lastProgress.runId) == query.runId, query.lastProgress.name])
    check("progress: prettyJson", lambda: query.lastProgress.prettyJson.startswith("{\n"))
    check("progress: item", lambda: query.lastProgress["batchId"])
    check("the same name", lambda: events.writeStream.format("memory").queryName("counts").start())
    check("stop", lambda: [query.stop(), query.isActive, query.stop()])
    check("status after the end", lambda: query.status)
    check("awaitTermination after the end", lambda: [query.awaitTermination(), query.awaitTermination(1)])
    check("exception after the end", query.exception)
    check("progress after the end", lambda: query.lastProgress.batchId)
    check("active after the end", lambda: spark.streams.active)
    check("get after the end", lambda: spark.streams.get(query.id))
    check("awaitAnyTermination after the end", lambda: spark.streams.awaitAnyTermination())
    check("resetTerminated", lambda: [spark.streams.resetTerminated(), spark.streams.awaitAnyTermination(0.1)])

    def again():
        second = counts.writeStream.format("noop").outputMode("update").option("checkpointLocation", f"{work_dir}/counts").start()
        second.processAllAvailable()
        same = [second.id == query.id, second.runId == query.runId, second.lastProgress is None]
        second.stop()
        return same

    check("restart", again)

    def two():
        first = events.writeStream.format("noop").queryName("one").option("checkpointLocation", f"{work_dir}/one").start()
        second = events.writeStream.format("noop").queryName("two").option("checkpointLocation", f"{work_dir}/two").start()
        found = sorted(q.name for q in spark.streams.active)
        for each in spark.streams.active:
            each.stop()
        return [found, first.isActive, second.isActive]

    check("two queries", two)

    def no_progress():
        empty = spark.readStream.schema(SCHEMA).json(Feed(work_dir / "empty").path)
        waiting = empty.writeStream.format("noop").start()
        waiting.processAllAvailable()
        ran = [p for p in waiting.recentProgress if "addBatch" in p.durationMs]
        found = [ran, waiting.name, waiting.isActive]
        waiting.stop()
        return found

    check("nothing to read", no_progress)

    bad = Feed(work_dir / "bad").add({"v": 1}).add({"v": 0})
    broken = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(bad.path).selectExpr("10 / v AS r")

    def start_broken(name, sink="memory"):
        return broken.writeStream.format(sink).queryName(name).option("checkpointLocation", f"{work_dir}/{name}").start()

    failing = start_broken("broken")
    check("failure: processAllAvailable", failing.processAllAvailable)
    check("failure: awaitTermination", failing.awaitTermination)
    check("failure: awaitTermination with a timeout", lambda: failing.awaitTermination(5))
    check("failure: isActive", lambda: failing.isActive)
    check("failure: exception", lambda: [type(failing.exception()).__name__, str(failing.exception()).startswith("[STREAM_FAILED] Query [id = ")])
    check("failure: condition of the exception", lambda: [failing.exception().getCondition(), failing.exception().getSqlState()])
    check("failure: its cause is named", lambda: "DIVIDE_BY_ZERO" in str(failing.exception()))
    check("failure: the status names it", lambda: failing.status["message"].startswith("Terminated with exception"))
    check("failure: rows of the batches before", lambda: spark.table("broken"))
    check("failure: awaitAnyTermination", spark.streams.awaitAnyTermination)
    spark.streams.resetTerminated()
    check("failure: a restart fails again", lambda: start_again(start_broken))

    listener = Listener()
    spark.streams.addListener(listener)
    seen = events.observe("seen", F.count(F.lit(1)).alias("rows"), F.max("v").alias("top"))
    heard = seen.writeStream.format("noop").queryName("heard").trigger(availableNow=True).option("checkpointLocation", f"{work_dir}/heard").start()
    heard.awaitTermination(50)
    check("listener: a query that ends", lambda: [listener.ended.wait(30), listener.events][1])
    check("observedMetrics", lambda: {name: row.asDict() for name, row in heard.recentProgress[0].observedMetrics.items()})
    listener.events, listener.ended = [], threading.Event()
    failing = start_broken("broken2")
    error(failing.awaitTermination)
    check("listener: a query that fails", lambda: [listener.ended.wait(30), [event for event in listener.events if event[0] == "terminated"][-1]])
    spark.streams.removeListener(listener)
    spark.streams.resetTerminated()
    check("listener: removed", lambda: [quiet(events, work_dir), len([e for e in listener.events if e[0] == "started" and e[1] == "quiet"])][1])
    check("listener: not one", lambda: spark.streams.addListener("x"))


def start_again(start):
    query = start("broken", "noop")
    return error(lambda: query.awaitTermination(30))


def quiet(events, work_dir):
    query = events.writeStream.format("noop").queryName("quiet").trigger(availableNow=True).option("checkpointLocation", f"{work_dir}/quiet").start()
    query.awaitTermination(30)


def attributes(progress):
    source, sink = progress.sources[0], progress.sink
    return {
        "batchId": progress.batchId,
        "numInputRows": progress.numInputRows,
        "eventTime": progress.eventTime,
        "timestamp": len(progress.timestamp),
        "operators": [[o.operatorName, o.numRowsTotal, o.numRowsUpdated, o.numRowsRemoved, o.numRowsDroppedByWatermark] for o in progress.stateOperators],
        "source": [source.description.replace("file:/", "").split("[")[0], source.startOffset, source.endOffset, source.latestOffset, source.numInputRows],
        "sink": [sink.description, sink.numOutputRows],
        "observed": progress.observedMetrics,
    }
