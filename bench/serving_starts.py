"""serving-starts: what it takes to start MobileNetV2 and iris: the whole server, a reload, a worker killed under load; with engines kept open and without."""
import http.client
import os
import signal
import statistics
import threading
import time

from measure import ROOT, machine, record, table
from serving_common import model, status, up
from startup import ready_ms

TIMES = 15
BODIES = {"mobilenet": b"\0\0\0\x3f" * (3 * 224 * 224), "iris": b"\0\0\xa0\x40" * 4}


class Client(threading.Thread):
    """One connection that asks again and again; notes when each answer came."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.port = int(server.ready_url.split(":")[2].split("/")[0])
        self.body, self.times, self.failed, self.is_over = BODIES[name], [], 0, False

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.is_over:
            connection.request("POST", "/v2/models/m/infer", body=self.body, headers={"Inference-Header-Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            self.failed += answer.status != 200
            self.times.append(time.perf_counter())
        connection.close()

    def silence_after(self, moment):
        """The longest time without an answer, ms, in what follows."""
        time.sleep(1)
        times = [t for t in self.times if t >= moment]
        if not times:
            raise RuntimeError("no answer within a second after a worker was killed")
        return max(b - a for a, b in zip([moment, *times], times)) * 1000


def worker(server):
    """The one that serves: its process id; 0 while there is none."""
    ready = [p["pid"] for p in status(server)["processes"] if p["role"] == "worker" and p["state"] == "ready"]
    return ready[0] if len(ready) == 1 else 0


def next_worker(server, before):
    while (pid := worker(server)) in (0, before):
        time.sleep(0.0005)
    return pid


def cpu_ms(pid):
    """Processor time so far, all threads, as the scheduler counts it."""
    tasks = [f"/proc/{pid}/task/{t}/schedstat" for t in os.listdir(f"/proc/{pid}/task")]
    return sum(int(open(t, encoding="ascii").read().split()[0]) for t in tasks) / 1e6


def restarts(server):
    """A worker killed while nobody asks: time and processor time until its successor is ready."""
    wall, cpu, pid = [], [], worker(server)
    for _ in range(TIMES):
        time.sleep(0.15)  # dead within 100 ms of being ready it would be held back
        moment = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        pid = next_worker(server, pid)
        wall.append((time.perf_counter() - moment) * 1000)
        cpu.append(cpu_ms(pid))
    return wall, cpu


def kills(server, name):
    client, found = Client(server, name), []
    client.start()
    for _ in range(TIMES):
        time.sleep(0.2)
        moment = time.perf_counter()
        os.kill(worker(server), signal.SIGKILL)
        found.append(client.silence_after(moment))
    client.is_over = True
    client.join()
    if client.failed:
        raise RuntimeError(f"{client.failed} requests failed")
    return found


def middle(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def measure(name, path, is_warm):
    # One row in a run: how batches pay is measured at load until the machine is calm, which is not what is looked at here.
    config = f"warm_engines: {'true' if is_warm else 'false'}\nmodels: {{m: {{path: {path}, max_batch: 1}}}}"
    with up("quern-starts", config):
        pass  # compiles it
    time.sleep(3)  # a file is known by its times when it has not changed for a while
    with up("quern-starts", config, keep_data=True) as server:
        wall, cpu = restarts(server)
        silence = kills(server, name)
    ready = [ready_ms("up", "-c", server.config, "--data", server.data) for _ in range(TIMES)]
    return {"server from exec to ready": ready, "worker killed at rest, until the next is ready": wall,
            "the same, processor time of the new worker": cpu, "worker killed under load, longest silence": silence}


def run(_seconds):
    os.sched_setaffinity(0, range(os.cpu_count()))
    rows, found = [], {}
    for name, path in {"mobilenet": model("mobilenet"), "iris": ROOT / "test/data/iris.onnx"}.items():
        kept, anew = measure(name, path, True), measure(name, path, False)
        found[name] = {"kept": kept, "anew": anew}
        rows += [[f"{name}: {what}", middle(kept[what]), middle(anew[what])] for what in kept]
    table([f"ms, p50 of {TIMES} (min-max)", "engine kept open", "opened anew"], rows)
    record("serving-starts", found | {"machine": machine()})
