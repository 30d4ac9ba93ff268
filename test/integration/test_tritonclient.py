"""The unmodified HTTP half of the Python package tritonclient."""

import numpy as np
import pytest

http = pytest.importorskip("tritonclient.http")
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

import quern  # noqa: E402


@pytest.fixture(scope="module")
def client(identity):
    host, port = identity.address
    with http.InferenceServerClient(f"{host}:{port}", concurrency=4) as c:
        yield c


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models with several inputs or outputs, or with text, need the engine."""
    names = {"embedding": "embedding", "iris": "iris", "text": "identity_string"}
    config = "models:\n" + "".join(f"  {k}: {quern.DATA / v}.onnx\n" for k, v in names.items())
    with quern.Server(config=config) as s:
        host, port = s.address
        with http.InferenceServerClient(f"{host}:{port}") as c:
            yield c


def tensor(name, array, binary):
    t = http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return t.set_data_from_numpy(array, binary_data=binary)


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("identity")
    assert client.is_model_ready("identity", "1")
    assert not client.is_model_ready("nobody")
    server = client.get_server_metadata()
    assert server["name"] == "quern" and "binary_tensor_data" in server["extensions"]
    m = client.get_model_metadata("wide")
    assert m["name"] == "wide" and m["versions"] == ["1"]
    assert m["inputs"] == [{"name": "INPUT0", "datatype": "FP32", "shape": [-1, 16]}]
    config = client.get_model_config("wide")
    # perf_analyzer: dims without the batch, and the batch apart.
    assert config["input"][0]["dims"] == [16] and config["max_batch_size"] >= 1
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    index = client.get_model_repository_index()
    assert {"name": "wide", "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize(
    "model, array",
    [
        ("wide", np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)),
        ("ids", np.array([[2**63 - 1, -(2**63)]], dtype=np.int64)),
        ("bytes", np.array([["grün".encode(), b""]], dtype=np.object_)),
        ("flags", np.array([[True, False], [False, True]])),
        ("small", np.array([[0, 255, 1, 2]], dtype=np.uint8)),
        ("inline", np.ones((1, 3), dtype=np.float32)),
        ("picture", np.arange(12, dtype=np.float32).reshape(2, 2, 3)),
    ],
    ids=["fp32", "int64", "bytes", "bool", "uint8", "inline", "3d"],
)
def test_infer(client, model, array, binary, binary_out):
    out = http.InferRequestedOutput("OUTPUT0", binary_data=binary_out)
    r = client.infer(model, [tensor("INPUT0", array, binary)], outputs=[out], request_id="q-1")
    got = r.as_numpy("OUTPUT0")
    if model == "bytes" and not binary_out:  # tritonclient makes str of JSON's strings
        got = np.vectorize(str.encode, otypes=[np.object_])(got)
    np.testing.assert_array_equal(got, array)
    response = r.get_response()
    assert response["id"] == "q-1"
    assert response["model_name"] == model and response["model_version"] == "1"
    assert ("data" in response["outputs"][0]) == (not binary_out)


def test_infer_fp16(client):
    a = np.array([[0.5, -2, 65504, 6e-8]], dtype=np.float16)
    r = client.infer("half", [tensor("INPUT0", a, True)])
    np.testing.assert_array_equal(r.as_numpy("OUTPUT0"), a)


def test_nan_through_binary_is_exact(client):
    a = np.array([[np.nan, np.inf, -np.inf, -0.0]], dtype=np.float32)
    r = client.infer("identity", [tensor("INPUT0", a, True)])
    np.testing.assert_array_equal(r.as_numpy("OUTPUT0").view(np.uint32), a.view(np.uint32))


def test_infer_without_requested_outputs_and_with_a_version(client):
    a = np.ones((1, 16), dtype=np.float32)
    r = client.infer("wide", [tensor("INPUT0", a, True)], model_version="1")
    np.testing.assert_array_equal(r.as_numpy("OUTPUT0"), a)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_both_ways(client, algorithm):
    a = np.tile(np.arange(16, dtype=np.float32), (500, 1))
    r = client.infer(
        "wide",
        [tensor("INPUT0", a, False)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
        outputs=[http.InferRequestedOutput("OUTPUT0", binary_data=False)],
    )
    np.testing.assert_array_equal(r.as_numpy("OUTPUT0"), a)


def test_async_infer(client):
    arrays = [np.full((1, 16), k, dtype=np.float32) for k in range(20)]
    handles = [client.async_infer("wide", [tensor("INPUT0", a, True)], request_id=str(k)) for k, a in enumerate(arrays)]
    for k, h in enumerate(handles):
        r = h.get_result()
        assert r.get_response()["id"] == str(k)
        np.testing.assert_array_equal(r.as_numpy("OUTPUT0"), arrays[k])


def test_errors_reach_the_caller_as_text(client):
    with pytest.raises(InferenceServerException, match="unexpected inference input 'X'") as e:
        client.infer("wide", [tensor("X", np.ones((1, 16), np.float32), True)])
    assert e.value.status() == "400"
    with pytest.raises(InferenceServerException, match=r"Expected \[-1,16\], got \[1,4\]"):
        client.infer("wide", [tensor("INPUT0", np.ones((1, 4), np.float32), True)])
    with pytest.raises(InferenceServerException, match="data-type is 'INT64'"):
        client.infer("wide", [tensor("INPUT0", np.ones((1, 16), np.int64), True)])
    with pytest.raises(InferenceServerException, match="'nobody' is not found"):
        client.get_model_metadata("nobody")


def test_request_timeout_is_honoured(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "2000"}}}')
    host, port = s.address
    with http.InferenceServerClient(f"{host}:{port}") as c:
        with pytest.raises(InferenceServerException, match="timeout expired") as e:
            c.infer("slow", [tensor("INPUT0", np.ones((1, 2), np.float32), True)], timeout=200_000)
        assert e.value.status() in ("503", "504")


@pytest.mark.onnx
def test_several_inputs(models):
    ids = np.array([[1, 2, 0], [2, 2, 1]], dtype=np.int64)
    mask = np.array([[1, 1, 0], [1, 0, 0]], dtype=np.int64)

    def ask(*inputs):
        return models.infer("embedding", list(inputs)).as_numpy("y")

    together = ask(tensor("ids", ids, True), tensor("mask", mask, False))
    assert together.shape == (2, 6)
    np.testing.assert_array_equal(ask(tensor("mask", mask, True), tensor("ids", ids, True)), together)
    row = ask(tensor("ids", ids[1:], False), tensor("mask", mask[1:], True))
    np.testing.assert_allclose(row[0], together[1], rtol=1e-6)
    with pytest.raises(InferenceServerException, match="'mask'"):
        ask(tensor("ids", ids, True))
    with pytest.raises(InferenceServerException, match="batch size does not match"):
        ask(tensor("ids", ids, True), tensor("mask", mask[:1], True))


@pytest.mark.onnx
def test_iris_with_one_requested_output(models):
    x = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], dtype=np.float32)
    r = models.infer("iris", [tensor("X", x, True)])
    label, *rest = [o["name"] for o in r.get_response()["outputs"]]
    assert list(r.as_numpy(label)) == [0, 2] and rest
    one = models.infer("iris", [tensor("X", x, False)], outputs=[http.InferRequestedOutput(label)])
    assert [o["name"] for o in one.get_response()["outputs"]] == [label]
    assert list(one.as_numpy(label)) == [0, 2]


@pytest.mark.onnx
def test_strings_through_a_model(models):
    (i,) = models.get_model_metadata("text")["inputs"]
    words = np.array(["", "grün", "x" * 1000], dtype=np.object_)
    array = words.reshape([3] + [1] * (len(i["shape"]) - 1))
    for binary in (True, False):
        r = models.infer("text", [tensor(i["name"], array, binary)])
        got = r.as_numpy(r.get_response()["outputs"][0]["name"])
        assert [w.decode() for w in got.flatten()] == list(words)
