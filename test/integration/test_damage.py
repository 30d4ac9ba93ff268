"""Compiled models that are damaged on the disk, or by somebody who writes there: right answers again within seconds, and no request fails."""

import contextlib
import os
import random
import signal
import struct
import subprocess
import time

import pytest

import quern
from quern import Load, kill, predict_body, wait_until, within
from test_memory import matrix_model

SIDE = 400
X = [(i * 7) % 11 - 5 for i in range(SIDE)]
SOON = 20 * quern.SLOW  # the heartbeat of two seconds, ten for which the check is patient where no processor is free, and compiling
pytestmark = pytest.mark.onnx


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "m.onnx"
    values = random.Random(1)
    weights = struct.pack(f"<{SIDE * SIDE}f", *(values.uniform(-1, 1) for _ in range(SIDE * SIDE)))
    path.write_bytes(matrix_model(SIDE, weights))
    return path


def config(model, instances=1, parameters="{}"):
    return f"models: {{m: {{path: {model}, instances: {instances}, threads: 1, parameters: {parameters}}}}}"


def answer(s):
    r = s.predict("m", X)
    assert r.status == 200, r
    return r.json()["data"]["prediction"]


def is_right(got, right):
    return all(abs(a - b) < 1e-2 for a, b in zip(got, right, strict=True))


def entry_of(s):
    (entry,) = [p for p in (s.data / "cache/m").iterdir() if p.is_dir()]
    return entry


def spoil(file, every=256):
    """In place, as a disk does it: what maps the file sees it. A high bit of the exponent of some of the numbers."""
    with open(file, "r+b", buffering=0) as f:
        content = bytearray(f.read())
        for i in range(3, len(content), every):
            content[i] ^= 0x40
        f.seek(0)
        f.write(content)


def log_of(s):
    return s.output()[1]


class Watched(Load):
    """Counts answers that are wrong; none may fail."""

    def __init__(self, server, right):
        self.right, self.wrong = right, 0
        super().__init__(server, [("/predict", predict_body("m", X), self.check)], connections=2)

    def check(self, r):
        if r.status != 200:
            return f"{r}"
        if not is_right(r.json()["data"]["prediction"], self.right):
            self.wrong += 1
        return None


@pytest.mark.parametrize("instances", [1, 3])
def test_weights_that_are_damaged_while_they_are_served(serve, model, instances):
    s = serve(config=config(model, instances))
    wait_until(lambda: len(s.pids("worker")) == instances, 20, "all instances")
    right, before, entry = answer(s), set(s.pids("worker")), entry_of(s)
    with Watched(s, right) as load:
        time.sleep(3)  # the check after the start has been: what comes now is noticed for itself
        assert load.wrong == 0
        spoil(entry / "weights")
        within(lambda: not before & set(s.pids("worker")) and len(s.pids("worker")) == instances, SOON, "others in their place")
        time.sleep(0.5)  # those on their way
        wrong = load.wrong
        assert wrong > 0, "else this shows nothing"
        time.sleep(1)
    assert load.failures == [] and load.ok > 0
    assert load.wrong == wrong
    assert is_right(answer(s), right)
    log = log_of(s)
    assert log.count("a compiled model was damaged on the disk") == instances
    assert str(entry) in log and "look for errors of the disk" in log
    reasons = [c["reason"] for c in s.status()["crashes"]]
    assert len(reasons) == instances and all("weights: it is not what was written" in r for r in reasons), reasons
    time.sleep(3)
    assert log_of(s).count("a compiled model was damaged") == instances, "what was made anew is whole"
    # What was damaged is not what the next start finds.
    assert entry_of(s).name == entry.name


@pytest.mark.parametrize("file", ["weights", "model.onnx"])
def test_what_was_damaged_before_the_start(serve, model, tmp_path, file):
    first = serve(config=config(model), data=tmp_path / "data")
    right, entry = answer(first), entry_of(first)
    first.close()
    whole = (entry / file).read_bytes()
    if file == "weights":
        spoil(entry / file)
    else:  # the graph's name: the engine does not mind
        at = whole.find(b"\x12\x01g")
        assert at > 0
        (entry / file).write_bytes(whole[: at + 2] + b"h" + whole[at + 3 :])
    s = serve(config=config(model), data=tmp_path / "data")
    within(lambda: "a compiled model was damaged on the disk" in log_of(s), SOON, "a line about it")
    within(lambda: s.pids("worker") and is_right(answer(s), right), SOON, "right answers")
    assert (entry / file).read_bytes() == whole


