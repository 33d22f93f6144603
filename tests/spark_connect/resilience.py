"""What clients do to a Connect server, with real PySpark clients: certificates, tokens, two clients at one query, clients that are
killed, a server that is killed, a network that breaks, sessions that nobody uses, many clients at once.

    python tests/spark_connect/resilience.py                    every case, with the newest tidemill that cargo built
    python tests/spark_connect/resilience.py tls network        the cases with these words in their names
    python tests/spark_connect/resilience.py --clients 30       fewer clients in the case of many

Needs Python 3.11 and `pip install 'pyspark[connect]==4.3.*'`, openssl for the case `tls`, and Linux for the counts of threads,
files and memory of the server. Prints a line for each case, and ends with 1 when one failed. Takes about ten minutes, most of which is
waiting for the server to give up what killed clients have left.
"""

import argparse
import contextlib
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import uuid

import servers

# Imported by each client before its own lines.
PROLOGUE = """
import os, sys, threading, time
os.environ["TZ"] = "UTC"
from pyspark.sql import SparkSession, functions as F
address, folder = sys.argv[1], sys.argv[2]
spark = SparkSession.builder.remote(address).create()
def say(*words):
    print(*words, flush=True)
"""


class Server:
    """A tidemill server that can be killed and started again on its port."""

    def __init__(self, binary, folder, *options):
        self.binary, self.folder, self.options, self.port = binary, pathlib.Path(folder), options, servers.free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = None

    def start(self):
        command = [str(self.binary), "server", "--connect", f"127.0.0.1:{self.port}", *self.options]
        environment = os.environ | {"TZ": "UTC", "PYSPARK_PYTHON": sys.executable}
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.answers(), 60, "the server answers")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise SystemExit((self.folder / "server.log").read_text(errors="replace")[-3000:])
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def address(self, *parameters, host="127.0.0.1"):
        return f"sc://{host}:{self.port}/" + "".join(f";{parameter}" for parameter in parameters)

    def end(self, with_signal=signal.SIGTERM, seconds=30):
        """Seconds until it had ended."""
        began = time.monotonic()
        self.process.send_signal(with_signal)
        self.process.wait(seconds)
        return time.monotonic() - began

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            try:
                self.end()
            except subprocess.TimeoutExpired:
                self.end(signal.SIGKILL)
                raise AssertionError("the server did not end within 30 seconds of SIGTERM") from None

    def counts(self):
        """Threads, open files, processes below it and resident megabytes, as the system counts them."""
        process = pathlib.Path("/proc", str(self.process.pid))
        status = (process / "status").read_text()
        number = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1])  # noqa: E731
        children = [pid for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == self.process.pid]
        return {"threads": number("Threads"), "files": len(os.listdir(process / "fd")), "processes": len(children), "MB": number("VmRSS") // 1024}


def parent(pid):
    with contextlib.suppress(OSError, IndexError):
        return int(pathlib.Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[1])


class Client:
    """A PySpark program in a process of its own. Its lines of output can be waited for."""

    def __init__(self, address, folder, program, environment=None):
        command = [sys.executable, "-W", "ignore", "-c", PROLOGUE + textwrap.dedent(program), address, str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | (environment or {})
        )
        self.lines, self.more = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.rstrip("\n"))
                self.more.notify_all()
        with self.more:
            self.more.notify_all()

    def wait_for(self, start, seconds=60):
        """The rest of the first line that begins so."""

        def found():
            return next((line for line in self.lines if line.startswith(start)), None)

        with self.more:
            self.more.wait_for(lambda: found() or not self.reader.is_alive(), seconds)
            line = found()
        assert line is not None, f"no line {start!r} in:\n" + "\n".join(self.lines[-30:])
        return line[len(start) :].strip()

    def tell(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def done(self, seconds=120):
        """What it printed, after it ended well."""
        self.process.wait(seconds)
        self.reader.join(10)
        assert self.process.returncode == 0, "\n".join(self.lines[-30:])
        return self.lines

    def kill(self):
        self.process.kill()
        self.process.wait()


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what}"
        time.sleep(0.1)
    return found


