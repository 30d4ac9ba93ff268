"""A worker meets a stranger's file: it opens no socket, writes nothing outside its data folder, reads nothing that is not its own."""

import contextlib
import os
import pathlib
import re
import shutil
import time

import pytest

import quern
from quern import DATA, predict_body, wait_until

FLOWER = [5.1, 3.5, 1.4, 0.2]


def worker_of(s, model):
    return s.pids("worker", model)[0]


@pytest.mark.parametrize("model", ["identity", pytest.param("iris", marks=pytest.mark.onnx)])
def test_worker_is_closed_in(serve, model):
    """One that began as a worker, and one forked from the process that has the engine open."""
    s = serve("builtin:identity" if model == "identity" else DATA / "iris.onnx")
    pid = worker_of(s, model)
    status = quern.proc_status(pid)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["PPid"] == str(s.master_pid)
    for thread in os.listdir(f"/proc/{pid}/task"):
        lines = pathlib.Path(f"/proc/{pid}/task/{thread}/status").read_text()
        assert "Seccomp:\t2" in lines
    name = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert name[1:3] == [b"--role=worker", f"{model}@1#0".encode()]


@pytest.mark.onnx
def test_forked_worker_has_nothing_of_the_others(serve):
    """Neither the lifecycle channel and crash report of the process that it was forked from, nor those of another worker."""
    s = serve(config=f"models: {{a: {DATA / 'iris.onnx'}, b: {{path: {DATA / 'iris.onnx'}, instances: 2}}}}")
    (stem,) = s.pids("stem")
    workers = s.pids("worker")
    assert len(workers) == 3
    private = {}
    for pid in [stem, *workers]:
        found = descriptors(pid)
        private[pid] = {found[3]}
        assert found[3].startswith("socket:") and found[4].startswith("/memfd:quern-report")
        rows = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
        reports = {row.split()[4] for row in rows if "memfd:quern-report" in row}
        assert len(reports) == 1, "a report that is not its own"
        private[pid] |= reports
    assert len(set().union(*private.values())) == 2 * len(private)


def descriptors(pid):
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def test_worker_holds_no_network_socket_and_no_file_for_writing(serve):
    s = serve(DATA / "iris.onnx") if quern.engine()["installed"] else serve("builtin:identity")
    name = s.status()["models"][0]["name"]
    assert s.predict(name, FLOWER).status == 200
    pid = worker_of(s, name)
    inodes = {m.group(1) for t in descriptors(pid).values() if (m := re.match(r"socket:\[(\d+)\]", t))}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        rows = pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        assert not inodes & {row.split()[9] for row in rows}, f"a {table} socket"
    for fd, target in descriptors(pid).items():
        flags = re.search(r"flags:\s+(\d+)", pathlib.Path(f"/proc/{pid}/fdinfo/{fd}").read_text()).group(1)
        is_written = int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
        is_file = target.startswith("/") and not target.startswith(("/memfd:", "/dev/null", "/dev/shm"))
        # Descriptor 2 is the log that the master was given.
        assert not (is_written and is_file and fd > 2), f"{fd} -> {target}"


def test_children_inherit_only_what_they_are_given(serve):
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    s = serve("builtin:identity")
    for pid in s.pids("worker") + s.pids("edge"):
        assert os.readlink(f"/proc/self/fd/{read_end}") not in descriptors(pid).values()
    os.close(read_end)
    os.close(write_end)


def tree(*folders):
    found = {}
    for folder in folders:
        for p in pathlib.Path(folder).rglob("*"):
            try:
                st = p.lstat()
            except FileNotFoundError:
                continue
            found[str(p)] = (st.st_mtime_ns, st.st_size)
    return found


@pytest.mark.onnx
def test_engine_writes_nothing_outside_the_data_folder(serve, tmp_path):
    """The engine's telemetry would leave files in HOME and in the temporary folder."""
    home, temp, models = tmp_path / "home", tmp_path / "tmp", tmp_path / "models"
    for folder in (home, temp, models):
        folder.mkdir()
    shutil.copy(DATA / "iris.onnx", models)
    engines = pathlib.Path.home() / ".local/share/quern/engines"
    env = {"HOME": str(home), "TMPDIR": str(temp), "XDG_CACHE_HOME": str(home / "cache")}
    if engines.exists() and "QUERN_ENGINE_DIR" not in os.environ:
        env["QUERN_ENGINE_DIR"] = str(engines)
    before = tree(home, temp, models)
    s = serve(models / "iris.onnx", env=env, cwd=home)
    for _ in range(20):
        assert s.predict("iris", FLOWER).status == 200
    time.sleep(0.5)
    assert tree(home, temp, models) == before
    assert sorted(p.name for p in s.data.iterdir()) == ["cache", "crashes", "run"]
    # The model is too small to be kept compiled; what was found out of it is ours.
    found = {re.split("[-.]", p.name)[0] for p in (s.data / "cache").rglob("*") if p.is_file()}
    assert found <= {"batching", "gain", "memory", "scale"}


