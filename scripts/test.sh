#!/usr/bin/env bash
# Runs pytest with all the real parts that this machine can offer; whatever it cannot, the tests skip and say why.
# Usage: scripts/test.sh [pytest arguments]; `-n 0` runs in one process, as debuggers and `-s` need it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
kafka_dir=.cache/kafka
kafka_port="${CAMWEAVE_TEST_KAFKA_PORT:-19392}"
# Two at least, also on one core: many tests wait, for a broker that is dead or a process that starts.
cores="$(nproc)"
workers=$((cores < 2 ? 2 : cores > 4 ? 4 : cores))

say() { printf 'test: %s\n' "$*" >&2; }

install_debian_packages() {
    [ -f scripts/apt-packages.txt ] && command -v dpkg-query >/dev/null || return 0
    local missing=() package
    while read -r package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done < <(sed 's/#.*//' scripts/apt-packages.txt | tr -s '[:space:]' '\n' | grep .)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing Debian packages: ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        local log
        log="$(mktemp)"
        for attempt in 1 2; do
            if apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
                rm -f "$log"
                return 0
            fi
            [ "$attempt" = 2 ] || apt-get update -qq >/dev/null 2>&1 || true
        done
        say "could not install them: $(tail -n 1 "$log")"
        rm -f "$log"
    fi
    say "tests that need ${missing[*]} will be skipped"
}

stop_kafka() { "$python" scripts/kafka.py stop --dir "$kafka_dir" --port "$kafka_port" >/dev/null 2>&1 || say "the test Kafka did not stop"; }

start_kafka() {
    if [ -n "${CAMWEAVE_TEST_KAFKA:-}" ]; then
        say "using the Kafka at $CAMWEAVE_TEST_KAFKA"
    elif ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
        kafka_skipped="mvn or java not found"
    else
        # These brokers live for minutes at most: what the optimising compiler costs is never earned back.
        export JDK_JAVA_OPTIONS="${JDK_JAVA_OPTIONS:--XX:TieredStopAtLevel=1 -XX:+UseSerialGC}"
        # Set before starting, so that a start that is interrupted half-way is cleaned up too.
        trap stop_kafka EXIT
        say "starting Apache Kafka on 127.0.0.1:$kafka_port"
        if "$python" scripts/kafka.py start --dir "$kafka_dir" --port "$kafka_port" >&2; then
            export CAMWEAVE_TEST_KAFKA="127.0.0.1:$kafka_port"
        else
            kafka_skipped="it could not be fetched or started, see above"
        fi
    fi
    [ -z "$kafka_skipped" ] || say "skipping the tests on a real Apache Kafka: $kafka_skipped"
}

kafka_skipped=""
install_debian_packages
start_kafka
"$python" scripts/peers.py || say "tests against learn2learn will be skipped: it could not be fetched, see above"
# Cores that are shared by the workers gain nothing from threads that wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Some environments forbid keeping bytecode: each of dozens of processes would compile all modules again.
unset PYTHONDONTWRITEBYTECODE
status=0
# By file, in their order: fixtures of a module are built once, and what takes long does not come last.
"$python" -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder "$@" || status=$?
[ -z "$kafka_skipped" ] || say "the tests on a real Apache Kafka were skipped: $kafka_skipped"
exit "$status"
