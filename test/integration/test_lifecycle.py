"""Drain, reload, ready."""

import json
import pathlib
import shutil
import signal
import threading
import time

import pytest

import quern
from quern import SLOW, Load, encode, expect_prediction, predict_body, wait_until, within


def echo(model, n=5):
    return [("/predict", predict_body(model, [k, -k]), expect_prediction([k, -k])) for k in range(1, n + 1)]


# ---- drain ----


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_drain_finishes_requests_in_flight_and_ends_with_idle_clients(serve, sig):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "400"}}}')
    address, family = s.address, s.pids("edge") + s.pids("worker")
    idle = s.client()
    idle.request("GET", "/v2")
    with s.client() as c:
        c.send(encode("POST", "/predict", predict_body("slow", [1, 2])))
        time.sleep(0.1)
        began = time.monotonic()
        s.signal(sig)
        r = c.receive()
        assert r.status == 200 and r.json()["data"]["prediction"] == [1, 2]
        assert r.headers["connection"] == "close"
        assert c.is_closed()
    assert s.process.wait(10) == quern.EXIT_FINE
    assert time.monotonic() - began < 5.0 * SLOW
    assert idle.is_closed()
    assert not any(quern.is_alive(p) for p in family)
    with pytest.raises(OSError):
        quern.Client(address, 1)
    assert not (s.data / "run/edge.sock").exists()


def test_drain_under_load_fails_no_request_that_was_sent(serve):
    s = serve("builtin:identity", threads=2)
    with Load(s, echo("identity"), connections=6, reconnect=True) as load:
        time.sleep(0.5)
        s.signal(signal.SIGTERM)
        assert s.process.wait(10) == quern.EXIT_FINE
    assert load.failures == [] and load.ok > 50


def test_idle_server_does_not_wait_for_idle_clients(serve):
    s = serve("builtin:identity")
    idle = [s.client() for _ in range(5)]
    for c in idle:
        assert c.request("GET", "/v2").status == 200
    began = time.monotonic()
    s.signal(signal.SIGTERM)
    assert s.process.wait(10) == quern.EXIT_FINE
    assert time.monotonic() - began < 5.0 * SLOW


def test_drain_timeout_bounds_the_wait(serve):
    s = serve(
        config="""
drain_timeout: 500ms
models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "20000"}}}
"""
    )
    with s.client() as c:
        c.send(encode("POST", "/predict", predict_body("slow", [1])))
        time.sleep(0.2)
        began = time.monotonic()
        s.signal(signal.SIGTERM)
        s.process.wait(10)
        assert time.monotonic() - began < 8.0


def test_second_signal_ends_at_once(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "20000"}}}')
    with s.client() as c:
        c.send(encode("POST", "/predict", predict_body("slow", [1])))
        time.sleep(0.2)
        s.signal(signal.SIGINT)
        time.sleep(0.2)
        assert s.process.poll() is None
        s.signal(signal.SIGINT)
        s.process.wait(10)


def test_not_ready_while_draining(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "600"}}}')
    with s.client() as busy, s.client() as probe:
        # Both are in work when the drain begins: a pipelined question behind a slow answer.
        busy.send(encode("POST", "/predict", predict_body("slow", [1])))
        probe.send(encode("POST", "/predict", predict_body("slow", [2])) + encode("GET", "/v2/health/ready"))
        time.sleep(0.1)
        s.signal(signal.SIGTERM)
        assert busy.receive().status == 200
        assert probe.receive().status == 200


# ---- ready ----


