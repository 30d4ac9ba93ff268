"""Traffic of all kinds at once, and somebody who kills and reloads meanwhile; for test_soak.py.

Each kind of traffic is a function of one session (a connection from its beginning to its end) that runs again and again in threads
of its own. A session says what went wrong by raising Wrong; a connection that breaks is nobody's fault while edges are killed, and only
if an edge was killed after the connection began."""

import json
import random
import signal
import socket
import struct
import threading
import time
import traceback

import quern
from quern import encode, kill, predict_body

ROW = 16


class Wrong(Exception):
    """An answer that docs/faults.md does not allow."""


class NotYet(Exception):
    """What an edge says of an inline model that it has not loaded again."""


def expect(condition, what):
    if not condition:
        raise Wrong(what)


def is_answered(r, what, *statuses):
    if r.status == 503 and b"is not ready: loading" in r.body:
        raise NotYet(f"{what}: {r}")
    expect(r.status in (statuses or (200,)), f"{what}: {r}")


# ---- right requests: each must be answered, and rightly ----


def predict(c, rng, model):
    rows = [[round(rng.uniform(-9, 9), 3) for _ in range(ROW)] for _ in range(rng.choice((1, 1, 1, 2, 7)))]
    r = c.request("POST", "/predict", predict_body(model, rows))
    is_answered(r, model)
    got = r.json()["data"]["prediction"]
    got = got if isinstance(got[0], list) else [got]
    expect(len(got) == len(rows) and all(abs(a - b) < 1e-5 for x, y in zip(got, rows) for a, b in zip(x, y)), f"{model}: another's answer: {got}")


def infer_json(c, rng, model):
    values = [float(rng.randrange(1000)) for _ in range(ROW)]
    r = c.request("POST", f"/v2/models/{model}/infer", quern.infer_body(values))
    is_answered(r, model)
    expect(r.json()["outputs"][0]["data"] == values, f"{model}: another's answer: {r}")


def infer_binary(c, rng, model):
    rows = rng.choice((1, 1, 4, 300))
    data = struct.pack(f"<{rows * ROW}f", *(rng.uniform(-9, 9) for _ in range(rows * ROW)))
    head = json.dumps({
        "inputs": [{"name": "INPUT0", "shape": [rows, ROW], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}],
        "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
    }).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    r = c.request("POST", f"/v2/models/{model}/infer", head + data, length)
    is_answered(r, model)
    expect(r.body[int(r.headers["inference-header-content-length"]) :] == data, f"{model}: another's bytes in {rows} rows")


def iris(c, rng, model):
    flower, label = rng.choice((([5.1, 3.5, 1.4, 0.2], 0), ([6.7, 3.1, 4.7, 1.5], 1), ([6.3, 3.3, 6.0, 2.5], 2)))
    r = c.request("POST", "/predict", predict_body(model, flower))
    is_answered(r, model)
    expect(r.json()["data"]["prediction"] == label, f"{model}: {r}")


def cached(c, rng, model):
    values = [float(rng.randrange(3))] * ROW
    r = c.request("POST", f"/v2/models/{model}/infer", quern.infer_body(values))
    is_answered(r, model)
    expect(r.json()["outputs"][0]["data"] == values, f"{model}: another's answer: {r}")


def observe(c, rng, _):
    path = rng.choice(("/metrics", "/api/status", "/api/history", "/api/requests", "/v2/models/plain/stats", "/v2", "/"))
    r = c.request("GET", path)
    expect(r.status == 200, f"{path}: {r}")


def right(asks):
    """A session of a client with manners; asks: (function, model) by chance."""

    def session(soak, rng):
        with soak.client() as c:
            for _ in range(rng.choice((1, 3, 30))):
                ask, model = rng.choice(asks)
                ask(c, rng, model)
                soak.count("right")

    return session


# ---- everything else: only must not hurt ----

TEXTS = [
    b"", b"null", b"[" * 100_000, b'{"modelId":"plain","features":' + b"[" * 5000, b'{"modelId":"nobody","features":[1]}', b'{"features":[1]}',
    b'{"modelId":"plain","features":[1,"x"]}', b'{"modelId":"plain","features":[1e999]}', b'{"modelId":"\xff","features":[1]}', b'{"modelId":"plain"',
    b'{"modelId":"plain","features":[1,2]}', b'{"modelId":"inline","features":[[1],[2,3]]}',
]  # fmt: skip
HEADS = [
    b"GET  / HTTP/1.1\r\n\r\n", b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", b"\x16\x03\x01\x02\x00\x01\x00",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999\r\n\r\n", b"GET / HTTP/1.1\r\nHost: t\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
]  # fmt: skip


def bad_texts(soak, rng):
    with soak.client() as c:
        for _ in range(rng.randint(1, 10)):
            path = rng.choice(("/predict", "/v2/models/plain/infer", "/v2/models/inline/infer", "/v2/models/nobody/infer"))
            r = c.request("POST", path, rng.choice(TEXTS))
            is_answered(r, f"a bad body to {path}", *range(400, 500))
            soak.count("bad")


def bad_heads(soak, rng):
    with soak.client() as c:
        c.send(rng.choice(HEADS))
        r = c.receive()
        expect(400 <= r.status <= 505, f"a bad head: {r}")
        soak.count("bad")


def damaged(soak, rng):
    """A good request with bytes changed: whatever is answered, it is an answer or an end."""
    data = bytearray(encode("POST", "/predict", predict_body("plain", [[0.5] * ROW] * 3)))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    with soak.client() as c:
        c.send(bytes(data))
        c.sock.shutdown(socket.SHUT_WR)
        while c.sock.recv(65536):
            pass
    soak.count("damaged")


