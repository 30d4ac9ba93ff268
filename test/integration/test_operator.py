"""The operator at three in the morning: the machine's faults under a running server. Each is said where one looks first (log, `quern status`,
an answer), costs no request of a healthy model, and is over when its cause is. See docs/operations.md."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest

import quern
from quern import EXIT_DATA, EXIT_FAILED, EXIT_FINE, EXIT_NOT_RUNNING
from quern import Load, cli, expect_prediction, kill, predict_body, wait_until

IRIS = quern.DATA / "iris.onnx"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")


class Light(Load):
    """What a server does beside the fault: some hundred requests a second, every answer right."""

    def __init__(self, server, model="identity", **kwargs):
        super().__init__(server, [("/predict", predict_body(model, [1, 2]), expect_prediction([1, 2]))], **kwargs)

    def _one(self, client, request):
        time.sleep(0.02)
        super()._one(client, request)


def status(data):
    return cli("status", "--data", data)


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "quern-test", folder]).returncode:
        pytest.skip("cannot mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder])


def fill(path):
    with open(path, "ab", buffering=0) as f, contextlib.suppress(OSError):
        while f.write(b"x" * 256):
            pass


# ---- the data directory ----


@pytest.mark.parametrize("threads", [1, 2])
def test_a_data_directory_that_is_removed_is_made_again(serve, threads):
    s = serve("builtin:identity", threads=threads)
    address = s.address
    with Light(s) as load:
        shutil.rmtree(s.data)
        wait_until(lambda: status(s.data).returncode == EXIT_FINE, 10, "the status again")
        wait_until(lambda: (s.data / "run/edge.sock").exists(), 5, "the control socket again")
        assert "identity" in cli("model", "show", "identity", "--data", s.data).stdout
        # It is locked again, so that no second quern takes it.
        r = cli("serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", s.data)
        assert r.returncode == EXIT_DATA, r
        kill(s.pids("edge")[0])
        wait_until(lambda: any(c["role"] == "edge" for c in s.status()["crashes"]), 5, "a crash report")
        load.failures.clear()  # connections that the edge held
        wait_until(lambda: "identity" in cli("model", "show", "identity", "--data", s.data).stdout, 10, "a new edge's socket")
    assert [f for f in load.failures if "connection" not in f] == []
    assert s.output()[1].count("data directory was removed") == 1
    assert s.address == address
    s.signal(signal.SIGTERM)
    assert s.process.wait(10) == EXIT_FINE
    assert not (s.data / "run/edge.sock").exists()


def test_a_data_directory_that_another_took_meanwhile_is_left_alone(serve, tmp_path):
    first = serve("builtin:identity", data=tmp_path / "data")
    pid, address = first.master_pid, first.address
    os.kill(pid, signal.SIGSTOP)  # it cannot notice yet
    shutil.rmtree(tmp_path / "data")
    second = serve("builtin:identity", data=tmp_path / "data")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "another quern uses the data directory" in first.output()[1], 10, "a line about it")
    with quern.Client(address) as c:
        assert c.request("GET", "/v2/health/ready").status == 200
    kill(pid, signal.SIGTERM)
    assert first.process.wait(20) == EXIT_FINE
    assert second.status()["master_pid"] == second.process.pid
    assert (tmp_path / "data/run/edge.sock").exists()
    assert "identity" in cli("model", "show", "identity", "--data", tmp_path / "data").stdout


@needs_root
def test_status_is_true_again_when_the_disk_has_room(serve, tmp_path):
    with small_disk(tmp_path / "small", "128k") as data:
        s = serve("builtin:identity", data=data)
        old = s.pids("worker")
        with Light(s) as load:
            fill(data / "filler")
            kill(old[0])
            log = wait_until(lambda: "cannot write the status file" in s.output()[1] and s.output()[1], 5, "a line about it")
            assert "free space" in log
            assert s.pids("worker") == old, "it could not be written"
            (data / "filler").unlink()
            # Nothing else changes: it is written for its own sake.
            wait_until(lambda: s.pids("worker") not in ([], old), 5, "the truth")
        assert load.failures == []
        s.close()


@needs_root
def test_a_data_directory_that_is_read_only_from_the_start(tmp_path):
    with small_disk(tmp_path / "small", "64k") as data:
        subprocess.run(["mount", "-o", "remount,ro", data], check=True)
        r = cli("serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", data)
    assert r.returncode == EXIT_FAILED and "Read-only file system" in r.stderr and "--data" in r.stderr


# ---- limits of the process ----


def limited(*limits, args=("builtin:identity",), tmp_path):
    lower = lambda: [resource.setrlimit(*x) for x in limits]
    return cli("serve", *args, "--listen", "127.0.0.1:0", "--data", tmp_path / "data", preexec_fn=lower)


def test_too_few_descriptors_are_refused_at_the_start(tmp_path):
    r = limited((resource.RLIMIT_NOFILE, (64, 64)), tmp_path=tmp_path)
    assert r.returncode == EXIT_FAILED
    assert "only 64 open files" in r.stderr and "ulimit -n" in r.stderr, r.stderr


def test_few_descriptors_are_enough_to_serve(serve):
    s = serve(IRIS if quern.engine()["installed"] else "builtin:identity", prefix=("prlimit", "--nofile=256:256"))
    assert s.get("/v2/health/ready").status == 200


@pytest.mark.skipif(quern.IS_SANITIZED, reason="shadow memory needs terabytes of addresses")
def test_limited_addresses_are_named_with_a_remedy(serve):
    s = serve("builtin:identity", prefix=("prlimit", f"--as={400 << 20}"), wait=False)
    log = wait_until(lambda: "cannot map" in s.output()[1] and s.output()[1], 10, "a line about it")
    assert "ulimit -v" in log


def test_processes_that_may_not_be_started_are_named_once_and_come_when_they_may(serve, tmp_path):
    """The limit of processes does not bind root: whoever runs as another user."""
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    os.chmod(tmp_path.parent, 0o755)
    os.chmod(tmp_path.parent.parent, 0o755)
    os.chmod(tmp_path, 0o755)
    user = ("setpriv", "--reuid=64123", "--regid=64123", "--clear-groups", "--inh-caps=-all", "prlimit", "--nproc=1:100")
    s = serve("builtin:identity", data=home / "data", prefix=user, wait=False)
    wait_until(lambda: "cannot start a process" in s.output()[1], 10, "a line about it")
    time.sleep(2.5)
    log = s.output()[1]
    assert log.count("trying again every second") == 2, "for the worker and the edge, once: " + log
    assert "TasksMax" in log
    shown = status(home / "data").stdout
    assert "TasksMax" in shown, shown
    # As the same user: it may raise what it has lowered.
    subprocess.run([*user[:5], "prlimit", "--nproc=100:100", "--pid", str(s.process.pid)], check=True)
    s.wait_ready(10)
    assert s.predict("identity", [1]).status == 200


# ---- what has served comes back by itself ----


def test_a_model_whose_file_was_away_when_its_worker_died_comes_back(serve, tmp_path):
    """A disk that is away for a while, say: nobody is there to reload."""
    if not quern.engine()["installed"]:
        pytest.skip("needs an engine")
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(IRIS, models / "iris.onnx")
    s = serve(config=f"models: {{identity: 'builtin:identity', iris: {{path: {models}/iris.onnx, timeout: 500ms}}}}")
    row = [5.1, 3.5, 1.4, 0.2]
    with Light(s) as load:
        models.rename(tmp_path / "away")
        kill(s.pids("worker", "iris")[0])
        wait_until(lambda: "process cannot start" in s.output()[1], 10, "a line about it")
        assert "cannot open the model file" in status(s.data).stdout
        refused = s.predict("iris", row)
        assert refused.status == 503 and "cannot open the model file" in refused.json()["message"], refused
        assert "retry-after" in refused.headers
        assert s.get("/v2/models/iris/ready").status == 400
        crashes = len(s.status()["crashes"])
        time.sleep(1)
        assert s.output()[1].count("process cannot start") == 1, "the same is not said again"
        (tmp_path / "away").rename(models)
        wait_until(lambda: s.predict("iris", row).status == 200, 15, "iris again")
        assert len(s.status()["crashes"]) == crashes == 1, "the tries are no crashes"
    assert load.failures == []


# ---- the configuration ----


@pytest.mark.parametrize("text", ["", "# only this\n", "drain_timeout: 30s\n"], ids=["empty", "comment", "no-models"])
def test_an_emptied_configuration_takes_nothing_away(serve, text):
    s = serve(config="models: {identity: 'builtin:identity'}")
    with Light(s) as load:
        s.write_config(text)
        s.reload()
        r = s.post("/api/reload", b"")
        assert r.status == 400 and "half written" in r.json()["error"] and "models: {}" in s.output()[1], r
        assert "half written" in status(s.data).stdout
        assert s.predict("identity", [1]).status == 200
    assert load.failures == []
    s.write_config("models: {}")
    s.reload()
    wait_until(lambda: s.predict("identity", [1]).status == 404, 5, "what was asked for")


DAMAGES = {
    "gone": lambda p: p.unlink(),
    "bytes": lambda p: p.write_bytes(b"\xff\xfe\x00models"),
    "folder": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_configuration_that_cannot_be_read_takes_nothing_away(serve, damage):
    s = serve(config="models: {identity: 'builtin:identity'}")
    with Light(s) as load:
        damage(s.config)
        s.reload()
        assert "reload refused" in status(s.data).stdout
        if s.config.is_dir():
            s.config.rmdir()
        s.write_config("models: {identity: 'builtin:identity'}")
        s.reload()
        assert "reload refused" not in status(s.data).stdout
    assert load.failures == []


# ---- the log ----


def serve_into(out, tmp_path):
    command = [quern.BIN, "serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"]
    return subprocess.Popen(command, stdout=out, stderr=out)


@needs_root
def test_a_log_on_a_full_disk_costs_lines_only(serve, tmp_path):
    with small_disk(tmp_path / "small", "16k") as disk:
        with open(disk / "log", "ab") as out:
            p = serve_into(out, tmp_path)
        try:
            run = tmp_path / "data/run"
            wait_until(lambda: (run / "status.json").exists() and "ready" in status(tmp_path / "data").stdout, 10, "a server")
            fill(disk / "filler")
            for _ in range(20):
                os.kill(p.pid, signal.SIGHUP)
                time.sleep(0.02)
            full = (disk / "log").stat().st_size
            (disk / "filler").unlink()
            # And as `copytruncate` of logrotate does it.
            os.truncate(disk / "log", 0)
            os.kill(p.pid, signal.SIGHUP)
            text = wait_until(lambda: (disk / "log").read_bytes(), 5, "a line")
            assert b"\0" not in text and b"configuration reloaded" in text and full > 0
        finally:
            p.terminate()
            assert p.wait(20) == EXIT_FINE


def test_a_log_that_is_cut_has_no_hole(tmp_path):
    """`>log` instead of `>>log`: the kernel would go on at the old place, behind zeros."""
    with open(tmp_path / "log", "wb") as out:
        p = serve_into(out, tmp_path)
    try:
        wait_until(lambda: b"is ready" in (tmp_path / "log").read_bytes(), 10, "a server")
        os.truncate(tmp_path / "log", 0)
        os.kill(p.pid, signal.SIGHUP)
        text = wait_until(lambda: (tmp_path / "log").read_bytes(), 5, "a line")
        assert not text.startswith(b"\0"), text[:50]
    finally:
        p.terminate()
        assert p.wait(20) == EXIT_FINE


# ---- start and stop ----


def test_starts_and_stops_leave_nothing_behind(tmp_path):
    config = tmp_path / "quern.yaml"
    config.write_text("models: {identity: 'builtin:identity', bad: 'builtin:crash'}")
    before = sorted(os.listdir("/dev/shm"))
    codes = set()
    for k in range(40):
        p = subprocess.Popen(
            [quern.BIN, "up", "-c", config, "--listen", "127.0.0.1:0", "--data", tmp_path / "data"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep((0, 0.002, 0.005, 0.01, 0.02, 0.05)[k % 6])
        p.terminate()
        if k % 4 == 0:
            kill(p.pid, signal.SIGTERM)
        codes.add(p.wait(20))
    assert codes <= {EXIT_FINE, -signal.SIGTERM}, codes  # the latter before anything of it has begun
    assert sorted(os.listdir("/dev/shm")) == before
    assert sorted(p.name for p in (tmp_path / "data/run").iterdir()) == ["lock", "status.json"]
    assert status(tmp_path / "data").returncode == EXIT_NOT_RUNNING


# ---- commands ----


NEWER = '{"version": "9.9.9", "master_pid": 1, "processes": "of another form"}'


@pytest.mark.parametrize("text", ["", "{", NEWER], ids=["empty", "half", "newer"])
def test_status_of_another_version_or_damaged_says_what_to_do(tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/status.json").write_text(text)
    r = status(tmp_path)
    assert r.returncode == EXIT_FAILED
    assert "status.json" in r.stderr and "another version" in r.stderr and "/api/status" in r.stderr, r.stderr