@pytest.mark.onnx
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(quern.IS_SANITIZED, reason="LeakSanitizer and strace do not go together")
def test_system_calls_of_a_worker(serve, tmp_path):
    log = tmp_path / "trace"
    calls = "trace=network,openat,open,creat,unlink,rename,renameat,mkdir,connect,execve"
    # Two: a first worker alone does not wait for a stem.
    s = serve(config=f"models: {{iris: {DATA / 'iris.onnx'}, other: {DATA / 'mlp.onnx'}}}",
              prefix=["strace", "-ff", "-qq", "-s", "300", "-e", calls, "-o", log])
    for _ in range(5):
        assert s.predict("iris", FLOWER).status == 200
    worker, (stem,) = worker_of(s, "iris"), s.pids("stem")
    threads = os.listdir(f"/proc/{worker}/task")
    s.close()
    text = "".join(p.read_text() for t in threads if (p := pathlib.Path(f"{log}.{t}")).exists())
    stems = pathlib.Path(f"{log}.{stem}").read_text()
    assert "libonnxruntime" in stems and "iris.onnx" in text, "the trace shows nothing"
    assert "iris.onnx" not in stems, "it forks others unprotected: it must not meet a stranger's file"
    assert not re.search(r"^socket\(|^connect\(|^bind\(|^listen\(|^accept", stems, re.M), stems
    assert not re.search(r"^socket\(|^connect\(|^bind\(|^listen\(|^accept", text, re.M), text
    written = [line for line in text.splitlines() if re.search(r"O_WRONLY|O_RDWR|O_CREAT", line) and " = -1 " not in line]
    # Between fork and exec, by the master's code; and the model's own folder for what makes loading faster.
    allowed = ("/dev/null", "/proc/self/oom_score_adj", f"{s.data}/cache/iris/")
    assert [line for line in written if not any(p in line for p in allowed)] == [], written
    changes = [line for line in text.splitlines() if re.match(r"(unlink|rename|mkdir|creat)", line)]
    assert [line for line in changes if not any(p in line for p in allowed)] == []
    assert len(re.findall(r"^execve\(", text, re.M)) <= 1  # its own start
    # What could not be opened either: nobody even looked for the network's configuration.
    assert "resolv.conf" not in text and "/etc/hosts" not in text


@pytest.mark.onnx
def test_worker_cannot_read_a_file_outside(serve, tmp_path):
    """Even when the check of external data were blind: the kernel refuses. A link that is swapped in after the start shows it."""
    shutil.copy(DATA / "external_ok.onnx", tmp_path / "m.onnx")
    shutil.copy(DATA / "weights.bin", tmp_path)
    s = serve(tmp_path / "m.onnx")
    assert s.predict("m", FLOWER).status == 200
    outside = tmp_path.parent / f"outside-{os.getpid()}.bin"
    shutil.copy(DATA / "weights.bin", outside)
    try:
        (tmp_path / "weights.bin").unlink()
        (tmp_path / "weights.bin").symlink_to(outside)
        quern.kill(worker_of(s, "m"))
        wait_until(lambda: "weights.bin" in s.model("m")["reason"], 20, "the refusal")
    finally:
        outside.unlink()
    assert s.predict("m", FLOWER).status == 503


def test_worker_may_not_signal_or_trace_others(serve):
    """By the system call filter: shown on the filter itself, through the worker's own view of /proc."""
    s = serve("builtin:identity")
    status = quern.proc_status(worker_of(s, "identity"))
    assert int(status.get("CapEff", "0"), 16) == 0 or os.getuid() == 0
    assert status["Seccomp_filters"] != "0"


def test_names_and_titles_tell_who_is_who(serve):
    s = serve("builtin:identity")
    title = pathlib.Path(f"/proc/{worker_of(s, 'identity')}/cmdline").read_bytes().split(b"\0")
    assert b"identity@1#0" in title
    assert quern.proc_status(worker_of(s, "identity"))["Name"] == "quern-worker"
    assert s.predict("identity", [1]).status == 200


def test_poisoned_worker_memory_is_read_only_for_inputs(serve):
    """Inputs are mapped read-only in a worker: what it runs cannot spoil rows that another one must run again."""
    s = serve("builtin:identity")
    maps = pathlib.Path(f"/proc/{worker_of(s, 'identity')}/maps").read_text().splitlines()
    shared = [line.split()[1] for line in maps if "memfd:quern" in line]
    assert any(p.startswith("r--s") for p in shared), maps
    assert any(p.startswith("rw-s") for p in shared)
    assert not any("x" in p for p in shared)
    body = predict_body("identity", [1, 2])
    assert s.post("/predict", body).status == 200
