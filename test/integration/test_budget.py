"""Models on demand and the memory budget: what is loaded, what goes, who waits how long, and what is told."""

import concurrent.futures
import json
import pathlib
import signal
import threading
import time

import pytest

import quern
from quern import infer_body, kill, percentile, wait_until, within

MIB = 1 << 20
LOAD_MS = 100
# More than a worker of a built-in model takes besides its memory_mib, and less than that: under sanitizers all need more.
SLACK_MIB = 14 if quern.IS_SANITIZED else 6


def models(names, mib=20, load_ms=LOAD_MS, **more):
    parameters = {"memory_mib": str(mib), "load_delay_ms": str(load_ms), **more.pop("parameters", {})}
    common = {"path": "builtin:identity", "load": "on-demand", "parameters": parameters, **more}
    return {name: common for name in names}


def config(models, budget_mib=None, **more):
    """JSON is YAML."""
    top = {"models": models, **more}
    if budget_mib is not None:
        top["memory_budget"] = f"{budget_mib}MiB"
    return json.dumps(top)


def loaded(s):
    return {m["name"] for m in s.status()["memory"]["models"] if m["state"] == "loaded"}


def of(s, name):
    return next(m for m in s.status()["memory"]["models"] if m["name"] == name)


def pss(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def workers(s):
    """All of them, also those that are starting or ending."""
    found = []
    for pid in quern.children(s.process.pid):
        try:
            if quern.proc_status(pid).get("Name", "").startswith("quern-work"):
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


class Watch:
    """Looks at the memory of all workers as often as it can."""

    def __init__(self, s):
        self.s, self.most, self.stop = s, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            self.most = max(self.most, sum(pss(p) for p in workers(self.s)))
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def ask(s, name, timeout=60.0, **headers):
    began = time.monotonic()
    with s.client(timeout) as c:
        r = c.request("POST", "/predict", quern.predict_body(name, [1, 2, 3]))
    return r, time.monotonic() - began


def test_first_request_loads_and_metadata_needs_no_load_the_next_time(serve, tmp_path):
    text = config(models(["a"]))
    s = serve(config=text, data=tmp_path / "data")
    assert s.get("/v2/health/ready").status == 200, "an unloaded model is no reason not to be ready"
    assert s.get("/v2/models/a/ready").status == 200
    assert s.model("a")["state"] == "unloaded" and s.processes("worker") == []
    index = s.post("/v2/repository/index", b"").json()
    assert [(m["name"], m["state"]) for m in index] == [("a", "UNAVAILABLE")]
    stats = s.get("/v2/models/a/stats").json()["model_stats"][0]
    assert stats["memory_usage"] == []
    r, took = ask(s, "a")
    assert r.status == 200 and r.json()["data"]["prediction"] == [1, 2, 3]
    assert took >= LOAD_MS / 1000
    m = wait_until(lambda: s.model("a")["memory"]["measured"] and s.model("a"), 5, "measured")
    assert m["state"] == "ready" and m["load"] == "on-demand" and m["memory"]["loads"] == 1
    assert 20 * MIB < m["memory"]["need_bytes"] < (20 + SLACK_MIB) * MIB
    assert m["memory"]["load_ms"] >= LOAD_MS
    stats = s.get("/v2/models/a/stats").json()["model_stats"][0]
    assert stats["memory_usage"] == [{"type": "CPU", "id": 0, "byte_size": m["memory"]["need_bytes"]}]
    metrics = s.get("/metrics").body.decode()
    assert 'quern_model_loads_total{model="a",version="1"} 1' in metrics
    s.close()
    s = serve(config=text, data=tmp_path / "data")
    remembered = s.model("a")["memory"]
    assert remembered["measured"] and not remembered["loaded"] and remembered["need_bytes"] == m["memory"]["need_bytes"]
    described = s.get("/v2/models/a").json()
    assert described["inputs"] == [{"name": "INPUT0", "datatype": "FP32", "shape": [-1, -1]}]
    assert described["versions"] == ["1"]
    assert s.model("a")["state"] == "unloaded", "telling what it looks like loads nothing"


def test_metadata_of_a_model_that_nobody_knows_yet_loads_it(serve):
    s = serve(config=config(models(["a"])))
    assert s.get("/v2/models/a").json()["name"] == "a"
    assert s.model("a")["state"] == "ready"


def test_many_first_requests_are_one_load(serve):
    s = serve(config=config(models(["a"], load_ms=300)), threads=2)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: ask(s, "a")[0].status, range(40)))
    assert answers == [200] * 40
    wait_until(lambda: of(s, "a")["loads"] == 1, 5, "one load")


