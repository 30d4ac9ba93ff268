"""What loading and unloading leaves behind, and what a second start need not do again."""

import os
import pathlib
import shutil
import struct
import time

import pytest

import quern
from quern import wait_until, within

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
    within(lambda: not s.processes("worker"), 10, "the last worker's end")
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
    # As many as said: the process that would try how many pay comes at its own time.
    s = serve(config=f"repository: {{path: {tmp_path}, mode: explicit}}\nmodels: {{m: {{instances: 1, threads: 1}}}}")

    def cycle():
        assert s.post("/v2/repository/models/m/load", b"").status == 200
        assert s.predict("m", [5.1, 3.5, 1.4, 0.2]).status == 200
        assert s.post("/v2/repository/models/m/unload", b"").status == 200
        within(lambda: not s.processes("worker"), 10, "the worker's end")

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
    flipped = bytearray(kept.read_bytes())
    flipped[-1] ^= 1  # of what is nothing but room
    kept.write_bytes(flipped)
    start()
    assert kept.read_bytes()[-1] == flipped[-1] ^ 1


def weights_of(pid):
    """Files of compiled weights that a process has mapped, by device and inode."""
    rows = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {tuple(row.split()[3:5]) for row in rows if row.endswith("/weights")}


def field(number, content):
    """Of the format's encoding: a message, a text or bytes; a number."""

    def varint(v):
        return bytes([v]) if v < 128 else bytes([v & 127 | 128]) + varint(v >> 7)

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def matrix_model(side, weights=None):
    """y = x * w with a matrix of side * side floats, zeros if not given as bytes."""

    def end(number, name):
        shape = field(1, field(2, b"batch")) + field(1, field(1, side))
        return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))))

    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"MatMul")
    weights = field(1, side) + field(1, side) + field(2, 1) + field(8, b"w") + field(9, weights or bytes(4 * side * side))
    graph = field(1, node) + field(2, b"g") + field(5, weights) + end(11, b"x") + end(12, b"y")
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


def wide_model(columns):
    """y = the largest of x in so many columns: between the two a run needs 4 bytes for each."""

    def end(number, name):
        shape = field(1, field(1, 1)) + field(1, field(1, 1))
        return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))))

    shape = field(1, 2) + field(2, 7) + field(8, b"s") + field(9, struct.pack("<2q", 1, columns))
    expand = field(1, b"x") + field(1, b"s") + field(2, b"wide") + field(4, b"Expand")
    axes = field(1, b"axes") + field(8, 1) + field(20, 7)
    largest = field(1, b"wide") + field(2, b"y") + field(4, b"ReduceMax") + field(5, axes)
    graph = field(1, expand) + field(1, largest) + field(2, b"g") + field(5, shape) + end(11, b"x") + end(12, b"y")
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


def minor_faults(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


@pytest.mark.onnx
@pytest.mark.skipif(quern.IS_SANITIZED, reason="memory is the sanitizer's there")
def test_runs_find_the_memory_of_those_before_until_the_worker_is_idle(serve, tmp_path):
    columns, runs = 10 << 20, 10
    (tmp_path / "m.onnx").write_bytes(wide_model(columns))
    s = serve(config=f"models: {{m: {{path: {tmp_path / 'm.onnx'}, instances: 1, threads: 1}}}}")
    (worker,) = s.pids("worker")
    at_rest = rss_kib(worker)
    assert at_rest < 40 << 10, "trial runs have left nothing"
    assert s.predict("m", [7]).status == 200
    before = minor_faults(worker)
    for _ in range(runs):
        assert s.predict("m", [7]).status == 200
    assert minor_faults(worker) - before < columns * 4 // 4096, "fewer in all of them than one needs for its memory"
    assert rss_kib(worker) > at_rest + (30 << 10)
    within(lambda: rss_kib(worker) < at_rest + SLACK_KIB, 20, "the memory given back after ten seconds")
    assert s.predict("m", [7]).status == 200


def heap_in_huge_pages(pid):
    """Of the C library's heap: KiB for which huge pages were asked, KiB that lie in some."""
    asked = given = size = huge = 0
    is_heap = False
    for row in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, value = row.partition(":")
        if " " in key:  # the first line of a mapping
            is_heap = row.endswith("[heap]")
        elif key == "Size":
            size = int(value.split()[0])
        elif key == "AnonHugePages":
            huge = int(value.split()[0])
        elif key == "VmFlags" and is_heap and "hg" in value.split():
            asked, given = asked + size, given + huge
    return asked, given


@pytest.mark.onnx
@pytest.mark.skipif(quern.IS_SANITIZED, reason="memory is the sanitizer's there")
def test_an_engine_opens_into_huge_pages(serve):
    choice = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not choice.exists() or "[never]" in choice.read_text():
        pytest.skip("the kernel gives no huge pages")
    s = serve(config=f"models: {{m: {{path: {quern.DATA / 'iris.onnx'}, instances: 1, threads: 1}}, plain: {{path: 'builtin:identity', instances: 1}}}}")
    asked, given = heap_in_huge_pages(s.pids("worker", "m")[0])
    assert 8 << 10 < asked < 12 << 10, "what the engine takes while it opens, and not the whole heap"
    assert given >= 4 << 10, "some of its pieces of 2 MiB"
    assert heap_in_huge_pages(s.pids("worker", "plain")[0]) == (0, 0), "a worker without an engine asks for none"


@pytest.mark.onnx
def test_one_instance_compiles_and_all_share_what_it_made(serve, tmp_path):
    (tmp_path / "m.onnx").write_bytes(matrix_model(700))
    model = f"{{path: {tmp_path / 'm.onnx'}, instances: 4, threads: 1}}"
    for start in ("the first", "a later one"):
        s = serve(config=f"models: {{m: {model}}}", data=tmp_path / "data")
        wait_until(lambda: len(s.pids("worker")) == 4, 20, "four instances")
        mapped = [weights_of(p) for p in s.pids("worker")]
        assert len(mapped[0]) == 1 and all(m == mapped[0] for m in mapped), (start, mapped)
        entries = [p for p in (tmp_path / "data/cache/m").iterdir() if p.is_dir()]
        assert len(entries) == 1, "an entry, and nothing half made"
        s.close()


@pytest.mark.onnx
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(quern.IS_SANITIZED, reason="LeakSanitizer and strace do not go together")
def test_a_known_file_is_not_opened_again(serve, tmp_path):
    model, data, log = tmp_path / "m.onnx", tmp_path / "data", tmp_path / "trace"
    shutil.copy(quern.DATA / "mlp.onnx", model)
    config = f"models: {{m: {{path: {model}, instances: 1, threads: 1, parameters: {{compile: always}}}}}}"

    def opened():
        s = serve(config=config, data=data, prefix=["strace", "-ff", "-qq", "-s", "300", "-e", "trace=openat", "-o", log])
        worker = s.pids("worker")[0]
        s.close()
        lines = pathlib.Path(f"{log}.{worker}").read_text().splitlines()
        assert any("model.onnx" in line for line in lines), "the trace shows nothing"
        return [line for line in lines if f'"{model}"' in line and "O_PATH" not in line]

    assert opened(), "the first start reads it"
    time.sleep(3.1)  # it is known once it has not changed for two seconds
    assert opened(), "the next learns that it is settled"
    assert opened() == []
    model.touch()
    time.sleep(3.1)
    assert opened(), "it may be another one"
