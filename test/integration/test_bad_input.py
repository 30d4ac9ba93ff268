"""What is wrong with a request is answered with 4xx and the place; nobody else notices."""

import json
import random
import time

import pytest

import quern
from quern import Client, Load, expect_prediction, percentile, predict_body

BRACKETS = b"[" * 5_000_000

# model, features as JSON text, what the error must name
PREDICT = [
    ("wide", "[1,2]", ["INPUT0", "[-1,16]", "[1,2]"]),
    ("wide", "[[1,2],[3]]", ["features", "byte"]),
    ("wide", '"x"', ["INPUT0"]),
    ("wide", "{}", ["INPUT0"]),
    ("wide", "null", ["INPUT0"]),
    ("identity", "7", ["INPUT0", "[-1,-1]"]),
    ("identity", '["a","b"]', ["features", "element 0", "string"]),
    ("identity", "[1,true]", ["features", "element 1", "true"]),
    ("identity", "[1,null]", ["features", "element 1"]),
    ("identity", "[1,1e39]", ["features", "element 1", "range of FP32"]),
    ("identity", "[-1e999]", ["features", "element 0", "range of FP32"]),
    ("identity", "[1,]", ["byte"]),
    ("identity", "[1 2]", ["byte"]),
    ("identity", "[01]", ["byte"]),
    ("identity", "[1.]", ["byte"]),
    ("identity", "[+1]", ["byte"]),
    ("identity", "[0x10]", ["byte"]),
    ("identity", "[--1]", ["byte"]),
    ("identity", "[1", ["byte"]),
    ("ids", "[1,1.5]", ["features", "element 1", "1.5", "INT64"]),
    ("ids", "[1,9223372036854775808]", ["features", "element 1", "range of INT64"]),
    ("ids", "[-9223372036854775809,1]", ["features", "element 0", "range of INT64"]),
    ("small", "[0,1,256,3]", ["features", "element 2", "range of UINT8"]),
    ("small", "[0,-1,2,3]", ["features", "element 1", "range of UINT8"]),
    ("half", "[1,2,3,65520]", ["features", "element 3", "range of FP16"]),
    ("flags", "[1,2]", ["features"]),
    ("bytes", '["a",1]', ["features", "[1]", "string"]),
    ("bytes", '["a","\\ud800"]', ["features", "surrogate"]),
    ("bytes", '["a","b","c"]', ["INPUT0", "[1,3]"]),
    ("picture", "[[[1,2,3],[4,5]]]", ["features", "byte"]),
    ("picture", "[[1,2],[3,4],[5,6]]", ["INPUT0", "[-1,2,3]"]),
    ("picture", "[[[[1,2,3],[4,5,6]]]]", ["INPUT0"]),
]


def check_predict(r, status, words):
    assert r.status == status, r
    body = r.json()
    assert body["code"] == status
    assert body["request_id"] == r.headers["x-request-id"]
    for word in words:
        assert word in body["message"], body


@pytest.mark.parametrize("model, features, words", PREDICT)
def test_predict_names_the_place(identity, model, features, words):
    r = identity.post("/predict", b'{"modelId":"%s","features":%s}' % (model.encode(), features.encode()))
    check_predict(r, 400, words)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "nan"])
def test_predict_refuses_what_is_not_json(identity, token):
    r = identity.post("/predict", b'{"modelId":"identity","features":[1,%s]}' % token.encode())
    check_predict(r, 400, ["features", "byte"])


