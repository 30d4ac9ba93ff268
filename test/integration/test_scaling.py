"""Instances and threads that nobody has set: tried, taken, given back, kept; and nobody who asks notices."""

import os
import signal
import struct

import pytest

import quern
from quern import DATA, Load, kill, wait_until

pytestmark = [
    pytest.mark.onnx,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor leaves nothing to choose"),
]

BUSY = DATA / "busy.onnx"  # about 100 us of arithmetic for a row
ROW = struct.pack("<512f", *[0.001 * k for k in range(512)])


def scale_of(s, name="m"):
    return s.model(name)["scale"]


def is_tried(s, name="m"):
    return bool(scale_of(s, name)["measured"])


def busy_request(name="m"):
    """One row as raw bytes, and a check that it was answered."""
    head = (b'{"inputs":[{"name":"v0","datatype":"FP32","shape":[1,512],"parameters":{"binary_data_size":2048}}]}')
    return (f"/v2/models/{name}/infer", head + ROW, len(head))


def prober_of(s):
    """The process that tries, while it does."""
    return wait_until(lambda: s.status() and s.processes("prober"), 20, "the process that tries", every=0.002)[0]["pid"]


class Pace(Load):
    """Requests with a breath between them, so that the machine is not busy with us."""

    def __init__(self, server, name, connections=2):
        path, body, self.head = busy_request(name)
        super().__init__(server, [(path, body, lambda r: None if r.status == 200 else f"{r.status} {r.body[:200]!r}")], connections)

    def _one(self, client, request):
        path, body, check = request
        r = client.request("POST", path, body, [("Inference-Header-Content-Length", str(self.head))])
        wrong = check(r)
        with self.lock:
            if wrong:
                self.failures.append(wrong)
            else:
                self.ok += 1
        self.stop.wait(0.02)


def test_a_model_alone_gets_more_instances_and_gives_them_back(serve):
    """On a busy machine the choice is believed at the third try, 22 seconds after the first one."""
    alone = f"models: {{m: {BUSY}}}\n"
    s = serve(config=alone)
    first = s.pids("worker")
    assert len(first) == 1 and scale_of(s)["instances_from"] == "auto"
    with Pace(s, "m") as load:
        wait_until(lambda: s.model("m")["instances_ready"] >= 2 or scale_of(s)["threads"] > 1, 60, "more of the machine")
        chosen = scale_of(s)
        assert chosen["instances"] * chosen["threads"] <= chosen["budget"] == len(os.sched_getaffinity(0))
        assert [(t["instances"], t["threads"]) for t in chosen["measured"]][0] == (1, 1)
        before = load.ok
        wait_until(lambda: load.ok > before + 20, 20, "answers of all instances")
        # As many models as processors: one for each.
        many = "".join(f", n{k}: {BUSY}" for k in range(len(os.sched_getaffinity(0)) - 1))
        s.write_config(f"models: {{m: {BUSY}{many}}}\n")
        s.reload()
        wait_until(lambda: len(s.pids("worker", "m")) == 1 and scale_of(s)["budget"] == 1, 20, "one instance again")
        before = load.ok
        wait_until(lambda: load.ok > before + 20, 20, "answers of the one that is left")
    assert load.failures == [], load.failures[:3]
    assert scale_of(s)["state"] == "settled" and scale_of(s)["instances"] == 1


def test_what_was_found_out_on_a_calm_machine_is_kept(serve, tmp_path):
    data = tmp_path / "data"
    s = serve(BUSY, data=data)
    try:
        wait_until(lambda: scale_of(s, "busy")["state"] == "settled", 6, "a calm moment", patience=1)
    except AssertionError:
        pytest.skip("the machine was not calm")
    found = scale_of(s, "busy")
    assert not found["kept"] and len(list((data / "cache/busy").glob("scale-*"))) == 1
    s.close()
    s = serve(BUSY, data=data)
    again = scale_of(s, "busy")
    assert again["kept"] and again["measured"] == found["measured"] and again["instances"] == found["instances"]
    assert len(s.pids("worker")) == found["instances"]
    s.close()
    # Damaged, it is found out again.
    (kept,) = (data / "cache/busy").glob("scale-*")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff" * 9)
    s = serve(BUSY, data=data)
    assert not scale_of(s, "busy")["kept"] and len(s.pids("worker")) == 1


def test_what_is_set_is_not_tried(serve):
    s = serve(config=f"models: {{m: {{path: {BUSY}, instances: 2, threads: 1}}}}")
    scale = scale_of(s)
    assert (scale["state"], scale["instances"], scale["threads"], scale["instances_from"]) == ("fixed", 2, 1, "configured")
    assert len(s.pids("worker")) == 2


def test_a_quick_model_is_not_tried(serve):
    """Twice the processors of the connections would not bring rows for two."""
    s = serve(config=f"models: {{m: {DATA / 'mlp.onnx'}}}")
    wait_until(lambda: scale_of(s)["state"] == "settled", 10, "the choice")
    assert "as the connections can bring" in scale_of(s)["reason"] and not is_tried(s)


def test_one_processor_leaves_nothing_to_try(serve):
    core = min(os.sched_getaffinity(0))
    s = serve(BUSY, prefix=("taskset", "-c", str(core)))
    assert (scale_of(s, "busy")["state"], scale_of(s, "busy")["budget"]) == ("settled", 1)


def test_built_in_and_inline_models_do_not_choose(serve):
    s = serve(config=f'models: {{b: "builtin:identity", m: {{path: {BUSY}, isolation: inline}}}}')
    assert scale_of(s, "b")["state"] == "fixed" and "scale" not in s.model("m")


def test_the_death_of_the_prober_costs_nothing(serve):
    s = serve(BUSY, wait=False)
    kill(prober_of(s), signal.SIGKILL)
    wait_until(lambda: "has died" in scale_of(s, "busy")["reason"], 10, "the news")
    path, body, head = busy_request("busy")
    assert s.post(path, body, [("Inference-Header-Content-Length", str(head))]).status == 200
    assert s.model("busy")["instances_ready"] == 1
    wait_until(lambda: is_tried(s, "busy"), 30, "another try")


def test_a_stop_while_it_is_tried_is_clean(serve):
    s = serve(BUSY, wait=False)
    prober = prober_of(s)
    s.signal(signal.SIGTERM)
    assert s.process.wait(10) == 0
    assert not quern.is_alive(prober)