def test_every_protocol_waits(serve):
    s = serve(config=config({**models(["a"], load_ms=50), **models(["b"], load_ms=50), **models(["c"], load_ms=50)}))
    v2 = s.post("/v2/models/a/infer", json.dumps(infer_body([1.0, 2.0])).encode())
    assert v2.status == 200 and v2.json()["outputs"][0]["data"] == [1, 2]
    binary = s.post("/v2/models/b/infer", bytes(8), [("inference-header-content-length", "0")])
    assert binary.status == 200
    assert s.get("/v2/models/c/config").json()["name"] == "c"


def test_round_robin_over_three_times_the_budget(serve):
    """Nine models, room for three: all are answered, memory stays below the budget, waits are bounded."""
    names = [f"m{i}" for i in range(9)]
    budget = 3 * (20 + SLACK_MIB) + SLACK_MIB
    s = serve(config=config(models(names), budget))
    waits = []
    for name in names:  # what was never measured is guessed
        assert ask(s, name)[0].status == 200
    with Watch(s) as watch:
        for round in range(3):
            for name in names:
                r, took = ask(s, name)
                assert r.status == 200, r
                waits.append(took)
    assert watch.most > 30 * MIB, "the watch saw them"
    assert watch.most < budget * MIB, f"{watch.most / MIB:.0f} MiB of {budget}"
    # A load is at least LOAD_MS; a model stays for three loads, and is idle for one, before it goes.
    assert max(waits) < 8, f"longest wait {max(waits):.1f} s, median {percentile(waits, 50):.2f} s"
    memory = s.status()["memory"]
    assert memory["budget_bytes"] == budget * MIB and memory["held_bytes"] + memory["program_bytes"] <= budget * MIB
    assert sum(m["unloads"] for m in memory["models"]) >= 15
    assert "model is unloaded" in s.output()[1] and "to make room for" in s.output()[1]


def test_concurrent_requests_of_models_that_do_not_fit_together_go_in_rounds(serve):
    """Two models, room for one, both always wanted: they take turns, and nobody is refused or starves."""
    s = serve(config=config(models(["a", "b"], load_ms=50, memory=f"{20 + SLACK_MIB}MiB"), 20 + 2 * SLACK_MIB))
    answered, slowest, end = {"a": 0, "b": 0}, {"a": 0.0, "b": 0.0}, time.monotonic() + 5

    def client(name):
        with s.client(60) as c:
            while time.monotonic() < end:
                began = time.monotonic()
                r = c.request("POST", "/predict", quern.predict_body(name, [1]))
                assert r.status == 200, r
                answered[name] += 1
                slowest[name] = max(slowest[name], time.monotonic() - began)
        return True

    with Watch(s) as watch, concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(client, ["a", "b", "a", "b"]))
    loads = sum(m["loads"] for m in s.status()["memory"]["models"])
    assert 2 < loads < 60, loads
    assert min(answered.values()) > 20 * loads, f"rounds, not requests: {answered} in {loads} loads"
    assert max(slowest.values()) < 5, slowest
    assert watch.most < (20 + 2 * SLACK_MIB) * MIB


def test_a_busy_model_is_drained_not_cut_off(serve):
    slow = models(["slow"], load_ms=20, parameters={"execute_delay_ms": "800"})
    slow["slow"]["path"] = "builtin:delay"
    s = serve(config=config({**slow, **models(["b"], load_ms=20)}, 20 + 2 * SLACK_MIB))
    assert ask(s, "slow")[0].status == 200
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, s, "slow")
        time.sleep(0.3)
        second = pool.submit(ask, s, "b")
        assert first.result()[0].status == 200
        assert second.result()[0].status == 200
    wait_until(lambda: loaded(s) == {"b"}, 5, "one in the place of the other")


