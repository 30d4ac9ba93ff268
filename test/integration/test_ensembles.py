"""Several models as one: pictures in, labels out; errors that name the step; members that die, change and fail."""

import base64
import json
import os
import shutil
import signal
import struct

import pytest

import quern
from quern import Load, wait_until

PICTURES = quern.DATA / "images"
LABELS = ["cat", "dog", "bird", "fish", "fly"]
ENSEMBLE = """
      inputs: [picture]
      outputs: [label, score]
      steps:
        best: {model: top, inputs: {SCORES: scores}, outputs: {LABEL: label, SCORE: score}}
        read: {model: pre, inputs: {IMAGE: picture}, outputs: {PIXELS: pixels}}
        net: {model: cnn, inputs: {x: pixels}, outputs: {y: scores}}
"""


def config(tmp_path, ensemble=ENSEMBLE, pre="width: 8, height: 8", more=""):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    return f"""
models:
  pre: {{backend: image, parameters: {{{pre}}}}}
  cnn: {{path: "{quern.DATA}/conv.onnx"}}
  top: {{backend: topk, path: "{tmp_path}/labels.txt", parameters: {{k: 2, softmax: true}}}}
{more}
  look:
    ensemble:{ensemble}
"""


def picture(name="rgb.png"):
    return (PICTURES / name).read_bytes()


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def body(*pictures):
    return json.dumps({"modelId": "look", "inputs": {"picture": [[b64(p)] for p in pictures]}})


def by_hand(s, data):
    """The same, step by step."""
    pixels = s.post("/predict", json.dumps({"modelId": "pre", "features": [b64(data)]})).json()["data"]["outputs"]["PIXELS"]
    scores = s.post("/predict", json.dumps({"modelId": "cnn", "inputs": {"x": pixels}})).json()["data"]["outputs"]["y"]
    return s.post("/predict", json.dumps({"modelId": "top", "inputs": {"SCORES": scores}})).json()["data"]["outputs"]


@pytest.mark.onnx
def test_a_picture_becomes_labels(serve, tmp_path):
    s = serve(config=config(tmp_path))
    r = s.post("/predict", body(picture(), picture("base.jpg"))).json()["data"]["outputs"]
    for row, name in enumerate(["rgb.png", "base.jpg"]):
        want = by_hand(s, picture(name))
        assert r["label"][row] == want["LABEL"][0]
        assert r["score"][row] == pytest.approx(want["SCORE"][0])
    meta = s.get("/v2/models/look").json()
    assert meta["platform"] == "ensemble"
    assert meta["inputs"] == [{"name": "picture", "datatype": "BYTES", "shape": [-1, 1]}]
    assert meta["outputs"][0] == {"name": "label", "datatype": "BYTES", "shape": [-1, 2]}
    assert s.get("/v2/models/look/ready").status == 200
    assert "look" in s.get("/openapi.json").body.decode()
    for name in ("look", "pre"):  # also behind an ensemble, what goes in is known to be a picture
        sample = s.get(f"/v2/models/{name}/sample").json()
        for path, part in (("/predict", "predict"), (f"/v2/models/{name}/infer", "infer")):
            r = s.post(path, json.dumps(sample[part]))
            assert r.status == 200, r.body


@pytest.mark.onnx
def test_raw_bytes_by_the_open_inference_protocol(serve, tmp_path):
    s = serve(config=config(tmp_path))
    data = picture("base.jpg")
    raw = struct.pack("<I", len(data)) + data
    head = json.dumps({"inputs": [{"name": "picture", "shape": [1, 1], "datatype": "BYTES",
                                   "parameters": {"binary_data_size": len(raw)}}]}).encode()
    r = s.post("/v2/models/look/infer", head + raw, [("Inference-Header-Content-Length", str(len(head)))])
    assert r.status == 200, r
    outputs = {o["name"]: o["data"] for o in r.json()["outputs"]}
    assert outputs["label"] == by_hand(s, data)["LABEL"][0]


@pytest.mark.onnx
def test_bad_pictures_name_step_and_row_and_hurt_nobody_else(serve, tmp_path):
    s = serve(config=config(tmp_path, pre="width: 8, height: 8"))
    workers = s.pids("worker")
    cases = [(b"hello", 400, "neither a JPEG nor a PNG"), (picture()[:100], 400, "damaged PNG file"),
             (picture("base.jpg")[:500], 400, "damaged JPEG file"), (picture("bomb.png"), 413, "60000 x 60000")]
    def is_fine(r):
        return None if r.status == 200 else f"{r.status} {r.body[:200]!r}"

    with Load(s, [("/predict", body(picture()), is_fine)], connections=2) as load:
        for data, status, text in cases:
            r = s.post("/predict", body(picture(), data))
            assert r.status == status and text in r.json()["message"], r
            assert r.json()["message"].startswith("step 'read' (model 'pre'): row 1 of 'IMAGE'")
    assert load.ok > 0 and not load.failures
    assert s.pids("worker") == workers


