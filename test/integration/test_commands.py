"""What an operator does by command while quern runs: reload, promote, load and unload."""

import json
import pathlib
import shutil

import pytest

import quern

DATA = pathlib.Path(__file__).parent.parent / "data"


def test_reload_by_command(serve):
    s = serve(config="models: {a: builtin:identity}")
    s.write_config("models: {a: builtin:identity, b: builtin:identity}")
    r = quern.cli("reload", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout.startswith("reloaded"), r.stderr
    quern.wait_until(lambda: s.predict("b", [1]).status == 200, 5, "the new model serves")
    s.write_config("models: {a: builtin:nothing}")
    r = quern.cli("reload", "--data", s.data)
    assert r.returncode == quern.EXIT_FAILED and r.stdout == ""
    assert "reload refused" in r.stderr and ":1:10: models.a.backend" in r.stderr
    assert s.predict("a", [1]).status == 200


def test_load_and_unload_by_command(serve):
    s = serve(config="repository: {mode: explicit, load: [a]}\nmodels: {a: builtin:identity, b: builtin:identity}")
    assert s.predict("b", [1]).status != 200
    r = quern.cli("model", "load", "b", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout == "b: loaded\n", r.stderr
    assert s.predict("b", [1]).status == 200, "the answer comes when it serves"
    r = quern.cli("model", "unload", "b", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout == "b: unloaded\n", r.stderr
    assert s.predict("b", [1]).status != 200
    r = quern.cli("model", "load", "none", "--data", s.data)
    assert r.returncode == quern.EXIT_FAILED and "none" in r.stderr


@pytest.mark.onnx
def test_a_load_tells_what_has_no_effect(serve, tmp_path):
    folder = tmp_path / "models" / "net"
    (folder / "1").mkdir(parents=True)
    shutil.copy(DATA / "iris.onnx", folder / "1" / "model.onnx")
    s = serve(config=f"repository: {{path: {tmp_path / 'models'}, mode: explicit}}\n")
    load = "/v2/repository/models/net/load"
    r = s.post(load, b"")
    assert r.status == 200 and r.body == b""
    r = s.post(load, json.dumps({"parameters": {"config": '{"optimization": {}, "max_batchsize": 4}'}}).encode())
    assert r.status == 200, r
    assert r.json()["warning"].startswith("no effect here: ") and "optimization" in r.json()["warning"]
    assert "max_batchsize" in r.json()["warning"]
    (folder / "config.pbtxt").write_text("optimization { }\n")
    r = quern.cli("model", "load", "net", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout == "net: loaded\n"
    assert r.stderr == "net: no effect here: optimization (line 1)\n"


def test_promote_without_a_trial_says_so(serve):
    s = serve("builtin:identity")
    for verb in ("promote", "rollback"):
        r = quern.cli("model", verb, "identity", "--data", s.data)
        assert r.returncode == quern.EXIT_FAILED and "identity" in r.stderr and r.stdout == ""
        r = quern.cli("model", verb, "absent", "--data", s.data)
        assert r.returncode == quern.EXIT_FAILED and "unknown model: 'absent'" in r.stderr
        assert s.post(f"/api/models/absent/{verb}", b"").status == 404


def test_nobody_there(tmp_path):
    for words in (("reload",), ("model", "promote", "m"), ("model", "load", "m"), ("request",)):
        r = quern.cli(*words, "--data", tmp_path)
        assert r.returncode == quern.EXIT_NOT_RUNNING
        assert f"no quern runs with the data directory {tmp_path}" in r.stderr
