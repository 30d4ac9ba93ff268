"""The surface that scripts rely on: commands, options, exit codes, and what goes wrong at the start."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest

import quern
from quern import (
    EXIT_ADDRESS,
    EXIT_CONFIG,
    EXIT_DATA,
    EXIT_ENGINE,
    EXIT_FAILED,
    EXIT_FINE,
    EXIT_NOT_RUNNING,
    EXIT_USAGE,
    cli,
    predict_body,
    wait_until,
)

# ---- commands that only tell ----


def test_version_and_features():
    r = cli("version")
    assert r.returncode == EXIT_FINE and re.fullmatch(r"quern \d+\.\d+\.\d+\n", r.stdout)
    assert cli("--version").stdout == r.stdout
    people = cli("version", "--features").stdout
    for word in ("sandbox", "onnxruntime", "protocols", "identity"):
        assert word in people
    f = json.loads(cli("version", "--features", "--json").stdout)
    assert f["version"] in r.stdout and f["cores"] >= 1 and f["limits"]["models"] >= 100
    assert "onnxruntime" in [e["name"] for e in f["engines"]]


@pytest.mark.parametrize("command", ["serve", "up", "check", "status", "reload", "engine", "model", "request", "version", "completion"])
def test_every_command_has_help(command):
    r = cli(command, "--help")
    assert r.returncode == EXIT_FINE and f"quern {command}" in r.stdout
    assert command in cli("--help").stdout


@pytest.mark.parametrize(
    "args, words",
    [
        ((), ["serve"]),
        (("sevre",), ["sevre", "serve"]),
        (("iris.onnx",), ["quern serve iris.onnx"]),
        (("serve",), []),
        (("serve", "builtin:identity", "--lisen", "x"), ["--lisen", "--listen"]),
        (("serve", "builtin:identity", "--threads"), ["--threads"]),
        (("serve", "builtin:identity", "--threads", "many"), ["--threads", "many"]),
        (("serve", "builtin:identity", "--listen", "nonsense"), ["listen", "nonsense"]),
        (("serve", "builtin:identity", "--isolation", "none"), ["--isolation", "inline", "process"]),
        (("status", "--jsno"), ["--json"]),
        (("check", "a", "b"), []),
    ],
)
def test_wrong_command_lines_end_with_2_and_a_hint(args, words):
    r = cli(*args)
    assert r.returncode == EXIT_USAGE, r
    for word in words:
        assert word in r.stdout + r.stderr, r


def test_serve_of_a_missing_or_unknown_file(tmp_path):
    r = cli("serve", tmp_path / "nothing.onnx", "--data", tmp_path / "d")
    assert r.returncode == EXIT_CONFIG and "nothing.onnx" in r.stderr
    (tmp_path / "x.txt").write_text("x")
    r = cli("serve", tmp_path / "x.txt", "--data", tmp_path / "d")
    assert r.returncode == EXIT_CONFIG and "x.txt" in r.stderr and "onnx" in r.stderr
    r = cli("serve", "builtin:identidy", "--data", tmp_path / "d")
    assert r.returncode == EXIT_CONFIG and "identity" in r.stderr


def test_status_without_a_server(tmp_path):
    r = cli("status", "--data", tmp_path)
    assert r.returncode == EXIT_NOT_RUNNING
    r = cli("status", "--json", "--data", tmp_path)
    assert r.returncode == EXIT_NOT_RUNNING and json.loads(r.stdout)["running"] is False


# ---- check ----


def test_check_explains_a_good_file(tmp_path):
    (tmp_path / "quern.yaml").write_text('models: {a: {path: "builtin:identity", instances: 2}}\n')
    r = cli("check", "quern.yaml", cwd=tmp_path)
    assert r.returncode == EXIT_FINE
    for word in ("127.0.0.1:8000", "identity", "process", "64MiB", "drain_timeout"):
        assert word in r.stdout
    j = json.loads(cli("check", "--json", "quern.yaml", cwd=tmp_path).stdout)
    assert j["valid"] and j["models"][0]["name"] == "a" and j["models"][0]["instances"] == 2
    # What it prints is itself a valid configuration that means the same.
    (tmp_path / "again.yaml").write_text(r.stdout.split("\nMODEL ")[0].split("\n\nMODEL")[0])
    again = cli("check", "--json", "again.yaml", cwd=tmp_path)
    assert json.loads(again.stdout)["models"] == j["models"], again.stdout


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("models:\n  a: builtin:identity\n  b:\n    instnces: 2\n", "4:5", ["models.b", "instnces", "instances"]),
        ("threads: many\n", "1:10", ["threads", "many"]),
        ("threads: -1\n", "1:10", ["threads"]),
        ("http:\n  body_max: 1 parsec\n", "2:13", ["body_max"]),
        ("listen: 127.0.0.1:99999\n", "1:9", ["99999"]),
        ("models:\n  a: {path: x.onnx}\n", "2:13", ["x.onnx"]),
        ("models:\n  'a b': builtin:identity\n", "2:3", ["a b"]),
        ("models:\n  a: builtin:identity\n  a: builtin:delay\n", "3:3", ["a"]),
        ("models:\n  a: {path: builtin:identity, class: gold}\n", "2:38", ["gold", "classes"]),
        ("models: [\n", "2:1", []),
        ("a: &x 1\nb: *x\n", "1:", []),
        ("listen: 0.0.0.0:8000\n", "1:9", ["allow_unauthenticated_remote"]),
    ],
)
def test_check_names_file_line_and_column(tmp_path, text, place, words):
    (tmp_path / "quern.yaml").write_text(text)
    r = cli("check", "quern.yaml", cwd=tmp_path)
    assert r.returncode == EXIT_CONFIG
    assert f"quern.yaml:{place}" in r.stderr, r.stderr
    for word in words:
        assert word in r.stderr, r.stderr
    up = cli("up", "-c", "quern.yaml", "--data", tmp_path / "d", cwd=tmp_path)
    assert up.returncode == EXIT_CONFIG and f"quern.yaml:{place}" in up.stderr
    j = cli("check", "--json", "quern.yaml", cwd=tmp_path)
    assert j.returncode == EXIT_CONFIG and json.loads(j.stdout)["valid"] is False


# ---- serve and up ----


def test_serve_prints_a_line_that_works(serve):
    s = serve("builtin:identity")
    line = wait_until(lambda: re.search(r"try: (curl .*)", s.output()[0]), 5, "the curl line").group(1)
    run = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=10)
    assert json.loads(run.stdout)["code"] == 200, run
    host, port = s.address
    assert f"http://{host}:{port}" in s.output()[0]


@pytest.mark.onnx
def test_serve_of_a_folder_and_of_a_repository(serve, tmp_path):
    for name in ("a/1", "a/2", "a/10"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(quern.DATA / "iris.onnx", tmp_path / name / "model.onnx")
    shutil.copy(quern.DATA / "iris.onnx", tmp_path / "flat.onnx")
    s = serve(tmp_path, quern.DATA / "mlp.onnx")
    models = {m["name"]: m for m in s.api()["models"]}
    assert sorted(models) == ["a", "flat", "mlp"]
    assert models["a"]["version"] == "10"
    assert s.get("/v2/models/a/versions/10").status == 200
    assert s.get("/v2/models/a/versions/2").status == 404
    assert s.predict("a", [5.1, 3.5, 1.4, 0.2]).json()["data"]["version"] == "10"


def test_options_of_serve(serve):
    s = serve("builtin:identity", extra=["--isolation", "inline"], threads=2)
    assert s.model("identity")["isolation"] == "inline"
    assert not s.pids("worker")
    assert s.predict("identity", [3]).json()["data"]["prediction"] == 3
    threads = [t for t in os.listdir(f"/proc/{s.pids('edge')[0]}/task")]
    assert len(threads) == 2
    s = serve("builtin:identity", extra=["--instances", "3"])
    wait_until(lambda: len(s.pids("worker")) == 3, 5, "three instances")


def test_listen_several_addresses(serve):
    s = serve("builtin:identity", extra=["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"])
    assert len(s.status()["listen"]) == 2
    for address in s.status()["listen"]:
        host, _, port = address.rpartition(":")
        with quern.Client((host, int(port))) as c:
            assert c.request("GET", "/v2").status == 200


def test_remote_addresses_need_a_word(tmp_path, serve):
    r = cli("serve", "builtin:identity", "--listen", "0.0.0.0:0", "--data", tmp_path)
    assert r.returncode in (EXIT_USAGE, EXIT_CONFIG)
    assert "allow-unauthenticated-remote" in r.stderr or "allow_unauthenticated_remote" in r.stderr
    s = serve("builtin:identity", extra=["--listen", "0.0.0.0:0", "--allow-unauthenticated-remote"])
    assert s.status()["listen"][0].startswith("0.0.0.0:")


def test_status_lists_processes(serve):
    s = serve(config='models: {a: {path: "builtin:identity", instances: 2}, b: "builtin:delay"}')
    r = cli("status", "--json", "--data", s.data)
    assert r.returncode == EXIT_FINE
    got = json.loads(r.stdout)
    rows = sorted((p["role"], p["model"], p["instance"], p["state"], p["restarts"]) for p in got["processes"])
    assert rows == [
        ("edge", "", 0, "ready", 0),
        ("master", "", 0, "ready", 0),
        ("worker", "a", 0, "ready", 0),
        ("worker", "a", 1, "ready", 0),
        ("worker", "b", 0, "ready", 0),
    ]
    for p in got["processes"]:
        assert quern.proc_status(p["pid"])["Name"].startswith("quern")
        assert p["since_ms"] > 0
    people = cli("status", "--data", s.data).stdout
    assert "a@1#1" in people and "worker" in people
    s.signal(signal.SIGTERM)
    s.process.wait(10)
    assert cli("status", "--data", s.data).returncode == EXIT_NOT_RUNNING


# ---- what goes wrong at the start ----


def test_port_taken(serve, tmp_path):
    s = serve("builtin:identity")
    host, port = s.address
    r = cli("serve", "builtin:identity", "--listen", f"{host}:{port}", "--data", tmp_path / "other")
    assert r.returncode == EXIT_ADDRESS, r
    assert str(port) in r.stderr and "--listen" in r.stderr
    assert s.predict("identity", [1]).status == 200


def test_address_that_is_not_ours(tmp_path):
    r = cli(
        *("serve", "builtin:identity", "--listen", "203.0.113.1:8000", "--allow-unauthenticated-remote"),
        *("--data", tmp_path / "d"),
    )
    assert r.returncode not in (EXIT_FINE, EXIT_DATA) and "203.0.113.1" in r.stderr


def test_data_directory_taken(serve):
    s = serve("builtin:identity")
    r = cli("serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", s.data)
    assert r.returncode == EXIT_DATA, r
    assert str(s.data) in r.stderr and "--data" in r.stderr
    assert s.predict("identity", [1]).status == 200, "the first one is not hurt"
    assert cli("status", "--data", s.data).returncode == EXIT_FINE


def test_data_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    r = cli("serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", tmp_path / "file/d")
    assert r.returncode == EXIT_FAILED
    assert "data directory" in r.stderr and "--data" in r.stderr


@pytest.mark.skipif(os.getuid() == 0 and not os.path.exists("/usr/bin/setpriv"), reason="needs a user without rights")
def test_data_directory_without_permission(tmp_path):
    if os.getuid() != 0:
        command = [quern.BIN]
    else:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", quern.BIN]
    r = subprocess.run(
        [*command, "serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", "/root/nothing/here"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    if "failed to execute" in r.stderr:
        pytest.skip("the binary lies where another user may not look")
    assert r.returncode == EXIT_FAILED and "ermission" in r.stderr and "--data" in r.stderr


def no_engine(tmp_path):
    return {"QUERN_ENGINE_DIR": str(tmp_path / "none"), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "xdg")}


def test_engine_missing(tmp_path):
    r = cli(
        *("serve", quern.DATA / "iris.onnx", "--listen", "127.0.0.1:0", "--data", tmp_path / "d"),
        env={**os.environ, **no_engine(tmp_path)},
    )
    if r.returncode != EXIT_ENGINE and os.path.exists("/usr/local/lib/quern/engines"):
        pytest.skip("an engine is installed for everybody")
    assert r.returncode == EXIT_ENGINE, r
    assert "quern engine install onnxruntime" in r.stderr


def test_engine_missing_hurts_only_the_models_that_need_it(serve, tmp_path):
    s = serve(
        config=f"models: {{iris: {quern.DATA}/iris.onnx, good: 'builtin:identity'}}",
        env=no_engine(tmp_path),
    )
    iris = s.model("iris")
    if iris["state"] == "ready" and os.path.exists("/usr/local/lib/quern/engines"):
        pytest.skip("an engine is installed for everybody")
    assert iris["state"] == "failed" and "quern engine install onnxruntime" in iris["reason"]
    assert s.predict("good", [1]).status == 200
    r = s.predict("iris", [1, 2, 3, 4])
    assert r.status == 503 and "onnxruntime" in r.body.decode()


def test_engine_that_is_not_one(serve, tmp_path):
    names = list((tmp_path / "unused").parent.glob("*"))
    assert names == []
    version = quern.engine()["version"]
    folder = tmp_path / "engines/onnxruntime" / version
    folder.mkdir(parents=True)
    (folder / f"libonnxruntime.so.{version}").write_bytes(b"\x7fELF this is not a library")
    (folder / "SHA256").write_text("0" * 64)
    env = {**no_engine(tmp_path), "QUERN_ENGINE_DIR": str(tmp_path / "engines")}
    s = serve(config=f"models: {{iris: {quern.DATA}/iris.onnx, good: 'builtin:identity'}}", env=env)
    iris = s.model("iris")
    assert iris["state"] == "failed" and "onnxruntime" in iris["reason"].lower(), iris
    assert s.predict("good", [1]).status == 200
    assert cli("engine", "verify", "onnxruntime", env={**os.environ, **env}).returncode != EXIT_FINE


FAKE_ENGINE = """
#include <stdint.h>
#include <stddef.h>
static const void *api(uint32_t version) { return version > 10 ? NULL : "x"; }
static const char *name(void) { return "1.10.0"; }
static const struct { const void *(*get)(uint32_t); const char *(*version)(void); } base = {api, name};
const void *OrtGetApiBase(void) { return &base; }
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_engine_too_old(serve, tmp_path):
    version = quern.engine()["version"]
    folder = tmp_path / "engines/onnxruntime" / version
    folder.mkdir(parents=True)
    library = folder / f"libonnxruntime.so.{version}"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=FAKE_ENGINE, text=True, check=True)
    env = {**no_engine(tmp_path), "QUERN_ENGINE_DIR": str(tmp_path / "engines")}
    s = serve(config=f"models: {{iris: {quern.DATA}/iris.onnx, good: 'builtin:identity'}}", env=env)
    iris = s.model("iris")
    assert iris["state"] == "failed" and "1.10.0" in iris["reason"], iris
    assert "quern engine install onnxruntime" in iris["reason"]
    assert s.predict("good", [1]).status == 200


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_disk_full(serve, tmp_path):
    data = tmp_path / "small"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "quern-test", data]).returncode:
        pytest.skip("cannot mount here")
    try:
        s = serve(config='models: {bad: "builtin:crash", good: "builtin:identity"}', data=data)
        with open(data / "filler", "wb", buffering=0) as f, pytest.raises(OSError):
            while f.write(b"x" * 512):
                pass
        # Status and crash reports cannot be written: that is said, and serving goes on.
        s.predict("bad", [666])
        for k in range(20):
            assert s.predict("good", [k]).status == 200
        log = wait_until(lambda: "No space left" in s.output()[1] and s.output()[1], 5, "a line about the disk")
        assert "status file" in log or "crash report" in log
        for _ in range(10):
            s.reload()  # the status changes each time
        time.sleep(0.5)
        log = s.output()[1]
        assert log.count("cannot write the status file") == 1, "it must not fill the log instead"
        assert len(log) < 100_000
        assert s.predict("bad", [1]).status == 200
        (data / "filler").unlink()
        quern.kill(s.pids("edge")[0])
        wait_until(lambda: any(c["role"] == "edge" for c in s.status()["crashes"]), 5, "reports again")
        s.close()
    finally:
        subprocess.run(["umount", "-l", data])


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_disk_full_from_the_start(tmp_path):
    data = tmp_path / "small"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "quern-test", data]).returncode:
        pytest.skip("cannot mount here")
    try:
        r = cli("serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", data, timeout=10)
        assert r.returncode == EXIT_FAILED
        assert "No space left" in r.stderr and "--data" in r.stderr
    finally:
        subprocess.run(["umount", "-l", data])


