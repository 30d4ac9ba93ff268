"""What has no worker of its own is compared, too: ensembles, when they or a member of theirs change, and inline models."""

import base64
import json
import re
import shutil

import pytest

import quern
from quern import Load, expect_prediction, predict_body, wait_until, within

SLOW = 5 if quern.IS_SANITIZED else 1
RULES = ", compare: {mode: require, samples: 4, keep_requests: 8}"


def models(s, name=None):
    return [m for m in s.status()["models"] if name in (None, m["name"])]


def told(s, name):
    return [m.get("compared", "") for m in models(s, name)]


def sent_back(s):
    return "sent back" in s.status()["last_error"]


def reload(s, text):
    s.write_config(text)
    s.reload()


# ---- inline models ----


def inline(kind, more="", rules=RULES):
    return f"models: {{m: {{path: 'builtin:{kind}', isolation: inline, parameters: {{dims: '2'{more}}}{rules}}}}}"


def echo(k):
    return ("/predict", predict_body("m", [k, k]), expect_prediction([k, k]))


def test_an_inline_model_runs_the_samples_before_the_swap(serve):
    s = serve(config=inline("identity"))
    with Load(s, [echo(1), echo(2)], connections=2) as load:
        reload(s, inline("identity", ", execute_delay_ms: '1'"))
        wait_until(lambda: told(s, "m")[0].startswith("same: max difference 0 "), 10 * SLOW, "the result")
        assert "kept request" in told(s, "m")[0] and len(models(s)) == 1
        reload(s, inline("repeat", ", times: '2'"))
        wait_until(lambda: sent_back(s), 10 * SLOW, "the verdict")
        assert "OUTPUT0' has the shape" in s.status()["last_error"], s.status()
        s.reload()
        wait_until(lambda: len(models(s)) == 1, 5 * SLOW, "the old one alone")
    assert load.failures == [] and load.ok > 20
    reload(s, inline("repeat", ", times: '2'", RULES.replace("require", "warn")))
    wait_until(lambda: told(s, "m") == [t for t in told(s, "m") if t.startswith("differs: ")], 10 * SLOW, "the warning")
    wait_until(lambda: s.predict("m", [3, 4]).json()["data"]["prediction"] == [3, 4, 3, 4], 5 * SLOW, "the new one")


def test_an_inline_model_that_cannot_load_was_never_compared(serve):
    s = serve(config=inline("identity"))
    reload(s, inline("identity", ", datatype: NONSENSE"))
    wait_until(lambda: "was not replaced" in s.status()["last_error"], 10 * SLOW, "the reason")
    wait_until(lambda: "model was not replaced, the old version goes on" in s.output()[1], 5 * SLOW, "the log says so")
    assert [m["state"] for m in models(s)] == ["ready"] and s.predict("m", [1, 2]).status == 200


def test_kill_9_of_the_edge_while_an_inline_model_is_compared(serve):
    slow = ", execute_delay_ms: '300'"
    s = serve(config=inline("identity", slow, RULES.replace("samples: 4", "samples: 12")))
    reload(s, inline("identity", ", execute_delay_ms: '301'", RULES.replace("samples: 4", "samples: 12")))
    wait_until(lambda: any(m["state"] == "comparing" for m in models(s)), 10 * SLOW, "the comparison")
    quern.kill(s.pids("edge")[0])
    wait_until(lambda: len(models(s)) == 1 and told(s, "m")[0].startswith("same: "), 40 * SLOW, "the result all the same")
    assert s.predict("m", [1, 2]).json()["data"]["prediction"] == [1, 2]


def test_two_reloads_at_once_and_the_last_one_counts(serve):
    slow = RULES.replace("samples: 4", "samples: 40")
    s = serve(config=inline("identity", "", slow))
    with Load(s, [echo(5)], connections=2) as load:
        for k in range(12):
            s.write_config(inline("identity", f", execute_delay_ms: '{k % 4 + 1}'", slow))
            s.process.send_signal(1)  # SIGHUP
        s.reload()
        wait_until(lambda: len(models(s)) == 1 and told(s, "m")[0].startswith("same: "), 20 * SLOW, "the last one")
    assert load.failures == [] and load.ok > 5


# ---- ensembles ----

CHAIN = """
  chain:
    compare: {mode: require, samples: 4, keep_requests: 4}
    ensemble:
      inputs: [x]
      outputs: [z]
      steps:
        one: {model: first, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}
        two: {model: second, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}
"""