BODIES = [
    (b"", 400, ["empty"]),
    (b"   ", 400, ["empty"]),
    (b"null", 400, ["object"]),
    (b"[]", 400, ["object", "byte 0"]),
    (BRACKETS, 400, ["byte"]),
    (b'{"features":' + BRACKETS, 400, ["features", "byte"]),
    (b'{"modelId":"identity","features":[1],"more":' + b'{"a":' * 1000, 400, []),
    (b'{"modelId":"identity","features":[1]} x', 400, ["byte 38"]),
    (b'{"modelId":"identity","features":[1],"features":[2]}', 400, ["features", "twice"]),
    (b'{"modelId":"identity","modelId":"ids","features":[1]}', 400, ["modelId", "twice"]),
    (b'{"modelId":"identity","features":["\xff"]}', 400, ["UTF-8", "byte"]),
    (b'{"modelId":"\xed\xa0\x80","features":[1]}', 400, ["modelId", "UTF-8"]),
    (b'{"modelId":"identity\x00","features":[1]}', 400, ["byte"]),
    (b'{"modelId":"identity","Features":[1]}', 400, ["Features"]),
    (b'{"modelId":"identity"}', 400, ["features", "inputs"]),
    (b'{"modelId":"identity","features":[1],"inputs":{}}', 400, ["features", "inputs"]),
    (b'{"modelId":7,"features":[1]}', 400, ["modelId", "string"]),
    (b'{"features":[1]}', 400, ["modelId"]),
    (b'{"modelId":"identity","inputs":{"INPUTO":[[1]]}}', 400, ["INPUTO", "INPUT0"]),
    (b'{"modelId":"identity","inputs":{"INPUT0":[[1]],"INPUT0":[[1]]}}', 400, ["INPUT0", "twice"]),
    (b'{"modelId":"nobody","features":[1]}', 404, ["nobody"]),
    (b'{"modelId":"identity","version":"2","features":[1]}', 404, ["identity", "2"]),
    (b'{"modelId":"' + b"x" * 100_000 + b'","features":[1]}', 404, ["xxx"]),
]


@pytest.mark.parametrize("body, status, words", BODIES, ids=range(len(BODIES)))
def test_predict_bodies(identity, body, status, words):
    check_predict(identity.post("/predict", body), status, words)


def test_remedies(identity):
    assert "identity" in identity.predict("identidy", [1]).json()["remedy"]
    r = identity.post("/predict", b'{"modelid":"identity","features":[1]}')
    assert "modelId" in r.json()["remedy"]