def test_ready_once_every_model_serves_or_has_failed(serve, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    s = serve(
        config=f"""
models:
  good: "builtin:identity"
  broken: {tmp_path}/broken.onnx
""",
        wait=False,
    )
    s.wait_ready(10)
    body = s.get("/v2/health/ready").json()
    states = {m["name"]: m for m in body["models"]}
    assert states["good"]["state"] == "READY"
    assert states["broken"]["state"] == "UNAVAILABLE" and states["broken"]["reason"]
    assert s.get("/v2/health/live").status == 200
    assert s.get("/v2/models/good/ready").status == 200
    assert s.get("/v2/models/broken/ready").status == 400


def test_not_ready_while_a_model_loads(serve, tmp_path):
    s = serve("builtin:identity")
    worker = s.pids("worker")[0]
    assert s.get("/v2/health/ready").status == 200
    quern.kill(worker)
    wait_until(lambda: s.pids("worker") not in ([], [worker]), 5, "a new worker")
    assert s.get("/v2/health/ready").status == 200, "ready once, it stays so"


# ---- reload ----

TWO = """
models:
  one: {path: "builtin:identity"}
  two: {path: "builtin:identity"}
"""


def test_reload_adds_removes_and_changes_under_load(serve):
    s = serve(config=TWO, threads=2)
    kept = s.pids("worker", "one")
    with Load(s, echo("one"), connections=3, enough=50) as load:
        s.write_config("""
models:
  one: {path: "builtin:identity"}
  three: {path: "builtin:identity", parameters: {dims: "2"}}
""")
        s.reload()
        wait_until(lambda: s.predict("three", [1, 2]).status == 200, 5, "the new model")
        wait_until(lambda: s.predict("two", [1]).status == 404, 5, "the old model's end")
        within(lambda: not s.pids("worker", "two"), 10, "the old worker's end")
        assert s.pids("worker", "one") == kept, "what did not change goes on"

        s.write_config("""
models:
  one: {path: "builtin:identity"}
  three: {path: "builtin:identity", parameters: {dims: "3"}}
""")
        s.reload()
        wait_until(lambda: s.predict("three", [1, 2, 3]).status == 200, 5, "the changed model")
        assert s.predict("three", [1, 2]).status == 400
    assert load.failures == [] and load.ok > 50


def reload_config(k):
    return f"""
models:
  echo: {{path: "builtin:identity", parameters: {{dims: "2", execute_delay_ms: "{k % 2}"}}}}
"""


def test_ten_reloads_a_second_of_one_model_fail_no_request(serve):
    s = serve(config=reload_config(0), threads=2)
    first = s.pids("worker")
    stop = threading.Event()
    seen = set()

    def reloads():
        k = 0
        while not stop.wait(0.1):
            k += 1
            s.write_config(reload_config(k))
            s.signal(signal.SIGHUP)
            seen.update(s.pids("worker"))

    with Load(s, echo("echo"), connections=4, enough=200) as load:
        t = threading.Thread(target=reloads)
        t.start()
        wait_until(lambda: len(seen - set(first)) >= 15, 20, "replacements")
        stop.set()
        t.join()
    assert load.failures == [] and load.ok > 200
    within(lambda: len(quern.children(s.process.pid)) == 2, 10, "the end of the old workers")
    wait_until(lambda: len(s.processes("worker")) == 1, 5, "their end in the status")
    assert not s.status()["crashes"]


def test_reload_changes_an_inline_model(serve):
    s = serve(config='models: {m: {path: "builtin:identity", isolation: inline, parameters: {dims: "1"}}}', threads=2)
    with Load(s, [("/predict", predict_body("m", [7]), lambda r: None if r.status == 200 else str(r))], 2, enough=20) as load:
        for k in range(5):
            delay = 200 if k == 4 else k
            s.write_config(
                f'models: {{m: {{path: "builtin:identity", isolation: inline, parameters: {{dims: "1", execute_delay_ms: "{delay}"}}}}}}'
            )
            s.reload()
            time.sleep(0.1)
            assert s.get("/v2/health/ready").status == 200
    assert load.failures == [] and load.ok > 20
    deadline = time.time() + 10
    while True:  # the last configuration is the one that serves
        began = time.time()
        assert s.predict("m", [7]).status == 200
        took = time.time() - began
        models = s.get("/api/status").json()["models"]
        if took >= 0.2 and [m["state"] for m in models] == ["ready"]:
            break
        assert time.time() < deadline, (took, models)


BAD_CONFIGS = [
    ("models: {one: {path: builtin:identity, instnces: 2}}", ["instnces", "instances"]),
    ("models: [", []),
    ("listen: [1.2.3.4:80]\nmodels: {}", ["1.2.3.4"]),
    ("models: {one: {path: /nowhere/x.onnx}}", ["/nowhere/x.onnx"]),
    ("models: {one: {path: builtin:identity, timeout: 5 parsecs}}", ["timeout"]),
    ("", []),
]


@pytest.mark.parametrize("text, words", BAD_CONFIGS[:5], ids=range(5))
def test_bad_config_leaves_the_old_one_serving_and_says_why(serve, text, words):
    s = serve(config=TWO)
    workers = s.pids("worker")
    s.write_config(text)
    s.reload()
    assert s.pids("worker") == workers
    assert s.predict("two", [1]).status == 200
    said = s.status()["last_error"]
    assert "refused" in said
    for word in words:
        assert word in said, said
    assert "refused" in s.output()[1]
    s.write_config(TWO)
    s.reload()
    wait_until(lambda: s.status()["last_error"] == "", 5, "the error's end")


def test_bad_model_file_leaves_the_old_one_serving_and_says_why(serve):
    s = serve(config='models: {m: {path: "builtin:identity", parameters: {dims: "2"}}}')
    workers = s.pids("worker")
    with Load(s, echo("m"), connections=2) as load:
        s.write_config('models: {m: {path: "builtin:identity", parameters: {dims: "0"}}}')
        s.reload()
        wait_until(lambda: "dims" in s.status()["last_error"], 5, "the reason")
        assert s.pids("worker", "m") == workers
    assert load.failures == []
    assert "not replaced" in s.status()["last_error"]
    # And again, from the state after a failure.
    s.write_config('models: {m: {path: "builtin:identity", parameters: {dims: "2", execute_delay_ms: "1"}}}')
    s.reload()
    wait_until(lambda: s.pids("worker", "m") not in ([], workers), 5, "the new worker")
    assert s.predict("m", [1, 2]).status == 200


@pytest.mark.onnx
def test_changed_model_file_is_taken_by_a_reload(serve, tmp_path):
    shutil.copy(quern.DATA / "iris.onnx", tmp_path / "m.onnx")
    s = serve(tmp_path / "m.onnx")
    flower = [5.1, 3.5, 1.4, 0.2]
    check = [("/predict", predict_body("m", flower), lambda r: None if r.status == 200 else str(r))]
    (worker,) = s.pids("worker")
    assert s.predict("m", flower).json()["data"]["prediction"] == 0
    with Load(s, check, connections=2) as load:
        # A truncated upload first: the old one goes on.
        (tmp_path / "m.new").write_bytes((quern.DATA / "iris.onnx").read_bytes()[:500])
        (tmp_path / "m.new").rename(tmp_path / "m.onnx")
        s.reload()
        wait_until(lambda: "not replaced" in s.status()["last_error"], 10, "the reason")
        assert s.pids("worker") == [worker]
        shutil.copy(quern.DATA / "iris_names.onnx", tmp_path / "m.new")
        (tmp_path / "m.new").rename(tmp_path / "m.onnx")
        s.reload()
        wait_until(lambda: s.predict("m", flower).json()["data"]["prediction"] == "setosa", 10, "the new file")
    assert load.failures == []


def test_failed_model_is_tried_again_by_a_reload(serve):
    s = serve(config='models: {m: {path: "builtin:identity", parameters: {dims: "0"}}, n: {path: "builtin:identity"}}')
    assert s.predict("m", [1]).status == 503
    s.write_config('models: {m: {path: "builtin:identity", parameters: {dims: "1"}}, n: {path: "builtin:identity"}}')
    s.reload()
    wait_until(lambda: s.predict("m", [1]).status == 200, 5, "the corrected model")


# ---- reload by API ----


def test_reload_by_api(serve):
    s = serve(config=TWO)
    s.write_config('models: {one: {path: "builtin:identity"}}')
    r = s.post("/api/reload", b"")
    assert r.status == 200, r
    wait_until(lambda: s.predict("two", [1]).status == 404, 5, "the removal")
    s.write_config("models: {one: {path: builtin:identity, instnces: 2}}")
    r = s.post("/api/reload", b"")
    assert r.status == 400 and "instnces" in r.json()["error"], r
    assert "quern check" in r.json()["remedy"]
    assert s.predict("one", [1]).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://eviltest"},  # ends in our Host
    ],
)
def test_reload_by_a_foreign_page_is_refused(serve, headers):
    s = serve(config=TWO)
    s.write_config('models: {one: {path: "builtin:identity"}}')
    assert s.post("/api/reload", b"", headers).status == 403
    time.sleep(0.2)
    assert s.predict("two", [1]).status == 200


