#!/bin/sh
# Starts an Apache Kafka broker on 127.0.0.1 from Maven artifacts and waits until it serves.
#
#   tests/support/real_kafka/start.sh RUN_DIRECTORY [PORT]     (port 19092 unless given; the next one is the controller's)
#   TIDEMILL_KAFKA=127.0.0.1:19092 cargo test --test kafka
#   kill $(cat RUN_DIRECTORY/pid)
#
# Needs Maven and Java 17 or later. Everything it writes is in RUN_DIRECTORY: the jars, the data, the log and the pid.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
mkdir -p "$1"
run=$(cd "$1" && pwd)
port=${2:-19092}

if [ ! -d "$run/libs" ]; then
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$run/libs.part"
    mv "$run/libs.part" "$run/libs"
fi
sed -e "s|@PORT@|$port|g" -e "s|@CONTROLLER_PORT@|$((port + 1))|g" -e "s|@DATA@|$run/data|g" \
    "$here/server.properties" >"$run/server.properties"

java_with_kafka() {
    exec java -Xmx512m -XX:+UseSerialGC -Dlog4j2.level=WARN -cp "$run/libs/*" "$@"
}
if [ ! -f "$run/data/meta.properties" ]; then
    id=$( (java_with_kafka kafka.tools.StorageTool random-uuid) 2>>"$run/kafka.log")
    (java_with_kafka kafka.tools.StorageTool format -t "$id" -c "$run/server.properties") >>"$run/kafka.log" 2>&1
fi
(java_with_kafka kafka.Kafka "$run/server.properties") >>"$run/kafka.log" 2>&1 &
echo $! >"$run/pid"

# The broker's API answers only once it has registered with the controller, so ask it rather than the socket.
tries=0
until (java_with_kafka org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "127.0.0.1:$port") \
    >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -ge 60 ] || ! kill -0 "$(cat "$run/pid")" 2>/dev/null; then
        echo "Kafka did not start; see $run/kafka.log" >&2
        exit 1
    fi
    sleep 0.5
done
echo "Kafka serves on 127.0.0.1:$port"