def tensor(**changes):
    t = {"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    t.update(changes)
    return {"inputs": [{k: v for k, v in t.items() if v is not ...}]}


V2 = [
    ("identity", tensor(shape=[1, -2]), ["inputs[0].shape[1]", "negative"]),
    ("identity", tensor(shape=[1, 3]), ["inputs[0].data", "[1,3]"]),
    ("identity", tensor(shape=[2]), ["INPUT0", "[-1,-1]", "[2]"]),
    ("identity", tensor(shape=[]), ["INPUT0"]),
    ("identity", tensor(shape=[2**32, 2**32]), ["inputs[0].shape", "too large"]),
    ("identity", tensor(shape=[2**63 - 1, 2]), ["inputs[0].shape", "too large"]),
    ("identity", tensor(shape=[2**64, 1]), ["inputs[0].shape[0]"]),
    ("identity", tensor(shape=[1, 2**40]), []),
    ("identity", tensor(shape=["1", 2]), ["inputs[0].shape[0]"]),
    ("identity", tensor(shape=[1.5, 2]), ["inputs[0].shape[0]", "1.5"]),
    ("identity", tensor(shape={}), ["inputs[0].shape"]),
    ("identity", tensor(shape=[1] * 1000), ["inputs[0].shape[8]", "dimensions"]),
    ("identity", tensor(shape=[0, 2], data=[]), ["identity"]),
    ("identity", tensor(shape=...), ["INPUT0", "shape"]),
    ("identity", tensor(datatype="FP64"), ["INPUT0", "FP64", "FP32"]),
    ("identity", tensor(datatype="fp32"), ["inputs[0].datatype", "fp32"]),
    ("identity", tensor(datatype=3), ["inputs[0].datatype"]),
    ("identity", tensor(datatype=...), ["INPUT0", "datatype"]),
    ("identity", tensor(data=[1]), ["inputs[0].data", "1 elements", "2"]),
    ("identity", tensor(data=[1, 2, 3]), ["inputs[0].data"]),
    ("identity", tensor(data=["a", 2]), ["inputs[0].data", "element 0"]),
    ("identity", tensor(data=[1e39, 2]), ["inputs[0].data", "element 0", "range of FP32"]),
    ("identity", tensor(data={}), ["inputs[0].data"]),
    ("identity", tensor(data=None), ["inputs[0].data"]),
    ("identity", tensor(data=...), ["no field is set"]),
    ("identity", tensor(name="X"), ["X", "INPUT0"]),
    ("identity", tensor(name=...), ["inputs[0]", "name"]),
    ("identity", {"inputs": []}, ["expected 1 inputs but got 0", "INPUT0"]),
    ("identity", {}, ["expected 1 inputs but got 0"]),
    ("identity", {"inputs": {}}, ["inputs"]),
    ("identity", {"inputs": tensor()["inputs"] * 2}, ["inputs[1]", "INPUT0", "already exists"]),
    ("identity", {**tensor(), "outputs": [{"name": "Y"}]}, ["outputs[0]", "Y", "OUTPUT0"]),
    ("identity", {**tensor(), "parameters": {"triton_x": 1}}, ["triton_"]),
    ("ids", tensor(datatype="INT64", data=[1, 2**63]), ["inputs[0].data", "element 1", "range of INT64"]),
    ("ids", tensor(datatype="INT64", data=[1, 2.5]), ["inputs[0].data", "element 1", "2.5"]),
    ("small", tensor(datatype="UINT8", shape=[1, 4], data=[0, 300, 1, 2]), ["element 1", "range of UINT8"]),
    ("half", tensor(datatype="FP16", shape=[1, 4], data=[0, 70000, 1, 2]), ["element 1", "range of FP16"]),
    ("bytes", tensor(datatype="BYTES", data=["a", 1]), ["inputs[0].data"]),
]


@pytest.mark.parametrize("model, body, words", V2, ids=range(len(V2)))
def test_v2_names_the_place(identity, model, body, words):
    r = identity.post(f"/v2/models/{model}/infer", body)
    assert r.status in (400, 413), r
    for word in words:
        assert word in r.json()["error"], r.json()


V2_TEXTS = [
    (BRACKETS, ["byte"]),
    (b'{"inputs":' + BRACKETS, ["inputs", "byte"]),
    (b'{"id":"\xff"}', ["id", "UTF-8"]),
    (b'{"inputs":[],"inputs":[]}', ["inputs", "twice"]),
    (b'{"inputs":[{"name":"INPUT0","shape":[1,1],"shape":[1,1]}]}', ["inputs[0]", "shape", "twice"]),
    (b'{"inputs":[' + b'{"a":' * 500, ["levels"]),
    (b'{"inputs":[{"name":"INPUT0","shape":[1,1],"datatype":"FP32","data":[nan]}]}', ["inputs[0].data"]),
    (json.dumps(tensor()).encode()[:-1], ["byte"]),
    (json.dumps(tensor()).encode() + b"}", ["byte"]),
]


@pytest.mark.parametrize("body, words", V2_TEXTS, ids=range(len(V2_TEXTS)))
def test_v2_texts(identity, body, words):
    r = identity.post("/v2/models/identity/infer", body)
    assert r.status == 400, r
    for word in words:
        assert word in r.json()["error"], r.json()


def binary(head, tail, length=None):
    head = json.dumps(head).encode()
    return head + tail, {"Inference-Header-Content-Length": str(len(head) if length is None else length)}


def binary_tensor(size, **changes):
    return tensor(data=..., parameters={"binary_data_size": size}, **changes)


@pytest.mark.parametrize(
    "model, request_of, words",
    [
        ("identity", binary(binary_tensor(8), b"1234567"), ["INPUT0", "1 additional bytes"]),
        ("identity", binary(binary_tensor(8), b"123456789"), ["1 bytes more"]),
        ("identity", binary(binary_tensor(7), b"1234567"), ["INPUT0", "Expected 8, got 7"]),
        ("identity", binary(binary_tensor(-1), b""), ["binary_data_size"]),
        ("identity", binary(binary_tensor(2**63), b""), ["INPUT0"]),
        ("identity", binary(binary_tensor(8), b"12345678", 10**6), ["header size"]),
        ("identity", binary(binary_tensor(8), b"12345678", -1), ["header size"]),
        ("identity", binary(binary_tensor(8), b"12345678", "x"), ["header size"]),
        ("identity", binary(tensor(parameters={"binary_data_size": 8}), b"12345678"), ["only one of"]),
        ("bytes", binary(binary_tensor(3, datatype="BYTES"), b"\1\0\0"), ["INPUT0", "length indicator"]),
        ("bytes", binary(binary_tensor(5, datatype="BYTES"), b"\2\0\0\0a"), ["INPUT0", "length 2"]),
        ("bytes", binary(binary_tensor(8, datatype="BYTES"), b"\xff\xff\xff\xffabcd"), ["INPUT0", "4294967295"]),
        ("bytes", binary(binary_tensor(5, datatype="BYTES"), b"\1\0\0\0a"), ["expected 2 string elements", "got 1"]),
        ("flags", binary(binary_tensor(2, datatype="BOOL"), b"\0\2"), ["INPUT0", "not 0 or 1"]),
    ],
    ids=range(14),
)
def test_v2_binary_extension(identity, model, request_of, words):
    body, headers = request_of
    r = identity.post(f"/v2/models/{model}/infer", body, headers)
    assert r.status == 400, r
    for word in words:
        assert word in r.json()["error"], r.json()


def test_paths_and_methods(identity):
    assert identity.get("/nowhere").status == 404
    assert identity.get("/v2/models/nobody").status == 404
    assert identity.get("/v2/models/identity/versions/abc").status == 404
    assert identity.get("/v2/models/identity/versions/9").status == 404
    r = identity.get("/predict")
    assert r.status == 405 and "POST" in r.json()["remedy"]
    for path in ("/v2/models/%2e%2e", "/v2/models/a%2Fb", "/v2/models/%00", "/v2/models/%zz", "/../etc/passwd"):
        assert identity.get(path).status in (400, 404), path


@pytest.mark.parametrize("path", ["/predict", "/v2/models/identity/infer"])
def test_bodies_over_the_limit(serve, path):
    s = serve(config='{http: {body_max: 1MiB}, models: {identity: {path: "builtin:identity"}}}')
    with s.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {2**40}\r\n\r\n".encode())
        r = c.receive()
        assert r.status == 413 and "1048576" in r.body.decode(), r
        assert c.is_closed()
    with s.client() as c:  # without a declared length
        c.send(f"POST {path} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(40):
                c.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        except OSError:
            pass  # it may close as soon as it knows
        assert c.receive().status == 413
    assert s.predict("identity", [1]).status == 200


def test_random_damage_to_good_requests_never_hurts(identity):
    rng = random.Random(1)
    good = [
        ("/predict", predict_body("wide", [[0.5] * 16] * 3)),
        ("/predict", b'{"modelId":"bytes","features":["a\\u00e9","b"],"version":"1"}'),
        ("/v2/models/identity/infer", json.dumps({**tensor(), "id": "7", "outputs": [{"name": "OUTPUT0"}]}).encode()),
    ]
    pids = identity.pids("worker") + identity.pids("edge")
    c = identity.client()
    seen = set()
    for _ in range(1500):
        path, body = rng.choice(good)
        damaged = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(damaged))
            kind = rng.randrange(3)
            if kind == 0:
                damaged[at] = rng.choice(b'{}[]",:0-9eE.tfn\\\xff\x00')
            elif kind == 1:
                del damaged[at : at + rng.randint(1, 9)]
            else:
                damaged[at:at] = damaged[max(0, at - 8) : at]
            if not damaged:
                damaged += b"x"
        r = c.request("POST", path, bytes(damaged))
        assert r.status in (200, 400, 404, 413, 501), (path, bytes(damaged), r)
        seen.add(r.status)
    c.close()
    assert {200, 400} <= seen
    assert identity.pids("worker") + identity.pids("edge") == pids, "a process died"


def test_a_storm_of_bad_requests_leaves_a_neighbour_its_latency(serve):
    s = serve(
        config="""
models:
  good: {path: "builtin:identity"}
  wide: {path: "builtin:identity", parameters: {dims: "16"}}
""",
        threads=2,
    )
    neighbour = [("/predict", predict_body("good", [1, 2]), expect_prediction([1, 2]))]

    def p99(seconds):
        with Load(s, neighbour, connections=1) as load:
            time.sleep(seconds)
        assert load.failures == []
        return percentile(load.latencies, 0.99)

    def refused(r):
        return None if 400 <= r.status < 500 else f"{r}"

    bad = [
        ("/predict", b"[" * 200_000, refused),
        ("/predict", b'{"modelId":"wide","features":[[1,2],[3]]}', refused),
        ("/predict", b'{"modelId":"wide","features":' + b"[" * 100_000, refused),
        ("/v2/models/wide/infer", json.dumps(tensor(shape=[2**40, 2])).encode(), refused),
        ("/v2/models/wide/infer", b'{"id":"\xff"}', refused),
        ("/v2/models/wide/infer", json.dumps(tensor(data=["x"] * 1000)).encode(), refused),
    ]
    def beyond():
        """Seconds by which the storm costs more than it may."""
        before = p99(1)
        with Load(s, bad, connections=2, enough=50) as storm:
            assert s.post("/predict", BRACKETS).status == 400  # nothing but brackets, as large as they come
            during = p99(1.5)
        assert storm.failures == [] and storm.ok > 50
        return during - 3 * before

    # Storm and neighbour share two cores with the clients that make them: that is in the figure as well.
    quern.at_best(beyond, 0.005 * quern.SLOW)
