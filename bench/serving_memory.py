"""serving-memory: two instances of a 285 MB model and what each has for itself; first and second start of MobileNetV2; master and edge after
1,000 cycles of loading and unloading, by an operator and on demand; nine models in a budget for about three."""
import http.client
import json
import os
import shutil
import statistics
import threading
import time

from measure import ROOT, machine, record, table
from serving_common import memory_kib, model, status, up, workers

STARTS, CYCLES, SETTLE_CYCLES = 7, 1000, 50
MODELS, ROUNDS = 9, 4
PRIVATE = ("Private_Clean", "Private_Dirty")


def settled(server):
    while any(p["state"] == "starting" for p in status(server)["processes"]):
        time.sleep(0.01)


def two_instances():
    config = f"models: {{big: {{path: {model('big')}, instances: 2}}}}"
    found = []
    for keep in (False, True):
        with up("quern-big", config, keep_data=keep) as s:
            settled(s)
            found.append([memory_kib(p, *PRIVATE) / 1024 for p in workers(s)])
    return found


def starts():
    config, found = f"models: {{m: {model('mobilenet')}}}", []
    for i in range(STARTS + 1):
        with up("quern-starts", config, keep_data=i > 0) as s:
            found.append(ask(s, "GET", "/api/status")["models"][0]["load_ms"])
    return found


def ask(server, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", int(server.ready_url.split(":")[2].split("/")[0]), timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{server.name}: {method} {path}: {answer.status} {body[:200]}")
    return json.loads(body or b"{}")


def holdings(server):
    """KiB of memory that only master and edge have, their descriptors, their threads."""
    s = status(server)
    family = [s["master_pid"], *[p["pid"] for p in s["processes"] if p["role"] == "edge"]]
    return [sum(memory_kib(p, *PRIVATE) for p in family), *[sum(len(os.listdir(f"/proc/{p}/{what}")) for p in family) for what in ("fd", "task")]]


def cycles(mode, models):
    """models: what quern.yaml says of m, beside the repository that has it."""
    server, found = up("quern-cycles", f"repository: {{path: models, mode: {mode}}}\nmodels: {models}"), []
    folder = server.config.parent / "models/m/1"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "test/data/iris.onnx", folder / "model.onnx")
    with server as s:
        for count in (SETTLE_CYCLES, CYCLES):
            for _ in range(count):
                ask(s, "POST", "/v2/repository/models/m/load")
                ask(s, "POST", "/v2/repository/models/m/unload")
            while workers(s):
                time.sleep(0.01)
            found.append(holdings(s))
        return found


def budget_config(budget_bytes):
    models = ", ".join(f"m{i}: {{path: {model('mobilenet')}, load: on-demand}}" for i in range(MODELS))
    return f"memory_budget: {budget_bytes}\nmodels: {{{models}}}"


class Watch(threading.Thread):
    """The most memory (proportional share) that all workers had together, looked at all the time."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.most_kib, self.is_over = server, 0, False

    def run(self):
        while not self.is_over:
            try:
                self.most_kib = max(self.most_kib, sum(memory_kib(p, "Pss") for p in workers(self.server)))
            except (FileNotFoundError, ProcessLookupError):
                pass  # one has just ended
            time.sleep(0.02)


def budget():
    """Round robin over nine models that do not fit together, their needs known from a start before."""
    name = "quern-budget"
    for keep in (False, True):  # the first load of a model packs its weights, which takes more than later ones
        with up(name, budget_config(0), keep_data=keep) as s:
            for i in range(MODELS):
                ask(s, "POST", f"/v2/repository/models/m{i}/load")
            found = ask(s, "GET", "/api/status")["memory"]
    need = max(m["need_bytes"] for m in found["models"])
    peak = max(m["peak_bytes"] for m in found["models"])
    program = max(m["program_bytes"] for m in found["models"])
    limit, waits = 2 * need + peak + (peak - need) // 8 + program, []  # room for three, one of which is loading
    with up(name, budget_config(limit), keep_data=True) as s:
        watch = Watch(s)
        watch.start()
        for i in range(MODELS * ROUNDS):
            began = time.monotonic()
            ask(s, "POST", f"/v2/repository/models/m{i % MODELS}/load")
            waits.append(1e3 * (time.monotonic() - began))
        watch.is_over = True
        watch.join()
        loads = sum(m["loads"] for m in ask(s, "GET", "/api/status")["memory"]["models"])
    if watch.most_kib * 1024 > limit:
        raise RuntimeError(f"{watch.most_kib / 1024:.1f} MiB in a budget of {limit / 2**20:.1f}")
    return {"need_mib": need / 2**20, "loads": loads, "budget_mib": limit / 2**20, "most_mib": watch.most_kib / 1024, "wait_ms": statistics.median(waits), "longest_ms": max(waits)}


def run(_seconds):
    private, load_ms = two_instances(), starts()
    (before, after), (demand_before, demand_after) = cycles("explicit", "{}"), cycles("fixed", "{m: {load: on-demand}}")
    held = budget()
    second = statistics.median(load_ms[1:])
    table(["", "first", "later", "budget"],
          [["private MiB of two instances, 285 MB", *[" ".join(f"{m:.1f}" for m in p) for p in private], "20 each, later starts"],
           ["load of MobileNetV2, ms", f"{load_ms[0]:.0f}", f"{second:.0f} ({min(load_ms[1:]):.0f}-{max(load_ms[1:]):.0f})", "30, later starts"],
           [f"{CYCLES} cycles: private KiB, descriptors, threads", before, after, "the same"],
           [f"{CYCLES} cycles on demand: the same", demand_before, demand_after, "the same"],
           [f"{MODELS} models of {held['need_mib']:.1f} MiB in a budget: most MiB of workers", "", f"{held['most_mib']:.1f}", f"{held['budget_mib']:.1f}"],
           [f"{MODELS * ROUNDS} requests in turn, {held['loads']} loads: wait, median and longest ms", "",
            f"{held['wait_ms']:.0f}, {held['longest_ms']:.0f}", ""]])
    record("serving-memory", {"private_mib": private, "load_ms": load_ms, "cycles": [before, after], "cycles_on_demand": [demand_before, demand_after],
                              "budget": held, "machine": machine()})
