"""serving-cnn: MobileNetV2, one binary image of 602 KB in each request, one server core, against ONNX Runtime in a bare loop on the same core, in
turns; then answer times at half load, evenly spaced arrivals."""
import http.client
import os
import statistics
import threading
import time

from measure import LOAD_CORE, need_same_scheduling, quern_serve, record, table
from serving_common import PIXELS, bare_us, floats, model, run_load

TURNS, CONNECTIONS, SENDERS = 3, 4, 8


class Paced:
    """Requests at even times, whatever the server does; the time of each runs from when it was due."""

    def __init__(self, port, path, body, gap):
        self.address, self.path, self.body, self.gap = ("127.0.0.1", port), path, body, gap
        self.lock, self.next, self.count, self.times = threading.Lock(), time.monotonic() + 0.1, 0, []

    def send(self, end):
        connection = http.client.HTTPConnection(*self.address)
        while True:
            with self.lock:
                due, self.next = self.next, self.next + self.gap
            if due > end:
                return
            time.sleep(max(0, due - time.monotonic()))
            connection.request("POST", self.path, self.body, {"Inference-Header-Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"half load: status {answer.status}")
            self.times.append(time.monotonic() - due)

    def run(self, seconds):
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self.send, args=(end,)) for _ in range(SENDERS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.times.sort()
        return [1e3 * self.times[int(q * (len(self.times) - 1))] for q in (0.5, 0.99)]


def run(seconds):
    path, payload = model("mobilenet"), floats("image", PIXELS)
    bare, ours = [], []
    with quern_serve("quern-cnn", path) as s:
        for _ in range(TURNS):
            bare.append(bare_us(path, 1, seconds))
            ours.append(run_load(s, "/v2/models/mobilenet/infer", payload, seconds, "--connections", CONNECTIONS))
        cpu = statistics.median(r["cpu_us_per_request"] for r in ours)
        loop, capacity = statistics.median(bare), statistics.median(r["rps"] for r in ours)
        os.sched_setaffinity(0, {LOAD_CORE})
        half = Paced(int(s.ready_url.split(":")[2].split("/")[0]), "/v2/models/mobilenet/infer", payload.read_bytes(), 2 / capacity)
        p50, p99 = half.run(seconds * TURNS)
    share = 100 * statistics.median(b / r["cpu_us_per_request"] for b, r in zip(bare, ours))
    table(["", "CPU us/image", "images/CPU s", "of the loop", "budget"],
          [["bare loop", f"{loop:.0f}", f"{1e6 / loop:.1f}", "", ""], ["quern", f"{cpu:.0f}", f"{1e6 / cpu:.1f}", f"{share:.1f} %", ">= 95 %"]])
    print(f"half load ({capacity / 2:.1f}/s, even): p50 {p50:.1f} ms, p99 {p99:.1f} ms, {p99 / p50:.2f} x; budget 2 x")
    need_same_scheduling(ours)
    record("serving-cnn", {"bare_us": bare, "ours": ours, "half_load_ms": {"p50": p50, "p99": p99}})
