"""Several models as one: pictures in, labels out; errors that name the step; members that die, change and fail."""

import base64
import json
import os
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
    s = serve(config=config(tmp_path, pre="width: 8, height: 8, max_side: 65535"))
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
    wait_until(lambda: "does not fit" in s.get("/v2/models/look/ready").body.decode() + str(s.status()), 10, "the reason")
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
