"""Rows of different requests share a run where that is right, and nowhere else; every answer is its own."""

import select
import socket
import struct
import time

import pytest

import quern
from quern import DATA, Load, encode, predict_body


def burst(s, model, rows, pipelined=16):
    """All rows at once over a few connections; answers in order."""
    clients = [s.client() for _ in range((len(rows) + pipelined - 1) // pipelined)]
    for k, c in enumerate(clients):
        part = rows[k * pipelined : (k + 1) * pipelined]
        c.send(b"".join(encode("POST", "/predict", predict_body(model, row)) for row in part))
    answers = [clients[k // pipelined].receive() for k in range(len(rows))]
    for c in clients:
        c.close()
    return answers


def test_requests_share_runs_and_get_their_own_rows(serve):
    s = serve(config='models: {m: {path: "builtin:identity", parameters: {execute_delay_ms: "5"}}}')
    rows = [[k, k * 0.5, -k] for k in range(320)]
    for row, r in zip(rows, burst(s, "m", rows)):
        assert r.status == 200 and r.json()["data"]["prediction"] == row, (row, r)
    m = s.model("m")
    assert m["rows"] == 320
    assert m["rows"] / m["runs"] > 4, m


def test_shared_runs_are_faster_than_one_by_one(serve):
    s = serve(
        config="""
models:
  together: {path: "builtin:identity", parameters: {execute_delay_ms: "10"}}
  alone: {path: "builtin:identity", max_batch: 1, parameters: {execute_delay_ms: "10"}}
"""
    )

    def took(name):
        began = time.monotonic()
        assert all(r.status == 200 for r in burst(s, name, [[k] for k in range(48)]))
        return time.monotonic() - began

    alone = took("alone")
    assert alone > 0.48
    m = s.model("alone")
    assert m["runs"] == m["rows"] == 48
    quern.at_best(lambda: took("together"), alone / 3)


def test_requests_of_several_rows_are_not_torn(serve):
    s = serve(config='models: {m: {path: "builtin:identity", max_batch: 8, parameters: {execute_delay_ms: "2"}}}')
    rows = [[[k, r] for r in range(1 + k % 8)] for k in range(120)]
    for want, r in zip(rows, burst(s, "m", rows)):
        got = r.json()["data"]["outputs"]["OUTPUT0"]
        assert got == want


def test_more_rows_than_a_batch_takes(serve):
    s = serve(config='models: {m: {path: "builtin:identity", max_batch: 8}}')
    rows = [[k] for k in range(1000)]
    r = s.predict("m", rows)
    if r.status == 200:
        assert r.json()["data"]["outputs"]["OUTPUT0"] == rows
    else:
        assert r.status == 400 and "8" in r.json()["message"], r


def test_different_row_shapes_never_share_a_run(serve):
    """The free dimension is the request's own: rows of 2 and rows of 3 cannot lie in one tensor."""
    s = serve(config='models: {m: {path: "builtin:identity", parameters: {execute_delay_ms: "2"}}}')
    rows = [[k] * (1 + k % 5) for k in range(1, 161)]
    for want, r in zip(rows, burst(s, "m", rows)):
        got = r.json()["data"]["prediction"]
        assert got == (want if len(want) > 1 else want[0])


def test_strings_of_different_lengths_share_runs(serve):
    config = 'models: {m: {path: "builtin:identity", parameters: {datatype: BYTES, dims: "2", execute_delay_ms: "3"}}}'
    s = serve(config=config)
    rows = [[f"row {k} " + "ü" * (k % 97), ""] for k in range(160)]
    for want, r in zip(rows, burst(s, "m", rows)):
        assert r.json()["data"]["prediction"] == want
    m = s.model("m")
    assert m["rows"] / m["runs"] > 2, m


def test_a_bad_request_in_a_batch_spoils_nothing(serve):
    s = serve(config='models: {m: {path: "builtin:identity", parameters: {execute_delay_ms: "3"}}}')
    rows = [[k, k] if k % 3 else [k, "x"] for k in range(150)]
    for k, (want, r) in enumerate(zip(rows, burst(s, "m", rows))):
        if k % 3:
            assert r.status == 200 and r.json()["data"]["prediction"] == want
        else:
            assert r.status == 400 and "element 1" in r.json()["message"]


def test_both_protocols_and_both_codings_share_runs(serve):
    s = serve(config='models: {m: {path: "builtin:identity", parameters: {dims: "2", execute_delay_ms: "5"}}}')

    def check_json(k):
        return lambda r: None if r.json().get("outputs", [{}])[0].get("data") == [k, -k] else str(r)

    def check_binary(k):
        want = struct.pack("<2f", k, -k)
        return lambda r: None if r.status == 200 and r.body.endswith(want) else str(r)

    requests = []
    for k in range(1, 9):
        requests.append(("/predict", predict_body("m", [k, -k]), quern.expect_prediction([k, -k])))
        requests.append(("/v2/models/m/infer", quern.json.dumps(quern.infer_body([k, -k])).encode(), check_json(k)))
    with Load(s, requests, connections=12, enough=100) as load:
        time.sleep(1.5)
    assert load.failures == [] and load.ok > 100
    m = s.model("m")
    assert m["rows"] / m["runs"] > 1.5, m


@pytest.mark.onnx
@pytest.mark.parametrize("model", ["bad_mean0", "bad_softmax0", "bad_cumsum0", "bad_scale_input", "bad_fixed", "bad_total"])
def test_model_whose_rows_influence_each_other_never_shares_a_run(serve, model):
    s = serve(DATA / f"{model}.onnx")
    m = s.model(model)
    assert m["state"] == "ready" and m["may_share"] is False and m["batch_reason"], m
    body = {
        "inputs": [
            {"name": t["name"], "shape": [abs(d) for d in t["shape"]], "datatype": t["datatype"], "data": None}
            for t in m["inputs"]
        ]
    }

    def filled(k):
        for t in body["inputs"]:
            n = 1
            for d in t["shape"]:
                n *= d
            t["data"] = [k + 0.25 * e for e in range(n)]
        return quern.json.dumps(body).encode()

    path = f"/v2/models/{model}/infer"
    alone = [s.post(path, filled(k)).json()["outputs"] for k in range(8)]
    requests = [(path, filled(k), lambda r, want=alone[k]: None if r.json().get("outputs") == want else str(r)) for k in range(8)]
    with Load(s, requests, connections=8, enough=50) as load:
        time.sleep(0.7)
    assert load.failures == [] and load.ok > 50
    m = s.model(model)
    assert m["rows"] == m["runs"], m


@pytest.mark.onnx
def test_sharable_model_of_the_engine_shares_runs_with_right_answers(serve):
    s = serve(DATA / "mlp.onnx")
    m = s.model("mlp")
    assert m["may_share"] is True, m["batch_reason"]
    rows = [[k * 0.1, 1 - k * 0.2, k % 3, 0.5] for k in range(96)]
    alone = [s.predict("mlp", row).json()["data"]["prediction"] for row in rows]
    before = s.model("mlp")
    for want, r in zip(alone, burst(s, "mlp", rows, pipelined=32)):
        assert r.json()["data"]["prediction"] == pytest.approx(want, rel=1e-5, abs=1e-6)
    m = s.model("mlp")
    rows_run, runs = m["rows"] - before["rows"], m["runs"] - before["runs"]
    assert rows_run == 96 and rows_run / runs > 1.5, (rows_run, runs)


def test_inline_models_batch_too(serve):
    s = serve(config='models: {m: {path: "builtin:identity", isolation: inline}}')
    rows = [[k, -k] for k in range(64)]
    for want, r in zip(rows, burst(s, "m", rows, pipelined=32)):
        assert r.json()["data"]["prediction"] == want
    m = s.model("m")
    assert m["rows"] == 64 and m["runs"] < 64, m


@pytest.mark.onnx
def test_what_batches_gain_is_measured_at_load_once(serve):
    """A later instance does not measure again: it tells the same numbers."""
    for _ in range(5):  # measuring has its time, which other work on the machine may take
        s = serve(config=f"models: {{m: {{path: {DATA}/mlp.onnx}}}}")
        m = s.model("m")
        measured = m["batching"]["measured"]
        if measured:
            break
        s.close()
    assert measured and measured[0]["rows"] == 1 and measured[-1]["rows"] <= 64, m
    assert all(a["rows"] < b["rows"] and b["ms"] > 0 for a, b in zip(measured, measured[1:])), m
    assert m["max_batch"] in [p["rows"] for p in measured] and "1 row " in m["batch_reason"], m
    pid = s.processes("worker")[0]["pid"]
    quern.kill(pid)
    quern.wait_until(lambda: any(p["pid"] != pid and p["state"] == "ready" for p in s.processes("worker")), 10)
    assert s.model("m")["batching"]["measured"] == measured


@pytest.mark.onnx
def test_a_new_version_of_the_same_size_takes_over_what_batches_gain(serve, tmp_path):
    """Once the machine was calm, or after three measurements; a file of another size is measured."""
    file = tmp_path / "m.onnx"

    def replace(source, extra=b""):
        (tmp_path / "new").write_bytes(source.read_bytes() + extra)
        (tmp_path / "new").rename(file)
        before = s.pids("worker")
        s.reload()
        quern.wait_until(lambda: s.pids("worker") not in ([], before) and len(s.processes("worker")) == 1, 20, "the new version alone")
        return s.model("m")["batching"]["measured"]

    replace_by = DATA / "mlp.onnx"
    file.write_bytes(replace_by.read_bytes())
    s = serve(config=f"models: {{m: {{path: {file}, threads: 1, instances: 1}}}}")
    told = [replace(replace_by) for _ in range(5)]
    assert told[2] == told[3] == told[4], told
    # A field that no reader knows: another size, the same model.
    assert replace(replace_by, b"\xfa\x7f\x01x") != told[4]


def test_settings_of_batching_reach_the_edge(serve):
    s = serve(
        config="""
models:
  m: {path: "builtin:identity", priority: 2, batching: {delay: 5ms, preferred: [8, 16], sizes: [1, 4, 16], ordered: true}}
"""
    )
    m = s.model("m")
    assert m["max_batch"] == 16
    b = m["batching"]
    assert (b["delay_ms"], b["preferred"], b["sizes"], b["ordered"], b["priority"]) == (5, [8, 16], [1, 4, 16], True, 2), b


def test_a_delay_collects_rows_and_a_preferred_size_goes_at_once(serve):
    s = serve(config='models: {m: {path: "builtin:identity", batching: {delay: 1s, preferred: [4]}}}')
    with s.client() as a, s.client() as b:
        began = time.monotonic()
        a.send(encode("POST", "/predict", predict_body("m", [1])))
        time.sleep(0.05)
        b.send(encode("POST", "/predict", predict_body("m", [2])))
        assert a.receive().json()["data"]["prediction"] == 1
        assert time.monotonic() - began > 0.9
        assert b.receive().json()["data"]["prediction"] == 2
        assert s.model("m")["runs"] == 1

        def four_rows():
            r, took = answered_within(a, encode("POST", "/predict", predict_body("m", [[1], [2], [3], [4]])))
            assert r.status == 200
            return took

        quern.at_best(four_rows, 0.5)


def test_runs_are_padded_to_an_allowed_size(serve):
    s = serve(config='models: {m: {path: "builtin:identity", batching: {sizes: [4, 16]}, parameters: {execute_delay_ms: "5"}}}')
    rows = [[k, -k] for k in range(100)]
    for row, r in zip(rows, burst(s, "m", rows)):
        assert r.json()["data"]["prediction"] == row
    assert s.model("m")["rows"] == 100


@pytest.mark.parametrize("threads", [1, 3])
def test_so_many_wait_as_queue_max_says(serve, threads):
    s = serve(
        config='models: {m: {path: "builtin:delay", instances: 1, max_batch: 2, queue_max: 6, parameters: {execute_delay_ms: "1000"}}}',
        threads=threads,
    )
    first = s.client()
    first.send(infer())
    quern.wait_until(lambda: s.model("m")["in_flight"] > 0, what="a run")
    time.sleep(0.2)  # it is in a block; the worker, which may have to wait for a processor, takes it to run it for a second
    others = [s.client() for _ in range(20)]
    for c in others:
        c.send(infer())
    refused = [r for r in (c.receive() for c in [first, *others]) if r.status == 429]
    # Of two threads that look at the same moment, neither sees the other's request.
    assert 20 - 6 - (threads - 1) <= len(refused) <= 20 - 6, refused
    assert all("requests wait for model 'm'" in r.json()["error"] for r in refused), refused


SLOW = 'models: {m: {path: "builtin:delay", max_batch: 1, queue_max: 1000, parameters: {execute_delay_ms: "10"}}}'


def infer(priority=None, timeout_ms=None):
    body = quern.infer_body([1])
    body["parameters"] = {k: v for k, v in (("priority", priority), ("timeout", timeout_ms and timeout_ms * 1000)) if v}
    return encode("POST", "/v2/models/m/infer", body)


def from_address(s, source):
    c = s.client()
    c.close()
    c.sock = socket.create_connection(s.address, 20, (source, 0))
    return c


def flood(s, request, times, source="127.0.0.1", connections=10):
    """Sends the same request many times, after the server has learned what one costs. The clients that wait for the answers."""
    for _ in range(5):
        assert s.predict("m", [1]).status == 200
    clients = [from_address(s, source) for _ in range(connections)]
    for c in clients:
        c.send(request * (times // connections))
    time.sleep(0.05)
    return clients


def answered_within(c, data):
    began = time.monotonic()
    c.send(data)
    r = c.receive()
    return r, time.monotonic() - began


def test_a_client_that_floods_does_not_delay_another(serve):
    s = serve(config=SLOW)
    clients = flood(s, infer(), 300)  # three seconds of work
    with from_address(s, "127.0.0.2") as other:
        assert answered_within(other, infer())[0].status == 200
    m = s.model("m")
    assert m["queue"] > 60, "most of the flood waits still"
    with from_address(s, "127.0.0.1") as same:
        assert answered_within(same, infer())[0].status == 200
    assert s.model("m")["runs"] - m["runs"] >= m["queue"] - 10, "the flood's own client waits for the flood"
    for c in clients:
        c.close()


def test_the_urgent_do_not_wait_for_a_flood_of_the_others(serve):
    s = serve(config=SLOW)
    clients = flood(s, infer(priority=2), 300)
    with s.client() as c:
        assert answered_within(c, infer(priority=1))[0].status == 200
    assert s.model("m")["queue"] > 60, "most of the flood waits still"
    answers = [c.receive().status for c in clients for _ in range(30)]
    assert answers == [200] * 300


def test_what_cannot_be_in_time_is_refused_at_once_and_never_runs(serve):
    s = serve(config=SLOW)
    before = s.model("m")["runs"]
    clients = flood(s, infer(), 200)  # two seconds
    with s.client() as c:
        r, took = answered_within(c, infer(timeout_ms=100))
        assert r.status == 429 and took < 1, (r, took)
        assert 1 <= int(r.headers["retry-after"]) <= 10, r.headers
        assert "after the request's deadline" in r.json()["error"], r
        r, took = answered_within(c, infer(timeout_ms=20000))
        assert r.status == 200
    assert [c.receive().status for c in clients for _ in range(20)] == [200] * 200
    assert s.model("m")["runs"] - before == 5 + 200 + 1
    quern.wait_until(lambda: s.model("m")["in_flight"] == 0)


def test_a_large_request_runs_in_parts_and_lets_others_through(serve):
    s = serve(config='models: {m: {path: "builtin:delay", max_batch: 4, parameters: {execute_delay_ms: "10"}}}')
    for _ in range(5):
        assert s.predict("m", [1]).status == 200
    rows = [[k, k + 1] for k in range(400)]
    with from_address(s, "127.0.0.1") as large, from_address(s, "127.0.0.2") as small:
        large.send(encode("POST", "/predict", predict_body("m", rows)))
        time.sleep(0.1)
        assert answered_within(small, encode("POST", "/predict", predict_body("m", [[7, 8]])))[0].status == 200
        assert not select.select([large.sock], [], [], 0)[0], "the large one is answered already"
        r = large.receive()
        assert r.json()["data"]["outputs"]["OUTPUT0"] == rows


ONE_AT_A_TIME = 'instances: 1, max_batch: 1, parameters: {execute_delay_ms: "300"}'


def wait_behind_a_run(s, n):
    """A request that runs, and n that came while it did, one after the other."""
    clients = [s.client() for _ in range(n + 1)]
    clients[0].send(infer())
    quern.wait_until(lambda: s.model("m")["in_flight"] > 0, what="a run")
    for c in clients[1:]:
        c.send(infer())
    return clients


def test_who_has_waited_too_long_is_told_so_and_a_long_run_is_not_ended(serve):
    s = serve(config=f'models: {{m: {{path: "builtin:delay", queue_timeout: 50ms, {ONE_AT_A_TIME}}}}}')
    pids = s.pids("worker", "m")
    first, second = wait_behind_a_run(s, 1)
    r = second.receive()
    assert r.status in (429, 504), r
    if r.status == 504:
        assert "it waited 50 ms for a run of model 'm'" in r.json()["error"], r
    assert first.receive().status == 200, "it takes longer than it might have waited"
    assert s.pids("worker", "m") == pids


def test_who_is_delayed_comes_after_those_that_are_in_time(serve):
    slow = ONE_AT_A_TIME.replace("300", "1000")
    s = serve(config=f'models: {{m: {{path: "builtin:delay", queue_timeout: 600ms, queue_late: delay, {slow}}}}}')
    first, *old = wait_behind_a_run(s, 2)
    time.sleep(0.75)  # these are late now; what comes is not when the run ends
    with s.client() as fresh:
        fresh.send(infer())
        assert first.receive().status == 200
        assert fresh.receive().status == 200
        assert not select.select([c.sock for c in old], [], [], 0)[0], "one that was late came first"
    assert [c.receive().status for c in old] == [200, 200]


def test_a_priority_has_a_queue_of_its_own(serve):
    s = serve(config=f'models: {{m: {{path: "builtin:delay", priorities: {{3: {{queue_max: 2}}}}, {ONE_AT_A_TIME}}}}}')
    clients = wait_behind_a_run(s, 1)
    low = [s.client() for _ in range(5)]
    for c in low:
        c.send(infer(priority=3))
    answers = [c.receive() for c in low]
    assert sorted(r.status for r in answers) == [200, 200, 429, 429, 429]
    assert all("2 requests of priority 3 wait" in r.json()["error"] for r in answers if r.status == 429)
    assert [c.receive().status for c in clients] == [200, 200]
