"""Limits of the machine under a running server: memory of a control group, descriptors, shared memory, processes that stand still for a while. See docs/operations.md."""

import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import threading
import time

import pytest

import quern
from quern import EXIT_FAILED, EXIT_FINE, Load, cli, expect_prediction, kill, predict_body, wait_until
from test_operator import small_disk

IRIS = quern.DATA / "iris.onnx"
ROW = [5.1, 3.5, 1.4, 0.2]
needs_engine = pytest.mark.skipif(not quern.engine()["installed"], reason="needs an engine")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def load_on(server, **kwargs):
    return Load(server, [("/predict", predict_body("identity", [1, 2]), expect_prediction([1, 2]))], connections=2, **kwargs)


def reports(server):
    return cli("status", "--data", server.data).stdout


@pytest.fixture
def memory_group():
    """memory_group(MIB): a control group with that limit of memory, v1's or v2's; returns what starts a program in it."""
    groups = []

    def make(mib):
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            group = pathlib.Path(root, f"quern-test-{os.getpid()}")
            with contextlib.suppress(OSError):
                group.mkdir()
                groups.append(group)
                (group / limit).write_text(str(mib << 20))
                return ("sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh")
        return pytest.skip("no control group of memory to be had")

    yield make
    for group in groups:
        wait_until(lambda group=group: subprocess.run(["rmdir", group], stderr=subprocess.DEVNULL).returncode == 0, 5, "an empty group")


# ---- memory ----


LEAK = "{how: leak, leak_mib: 400, on: 13}"


@needs_root
@pytest.mark.skipif(quern.IS_SANITIZED, reason="shadow memory counts as memory of the group")
def test_a_request_that_needs_more_memory_than_there_is(memory_group, serve):
    """The kernel ends its worker. That counts against the request, as a crash does: it is not run for ever, at everybody's cost."""
    s = serve(
        config=f"models: {{identity: 'builtin:identity', greedy: {{path: 'builtin:crash', timeout: 60s, parameters: {LEAK}}}}}",
        prefix=memory_group(200),
    )
    with load_on(s) as load:
        assert s.predict("greedy", [1]).status == 200
        guilty = s.predict("greedy", [13])
        assert guilty.status == 502 and "3 times" in guilty.json()["message"], guilty
        assert s.predict("greedy", [13]).status == 422
        wait_until(lambda: s.predict("greedy", [1]).status == 200, 5, "the model again")
    assert load.failures == []
    died = [c for c in s.status()["crashes"] if c["model"] == "greedy"]
    assert len(died) == 3 and all("limit of 200 MiB of the control group" in c["reason"] for c in died), died
    assert "ended by the kernel, out of memory" in s.output()[1] and "fewer instances" in reports(s)
    # Somebody's kill -9 is no want of memory, and no request's fault.
    kill(s.pids("worker", "greedy")[0])
    wait_until(lambda: "killed from outside" in s.status()["crashes"][0]["reason"], 5, "another report")


@needs_root
@pytest.mark.skipif(quern.IS_SANITIZED, reason="shadow memory counts as memory of the group")
def test_an_edge_that_memory_is_short_for(memory_group, serve):
    """One with a model in it, since those are what grows. Its connections break, and no more."""
    inline = "{path: 'builtin:crash', isolation: inline, parameters: {how: leak, leak_mib: 100, on: 13}}"
    s = serve(config=f"models: {{identity: 'builtin:identity', inline: {inline}}}", prefix=memory_group(60))
    with load_on(s, reconnect=True) as load:
        with pytest.raises(OSError):
            s.predict("inline", [13])
        wait_until(lambda: s.predict("inline", [1]).status == 200, 5, "a new edge")
    assert load.failures == []
    (death,) = [c for c in s.status()["crashes"] if c["role"] == "edge"]
    assert "ended by the kernel, out of memory" in death["reason"], death


@needs_root
@needs_engine
def test_shared_memory_needs_no_folder(serve):
    """A container has 64 MiB at /dev/shm, or none that can be written."""
    tiny = 'mount -t tmpfs -o size=4k none /dev/shm && head -c 9999 /dev/zero >/dev/shm/full; test -s /dev/shm/full && exec "$@"'
    if subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("no mount namespace to be had")
    s = serve(IRIS, prefix=("unshare", "-m", "sh", "-c", tiny, "sh"))
    assert s.predict("iris", ROW).status == 200
    kill(s.pids("worker")[0])
    assert s.predict("iris", ROW).status == 200