def member(kind, more="", rules=""):
    return f"{{path: 'builtin:{kind}', parameters: {{dims: '2'{more}}}{rules}}}"


def chain(first, second=None, ensemble=CHAIN):
    return f"models:\n  first: {first}\n  second: {second or member('identity', ', execute_delay_ms: 1')}{ensemble}"


def through(k, want=None):
    return ("/predict", json.dumps({"modelId": "chain", "features": [k, k]}), expect_prediction(want or [k, k]))


def test_a_member_is_asked_through_its_ensemble(serve):
    s = serve(config=chain(member("identity")))
    with Load(s, [through(1), through(2)], connections=2) as load:
        reload(s, chain(member("identity", ", execute_delay_ms: '1'")))
        wait_until(lambda: told(s, "first") == [t for t in told(s, "first") if "in ensemble 'chain': max difference 0 (" in t], 10 * SLOW, "the result")
        assert "kept request" in told(s, "first")[0] and told(s, "first")[0].startswith("same: ")
        # a member that makes rows of 4 out of rows of 2: the other one does not take them
        reload(s, chain(member("repeat", ", times: '2'")))
        wait_until(lambda: sent_back(s), 10 * SLOW, "the verdict")
        assert "in ensemble 'chain': it could not be served with it" in s.status()["last_error"], s.status()["last_error"]
        assert "does not fit" in s.status()["last_error"], s.status()["last_error"]
        s.reload()
        wait_until(lambda: len(models(s, "first")) == 1, 5 * SLOW, "it is not taken again")
    assert load.failures == [] and load.ok > 20


def test_a_member_that_fails_inside_the_ensemble_is_sent_back(serve):
    typed = ", datatype: INT32"
    made_up = CHAIN.replace(", keep_requests: 4", "")
    s = serve(config=chain(member("identity", typed), member("identity", typed), made_up))
    with Load(s, [through(0), through(5)], connections=2) as load:
        reload(s, chain(member("identity", typed), member("crash", typed + ", on: '1', how: lie"), made_up))
        wait_until(lambda: sent_back(s), 30 * SLOW, "the verdict")
    assert load.failures == [] and load.ok > 10
    assert "in ensemble 'chain': the new version fails on made-up request" in s.status()["last_error"], s.status()["last_error"]
    assert s.predict("chain", [1, 1]).status == 200


def test_an_ensemble_that_only_warns_lets_the_member_pass(serve):
    warns = CHAIN.replace("require", "warn").replace("two: {model: second, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}", "two: {model: second, inputs: {INPUT0: x}, outputs: {OUTPUT0: w}}").replace("outputs: {OUTPUT0: y}", "outputs: {OUTPUT0: z}")
    s = serve(config=chain(member("identity"), ensemble=warns))
    # `require` of its own, and the ensemble's warning: the member agrees with itself no better
    reload(s, chain(member("repeat", ", times: '2'", RULES.replace("require", "warn")), ensemble=warns))
    wait_until(lambda: any(t.startswith("differs: output 'OUTPUT0' has the shape") for t in told(s, "first")), 10 * SLOW, "the first that differs is told")
    wait_until(lambda: s.predict("first", [1, 2]).json()["data"]["prediction"] == [1, 2, 1, 2], 5 * SLOW, "it serves")


def test_an_ensemble_that_changes_is_compared_as_a_whole(serve):
    s = serve(config=chain(member("identity"), member("repeat", ", times: '2'")))
    four = through(3, [3, 3, 3, 3])
    with Load(s, [four], connections=2) as load:
        # the other way round: the same tensors come out
        swapped = CHAIN.replace("model: first", "model: none").replace("model: second", "model: first").replace("model: none", "model: second")
        reload(s, chain(member("identity"), member("repeat", ", times: '2'"), swapped.replace("execute", "x")))
        wait_until(lambda: told(s, "chain")[0].startswith("same: ") or sent_back(s) or "not replaced" in s.status()["last_error"], 10 * SLOW, "the result")
    assert load.failures == [] and load.ok > 5
    assert "not replaced" in s.status()["last_error"] and "does not fit" in s.status()["last_error"], s.status()
    with Load(s, [four], connections=2) as load:
        only_one = CHAIN.replace("two: {model: second, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}", "two: {model: second, inputs: {INPUT0: x}, outputs: {OUTPUT0: z}}").replace(
            "one: {model: first, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}", "one: {model: first, inputs: {INPUT0: x}, outputs: {OUTPUT0: unused}}")
        reload(s, chain(member("identity"), member("repeat", ", times: '2'"), only_one))
        wait_until(lambda: told(s, "chain")[0].startswith("same: max difference 0 "), 10 * SLOW, "the result")
        different = CHAIN.replace("two: {model: second, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}", "two: {model: first, inputs: {INPUT0: y}, outputs: {OUTPUT0: z}}")
        reload(s, chain(member("identity"), member("repeat", ", times: '2'"), different))
        wait_until(lambda: sent_back(s), 10 * SLOW, "the verdict")
        assert "model chain: version 1 was compared with the version before and sent back, the old one goes on: output 'z' has the shape" in s.status()["last_error"]
    assert load.failures == [] and load.ok > 5


