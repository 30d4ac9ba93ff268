"""The cache of answers: which requests share a run and an entry, and that nobody gets another's answer."""

import json
import random
import struct
import threading

import numpy as np
import pytest

import quern

http = pytest.importorskip("tritonclient.http")


def ask(client, model, array, **kwargs):
    t = http.InferInput("INPUT0", list(array.shape), "FP32").set_data_from_numpy(array)
    return client.infer(model, [t], **kwargs)


CACHED = """
models:
  slow: {path: "builtin:delay", parameters: {execute_delay_ms: "150"}, max_batch: 1, cache: 1MiB}
  plain: {path: "builtin:delay", parameters: {execute_delay_ms: "150"}, max_batch: 1}
  inline: {path: "builtin:identity", isolation: inline, cache: 1MiB}
  process: {path: "builtin:identity", cache: 1MiB}
"""


def stats(server, model):
    return server.get(f"/v2/models/{model}/stats").json()["model_stats"][0]


def counts(server, model):
    s = stats(server, model)
    return s["execution_count"], s["inference_stats"]["cache_hit"]["count"], s["inference_stats"]["cache_miss"]["count"]


def test_cache_answers_equal_requests_with_one_run(serve):
    s = serve(config=CACHED)
    body = quern.encode("POST", "/v2/models/slow/infer", quern.infer_body([1.0, 2.0]))
    clients = [s.client() for _ in range(5)]
    for c in clients:  # all on their way at the same time
        c.send(body)
    answers = [c.receive() for c in clients]
    assert {a.status for a in answers} == {200} and len({a.body for a in answers}) == 1
    assert sorted(a.headers.get("x-quern-cache", "") for a in answers) == [""] + ["joined"] * 4
    assert answers[0].json()["outputs"][0]["data"] == [1.0, 2.0]
    assert counts(s, "slow") == (1, 4, 1)
    again = s.post("/v2/models/slow/infer", quern.infer_body([1.0, 2.0]))
    assert again.body == answers[0].body and again.headers["x-quern-cache"] == "hit"
    other = s.post("/v2/models/slow/infer", quern.infer_body([1.0, 3.0]))
    assert other.json()["outputs"][0]["data"] == [1.0, 3.0] and "x-quern-cache" not in other.headers
    assert counts(s, "slow") == (2, 5, 2)
    for _ in range(2):
        assert s.post("/v2/models/plain/infer", quern.infer_body([1.0])).status == 200
    assert counts(s, "plain") == (2, 0, 0)
    text = s.get("/metrics/triton").body.decode()
    assert 'nv_cache_num_hits_per_model{model="slow",version="1"} 5\n' in text
    assert stats(s, "slow")["inference_stats"]["success"]["count"] == 7


def test_cache_leader_that_goes_away_leaves_the_others_their_answer(serve):
    s = serve(config=CACHED)
    body = quern.encode("POST", "/predict", quern.predict_body("slow", [[4.0, 2.0]]))
    leader, second, gone, third = (s.client() for _ in range(4))
    leader.send(body)
    quern.wait_until(lambda: s.model("slow")["in_flight"] == 1, 5, "the leader's run")
    for c in (second, gone, third):
        c.send(body)
    gone.close()
    leader.close()
    for c in (second, third):
        assert c.receive().json()["data"]["prediction"] == [4.0, 2.0]
    assert counts(s, "slow")[1] == 1


def test_cache_nobody_waits_for_who_is_in_less_of_a_hurry(serve):
    s = serve(config=CACHED)

    def post(values, **parameters):
        c = s.client()
        c.send(quern.encode("POST", "/v2/models/slow/infer", {**quern.infer_body(values), "parameters": parameters}))
        return c

    calm, tight, urgent = [7.0, 7.0], {"timeout": 200_000}, {"priority": 1}
    ahead = [post([float(i), 1.0], priority=2) for i in range(6)]  # 900 ms of work
    quern.wait_until(lambda: s.model("slow")["in_flight"] == 6, 5, "the queue")
    leader = post(calm, priority=2)
    quern.wait_until(lambda: s.model("slow")["in_flight"] == 7, 5, "the leader")
    late, first, joined = post(calm, priority=2, **tight), post(calm, **urgent), post(calm, priority=2)
    r = late.receive()  # it would have had its answer, long after it wanted it
    assert r.status in (503, 504), r.body
    assert s.model("slow")["in_flight"] > 2
    r = first.receive()  # before those that were ahead of the leader
    assert r.status == 200 and "x-quern-cache" not in r.headers
    assert s.model("slow")["in_flight"] > 2
    assert joined.receive().headers["x-quern-cache"] == "joined"
    assert leader.receive().status == 200 and all(c.receive().status == 200 for c in ahead)


