"""Bodies of many kilobytes with tensors as bytes: they go from the socket straight into their batch, and every answer holds the bytes of its own request."""

import concurrent.futures
import json
import random
import time

from quern import encode, kill, within

FLOATS = 25_000
RAW = {"Inference-Header-Content-Length": "0"}
CONFIG = 'models: {m: {path: "builtin:identity", parameters: {execute_delay_ms: "2"}}}'
PATH = "/v2/models/m/infer"


def body_of(rng):
    return rng.randbytes(4 * FLOATS)


def binary_form(body):
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "INPUT0",
                    "shape": [1, FLOATS],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(body)},
                }
            ],
            "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
        }
    ).encode()
    return head + body, {"Inference-Header-Content-Length": str(len(head))}


def good(client, rng):
    body = body_of(rng)
    sent, headers = (body, RAW) if rng.random() < 0.5 else binary_form(body)
    r = client.request("POST", PATH, sent, headers)
    assert r.status == 200, r
    assert r.body[-len(body) :] == body


def refused(client, rng):
    """Answers that are given without a look at the body, or at its beginning only."""
    kind = rng.randrange(4)
    body = body_of(rng)
    if kind == 0:
        r = client.request("POST", "/v2/models/nobody/infer", body, RAW)
        assert r.status == 404, r
    elif kind == 1:
        r = client.request("POST", PATH, body + b"x", RAW)
        assert r.status == 400 and "not a whole number of its elements" in r.json()["error"], r
    elif kind == 2:
        r = client.request("POST", PATH, body, {"Inference-Header-Content-Length": str(len(body) + 1)})
        assert r.status == 400, r
    else:
        r = client.request("GET", PATH, body, RAW)
        assert r.status == 405, r


def converse(s, seed, n):
    rng = random.Random(seed)
    with s.client() as c:
        for _ in range(n):
            good(c, rng)
            if rng.random() < 0.3:
                refused(c, rng)


def in_parallel(s, connections, n):
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        for future in [pool.submit(converse, s, seed, n) for seed in range(connections)]:
            future.result()


def test_each_request_gets_its_own_bytes(serve):
    in_parallel(serve(config=CONFIG), 8, 40)


def test_more_requests_than_there_are_blocks(serve):
    """One row a run: most wait in the queue, where their bodies must be kept."""
    in_parallel(serve(config=CONFIG.replace("parameters", "max_batch: 1, parameters")), 48, 6)


def test_inline(serve):
    in_parallel(serve(config=CONFIG.replace("parameters", "isolation: inline, parameters")), 4, 20)


def test_pipelined_requests(serve):
    s = serve(config=CONFIG)
    rng = random.Random(1)
    bodies = [body_of(rng) for _ in range(30)]
    with s.client() as c, concurrent.futures.ThreadPoolExecutor(1) as pool:
        sender = pool.submit(lambda: c.send(b"".join(encode("POST", PATH, b, RAW) for b in bodies)))
        for body in bodies:
            r = c.receive()
            assert r.status == 200 and r.body[-len(body) :] == body, r.status
        sender.result()


def test_killed_workers_cost_no_request(serve):
    s = serve(config=CONFIG)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        talks = [pool.submit(converse, s, seed, 60) for seed in range(6)]
        killed = 0
        while not all(t.done() for t in talks):
            time.sleep(0.15)
            for pid in s.pids("worker", "m")[:1]:
                kill(pid)
                killed += 1
        for t in talks:
            t.result()
    assert killed >= 2


def test_clients_that_leave_in_the_middle(serve):
    s = serve(config=CONFIG)
    rng = random.Random(2)
    request = encode("POST", PATH, body_of(rng), RAW)
    for k in range(40):
        with s.client() as c:
            good(c, rng)
            c.send(request if k % 4 == 0 else request[: rng.randrange(len(request))])
    metrics = lambda: s.get("/metrics").body.decode().splitlines()
    open_now = lambda: float(next(x for x in metrics() if x.startswith("quern_http_connections")).split()[-1])
    within(lambda: open_now() <= 1, 10, "connections to be closed")
    with s.client() as c:
        good(c, rng)
