"""serving-registry: 1, 100, 1,000 and 4,000 models on demand in one folder: start, idle, memory, status, and what the edge needs for a request.
QUERN_BENCH_OTHER, another build's folder, is measured in turns with this one."""
import http.client
import json
import os
import pathlib
import shutil
import statistics
import time

from measure import BUILD, LOAD_CORE, ROOT, SERVER_CORE, WORK, Server, free_port, pss_kib, record, table

COUNTS = (1, 100, 1000, 4000)
TURNS, REQUESTS, IDLE_SECONDS = 5, 800, 3
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT32", "data": [1, 2, 3, 4]}]})


def cpu_ns(pid):
    return sum(int((p / "schedstat").read_text().split()[0]) for p in pathlib.Path(f"/proc/{pid}/task").iterdir())


def folder_of(count):
    """Copies of one small model; each a file of its own, as in a real folder."""
    folder = WORK / f"registry-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models").mkdir(parents=True)
    for i in range(count):
        shutil.copy(ROOT / "test/data/identity_int32.onnx", folder / f"models/m{i:04d}.onnx")
    (folder / "quern.yaml").write_text("repository: {path: models, on_demand: true}\nmemory_budget: 4GiB\n")
    return folder


class Registry(Server):
    def __init__(self, build, folder, first):
        self.port, self.data = free_port(), folder / f"data-{build.parent.name}-{build.name}"
        if first:
            shutil.rmtree(self.data, ignore_errors=True)
        super().__init__(f"registry-{folder.name}", [build / "quern", "up", "-c", folder / "quern.yaml", "--listen", f"127.0.0.1:{self.port}",
                                                     "--threads", 1, "--data", self.data, "--log-level", "warn"],
                         f"http://127.0.0.1:{self.port}/v2/health/ready")

    def __enter__(self):
        began = time.monotonic()
        super().__enter__()
        self.start_s = time.monotonic() - began
        self.client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        return self

    def ask(self, method, path, body=None):
        self.client.request(method, path, body)
        answer = self.client.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return text

    def status(self):
        return json.loads((self.data / "run/status.json").read_text())

    def pid(self, role):
        return self.process.pid if role == "master" else next(p["pid"] for p in self.status()["processes"] if p["role"] == role)

    def infer(self, model, times=1):
        for _ in range(times):
            self.ask("POST", f"/v2/models/{model}/infer", BODY)

    def request_us(self, model):
        edge = self.pid("edge")
        before = cpu_ns(edge)
        self.infer(model, REQUESTS)
        return (cpu_ns(edge) - before) / REQUESTS / 1e3


def turn(build, folder, count, first):
    with Registry(build, folder, first) as s:
        model = f"m{count // 2:04d}"
        s.infer(model, 50)
        master, edge = s.pid("master"), s.pid("edge")
        before = cpu_ns(master), cpu_ns(edge)
        time.sleep(IDLE_SECONDS)
        idle_ms = (cpu_ns(master) + cpu_ns(edge) - sum(before)) / IDLE_SECONDS / 1e6
        s.infer(model, 50)
        cpu_us = s.request_us(model)
        began = cpu_ns(edge)
        status = s.ask("GET", "/api/status")
        return {"start_s": s.start_s, "idle_ms": idle_ms, "master_mib": pss_kib(master) / 1024, "edge_mib": pss_kib(edge) / 1024,
                "request_us": cpu_us, "status_file_kb": (s.data / "run/status.json").stat().st_size / 1e3, "api_status_kb": len(status) / 1e3,
                "api_status_ms": (cpu_ns(edge) - began) / 1e6}


def run(_seconds):
    os.sched_setaffinity(0, {LOAD_CORE})
    builds = [pathlib.Path(os.environ["QUERN_BENCH_OTHER"])] if "QUERN_BENCH_OTHER" in os.environ else []
    builds.append(BUILD)
    counts = [int(c) for c in os.environ.get("QUERN_BENCH_MODELS", ",".join(map(str, COUNTS))).split(",")]
    found = {}
    for count in counts:
        folder = folder_of(count)
        for i in range(TURNS):
            for build in builds:
                found.setdefault((str(build), count), []).append(turn(build, folder, count, i == 0))
        shutil.rmtree(folder)
    middle = {key: {what: statistics.median(t[what] for t in turns) for what in turns[0]} for key, turns in found.items()}
    columns = list(next(iter(middle.values())))
    table(["build", "models", *columns], [[build[-24:], count, *[f"{m[c]:.3g}" if m[c] < 1000 else f"{m[c]:.0f}" for c in columns]]
                                          for (build, count), m in middle.items()])
    print(f"medians of {TURNS} turns; edge and master on core {SERVER_CORE}, the client on core {LOAD_CORE}")
    record("serving-registry", {f"{build}: {count}": m for (build, count), m in middle.items()})