def test_cache_keeps_no_failures_and_begins_empty_with_a_reload(serve):
    s = serve(config=CACHED)
    bad = quern.infer_body([1.0], datatype="INT64")
    for _ in range(2):
        r = s.post("/v2/models/process/infer", bad)
        assert r.status == 400 and "x-quern-cache" not in r.headers
    good = quern.infer_body([1.0])
    for hit in (False, True):
        assert ("x-quern-cache" in s.post("/v2/models/process/infer", good).headers) == hit
    assert "x-quern-cache" not in s.post("/v2/models/process/versions/1/infer", quern.infer_body([2])).headers
    s.write_config(CACHED.replace("cache: 1MiB", "cache: 2MiB"))
    s.reload()
    # The old life answers until the new one is there, which begins with nothing.
    quern.wait_until(lambda: "x-quern-cache" not in s.post("/v2/models/process/infer", good).headers, 10, "a new life")


def test_cache_of_binary_tensors(serve):
    s = serve(config=CACHED)
    host, port = s.address
    with http.InferenceServerClient(f"{host}:{port}") as c:
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        first, second = (ask(c, "inline", array).as_numpy("OUTPUT0") for _ in range(2))
        np.testing.assert_array_equal(first, array)
        np.testing.assert_array_equal(second, array)
        np.testing.assert_array_equal(ask(c, "inline", array + 1).as_numpy("OUTPUT0"), array + 1)
    assert counts(s, "inline") == (2, 1, 2)


def cache_of(response):
    return response.headers.get("x-quern-cache")


def v2(values, **more):
    body = quern.infer_body(values)
    body.update(more)
    return body


def binary(values):
    """The path's extra header and a body whose tensor is bytes."""
    data = struct.pack(f"<{len(values)}f", *values)
    head = json.dumps({
        "inputs": [{"name": "INPUT0", "shape": [1, len(values)], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}],
        "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}],
    }).encode()
    return head + data, {"inference-header-content-length": str(len(head))}


def test_cache_is_of_tensors_not_of_bodies(serve):
    s = serve(config=CACHED)
    x = [1.5, -2.0, 3.25]
    infer = "/v2/models/process/infer"
    assert cache_of(s.post(infer, v2(x))) is None
    r = s.post(infer, v2(x, id="mine", outputs=[{"name": "OUTPUT0"}]))
    assert cache_of(r) == "hit" and r.json()["id"] == "mine" and r.json()["outputs"][0]["data"] == x
    r = s.post("/predict", quern.predict_body("process", [x]))
    assert cache_of(r) == "hit" and r.json()["data"]["prediction"] == x
    body, headers = binary(x)
    r = s.post(infer, body, headers)
    assert cache_of(r) == "hit" and r.body[int(r.headers["inference-header-content-length"]) :] == body[-12:]
    r = s.post(infer, body[-12:], {"inference-header-content-length": "0"})
    assert cache_of(r) == "hit" and r.body.endswith(body[-12:])
    r = s.post(infer, v2(x, outputs=[{"name": "OUTPUT0", "parameters": {"classification": 1}}]))
    assert cache_of(r) == "hit" and r.json()["outputs"][0]["data"] == ["3.250000:2"]
    assert counts(s, "process") == (1, 5, 1)


