"""HTTP/1.1 as clients in the wild speak it, through the whole program."""

import contextlib
import gzip
import json
import random
import re
import socket
import time
import zlib

import pytest

import quern
from quern import Client, encode, predict_body, wait_until, within


def test_keep_alive_carries_many_requests(identity):
    with identity.client() as c:
        for k in range(200):
            r = c.request("POST", "/predict", predict_body("identity", [k]))
            assert r.json()["data"]["prediction"] == k
        assert c.request("GET", "/v2/health/live").status == 200


def test_pipelined_answers_come_in_order(serve):
    s = serve(
        config="""
models:
  slow: {path: "builtin:delay", parameters: {execute_delay_ms: "150"}}
  fast: {path: "builtin:identity"}
"""
    )
    plan = ["slow", "fast", "fast", "slow", "fast"] * 4
    with s.client() as c:
        c.send(b"".join(encode("POST", "/predict", predict_body(m, [k, -k])) for k, m in enumerate(plan)))
        for k, m in enumerate(plan):
            r = c.receive()
            assert r.status == 200 and r.json()["data"]["model"] == m, r
            assert r.json()["data"]["prediction"] == [k, -k]


def test_pipelining_over_the_limit_only_waits(identity):
    n = 300
    with identity.client() as c:
        c.send(b"".join(encode("POST", "/predict", predict_body("identity", [k])) for k in range(n)))
        assert [c.receive().json()["data"]["prediction"] for _ in range(n)] == list(range(n))


def test_request_in_single_bytes(identity):
    with identity.client() as c:
        for byte in encode("POST", "/predict", predict_body("identity", [4, 2])):
            c.send(bytes([byte]))
        assert c.receive().json()["data"]["prediction"] == [4, 2]