class Proxy:
    """A way to a server that breaks: a connection ends, with a reset, when `after` bytes have come back on it, or when `cut` is called."""

    def __init__(self, port, after=None):
        self.port, self.after, self.cuts, self.open = port, after, 0, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"sc://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                pair = (client, server)
                self.open.add(pair)
                threading.Thread(target=self.pump, args=(client, server, pair, None), daemon=True).start()
                threading.Thread(target=self.pump, args=(server, client, pair, self.after), daemon=True).start()

    def pump(self, source, target, pair, left):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        self.reset(pair)
                        return
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def reset(self, pair):
        if pair not in self.open:
            return
        self.open.discard(pair)
        self.cuts += 1
        for end in pair:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self):
        for pair in list(self.open):
            self.reset(pair)

    def close(self):
        self.listener.close()
        self.cut()


def write(folder, name, *lines):
    """A file that appears whole."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f".{name}").write_text("".join(f"{line}\n" for line in lines))
    (folder / f".{name}").rename(folder / name)


def tls(binary, folder, options):
    """A certificate, a token, workers that need neither; and who has the wrong ones is turned away at once."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate), *names]
    subprocess.run(command, check=True, capture_output=True)
    trust = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate)}
    with Server(binary, folder / "server", "--tls-certificate", str(certificate), "--tls-key", str(key), "--token", "open sesame") as server:
        program = """
            assert spark.range(5).count() == 5
            assert spark.range(100000).toPandas()["id"].sum() == 4999950000
            assert [r[0] for r in spark.range(3).select(F.udf(lambda n: n * 2, "bigint")("id")).collect()] == [0, 2, 4]
            def each(frame, number):
                frame.write.mode("append").parquet(folder + "/out")
            query = spark.readStream.format("rate").option("rowsPerSecond", 100).load().writeStream.foreachBatch(each).start()
            while query.lastProgress is None or query.lastProgress.numInputRows == 0:
                assert not query.awaitTermination(0.2)
            query.stop()
            assert query.exception() is None
            assert spark.read.parquet(folder + "/out").count() > 0
            spark.stop()
        """
        Client(server.address("use_ssl=true", "token=open%20sesame", host="localhost"), folder, program, trust).done()
        refused = """
            try:
                spark.range(1).collect()
            except Exception as problem:
                say("refused", type(problem).__name__, str(problem).replace(chr(10), " "))
        """
        for address, why in [
            (server.address("use_ssl=true", "token=open%20barley", host="localhost"), "token"),
            (server.address("use_ssl=true", host="localhost"), "token"),
        ]:
            began = time.monotonic()
            client = Client(address, folder, "say('connected')\n" + textwrap.dedent(refused), trust)
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.process.wait(30)
            assert client.process.poll() is not None, "a client with a wrong token waits"
            said = "\n".join(client.lines)
            assert "UNAUTHENTICATED" in said or why in said, said
            seconds = time.monotonic() - began
        return f"turned away after {seconds:.1f} s, with the client's start"


def two_clients(binary, folder, options):
    """Two processes in one session share its queries; a session of another id does not see them."""
    with Server(binary, folder / "server") as server:
        session = f"session_id={uuid.uuid4()}"
        starts = """
            query = spark.readStream.format("rate").option("rowsPerSecond", 50).load().writeStream.format("memory").queryName("shared").start()
            say("started", query.id, query.runId)
            say("ended", query.awaitTermination(60), query.exception())
        """
        finds = """
            active = spark.streams.active
            say("active", len(active))
            query = spark.streams.get(active[0].id)
            assert query.name == "shared" and query.isActive and query.status["message"]
            while query.lastProgress is None or query.lastProgress.numInputRows == 0:
                assert not query.awaitTermination(0.2)
            say("progress", query.lastProgress.runId)
            assert spark.table("shared").count() > 0
            waits = threading.Thread(target=lambda: say("waited", query.awaitTermination(60)))
            waits.start()
            sys.stdin.readline()
            query.stop()
            waits.join()
            say("left", len(spark.streams.active))
        """
        other = """
            say("active", len(spark.streams.active), spark.streams.get(sys.stdin.readline().strip()))
        """
        one = Client(server.address(session), folder, starts)
        id, run = one.wait_for("started").split()
        two = Client(server.address(session), folder, finds)
        assert two.wait_for("active") == "1"
        assert two.wait_for("progress") == run
        three = Client(server.address(), folder, other)
        three.tell(id)
        assert three.wait_for("active") == "0 None"
        two.tell()
        assert one.wait_for("ended") == "True None"
        assert two.wait_for("waited") == "True"
        assert two.wait_for("left") == "0"
        for client in (one, two, three):
            client.done()


