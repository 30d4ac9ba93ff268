"""The protocols' parts beside inference itself: statistics, classification, metrics under Triton's names."""

import numpy as np
import pytest

import quern

http = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def client(identity):
    host, port = identity.address
    with http.InferenceServerClient(f"{host}:{port}") as c:
        yield c


def ask(client, model, array, **kwargs):
    t = http.InferInput("INPUT0", list(array.shape), "FP32").set_data_from_numpy(array)
    return client.infer(model, [t], **kwargs)


def test_statistics_grow_by_what_was_asked(client, identity):
    before = client.get_inference_statistics("wide")["model_stats"][0]
    for rows in (1, 1, 4):
        ask(client, "wide", np.zeros((rows, 16), np.float32))
    assert identity.post("/v2/models/wide/infer", quern.infer_body([1.0] * 16, "INPUTX")).status == 400
    after = client.get_inference_statistics("wide", "1")["model_stats"][0]
    assert after["name"] == "wide" and after["version"] == "1"
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 3
    success, old = after["inference_stats"]["success"], before["inference_stats"]["success"]
    assert success["count"] - old["count"] == 3 and success["ns"] > old["ns"]
    stages = [after["inference_stats"][k] for k in ("queue", "compute_input", "compute_infer", "compute_output")]
    assert all(s["count"] == success["count"] for s in stages)
    assert sum(s["ns"] for s in stages) <= success["ns"]
    sizes = {b["batch_size"]: b["compute_infer"]["count"] for b in after["batch_stats"]}
    assert sizes[4] >= 1 and sum(sizes.values()) == after["execution_count"]
    assert {m["name"] for m in client.get_inference_statistics()["model_stats"]} >= {"wide", "inline", "bytes"}


@pytest.mark.parametrize("model", ["wide", "inline"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_classification(client, model, binary):
    array = np.zeros((2, 16), np.float32)
    array[0, 3], array[0, 5], array[1, 15] = 0.75, 0.5, 2
    out = http.InferRequestedOutput("OUTPUT0", class_count=2, binary_data=binary)
    got = ask(client, model, array, outputs=[out]).as_numpy("OUTPUT0")
    texts = [[x if isinstance(x, str) else x.decode() for x in row] for row in got]
    assert texts == [["0.750000:3", "0.500000:5"], ["2.000000:15", "0.000000:0"]]


def test_metrics_under_tritons_names(client, identity):
    ask(client, "wide", np.zeros((1, 16), np.float32))
    text = identity.get("/metrics/triton").body.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    stats = client.get_inference_statistics("wide")["model_stats"][0]
    label = '{model="wide",version="1"}'
    assert int(lines["nv_inference_request_success" + label]) == stats["inference_stats"]["success"]["count"]
    assert int(lines["nv_inference_count" + label]) == stats["inference_count"]
    assert int(lines["nv_inference_exec_count" + label]) == stats["execution_count"]
    assert int(lines["nv_inference_request_duration_us" + label]) == stats["inference_stats"]["success"]["ns"] // 1000


def test_what_the_server_says_it_can(client):
    extensions = client.get_server_metadata()["extensions"]
    assert {"statistics", "classification", "schedule_policy", "binary_tensor_data"} <= set(extensions)
