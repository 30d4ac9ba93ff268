"""What loading and unloading leaves behind, and what a second start need not do again."""

import os
import pathlib
import shutil

import pytest

import quern
from quern import wait_until

CYCLES = 50
SLACK_KIB = 2048  # of resident memory: allocators keep a page here and there; one leaked segment or model is more
SHM = pathlib.Path("/dev/shm")


def rss_kib(pid):
    return int(quern.proc_status(pid)["VmRSS"].split()[0])


def held(pid):
    """What a process holds: descriptors, shared memory, threads."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    return len(os.listdir(f"/proc/{pid}/fd")), maps.count("memfd:"), len(os.listdir(f"/proc/{pid}/task"))


def holdings(s):
    return [held(s.master_pid), held(s.pids("edge")[0]), len(quern.children(s.process.pid)), len(list(SHM.glob("*quern*")))]


def check_cycles(s, cycle):
    """cycle() loads a model, uses it and unloads it. After a few, nothing grows any more."""
    family = [s.master_pid, *s.pids("edge")]
    for _ in range(5):
        cycle()
    wait_until(lambda: not s.processes("worker"), 5, "the last worker's end")
    before, rss = holdings(s), [rss_kib(p) for p in family]
    for _ in range(CYCLES):
        cycle()
    wait_until(lambda: all(a <= b for a, b in zip(holdings(s), before)), 10, f"as little held as before: {before}")
    assert [s.master_pid, *s.pids("edge")] == family, "nobody died"
    if not quern.IS_SANITIZED:  # there freed memory is held back on purpose
        grown = [rss_kib(p) - r for p, r in zip(family, rss)]
        assert max(grown) < SLACK_KIB, f"KiB that master and edge grew by in {CYCLES} cycles: {grown}"


def test_models_that_come_and_go_by_reload_leave_nothing(serve):
    s = serve(config="models: {}")

    def cycle():
        s.write_config('models: {m: {path: "builtin:identity", parameters: {dims: "1024"}}}')
        s.reload()
        wait_until(lambda: s.predict("m", [1] * 1024).status == 200, 10, "the model")
        s.write_config("models: {}")
        s.reload()
        wait_until(lambda: s.predict("m", [1]).status == 404, 10, "its end")

    check_cycles(s, cycle)


@pytest.mark.onnx
def test_models_that_come_and_go_by_request_leave_nothing(serve, tmp_path):
    (tmp_path / "m/1").mkdir(parents=True)
    shutil.copy(quern.DATA / "iris.onnx", tmp_path / "m/1/model.onnx")
    s = serve(config=f"repository: {{path: {tmp_path}, mode: explicit}}")

    def cycle():
        assert s.post("/v2/repository/models/m/load", b"").status == 200
        assert s.predict("m", [5.1, 3.5, 1.4, 0.2]).status == 200
        assert s.post("/v2/repository/models/m/unload", b"").status == 200
        wait_until(lambda: not s.processes("worker"), 10, "the worker's end")

    check_cycles(s, cycle)


# ---- what a start keeps for the next ----


def batching_of(s):
    m = s.model("m")
    return {key: m.get(key) for key in ("max_batch", "batch_reason", "batching")}


@pytest.mark.onnx
def test_what_was_found_out_of_batching_is_kept_for_the_next_start(serve, tmp_path):
    model, data = tmp_path / "m.onnx", tmp_path / "data"
    shutil.copy(quern.DATA / "mlp.onnx", model)

    def files():
        return {p.name: p.stat().st_mtime_ns for p in (data / "cache/m").glob("batching-*")}

    def start():
        s = serve(model, data=data)
        found = batching_of(s)
        s.close()
        return found, files()

    def start_until_it_is_kept():
        """A machine that is not calm measures again at each start."""
        last = start()
        for _ in range(12):
            before, last = last, start()
            if last == before:
                return last
        pytest.fail("twelve starts looked again")

    first = start_until_it_is_kept()
    assert len(first[1]) == 1

    # Another file is looked at anew, and what was found out of the first one stays; what is unreadable is found out again.
    shutil.copy(quern.DATA / "mlp.onnx", tmp_path / "new")
    (tmp_path / "new").rename(model)
    second = start_until_it_is_kept()
    assert len(second[1]) == 2 and first[1].items() < second[1].items()
    (name,) = second[1].keys() - first[1].keys()
    kept = data / "cache/m" / name
    size = kept.stat().st_size
    kept.write_bytes(b"x" * 100)
    start()
    assert kept.stat().st_size == size