@pytest.mark.parametrize("sizes", [[10_000], [1] * 40, [7, 1000, 3]])
def test_chunked_upload(identity, sizes):
    body = predict_body("identity", [1.5, 2, 3])
    with identity.client() as c:
        c.send(b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        rest = body
        for n in sizes * 100:
            if not rest:
                break
            piece, rest = rest[:n], rest[n:]
            c.send(b"%x;name=value\r\n%s\r\n" % (len(piece), piece))
        c.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        assert c.receive().json()["data"]["prediction"] == [1.5, 2, 3]
        assert c.request("GET", "/v2").status == 200, "the connection is usable afterwards"


def test_expect_100_continue(identity):
    body = predict_body("identity", [1, 2])
    with identity.client() as c:
        head = f"POST /predict HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        c.send(head.encode())
        assert c.receive().status == 100
        c.send(body)
        assert c.receive().json()["data"]["prediction"] == [1, 2]


def test_expect_100_continue_is_refused_before_the_body_when_it_is_too_large(identity):
    with identity.client() as c:
        c.send(b"POST /predict HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        assert c.receive().status == 413


@pytest.mark.parametrize("coding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_request(identity, coding, pack):
    body = pack(predict_body("identity", [1, 2, 3]))
    r = identity.post("/predict", body, {"Content-Encoding": coding})
    assert r.json()["data"]["prediction"] == [1, 2, 3]
    broken = identity.post("/predict", body[: len(body) // 2], {"Content-Encoding": coding})
    assert broken.status == 400, broken


def test_unknown_coding_names_those_that_work(identity):
    r = identity.post("/predict", predict_body("identity", [1]), {"Content-Encoding": "br"})
    assert r.status in (415, 501), r
    assert "gzip" in r.json()["remedy"]


def test_compression_bomb_is_refused(identity):
    before = rss(identity)
    bomb = gzip.compress(b" " * 200_000_000, 1)
    assert identity.post("/predict", bomb, {"Content-Encoding": "gzip"}).status == 413
    assert rss(identity) - before < (150e6 if not quern.IS_SANITIZED else 600e6)


def rss(server):
    return int(quern.proc_status(server.pids("edge")[0])["VmRSS"].split()[0]) * 1024


@pytest.mark.parametrize(
    "accept, is_packed",
    [("gzip", True), ("gzip;q=0", False), ("identity", False), (None, False), ("br, gzip;q=0.5", True), ("*;q=0", False)],
)
def test_compressed_answer(identity, accept, is_packed):
    body = predict_body("identity", list(range(2000)))
    r = identity.post("/predict", body, {"Accept-Encoding": accept} if accept else {})
    assert (r.headers.get("content-encoding") == "gzip") == is_packed, r.headers
    text = gzip.decompress(r.body) if is_packed else r.body
    assert json.loads(text)["data"]["prediction"] == list(range(2000))


def test_head_has_no_body(identity):
    with identity.client() as c:
        r = c.request("HEAD", "/")
        assert r.status == 200 and int(r.headers["content-length"]) > 0
        assert c.request("GET", "/v2/health/live").status == 200


def test_connection_close_and_http_1_0(identity):
    with identity.client() as c:
        r = c.request("GET", "/v2", b"", {"Connection": "close"})
        assert r.status == 200 and r.headers["connection"] == "close"
        assert c.is_closed()
    with identity.client() as c:
        c.send(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert c.receive().status == 200
        assert c.is_closed()


AMBIGUOUS = [
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: +3\r\n\r\nabc",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 3,3\r\n\r\nabc",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551617\r\n\r\na",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3 \nabc\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /v2 HTTP/1.1\nHost: t\n\n",
    b"GET /v2 HTTP/1.1\r\nHost: t\r\n folded\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: t\r\nA\0B: c\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: t\r\n: c\r\n\r\n",
    b"GET  /v2 HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GE\x01T /v2 HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /v2 HTTP/9.9\r\nHost: t\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("raw", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
def test_ambiguity_is_refused_and_the_connection_closed(identity, raw):
    with identity.client(5) as c:
        c.send(raw + b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n")
        r = c.receive()
        assert r.status in (400, 501, 505), r
        assert c.is_closed(), "what follows must not be taken for a request"


def test_random_bytes_never_hurt(identity):
    rng = random.Random(3)
    pids = identity.pids("edge")
    good = encode("POST", "/predict", predict_body("identity", [1]), {"Transfer-Encoding": "chunked"})
    for _ in range(400):
        with identity.client(5) as c:
            data = bytearray(good if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 300)))
            for _ in range(rng.randint(0, 4)):
                at = rng.randrange(len(data))
                data[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
            with contextlib.suppress(OSError):
                c.send(bytes(data))
                c.sock.shutdown(socket.SHUT_WR)
                while c.sock.recv(4096):
                    pass
    assert identity.predict("identity", [1]).status == 200
    assert identity.pids("edge") == pids and not identity.status()["crashes"]


def test_head_limits(identity):
    with identity.client() as c:
        c.send(b"GET /v2 HTTP/1.1\r\nHost: t\r\nA: " + b"x" * 70_000 + b"\r\n\r\n")
        assert c.receive().status == 431
    with identity.client() as c:
        c.send(b"GET /v2 HTTP/1.1\r\nHost: t\r\n" + b"".join(b"A%d: x\r\n" % k for k in range(200)) + b"\r\n")
        assert c.receive().status == 431


def test_slow_clients_are_not_waited_for(serve):
    s = serve(
        config="""
http: {head_timeout: 300ms, body_timeout: 300ms, idle_timeout: 300ms}
models: {identity: "builtin:identity"}
"""
    )
    with s.client() as c:
        c.send(b"GET /v2 HT")
        assert c.receive().status == 408
        assert c.is_closed()
    with s.client() as c:
        c.send(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
        assert c.receive().status == 408
        assert c.is_closed()
    with s.client() as c:
        assert c.request("GET", "/v2").status == 200
        assert c.is_closed()
    with s.client() as c:  # one byte now and then does not buy more time for the head
        began = time.monotonic()
        with pytest.raises(OSError):
            for byte in b"GET /v2 HTTP/1.1\r\nHost: " + b"t" * 100:
                c.send(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_reader_that_takes_nothing_costs_nobody_else(serve):
    s = serve(config='{http: {send_timeout: 1s}, models: {identity: "builtin:identity"}}')
    body = json.dumps(quern.infer_body([1.5] * 500_000)).encode()
    lazy = s.client()
    lazy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(3):
        lazy.send(encode("POST", "/v2/models/identity/infer", body))
    for k in range(50):
        assert s.predict("identity", [k]).status == 200
    within(lambda: s.api()["http"]["connections_open"] <= 1, 10, "the lazy reader's end")
    lazy.close()


def test_more_connections_than_allowed(serve):
    """The one that was idle longest makes room."""
    s = serve(config='{http: {connections_max: 20}, models: {identity: {path: "builtin:identity"}}}')
    held = []
    for _ in range(60):
        held.append(s.client())
        assert held[-1].request("GET", "/v2").status == 200
    for _ in range(5):
        assert s.predict("identity", [1]).status == 200
    assert held[0].is_closed()
    for c in held:
        c.close()


def test_silent_connections_do_not_lock_new_clients_out(serve):
    s = serve(config='{http: {connections_max: 20}, models: {identity: {path: "builtin:identity"}}}')
    held = [s.client() for _ in range(20)]
    time.sleep(1.5)
    for _ in range(5):
        assert s.predict("identity", [1]).status == 200
    for c in held:
        c.close()


def test_request_ids(identity):
    r = identity.predict("identity", [1], {"X-Request-Id": "my-id_1.2"})
    assert r.headers["x-request-id"] == "my-id_1.2" and r.json()["request_id"] == "my-id_1.2"
    assert identity.predict("nobody", [1], {"X-Request-Id": "my-id"}).json()["request_id"] == "my-id"
    made = {identity.predict("identity", [1]).headers["x-request-id"] for _ in range(20)}
    assert len(made) == 20
    for bad in ("x" * 1000, "a b", 'a"b', "<script>"):
        got = identity.predict("identity", [1], {"X-Request-Id": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", got), got


def test_trace_context(identity):
    trace = "0af7651916cd43dd8448eb211c80319c"
    got = identity.get("/v2", {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}).headers["traceparent"]
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", got) and "b7ad6b7169203331" not in got
    for bad in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "junk", f"ff-{trace}-b7ad6b7169203331-01"):
        got = identity.get("/v2", {"traceparent": bad}).headers["traceparent"]
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", got) and trace not in got


def test_control_socket_speaks_the_same(identity):
    c = object.__new__(Client)
    c.sock, c.buffer = socket.socket(socket.AF_UNIX), b""
    c.sock.settimeout(5)
    c.sock.connect(str(identity.data / "run/edge.sock"))
    with c:
        assert c.request("GET", "/api/status").json()["ready"]
    assert (identity.data / "run/edge.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_goes_away_cancels_its_run(serve, how):
    s = serve(config='models: {slow: {path: "builtin:delay", max_batch: 1, parameters: {execute_delay_ms: "3000"}}}')
    c = s.client()
    c.send(encode("POST", "/predict", predict_body("slow", [1])))
    wait_until(lambda: s.model("slow")["in_flight"] == 1, 5, "the run")
    time.sleep(0.1)
    if how == "reset":
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    c.close()
    within(lambda: s.model("slow")["in_flight"] == 0, 2, "the end of the run, which takes three seconds")
    with s.client() as c:  # the one worker is free at once
        began = time.monotonic()
        r = c.request("POST", "/predict", predict_body("slow", [2]))
        took = time.monotonic() - began
    assert r.status == 200 and 2.9 < took < 5.5, took
    assert s.processes("worker")[0]["restarts"] == 0, "cancelling is no reason to kill"


def test_cancelling_one_of_a_batch_leaves_the_others(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "400"}}}')
    clients = [s.client() for _ in range(5)]
    for k, c in enumerate(clients):
        c.send(encode("POST", "/predict", predict_body("slow", [k])))
    time.sleep(0.1)
    clients[2].close()
    for k, c in enumerate(clients):
        if k != 2:
            assert c.receive().json()["data"]["prediction"] == k
            c.close()
