"""A real daemon that is watched: by curl-like clients, by strangers who mean it ill, and by a real Prometheus."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pickle
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.e2e.running import running, wait_for
from tests.e2e.test_drop_in import save
from tests.health.moments import find_tool

QUICK = {
    "CKPTD_WATCH__SETTLE_SECONDS": "0.05",
    "CKPTD_WATCH__GUARD_SECONDS": "0.2",
    "CKPTD_HEALTH__LISTEN": "127.0.0.1:0",
    "CKPTD_HEALTH__REFRESH_SECONDS": "0.2",
}
RULES = Path(__file__).parents[2] / "docs" / "ops" / "ckptd.rules.yml"


@pytest.fixture
def models(tmp_path):
    return tmp_path / "trained_models"


class Calls:
    """What nobody should ever load."""

    def __reduce__(self):
        return os.system, ("true",)


def find_address(daemon, since=0):
    host, _, port = daemon.wait_event("health.listening", since)["address"].rpartition(":")
    return host, int(port)


def get(address, path, method="GET"):
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def read(path):
    """Give the bytes of a file that may not be there yet."""
    return path.read_bytes() if path.exists() else b""


def has_metric(address, line):
    return f"\n{line}\n" in get(address, "/metrics")[1]


def test_a_daemon_says_how_it_is(models, tmp_path):
    """Good times, a file that would run code, a root that is gone and back: each is seen where people look."""
    textfile = tmp_path / "ckptd.prom"
    with running(models, env={**QUICK, "CKPTD_HEALTH__TEXTFILE": str(textfile)}) as daemon:
        address = find_address(daemon)
        wait_for(lambda: get(address, "/readyz") == (200, "ready\n"), "the daemon to be ready")
        assert get(address, "/healthz") == (200, "ok\n")
        save(models / "a.pth")
        (models / "b.pth").write_bytes(pickle.dumps(Calls(), 2))
        label = f'root="{models}"'
        wait_for(lambda: has_metric(address, f'ckptd_files{{{label},state="ready"}} 1.0'), "the good file")
        wait_for(lambda: has_metric(address, 'ckptd_rejections_total{status="unsafe"} 1.0'), "the unsafe file")
        assert has_metric(address, f'ckptd_rejected_files{{{label},status="unsafe"}} 1.0')
        wait_for(lambda: b'ckptd_rejections_total{status="unsafe"} 1.0\n' in read(textfile), "the textfile")
        models.rename(tmp_path / "away")
        wait_for(lambda: has_metric(address, f"ckptd_root_up{{{label}}} 0.0"), "the root to be lost")
        status, reasons = get(address, "/readyz")
        assert (status, reasons.startswith(f"{models}: ")) == (503, True)
        assert get(address, "/healthz")[0] == 200
        (tmp_path / "away").rename(models)
        wait_for(lambda: get(address, "/readyz")[0] == 200, "the root to be back")
        assert "a.pth" not in get(address, "/metrics")[1]


def reach(place):
    """Connect to a socket; None where nobody listens yet."""
    client = socket.socket(socket.AF_UNIX)
    if client.connect_ex(str(place)) == 0:
        return client
    client.close()
    return None


def test_other_settings_are_served_after_a_reload(models, tmp_path):
    """SIGHUP with another address: the old one is free, the new one answers."""
    config = tmp_path / "ckptd.toml"
    env = {"CKPTD_CONFIG": str(config), "CKPTD_WATCH__GUARD_SECONDS": "0.2"}
    config.write_text('[health]\nlisten = "127.0.0.1:0"\n')
    with running(models, env=env) as daemon:
        first = find_address(daemon)
        place = tmp_path / "health.sock"
        config.write_text(f'[health]\nlisten = "unix:{place}"\nsocket_mode = "0600"\n')
        daemon.process.send_signal(signal.SIGHUP)
        with wait_for(lambda: reach(place), "the socket") as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"\r\n\r\nok\n")
        with pytest.raises(ConnectionRefusedError):
            get(first, "/healthz")
    assert not place.exists()


def flood(address, count):
    """Come so often, each time otherwise: good, malformed, silent, with a body, for another host, never reading."""
    requests = [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\xff" * 3000,
        b"",
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000,
        b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000,
    ]
    kept = []
    for number in range(count):
        with contextlib.suppress(OSError):
            client = socket.create_connection(address, timeout=30)
            client.settimeout(0.2)
            kept.append(client)
            client.sendall(requests[number % len(requests)])
            if number % 3:
                client.recv(1000)
        while len(kept) > 20:
            kept.pop(0).close()
    for client in kept:
        client.close()


def test_strangers_do_not_keep_the_daemon_from_its_work(models):
    """A thousand ill-meant connections, four at once, while files arrive: each file is indexed, and nothing is left behind."""
    with running(models, env=QUICK) as daemon:
        address = find_address(daemon)
        save(models / "first.pth")
        daemon.wait_record("first.pth", status="ok")
        process = psutil.Process(daemon.pid)
        before, events = process.num_fds(), len(daemon.events())
        threads = [threading.Thread(target=flood, args=(address, 250)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(30):
            save(models / f"m{number}.pth", seed=number)
        for number in range(30):
            daemon.wait_event("checkpoint.indexed", path=f"m{number}.pth")
        for thread in threads:
            thread.join()
        assert get(address, "/healthz") == (200, "ok\n")
        most = before + 4 + 2 * (os.cpu_count() or 1)  # each core may have a worker by now, with two of them
        wait_for(lambda: process.num_fds() <= most, "the descriptors to come back")
        loud = [one for one in daemon.events()[events:] if one["level"] in {"warning", "error"}]
        assert loud == []


def test_slow_clients_hold_no_more_than_they_may(models):
    """All places taken by clients that say half a word: files are indexed, and each place comes back when its client goes."""
    with running(models, env=QUICK) as daemon:
        address = find_address(daemon)
        slow = [socket.create_connection(address, timeout=30) for _ in range(100)]
        for client in slow:
            client.sendall(b"GET /hea")
        save(models / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        for client in slow:
            client.close()
        assert get(address, "/healthz") == (200, "ok\n")


class Prometheus:
    """A real Prometheus on loopback, with the rules of the documentation; it asks and judges each second."""

    def __init__(self, directory, target):
        self.directory = directory
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "ckptd", "static_configs": [{"targets": ["{}:{}".format(*target)]}]}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))
        self.log = (directory / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                find_tool("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def ask(self, what):
        """Ask its API; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{what}", timeout=30) as answer:
                return json.load(answer)["data"]
        except OSError:
            assert self.process.poll() is None, (self.directory / "prometheus.log").read_text()
            return None

    def value(self, query):
        """Give the number of a query that has one answer."""
        found = self.ask("query?" + urllib.parse.urlencode({"query": query}))
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def firing(self):
        """Give the alerts that fire: name → the rest."""
        found = self.ask("alerts") or {"alerts": []}
        return {one["labels"]["alertname"]: one for one in found["alerts"] if one["state"] == "firing"}

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def test_a_real_prometheus_watches_a_real_daemon(models, tmp_path):
    """It finds it up, reads its metrics, and its alert fires when a file comes that would run code; then the daemon ends."""
    find_tool("prometheus")
    (tmp_path / "prometheus").mkdir()
    with running(models, env={**QUICK, "CKPTD_SCHEDULE__SCRUB": "0 2 * * *"}) as daemon:
        prometheus = Prometheus(tmp_path / "prometheus", find_address(daemon))
        try:
            wait_for(lambda: prometheus.value('up{job="ckptd"}') == 1, "Prometheus to find the daemon up")
            save(models / "a.pth")
            wait_for(lambda: prometheus.value('ckptd_files{state="ready"}') == 1, "the metric")
            interval = 'ckptd_job_interval_seconds{job="ckptd",name="scrub"}'
            wait_for(lambda: prometheus.value(interval) == 86_400, "its interval")
            assert prometheus.firing() == {}
            (models / "b.pth").write_bytes(pickle.dumps(Calls(), 2))
            wait_for(lambda: "CkptdFileUnsafe" in prometheus.firing(), "the alert")
            fired = prometheus.firing()["CkptdFileUnsafe"]
            assert fired["labels"]["severity"] == "critical"
            assert fired["annotations"]["runbook"] == "runbook.md#ckptdfileunsafe"
            assert fired["annotations"]["summary"].startswith("a file that would run code came to ckptd on 127.0.0.1:")
            assert set(prometheus.firing()) == {"CkptdFileUnsafe"}
            daemon.stop()
            wait_for(lambda: prometheus.value('up{job="ckptd"}') == 0, "Prometheus to find the daemon down")
        finally:
            prometheus.close()
