"""Rows of the triton benchmark about a server's life: from exec to ready, memory, the end with an idle client, and a model replaced under load."""
import contextlib
import http.client
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import threading
import time

from measure import SERVER_CORE, descendants, free_port, pss_kib, table
from serving_common import memory_kib
from triton_load import PIXELS, Request, ask, is_peer, measure, numbers
from triton_peer import FOLDER, LEAN, LEANEST, engine, port_of, quern, quern_command, repository, triton, triton_command

STARTS = 9
DRAIN_MAX_S = 60


def get(port, path, method="GET", timeout=30):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


# ---- exec to ready ----

def cpu_ms(pid):
    """CPU time of all threads that live now, of this process and those below it; in /proc/PID/stat it would be rounded to 10 ms."""
    total = 0
    for p in descendants(pid):
        with contextlib.suppress(OSError):
            total += sum(int((t / "schedstat").read_text().split()[0]) for t in pathlib.Path(f"/proc/{p}/task").iterdir())
    return total / 1e6


def ready_ms(command, port):
    """Time and CPU time until ready. Asks each 0.2 ms, so that the figure is not rounded. The server is killed afterwards: its end is another row."""
    began = time.perf_counter()
    process = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "QUERN_TRITON_ENGINE": engine()})
    try:
        while True:
            with contextlib.suppress(OSError):
                if get(port, "/v2/health/ready", timeout=5)[0] == 200:
                    return (time.perf_counter() - began) * 1000, cpu_ms(process.pid)
            if process.poll() is not None or time.perf_counter() - began > 30:
                raise RuntimeError(f"{command[0]} did not get ready (exit code {process.poll()})")
            time.sleep(0.0002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def starts():
    """The first start is not counted: it fills the page cache, and quern keeps what it found out of a model."""
    folder, builtin = repository("iris", "iris"), repository("identity", "identity")
    data = FOLDER / "data-start"
    shutil.rmtree(data, ignore_errors=True)
    port = free_port()
    metrics = f"--metrics-port={free_port()}"
    ways = {
        "quern, iris": quern_command(port, data, folder),
        "Triton as it comes, iris": triton_command(port, folder, f"--grpc-port={free_port()}", metrics),
        "Triton, all switched off, iris": triton_command(port, folder, *LEANEST),
        "quern, identity": quern_command(port, data, "builtin:identity"),
        "Triton as it comes, identity": triton_command(port, builtin, f"--grpc-port={free_port()}", metrics),
        "Triton, all switched off, identity": triton_command(port, builtin, *LEANEST),
    }
    found = {name: {"ms": [], "cpu_ms": []} for name in ways}
    for i in range(STARTS + 1):
        for name, command in ways.items():
            ms, cpu = ready_ms(command, port)
            if i > 0:
                found[name]["ms"].append(ms)
                found[name]["cpu_ms"].append(cpu)
    print(f"\nFrom exec to ready ({STARTS} starts in turns, all on core {SERVER_CORE}, page cache warm)")
    rows = []
    for name, all_starts in found.items():
        ours = found["quern, " + name.rsplit(", ", 1)[1]]
        row = [name]
        for key in ("ms", "cpu_ms"):
            values = all_starts[key]
            middle = statistics.median(values)
            row += [f"{middle:.1f}", f"{min(values):.1f}-{max(values):.1f}", f"{middle / statistics.median(ours[key]):.2f}" if is_peer(name) else ""]
        rows.append([*row, ">= 2 x" if name.startswith("Triton as") else ""])
    table(["", "ms", "min-max", "x quern", "CPU ms", "min-max", "x quern", "goal (ms)"], rows)
    return found


def start_ratio(found):
    """How many times longer Triton as it comes takes, with an ONNX model."""
    return statistics.median(found["Triton as it comes, iris"]["ms"]) / statistics.median(found["quern, iris"]["ms"])


# ---- memory ----

def held(server):
    pids = server.pids()
    rss = sum(memory_kib(p, "Rss") for p in pids)
    private = sum(memory_kib(p, "Private_Clean", "Private_Dirty") for p in pids)
    return {"processes": len(pids), "threads": sum(len(os.listdir(f"/proc/{p}/task")) for p in pids), "pss_mib": sum(map(pss_kib, pids)) / 1024,
            "rss_mib": rss / 1024, "private_mib": private / 1024}


def memory():
    """After loading two models, and after some requests. Nothing else maps these files meanwhile."""
    folder, found = repository("memory", "mlp784", "mobilenet"), {}
    requests = [Request("mlp784", "x", [1, 784], numbers(784, 1), "y", True),
                Request("mobilenet", "x", [1, 3, 224, 224], numbers(PIXELS, 1), "y", True)]
    for make in (lambda: quern("quern memory", folder), lambda: triton("Triton memory", folder, *LEAN)):
        with make() as s:
            before = held(s)
            for r in requests:
                measure(s, r, 8, 1, may_fail=is_peer(s.name))
            found[s.name] = {"loaded": before, "used": held(s)}
    print("\nMemory of all processes: MLP (2 MB) and MobileNetV2 (14 MB) loaded, then after a second of load on each with 8 connections; RSS counts shared pages once for each process")
    table(["", "processes", "threads", "PSS MiB", "private MiB", "RSS MiB"],
          [[f"{name.removesuffix(' memory')}, {when}", m["processes"], m["threads"], f"{m['pss_mib']:.1f}", f"{m['private_mib']:.1f}", f"{m['rss_mib']:.1f}"]
           for name, whens in found.items() for when, m in whens.items()])
    return found


# ---- the end ----

def end_s(server, has_idle_client):
    """From SIGTERM to the end of the process, with or without a client that asked once and keeps its connection."""
    with server as s:
        client = http.client.HTTPConnection("127.0.0.1", port_of(s), timeout=DRAIN_MAX_S)
        client.request("GET", "/v2/health/ready")
        client.getresponse().read()
        if not has_idle_client:
            client.close()
            time.sleep(0.1)
        began = time.monotonic()
        # Both servers start one process that the rest hangs on; taskset and chrt have become it.
        os.kill(s.process.pid, signal.SIGTERM)
        s.process.wait(DRAIN_MAX_S)
        took = time.monotonic() - began
        client.close()
    return took


def ends():
    folder, found = repository("identity", "identity"), {}
    for has_idle in (False, True):
        key = "idle client" if has_idle else "no client"
        found[key] = {"quern": end_s(quern("quern end", "builtin:identity"), has_idle), "Triton": end_s(triton("Triton end", folder, *LEAN), has_idle)}
    print("\nFrom SIGTERM to exit, seconds")
    table(["", "no client", "one idle keep-alive client", "goal"],
          [[name, f"{found['no client'][name]:.2f}", f"{found['idle client'][name]:.2f}", "<= 1" if name == "quern" else ""] for name in ("quern", "Triton")])
    if found["idle client"]["quern"] > 1:
        print("MISSED: quern took more than a second")
    return found


# ---- replaced under load ----

RELOADS_PER_S = 5


def replace(server, folder):
    """Its file is new, the bytes are the same; then the operator's call, which both servers have."""
    file = folder / "mlp784/1/model.onnx"
    aside = file.with_suffix(".new")
    shutil.copy(file, aside)
    aside.rename(file)
    began = time.monotonic()
    status, body = get(port_of(server), "/v2/repository/models/mlp784/load", "POST", timeout=60)
    if status != 200:
        raise RuntimeError(f"{server.name}: load: status {status}: {body[:300]}")
    return (time.monotonic() - began) * 1000


def under_reloads(server, folder, request, seconds):
    loads, stop = [], []

    def replace_until():
        due = time.monotonic()
        while not stop:
            loads.append(replace(server, folder))
            due = max(due + 1 / RELOADS_PER_S, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))

    thread = threading.Thread(target=replace_until)
    thread.start()
    try:
        result = measure(server, request, 4, seconds, may_fail=is_peer(server.name))
    finally:
        stop.append(True)
        thread.join()
    return result, loads


