"""Runs that a model makes before it is ready: made up, zero, or from files of its folder."""

import shutil
import struct

import pytest

import quern
from quern import Load, expect_prediction, predict_body, wait_until

FLOWER = [5.1, 3.5, 1.4, 0.2]


def put(folder, version, name="iris.onnx"):
    aside = folder / f".{version}.new"
    aside.mkdir(parents=True)
    shutil.copy(quern.DATA / name, aside / "model.onnx")
    aside.rename(folder / str(version))


def runs_of(server, model="m"):
    """How long the load took is told by the model; what ran is told by its `delay`."""
    return server.get(f"/v2/models/{model}/stats").json()["model_stats"][0]["execution_count"]


def test_warm_up_takes_its_time_before_ready_and_does_not_count_as_requests(serve):
    warm = 'warm_up: {first: {count: 4}, second: {batch_size: 3, inputs: {INPUT0: zero}}}'
    s = serve(config=f"models: {{m: {{path: 'builtin:delay', parameters: {{execute_delay_ms: '100', dims: '2'}}, {warm}, max_batch: 2}}}}")
    # 4 runs, then 3 rows in runs of 2 and 1
    assert s.model("m")["load_ms"] >= 600
    assert runs_of(s) == 0
    assert s.predict("m", [1, 2]).status == 200


@pytest.mark.onnx
@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_warm_up_that_fails_is_a_model_that_fails(serve, tmp_path, isolation):
    (tmp_path / "warmup").mkdir()
    shutil.copy(quern.DATA / "embedding.onnx", tmp_path / "m.onnx")
    index = tmp_path / "warmup/index"
    index.write_bytes(struct.pack("<q", 10**6))
    warm = "{bad: {inputs: {ids: {file: index, dims: [1, 1]}, mask: {dims: [1, 1]}}}}"
    s = serve(config=f'models: {{m: {{path: "{tmp_path}/m.onnx", isolation: {isolation}, warm_up: {warm}}}}}', wait=False)
    failed = lambda: [m["reason"] for m in (s.status() or {"models": []})["models"] if m["state"] == "failed"]
    reason = wait_until(failed, 10, "the failure")[0]
    assert "warm-up 'bad': the run failed" in reason
    index.write_bytes(struct.pack("<q", 1))
    s.reload()
    wait_until(lambda: s.get("/v2/models/m/ready").status == 200, 10, "the model that runs with other data")


def test_made_up_rows_of_a_model_that_takes_pictures_are_pictures(serve):
    s = serve(config="""
models:
  look: {backend: image, parameters: {width: 4, height: 4}, warm_up: {one: {}, some: {batch_size: 3, inputs: {IMAGE: zero}}}}
""")
    assert s.model("look")["state"] == "ready"


def test_a_warm_up_that_crashes_is_given_up(serve):
    model = "path: 'builtin:crash', parameters: {dims: '2', datatype: INT32, on: '0', how: abort}"
    s = serve(config=f"models: {{m: {{{model}, warm_up: {{bad: {{inputs: {{INPUT0: zero}}}}}}}}}}", wait=False)
    failed = lambda: [m["reason"] for m in (s.status() or {"models": []})["models"] if m["state"] == "failed"]
    assert "gave up after 5 starts" in wait_until(failed, 60, "the failure")[0]


@pytest.mark.onnx
def test_triton_warm_up_with_a_file_and_a_bad_one_leaves_the_old_version(serve, tmp_path):
    m = tmp_path / "models/m"
    put(m, 1)
    (m / "warmup").mkdir()
    (m / "warmup/flower").write_bytes(struct.pack("<8f", *FLOWER, *FLOWER))
    pbtxt = """
model_warmup {
  name: "flower" batch_size: 2 count: 3
  inputs { key: "X" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "flower" } }
}
"""
    (m / "config.pbtxt").write_text(pbtxt)
    s = serve(config=f"repository: {{path: {tmp_path}/models}}")
    assert s.predict("m", FLOWER).status == 200
    with Load(s, [("/predict", predict_body("m", FLOWER), expect_prediction(0))], connections=2, enough=20) as load:
        for text, words in [
            (pbtxt.replace("dims: [ 4 ]", "dims: [ 5 ]"), "batch_size and dims make [2,5], the model takes [-1,4]"),
            (pbtxt.replace("FP32", "INT64"), "data_type is INT64, the model's is FP32"),
            (pbtxt.replace('"X"', '"Y"'), "the model has no input 'Y'; its inputs are X"),
            (pbtxt.replace('"flower" }', '"gone" }'), "cannot read warmup/gone: No such file"),
            (pbtxt.replace("batch_size: 2", "batch_size: 3"), "warmup/flower has 32 bytes, 48 are needed"),
        ]:
            (m / "config.pbtxt").write_text(text + f"# {words}\nmax_batch_size: 16 dynamic_batching {{}}\n")
            s.reload()
            wait_until(lambda: words in s.status()["last_error"], 10, words)
            assert "warm-up 'flower'" in s.status()["last_error"] and "the old version goes on" in s.status()["last_error"]
    assert load.failures == [] and load.ok > 20
    (m / "config.pbtxt").write_text(pbtxt + "max_batch_size: 16 dynamic_batching {}\n")
    s.reload()
    wait_until(lambda: s.get("/v2/models/m/config").json()["max_batch_size"] == 16, 10, "the model with its warm-up in order")


@pytest.mark.parametrize(
    "warm,words",
    [
        ("{a: {inputs: {X: {file: ../x}}}}", "models.m.warm_up.a.inputs.X.file: a plain name of a file"),
        ("{a: {inputs: {X: {data: file}}}}", "models.m.warm_up.a.inputs.X: data: file needs a file"),
        ("{a: {inputs: {X: {data: zero, file: x}}}}", "only data: file has a file"),
        ("{a: {inputs: {X: {datatype: FLOAT}}}}", "there is no such type"),
        ("{a: {inputs: {X: {dims: [4, 0]}}}}", "dims are whole numbers from 1"),
        ("{" + ", ".join(f'"{k}' + "\\x01" * 200 + '": {}' for k in range(5)) + "}", "are too many in all"),  # as JSON
        ("{a: {count: 0}}", "expected a whole number from 1 to 10000"),
        ("{a: {inputs: {X: ones}}}", "expected one of random, zero, file"),
    ],
)
def test_warm_up_that_cannot_be_meant_is_refused(tmp_path, warm, words):
    config = tmp_path / "quern.yaml"
    config.write_text(f'models: {{m: {{path: "{quern.DATA}/iris.onnx", warm_up: {warm}}}}}\n')
    r = quern.cli("check", config)
    assert r.returncode == quern.EXIT_CONFIG and words in r.stderr, r.stderr