def test_no_file_descriptors(serve):
    s = serve("builtin:identity")
    (edge,) = s.pids("edge")
    in_use = len(os.listdir(f"/proc/{edge}/fd"))
    resource.prlimit(edge, resource.RLIMIT_NOFILE, (in_use + 8, in_use + 8))
    held = []
    with s.client() as old:
        assert old.request("GET", "/v2").status == 200
        for _ in range(40):
            held.append(s.client())
        time.sleep(0.3)
        # Those that are in are served; it says so, once, and does not spin.
        assert old.request("POST", "/predict", predict_body("identity", [1])).status == 200
        cpu = cpu_ms(edge)
        time.sleep(0.5)
        assert cpu_ms(edge) - cpu < 250, "the edge burns a core"
    log = s.output()[1].lower()
    assert "descriptor" in log or "too many open files" in log, log
    assert log.count("\n") < 50
    for c in held:
        c.close()
    wait_until(lambda: s.predict("identity", [1]).status == 200, 5, "service after the shortage")


def cpu_ms(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def test_stale_files_of_a_dead_server_do_not_matter(serve, tmp_path):
    run = tmp_path / "data/run"
    run.mkdir(parents=True)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(run / "edge.sock"))
    stale.close()
    (run / "status.json").write_text('{"master_pid": 1, "listen": ["127.0.0.1:1"], broken')
    (run / "lock").write_text("1\n")
    (tmp_path / "data/crashes").mkdir()
    (tmp_path / "data/crashes/half.json").write_text('{"id": "ha')
    s = serve("builtin:identity", data=tmp_path / "data")
    assert s.predict("identity", [1]).status == 200
    assert s.status()["crashes"] == []


def test_a_command_that_reaches_another_server_says_so():
    import http.server
    import threading

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(502)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"<p/>")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        r = quern.cli("request", "x", "--url", f"http://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert r.returncode == 1 and "the server answers 502, without a reason" in r.stderr, r
    assert "it sends text/html: is quern at that address?" in r.stderr, r