def test_always_stays_and_what_cannot_fit_says_why(serve):
    both = {**models(["keep"], load="always"), **models(["a", "b"], mib=20), **models(["huge"], mib=200)}
    s = serve(config=config(both, 2 * (20 + SLACK_MIB) + SLACK_MIB))
    for name in ("a", "b", "a"):
        assert ask(s, name)[0].status == 200
    wait_until(lambda: {"keep", "a"} <= loaded(s), 5, "what was asked for last")
    assert s.model("keep")["memory"]["unloads"] == 0
    r, _ = ask(s, "huge")  # what it needs is not known before it was tried
    assert r.status == 503, r
    text = r.json()["message"]
    assert "huge" in text and "needs" in text and "keep" in text and "memory_budget" in text, text
    assert "memory_budget" in r.json()["remedy"]
    assert ask(s, "a")[0].status == 200, "the others are served"
    assert s.pids("worker", "keep") and s.get("/v2/health/ready").status == 200


def test_an_always_model_without_room_fails_with_the_reason(serve):
    s = serve(config=config({**models(["one"], load="always"), **models(["two"], mib=60, load="always")}, 30 + 2 * SLACK_MIB), wait=False)
    wait_until(lambda: s.status() and any(m["state"] == "failed" for m in s.status()["models"]), 20, "one has failed")
    s.wait_ready()
    failed = next(m for m in s.status()["models"] if m["state"] == "failed")
    assert "memory_budget" in failed["reason"] and "needs" in failed["reason"], failed
    assert s.predict("one", [1]).status == 200


def test_unload_after(serve):
    s = serve(config=config(models(["a"], load_ms=0, unload_after="500ms")))
    assert ask(s, "a")[0].status == 200
    wait_until(lambda: s.model("a")["state"] == "unloaded" and not workers(s), 10, "unloaded")
    assert "unload_after" in of(s, "a")["why"]
    assert ask(s, "a")[0].status == 200
    wait_until(lambda: of(s, "a")["loads"] == 2, 5, "loaded again")


def test_limits_of_waiting(serve):
    s = serve(config=config(models(["a"], load_ms=1500, queue_max=3)))
    limited = {**infer_body([1.0]), "parameters": {"timeout": 200_000}}
    began = time.monotonic()
    r = s.post("/v2/models/a/infer", json.dumps(limited).encode())
    assert r.status == 503 and time.monotonic() - began < 1, r
    assert int(r.headers["retry-after"]) >= 1
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # it is being loaded meanwhile
        answers = [f.result() for f in [pool.submit(ask, s, "a") for _ in range(8)]]
    statuses = sorted(r.status for r, _ in answers)
    assert statuses == [200] * 3 + [503] * 5, statuses
    refused = next(r for r, _ in answers if r.status == 503)
    assert "queue_max" in refused.json()["message"] and int(refused.headers["retry-after"]) >= 1
    # The load time is known now: what cannot be in time is refused at once, and still starts the load.
    assert s.post("/v2/repository/models/a/unload", b"").status == 200
    wait_until(lambda: s.model("a")["state"] == "unloaded" and not workers(s), 10, "unloaded")
    limited["parameters"]["timeout"] = 1_000_000
    began = time.monotonic()
    r = s.post("/v2/models/a/infer", json.dumps(limited).encode())
    assert r.status == 503 and time.monotonic() - began < 0.8, "not after its timeout"
    assert int(r.headers["retry-after"]) == 2, "as long as loading takes"
    wait_until(lambda: s.model("a")["state"] == "ready", 10, "loaded for those who come back")


def test_clients_that_go_away_leave_nothing_waiting(serve):
    s = serve(config=config(models(["a"], load_ms=700)))
    for _ in range(5):
        c = s.client()
        c.send(quern.encode("POST", "/predict", quern.predict_body("a", [1])))
        wait_until(lambda: s.model("a")["memory"]["waiting"] > 0, 5, "it waits")
        c.close()
        wait_until(lambda: s.model("a")["memory"]["waiting"] == 0, 5, "none waits")
    wait_until(lambda: s.model("a")["state"] == "ready", 10, "loaded all the same")
    assert ask(s, "a")[0].status == 200


def test_others_do_not_wait_for_a_load(serve):
    s = serve(config=config({**models(["slow"], load_ms=1500), "fast": "builtin:identity"}))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ask, s, "slow")
        time.sleep(0.1)
        took = [ask(s, "fast")[1] for _ in range(50)]
        assert not loading.done()
        assert percentile(took, 50) < 0.1, percentile(took, 50)
        assert loading.result()[0].status == 200


