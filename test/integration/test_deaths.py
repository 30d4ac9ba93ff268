"""What a death costs: each line of the table in docs/faults.md, with a real kill -9 under load."""

import os
import pathlib
import shutil
import signal
import time

import pytest

import quern
from quern import SLOW, Load, expect_prediction, kill, predict_body, wait_until, within


def requests_of(model, n=8):
    """Different rows, so that an answer to another request is noticed."""
    return [
        ("/predict", predict_body(model, [k, k + 0.5, -k]), expect_prediction([k, k + 0.5, -k])) for k in range(1, n + 1)
    ]


@pytest.mark.parametrize("instances", [1, 2])
def test_worker_killed_every_200_ms_costs_no_request(serve, instances):
    config = f"""
models:
  echo: {{path: "builtin:identity", instances: {instances}, parameters: {{execute_delay_ms: "3"}}}}
"""
    s = serve(config=config)
    killed = []
    with Load(s, requests_of("echo"), connections=6, enough=100) as load:
        end = time.monotonic() + 60
        while len(killed) < 20 and time.monotonic() < end:
            time.sleep(0.2)
            pids = [p for p in s.pids("worker", "echo") if p not in killed]
            if pids:
                kill(pids[0])
                killed.append(pids[0])
    assert load.failures == []
    assert len(killed) == 20
    assert load.ok > 100
    restarts = lambda: sum(p["restarts"] for p in s.processes("worker"))
    wait_until(lambda: restarts() >= len(killed), 5, f"{len(killed)} restarts counted")
    wait_until(lambda: s.model("echo")["instances_ready"] == instances, 5, "all instances again")


@pytest.mark.onnx
def test_worker_of_an_engine_killed_even_while_it_loads_costs_no_request(serve):
    """In turns one that serves and its successor as soon as it is seen; never two that load: a model that does not get ready is given up, and rightly so."""
    s = serve(quern.DATA / "iris.onnx")
    killed = {"ready": 0, "starting": 0}

    def kill_one(state):
        end = time.monotonic() + 1
        while time.monotonic() < end:
            (p,) = s.processes("worker")
            if p["pid"] and p["state"] == state:
                kill(p["pid"])
                killed[state] += 1
                return p["pid"]
            time.sleep(0.0005)

    flower = [("/predict", predict_body("iris", [5.1, 3.5, 1.4, 0.2]), expect_prediction(0))]
    with Load(s, flower, connections=4, enough=50) as load:
        end = time.monotonic() + 60
        while (killed["ready"] < 12 or killed["starting"] < 4) and time.monotonic() < end:
            time.sleep(0.1)
            kill_one("ready")
            kill_one("starting")
            wait_until(lambda: s.pids("worker"), 10, "a worker that is ready", every=0.002)
    assert load.failures == [] and load.ok > 50
    assert killed["ready"] >= 12 and killed["starting"] >= 4, killed


def stem_of(s):
    """One that is ready: it is opened behind the first worker."""
    wait_until(lambda: s.pids("stem"), 10, "a stem")
    (pid,) = s.pids("stem")
    return pid