# ---- descriptors ----


def limit_files(pid, n):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (n, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def files_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_an_edge_full_of_connections_still_takes_a_reload(serve):
    """It gets a descriptor with each model. Some are kept for that, or it would have to end with all connections."""
    s = serve(config="models: {identity: 'builtin:identity'}")
    (edge,) = s.pids("edge")
    limit_files(edge, files_of(edge) + 30)
    held = []
    for _ in range(60):
        held.append(s.client())
    with contextlib.suppress(OSError):
        for c in held:
            assert c.request("GET", "/v2").status == 200
    log = wait_until(lambda: "turned away" in s.output()[1] and s.output()[1], 5, "a line about it")
    assert "ulimit -n" in log
    s.write_config("models: {identity: 'builtin:identity', other: 'builtin:identity', third: 'builtin:identity'}")
    s.reload()
    for name in ("identity", "other", "third"):
        ask = lambda name=name: held[0].request("POST", "/predict", predict_body(name, [1, 2])).status == 200
        wait_until(ask, 5, f"an answer of {name} on the connection from before")
    assert s.pids("edge") == [edge] and s.status()["crashes"] == []
    for c in held:
        c.close()


def test_a_master_without_descriptors_says_so_to_who_waits(serve):
    s = serve(config="models: {identity: 'builtin:identity', other: {path: 'builtin:identity', timeout: 60s}}")
    with load_on(s) as load:
        files = files_of(s.master_pid)
        limit_files(s.master_pid, files - 1)
        kill(s.pids("worker", "other")[0])
        refused = s.predict("other", [1])
        assert refused.status == 503 and "Too many open files" in refused.json()["message"], refused
        assert "retry-after" in refused.headers and "LimitNOFILE" in refused.json()["message"]
        log = s.output()[1]
        assert log.count("trying again every second") == 1, log
        limit_files(s.master_pid, 1024)
        wait_until(lambda: s.predict("other", [1]).status == 200, 5, "the model again")
        wait_until(lambda: "backoff" not in reports(s), 5, "the status again")
    assert load.failures == []


# ---- processes that stand still ----


@needs_engine
@pytest.mark.parametrize("role", ["worker", "stem", "edge", "master"])
def test_a_process_that_stands_still_for_a_while_costs_time_only(serve, role):
    """A debugger, a snapshot of a virtual machine, a machine that swaps."""
    s = serve(config=f"models: {{identity: 'builtin:identity', iris: {{path: {IRIS}, instances: 2}}}}")
    if role == "stem":
        wait_until(lambda: s.pids("stem"), 10, "a stem")
    before = {r: s.pids(r) for r in ("worker", "edge", "stem")}
    pid = s.master_pid if role == "master" else s.pids(role, "iris" if role == "worker" else None)[0]
    codes = []
    with load_on(s) as load:
        os.kill(pid, signal.SIGSTOP)
        asks = [threading.Thread(target=lambda: codes.append(s.predict("iris", ROW).status)) for _ in range(8)]
        for t in asks:
            t.start()
        time.sleep(1)
        os.kill(pid, signal.SIGCONT)
        for t in asks:
            t.join(30)
    assert load.failures == [] and codes == [200] * 8
    assert {r: s.pids(r) for r in before} == before and s.status()["crashes"] == []


# ---- the disk ----


@needs_root
def test_a_recording_on_a_full_disk_is_kept_so_far_and_says_that_it_is_not_all(serve, tmp_path):
    s = serve("builtin:identity")
    with small_disk(tmp_path / "small", "64k") as disk, load_on(s) as load:
        r = cli("record", "--model", "identity", "--data", s.data, "--out", disk / "all.rec", "--limit", "16MB", "--for", "20s")
        assert r.returncode == EXIT_FAILED and "No space left" in r.stderr and "ends early" in r.stderr, r
        kept = int(r.stdout.split()[0])
        assert kept > 10, r.stdout
        again = cli("replay", disk / "all.rec", "--data", s.data, "--speed", "max")
        assert again.returncode == EXIT_FINE and f"{kept} answered" in again.stdout and "broken off" not in again.stdout, again
        r = cli("record", "--model", "identity", "--data", s.data, "--out", disk / "none.rec", "--for", "5s")
        assert r.returncode == EXIT_FAILED and "No space left" in r.stderr and not (disk / "none.rec").exists(), r
    assert load.failures == []