def test_kill_9_while_loading_costs_time_only(serve):
    s = serve(config=config(models(["a"], load_ms=400), 40 + 2 * SLACK_MIB))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, s, "a")
        for _ in range(2):
            pid = wait_until(lambda: next(iter(workers(s)), None), 10, "a worker that loads")
            time.sleep(0.1)
            kill(pid)
            within(lambda: not quern.is_alive(pid), 5, "its end")
        assert waiting.result()[0].status == 200
    wait_until(lambda: of(s, "a")["state"] == "loaded", 5, "loaded")


def test_a_new_version_while_requests_wait_for_the_one_before(serve):
    def of_version(version):
        m = models(["a"], load_ms=600)
        m["a"]["version"] = version
        return config(m, 40 + 2 * SLACK_MIB)
    s = serve(config=of_version("1"))
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(ask, s, "a") for _ in range(4)]
        wait_until(lambda: workers(s), 10, "a worker that loads")
        others = pool.submit(lambda: [s.get("/v2/models/a").status for _ in range(200)])
        s.write_config(of_version("2"))
        s.reload()
        assert [w.result()[0].status for w in waiting] == [200] * 4
        assert 404 not in others.result()
    assert s.model("a")["version"] == "2"


def test_one_that_cannot_be_loaded_fails_and_is_tried_again(serve, tmp_path):
    bad = tmp_path / "m.onnx"
    bad.write_bytes(b"this is no model")
    s = serve(config=json.dumps({"models": {"m": {"path": str(bad), "load": "on-demand"}}}))
    r, _ = ask(s, "m")
    assert r.status == 503 and "m" in r.json()["message"], r
    assert ask(s, "m")[0].status == 503
    wait_until(lambda: s.model("m")["state"] == "unloaded", 10, "it may be tried again")
    assert "failed" in of(s, "m")["why"]


@pytest.mark.onnx
def test_a_file_that_changed_while_unloaded_is_loaded_as_it_is_now(serve, tmp_path):
    file = tmp_path / "m.onnx"
    file.write_bytes((quern.DATA / "iris.onnx").read_bytes())
    s = serve(config=json.dumps({"models": {"m": {"path": str(file), "load": "on-demand", "unload_after": "300ms"}}}))
    assert s.predict("m", [5.1, 3.5, 1.4, 0.2]).status == 200
    wait_until(lambda: s.model("m")["state"] == "unloaded" and not workers(s), 10, "unloaded")
    file.write_bytes((quern.DATA / "mlp.onnx").read_bytes())
    assert s.predict("m", [0.5] * 4).status == 200
    assert [t["name"] for t in s.get("/v2/models/m").json()["inputs"]] == ["x"], "iris.onnx calls it X"
    assert "file has changed" in s.output()[1]


def test_reload_while_unloaded_and_while_loaded(serve):
    s = serve(config=config(models(["a"], load_ms=20)))
    s.write_config(config(models(["a"], load_ms=20, parameters={"dims": "3"})))
    s.reload()
    assert s.model("a")["state"] == "unloaded" and workers(s) == []
    assert ask(s, "a")[0].status == 200
    assert s.get("/v2/models/a").json()["inputs"][0]["shape"] == [-1, 3], "the new one"
    s.write_config(config(models(["a"], load_ms=20, parameters={"dims": "-1"})))
    s.reload()
    wait_until(lambda: s.get("/v2/models/a").json()["inputs"][0]["shape"] == [-1, -1], 10, "the newer one")
    assert s.model("a")["state"] == "ready", "what was loaded stays so"
    s.write_config(config(models(["a"], load_ms=20, parameters={"dims": "-1"}, load="always")))
    s.reload()
    assert ask(s, "a")[0].status == 200
    wait_until(lambda: of(s, "a")["load"] == "always", 5, "always now")


def reloaded(names, dims, load_ms):
    return models(names, load_ms=load_ms, memory=f"{20 + SLACK_MIB}MiB", parameters={"dims": dims})


def test_others_wait_for_a_roll_out_that_takes_their_room(serve):
    budget = 2 * (20 + SLACK_MIB) + SLACK_MIB
    s = serve(config=config({**reloaded(["a"], "-1", 1000), **models(["b"])}, budget))
    for name in ("b", "a"):
        assert ask(s, name)[0].status == 200
    s.write_config(config({**reloaded(["a"], "3", 1000), **models(["b"])}, budget))
    s.reload()
    wait_until(lambda: loaded(s) == {"a"} and len(workers(s)) == 2, 10, "both lives of a")
    r, _ = ask(s, "b")  # neither may go now, and one of them will
    assert r.status == 200, r
    wait_until(lambda: s.get("/v2/models/a").json()["inputs"][0]["shape"] == [-1, 3], 10, "the new one")


