"""Model files as strangers send them: a bad one fails with its reason, the others serve."""

import json
import os
import random
import shutil

import pytest

import quern
from quern import DATA, EXIT_FINE, cli, wait_until

pytestmark = pytest.mark.onnx

FLOWER = [5.1, 3.5, 1.4, 0.2]


def assert_failed(s, name, *words):
    """The reason is in every place where one would look."""
    model = wait_until(lambda: (m := s.model(name))["state"] in ("failed", "ready") and m, 20, f"the end of {name}'s load")
    assert model["state"] == "failed", model
    shown = [
        model["reason"],
        s.master_model(name)["reason"],
        next(m["reason"] for m in s.get("/v2/health/ready").json()["models"] if m["name"] == name),
        cli("status", "--data", s.data).stdout,
        json.loads(s.predict(name, FLOWER).body)["message"],
    ]
    for text in shown:
        for word in words:
            assert word in text, (word, text)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Every kind of bad file beside a good one, in one server."""
    folder = tmp_path_factory.mktemp("zoo")
    good = (DATA / "iris.onnx").read_bytes()
    made = {
        "text": b"this is not a model\n" * 50,
        "zeros": bytes(4096),
        "cut_half": good[: len(good) // 2],
        "cut_last": good[:-1],
        "zip": b"PK\3\4" + good,
        "nested": b"\x3a\xff\xff\xff\xff\x0f" * 1000,
        "good": good,
    }
    for name, data in made.items():
        (folder / f"{name}.onnx").write_bytes(data)
    for name in ("unknown_domain", "opset_too_new", "ir_too_new", "sequence_output", "output_lies"):
        shutil.copy(DATA / f"{name}.onnx", folder)
    for name in ("absolute", "up", "inner_up", "memory", "missing", "link", "folder_link", "ok"):
        shutil.copy(DATA / f"external_{name}.onnx", folder)
    shutil.copy(DATA / "weights.bin", folder)
    secret = tmp_path_factory.mktemp("outside") / "weights.bin"
    shutil.copy(DATA / "weights.bin", secret)
    (folder / "link.bin").symlink_to(secret)
    (folder / "sub").symlink_to(secret.parent)
    with quern.Server(folder, wait=False) as s:
        s.wait_ready(60)
        yield s


@pytest.mark.parametrize("name", ["text", "zeros", "cut_half", "cut_last", "zip", "nested"])
def test_damaged_file_fails_with_a_reason(zoo, name):
    assert_failed(zoo, name)


@pytest.mark.parametrize(
    "name, words",
    [
        ("unknown_domain", ["com.example.ops"]),
        ("opset_too_new", ["99"]),
        ("ir_too_new", ["99"]),
        ("sequence_output", ["sequence"]),
        ("external_absolute", ["/etc/passwd", "absolute"]),
        ("external_up", ["../weights.bin", "folder"]),
        ("external_inner_up", ["sub/../../weights.bin", "folder"]),
        ("external_memory", ["_ORT_MEM_ADDR_"]),
        ("external_missing", ["missing.bin"]),
        ("external_link", ["link.bin"]),
        ("external_folder_link", ["sub/weights.bin"]),
    ],
)
def test_unacceptable_file_fails_with_the_reason(zoo, name, words):
    assert_failed(zoo, name, *words)


def test_empty_file_hurts_only_itself(serve, tmp_path):
    """An upload that has begun."""
    (tmp_path / "empty.onnx").write_bytes(b"")
    shutil.copy(DATA / "iris.onnx", tmp_path / "good.onnx")
    s = serve(tmp_path)
    assert_failed(s, "empty", "empty")
    assert s.predict("good", FLOWER).status == 200


def test_good_files_serve_beside_them(zoo):
    assert zoo.predict("good", FLOWER).json()["data"]["prediction"] == 0
    assert zoo.predict("external_ok", FLOWER).status == 200
    assert zoo.get("/v2/health/ready").status == 200
    assert not [c for c in zoo.status()["crashes"]], "a bad file must not crash its worker"


def test_output_that_differs_from_its_declaration_is_served_or_refused_by_name(zoo):
    """The file declares [-1,3] and computes [-1,4]; the trial run at load finds out."""
    r = zoo.predict("output_lies", FLOWER)
    assert r.status in (200, 502, 503), r
    if r.status != 200:
        assert "y" in r.json()["message"]
    shape = zoo.model("output_lies")["outputs"]
    assert not shape or shape[0]["shape"] != [-1, 3], "what is shown must be what comes"


def test_flipped_bits_hurt_nobody_else(serve, tmp_path):
    """Each flip either fails with a reason, or serves something; the neighbour serves all the time."""
    good = (DATA / "mlp.onnx").read_bytes()
    rng = random.Random(7)
    for k in range(24):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / f"flip{k}.onnx").write_bytes(data)
    (tmp_path / "good.onnx").write_bytes(good)
    s = serve(tmp_path, wait=False)
    s.wait_ready(90)
    states = {m["name"]: m for m in s.api()["models"]}
    assert states["good"]["state"] == "ready"
    assert s.predict("good", FLOWER).status == 200
    failed = [m for m in states.values() if m["state"] == "failed"]
    assert failed and all(m["reason"] for m in failed)
    for name in states:
        assert s.predict(name, FLOWER).status in (200, 400, 502, 503, 504), name
    assert s.predict("good", FLOWER).status == 200


def test_huge_claims_in_a_small_file_take_no_memory(serve, tmp_path):
    """A tensor that claims 2^40 elements and brings none."""

    def field(number, payload):
        return varint(number << 3 | 2) + varint(len(payload)) + payload

    def varint(v):
        out = b""
        while v > 127:
            out += bytes([v & 127 | 128])
            v >>= 7
        return out + bytes([v])

    tensor = varint(1 << 3) + varint(1 << 40) + varint(2 << 3) + varint(1) + field(8, b"w")
    graph = field(5, tensor) + field(2, b"g")
    opset = field(1, b"") + varint(2 << 3) + varint(17)
    (tmp_path / "claim.onnx").write_bytes(varint(1 << 3) + varint(8) + field(7, graph) + field(8, opset))
    shutil.copy(DATA / "mlp.onnx", tmp_path / "good.onnx")
    s = serve(tmp_path)
    assert_failed(s, "claim", "w")
    assert s.predict("good", FLOWER).status == 200


@pytest.mark.skipif(os.getuid() != 0, reason="another user's file needs root")
def test_file_that_may_not_be_read(serve, tmp_path):
    """Root reads everything: the folder stands in for it. A model that vanishes between the check and the load says so."""
    shutil.copy(DATA / "mlp.onnx", tmp_path / "m.onnx")
    s = serve(config=f"models: {{m: {tmp_path}/m.onnx, good: 'builtin:identity'}}")
    (tmp_path / "m.onnx").unlink()
    quern.kill(s.pids("worker", "m")[0])
    wait_until(lambda: s.model("m")["reason"], 20, "the reason")
    assert "m.onnx" in s.model("m")["reason"] or "No such file" in s.model("m")["reason"]
    assert s.predict("good", [1]).status == 200


def test_real_models_answer_right(serve):
    s = serve(DATA / "iris.onnx", DATA / "iris_names.onnx", DATA / "iris_tensor.onnx", DATA / "iris_forest.onnx")
    flowers = [[5.1, 3.5, 1.4, 0.2], [7.0, 3.2, 4.7, 1.4], [6.3, 3.3, 6.0, 2.5]]
    for name, want in [
        ("iris", [0, 1, 2]),
        ("iris_tensor", [0, 1, 2]),
        ("iris_forest", [0, 1, 2]),
        ("iris_names", ["setosa", "versicolor", "virginica"]),
    ]:
        data = s.predict(name, flowers).json()["data"]
        assert data["prediction"] == want, name
        assert [s.predict(name, f).json()["data"]["prediction"] for f in flowers] == want
        probabilities = [v for k, v in data["outputs"].items() if "prob" in k][0]
        assert all(abs(sum(row) - 1) < 1e-5 for row in probabilities)


def test_inline_models_of_the_engine(serve):
    s = serve(DATA / "iris.onnx", extra=["--isolation", "inline"], threads=2)
    assert s.model("iris")["isolation"] == "inline" and not s.pids("worker")
    assert s.predict("iris", FLOWER).json()["data"]["prediction"] == 0


def test_run_that_takes_too_long_is_ended_without_a_death(serve):
    """The engine can be asked to stop: the worker lives on, unlike with a model that is deaf."""
    s = serve(config=f"models: {{slow: {{path: {DATA}/slow_loop.onnx, timeout: 500ms}}}}")
    (worker,) = s.pids("worker")
    body = {
        "inputs": [
            {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]},
            {"name": "n", "shape": [], "datatype": "INT64", "data": [2_000_000_000]},
        ]
    }
    r = s.post("/v2/models/slow/infer", body)
    assert r.status == 504, r

    def again():
        body["inputs"][1]["data"] = [3]
        return s.post("/v2/models/slow/infer", body).status == 200

    wait_until(again, 5, "the next request")
    assert s.pids("worker") == [worker]


def test_engine_commands():
    ls = cli("engine", "ls")
    assert ls.returncode == EXIT_FINE and "onnxruntime" in ls.stdout
    assert json.loads(cli("engine", "ls", "--json").stdout)
    assert cli("engine", "verify", "onnxruntime", timeout=60).returncode == EXIT_FINE
    assert cli("engine", "install", "nothing").returncode != EXIT_FINE