def test_cache_shares_a_run_between_forms(serve):
    s = serve(config=CACHED)
    x = [1.0, 2.0]
    body, headers = binary(x)
    asks = [
        ("/v2/models/slow/infer", json.dumps(v2(x)).encode(), {}),
        ("/predict", quern.predict_body("slow", [x]), {}),
        ("/v2/models/slow/infer", body, headers),
    ]
    clients = [s.client() for _ in asks]
    for c, (path, data, more) in zip(clients, asks):
        c.send(quern.encode("POST", path, data, more))
    first, second, third = (c.receive() for c in clients)
    assert [cache_of(r) for r in (first, second, third)].count("joined") == 2
    assert first.json()["outputs"][0]["data"] == x and second.json()["data"]["prediction"] == x
    assert third.body.endswith(struct.pack("<2f", *x))
    assert counts(s, "slow") == (1, 2, 1)


def test_cache_of_large_binary_tensors_that_are_read_from_the_socket(serve):
    s = serve(config=CACHED.replace("1MiB", "32MiB"))
    rng = random.Random(7)
    tensors = [[rng.random() for _ in range(100_000)] for _ in range(3)]
    for turn in range(3):
        for k, x in enumerate(tensors):
            body, headers = binary(x)
            r = s.post("/v2/models/process/infer", body, headers)
            assert cache_of(r) == ("hit" if turn else None)
            assert r.body.endswith(body[-400_000:]), k
    assert counts(s, "process") == (3, 6, 3)


def test_cache_under_many_clients_that_ask_for_much_the_same(serve):
    """More than the budget holds, on two threads: each answer is its own request's."""
    s = serve(config=CACHED.replace("1MiB", "64KiB"), threads=2)
    wrong = []

    def client(seed):
        rng = random.Random(seed)
        with s.client() as c:
            for _ in range(300):
                x = [float(rng.randrange(40))] * (1 + rng.randrange(200))
                body, headers = binary(x)
                r = c.request("POST", "/v2/models/process/infer", body, headers)
                if r.status != 200 or not r.body.endswith(struct.pack(f"<{len(x)}f", *x)):
                    wrong.append((x, r))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
    executions, hits, misses = counts(s, "process")
    assert hits + misses == 1800 and hits > 0
    cache = s.get("/api/models/process").json()["models"][0]["cache"]
    assert cache["evictions"] > 0 and 0 < cache["bytes"] <= cache["budget_bytes"] == 65536


def test_cache_of_an_ensemble_is_of_the_members_that_ran(serve, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    config = f"""
models:
  top: {{backend: topk, path: "{tmp_path}/labels.txt", parameters: {{k: 1, softmax: true}}}}
  whole:
    cache: 1MiB
    ensemble:
      inputs: [scores]
      outputs: [label, score]
      steps:
        best: {{model: top, inputs: {{SCORES: scores}}, outputs: {{LABEL: label, SCORE: score}}}}
"""
    s = serve(config=config)
    body = json.dumps({"modelId": "whole", "inputs": {"scores": [[1.0, 3.0, 2.0]]}})

    def ask_whole():
        r = s.post("/predict", body)
        assert r.status == 200, r
        return r.json()["data"]["outputs"], cache_of(r)

    first, cached = ask_whole()
    assert cached is None and first["label"] == [["dog"]] and 0 < first["score"][0][0] < 1
    assert ask_whole() == (first, "hit")
    s.write_config(config.replace("softmax: true", "softmax: false"))
    s.reload()
    quern.wait_until(lambda: ask_whole()[0]["score"] == [[3.0]], 10, "the member's new life")
    assert ask_whole() == ({"label": [["dog"]], "score": [[3.0]]}, "hit")


@pytest.mark.onnx
def test_a_model_that_draws_random_numbers_is_told(serve):
    s = serve(config=f'models: {{random: {{path: "{quern.DATA}/bad_random.onnx", cache: 1MiB}}}}')
    dims = s.get("/v2/models/random").json()["inputs"][0]["shape"]
    x = [0.5] * (dims[-1] if dims[-1] > 0 else 1)
    answers = [s.predict("random", [x]) for _ in range(34)]
    assert {r.status for r in answers} == {200}
    assert [cache_of(r) for r in answers] == [None] + ["hit"] * 31 + [None, "hit"]
    assert answers[31].json()["data"] == answers[0].json()["data"] != answers[33].json()["data"]
    cache = s.get("/api/models/random").json()["models"][0]["cache"]
    assert (cache["checks"], cache["differed"]) == (1, 1)
    quern.wait_until(lambda: "answers the same input differently" in "".join(map(str, s.output())), 5, "the warning")