@pytest.mark.onnx
def test_a_member_that_dies_costs_nothing(serve, tmp_path):
    s = serve(config=config(tmp_path))
    for _ in range(5):
        os.kill(s.pids("worker", "cnn")[0], signal.SIGKILL)
        r = s.post("/predict", body(picture()))
        assert r.status == 200, r
        wait_until(lambda: s.get("/v2/models/cnn/ready").status == 200 and s.pids("worker", "cnn"), 10, "the next worker")


def test_a_member_that_fails_is_the_ensembles_reason(serve, tmp_path):
    chain = """
      inputs: [x]
      outputs: [z]
      steps:
        one: {model: a, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}
        two: {model: b, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}
"""
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    text = f"""
models:
  a: {{backend: identity, parameters: {{dims: "4"}}}}
  b: {{backend: identity, parameters: {{dims: "{{}}"}}}}
  look:
    ensemble:{chain}"""
    s = serve(config=text.replace('"{}"', '"5"'), wait=False)
    wait_until(lambda: "does not fit" in str(s.status()), 10, "the reason")
    reason = str(s.status())
    assert "'OUTPUT0' of step 'one' is FP32 [-1,4]" in reason and "'INPUT0' of step 'two' is FP32 [-1,5]" in reason
    assert s.post("/predict", json.dumps({"modelId": "look", "features": [1, 2, 3, 4]})).status == 503
    s.write_config(text.replace('"{}"', '"4"'))
    s.reload()
    wait_until(lambda: s.get("/v2/models/look/ready").status == 200, 10, "the ensemble")
    r = s.post("/predict", json.dumps({"modelId": "look", "features": [1, 2, 3, 4]}))
    assert r.json()["data"]["prediction"] == [1, 2, 3, 4]


def test_the_deadline_covers_all_steps(serve, tmp_path):
    s = serve(config="""
models:
  slow: {backend: delay, parameters: {execute_delay_ms: 300}}
  look:
    timeout: 500ms
    ensemble:
      inputs: [x]
      outputs: [z]
      steps:
        one: {model: slow, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}
        two: {model: slow, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}
""")
    r = s.post("/predict", json.dumps({"modelId": "look", "features": [1]}))
    assert r.status == 504 and r.json()["message"].startswith("step 'two' (model 'slow')"), r


# ---- ensembles from config.pbtxt ----

CHAIN = """name: "chain"
platform: "ensemble"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
ensemble_scheduling {
  step [
    { model_name: "copy" model_version: -1
      input_map { key: "x" value: "x" }
      output_map { key: "y" value: "middle" } },
    { model_name: "net" model_version: -1
      input_map { key: "X" value: "middle" }
      output_map { key: "probabilities" value: "y" } }
  ]
}
"""
FLOWER = [5.1, 3.5, 1.4, 0.2]


def put(folder, version, name, file="model.onnx"):
    aside = folder / f".{version}.new"
    aside.mkdir(parents=True)
    shutil.copy(quern.DATA / name, aside / file)
    aside.rename(folder / str(version))


def put_chain(repo, text=CHAIN, version="1"):
    (repo / "chain").mkdir(parents=True, exist_ok=True)
    if version:
        (repo / "chain" / version).mkdir(exist_ok=True)
    aside = repo / "chain/.config"
    aside.write_text(text)
    aside.rename(repo / "chain/config.pbtxt")


def put_members(repo):
    put(repo / "copy", 1, "identity_fp32.onnx")
    put(repo / "net", 1, "iris_tensor.onnx")


def ask_chain(s):
    r = s.post("/predict", json.dumps({"modelId": "chain", "features": FLOWER}))
    return r.json()["data"]["prediction"] if r.status == 200 else r.status