def killed_clients(binary, folder, options):
    """Clients that end without a word: while they read millions of rows, wait for a query, run foreachBatch."""
    with Server(binary, folder / "server") as server:
        warm = """
            spark.range(10).collect()
            spark.range(3).select(F.udf(lambda n: n, "bigint")("id")).collect()
            spark.stop()
        """
        Client(server.address(), folder, warm).done()
        before = server.counts()
        session = f"session_id={uuid.uuid4()}"
        reads = """
            say("reading")
            spark.range(200_000_000).select("id", F.concat(F.lit("row "), F.col("id")).alias("s")).toPandas()
        """
        waits = """
            query = spark.readStream.format("rate").load().writeStream.format("noop").start()
            say("waiting")
            query.awaitTermination()
        """
        each = """
            def each(frame, number):
                frame.write.mode("append").parquet(folder + "/batches")
                with open(folder + "/seen", "a") as seen:
                    seen.write(f"{number}\\n")
            query = spark.readStream.format("rate").option("rowsPerSecond", 20).load().writeStream.foreachBatch(each).queryName("each").start()
            say("running")
            query.awaitTermination()
        """
        clients = [Client(server.address(), folder, reads), Client(server.address(), folder, waits), Client(server.address(session), folder, each)]
        for client, word in zip(clients, ("reading", "waiting", "running")):
            client.wait_for(word)
        at_kill = until(lambda: (now := server.counts())["MB"] > before["MB"] + 20 and now, 60, "rows are on their way")
        seen = folder / "seen"
        until(seen.exists, 60, "a batch")
        for client in clients:
            client.kill()
        batches = len(seen.read_text().split())
        # A query belongs to its session, not to a connection.
        until(lambda: len(seen.read_text().split()) > batches + 1, 60, "foreachBatch goes on")
        takes_over = """
            query, = spark.streams.active
            assert query.name == "each"
            query.stop()
            assert query.exception() is None
            numbers = [int(line) for line in open(folder + "/seen")]
            assert numbers == list(range(len(numbers))), numbers
            values = sorted(row.value for row in spark.read.parquet(folder + "/batches").collect())
            assert values == list(range(len(values))), "rows are missing or there twice"
            spark.stop()
        """
        Client(server.address(session), folder, takes_over).done()
        return settled(server, before, at_kill)


def settled(server, before, worst):
    """Waits until what clients left is gone: five minutes for executions, and a query without a client runs on with its session."""
    last = {}

    def now():
        last.update(server.counts())
        # One client's query is left, with a session that lives for an hour.
        return last["processes"] <= before["processes"] and last["MB"] < before["MB"] + 120 and last["files"] <= before["files"] + 12

    with contextlib.suppress(AssertionError):
        until(now, 360, "everything is let go")
    assert now(), f"before {before}, at most {worst}, now {last}"
    return f"before {before}, then {worst}, after {last}"


def killed_server(binary, folder, options):
    """The server dies under a client; the client is told, and the same query goes on from its checkpoint, every row once."""
    server = Server(binary, folder / "server")
    query = """
        rows = spark.readStream.schema("n BIGINT").option("maxFilesPerTrigger", 1).json(folder + "/in")
        query = rows.writeStream.format("parquet").option("checkpointLocation", folder + "/checkpoint").start(folder + "/out")
    """
    with server:
        lives = query + """
        say("started")
        try:
            query.awaitTermination()
        except Exception as problem:
            say("told", type(problem).__name__, str(problem).split(chr(10))[0])
        try:
            spark.range(1).collect()
        except Exception as problem:
            say("then", type(problem).__name__, str(problem).split(chr(10))[0])
        spark = SparkSession.builder.remote(address).create()
""" + textwrap.indent(textwrap.dedent(query), "        ") + """
        query.processAllAvailable()
        rows = sorted(row.n for row in spark.read.parquet(folder + "/out").collect())
        say("rows", len(rows), rows == list(range(len(rows))))
        query.stop()
        """
        for number in range(40):
            write(folder / "in", f"{number:03}.json", f'{{"n": {number}}}')
        client = Client(server.address(), folder, textwrap.dedent(lives))
        client.wait_for("started")
        until(lambda: len(list((folder / "out").glob("*.parquet"))) > 5, 60, "some batches")
        server.end(signal.SIGKILL)
        server.start()
        for number in range(40, 50):
            write(folder / "in", f"{number:03}.json", f'{{"n": {number}}}')
        told = client.wait_for("told", 180)
        then = client.wait_for("then", 60)
        assert client.wait_for("rows", 120) == "50 True"
        client.done()
        # Asked to end, it ends, though a client waits.
        waits = Client(server.address(), folder, "q = spark.readStream.format('rate').load().writeStream.format('noop').start()\nsay('on')\nq.awaitTermination()")
        waits.wait_for("on")
        seconds = server.end()
        waits.kill()
        server.start()
        return f"told {told[:90]!r}, then {then[:90]!r}; ends in {seconds:.1f} s when asked to"


