"""The two servers a comparison needs: real Spark's Connect server, and `tidemill server --connect`.

In: where PySpark and the `tidemill` binary are. Out: the address of a server that answers, until the `with` ends.
Fails with what the server printed when it does not come up in time.
"""

import contextlib
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def process(command, port, folder, environment, patience):
    log = pathlib.Path(folder) / "server.log"
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + patience
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not answer on port {port}:\n{log.read_text(errors='replace')[-4000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield f"sc://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def spark():
    """Real Spark, out of the PySpark that is installed. Needs Java 17."""
    found = importlib.util.find_spec("pyspark")
    home = pathlib.Path(found.submodule_search_locations[0]) if found else None
    if home is None or not (home / "bin" / "spark-class").exists():
        raise SystemExit("The reference server needs `pip install 'pyspark[connect]'` (pyspark-client has no server in it).")
    port = free_port()
    conf = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [str(home / "bin" / "spark-class"), "org.apache.spark.deploy.SparkSubmit", "--master", "local[4]", "--driver-memory", "2g"]
        command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
        for key, value in conf.items():
            command += ["--conf", f"{key}={value}"]
        environment = os.environ | {"SPARK_HOME": str(home), "TZ": "UTC", "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        for mode in ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_TESTING"):
            environment.pop(mode, None)
        with process(command + ["spark-internal"], port, folder, environment, 120) as address:
            yield address


def binary(given=None):
    """The `tidemill` to test: the one given, $TIDEMILL, or the newest that cargo built."""
    if given or os.environ.get("TIDEMILL"):
        return pathlib.Path(given or os.environ["TIDEMILL"]).resolve()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in (target / "debug" / "tidemill", target / "release" / "tidemill") if path.exists()]
    if not built:
        raise SystemExit("No tidemill binary: `cargo build --release --bin tidemill`, or name one with --tidemill.")
    return max(built, key=lambda path: path.stat().st_mtime)


@contextlib.contextmanager
def tidemill(path=None):
    """Ours."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(binary(path)), "server", "--connect", f"127.0.0.1:{port}"]
        with process(command, port, folder, os.environ | {"TZ": "UTC", "PYSPARK_PYTHON": sys.executable}, 30) as address:
            yield address