def test_checked_first_no_wrong_answer_leaves(serve, model, tmp_path):
    parameters = "{check: first}"
    first = serve(config=config(model, 2, parameters), data=tmp_path / "data")
    right, entry = answer(first), entry_of(first)
    first.close()
    spoil(entry / "weights")
    s = serve(config=config(model, 2, parameters), data=tmp_path / "data")
    assert is_right(answer(s), right)
    assert "a compiled model does not load and is removed" in log_of(s)
    time.sleep(3)
    assert s.status()["crashes"] == [] and is_right(answer(s), right)


def test_weights_that_are_cut_while_they_are_served(serve, model):
    """Reading them ends the worker by a signal: its rows are run again."""
    s = serve(config=config(model))
    right, before, entry = answer(s), set(s.pids("worker")), entry_of(s)
    with Watched(s, right) as load:
        os.truncate(entry / "weights", 4096)
        within(lambda: s.pids("worker") and not before & set(s.pids("worker")), SOON, "another worker")
        time.sleep(1)
    assert load.failures == [] and load.ok > 0
    assert is_right(answer(s), right)


def test_killed_while_it_is_replaced(serve, model):
    s = serve(config=config(model))
    right, entry = answer(s), entry_of(s)
    for delay in (0, 0.002, 0.01, 0.03, 0.06):
        old = s.pids("worker")
        spoil(entry / "weights", every=64)
        within(lambda: s.pids("worker") != old, SOON, "its end")
        time.sleep(delay)
        for pid in [p for p in quern.children(s.master_pid) if p not in s.pids("edge") and p not in s.pids("stem")]:
            kill(pid, signal.SIGKILL)
        within(lambda: s.pids("worker") and is_right(answer(s), right), SOON, "right answers")


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_disk_that_became_read_only(serve, model):
    """What the kernel makes of a file system with errors: what is damaged cannot be removed, and is not used."""
    s = serve(config=config(model))
    right, old, entry = answer(s), s.pids("worker"), entry_of(s)
    folder = entry.parent
    spoil(entry / "weights")
    if subprocess.run(["mount", "--bind", folder, folder]).returncode:
        pytest.skip("cannot mount here")
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", folder])
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        within(lambda: s.pids("worker") not in ([], old), SOON, "another worker")
        assert is_right(answer(s), right)
        assert "cannot be removed: the model is loaded without" in log_of(s)
        new = s.pids("worker")
        time.sleep(5)
        assert s.pids("worker") == new and is_right(answer(s), right)
        s.close()


@pytest.mark.skipif(quern.IS_SANITIZED, reason="memory is the sanitizer's there")
def test_checking_takes_no_memory(serve, tmp_path):
    """Of a model with 64 MB of weights: they are read through a quarter of a mebibyte, and count as nobody's memory."""
    side = 4096
    path = tmp_path / "m.onnx"
    path.write_bytes(matrix_model(side))
    s = serve(config=config(path))
    (worker,) = s.pids("worker")

    def private_kib():
        rows = open(f"/proc/{worker}/smaps_rollup").read().splitlines()
        return sum(int(r.split()[1]) for r in rows if r.startswith(("Private_Dirty", "Private_Clean")))

    def checked():
        return (entry_of(s) / "sums").stat().st_mtime_ns

    before, made = private_kib(), checked()
    wait_until(lambda: checked() > made, SOON, "the check")
    time.sleep(0.5)
    assert s.pids("worker") == [worker]
    assert private_kib() < before + 1024


def test_on_a_machine_without_a_free_processor(serve, model):
    """The lowest priority gets nothing there: after ten seconds it is done at the usual one."""
    core = str(min(os.sched_getaffinity(0)))
    s = serve(config=config(model), prefix=["taskset", "-c", core])
    right, old = answer(s), s.pids("worker")
    busy = [subprocess.Popen(["taskset", "-c", core, "sh", "-c", "while :; do :; done"]) for _ in range(8)]
    try:
        spoil(entry_of(s) / "weights")
        within(lambda: s.pids("worker") not in ([], old), 3 * SOON, "another worker")
    finally:
        for b in busy:
            b.kill()
            b.wait()
    assert is_right(answer(s), right)