def started_at(pid):
    """In clock ticks since the machine started."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


@pytest.mark.onnx
def test_who_waits_for_a_stem(serve):
    """One worker to start does not: the stem comes behind it, and the next worker from the stem. Of several, all do."""
    one = serve(quern.DATA / "iris.onnx")
    (worker,) = one.pids("worker")
    stem = stem_of(one)
    assert started_at(worker) < started_at(stem)
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in (worker, stem)} == {os.getpriority(os.PRIO_PROCESS, 0)}
    kill(worker)
    wait_until(lambda: one.pids("worker") not in ([], [worker]), 10, "the worker again")
    assert os.getpriority(os.PRIO_PROCESS, one.pids("worker")[0]) == os.getpriority(os.PRIO_PROCESS, 0)
    maps = [{row.split()[0] for row in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines() if "libonnxruntime" in row}
            for pid in (stem, one.pids("worker")[0])]
    assert maps[0] == maps[1], "not forked from the stem: the engine lies elsewhere"
    one.close()
    two = serve(config=f"models: {{a: {quern.DATA / 'iris.onnx'}, b: {quern.DATA / 'mlp.onnx'}}}")
    workers = two.pids("worker")
    assert len(workers) == 2 and all(started_at(stem_of(two)) <= started_at(w) for w in workers)


@pytest.mark.onnx
def test_stem_killed_costs_nothing(serve):
    """The process that has the engine open: its workers go on, it comes back, and a worker that dies meanwhile starts without it."""
    s = serve(quern.DATA / "iris.onnx")
    stem, (worker,) = stem_of(s), s.pids("worker")
    flower = [("/predict", predict_body("iris", [5.1, 3.5, 1.4, 0.2]), expect_prediction(0))]
    with Load(s, flower, connections=4, enough=20) as load:
        kill(stem)
        wait_until(lambda: s.pids("stem") not in ([], [stem]), 10, "another one")
        assert s.pids("worker") == [worker]
        kill(s.pids("stem")[0])
        kill(worker)
        wait_until(lambda: s.pids("worker") not in ([], [worker]), 10, "the worker again")
    assert load.failures == [] and load.ok > 20
    assert [c["role"] for c in s.status()["crashes"]].count("stem") == 2


@pytest.mark.onnx
def test_stem_frozen_while_a_worker_is_wanted(serve):
    s = serve(quern.DATA / "iris.onnx")
    stem, (worker,) = stem_of(s), s.pids("worker")
    os.kill(stem, signal.SIGSTOP)
    kill(worker)
    assert s.predict("iris", [5.1, 3.5, 1.4, 0.2]).status == 200
    wait_until(lambda: s.pids("stem") not in ([], [stem]), 10, "a stem that answers")


@pytest.mark.onnx
def test_stem_of_an_engine_whose_file_was_replaced(serve, tmp_path):
    """The next worker gets the engine that is installed now."""
    place = pathlib.Path(os.environ.get("QUERN_ENGINE_DIR", pathlib.Path.home() / ".local/share/quern/engines"))
    if not (place / "onnxruntime").exists():
        pytest.skip("the engine lies elsewhere")
    shutil.copytree(place / "onnxruntime", tmp_path / "engines/onnxruntime")
    s = serve(quern.DATA / "iris.onnx", env={"QUERN_ENGINE_DIR": str(tmp_path / "engines")})
    stem, (worker,) = stem_of(s), s.pids("worker")
    (library,) = (tmp_path / "engines").rglob("*.so*")
    shutil.copy(library, tmp_path / "new")
    (tmp_path / "new").rename(library)
    kill(worker)
    wait_until(lambda: s.pids("worker") not in ([], [worker]), 10, "the worker again")
    assert s.predict("iris", [5.1, 3.5, 1.4, 0.2]).status == 200
    wait_until(lambda: s.pids("stem") != [stem], 10, "the end of the old stem")
    kill(s.pids("worker")[0])
    wait_until(lambda: s.pids("stem"), 10, "a stem of the new file")
    assert s.status()["crashes"] == [] or all(c["role"] == "worker" for c in s.status()["crashes"])


@pytest.mark.onnx
def test_without_stems(serve):
    s = serve(config=f"warm_engines: false\nmodels: {{iris: {quern.DATA / 'iris.onnx'}}}")
    assert s.processes("stem") == []
    kill(s.pids("worker")[0])
    assert s.predict("iris", [5.1, 3.5, 1.4, 0.2]).status == 200
    s.write_config(f"warm_engines: true\nmodels: {{iris: {{path: {quern.DATA / 'iris.onnx'}, queue_max: 99}}}}")
    s.reload()
    wait_until(lambda: s.pids("stem"), 10, "a stem")


@pytest.mark.onnx
def test_model_that_was_ready_is_not_given_up_however_often_it_is_killed(serve):
    """Memory is short, say, and the kernel kills it again and again while it loads."""
    s = serve(quern.DATA / "iris.onnx")
    for _ in range(7):
        (worker,) = wait_until(lambda: [p["pid"] for p in s.processes("worker") if p["pid"]], 10, "a worker", every=0.001)
        kill(worker)
        wait_until(lambda: s.processes("worker")[0]["pid"] != worker, 5, "its end in the status", every=0.001)
    r = s.predict("iris", [5.1, 3.5, 1.4, 0.2])  # waits for it
    assert r.status == 200, r
    assert s.processes("worker")[0]["restarts"] == 7


def test_worker_killed_in_the_middle_of_a_run_costs_the_request_only_time(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "400"}}}')
    (pid,) = s.pids("worker")
    with s.client() as c:
        c.send(quern.encode("POST", "/predict", predict_body("slow", [7, 8])))
        time.sleep(0.2)
        kill(pid)
        r = c.receive()
    assert r.status == 200, r
    assert r.json()["data"]["prediction"] == [7, 8]


def test_worker_killed_leaves_a_report(serve):
    s = serve("builtin:identity")
    (pid,) = s.pids("worker")
    kill(pid)
    report = wait_until(lambda: s.status()["crashes"], 5, "a crash report")[0]
    assert report["pid"] == pid and report["role"] == "worker" and report["model"] == "identity"
    assert report["signal"] == signal.SIGKILL
    wait_until(lambda: s.pids("worker"), 5, "a new worker")
    assert s.pids("worker") != [pid]


def test_edge_killed_serves_again_within_100_ms_and_models_stay_loaded(serve):
    s = serve("builtin:identity")
    workers = s.pids("worker")
    took = []
    for _ in range(5):
        (edge,) = wait_until(lambda: s.pids("edge"), 5, "an edge")
        address = s.address
        kill(edge)
        began = time.monotonic()
        while True:
            try:
                with quern.Client(address, 2) as c:
                    r = c.request("POST", "/predict", predict_body("identity", [1, 2]))
            except OSError:
                assert time.monotonic() < began + 5, "no answer from a new edge"
                continue
            # A new edge may say "not yet"; "no such model" would be a lie, and clients give up on it.
            assert r.status in (200, 503), r
            if r.status == 200:
                break
        took.append(time.monotonic() - began)
        wait_until(lambda: s.pids("edge") not in ([], [edge]), 5, "the new edge in the status")
        time.sleep(0.15)  # a life longer than 100 ms: no back-off
    assert min(took) < 0.1 * SLOW, took
    assert s.pids("worker") == workers, "models were loaded again"


def test_edge_killed_under_load_breaks_only_its_connections(serve):
    s = serve("builtin:identity", threads=2)
    with Load(s, requests_of("identity"), connections=4, reconnect=True, enough=100) as load:
        for _ in range(3):
            time.sleep(0.4)
            for pid in s.pids("edge"):
                kill(pid)
        time.sleep(0.6)
    wrong = [f for f in load.failures if not f.startswith("503")]
    assert wrong == []
    assert load.ok > 100
    assert load.broken >= 4, "the kills hit nothing"
    report = s.status()["crashes"][0]
    assert report["role"] == "edge"


def test_edge_killed_while_a_request_runs_leaves_the_worker_usable(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "300"}}}')
    workers = s.pids("worker")
    with s.client() as c:
        c.send(quern.encode("POST", "/predict", predict_body("slow", [1, 2])))
        time.sleep(0.1)
        kill(s.pids("edge")[0])
        with pytest.raises(OSError):
            c.receive()

    def answered():
        try:
            return s.predict("slow", [3, 4]).status == 200
        except OSError:
            return False

    wait_until(answered, 5, "an answer through the new edge")
    assert s.pids("worker") == workers


def test_edge_and_worker_killed_together(serve):
    s = serve("builtin:identity")
    for pid in s.pids("worker") + s.pids("edge"):
        kill(pid)

    def answered():
        try:
            return s.predict("identity", [1]).status == 200
        except OSError:
            return False

    wait_until(answered, 5, "an answer")


def test_master_killed_ends_its_children_and_the_next_start_is_clean(serve, tmp_path):
    s = serve("builtin:identity", data=tmp_path / "data")
    family = s.pids("edge") + s.pids("worker")
    assert len(family) == 2
    with Load(s, requests_of("identity"), connections=2, reconnect=True):
        time.sleep(0.2)
        kill(s.master_pid)
        within(lambda: not any(quern.is_alive(p) for p in family), 1.0 * SLOW, "the children's end")
    s.process.wait(5)
    assert quern.cli("status", "--data", tmp_path / "data").returncode == quern.EXIT_NOT_RUNNING
    again = serve("builtin:identity", data=tmp_path / "data")
    assert again.predict("identity", [5]).status == 200
    assert again.process.poll() is None


def test_master_killed_while_a_run_hangs_ends_the_worker_too(serve):
    s = serve(config='models: {bad: {path: "builtin:crash", parameters: {how: hang}}}')
    (worker,) = s.pids("worker")
    with s.client() as c:
        c.send(quern.encode("POST", "/predict", predict_body("bad", [666])))
        time.sleep(0.2)
        kill(s.master_pid)
        within(lambda: not quern.is_alive(worker), 1.0 * SLOW, "the hanging worker's end")


def test_every_process_killed_at_once_leaves_the_data_directory_usable(serve, tmp_path):
    s = serve("builtin:identity", data=tmp_path / "data")
    for pid in [s.master_pid] + s.pids("edge") + s.pids("worker"):
        kill(pid)
    s.process.wait(5)
    again = serve("builtin:identity", data=tmp_path / "data")
    assert again.predict("identity", [5]).status == 200


@pytest.mark.onnx
def test_random_numbers_start_anew_after_a_death(serve):
    """Workers of one engine come from one process: none repeats what another has drawn."""
    s = serve(quern.DATA / "bad_random.onnx")
    drawn = []
    for _ in range(3):
        worker = s.pids("worker")
        kill(worker[0])
        wait_until(lambda: s.pids("worker") not in ([], worker), 10, "the worker again")
        drawn.append({x for _ in range(20) for x in s.predict("bad_random", [0, 0, 0, 0]).json()["data"]["prediction"]})
        assert len(drawn[-1]) == 80
    assert not drawn[0] & drawn[1] and not drawn[1] & drawn[2]
