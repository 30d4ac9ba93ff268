"""A model that hangs, leaks, crashes or lies hurts itself only, and says why."""

import json
import signal
import time

import pytest

import quern
from quern import SLOW, Load, expect_prediction, predict_body, wait_until


def config(how, more=""):
    return f"""
models:
  bad: {{path: "builtin:crash", {more} parameters: {{how: {how}}}}}
  good: {{path: "builtin:identity"}}
"""


def neighbours():
    return [("/predict", predict_body("good", [k, -k]), expect_prediction([k, -k])) for k in range(1, 6)]


def error_of(r):
    body = r.json()
    assert body["code"] == r.status
    return body["message"]


@pytest.mark.parametrize("how, name", [("segv", "SIGSEGV"), ("abort", "SIGABRT"), ("exit", None)])
def test_crash_is_quarantined_and_reported(serve, how, name):
    s = serve(config=config(how))
    with Load(s, neighbours(), connections=2, enough=20) as load:
        r = s.predict("bad", [666], headers={"x-request-id": "poison-1"})
        assert 400 <= r.status < 600, r
        assert "quarantine" in error_of(r)
        restarts = lambda: s.processes("worker", "bad")[0]["restarts"]
        wait_until(lambda: restarts() == 3, 5, "three restarts")
        # The same again: refused without another death, with a status that tells clients not to retry.
        again = s.predict("bad", [666])
        assert 400 <= again.status < 600 and "quarantine" in error_of(again)
        assert s.predict("bad", [1]).json()["data"]["prediction"] == 1
        assert restarts() == 3
    assert load.failures == []
    assert load.ok > 20

    crashes = [c for c in s.status()["crashes"] if c["model"] == "bad"]
    assert len(crashes) == 3
    for c in crashes:
        assert c["role"] == "worker"
        assert c["request_id"] == "poison-1"
        assert c["time_ms"] > 0 and c["pid"] > 0
        if name:
            assert c["signal_name"] == name and c["signal"] == getattr(signal, name)
            assert len(c["stack"]) >= 2
    if how == "segv":
        assert "crash" in crashes[0]["stack"][0], crashes[0]["stack"]
    shown = quern.cli("status", "--json", "--data", s.data)
    assert json.loads(shown.stdout)["crashes"] == s.status()["crashes"]
    people = quern.cli("status", "--data", s.data).stdout
    assert "poison-1" in people and "bad" in people
    ids = [c["id"] for c in s.api()["crashes"]]
    assert ids == [c["id"] for c in s.status()["crashes"]]
    assert sorted(p.stem for p in (s.data / "crashes").iterdir()) == sorted(ids)


def test_crash_in_a_shared_run_fails_only_the_request_that_causes_it(serve):
    s = serve(config=config("segv"))
    rows = [[k, k] for k in (1, 2, 666, 3, 4, 5, 6, 7)]
    # One write: the requests are read together and share a run.
    with s.client() as c:
        c.send(b"".join(quern.encode("POST", "/predict", predict_body("bad", row)) for row in rows))
        answers = [c.receive() for _ in rows]
    for row, r in zip(rows, answers):
        if row[0] == 666:
            assert "quarantine" in error_of(r)
        else:
            assert r.status == 200 and r.json()["data"]["prediction"] == row, r


def test_crash_reports_outlive_the_process(serve, tmp_path):
    s = serve(config=config("segv"), data=tmp_path / "data")
    s.predict("bad", [666])
    ids = [c["id"] for c in wait_until(lambda: len(s.status()["crashes"]) == 3 and s.status()["crashes"], 5, "reports")]
    s.close()
    again = serve(config=config("segv"), data=tmp_path / "data")
    assert [c["id"] for c in again.status()["crashes"]] == ids


def test_hang_is_ended_at_the_timeout(serve):
    s = serve(config=config("hang", "timeout: 300ms, instances: 1,"))
    with Load(s, neighbours(), connections=2, enough=20) as load:
        began = time.monotonic()
        r = s.predict("bad", [666])
        took = time.monotonic() - began
    assert r.status == 504, r
    assert "timeout" in error_of(r).lower()
    assert 0.25 < took < 5.0 * SLOW, took
    assert load.failures == [] and load.ok > 20
    report = wait_until(lambda: s.status()["crashes"], 5, "a report")[0]
    assert report["model"] == "bad" and "hung" in report["reason"]

    def works():
        return s.predict("bad", [1]).status == 200

    wait_until(works, 5, "the model after its worker was ended")


def test_leak_is_ended_at_the_limit(serve):
    s = serve(config=config("leak", "memory: 300MiB,"))
    (before,) = s.pids("worker", "bad")
    with Load(s, neighbours(), connections=2, enough=20) as load:
        for i in range(12):
            r = s.predict("bad", [666, i])
            assert r.status in (200, 500, 502, 503), r
            time.sleep(0.1)
            if s.pids("worker", "bad") != [before]:
                break
        wait_until(lambda: s.pids("worker", "bad") not in ([], [before]), 5, "a new worker")
    assert load.failures == [] and load.ok > 20
    report = next(c for c in s.status()["crashes"] if c["model"] == "bad")
    assert "memory" in report["reason"] and "300 MiB" in report["reason"]
    assert s.predict("bad", [1]).status == 200


def test_lie_about_an_output_names_it(serve):
    s = serve(config=config("lie"))
    r = s.predict("bad", [666])
    assert r.status == 502, r
    assert "OUTPUT0" in error_of(r)
    r = s.post("/v2/models/bad/infer", quern.infer_body([666, 1]))
    assert r.status == 502 and "OUTPUT0" in r.json()["error"], r
    assert s.predict("bad", [1]).status == 200
    assert s.predict("good", [1]).status == 200


def test_parameters_that_the_backend_refuses_fail_the_model_with_the_reason(serve):
    s = serve(config="""
models:
  odd: {path: "builtin:identity", parameters: {dims: "0"}}
  good: {path: "builtin:identity"}
""")
    odd = s.model("odd")
    assert odd["state"] == "failed" and "dims" in odd["reason"]
    assert "dims" in s.master_model("odd")["reason"]
    assert "dims" in s.get("/v2/health/ready").body.decode()
    assert "dims" in quern.cli("status", "--data", s.data).stdout
    r = s.predict("odd", [1])
    assert r.status == 503 and "dims" in error_of(r)
    assert s.predict("good", [1]).status == 200


def test_flood_of_a_hanging_model_is_bounded_and_leaves_the_neighbour_alone(serve):
    s = serve(config="""
models:
  slow: {path: "builtin:delay", queue_max: 4, timeout: 5s, max_batch: 1, parameters: {execute_delay_ms: "1000"}}
  good: {path: "builtin:identity"}
""")
    clients = [s.client() for _ in range(60)]
    for k, c in enumerate(clients):
        c.send(quern.encode("POST", "/predict", predict_body("slow", [k])))
    with Load(s, neighbours(), connections=1, enough=20) as load:
        time.sleep(0.5)
    refused = [c for c in clients if quern.select.select([c.sock], [], [], 0)[0]]
    assert load.failures == [] and load.ok > 20
    statuses = [c.receive().status for c in refused]
    assert 429 in statuses, statuses
    for c in clients:
        c.close()
