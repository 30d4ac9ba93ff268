"""Model folders: Triton's layout, versions side by side, what happens when they change."""

import base64
import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time

import pytest

import quern
from quern import Load, expect_prediction, predict_body, wait_until, within

SLOW = quern.SLOW
FLOWER = [5.1, 3.5, 1.4, 0.2]
OLD, NEW = 0, "setosa"  # what iris.onnx and iris_names.onnx say of the flower


def put(folder, version, name="iris.onnx", file="model.onnx"):
    """At once, as a deployment should do it."""
    aside = folder / f".{version}.new"
    aside.mkdir(parents=True)
    shutil.copy(quern.DATA / name, aside / file)
    aside.rename(folder / str(version))


def infer_body():
    return json.dumps({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": FLOWER}]})


def answer(server, model="m"):
    r = server.predict(model, FLOWER)
    return r.json()["data"]["prediction"] if r.status == 200 else r.status


def versions(server, model="m"):
    return server.get(f"/v2/models/{model}").json()["versions"]


# ---- layout and policies ----


@pytest.mark.onnx
def test_versions_are_served_side_by_side_and_the_greatest_answers(serve, tmp_path):
    put(tmp_path / "m", 2)
    put(tmp_path / "m", 10, "iris_names.onnx")
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", versions: all, labels: {{stable: 2}}}}}}')
    assert versions(s) == ["2", "10"]
    assert answer(s) == NEW
    assert s.get("/v2/models/m/versions/2/ready").status == 200
    assert s.get("/v2/models/m/versions/3/ready").status in (400, 404)
    of_stable = s.get("/v2/models/m/versions/stable").json()
    of_two = s.get("/v2/models/m/versions/2").json()
    assert of_stable == of_two != s.get("/v2/models/m").json()
    assert s.get("/v2/models/m/versions/unstable").status == 404
    assert {m["version"] for m in s.status()["models"]} == {"2", "10"}


@pytest.mark.onnx
@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_labels_come_from_the_file_that_config_pbtxt_names(serve, tmp_path, isolation):
    put(tmp_path / "m", 1)
    (tmp_path / "m/labels.txt").write_text("wrong\n" * 3)
    (tmp_path / "m/flowers.txt").write_text("setosa\nversicolor\nvirginica\n")
    (tmp_path / "m/config.pbtxt").write_text('output { name: "output_probability" label_filename: "flowers.txt" }\n')
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", isolation: {isolation}}}}}')
    body = json.loads(infer_body()) | {"outputs": [{"name": "output_probability", "parameters": {"classification": 1}}]}
    best = s.post("/v2/models/m/infer", json.dumps(body)).json()["outputs"][0]["data"]
    assert best[0].split(":")[1:] == ["0", "setosa"]


@pytest.mark.onnx
def test_a_label_moves_without_a_new_process(serve, tmp_path):
    put(tmp_path / "m", 1)
    put(tmp_path / "m", 2, "iris_names.onnx")
    config = 'models: {{m: {{path: "{}/m", versions: all, labels: {{stable: {}}}}}}}'
    s = serve(config=config.format(tmp_path, 1))
    workers = s.pids("worker")
    first = s.get("/v2/models/m/versions/stable").json()
    s.write_config(config.format(tmp_path, 2))
    s.reload()
    wait_until(lambda: s.get("/v2/models/m/versions/stable").json() != first, 5, "the label")
    assert s.pids("worker") == workers


@pytest.mark.onnx
def test_a_repository_with_config_pbtxt(serve, tmp_path):
    repo = tmp_path / "models"
    put(repo / "a", 1)
    put(repo / "a", 2)
    put(repo / "a", 3)
    (repo / "a/config.pbtxt").write_text("""
name: "a"
platform: "onnxruntime_onnx"
max_batch_size: 8
version_policy: { specific { versions: [1, 3] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 1500 }
optimization { graph { level: 1 } }
""")
    put(repo / "b", 1)
    (repo / "b/config.pbtxt").write_text('name: "b"\nplatform: "tensorrt_plan"\n')
    put(repo / "c", 1)
    (repo / "c/config.pbtxt").write_text("name: \n")
    (repo / "notes").mkdir()
    s = serve(config=f"repository: {{path: {repo}}}\nmodels: {{a: {{queue_max: 7}}}}")
    assert versions(s, "a") == ["1", "3"]
    assert len(s.pids("worker", "a")) == 4
    assert s.get("/v2/models/a/config").json()["max_batch_size"] == 8
    assert "optimization (line 8)" in s.output()[1]
    bad = {m["name"]: m["reason"] for m in s.status()["models"] if m["state"] == "failed"}
    assert "b/config.pbtxt:2:11: platform: no backend of ours" in bad["b"]
    assert "c/config.pbtxt:2:1: expected a value" in bad["c"]
    assert s.predict("b", [1]).status == 503
    check = quern.cli("check", s.config)
    assert check.returncode == quern.EXIT_CONFIG
    assert "optimization (line 8) has no effect" in check.stdout and "b cannot be served" in check.stdout
    assert check.stdout.count("queue_max: 7") == 1
    assert "delay: 1500us" in check.stdout and "version 3" not in check.stdout


@pytest.mark.onnx
def test_a_new_version_takes_over_under_load_and_a_bad_one_does_not(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m"}}}}')
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    with Load(s, check, connections=3, enough=50) as load:
        broken = tmp_path / "m/2"
        broken.mkdir()
        (broken / "model.onnx").write_bytes((quern.DATA / "iris.onnx").read_bytes()[:500])
        s.reload()
        wait_until(lambda: "not replaced" in s.status()["last_error"], 10, "the reason")
        assert versions(s) == ["1"] and answer(s) == OLD
        put(tmp_path / "m", 3, "iris_names.onnx")
        s.reload()
        wait_until(lambda: answer(s) == NEW, 10, "the new version")
        wait_until(lambda: versions(s) == ["3"], 5, "the old version's end")
        within(lambda: len(s.pids("worker")) == 1, 10, "the old worker's end")
        shutil.rmtree(tmp_path / "m/3")
        shutil.rmtree(broken)
        s.reload()
        wait_until(lambda: answer(s) == OLD, 10, "the way back")
    assert load.failures == [] and load.ok > 50


# ---- watch ----


def watch_config(folder, more=""):
    return f"repository: {{path: {folder}, mode: watch, scan: 100ms, settle: 300ms}}\n{more}"


@pytest.mark.onnx
def test_watch_takes_what_has_settled_and_never_half_a_copy(serve, tmp_path):
    repo = tmp_path / "models"
    put(repo / "m", 1)
    s = serve(config=watch_config(repo))
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    whole = (quern.DATA / "iris_names.onnx").read_bytes()
    with Load(s, check, connections=2, enough=50) as load:
        workers = s.pids("worker")
        (repo / "m/2").mkdir()
        with open(repo / "m/2/model.onnx", "wb", buffering=0) as f:  # a copy that stalls for longer than it takes to settle
            f.write(whole[:700])
            time.sleep(1.5)
            assert s.pids("worker") == workers, "half a copy was loaded"
            assert "still being written" in s.output()[1]
            f.write(whole[700:])
        wait_until(lambda: answer(s) == NEW, 10 * SLOW, "the new version")
        put(repo / "other", 1)
        shutil.rmtree(repo / "m/2")
        wait_until(lambda: answer(s, "other") == OLD and answer(s) == OLD, 10 * SLOW, "a new model, and the old version again")
        shutil.rmtree(repo / "other")
        wait_until(lambda: answer(s, "other") == 404, 10 * SLOW, "the end of a model")
    assert load.failures == [] and load.ok > 50
    assert s.status()["last_error"] == ""


@pytest.mark.onnx
def test_watch_bad_copies_leave_the_old_version_serving_and_say_why(serve, tmp_path):
    repo = tmp_path / "models"
    put(repo / "m", 1)
    put(repo / "n", 1)
    s = serve(config=watch_config(repo))
    kept = s.pids("worker", "n")
    check = [("/predict", predict_body("m", FLOWER), expect_prediction(OLD))]
    whole = (quern.DATA / "iris.onnx").read_bytes()
    with Load(s, check, connections=2, enough=20) as load:
        for k, (data, words) in enumerate([(whole[:100], "not replaced"), (b"", "not replaced"), (whole[:-1], "not replaced")]):
            s.output()
            aside = repo / "m/.aside"
            aside.mkdir()
            (aside / "model.onnx").write_bytes(data)
            aside.rename(repo / f"m/{k + 2}")
            wait_until(lambda: words in s.status()["last_error"], 10 * SLOW, "the reason")
            assert answer(s) == OLD
            shutil.rmtree(repo / f"m/{k + 2}")
            wait_until(lambda: s.status()["last_error"] == "", 10 * SLOW, "the reason's end")
    assert load.failures == [] and load.ok > 20
    assert s.pids("worker", "n") == kept, "others were touched"


@pytest.mark.onnx
def test_a_model_that_keeps_changing_does_not_hold_up_the_others(serve, tmp_path):
    repo = tmp_path / "models"
    put(repo / "busy", 1)
    put(repo / "m", 1)
    s = serve(config=watch_config(repo))
    busy = s.pids("worker", "busy")
    stop = threading.Event()

    def scribble():
        k = 0
        while not stop.wait(0.05):
            k += 1
            (repo / "busy/1/notes").write_text(str(k))

    t = threading.Thread(target=scribble)
    t.start()
    try:
        time.sleep(0.3)
        put(repo / "m", 2, "iris_names.onnx")
        wait_until(lambda: answer(s) == NEW, 10 * SLOW, "the settled model")
        assert s.pids("worker", "busy") == busy
    finally:
        stop.set()
        t.join()
    wait_until(lambda: s.pids("worker", "busy") not in ([], busy), 10 * SLOW, "the other one, settled at last")


@pytest.mark.onnx
def test_checksum_beside_the_model(serve, tmp_path):
    repo = tmp_path / "models"
    put(repo / "m", 1)
    s = serve(config=f"repository: {{path: {repo}}}")
    put(repo / "m", 2, "iris_names.onnx")
    (repo / "m/2/model.onnx.sha256").write_text("0" * 64 + "  model.onnx\n")
    s.reload()
    wait_until(lambda: "model.onnx.sha256 speaks of" in s.status()["last_error"], 10, "the reason")
    assert answer(s) == OLD
    digest = hashlib.sha256((repo / "m/2/model.onnx").read_bytes()).hexdigest()
    (repo / "m/2/model.onnx.sha256").write_text(f"{digest}  model.onnx\n")
    s.reload()
    wait_until(lambda: answer(s) == NEW, 10, "the verified version")


# ---- explicit ----


def load_model(server, name, verb="load", body=b""):
    return server.post(f"/v2/repository/models/{name}/{verb}", body)


@pytest.mark.onnx
def test_each_load_names_what_has_no_effect_also_when_nothing_changes(serve, tmp_path):
    put(tmp_path / "m", 1)
    pbtxt = tmp_path / "m/config.pbtxt"
    pbtxt.write_text("optimization { graph { level: 1 } }\n")
    s = serve(config=f"repository: {{path: {tmp_path}, mode: explicit, load: m}}")
    (worker,) = s.pids("worker", "m")

    def said(words):
        return s.output()[1].count(f'field="{words}"')

    assert said("optimization (line 1)") == 1, s.output()[1]
    assert load_model(s, "m").status == 200 and load_model(s, "m").status == 200
    assert said("optimization (line 1)") == 3, "by each load"
    pbtxt.write_text("\noptimization { graph { level: 1 } }\n")
    s.reload()
    s.reload()
    assert said("optimization (line 2)") == 1, "by a reload when it is new"
    assert s.pids("worker", "m") == [worker], "nothing has started for it"


@pytest.mark.onnx
def test_explicit_models_come_and_go_by_request(serve, tmp_path):
    repo = tmp_path / "models"
    put(repo / "m", 1)
    put(repo / "n", 1)
    (repo / "bad/1").mkdir(parents=True)
    (repo / "bad/1/model.onnx").write_bytes(b"no model")
    s = serve(config=f"repository: {{path: {repo}, mode: explicit, load: n}}")
    assert answer(s, "n") == OLD and answer(s) == 404

    def index(body=b""):
        return {m["name"]: m.get("state") for m in s.post("/v2/repository/index", body).json()}

    assert index() == {"n": "READY", "m": None, "bad": None} and index(b'{"ready": true}') == {"n": "READY"}
    assert load_model(s, "m").status == 200
    assert index() == {"n": "READY", "m": "READY", "bad": None}
    assert answer(s) == OLD, "loaded when the answer is there"
    put(repo / "m", 2, "iris_names.onnx")
    assert answer(s) == OLD
    assert load_model(s, "m").status == 200
    assert answer(s) == NEW
    put(repo / "new", 1)
    assert load_model(s, "new").status == 200 and answer(s, "new") == OLD
    r = load_model(s, "bad")
    assert r.status == 400 and "failed to load 'bad'" in r.json()["error"]
    r = load_model(s, "nowhere")
    assert r.status == 404 and "no such model" in r.json()["error"]
    assert load_model(s, "m", "unload").status == 200
    within(lambda: answer(s) == 404 and not s.pids("worker", "m"), 10, "the end of the model")
    wait_until(lambda: index() == {"n": "READY", "m": None, "new": "READY", "bad": "UNAVAILABLE"}, 5, "the index without it")
    (edge,) = s.pids("edge")
    os.kill(edge, signal.SIGKILL)
    wait_until(lambda: s.pids("edge") not in ([], [edge]) and index().get("m", "") is None, 10, "a new edge knows it too")
    assert load_model(s, "m", "unload").status == 404
    assert answer(s, "n") == OLD
    r = s.post("/v2/repository/models/n/unload", b"", {"origin": "http://evil.example"})
    assert r.status == 403


TENSORS = 'max_batch_size: 8\ninput {{ name: "X" data_type: TYPE_{} dims: [ {} ] }}\noutput {{ name: "output_label" data_type: TYPE_INT64 dims: 1 reshape {{ }} }}\n'


@pytest.mark.onnx
@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_tensors_in_config_pbtxt_that_the_model_does_not_have(serve, tmp_path, isolation):
    put(tmp_path / "m", 1)
    (tmp_path / "m/config.pbtxt").write_text(TENSORS.format("FP32", "4"))
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", isolation: {isolation}}}}}')
    assert answer(s) == OLD
    for number, wrong, why in ((2, ("INT32", "4"), "data_type is TYPE_INT32, the model has TYPE_FP32"),
                               (3, ("FP32", "5"), "the shape is [-1,5] (rows, and dims), the model has [-1,4]")):
        put(tmp_path / "m", number, "iris_names.onnx")
        (tmp_path / "m/config.pbtxt").write_text(TENSORS.format(*wrong))
        s.reload()
        text = f"{tmp_path}/m/config.pbtxt:2: input 'X': {why}"
        wait_until(lambda: text in json.dumps(s.status()), 10 * SLOW, text)
        assert answer(s) == OLD
    (tmp_path / "m/config.pbtxt").write_text(TENSORS.format("FP32", "-1").replace("output_label", "label"))
    s.reload()
    wait_until(lambda: "the model has no output 'label'; it has 'output_label'" in json.dumps(s.status()), 10 * SLOW, "the name")
    assert answer(s) == OLD
    (tmp_path / "m/config.pbtxt").write_text("max_batch_size: 8")
    s.reload()
    wait_until(lambda: answer(s) == NEW, 10 * SLOW, "what says nothing contradicts nothing")


@pytest.mark.onnx
def test_tensors_of_a_configuration_that_comes_with_a_load(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=f"repository: {{path: {tmp_path}, mode: explicit, load: m}}")
    own = s.get("/v2/models/m/config").json()
    assert load_model(s, "m", body=json.dumps({"parameters": {"config": json.dumps(own)}})).status == 200, "what we say ourselves"
    own["input"][0]["data_type"] = "TYPE_STRING"
    r = load_model(s, "m", body=json.dumps({"parameters": {"config": json.dumps(own)}}))
    assert r.status == 400 and "input 'X': data_type is TYPE_STRING, the model has TYPE_FP32" in r.json()["error"], r
    assert answer(s) == OLD


def test_load_by_request_is_refused_in_other_modes(serve):
    s = serve("builtin:identity")
    r = load_model(s, "identity", "unload")
    assert r.status == 503 and "is not allowed if polling is enabled" in r.json()["error"]
    assert s.predict("identity", [1]).status == 200


# ---- the way back ----


def states(server, model="m"):
    return {m["version"]: m["state"] for m in server.status()["models"] if m["name"] == model}


@pytest.mark.onnx
def test_roll_back_to_the_version_before_at_once(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", keep_old: 60s}}}}', threads=2)
    assert s.post("/api/models/m/rollback", b"").status == 409
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    (old,) = s.pids("worker")
    with Load(s, check, connections=3, enough=50) as load:
        put(tmp_path / "m", 2, "iris_names.onnx")
        s.reload()
        wait_until(lambda: answer(s) == NEW, 10 * SLOW, "the new version")
        wait_until(lambda: states(s) == {"1": "kept", "2": "ready"}, 5, "the old one is kept")
        assert versions(s) == ["2"]
        back = quern.cli("model", "rollback", "m", "--data", s.data)
        assert back.returncode == quern.EXIT_FINE, back.stderr
        wait_until(lambda: answer(s) == OLD, 5, "the old version")
        assert old in s.pids("worker"), "it never went"
        assert "rolled back to version 1: by request" in s.status()["last_error"]
        s.reload()
        time.sleep(0.3)
        assert answer(s) == OLD and versions(s) == ["1"], "what was rolled back is not taken again"
        put(tmp_path / "m", 3, "iris_names.onnx")
        s.reload()
        wait_until(lambda: versions(s) == ["3"] and answer(s) == NEW, 10 * SLOW, "a newer version is")
        assert s.post("/api/models/m/rollback", b"").status == 200
        wait_until(lambda: answer(s) == OLD, 5, "the old version again")
        assert s.post("/api/models/m/rollback", b"").status == 200
        wait_until(lambda: answer(s) == NEW, 5, "and forward again")
    assert load.failures == [] and load.ok > 50
    assert s.post("/api/models/m/rollback", b"", {"origin": "http://evil.example"}).status == 403
    assert s.post("/api/models/none/rollback", b"").status == 404


@pytest.mark.onnx
def test_roll_back_of_a_file_that_was_overwritten(serve, tmp_path):
    file = tmp_path / "m.onnx"
    shutil.copy(quern.DATA / "iris.onnx", file)
    s = serve(config=f'models: {{m: {{path: "{file}", keep_old: 60s}}}}')
    shutil.copy(quern.DATA / "iris_names.onnx", tmp_path / "new")
    (tmp_path / "new").rename(file)
    s.reload()
    wait_until(lambda: answer(s) == NEW, 10, "the new file")
    assert s.post("/api/models/m/rollback", b"").status == 200
    wait_until(lambda: answer(s) == OLD, 5, "the model of the file that is no more")
    s.reload()
    time.sleep(0.3)
    assert answer(s) == OLD


@pytest.mark.onnx
def test_what_is_kept_ends_in_time_or_with_its_worker(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", keep_old: 700ms}}}}')
    put(tmp_path / "m", 2, "iris_names.onnx")
    s.reload()
    wait_until(lambda: states(s).get("1") == "kept", 10 * SLOW, "the old one is kept")
    within(lambda: states(s) == {"2": "ready"} and len(s.pids("worker")) == 1, 10 * SLOW, "its end")
    assert s.post("/api/models/m/rollback", b"").status == 409
    s.write_config(f'models: {{m: {{path: "{tmp_path}/m", keep_old: 60s}}}}')
    put(tmp_path / "m", 3)
    s.reload()
    wait_until(lambda: states(s).get("2") == "kept", 10 * SLOW, "the next one is kept")
    (pid,) = [p["pid"] for p in s.processes("worker") if p["version"] == "2"]
    quern.kill(pid)
    wait_until(lambda: states(s) == {"3": "ready"}, 5, "no way back")
    assert s.post("/api/models/m/rollback", b"").status == 409 and answer(s) == OLD


# ---- canaries ----


def canary_config(model, more):
    return f"models: {{m: {{{model}, keep_old: 60s, canary: {{{more}}}}}}}"


def ask(server, key, values=FLOWER):
    r = server.predict("m", values, {"x-canary": key})
    return r.json()["data"]["prediction"] if r.status == 200 else r.status


@pytest.mark.onnx
def test_canary_takes_its_share_each_caller_stays_and_is_promoted(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=canary_config(f"path: {tmp_path}/m", "percent: 40, for: 1h, max_slower: 1000"), threads=2)
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    with Load(s, check, connections=2, enough=50) as load:
        put(tmp_path / "m", 2, "iris_names.onnx")
        s.reload()
        wait_until(lambda: states(s) == {"1": "ready", "2": "canary"}, 10 * SLOW, "the canary")
        wait_until(lambda: ask(s, "always") == NEW, 5, "the canary answers")
        assert ask(s, "never") == OLD
        keys = [f"user{k}" for k in range(60)]
        first = [ask(s, k) for k in keys]
        assert 10 <= first.count(NEW) <= 38, first.count(NEW)
        assert [ask(s, k) for k in keys] == first, "a caller stays with its version"
        assert s.get("/v2/models/m/versions/1").status == 200 == s.get("/v2/models/m/versions/2").status
        shown = [m for m in s.api()["models"] if "canary" in m]
        assert len(shown) == 1 and shown[0]["canary"]["answered"] >= first.count(NEW) and shown[0]["canary"]["failed"] == 0
        # its worker and the edge die: it is tried on
        quern.kill([p["pid"] for p in s.processes("worker") if p["version"] == "2"][0])
        wait_until(lambda: ask(s, "always") == NEW, 5 * SLOW, "the canary's new worker")
    assert load.failures == [] and load.ok > 50
    quern.kill(s.pids("edge")[0])
    wait_until(lambda: s.pids("edge"), 5, "the new edge")
    wait_until(lambda: ask(s, "always") == NEW and ask(s, "never") == OLD, 5 * SLOW, "the canary beside the old one")
    assert [ask(s, k) for k in keys] == first
    assert s.post("/api/models/m/promote", b"").status == 200
    wait_until(lambda: answer(s) == NEW and ask(s, "never") == NEW, 5, "the new version for all")
    wait_until(lambda: states(s) == {"1": "kept", "2": "ready"}, 5, "the old one is kept")
    assert s.post("/api/models/m/promote", b"").status == 409
    assert s.post("/api/models/m/rollback", b"").status == 200
    wait_until(lambda: answer(s) == OLD, 5, "the way back")


@pytest.mark.onnx
@pytest.mark.parametrize("load", ["always", "on-demand"])
def test_a_canary_takes_over_when_the_version_before_cannot_serve_any_more(serve, tmp_path, load):
    put(tmp_path / "m", 1)
    s = serve(config=canary_config(f"path: {tmp_path}/m, load: {load}", "percent: 1, for: 1h"))
    wait_until(lambda: ask(s, "never") == OLD, 10 * SLOW, "the old one")
    put(tmp_path / "m", 2, "iris_names.onnx")
    s.reload()
    wait_until(lambda: states(s) == {"1": "ready", "2": "canary"}, 10 * SLOW, "the canary")
    shutil.rmtree(tmp_path / "m/1")
    quern.kill([p["pid"] for p in s.processes("worker") if p["version"] == "1"][0])
    wait_until(lambda: ask(s, "never") == NEW, 10 * SLOW, "the canary serves")
    s.reload()
    for _ in range(20):
        assert ask(s, "never") == NEW
    assert states(s) == {"2": "ready"}


def test_a_canary_that_fails_is_sent_back_and_not_taken_again(serve):
    rules = "percent: 100, for: 1h, min_requests: 20, max_slower: 1000"
    s = serve(config=canary_config("path: 'builtin:identity'", rules))
    s.write_config(canary_config("path: 'builtin:crash', parameters: {on: '7', how: lie}", rules))
    s.reload()
    wait_until(lambda: s.predict("m", [7, 1]).status == 502, 5, "the canary")
    with Load(s, echo_of(7), connections=1) as load:
        wait_until(lambda: "tried and sent back" in s.status()["last_error"], 10, "the verdict")
        wait_until(lambda: s.predict("m", [7, 1]).status == 200, 5, "the old one for all")
        before = len(load.failures)
        time.sleep(0.5)
        assert len(load.failures) - before <= 1
    assert "requests failed" in s.status()["last_error"]
    s.reload()
    time.sleep(0.5)
    assert s.predict("m", [7, 1]).status == 200 and states(s) == {"1": "ready"}


def echo_of(value):
    return [("/predict", predict_body("m", [value, 1]), expect_prediction([value, 1]))]


def has_canary(server):
    return any(m["state"] == "canary" for m in server.status()["models"])


def test_a_canary_that_is_slow_is_sent_back(serve):
    rules = "percent: 50, for: 1h, min_requests: 20"
    s = serve(config=canary_config("path: 'builtin:identity'", rules))
    s.write_config(canary_config("path: 'builtin:delay', parameters: {execute_delay_ms: '60'}", rules))
    s.reload()
    wait_until(lambda: has_canary(s), 5, "the canary")
    end = time.monotonic() + 20
    failed = 0
    while "sent back" not in s.status()["last_error"] and time.monotonic() < end:
        with s.client() as c:
            for k in range(20):
                failed += c.request("POST", "/predict", predict_body("m", [1]), {"x-canary": f"u{k}"}).status != 200
    assert "95 % of requests took" in s.status()["last_error"] and failed == 0


def test_shadow_differences_send_back_what_no_client_ever_saw(serve):
    rules = "shadow: 50, for: 1h, min_requests: 20, max_slower: 1000"
    s = serve(config=canary_config("path: 'builtin:identity'", rules), threads=2)
    with Load(s, echo_of(3), connections=3, enough=50) as load:
        s.write_config(canary_config("path: 'builtin:repeat', parameters: {times: '2'}", rules))
        s.reload()
        wait_until(lambda: "sent back" in s.status()["last_error"], 10 * SLOW, "the verdict")
    assert load.failures == [] and load.ok > 50
    assert "outputs differ in" in s.status()["last_error"]


def test_a_good_canary_takes_over_by_itself(serve):
    rules = "percent: 20, shadow: 50, for: 1s, min_requests: 10, max_slower: 1000"
    s = serve(config=canary_config("path: 'builtin:identity'", rules), threads=2)
    (old,) = s.pids("worker")
    requests = [("/predict", predict_body("m", [k, k]), expect_prediction([k, k])) for k in range(1, 4)]
    with Load(s, requests, connections=2, enough=50) as load:
        s.write_config(canary_config("path: 'builtin:identity', parameters: {dims: '2'}", rules))
        s.reload()
        wait_until(lambda: has_canary(s), 5, "the canary")
        with s.client() as c:
            for k in range(60):
                assert c.request("POST", "/predict", predict_body("m", [k, k]), {"x-canary": f"u{k}"}).status == 200
        wait_until(lambda: set(p["state"] for p in s.status()["models"]) == {"ready", "kept"}, 10 * SLOW, "the new one")
        wait_until(lambda: s.predict("m", [1]).status == 400, 5, "answers of the new one")
    assert load.failures == [] and load.ok > 50


# ---- deaths in the midst of a reload ----


@pytest.mark.onnx
def test_kill_9_in_every_step_of_a_reload(serve, tmp_path):
    """The new worker, the old one or the edge dies at another moment of each reload. Requests go on, and the new version comes."""
    put(tmp_path / "m", 1)
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", keep_old: 200ms}}}}')
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    with Load(s, check, connections=3, reconnect=True, enough=50) as load:
        for k, delay in enumerate([0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 0.02, 0.05, 0.12, 0.3]):
            who = ["new", "old", "edge"][k % 3]
            before = set(s.pids("worker"))
            put(tmp_path / "m", k + 2, "iris_names.onnx" if k % 2 == 0 else "iris.onnx")
            s.signal(signal.SIGHUP)
            time.sleep(delay * SLOW)
            workers = [p["pid"] for p in s.processes("worker") if p["pid"]]
            victims = {"new": [p for p in workers if p not in before], "old": list(before), "edge": s.pids("edge")}[who]
            for pid in victims:
                quern.kill(pid)
            wait_until(lambda: versions_or_none(s) == [str(k + 2)], 10 * SLOW, f"version {k + 2} after the death of the {who}")
            wait_until(lambda: answer(s) == (NEW if k % 2 == 0 else OLD), 5, "its answers")
    assert load.failures == [] and load.ok > 50
    within(lambda: len([p for p in s.processes("worker") if p["pid"]]) == 1, 10 * SLOW, "the end of all old workers")


def versions_or_none(server):
    try:
        r = server.get("/v2/models/m")
        return r.json()["versions"] if r.status == 200 else None
    except OSError:
        return None  # the edge is just being started again


@pytest.mark.onnx
def test_torn_and_damaged_copies_never_stop_what_serves(serve, tmp_path):
    """Cut and flipped files, by chance: each is served or refused with a reason, and the version before goes on."""
    chance = random.Random(7)
    whole = (quern.DATA / "iris.onnx").read_bytes()
    put(tmp_path / "models/m", 1)
    put(tmp_path / "models/n", 1)
    s = serve(config=f"repository: {{path: {tmp_path}/models, mode: explicit, load: '*'}}")
    with Load(s, [("/predict", predict_body("n", FLOWER), expect_prediction(OLD))], connections=1, enough=20) as load:
        for k in range(2, 22):
            data = bytearray(whole[: chance.randrange(len(whole))] if k % 2 else whole)
            for _ in range(0 if k % 2 else 3):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            aside = tmp_path / f"models/m/.{k}"
            aside.mkdir()
            (aside / "model.onnx").write_bytes(data)
            aside.rename(tmp_path / f"models/m/{k}")
            r = load_model(s, "m")
            assert r.status in (200, 400, 404), r
            if r.status != 200:
                assert len(r.json()["error"]) > 30 and s.get("/v2/models/m/ready").status == 200
            shutil.rmtree(tmp_path / f"models/m/{k}")
    assert load.failures == [] and load.ok > 20
    assert load_model(s, "m").status == 200
    wait_until(lambda: versions(s) == ["1"] and answer(s) == OLD, 10, "the whole file again")


# ---- loads that bring their own configuration or files ----


def test_load_with_files_and_configuration_of_the_request(serve, tmp_path):
    http = pytest.importorskip("tritonclient.http")
    from tritonclient.utils import InferenceServerException

    repo = tmp_path / "repo"
    for folder in ("kept", "iris/1"):
        (repo / folder).mkdir(parents=True)
    (repo / "iris/1/model.onnx").write_bytes((quern.DATA / "iris.onnx").read_bytes())
    s = serve(config=f"repository: {{path: {repo}, mode: explicit, load: [iris]}}\nmodels: {{plain: 'builtin:identity'}}")
    uploads = s.data / "uploads"
    folders = lambda: sorted(p.name for p in uploads.iterdir()) if uploads.exists() else []
    config = lambda name: s.get(f"/v2/models/{name}/config").json()
    host, port = s.address
    mlp = (quern.DATA / "mlp.onnx").read_bytes()
    identity = (quern.DATA / "identity_fp32.onnx").read_bytes()
    with http.InferenceServerClient(f"{host}:{port}", network_timeout=60) as c:
        # A configuration alone: the repository's file, other settings. Numbers as texts, names in camel case.
        c.load_model("iris", config=json.dumps({"maxBatchSize": "5", "dynamicBatching": {}, "instance_group": [{"count": 2, "kind": "KIND_CPU"}]}))
        assert (config("iris")["max_batch_size"], config("iris")["instance_group"][0]["count"]) == (5, 2)
        assert config("iris")["input"][0]["name"] == "X"
        # Files: the repository's are not looked at. Two versions of which one is asked for.
        c.load_model(
            "iris",
            config=json.dumps({"max_batch_size": 3, "version_policy": {"specific": {"versions": ["7"]}}}),
            files={"file:7/model.onnx": identity, "file:6/model.onnx": b"never looked at"},
        )
        quern.wait_until(lambda: s.get("/v2/models/iris").json()["versions"] == ["7"], 10, "version 7 alone")
        assert config("iris")["input"][0]["name"] != "X"
        before = config("iris")
        # What fails leaves what serves, says why, and nothing on the disk.
        for bad, text in (
            ({"config": "{}", "file:1/model.onnx": b64(b"not a model")}, "failed to load"),
            ({"config": "{}", "file:99999999999999999999/model.onnx": b64(mlp)}, "the folder model has no model file"),
            ({"config": '{"max_batch_size": "x"}'}, "'iris': config.pbtxt:1:17: max_batch_size: expected a whole number"),
            ({"config": '{"max_batch_size": '}, "config"),
            ({"config": '{"dynamic_batching": {"preferred_batch_size": [[1]]}}', "file:1/model.onnx": b64(mlp)}, "list in a list"),
            ({"file:1/model.onnx": b64(identity)}, "requires 'config'"),
            ({"config": "{}", "file:../model.onnx": b64(identity)}, "not a path inside"),
            ({"config": "{}", "file:/etc/x": b64(identity)}, "not a path inside"),
            ({"config": "{}", "file:1/../../x": b64(identity)}, "not a path inside"),
            ({"config": "{}", "file:1/.hidden": b64(identity)}, "not a path inside"),
            ({"config": "{}", "file:a/b/c/d/e": b64(identity)}, "not a path inside"),
            ({"config": "{}", "file:1/model.onnx": "!!!"}, "not Base64"),
            ({"config": "{}", "file:1/model.onnx": 7}, "string"),
            ({"config": {}}, "string"),
            ({"noise": 1}, "not taken here"),
        ):
            r = s.post("/v2/repository/models/iris/load", {"parameters": bad})
            assert r.status in (400, 501) and text in r.json()["error"] and str(s.data) not in r.json()["error"], (bad, r)
            assert config("iris") == before, bad
            quern.wait_until(lambda: len(folders()) == 1, 10, "what it brought is gone")
        # A model that nobody has configured, and one that is not there.
        c.load_model("fresh", config="{}", files={"file:1/model.onnx": mlp})
        assert c.is_model_ready("fresh") and len(folders()) == 2
        with pytest.raises(InferenceServerException, match="failed to load 'nobody'"):
            c.load_model("nobody", config="{}")
        # A reload keeps it; a death of its worker too.
        s.reload()
        assert config("iris") == before and c.is_model_ready("fresh")
        (pid,) = s.pids("worker", "fresh")
        quern.kill(pid)
        quern.wait_until(lambda: s.pids("worker", "fresh") not in ([], [pid]), 10, "the next worker")
        # Load without anything: the repository again. Unload: gone, with its files.
        c.load_model("iris")
        quern.wait_until(lambda: config("iris")["input"][0]["name"] == "X", 10, "the repository's")
        c.unload_model("fresh")
        quern.wait_until(lambda: not c.is_model_ready("fresh"), 10, "unloaded")
        with pytest.raises(InferenceServerException, match="failed to load 'fresh'"):
            c.load_model("fresh")
        quern.wait_until(lambda: folders() == [], 10, "no files")
        # A built-in takes a configuration as well.
        c.load_model("plain", config=json.dumps({"max_batch_size": 2, "dynamic_batching": {}}))
        assert config("plain")["max_batch_size"] == 2
    s.signal(signal.SIGTERM)
    s.process.wait(20)
    assert not uploads.exists()


def b64(data):
    return base64.b64encode(data).decode()


def test_uploads_are_refused_where_loads_are(serve):
    s = serve("builtin:identity")
    r = s.post("/v2/repository/models/identity/load", {"parameters": {"config": "{}", "file:1/model.onnx": b64(b"x")}})
    assert r.status == 503 and "explicit" in r.json()["error"]
    uploads = s.data / "uploads"
    quern.wait_until(lambda: not uploads.exists() or not list(uploads.iterdir()), 5, "nothing kept")


def new_pids(server, before):
    return [p["pid"] for p in server.processes("worker") if p["pid"] and p["pid"] not in before]


@pytest.mark.parametrize("who", ["new", "old", "edge"])
def test_kill_9_while_a_new_version_warms_up(serve, who):
    model = "models: {{m: {{path: 'builtin:delay', parameters: {{dims: '2', execute_delay_ms: '{}'}}, warm_up: {{a: {{count: 20}}}}}}}}"
    s = serve(config=model.format(30))
    with Load(s, echo_of(4), connections=2, reconnect=who == "edge", enough=20) as load:
        for k in range(3):
            before = s.pids("worker")
            s.write_config(model.format(31 + k))
            s.reload()
            (new,) = wait_until(lambda: new_pids(s, before), 5 * SLOW, "the new worker")
            time.sleep(0.2 * k)
            for pid in {"new": [new], "old": before, "edge": s.pids("edge")}[who]:
                quern.kill(pid)
            wait_until(lambda: len(s.processes("worker")) == 1 and s.pids("worker") and not set(s.pids("worker")) & set(before), 20 * SLOW, "the new one alone")
    assert load.failures == [] and load.ok > 20


@pytest.mark.onnx
@pytest.mark.parametrize("who", ["kept", "leaving", "edge"])
def test_kill_9_on_the_way_back(serve, tmp_path, who):
    """Who is to serve again, who is to go, or the edge dies at once or a moment after the roll-back was asked for."""
    put(tmp_path / "m", 1)
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", keep_old: 60s}}}}')
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    with Load(s, check, connections=3, reconnect=who == "edge", enough=50) as load:
        for k, delay in enumerate([0, 0.005, 0.05]):
            put(tmp_path / "m", k + 2, "iris_names.onnx")
            s.reload()
            wait_until(lambda: states(s).get(str(k + 2)) == "ready" and "kept" in states(s).values(), 10 * SLOW, "a version that is kept")
            by_state = {m["state"]: m["version"] for m in s.status()["models"]}
            pid_of = {p["version"]: p["pid"] for p in s.processes("worker")}
            victim = {"kept": pid_of[by_state["kept"]], "leaving": pid_of[by_state["ready"]], "edge": s.pids("edge")[0]}[who]
            quern.cli("model", "rollback", "m", "--data", s.data)
            time.sleep(delay)
            quern.kill(victim)
            # with its worker dead before it was asked for, the way back may be gone: then the new version goes on
            wait_until(lambda: versions_or_none(s) in ([by_state["kept"]], [by_state["ready"]]), 10 * SLOW, "one of the two")
            wait_until(lambda: answer_or_none(s) in (OLD, NEW), 10 * SLOW, "its answers")
    assert load.failures == [] and load.ok > 50


def answer_or_none(server):
    try:
        return answer(server)
    except OSError:
        return None  # the edge is just being started again


@pytest.mark.onnx
@pytest.mark.parametrize("stage", ["loading", "canary"])
def test_roll_back_during_a_roll_out(serve, tmp_path, stage):
    """Version 1 is kept, 2 serves, and 3 is on its way when somebody rolls back."""
    canary = ", canary: {percent: 30, for: 1h, max_slower: 1000}" if stage == "canary" else ""
    text = lambda count, more: f'models: {{m: {{path: "{tmp_path}/m", keep_old: 60s, warm_up: {{w: {{count: {count}, batch_size: 512}}}}{more}}}}}'
    put(tmp_path / "m", 1)
    s = serve(config=text(1, ""))
    check = [("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))]
    with Load(s, check, connections=3, enough=50) as load:
        put(tmp_path / "m", 2, "iris_names.onnx")
        s.reload()
        wait_until(lambda: states(s) == {"1": "kept", "2": "ready"}, 10 * SLOW, "the second version")
        s.write_config(text(3000, canary))
        put(tmp_path / "m", 3)
        s.reload()
        wait_until(lambda: states(s).get("3") == stage, 20 * SLOW, "the third version on its way")
        r = s.post("/api/models/m/rollback", b"")
        assert r.status == 200, r
        if stage == "canary":
            wait_until(lambda: states(s) == {"1": "kept", "2": "ready"}, 10 * SLOW, "the trial's end")
            assert "version 3 was tried and sent back" in s.status()["last_error"] and answer(s) == NEW
        else:
            wait_until(lambda: answer(s) == OLD, 10 * SLOW, "the first version again")
            wait_until(lambda: states(s).get("3") == "ready", 60 * SLOW, "the third, which nobody sent back")
            wait_until(lambda: versions(s) == ["3"], 10 * SLOW, "the third alone")
    assert load.failures == [] and load.ok > 50


def test_a_new_version_that_crashes_in_its_warm_up_leaves_the_old_one(serve):
    model = "models: {{m: {{path: 'builtin:{}, warm_up: {{a: {{inputs: {{INPUT0: zero}}}}}}}}}}"
    s = serve(config=model.format("identity', parameters: {dims: '2', datatype: INT32}"))
    with Load(s, [("/predict", predict_body("m", [7, 1]), expect_prediction([7, 1]))], connections=2, enough=50) as load:
        s.write_config(model.format("crash', parameters: {dims: '2', datatype: INT32, on: '0', how: segv}"))
        s.reload()
        wait_until(lambda: "not replaced" in s.status()["last_error"], 60 * SLOW, "the reason")
        assert "gave up after 5 starts" in s.status()["last_error"] and "signal 11" in s.status()["last_error"]
    assert load.failures == [] and load.ok > 50


def test_a_canary_that_crashes_is_sent_back(serve):
    rules = "percent: 50, for: 1h, min_requests: 20, max_slower: 1000"
    s = serve(config=canary_config("path: 'builtin:identity', parameters: {dims: '2'}", rules))
    s.write_config(canary_config("path: 'builtin:crash', parameters: {dims: '2', on: '7', how: abort}", rules))
    s.reload()
    wait_until(lambda: has_canary(s), 5, "the canary")
    end = time.monotonic() + 60
    while "sent back" not in s.status()["last_error"] and time.monotonic() < end:
        for k in range(10):
            s.predict("m", [7, k], {"x-canary": f"u{k}"})
    assert "requests failed" in s.status()["last_error"]
    wait_until(lambda: states(s) == {"1": "ready"}, 10, "the old one alone")
    assert all(s.predict("m", [7, k], {"x-canary": f"u{k}"}).status in (200, 422) for k in range(10))


def damage(chance, folder):
    """One of the things that copying by hand does to a model's folder."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    if not files:
        return
    victim = chance.choice(files)
    data = bytearray(victim.read_bytes())
    what = chance.randrange(7)
    if what == 0:
        victim.write_bytes(data[: chance.randrange(len(data) + 1)])
    elif what == 1 and data:
        for _ in range(3):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        victim.write_bytes(data)
    elif what == 2:
        victim.unlink()
    elif what == 3:
        victim.unlink()
        victim.mkdir()
    elif what == 4:
        victim.unlink()
        victim.symlink_to(victim)
    elif what == 5:
        victim.write_bytes(data + data[: len(data) // 2])
    else:
        victim.rename(victim.with_name(f"{victim.name}.part"))


@pytest.mark.onnx
def test_torn_copies_of_folders_with_versions_warm_up_and_ensembles(serve, tmp_path):
    """Whole folders, damaged by chance: what is asked for loads or says why not, a neighbour notices nothing, and the whole copy loads at last."""
    chance = random.Random(11)
    whole, repo = tmp_path / "whole", tmp_path / "models"
    put(whole / "m", 1)
    put(whole / "m", 2, "iris_names.onnx")
    (whole / "m/warmup").mkdir()
    (whole / "m/warmup/flower").write_bytes(bytes(16))
    (whole / "m/config.pbtxt").write_text("""name: "m"
platform: "onnxruntime_onnx"
version_policy { specific { versions: [ 1, 2 ] } }
model_warmup { name: "w" batch_size: 1 inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "flower" } } }
""")
    (whole / "e/1").mkdir(parents=True)
    (whole / "e/config.pbtxt").write_text("""platform: "ensemble"
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }
ensemble_scheduling { step { model_name: "m" model_version: 2 input_map { key: "X" value: "x" } output_map { key: "output_probability" value: "y" } } }
""")
    put(repo / "n", 1)
    s = serve(config=f"repository: {{path: {repo}, mode: explicit, load: n}}")
    answers = {200: 0, "other": 0}
    with Load(s, [("/predict", predict_body("n", FLOWER), expect_prediction(OLD))], connections=1, enough=20) as load:
        for k in range(30):
            for name in ("m", "e"):
                shutil.rmtree(repo / name, ignore_errors=True)
                shutil.copytree(whole / name, repo / name)
            for _ in range(1 + k % 3):
                damage(chance, repo / chance.choice(["m", "m", "e"]))
            r = load_model(s, "e")
            answers[200 if r.status == 200 else "other"] += 1
            if r.status != 200:
                assert r.status in (400, 404, 503) and len(r.json()["error"]) > 30, r
            load_model(s, "e", "unload", b'{"parameters": {"unload_dependents": true}}')
    assert load.failures == [] and load.ok > 20
    assert answers["other"] > 5, "nothing was damaged"
    for name in ("m", "e"):
        shutil.rmtree(repo / name, ignore_errors=True)
        shutil.copytree(whole / name, repo / name)
    r = load_model(s, "e")
    assert r.status == 200, r
    assert len(s.predict("e", FLOWER).json()["data"]["prediction"]) == 3 and versions(s, "m") == ["1", "2"]


# ---- what outlives a reload, and what does not ----


def counts(server, version, model="m"):
    stats = server.get(f"/v2/models/{model}/versions/{version}/stats").json()["model_stats"][0]
    return stats["inference_stats"]["success"]["count"]


def durations(server, version, model="m"):
    want = f'quern_inference_duration_seconds_count{{model="{model}",version="{version}"}}'
    return sum(int(float(line.split()[-1])) for line in server.get("/metrics").body.decode().splitlines() if line.startswith(want))


@pytest.mark.onnx
def test_durations_count_for_the_version_that_was_asked(serve, tmp_path):
    put(tmp_path / "m", 1)
    put(tmp_path / "m", 2, "iris_names.onnx")
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m", versions: all}}}}')
    for _ in range(5):
        assert s.post("/v2/models/m/versions/1/infer", infer_body()).status == 200
    for _ in range(3):
        assert s.post("/v2/models/m/infer", infer_body()).status == 200
    wait_until(lambda: (durations(s, 1), durations(s, 2)) == (5, 3), 5, "five and three")
    assert (counts(s, 1), counts(s, 2)) == (5, 3)


@pytest.mark.onnx
def test_statistics_go_on_through_reloads_and_on_the_way_back(serve, tmp_path):
    file = tmp_path / "m.onnx"
    shutil.copy(quern.DATA / "iris.onnx", file)
    s = serve(config=f'models: {{m: {{path: "{file}", keep_old: 60s}}}}', threads=2)
    for _ in range(4):
        assert answer(s) == OLD
    shutil.copy(quern.DATA / "iris_names.onnx", tmp_path / "new")
    (tmp_path / "new").rename(file)
    s.reload()
    wait_until(lambda: answer(s) == NEW, 10 * SLOW, "the new file")
    before = counts(s, 1)
    assert before >= 5, "they began at zero"
    assert s.post("/api/models/m/rollback", b"").status == 200
    wait_until(lambda: answer(s) == OLD, 5, "the old file's model")
    assert counts(s, 1) > before
    wait_until(lambda: durations(s, 1) == counts(s, 1), 5, "both count alike")


@pytest.mark.onnx
def test_caches_of_models_that_are_gone_go_after_a_week(serve, tmp_path):
    put(tmp_path / "models/m", 1)
    put(tmp_path / "models/unloaded", 1)
    data, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    week = 8 * 24 * 3600
    for name in ["m", "unloaded", "gone", "recent"]:
        (data / f"cache/{name}/deep/er").mkdir(parents=True)
        (data / f"cache/{name}/deep/file").write_text("x" * 1000)
        (data / f"cache/{name}/link").symlink_to(outside)
        if name != "recent":
            os.utime(data / f"cache/{name}", (time.time() - week,) * 2)
    for name, days in {"memory.1": 8, "memory.7": 8, "description.7": 8, "memory.8": 1, "other.7": 8}.items():
        (data / f"cache/unloaded/{name}").write_text("{}")
        os.utime(data / f"cache/unloaded/{name}", (time.time() - days * 24 * 3600,) * 2)
    s = serve(config=f"repository: {{path: {tmp_path}/models, mode: explicit, load: m}}", data=data)
    wait_until(lambda: not (data / "cache/gone").exists(), 20, "the end of the folder")
    wait_until(lambda: "cache of a model that is gone was removed" in s.output()[1], 5, "the line in the log")
    assert sorted(p.name for p in (data / "cache").iterdir()) == ["m", "recent", "unloaded"]
    assert (outside / "kept").exists()
    left = sorted(p.name for p in (data / "cache/unloaded").iterdir())
    assert left == ["deep", "link", "memory.1", "memory.8", "other.7"], "versions that are gone go by themselves"
    assert time.time() - (data / "cache/unloaded").stat().st_mtime < 60, "who is known is not away"
    assert answer(s) == OLD


# ---- what contradicts itself ----


def test_where_quern_yaml_and_config_pbtxt_differ_the_first_counts_and_the_second_is_named(tmp_path):
    put(tmp_path / "models/a", 1)
    put(tmp_path / "models/a", 2)
    (tmp_path / "models/a/config.pbtxt").write_text("""
name: "another"
platform: "onnxruntime_onnx"
max_batch_size: 8
instance_group { count: 3 }
version_policy { all {} }
dynamic_batching { max_queue_delay_microseconds: 100 preferred_batch_size: 4 default_queue_policy { max_queue_size: 7 } }
model_warmup { inputs { key: "X" value { zero_data: true dims: [ 4 ] data_type: TYPE_FP32 } } }
response_cache { enable: true }
parameters { key: "k" value { string_value: "v" } }
""")
    config = tmp_path / "quern.yaml"
    config.write_text(f"""
repository: {{path: {tmp_path}/models}}
models:
  a:
    max_batch: 4
    instances: 3
    versions: [2]
    queue_max: 9
    batching: {{delay: 2ms, preferred: [2]}}
    warm_up: {{mine: {{}}}}
    cache: 1MiB
    parameters: {{}}
""")
    r = quern.cli("check", config)
    assert r.returncode == 0, r.stderr
    notes = [line.split("config.pbtxt: ")[1] for line in r.stdout.splitlines() if line.startswith("a: config.pbtxt: ")]
    said = {n.split(" (")[0] for n in notes}
    assert said == {"name", "max_batch_size", "version_policy", "max_queue_delay_microseconds", "preferred_batch_size", "max_queue_size", "model_warmup", "parameters"}, notes
    assert all(n.endswith(" has no effect here") for n in notes)
    for line in ["max_batch: 4\n", "instances: 3\n", "queue_max: 9\n", "delay: 2ms\n", "preferred: [2]\n", "cache: 1MiB\n"]:
        assert line in r.stdout, line
    config.write_text(f"repository: {{path: {tmp_path}/models}}\nmodels: {{a: {{version: '1', versions: [2]}}}}\n")
    r = quern.cli("check", config)
    assert r.returncode == quern.EXIT_CONFIG and "version and versions contradict each other" in r.stderr
    config.write_text(f"repository: {{path: {tmp_path}/models}}\nmodels: {{a: {{path: '{tmp_path}/models/a', backend: tflite}}}}\n")
    r = quern.cli("check", config)
    assert "platform (quern.yaml says otherwise)" in r.stdout