def network(binary, folder, options):
    """Connections that break: every row arrives once and in order, waits end when the query does, listeners hear every batch once."""
    with Server(binary, folder / "server") as server:
        rows = Proxy(server.port, after=3_000_000)
        reads = """
            frame = spark.range(600_000).select("id", F.concat(F.lit("row "), F.col("id")).alias("s"))
            table = frame.toArrow()
            assert table["id"].to_pylist() == list(range(600_000))
            assert table["s"].to_pylist() == [f"row {n}" for n in range(600_000)]
            assert [row.id for row in frame.limit(200_000).collect()] == list(range(200_000))
            assert frame.toPandas()["id"].is_monotonic_increasing
        """
        Client(rows.address, folder, reads).done(300)
        assert rows.cuts > 10, rows.cuts
        rows.close()
        waits = Proxy(server.port)
        listens = """
            from pyspark.sql.streaming import StreamingQueryListener
            heard = []
            class Listener(StreamingQueryListener):
                def onQueryStarted(self, event): heard.append("started")
                def onQueryProgress(self, event): heard.append(event.progress.batchId)
                def onQueryTerminated(self, event): heard.append("ended")
            listener = Listener()
            spark.streams.addListener(listener)
            query = spark.readStream.schema("n BIGINT").option("maxFilesPerTrigger", 1).json(folder + "/in").writeStream.format("noop").start()
            stop = threading.Thread(target=lambda: (sys.stdin.readline(), query.stop()))
            stop.start()
            say("waiting")
            say("ended", query.awaitTermination(), query.exception())
            while "ended" not in heard:
                time.sleep(0.1)
            say("heard", heard)
            spark.streams.removeListener(listener)
            spark.stop()
        """
        client = Client(waits.address, folder, listens)
        (folder / "in").mkdir(exist_ok=True)
        client.wait_for("waiting")
        for number in range(8):
            write(folder / "in", f"{number}.json", '{"n": 1}')
            time.sleep(0.5)
            waits.cut()
        client.tell()
        assert client.wait_for("ended", 120) == "None None"
        heard = client.wait_for("heard", 60)
        # Reports that nothing has arrived bear the number of the batch that comes next, and may repeat.
        numbers = re.findall(r"\d+", heard)
        assert heard.startswith("['started'") and heard.endswith("'ended']") and sorted(numbers, key=int) == numbers, heard
        assert set(map(int, numbers)) >= set(range(8)), heard
        client.done()
        waits.close()
        return f"{rows.cuts} cuts while reading, {waits.cuts} while waiting"


def listeners(binary, folder, options):
    """A listener that is taken away right after the call that brings about an event has heard that event, and the client does not hang."""
    with Server(binary, folder / "server") as server:
        program = """
            from pyspark.sql.streaming import StreamingQueryListener
            class Listener(StreamingQueryListener):
                def __init__(self): self.heard = []
                def onQueryStarted(self, event): self.heard.append("started")
                def onQueryProgress(self, event): self.heard.append(event.progress.batchId)
                def onQueryTerminated(self, event): self.heard.append("ended")
            for turn in range(10):
                listener = Listener()
                spark.streams.addListener(listener)
                query = spark.readStream.format("rate").load().writeStream.format("noop").trigger(processingTime="2 seconds").start()
                while query.lastProgress is None:
                    assert not query.awaitTermination(0.05)
                query.stop()
                spark.streams.removeListener(listener)
                assert listener.heard[0] == "started" and listener.heard[-1] == "ended", listener.heard
                say("turn", turn)
        """
        Client(server.address(), folder, program).done(120)


