"""kill -9 in each step of a reload, of each who has a part in it. Requests go on (connections of an edge that dies break), and the new version comes;
after the death of the master with the next start.

Steps of src/app/master_reload.c and what follows it: the watch lets files settle; the new worker checks the file's checksum, loads, warms up; the edge
compares it with the old one; it is tried as a canary; it takes over, and the old one drains, or is kept. Moments by chance, and the way back, are in
test_repository.py."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import time
import typing

import pytest

import quern
from quern import SLOW, Load, expect_prediction, is_alive, kill, predict_body, wait_until, within

ROW, FLOWER = [3.0, 4.0], [5.1, 3.5, 1.4, 0.2]
OLD_MAX, NEW_MAX = 8, 9  # of max_batch: tells who is who
CHECKED_BYTES = 300 << 20  # a checksum of so many takes some tenths of a second


@dataclasses.dataclass
class Step:
    """old and new: the models' settings; is_there(server, pids of the old) is true in this step."""

    old: dict
    new: dict
    is_there: typing.Callable
    takes: float  # how long the step is at least, so that a kill after half of it still hits it


def newcomers(s, before):
    return [p["pid"] for p in s.processes("worker") if p["pid"] and p["pid"] not in before]


def has_state(state):
    return lambda s, before: any(m["state"] == state for m in s.status()["models"])


def serves(s, before):
    """The new one alone is known to clients."""
    return known(s) == NEW_MAX


def warms_up(s, before):
    """Its load is over: it has run."""
    return any(pathlib.Path(f"/proc/{pid}/comm").read_text() == "quern-worker\n" for pid in newcomers(s, before))


def builtin(max_batch, more, **parameters):
    return {"path": "builtin:delay", "instances": 1, "max_batch": max_batch, "parameters": {k: str(v) for k, v in {"dims": 2, **parameters}.items()}, **more}


# Many callers: one alone stands on one side of a canary, by chance.
CALLS = [("/predict", predict_body("m", ROW), expect_prediction(ROW), {"x-canary": f"caller {k}"}) for k in range(12)]


def both(is_there, takes, old_ms=1, new_ms=1, load_ms=0, **more):
    old = builtin(OLD_MAX, more, execute_delay_ms=old_ms)
    return Step(old, builtin(NEW_MAX, more, execute_delay_ms=new_ms, load_delay_ms=load_ms), is_there, takes)


STEPS = {
    "load": both(newcomers, 0.5, load_ms=1000),
    "warm_up": both(warms_up, 0.5, new_ms=50, warm_up={"a": {"count": 20}}),
    "compare": both(has_state("comparing"), 0.2, old_ms=20, new_ms=20, compare={"mode": "warn", "samples": 8}),
    "canary": both(has_state("canary"), 1, canary={"percent": 50, "for": "1500ms", "min_requests": 1, "max_slower": 1000}),
    "drain": both(serves, 0.5, old_ms=1500),
    "keep": both(has_state("kept"), 0.5, keep_old="2s"),
}


def known(s):
    return s.get("/v2/models/m/config").json()["max_batch_size"]


def text_of(model):
    return json.dumps({"models": {"m": model}})


def is_new(s):
    try:
        return known(s) == NEW_MAX and [m["state"] for m in s.status()["models"]] == ["ready"]
    except (OSError, KeyError):
        return False  # an edge is just being started again


def victims(s, who, before):
    return {"new": newcomers(s, before), "old": before, "edge": s.pids("edge"), "master": [s.master_pid]}[who]


def expect_no_more(family):
    within(lambda: not any(is_alive(pid) for pid in family), 2 * SLOW, "the end of all children")


@pytest.mark.parametrize("who", ["new", "old", "edge"])
@pytest.mark.parametrize("step", STEPS)
def test_kill_9_of_a_child(serve, step, who):
    at = STEPS[step]
    s = serve(config=text_of(at.old))
    before = s.pids("worker")
    with Load(s, CALLS, connections=3, reconnect=who == "edge", enough=10) as load:
        wait_until(lambda: s.model("m")["in_flight"] > 0, 5, "requests")
        s.write_config(text_of(at.new))
        s.reload()
        wait_until(lambda: at.is_there(s, before), 10 * SLOW, f"the step {step}", every=0.002)
        time.sleep(at.takes / 2)
        killed = victims(s, who, before)
        assert killed, s.status()
        for pid in killed:
            kill(pid)
        wait_until(lambda: is_new(s), 20 * SLOW, f"the new one after the death of the {who} in the step {step}")
    assert load.failures == [] and load.ok > 10
    within(lambda: len(quern.children(s.process.pid)) == 2, 10 * SLOW, "nobody who is not needed")


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_of_the_master(serve, step, tmp_path):
    at, data = STEPS[step], tmp_path / "data"
    s = serve(config=text_of(at.old), data=data)
    before = s.pids("worker")
    with Load(s, CALLS, connections=3, reconnect=True, enough=-1):
        wait_until(lambda: s.model("m")["in_flight"] > 0, 5, "requests")
        s.write_config(text_of(at.new))
        s.reload()
        wait_until(lambda: at.is_there(s, before), 10 * SLOW, f"the step {step}", every=0.002)
        time.sleep(at.takes / 2)
        family = quern.children(s.process.pid)
        kill(s.master_pid)
        expect_no_more(family)
    again = serve(config=text_of(at.new), data=data)
    assert is_new(again) and again.predict("m", ROW).json()["data"]["prediction"] == ROW