def test_reload_by_our_own_page_is_taken(serve):
    s = serve(config=TWO)
    assert s.post("/api/reload", b"", {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"}).status == 200
    assert s.post("/api/reload", b"", {"Origin": "http://test"}).status == 200


def test_reload_of_serve_finds_new_files(serve, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(quern.DATA / "iris.onnx", folder / "a.onnx")
    s = serve(folder)
    shutil.copy(quern.DATA / "iris.onnx", folder / "b.onnx")
    s.reload()
    wait_until(lambda: any(m["name"] == "b" for m in s.status()["models"]), 5, "the new model")
    (folder / "a.onnx").unlink()
    s.reload()
    wait_until(lambda: [m["name"] for m in s.status()["models"]] == ["b"], 5, "the removal")


def test_reload_that_changes_nothing_restarts_nothing(serve):
    s = serve(config=TWO)
    pids = s.pids("worker") + s.pids("edge")
    for _ in range(3):
        s.reload()
    assert s.pids("worker") + s.pids("edge") == pids
    assert json.dumps(s.status()["crashes"]) == "[]"


def descriptors(pid):
    return len(quern.os.listdir(f"/proc/{pid}/fd"))


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        return f.read().count("memfd:")


def test_reloads_and_deaths_leave_nothing_behind(serve):
    s = serve(config=reload_config(0), threads=2)
    (edge,) = s.pids("edge")
    master = s.master_pid

    def churn(n):
        for k in range(1, n + 1):
            s.write_config(reload_config(k))
            before = s.pids("worker")
            s.reload()
            wait_until(lambda: s.pids("worker") not in ([], before) and len(s.processes("worker")) == 1, 5, "a replacement")
            assert s.predict("echo", [k, k]).status == 200
        for _ in range(n):
            (worker,) = wait_until(lambda: s.pids("worker"), 5, "a worker")
            quern.kill(worker)
            wait_until(lambda: s.pids("worker") not in ([], [worker]), 5, "the next worker")
            time.sleep(0.11)  # a life of more than 100 ms: no back-off
        with s.client() as c:
            c.request("GET", "/v2")

    churn(2)
    time.sleep(0.2)
    before = descriptors(master), descriptors(edge), mappings(master), mappings(edge)
    churn(8)

    def same():
        now = descriptors(master), descriptors(edge), mappings(master), mappings(edge)
        return all(a <= b + 1 for a, b in zip(now, before))

    wait_until(same, 5, f"as few descriptors and mappings as before {before}")
    assert s.pids("edge") == [edge]


def test_a_model_that_no_message_holds_fails_alone(serve, tmp_path):
    """Its path is legal, and written into a message six times as long: the model fails and says why, nobody else does."""
    part, folder = "\x01" * 200, str(tmp_path)
    while len(folder) < 3700:
        folder += "/" + part
        pathlib.Path(folder).mkdir()
    text = folder.replace("\x01", "\\x01")
    pathlib.Path(folder, "m.onnx").write_bytes((quern.DATA / "iris.onnx").read_bytes())
    s = serve(config=f'models: {{ok: "builtin:identity", m: {{path: "{text}/m.onnx"}}}}')
    assert s.predict("ok", [1]).status == 200
    answer = s.predict("m", [1])
    assert answer.status == 503 and "shorten them" in answer.json()["message"]
    (m,) = [m for m in s.status()["models"] if m["name"] == "m"]
    assert m["state"] == "failed" and s.status()["crashes"] == []