@pytest.mark.onnx
def test_an_ensemble_of_a_triton_repository_for_tritons_client(serve, tmp_path):
    http = pytest.importorskip("tritonclient.http")
    np = pytest.importorskip("numpy")
    put_members(tmp_path)
    put_chain(tmp_path)
    s = serve(str(tmp_path))
    with http.InferenceServerClient(":".join(map(str, s.address))) as client:
        assert client.is_model_ready("chain") and client.is_model_ready("chain", "1")
        meta = client.get_model_metadata("chain")
        assert meta["platform"] == "ensemble" and meta["versions"] == ["1"]
        assert meta["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}] and [o["name"] for o in meta["outputs"]] == ["y"]
        assert client.get_model_config("chain")["platform"] == "ensemble"
        rows = np.array([FLOWER, [6.3, 3.3, 6.0, 2.5]], dtype=np.float32)

        def ask(model, name, out):
            x = http.InferInput(name, list(rows.shape), "FP32")
            x.set_data_from_numpy(rows, binary_data=True)
            return client.infer(model, [x]).as_numpy(out)

        assert ask("chain", "x", "y") == pytest.approx(ask("net", "X", "probabilities"), rel=1e-5)
        index = {m["name"]: m["state"] for m in client.get_model_repository_index()}
        assert index == {"chain": "READY", "copy": "READY", "net": "READY"}


@pytest.mark.onnx
def test_versions_of_an_ensemble_are_its_folders(serve, tmp_path):
    put_members(tmp_path)
    put_chain(tmp_path, version="3")
    put_chain(tmp_path, CHAIN + "version_policy { all {} }\n", version="12")
    (tmp_path / "chain/notes").mkdir()
    s = serve(str(tmp_path))
    assert s.get("/v2/models/chain").json()["versions"] == ["3", "12"]
    shutil.rmtree(tmp_path / "chain/12")
    shutil.rmtree(tmp_path / "chain/3")
    s.reload()
    wait_until(lambda: s.get("/v2/models/chain").json()["versions"] == ["1"], 10, "without folders, version 1")


BAD = {
    "a circle": (CHAIN.replace('key: "x" value: "x"', 'key: "x" value: "y"'), ":6: ensemble_scheduling: inputs: no step takes"),
    "a longer circle": (
        CHAIN.replace('key: "x" value: "x"', 'key: "x" value: "y"').replace(
            'input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]', 'input [ { name: "z" data_type: TYPE_FP32 dims: [ 4 ] } ]').replace(
            'input_map { key: "X" value: "middle" }', 'input_map { key: "X" value: "middle" } input_map { key: "Z" value: "z" }'),
        "the steps wait for each other: copy needs \"y\" of net; net needs \"middle\" of copy"),
    "nobody's tensor": (CHAIN.replace('value: "middle" } },\n    { model_name', 'value: "muddle" } },\n    { model_name'),
                        ":11: step 'net': input \"X\" gets tensor \"middle\", which nothing makes; did you mean \"muddle\"?"),
    "an unknown member": (CHAIN.replace('model_name: "net"', 'model_name: "nut"'), ":11: step 'nut': there is no model \"nut\"; did you mean \"net\"?"),
    "a version that is not there": (CHAIN.replace('"net" model_version: -1', '"net" model_version: 7'), "has no version 7"),
    "itself": (CHAIN.replace('model_name: "net"', 'model_name: "chain"'), "a member cannot be an ensemble"),
    "no steps": (CHAIN[: CHAIN.index("ensemble_scheduling")], ":1: ensemble_scheduling: an ensemble has 1 to 32 steps"),
    "a file's backend": (CHAIN.replace("platform: \"ensemble\"", "platform: \"onnxruntime_onnx\""), "a model of backend onnx has no steps"),
    "two sources": (CHAIN.replace('key: "probabilities" value: "y"', 'key: "probabilities" value: "x"'), "is an input of the ensemble already"),
    "a typo in the text": (CHAIN.replace("step [", "step [["), "chain/config.pbtxt:7:9: expected a value"),
}


@pytest.mark.onnx
@pytest.mark.parametrize("name", BAD)
def test_an_ensemble_that_cannot_be_meant_hurts_nobody_else_and_names_the_place(serve, tmp_path, name):
    text, words = BAD[name]
    put_members(tmp_path)
    put_chain(tmp_path, text)
    s = serve(str(tmp_path))
    (bad,) = [m for m in s.status()["models"] if m["state"] == "failed"]
    assert bad["name"] == "chain" and words in bad["reason"] and "config.pbtxt" in bad["reason"], bad["reason"]
    assert s.predict("net", FLOWER).status == 200 and s.predict("chain", FLOWER).status == 503
    put_chain(tmp_path)
    s.reload()
    wait_until(lambda: ask_chain(s) not in (503, 404), 10, "the corrected ensemble")


@pytest.mark.onnx
def test_tensors_that_do_not_fit_are_named_and_a_whole_new_set_takes_over_at_once(serve, tmp_path):
    put_members(tmp_path)
    put_chain(tmp_path)
    s = serve(config=f"repository: {{path: {tmp_path}}}")
    before = ask_chain(s)
    check = [("/predict", json.dumps({"modelId": "chain", "features": FLOWER}), lambda r: None if r.status == 200 else str(r))]
    with Load(s, check, connections=2, enough=20) as load:
        put_chain(tmp_path, CHAIN.replace('key: "X"', 'key: "Z"'))
        s.reload()
        wait_until(lambda: "has no input 'Z'" in s.status()["last_error"], 10, "the reason")
        assert "the old version goes on" in s.status()["last_error"] and ask_chain(s) == pytest.approx(before, rel=1e-5)
        # the member and the ensemble change together: the ensemble waits for the member that it is made for
        put(tmp_path / "net", 2, "layernorm.onnx")
        put_chain(tmp_path, CHAIN.replace('key: "X"', 'key: "x"').replace("probabilities", "y"))
        s.reload()
        wait_until(lambda: isinstance(ask_chain(s), list) and len(ask_chain(s)) == 4, 10, "the new ensemble")
    assert load.ok > 20
    gap = [f for f in load.failures if " 503 " not in f and "<503" not in f]
    assert gap == [], gap


def load_model(s, name, verb="load", parameters=None):
    return s.post(f"/v2/repository/models/{name}/{verb}", json.dumps({"parameters": parameters}) if parameters else b"")


def loaded(s):
    return sorted({m["name"] for m in s.status()["models"] if m["state"] == "ready"})


@pytest.mark.onnx
def test_explicit_an_ensemble_comes_with_its_members_and_goes_with_or_without_them(serve, tmp_path):
    put_members(tmp_path)
    put_chain(tmp_path)
    put(tmp_path / "other", 1, "iris.onnx")
    s = serve(config=f"repository: {{path: {tmp_path}, mode: explicit}}")
    assert loaded(s) == []
    assert load_model(s, "chain").status == 200
    assert isinstance(ask_chain(s), list), "it serves when the answer is there"
    wait_until(lambda: loaded(s) == ["chain", "copy", "net"], 5, "the members")
    assert load_model(s, "chain", "unload").status == 200
    wait_until(lambda: loaded(s) == ["copy", "net"], 5, "members stay")
    s.reload()
    assert loaded(s) == ["copy", "net"]
    assert load_model(s, "chain").status == 200
    assert load_model(s, "net").status == 200  # by itself: it does not go with the ensemble
    assert load_model(s, "chain", "unload", {"unload_dependents": True}).status == 200
    wait_until(lambda: loaded(s) == ["net"], 5, "the member that came with it goes")
    assert load_model(s, "chain").status == 200
    assert load_model(s, "net", "unload").status == 200
    wait_until(lambda: "step 'net': model 'net' is not loaded" in str(s.status()), 5, "the reason")
    assert ask_chain(s) == 503
    s.reload()
    assert "net" not in loaded(s), "what was unloaded stays so"
    assert load_model(s, "net").status == 200
    wait_until(lambda: isinstance(ask_chain(s), list), 5, "the ensemble, whole again")


@pytest.mark.onnx
def test_watch_takes_ensembles_as_they_come_change_and_go(serve, tmp_path):
    put_members(tmp_path)
    s = serve(config=f"repository: {{path: {tmp_path}, mode: watch, scan: 100ms, settle: 200ms}}")
    assert ask_chain(s) == 404
    put_chain(tmp_path)
    wait_until(lambda: isinstance(ask_chain(s), list), 10, "the ensemble")
    first = ask_chain(s)
    put_chain(tmp_path, BAD["nobody's tensor"][0])
    wait_until(lambda: "which nothing makes" in str(s.status()), 10, "the reason")
    put_chain(tmp_path, CHAIN.replace('key: "probabilities" value: "y"', 'key: "label" value: "y"'))
    wait_until(lambda: isinstance(ask_chain(s), int) and ask_chain(s) not in (404, 503), 10, "the changed ensemble")
    assert ask_chain(s) != first
    shutil.rmtree(tmp_path / "chain")
    wait_until(lambda: ask_chain(s) == 404, 10, "its end")


@pytest.mark.onnx
def test_a_member_on_trial_is_not_the_ensembles(serve, tmp_path):
    put_members(tmp_path)
    put_chain(tmp_path)
    s = serve(config=f"repository: {{path: {tmp_path}}}\nmodels: {{net: {{canary: {{percent: 0, shadow: 1, for: 1h}}}}}}")
    put(tmp_path / "net", 2, "layernorm.onnx")
    s.reload()
    wait_until(lambda: any(m["state"] == "canary" for m in s.status()["models"]), 10, "the trial")
    assert s.get("/v2/models/chain/ready").status == 200 and len(ask_chain(s)) == 3