def poison(soak, rng):
    with soak.client() as c:
        r = c.request("POST", "/predict", predict_body("bad", [666, rng.randrange(4)]))
        expect(r.status in (422, 502), f"an input that crashes its model: {r}")
        r = c.request("POST", "/predict", predict_body("bad", [1, rng.randrange(100)]))
        expect(r.status == 200, f"an input that shares its model with one that crashes it: {r}")
        soak.count("poison")
    soak.stop.wait(1)


def gone(soak, rng):
    """Clients that leave in the middle: of their request, or before the answer, politely or not."""
    model = rng.choice(("plain", "slow", "inline", "second"))
    data = encode("POST", "/predict", predict_body(model, [[0.5] * ROW] * rng.choice((1, 200))))
    with soak.client() as c:
        c.send(data if rng.random() < 0.6 else data[: rng.randrange(1, len(data))])
        soak.stop.wait(rng.choice((0, 0.001, 0.02)))
        if rng.random() < 0.5:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    soak.count("gone")


def slow(soak, rng):
    """One byte now and then, or an answer that is taken in sips."""
    with soak.client() as c:
        if rng.random() < 0.5:
            for byte in encode("GET", "/v2/health/live"):
                c.send(bytes([byte]))
                if soak.stop.wait(0.01):
                    return
            expect(c.receive().status == 200, "a slow writer")
        else:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            values = [0.123456] * ROW * 2000
            body = {"inputs": [{"name": "INPUT0", "shape": [2000, ROW], "datatype": "FP32", "data": values}]}
            c.send(encode("POST", "/v2/models/plain/infer", body))
            for _ in range(rng.randrange(50)):
                c.buffer += c.sock.recv(4096)
                if soak.stop.wait(0.01):
                    return
            if rng.random() < 0.5:
                expect(c.receive().status == 200, "a slow reader")
        soak.count("slow")


# ---- who kills and reloads ----


class Chaos:
    """One thing at a time, and not too often: a run that is hit three times is taken for poison."""

    def __init__(self, soak, configs, rng):
        self.soak, self.configs, self.rng = soak, configs, rng
        self.done = {"worker": 0, "stem": 0, "edge": 0, "reload": 0}

    def kill_one(self, role):
        p = [p for p in self.soak.server.processes(role) if p["pid"] and p["state"] == "ready" and p["model"] != "bad"]
        if not p:
            return
        victim = self.rng.choice(p)
        self.soak.happened(f"kill -9 of {role} {victim['model']}")
        if role == "edge":
            self.soak.edge_killed(victim["pid"])
        else:
            kill(victim["pid"])
        self.done[role] += 1

    def reload(self):
        self.soak.happened("reload")
        self.soak.server.write_config(self.rng.choice(self.configs))
        self.soak.server.signal(signal.SIGHUP)
        self.done["reload"] += 1

    def run(self):
        turn = 0
        while not self.soak.stop.wait(0.7):
            turn += 1
            if turn % 12 == 6:
                self.kill_one("edge")
            elif turn % 6 == 4:
                self.kill_one("stem")
            elif turn % 2:
                self.kill_one("worker")
            else:
                self.reload()


# ---- all together ----


class Soak:
    def __init__(self, server, sessions, configs, seed):
        self.server, self.address = server, server.address
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.counts, self.wrong, self.kills, self.broken = {}, [], [], 0
        self.start, self.events = time.monotonic(), []
        self.began = threading.local()
        self.chaos = Chaos(self, configs, random.Random(seed))
        jobs = [(self._loop, (session, random.Random(f"{seed} {i}"))) for i, session in enumerate(sessions)]
        self.threads = [threading.Thread(target=f, args=a, daemon=True) for f, a in [*jobs, (self._guarded, (self.chaos.run,))]]

    def client(self):
        self.began.at = time.monotonic()  # before it connects: who is accepted by an edge that dies has bad luck
        return quern.Client(self.address, 60)

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def edge_killed(self, pid):
        with self.lock:
            self.kills.append(time.monotonic())
        kill(pid)
        with self.lock:
            self.kills[-1] = time.monotonic()

    def happened(self, what):
        self.events.append(f"{time.monotonic() - self.start:.2f} s {what}")

    def note(self, what):
        """With what was done to the server last."""
        with self.lock:
            self.wrong.append(f"{time.monotonic() - self.start:.2f} s {what}; before it: {', '.join(self.events[-3:])}")

    def _broken(self, e):
        with self.lock:
            self.broken += 1
            blame = not any(k >= self.began.at for k in self.kills)
        if blame:
            self.note(f"a connection broke, though no edge was killed since it began: {e!r}")

    def _not_yet(self, e):
        with self.lock:
            is_new = any(time.monotonic() - k < 10 * quern.SLOW for k in self.kills)
        if not is_new or "inline" not in str(e):
            self.note(f"loading, though no edge was killed of late: {e}")
        self.stop.wait(0.05)

    def _guarded(self, f, *args):
        try:
            f(*args)
        except Exception:
            self.note(traceback.format_exc())

    def _loop(self, session, rng):
        while not self.stop.is_set() and len(self.wrong) < 100:
            try:
                session(self, rng)
            except Wrong as e:
                self.note(str(e)[:600])
            except NotYet as e:
                self._not_yet(e)
            except TimeoutError as e:
                self.note(f"{session.__name__}: no answer: {e!r}")
            except OSError as e:
                # Who sends what is wrong may be cut off while it still sends.
                if session not in (bad_heads, damaged, gone):
                    self._broken(e)
            except Exception:
                self.note(traceback.format_exc())

    def run(self, seconds):
        for t in self.threads:
            t.start()
        self.stop.wait(seconds)
        self.stop.set()
        for t in self.threads:
            t.join(90)
            expect(not t.is_alive(), "a client hangs")