@pytest.mark.onnx
def test_pictures_that_were_sent_are_asked_beside_made_up_ones(serve, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\nfish\nfly\n")
    shutil.copy(quern.DATA / "conv.onnx", tmp_path / "cnn.onnx")

    def config(mean):
        return f"""
models:
  pre: {{backend: image, parameters: {{width: 8, height: 8, mean: '{mean}'}}}}
  cnn: {{path: {tmp_path}/cnn.onnx}}
  top: {{backend: topk, path: {tmp_path}/labels.txt, parameters: {{k: 5, softmax: true}}}}
  look:
    compare: {{mode: require, tolerance: 0.001, samples: 6, keep_requests: 4}}
    ensemble:
      inputs: [picture]
      outputs: [label, score]
      steps:
        read: {{model: pre, inputs: {{IMAGE: picture}}, outputs: {{PIXELS: pixels}}}}
        net: {{model: cnn, inputs: {{x: pixels}}, outputs: {{y: scores}}}}
        best: {{model: top, inputs: {{SCORES: scores}}, outputs: {{LABEL: label, SCORE: score}}}}
"""

    s = serve(config=config("0"))
    rgb = base64.b64encode((quern.DATA / "images/rgb.png").read_bytes()).decode()
    body = json.dumps({"modelId": "look", "inputs": {"picture": [[{"b64": rgb}]]}})
    before = s.post("/predict", body)
    assert before.status == 200, before
    assert s.post("/predict", json.dumps({"modelId": "look", "inputs": {"picture": [["no picture"]]}})).status == 400
    reload(s, config("0.000001"))
    wait_until(lambda: any("in ensemble 'look': max difference" in t for t in told(s, "pre")), 10 * SLOW, "the result")
    assert "(1 kept request, 5 made-up requests); tolerance 0.001" in told(s, "pre")[0], told(s, "pre")
    reload(s, config("0.9"))
    wait_until(lambda: sent_back(s), 10 * SLOW, "the verdict")
    assert "model pre: version 1 was compared with the version before and sent back" in s.status()["last_error"]
    assert re.search(r"in ensemble 'look': .* of (kept|made-up) request \d", s.status()["last_error"]), s.status()["last_error"]
    assert s.post("/predict", body).json()["data"]["outputs"]["label"] == before.json()["data"]["outputs"]["label"]


def test_an_unload_while_it_is_compared_leaves_nothing(serve):
    slow = ", compare: {mode: require, samples: 60, keep_requests: 4}"
    ensemble = CHAIN.replace("samples: 4", "samples: 60")
    s = serve(config="repository: {mode: explicit, load: '*'}\n" + chain(member("delay", ", execute_delay_ms: '100'", slow), ensemble=ensemble))
    reload(s, "repository: {mode: explicit, load: '*'}\n" + chain(member("delay", ", execute_delay_ms: '101'", slow), ensemble=ensemble))
    wait_until(lambda: any(m["state"] == "comparing" for m in models(s)), 10 * SLOW, "the comparison")
    for name in ("chain", "first"):
        assert s.post(f"/v2/repository/models/{name}/unload", b"").status == 200
    wait_until(lambda: {m["name"] for m in models(s)} == {"second"}, 10 * SLOW, "both are gone")
    within(lambda: len(s.pids("worker")) == 1, 10 * SLOW, "and their workers")
    assert s.predict("second", [1, 2]).status == 200