def test_two_roll_outs_that_do_not_fit_do_not_wait_for_each_other(serve):
    budget = 2 * (20 + SLACK_MIB) + 10
    s = serve(config=config(reloaded(["a", "b"], "-1", 200), budget))
    for name in ("a", "b"):
        assert ask(s, name)[0].status == 200
    wait_until(lambda: loaded(s) == {"a", "b"}, 10, "both")
    s.write_config(config(reloaded(["a", "b"], "3", 200), budget))
    s.reload()
    for name in ("a", "b"):
        wait_until(lambda name=name: s.get(f"/v2/models/{name}").json()["inputs"][0]["shape"] == [-1, 3], 20, f"the new {name}")
        assert ask(s, name)[0].status == 200
    assert not s.status()["last_error"], s.status()["last_error"]


def test_a_smaller_budget_by_reload_unloads(serve):
    names = ["a", "b", "c"]
    s = serve(config=config(models(names, load_ms=10), 3 * (20 + SLACK_MIB) + SLACK_MIB))
    for name in names:
        assert ask(s, name)[0].status == 200
    wait_until(lambda: loaded(s) == set(names), 5, "all of them")
    s.write_config(config(models(names, load_ms=10), 20 + 2 * SLACK_MIB))
    s.reload()
    within(lambda: len(loaded(s)) == 1, 10, "one is left")


def ensemble(members):
    steps, tensor = {}, "x"
    for i, member in enumerate(members):
        steps[f"s{i}"] = {"model": member, "inputs": {"INPUT0": tensor}, "outputs": {"OUTPUT0": f"t{i}"}}
        tensor = f"t{i}"
    return {"ensemble": {"inputs": ["x"], "outputs": [tensor], "steps": steps}}


def test_members_of_an_ensemble_are_loaded_together(serve):
    all_models = {**models(["a", "b", "c"], load_ms=50, parameters={"dims": "2"}), "pair": ensemble(["a", "b"])}
    s = serve(config=config(all_models, 2 * (20 + SLACK_MIB) + SLACK_MIB), threads=2)
    body = json.dumps(infer_body([1.0, 2.0], name="x")).encode()
    r = s.post("/v2/models/pair/infer", body)
    assert r.status == 200 and r.json()["outputs"][0]["data"] == [1, 2], r
    wait_until(lambda: loaded(s) == {"a", "b"}, 5, "both members")
    assert s.post("/v2/models/c/infer", json.dumps(infer_body([1.0, 2.0])).encode()).status == 200
    wait_until(lambda: "c" in loaded(s) and len(loaded(s)) == 2, 5, "a member had to go")
    assert s.model("pair")["state"] == "unloaded"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # both ways at once, again and again
        single = json.dumps(infer_body([1.0, 2.0])).encode()
        asked = ["/v2/models/pair/infer", "/v2/models/c/infer"] * 12
        answers = list(pool.map(lambda p: s.post(p, body if "pair" in p else single).status, asked))
    assert answers == [200] * 24, answers


def test_an_ensemble_that_can_never_fit_says_so(serve):
    members = models(["a", "b"], load_ms=10, memory=f"{20 + SLACK_MIB}MiB", parameters={"dims": "2"})
    s = serve(config=config({**members, "pair": ensemble(["a", "b"])}, 20 + 2 * SLACK_MIB))
    for name in ("a", "b"):  # their needs are known then
        assert s.post(f"/v2/models/{name}/infer", json.dumps(infer_body([1.0, 2.0])).encode()).status == 200
    r = s.post("/v2/models/pair/infer", json.dumps(infer_body([1.0, 2.0], name="x")).encode())
    assert r.status == 503 and "other members" in r.json()["error"], r


