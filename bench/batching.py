"""batching: a small MLP (784-512-256-10), raw bytes, 64 connections, one server core. Single-row requests that share runs, against the identity model's cost
and ONNX Runtime in a bare loop; requests of 32 rows against the bare loop."""
import json
import re
import subprocess
import sys

from measure import LOAD, LOAD_CORE, ROOT, SERVER_CORE, WORK, need_same_scheduling, quern_serve, record, scheduling, table

COLUMNS, CONNECTIONS = 784, 64
LOOP = ROOT / "build/release/bench_ort_loop"


def model():
    path = WORK / "mlp784.onnx"
    if not path.exists():
        subprocess.run([sys.executable, str(ROOT / "tools/make-test-models.py"), "--bench", str(WORK)], check=True)
    return path


def bare_us_per_row(path, rows, seconds):
    done = subprocess.run(["taskset", "-c", str(SERVER_CORE), str(LOOP), str(path), str(rows), str(seconds), "bare"],
                          capture_output=True, text=True, check=True)
    return float(re.search(r"([0-9.]+) us per row", done.stdout).group(1))


def cpu_us(name, argument, path, rows, seconds):
    payload = WORK / f"rows-{rows}"
    payload.write_bytes(b"\0\0\0\x3f" * COLUMNS * rows)
    with quern_serve(name, argument) as s:
        port = s.ready_url.split(":")[2].split("/")[0]
        done = subprocess.run(["taskset", "-c", str(LOAD_CORE), str(LOAD), "--connections", str(CONNECTIONS), "--seconds", str(seconds),
                               "--header", "Inference-Header-Content-Length: 0", "--body-file", str(payload), "--server-pid",
                               str(s.process.pid), f"http://127.0.0.1:{port}/v2/models/{path}/infer"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: bench_load ended with {done.returncode}: {done.stderr.strip()}")
        result = json.loads(done.stdout) | {"scheduling": sorted({scheduling(pid) for pid in s.pids()})}
    if result["errors"]:
        raise RuntimeError(f"{name}: {result['errors']} of {result['requests']} requests failed")
    return result


def run(seconds):
    path = model()
    bare = [bare_us_per_row(path, rows, seconds) for rows in (1, 32)]
    identity = cpu_us("quern identity", "builtin:identity", "identity", 1, seconds)
    single = cpu_us("quern mlp784, 1 row", path, "mlp784", 1, seconds)
    large = cpu_us("quern mlp784, 32 rows", path, "mlp784", 32, seconds)
    us = [r["cpu_us_per_request"] for r in (identity, single, large)]
    budget = us[0] + 1.2 * bare[1]
    rows = [["bare loop, 1 row", f"{bare[0]:.2f} us", ""], ["bare loop, 32 rows, a row", f"{bare[1]:.2f} us", ""],
            ["identity, a request", f"{us[0]:.2f} us", ""], ["mlp, 1-row requests", f"{us[1]:.2f} us", f"<= {budget:.2f} us"],
            ["mlp, 32-row requests, a row", f"{us[2] / 32:.2f} us", f"<= {bare[1] / 0.9:.2f} us"]]
    table(["CPU of all processes", "", "budget"], rows)
    print(f"mlp, 1-row: p50 {single['p50_us']:.0f} us, p99 {single['p99_us']:.0f} us, {single['rps']:.0f}/s")
    need_same_scheduling([identity, single, large])
    record("batching", {"bare_us_per_row": bare, "identity": identity, "single": single, "large": large})