# ---- steps that need files ----


def put(folder, version, name, more=b""):
    """At once, as a deployment does it. `more` is a field of the format that the engine passes over."""
    data = (quern.DATA / name).read_bytes() + more
    aside = folder.parent / f".{version}"
    aside.mkdir(parents=True)
    (aside / "model.onnx").write_bytes(data)
    (aside / "model.onnx.sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  model.onnx\n")
    folder.mkdir(exist_ok=True)
    aside.rename(folder / str(version))


def words(n):
    """ModelProto.doc_string of n bytes."""
    size, rest = b"", n
    while rest > 127:
        size, rest = size + bytes([rest & 127 | 128]), rest >> 7
    return b"\x32" + size + bytes([rest]) + b" " * n


def reads_file(s, before):
    """The new worker is about its file."""
    links = (p.resolve() for pid in newcomers(s, before) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    return any(link.name == "model.onnx" for link in links)


def answered(s):
    try:
        r = s.predict("m", FLOWER)
        return r.json()["data"]["prediction"] if r.status == 200 else r.status
    except OSError:
        return None


@pytest.mark.onnx
@pytest.mark.parametrize("who", ["old", "edge", "master"])
def test_kill_9_while_the_watch_lets_a_file_settle(serve, tmp_path, who):
    put(tmp_path / "repo/m", 1, "iris.onnx")
    config, data = f"repository: {{path: '{tmp_path}/repo', mode: watch, scan: 100ms, settle: 2s}}", tmp_path / "data"
    s = serve(config=config, data=data)
    check = ("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))
    with Load(s, [check], connections=2, reconnect=who != "old", enough=-1 if who == "master" else 20) as load:
        put(tmp_path / "repo/m", 2, "iris_names.onnx")
        time.sleep(0.5)
        assert [m["version"] for m in s.status()["models"]] == ["1"], "settled too early"
        family = quern.children(s.process.pid)
        for pid in victims(s, who, s.pids("worker")):
            kill(pid)
        if who == "master":
            expect_no_more(family)
        else:
            wait_until(lambda: answered(s) == "setosa", 20 * SLOW, f"the new one after the death of the {who}")
    if who == "master":
        assert answered(serve(config=config, data=data)) == "setosa"
    else:
        assert load.failures == [] and load.ok > 20


@pytest.mark.onnx
@pytest.mark.parametrize("who", ["new", "old", "edge", "master"])
def test_kill_9_while_the_checksum_is_computed(serve, tmp_path, who):
    put(tmp_path / "m", 1, "iris.onnx")
    config, data = text_of({"path": f"{tmp_path}/m", "instances": 1, "threads": 1}), tmp_path / "data"
    s = serve(config=config, data=data)
    before = s.pids("worker")
    check = ("/predict", predict_body("m", FLOWER), lambda r: None if r.status == 200 else str(r))
    with Load(s, [check], connections=2, reconnect=who in ("edge", "master"), enough=-1 if who == "master" else 20) as load:
        put(tmp_path / "m", 2, "iris_names.onnx", words(CHECKED_BYTES))
        s.reload()
        wait_until(lambda: reads_file(s, before), 20 * SLOW, "the new worker, which reads", every=0.002)
        family = quern.children(s.process.pid)
        for pid in victims(s, who, before):
            kill(pid)
        if who == "master":
            expect_no_more(family)
        else:
            wait_until(lambda: answered(s) == "setosa", 60 * SLOW, f"the new one after the death of the {who}")
    if who == "master":
        assert answered(serve(config=config, data=data)) == "setosa"
    else:
        assert load.failures == [] and load.ok > 20
    shutil.rmtree(tmp_path / "m")
