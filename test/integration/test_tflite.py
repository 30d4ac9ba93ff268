"""TensorFlow Lite models in the whole program: same service, same protection as ONNX models."""

import json
import os
import pathlib
import re
import shutil
import time

import pytest

import quern
from quern import DATA, Load, expect_prediction, infer_body, kill, predict_body, wait_until

ROW = [0.1, 0.8, 0.5, 0.2]


def engines_installed():
    return quern.BIN.exists() and quern.engine("litert")["installed"]


pytestmark = pytest.mark.skipif(not engines_installed(), reason="LiteRT is not installed: quern engine install litert")


def test_a_file_is_enough(serve):
    s = serve(DATA / "mlp.tflite")
    prediction = s.predict("mlp", ROW).json()["data"]["prediction"]
    assert len(prediction) == 3 and abs(sum(prediction) - 1) < 1e-5
    model = s.get("/v2/models/mlp").json()
    assert model["platform"] == "litert_tflite"
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    body = json.dumps(infer_body([ROW] * 13, "x")).encode()
    assert s.post("/v2/models/mlp/infer", body).json()["outputs"][0]["data"] == pytest.approx(prediction * 13, rel=1e-5)


def test_quantised_models_raw_and_real(serve):
    s = serve(
        config=f"""
models:
  raw: {DATA}/double_int8.tflite
  eight: {DATA}/conv_int8.tflite
  real:
    path: {DATA}/double_int8.tflite
    parameters: {{quantized_io: real}}
  negate:
    path: {DATA}/two_signatures.tflite
    parameters: {{signature: negate}}
"""
    )
    means = s.get("/v2/models/raw").json()["inputs"][0]
    assert means["parameters"] == {"scale": 0.5, "zero_point": 10}
    assert "parameters" not in s.get("/v2/models/real").json()["inputs"][0]
    shown = quern.cli("model", "show", "raw", "--data", s.data).stdout
    assert "x INT8 [-1, 2], a value means (value - 10) * 0.5" in shown
    shown = quern.cli("model", "show", "eight", "--data", s.data).stdout
    assert "image INT8 [-1, 8, 8, 1], a value means (value + 5) * 0.02" in shown
    raw = json.dumps(infer_body([[12, 20]], "x", "INT8")).encode()
    assert s.post("/v2/models/raw/infer", raw).json()["outputs"][0]["data"] == [-1, 7]
    assert s.predict("real", [1, 5]).json()["data"]["prediction"] == [2, 10]
    assert s.predict("negate", [1, 2, 3]).json()["data"]["prediction"] == [-1, -2, -3]


def test_bad_files_say_why(serve, tmp_path):
    for name in ("bad_custom_op", "bad_variable", "bad_zero_points", "mlp"):
        shutil.copy(DATA / f"{name}.tflite", tmp_path)
    (tmp_path / "cut.tflite").write_bytes((DATA / "mlp.tflite").read_bytes()[:500])
    s = serve(tmp_path, wait=False)
    reasons = {
        "bad_custom_op": "custom operator 'SignalWindow'",
        "bad_variable": "keeps state between runs",
        "bad_zero_points": "4000 scales and 1 zero points",
        "cut": "damaged or cut off",
    }
    for name, reason in reasons.items():
        wait_until(lambda n=name: s.model(n)["state"] == "failed", 20, f"the end of {name}'s load")
        assert reason in s.model(name)["reason"]
        assert str(tmp_path) not in s.model(name)["reason"]
    wait_until(lambda: s.model("mlp")["state"] == "ready", 20, "the good one")
    assert s.predict("mlp", ROW).status == 200


def test_killed_worker_loses_nothing(serve):
    s = serve(DATA / "mlp.tflite")
    want = s.predict("mlp", ROW).json()["data"]["prediction"]
    with Load(s, [("/predict", predict_body("mlp", ROW), expect_prediction(want))], connections=4, enough=20) as load:
        for _ in range(3):
            time.sleep(0.3)
            kill(s.pids("worker", "mlp")[0])
            wait_until(lambda: s.pids("worker", "mlp"), 10, "a new worker")
    assert load.failures == [] and load.ok > 20


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(quern.IS_SANITIZED, reason="LeakSanitizer and strace do not go together")
def test_system_calls_of_a_worker(serve, tmp_path):
    log = tmp_path / "trace"
    calls = "trace=network,openat,open,creat,unlink,rename,renameat,mkdir,connect,execve"
    s = serve(DATA / "mlp.tflite", prefix=["strace", "-ff", "-qq", "-s", "300", "-e", calls, "-o", log])
    for _ in range(5):
        assert s.predict("mlp", ROW).status == 200
    wait_until(lambda: s.pids("stem"), 30, "a stem")
    threads, (stem,) = os.listdir(f"/proc/{s.pids('worker', 'mlp')[0]}/task"), s.pids("stem")
    # Opened behind the first worker, by a thread that is gone then.
    wait_until(lambda: "libLiteRt" in pathlib.Path(f"/proc/{stem}/maps").read_text(), 30, "an open engine")
    s.close()
    text = "".join(p.read_text() for t in threads if (p := pathlib.Path(f"{log}.{t}")).exists())
    stems = pathlib.Path(f"{log}.{stem}").read_text()
    assert "mlp.tflite" in text, "the trace shows nothing"
    assert "mlp.tflite" not in stems
    assert not re.search(r"^socket\(|^connect\(|^bind\(|^listen\(|^accept", text, re.M), text
    written = [line for line in text.splitlines() if re.search(r"O_WRONLY|O_RDWR|O_CREAT", line) and " = -1 " not in line]
    before_it_starts = ("/dev/null", "/proc/self/oom_score_adj")
    assert [line for line in written if not any(p in line for p in before_it_starts)] == [], written