def reloads(seconds):
    request = Request("mlp784", "x", [1, 784], numbers(784, 1), "y", True)
    found = {}
    for make in (lambda f: quern("quern reload", f, "--repository-mode", "explicit"),
                 lambda f: triton("Triton reload", f, *LEAN, "--model-control-mode=explicit", "--load-model=mlp784")):
        folder = repository("reload", "mlp784")
        with make(folder) as s:
            if get(port_of(s), "/v2/repository/models/mlp784/load", "POST")[0] != 200:
                raise RuntimeError(f"{s.name} does not load mlp784")
            ask(s, request)
            pairs = []
            for _ in range(3):
                calm = measure(s, request, 4, seconds, may_fail=is_peer(s.name))
                pairs.append((calm, *under_reloads(s, folder, request, seconds)))
            found[s.name] = pairs
    print(f"\nMLP replaced under load (explicit mode, up to {RELOADS_PER_S} loads a second, 4 connections)")
    rows = []
    for name, pairs in found.items():
        times = [ms for p in pairs for ms in p[2]]
        p99 = [statistics.median(p[i]["p99_us"] for p in pairs) for i in (0, 1)]
        rows.append([name.removesuffix(" reload"), len(times), sum(p[1]["errors"] for p in pairs), f"{statistics.median(times):.0f}",
                     f"{p99[0]:.0f}", f"{p99[1]:.0f}", f"{statistics.median(p[1]['p99_us'] / p[0]['p99_us'] for p in pairs):.2f}"])
    table(["", "loads", "failed requests", "a load, ms", "p99 us calm", "p99 us with loads", "x"], rows)
    return found
