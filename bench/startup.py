"""startup: from exec to ready with a small model, the binary's size, memory at rest."""
import http.client
import os
import shutil
import signal
import statistics
import subprocess
import time

from measure import QUERN, ROOT, SERVER_CORE, WORK, descendants, free_port, pss_kib, quern_serve, record, scheduling, table

MODEL = ROOT / "test/data/iris.onnx"
REPEATS = 20


def ready_ms(*what):
    """what: `serve MODEL` or `up -c FILE`, and options. Polls each 0.2 ms, so that the asking costs the server little and the figure is not rounded."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen([QUERN, *what, "--listen", f"127.0.0.1:{port}", "--log-level", "warn"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == 200:
                    return (time.perf_counter() - began) * 1000
            except OSError:
                pass
            finally:
                connection.close()
            if process.poll() is not None or time.perf_counter() - began > 30:
                raise RuntimeError(f"quern {what} did not get ready (exit code {process.poll()})")
            time.sleep(0.0002)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def stripped_bytes():
    copy = WORK / "quern.stripped"
    subprocess.run(["strip", "-o", copy, QUERN], check=True)
    return copy.stat().st_size


def idle_kib():
    """All processes, no model, after two seconds of rest."""
    empty = WORK / "empty.yaml"
    port = free_port()
    empty.write_text(f"listen: 127.0.0.1:{port}\ndata: {WORK / 'data'}\n")
    shutil.rmtree(WORK / "data", ignore_errors=True)
    server = quern_serve("quern without models")
    server.command = [str(QUERN), "up", "-c", str(empty)]
    server.ready_url = f"http://127.0.0.1:{port}/v2/health/ready"
    with server:
        time.sleep(2)
        return {pid: pss_kib(pid) for pid in descendants(server.process.pid)}


def run(_seconds):
    data = WORK / "data"
    shutil.rmtree(data, ignore_errors=True)
    os.sched_setaffinity(0, range(os.cpu_count()))
    model = {"iris.onnx": MODEL, "builtin:identity": "builtin:identity"}
    times = {name: sorted(ready_ms("serve", path, "--data", data) for _ in range(REPEATS)) for name, path in model.items()}
    size = stripped_bytes()
    idle = idle_kib()
    rows = [[f"exec to ready, {name} (p50 of {REPEATS})", f"{statistics.median(t):.1f} ms", f"{t[0]:.1f}-{t[-1]:.1f}",
             "60 ms" if name == "iris.onnx" else ""] for name, t in times.items()]
    rows.append(["binary, stripped", f"{size / 1e6:.2f} MB", "", "8 MB"])
    rows.append([f"memory at rest without models ({len(idle)} processes, PSS)", f"{sum(idle.values()) / 1024:.1f} MiB", "",
                 "15 MB"])
    table(["", "", "min-max", "budget"], rows)
    print(f"scheduling: {scheduling(0)}; all cores; memory measured on core {SERVER_CORE}")
    record("startup", {"ready_ms": times, "stripped_bytes": size, "idle_pss_kib": list(idle.values())})
