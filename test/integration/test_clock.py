"""The clock of day may be set, by an hour or by years, at any moment: nothing but what is shown depends on it."""

import shutil
import struct
import subprocess
import time

import pytest

import quern
from quern import Load, expect_prediction, predict_body, wait_until

pytestmark = pytest.mark.skipif(quern.IS_SANITIZED, reason="the sanitizer wants to be the first library")
HERE = quern.ROOT / "test/integration"
HOUR, YEAR = 3600, 365 * 24 * 3600
JUMPS = [HOUR, -HOUR, 0, 30 * YEAR, -20 * YEAR, 5, -5, 0]


class Clock:
    def __init__(self, folder):
        self.file, self.lib = folder / "offset", folder / "clock.so"
        self.set(0)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.lib, HERE / "clock_of_day.c", "-ldl"], check=True)
        self.env = {"LD_PRELOAD": str(self.lib), "CLOCK_OFFSET": str(self.file)}

    def set(self, seconds):
        with open(self.file, "r+b" if self.file.exists() else "wb") as f:  # in place: it is mapped
            f.write(struct.pack("<q", seconds))


@pytest.fixture
def clock(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    return Clock(tmp_path)


def states(s):
    return {m["version"]: m["state"] for m in s.status()["models"]}


def put(folder, version, name="iris.onnx"):
    aside = folder / f".{version}.new"
    aside.mkdir(parents=True)
    shutil.copy(quern.DATA / name, aside / "model.onnx")
    aside.rename(folder / str(version))


def shown_year(s):
    return time.gmtime(s.api()["now_ms"] / 1000).tm_year


def test_requests_deadlines_and_restarts_do_not_notice(serve, clock):
    config = """
models:
  m: {path: 'builtin:identity'}
  slow: {path: 'builtin:delay', parameters: {execute_delay_ms: '200'}, timeout: 2s}
  late: {path: 'builtin:delay', parameters: {execute_delay_ms: '3000'}, timeout: 500ms}
"""
    s = serve(config=config, env=clock.env, threads=2)
    with Load(s, [("/predict", predict_body("m", [1, 2]), expect_prediction([1, 2]))], connections=2, enough=100) as load, s.client() as idle:
        for jump in JUMPS:
            clock.set(jump)
            if abs(jump) > YEAR:
                assert abs(shown_year(s) - time.gmtime().tm_year) > 15, "the clock was not moved"
            assert s.predict("slow", [1]).status == 200
            began = time.monotonic()
            assert s.predict("late", [1]).status == 504
            assert time.monotonic() - began > 0.4
            (pid,) = s.pids("worker", "m")
            quern.kill(pid)
            wait_until(lambda: s.pids("worker", "m") not in ([], [pid]), 5, "the next worker")
        assert idle.request("GET", "/v2/health/live").status == 200, "an idle connection was closed"
    assert load.failures == [] and load.ok > 100
    began = time.monotonic()
    s.close()
    assert time.monotonic() - began < 20, "the drain"


@pytest.mark.onnx
def test_watch_canary_and_what_is_kept_keep_their_times(serve, clock, tmp_path):
    repo = tmp_path / "models"
    put(repo / "m", 1)
    canary = "canary: {percent: 50, for: 2s, min_requests: 1, max_slower: 1000}"
    config = f"repository: {{path: {repo}, mode: watch, scan: 100ms, settle: 300ms}}\nmodels: {{m: {{keep_old: 3s, {canary}, compare: {{mode: warn}}}}}}"
    s = serve(config=config, env=clock.env)
    check = ("/predict", predict_body("m", [5.1, 3.5, 1.4, 0.2]), lambda r: None if r.status == 200 else str(r))
    with Load(s, [check], connections=3, enough=100) as load:
        for version, jump in [(2, -2 * YEAR), (3, 3 * YEAR)]:
            began = time.monotonic()  # before anything that has a time of its own: what is late only makes it longer
            put(repo / "m", version)
            wait_until(lambda: states(s).get(str(version)) in ("comparing", "canary"), 10, "the watch")
            clock.set(jump)
            with s.client() as c:
                for k in range(20):
                    assert c.request("POST", "/predict", check[1], {"x-canary": f"u{k}"}).status == 200
            wait_until(lambda: states(s).get(str(version)) == "ready", 10, "the end of the trial")
            assert time.monotonic() - began > 2, "the trial was cut short"
            clock.set(-jump)
            wait_until(lambda: states(s) == {str(version): "ready"}, 10, "the end of what was kept")
            assert time.monotonic() - began > 5, "what was kept went too early"
    assert load.failures == [] and load.ok > 100