def test_load_and_unload_by_request(serve):
    s = serve(config=config(models(["a"], load_ms=100)))
    assert s.post("/v2/repository/models/a/load", b"").status == 200
    assert s.model("a")["state"] == "ready"
    assert s.post("/v2/repository/models/a/load", b"").status == 200, "it is loaded already"
    assert s.post("/v2/repository/models/a/unload", b"").status == 200
    within(lambda: s.model("a")["state"] == "unloaded", 5, "unloaded")
    assert s.post("/v2/repository/models/a/unload", b"").status != 200
    assert ask(s, "a")[0].status == 200


def test_repository_in_mode_explicit(serve, tmp_path):
    """What an operator loads is loaded, on demand or not; what was not loaded is not known."""
    for name in ("a", "b"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1/model.onnx").write_bytes((quern.DATA / "iris.onnx").read_bytes())
    s = serve(config=json.dumps({"repository": {"path": str(tmp_path), "mode": "explicit"}, "models": {"a": {"load": "on-demand"}}}))
    if not quern.engine()["installed"]:
        pytest.skip("ONNX Runtime is not installed")
    assert s.predict("a", [5.1, 3.5, 1.4, 0.2]).status == 404
    assert s.post("/v2/repository/models/a/load", b"").status == 200
    assert s.model("a")["state"] == "ready"
    assert s.post("/v2/repository/models/a/unload", b"").status == 200
    wait_until(lambda: s.predict("a", [5.1, 3.5, 1.4, 0.2]).status == 404, 5, "not known any more")


def test_edge_killed_while_requests_wait(serve):
    s = serve(config=config(models(["a"], load_ms=800), 20 + 2 * SLACK_MIB))
    c = s.client()
    c.send(quern.encode("POST", "/predict", quern.predict_body("a", [1])))
    wait_until(lambda: workers(s), 5, "it loads")
    kill(s.pids("edge")[0])
    wait_until(lambda: s.pids("edge"), 10, "a new edge")
    assert ask(s, "a")[0].status == 200
    assert of(s, "a")["loads"] == 1, "the load went on"
    c.close()


def test_a_worker_killed_while_it_serves_stays_in_its_place(serve):
    s = serve(config=config(models(["a"], load_ms=20), 20 + 2 * SLACK_MIB))
    assert ask(s, "a")[0].status == 200
    kill(wait_until(lambda: s.pids("worker"), 5, "the worker")[0])
    assert ask(s, "a")[0].status == 200
    assert of(s, "a")["loads"] == 1


def test_cycles_leave_nothing_behind(serve):
    cycles = 60 if quern.IS_SANITIZED else 200
    s = serve(config=config(models(["a", "b"], mib=8, load_ms=0), 8 + 2 * SLACK_MIB))
    family = [s.master_pid, s.pids("edge")[0]]

    def held():
        rss = [int(quern.proc_status(p)["VmRSS"].split()[0]) for p in family]
        return rss, [len(list(pathlib.Path(f"/proc/{p}/fd").iterdir())) for p in family]

    def turn(n):
        for i in range(n):
            assert s.post(f"/v2/repository/models/{'ab'[i % 2]}/load", b"").status == 200
            assert s.predict("ab"[i % 2], [1]).status == 200
            s.post(f"/v2/repository/models/{'ab'[i % 2]}/unload", b"")

    turn(20)
    within(lambda: not workers(s), 10, "none is left")
    before, fds = held()
    turn(cycles)
    within(lambda: not workers(s), 10, "none is left")
    wait_until(lambda: held()[1] <= fds, 5, f"no more descriptors than {fds}")
    if not quern.IS_SANITIZED:
        grown = [a - b for a, b in zip(held()[0], before)]
        assert max(grown) < 2048, f"KiB that master and edge grew by in {cycles} cycles: {grown}"


def test_stopping_waits_for_no_load(serve):
    s = serve(config=config(models(["a"], load_ms=20_000)))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, s, "a")
        wait_until(lambda: workers(s), 5, "it loads")
        s.signal(signal.SIGTERM)
        assert waiting.result()[0].status == 503
    assert s.process.wait(5) == 0


def test_status_shows_it(serve):
    s = serve(config=config(models(["a", "b"], load_ms=10), 64 + 2 * SLACK_MIB))
    assert ask(s, "a")[0].status == 200
    text = quern.cli("status", "--data", s.data).stdout
    assert "Memory" in text and "on-demand" in text, text
    assert s.api()["memory"]["budget_bytes"] == (64 + 2 * SLACK_MIB) * MIB
    s.signal(signal.SIGTERM)
    assert s.process.wait(10) == 0
