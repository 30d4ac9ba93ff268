"""What the serving benchmarks share: their models, a configuration file of one's own, raw bodies, and memory by process."""
import json
import pathlib
import re
import shutil
import subprocess

from iris import installed
from measure import LOAD, LOAD_CORE, LOOP, QUERN, ROOT, SERVER_CORE, Server, WORK, free_port, scheduling

MAKER = ROOT / "tools/make-test-models.py"
PACKAGES = ["onnx==1.23.2", "numpy==2.4.6"]
PIXELS = 3 * 224 * 224


def model(name):
    """mlp784, mobilenet or big (285 MB of weights), made on first use."""
    path = WORK / f"{name}.onnx"
    if not path.exists():
        folder = WORK / "models"
        python = folder / "venv/bin/python"
        installed(folder, [MAKER], [["python3", "-m", "venv", folder / "venv"],
                                    [python, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary=:all:", *PACKAGES]])
        subprocess.run([python, MAKER, "--bench", WORK], check=True)
    return path


def up(name, config, keep_data=False):
    """`quern up` with this configuration; .config is its file and .data its folder."""
    folder = WORK / name
    if not keep_data:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    file, port = folder / "quern.yaml", free_port()
    file.write_text(config)
    s = Server(name, [QUERN, "up", "-c", file, "--listen", f"127.0.0.1:{port}", "--threads", 1, "--data", folder / "data", "--log-level", "warn"],
               f"http://127.0.0.1:{port}/v2/health/ready")
    s.config, s.data = file, folder / "data"
    return s


def load_command(server, path, payload, seconds, *arguments):
    port = server.ready_url.split(":")[2].split("/")[0]
    return ["taskset", "-c", str(LOAD_CORE), str(LOAD), "--seconds", str(seconds), "--warmup", "1", "--server-pid", str(server.process.pid),
            "--header", "Inference-Header-Content-Length: 0", "--body-file", str(payload), *map(str, arguments), f"http://127.0.0.1:{port}{path}"]


def result_of(server, output, code):
    if code != 0:
        raise RuntimeError(f"{server.name}: bench_load ended with {code}")
    result = json.loads(output)
    if result["errors"]:
        raise RuntimeError(f"{server.name}: {result['errors']} of {result['requests']} requests failed")
    return result | {"scheduling": sorted({scheduling(pid) for pid in server.pids()})}


def run_load(server, path, payload, seconds, *arguments):
    done = subprocess.run(load_command(server, path, payload, seconds, *arguments), stdout=subprocess.PIPE, check=False)
    return result_of(server, done.stdout, done.returncode)


def floats(name, count):
    path = WORK / f"{name}.body"
    path.write_bytes(b"\0\0\0\x3f" * count)
    return path


def bare_us(path, rows, seconds):
    """CPU time of a run in a bare loop of the engine."""
    done = subprocess.run(["taskset", "-c", str(SERVER_CORE), str(LOOP), str(path), str(rows), str(seconds), "bare"],
                          capture_output=True, text=True, check=True)
    return float(re.search(r"([0-9.]+) us per run", done.stdout).group(1))


def status(server):
    return json.loads((server.data / "run/status.json").read_text())


def workers(server):
    return [p["pid"] for p in status(server)["processes"] if p["role"] == "worker" and p["pid"]]


def memory_kib(pid, *fields):
    """The sum of these fields of smaps_rollup."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in fields)
