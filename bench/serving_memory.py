"""serving-memory: two instances of a 285 MB model and what each has for itself; first and second start of MobileNetV2; master and edge after
1,000 cycles of loading and unloading."""
import http.client
import json
import os
import shutil
import statistics
import time

from measure import ROOT, machine, record, table
from serving_common import memory_kib, model, status, up, workers

STARTS, CYCLES, SETTLE_CYCLES = 7, 1000, 50
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


def cycles():
    server, found = up("quern-cycles", "repository: {path: models, mode: explicit}"), []
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


def run(_seconds):
    private, load_ms, (before, after) = two_instances(), starts(), cycles()
    second = statistics.median(load_ms[1:])
    table(["", "first", "later", "budget"],
          [["private MiB of two instances, 285 MB", *[" ".join(f"{m:.1f}" for m in p) for p in private], "20 each, later starts"],
           ["load of MobileNetV2, ms", f"{load_ms[0]:.0f}", f"{second:.0f} ({min(load_ms[1:]):.0f}-{max(load_ms[1:]):.0f})", "30, later starts"],
           [f"{CYCLES} cycles: private KiB, descriptors, threads", before, after, "the same"]])
    record("serving-memory", {"private_mib": private, "load_ms": load_ms, "cycles": [before, after], "machine": machine()})
