"""A new version is compared with the one that serves before anybody gets it."""

import json
import shutil
import time

import pytest

import quern
from quern import Load, expect_prediction, predict_body, wait_until, within

SLOW = quern.SLOW
FLOWER = [5.1, 3.5, 1.4, 0.2]


def put(folder, version, name):
    aside = folder / f".{version}.new"
    aside.mkdir(parents=True)
    shutil.copy(quern.DATA / name, aside / "model.onnx")
    aside.rename(folder / str(version))


def config(path, compare, more=""):
    return f"models: {{m: {{path: {path}, compare: {{{compare}}}{more}}}}}"


def model(s, version=None):
    found = [m for m in s.status()["models"] if m["name"] == "m" and (version is None or m["version"] == version)]
    return found[0] if found else {}


def versions(s):
    return s.get("/v2/models/m").json()["versions"]


def echo(k):
    return ("/predict", predict_body("m", [k, k]), expect_prediction([k, k]))


def builtin(kind, parameters="", more=""):
    return f"{{path: 'builtin:{kind}', parameters: {{dims: '2'{parameters}}}{more}}}"


# ---- the same, different, failing ----


@pytest.mark.onnx
def test_a_version_that_answers_the_same_takes_over(serve, tmp_path):
    put(tmp_path / "m", 1, "mlp.onnx")
    s = serve(config=config(tmp_path / "m", "mode: require, samples: 5"))
    check = ("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))
    with Load(s, [check], connections=2, enough=10) as load:
        put(tmp_path / "m", 2, "mlp.onnx")
        s.reload()
        wait_until(lambda: versions(s) == ["2"], 10 * SLOW, "the new version")
    assert load.failures == [] and load.ok > 10
    told = model(s, "2")["compared"]
    assert told.startswith("same: max difference ") and "(5 made-up requests); tolerance 0.001" in told, told
    assert "agrees with the version before" in s.output()[1]
    assert "ready  compared with the one before: same: max difference" in quern.cli("status", "--data", s.data).stdout


@pytest.mark.onnx
def test_require_leaves_the_old_version_and_tells_how_far_apart_they_are(serve, tmp_path):
    put(tmp_path / "m", 1, "mlp.onnx")
    s = serve(config=config(tmp_path / "m", "mode: require"))
    before = s.predict("m", FLOWER).json()["data"]["prediction"]
    check = ("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 and r.json()["data"]["prediction"] == pytest.approx(before) else str(r))
    with Load(s, [check], connections=2, enough=20) as load:
        put(tmp_path / "m", 2, "layernorm.onnx")
        s.reload()
        wait_until(lambda: "sent back" in s.status()["last_error"], 10 * SLOW, "the verdict")
        assert "version 2 was compared with the version before and sent back, the old one goes on: output 'y' has the shape" in s.status()["last_error"]
        shown = quern.cli("status", "--data", s.data).stdout
        assert "Last: model m: version 2 was compared with the version before and sent back" in shown, shown
        s.reload()
        time.sleep(0.3)
        assert versions(s) == ["1"], "it is not taken again until it changes"
    assert load.failures == [] and load.ok > 20


def test_a_difference_in_numbers_names_output_row_and_tolerance(serve):
    s = serve(config="models: {m: " + builtin("identity", more=", compare: {mode: require}") + "}")
    with Load(s, [echo(1)], connections=2, enough=5) as load:
        s.write_config("models: {m: " + builtin("repeat", ", times: '2'", ", compare: {mode: require}") + "}")
        s.reload()
        wait_until(lambda: "sent back" in s.status()["last_error"], 10 * SLOW, "the verdict")
    assert load.failures == [] and load.ok > 5
    assert "OUTPUT0" in s.status()["last_error"]
    assert s.predict("m", [3, 4]).json()["data"]["prediction"] == [3, 4]


def test_warn_tells_and_takes(serve):
    s = serve(config="models: {m: " + builtin("identity", more=", compare: {mode: warn}") + "}")
    s.write_config("models: {m: " + builtin("repeat", ", times: '2'", ", compare: {mode: warn}") + "}")
    s.reload()
    wait_until(lambda: model(s).get("compared", "").startswith("differs: "), 10 * SLOW, "the result")
    wait_until(lambda: len(s.predict("m", [3, 4]).json()["data"]["prediction"]) != 2, 5, "the new one")
    assert "differs from the version before" in s.status()["last_error"] and "differs from the version before" in s.output()[1]


@pytest.mark.parametrize("how", ["lie", "abort"])
def test_a_version_that_fails_or_crashes_never_gets_a_client(serve, how):
    compare = ", compare: {mode: require}"
    s = serve(config="models: {m: " + builtin("identity", ", datatype: INT32", compare) + "}")
    with Load(s, [echo(0), echo(5)], connections=2, enough=20) as load:
        # it crashes on a row that begins with 1, as made-up rows do
        s.write_config("models: {m: " + builtin("crash", f", datatype: INT32, on: '1', how: {how}", compare) + "}")
        s.reload()
        wait_until(lambda: "sent back" in s.status()["last_error"] or "not replaced" in s.status()["last_error"], 30 * SLOW, "the verdict")
    assert load.failures == [] and load.ok > 20
    if how == "lie":
        assert "the new version fails on made-up request" in s.status()["last_error"]
    assert s.predict("m", [1, 1]).json()["data"]["prediction"] == [1, 1]


# ---- samples ----


@pytest.mark.onnx
def test_kept_requests_and_warm_up_are_what_is_asked(serve, tmp_path):
    """Two models that differ only where real requests go: made-up rows would not tell."""
    put(tmp_path / "m", 1, "mlp.onnx")
    warm = ", warm_up: {two: {batch_size: 2}}"
    s = serve(config=config(tmp_path / "m", "mode: warn, samples: 8, keep_requests: 4", warm))
    for k in range(6):
        assert s.predict("m", [k, 1, 2, 3]).status == 200
        time.sleep(0.02)
    put(tmp_path / "m", 2, "mlp.onnx")
    s.reload()
    wait_until(lambda: "compared" in model(s, "2"), 10 * SLOW, "the result")
    assert "(4 kept requests, 1 warm-up sample, 3 made-up requests)" in model(s, "2")["compared"]


def test_what_the_old_version_cannot_answer_either_does_not_count(serve):
    crash = ", datatype: INT32, on: '1', how: lie"
    compare = ", compare: {mode: require, samples: 2}"
    s = serve(config="models: {m: " + builtin("crash", crash, compare) + "}")
    s.write_config("models: {m: " + builtin("crash", crash + ", execute_delay_ms: '1'", compare) + "}")
    s.reload()
    wait_until(lambda: "sent back" in s.status()["last_error"], 20 * SLOW, "the verdict")
    assert "nothing could be compared: the version before fails too" in s.status()["last_error"]
    s.write_config("models: {m: " + builtin("crash", crash + ", execute_delay_ms: '2'", compare + ", warm_up: {ok: {inputs: {INPUT0: zero}}}") + "}")
    s.reload()
    wait_until(lambda: model(s).get("compared", "").startswith("same: "), 20 * SLOW, "zeros tell")
    assert "(1 warm-up sample)" in model(s)["compared"]


# ---- with the rest of a roll-out ----


def test_after_the_comparison_comes_the_canary(serve):
    rules = ", keep_old: 60s, compare: {mode: require}, canary: {percent: 100, for: 1h}"
    s = serve(config="models: {m: " + builtin("identity", more=rules) + "}")
    with Load(s, [echo(2)], connections=2, enough=20) as load:
        s.write_config("models: {m: " + builtin("identity", ", execute_delay_ms: '1'", rules) + "}")
        s.reload()
        wait_until(lambda: any(m["state"] == "canary" and m["compared"].startswith("same") for m in s.status()["models"]), 10 * SLOW, "the trial")
        assert s.post("/api/models/m/promote", b"").status == 200
        wait_until(lambda: [m["state"] for m in s.status()["models"]].count("ready") == 1 and "canary" not in str(s.status()["models"]), 5, "the new one")
    assert load.failures == [] and load.ok > 20


def comparing(s):
    return any(m["state"] == "comparing" for m in s.status()["models"])


def slow_pair(serve, more=""):
    """A comparison that lasts: each request takes 300 ms."""
    rules = ", compare: {mode: require, samples: 20}" + more
    s = serve(config="models: {m: " + builtin("delay", ", execute_delay_ms: '300'", rules) + "}")
    s.write_config("models: {m: " + builtin("delay", ", execute_delay_ms: '301'", rules) + "}")
    s.reload()
    wait_until(lambda: comparing(s), 10 * SLOW, "the comparison")
    return s


@pytest.mark.parametrize("who", ["new", "old", "edge"])
def test_kill_9_while_it_is_compared(serve, who):
    s = slow_pair(serve)
    with Load(s, [echo(1)], connections=1, reconnect=who == "edge", enough=3) as load:
        workers = sorted(p["pid"] for p in s.processes("worker") if p["pid"])
        quern.kill({"old": workers[0], "new": workers[-1], "edge": s.pids("edge")[0]}[who])
        wait_until(lambda: model(s).get("compared", "").startswith("same"), 40 * SLOW, "the result all the same")
    assert load.failures == [] and load.ok > 3


def test_it_can_be_sent_back_promoted_or_overtaken_meanwhile(serve):
    s = slow_pair(serve)
    assert s.post("/api/models/m/rollback", b"").status == 200
    within(lambda: not comparing(s) and len(s.pids("worker")) == 1, 10 * SLOW, "the old one alone")
    assert "was compared and sent back" in s.status()["last_error"]
    s.write_config(s.config.read_text().replace("'301'", "'302'"))
    s.reload()
    wait_until(lambda: comparing(s), 10 * SLOW, "the next comparison")
    s.write_config(s.config.read_text().replace("'302'", "'303'"))
    s.reload()
    wait_until(lambda: comparing(s) and len(s.pids("worker")) == 2, 10 * SLOW, "the one that overtook it")
    assert s.post("/api/models/m/promote", b"").status == 200
    wait_until(lambda: not comparing(s) and len(s.pids("worker")) == 1, 10 * SLOW, "the promoted one")
    assert s.predict("m", [1, 2]).status == 200


@pytest.mark.onnx
def test_load_by_request_hears_the_reason(serve, tmp_path):
    put(tmp_path / "models/m", 1, "mlp.onnx")
    s = serve(config=f"repository: {{path: {tmp_path}/models, mode: explicit, load: m}}\nmodels: {{m: {{compare: {{mode: require}}}}}}")
    put(tmp_path / "models/m", 2, "layernorm.onnx")
    r = s.post("/v2/repository/models/m/load", b"")
    assert r.status == 400 and "has the shape" in r.json()["error"], r
    assert versions(s) == ["1"] and json.loads(s.post("/v2/repository/index", b"").body)[0]["state"] == "READY"


def test_a_drain_does_not_wait_for_the_comparison(serve):
    s = slow_pair(serve)
    began = time.monotonic()
    s.close()
    assert time.monotonic() - began < 5 * SLOW
    assert s.process.returncode == 0