def idle(binary, folder, options):
    """A session that nobody uses is closed; its client is told so."""
    with Server(binary, folder / "server", "--idle-minutes", "1") as server:
        program = """
            spark.range(1).collect()
            spark.createDataFrame([(1,)], "a int").createOrReplaceTempView("mine")
            say("made")
            sys.stdin.readline()
            try:
                say("answer", spark.table("mine").collect())
            except Exception as problem:
                say("answer", type(problem).__name__, str(problem).split(chr(10))[0])
        """
        client = Client(server.address(), folder, program)
        client.wait_for("made")
        until(lambda: "a session that nobody uses is closed" in (server.folder / "server.log").read_text(), 100, "the session is closed")
        client.tell()
        answer = client.wait_for("answer")
        assert "INVALID_HANDLE" in answer or "SESSION" in answer, answer
        return answer[:140]


def many(binary, folder, options):
    """Many clients at once, in several processes; some leave in order, some are killed."""
    with Server(binary, folder / "server") as server:
        program = """
            sessions = [SparkSession.builder.remote(address).create() for _ in range(9)] + [spark]
            def work(spark, number):
                assert spark.range(50_000).select((F.col("id") + number).alias("n")).toArrow()["n"].to_pylist()[-1] == 49_999 + number
                query = spark.readStream.format("rate").option("rowsPerSecond", 20).load().writeStream.format("memory").queryName("q").start()
                while query.lastProgress is None or query.lastProgress.numInputRows == 0:
                    assert not query.awaitTermination(0.1)
                assert spark.table("q").count() > 0
                return query
            failed = []
            def run(spark, number):
                try:
                    queries[number] = work(spark, number)
                except BaseException as problem:
                    failed.append(problem)
            queries = {}
            threads = [threading.Thread(target=run, args=(s, n)) for n, s in enumerate(sessions)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            assert not failed, failed
            say("worked", len(queries))
            sys.stdin.readline()
            for query in queries.values():
                query.stop()
            for session in sessions:
                session.stop()
        """
        Client(server.address(), folder, "spark.range(10).collect()\nspark.stop()").done()
        before, worst = server.counts(), {}
        rounds = max(1, options.clients // 50)
        for turn in range(rounds):
            clients = [Client(server.address(), folder, program) for _ in range(5)]
            for client in clients:
                assert client.wait_for("worked", 300) == "10"
            worst = server.counts()
            # Those that are killed in the last round would keep their queries for an hour.
            for place, client in enumerate(clients):
                client.tell()
            for client in clients:
                client.done(120)
        last = {}

        def small():
            last.update(server.counts())
            return last["files"] <= before["files"] + 10 and last["threads"] <= before["threads"] + 10

        with contextlib.suppress(AssertionError):
            until(small, 60, "sessions are gone")
        assert small() and last["MB"] < worst["MB"] + 100, f"before {before}, at most {worst}, now {last}"
        return f"{rounds * 50} clients; before {before}, at most {worst}, after {last}"


CASES = [tls, two_clients, network, listeners, killed_server, many, idle, killed_clients]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="run only cases with one of these words in their names")
    parser.add_argument("--tidemill", help="the tidemill binary; default: $TIDEMILL, or the newest that cargo built")
    parser.add_argument("--clients", type=int, default=100, help="in the case of many")
    options = parser.parse_args()
    binary, failed = servers.binary(options.tidemill), 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for case in CASES:
            if options.names and not any(word in case.__name__ for word in options.names):
                continue
            began = time.monotonic()
            place = pathlib.Path(folder, case.__name__)
            place.mkdir()
            try:
                note, outcome = case(binary, place, options) or "", "ok    "
            except Exception:
                note, outcome, failed = traceback.format_exc(), "FAILED", failed + 1
            print(f"{outcome} {case.__name__}, {time.monotonic() - began:.0f} s  {note}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
