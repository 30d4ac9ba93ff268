"""Explaining: quern model show, quern request, quern record and quern replay, with the program as it is."""

import json
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
import quern
from quern import BIN, EXIT_CONFIG, EXIT_FAILED, EXIT_FINE, EXIT_NOT_RUNNING, EXIT_USAGE, cli, infer_body, wait_until

CONFIG = """
models:
  wide:
    path: "builtin:identity"
    parameters: {datatype: FP32, dims: "4"}
    cache: 1MiB
    batching:
      delay: 3ms
  slow: {path: "builtin:delay", parameters: {execute_delay_ms: "20"}, max_batch: 1, queue_max: 3, timeout: 400ms, instances: 1}
  crash: {path: "builtin:crash"}
"""


@pytest.fixture(scope="module")
def server():
    with quern.Server(config=CONFIG) as s:
        yield s


def show(server, *args):
    r = cli(*args, "--data", server.data)
    assert r.returncode == EXIT_FINE, r.stderr
    return r.stdout


def explain(server, request):
    return json.loads(show(server, "request", request, "--json"))


def infer(server, model, values, headers=()):
    return server.post(f"/v2/models/{model}/infer", infer_body(values), headers)


# ---- model show ----


def settings(server, model):
    (m,) = json.loads(show(server, "model", "show", model, "--json"))["models"]
    return m, {s["key"]: s for s in m["explain"]["settings"]}


def test_each_setting_tells_where_it_comes_from(server):
    m, s = settings(server, "wide")
    assert m["explain"]["file"] == str(server.config)
    lines = CONFIG.splitlines()
    for key, words in [("path", "path:"), ("batching.delay", "delay:"), ("cache", "cache:")]:
        assert s[key]["from"] == "file"
        assert words in lines[s[key]["line"] - 1]
    assert s["queue_max"] == {"key": "queue_max", "value": "1024", "from": "default"}
    assert s["class"]["from"] == "inferred" and s["class"]["reason"]
    chosen = {c["key"]: c for c in m["chosen"]}
    assert chosen["max_batch"]["value"] == str(m["status"]["max_batch"]) and chosen["max_batch"]["reason"]
    text = show(server, "model", "show", "wide")
    assert any(line.split()[:2] == ["batching.delay", "3ms"] and "quern.yaml:" in line for line in text.splitlines())
    assert any(line.split()[:3] == ["max_batch", chosen["max_batch"]["value"], "chosen"] for line in text.splitlines())


def test_what_runs_have_taught_is_shown(server):
    for i in range(8):
        assert infer(server, "slow", [float(i)] * 2).status == 200
    m, _ = settings(server, "slow")
    assert m["status"]["batching"]["run_us"] + m["status"]["batching"]["row_us"] > 19_000
    assert sum(w["runs"] for w in m["workers"]) >= 8
    assert {"rows": 1, "runs": pytest.approx(8, abs=200)}.items() <= {**m["run_sizes"][0], "runs": m["run_sizes"][0]["runs"]}.items()
    assert "Learned from runs: one costs" in show(server, "model", "show", "slow")


def test_a_configuration_is_explained_without_a_server(tmp_path):
    file = tmp_path / "quern.yaml"
    file.write_text(CONFIG)
    r = cli("model", "show", "slow", "-c", file)
    assert r.returncode == EXIT_FINE
    assert "quern.yaml:9" in r.stdout and "Known only when it runs" in r.stdout
    assert cli("model", "show", "nosuch", "-c", file).returncode == EXIT_FAILED
    file.write_text("models: {a: 7: 8}")
    assert cli("model", "show", "slow", "-c", file).returncode == EXIT_CONFIG


def test_pbtxt_and_the_command_line_are_named_as_origins(serve, tmp_path):
    model = tmp_path / "models" / "iris" / "1"
    model.mkdir(parents=True)
    (model / "model.onnx").write_bytes((quern.DATA / "iris.onnx").read_bytes())
    (model.parent / "config.pbtxt").write_text("max_batch_size: 16\ndynamic_batching { max_queue_delay_microseconds: 700 }")
    s = serve(tmp_path / "models", extra=("--instances", "2"), wait=False)
    wait_until(lambda: any(m["name"] == "iris" for m in s.api()["models"]), what="the model is known")
    m, got = settings(s, "iris")
    assert m["explain"]["pbtxt"].endswith("iris/config.pbtxt")
    assert (got["max_batch"]["value"], got["max_batch"]["from"]) == ("16", "config.pbtxt")
    assert (got["batching.delay"]["value"], got["batching.delay"]["from"]) == ("700us", "config.pbtxt")
    assert (got["instances"]["value"], got["instances"]["from"]) == ("2", "command line")
    assert got["version"]["from"] == "inferred"


def test_questions_that_cannot_be_answered(server, tmp_path):
    assert cli("model", "show", "nosuch", "--data", server.data).returncode == EXIT_FAILED
    assert cli("model", "show", "wide@9", "--data", server.data).returncode == EXIT_FAILED
    assert cli("model", "show", "a/b", "--data", server.data).returncode == EXIT_USAGE
    r = cli("model", "show", "wide", "--data", tmp_path)
    assert r.returncode == EXIT_NOT_RUNNING and "-c quern.yaml" in r.stderr
    assert cli("request", "x", "--data", tmp_path).returncode == EXIT_NOT_RUNNING
    assert cli("request", "x", "--url", "ftp://x").returncode == EXIT_USAGE
    assert cli("request", "--last", "501", "--data", server.data).returncode == EXIT_USAGE
    r = cli("request", "never-asked", "--data", server.data)
    assert r.returncode == EXIT_FAILED and "no record of a request 'never-asked'" in r.stderr
    host, port = server.address
    assert "wide 1: ready" in cli("model", "show", "wide", "--url", f"http://{host}:{port}").stdout


# ---- request ----


def test_a_usual_request_tells_stages_run_and_worker(server):
    assert infer(server, "wide", [1.0, 2.0, 3.0, 4.0], {"x-request-id": "usual-1"}).status == 200
    r = explain(server, "usual-1")
    assert (r["kind"], r["outcome"], r["status"]) == ("usual", "ok", 200)
    assert r["worker_pid"] in server.pids("worker", "wide")
    assert (r["rows"], r["batch_rows"], r["batch_requests"], r["attempts"]) == (1, 1, 1, 1)
    assert r["stages_us"]["queue"] > 1000  # batching.delay
    assert sum(v for k, v in r["stages_us"].items() if k != "send") == pytest.approx(r["total_us"], rel=0.1, abs=200)
    assert any("batching.delay" in w for w in r["why"])
    assert r["cache"] == "miss"
    text = show(server, "request", "usual-1")
    assert f"pid {r['worker_pid']}, wide@1#0" in text and "queue" in text


def test_a_hit_of_the_cache_is_told(server):
    for i in range(2):
        assert infer(server, "wide", [9.0] * 4, {"x-request-id": f"hit-{i}"}).status == 200
    assert explain(server, "hit-1")["cache"] == "hit"
    assert any("nothing ran" in w for w in explain(server, "hit-1")["why"])


def test_mates_of_a_run_are_told(server):
    ids = [f"mate-{i}" for i in range(4)]
    with server.client() as c:  # one write: the four of them are read in one turn of the loop
        path = "/v2/models/wide/infer"
        c.send(b"".join(quern.encode("POST", path, infer_body([float(i), 0.5, 0.25, 7.0]), {"x-request-id": ids[i]}) for i in range(4)))
        assert [c.receive().status for _ in ids] == [200] * 4
    r = explain(server, "mate-2")
    assert (r["batch_requests"], r["batch_rows"]) == (4, 4)
    assert sorted(r["batch_mates"]) == ["mate-0", "mate-1", "mate-3"]
    assert any("shared its run with 3 other requests, 4 rows in all" in w for w in r["why"])


def flood(server, n, headers=lambda i: ()):
    """n requests to the slow model at once, each on a connection of its own."""
    answers = [None] * n

    def one(i):
        answers[i] = infer(server, "slow", [1.0, 2.0], headers(i))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    return answers


def test_a_refusal_tells_what_was_ahead_and_what_was_expected(server):
    answers = flood(server, 80, lambda i: {"x-request-id": f"flood-{i}"})
    refused = [f"flood-{i}" for i, a in enumerate(answers) if a.status == 429]
    assert refused
    known = {r["id"]: r for r in json.loads(show(server, "request", "--refused", "--last", "500", "--json"))["requests"]}
    told = [known[i] for i in refused if i in known]
    assert told
    for r in told:
        a = r["admission"]
        assert a["refused_by"] in ("deadline", "queue")
        if a["refused_by"] == "deadline":
            assert a["expected_us"] > a["deadline_us"] == pytest.approx(400_000, abs=5000)
            assert a["ahead_rows"] > 0
            assert f"{a['ahead_rows']} rows were ahead of it on 1 instance" in r["why"][0]
        else:
            assert a["queue"] >= a["queue_max"] == 3
        assert a["retry_after_ms"] > 0
    waited = [r for r in json.loads(show(server, "request", "--last", "500", "--model", "slow", "--json"))["requests"] if r["status"] != 429]
    assert any(r["admission"]["ahead_rows"] > 0 for r in waited)
    lines = show(server, "request", "--refused", "--last", "3").splitlines()
    assert len(lines) == 4 and all("refused" in line and " 429 " in line for line in lines[1:])


def test_a_crash_is_told_with_the_attempts(server):
    # It dies on a row that begins with this number.
    answer = infer(server, "crash", [666.0, 0.0], {"x-request-id": "killer"})
    assert answer.status == 502
    r = explain(server, "killer")
    assert (r["kind"], r["status"], r["attempts"]) == ("failed", 502, 3)
    assert any("died while running it" in w for w in r["why"])


def test_ordinary_requests_do_not_wash_away_a_failed_one(server):
    assert server.post("/v2/models/wide/infer", {"inputs": 7}, {"x-request-id": "wrong-1"}).status == 400
    with server.client() as c:
        for i in range(600):
            assert c.request("POST", "/v2/models/wide/infer", infer_body([float(i)] * 4)).status == 200
    assert explain(server, "wrong-1")["kind"] == "invalid"
    usual = json.loads(show(server, "request", "--usual", "--last", "500", "--json"))["requests"]
    assert len(usual) <= 128


# ---- record and replay ----


def record(server, *args, model="wide"):
    p = subprocess.Popen(
        [BIN, "record", "--model", model, "--data", server.data, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return p


def wait_recording(out):
    wait_until(lambda: out.exists() and out.stat().st_size > 0, what="the recording has begun")


def numbers(i):
    return [i * 0.5, 1.0, -2.0, 1e6 + i]


def test_a_recording_is_replayed_with_the_same_answers(server, tmp_path):
    out = tmp_path / "a.rec"
    p = record(server, "--out", out, "--limit", 30)
    wait_recording(out)
    for i in range(31):
        assert infer(server, "wide", numbers(i)).status == 200
    assert p.wait(10) == EXIT_FINE, p.stderr.read()
    assert "30 requests of wide" in p.stdout.read()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    r = cli("replay", out, "--compare", "--tolerance", "0", "--json", "--data", server.data)
    assert r.returncode == EXIT_FINE, r.stdout
    got = json.loads(r.stdout)
    assert (got["requests"], got["answered"], got["other_status"], got["compared"], got["different"]) == (30, 30, 0, 30, 0)
    assert got["recorded_us"]["p50"] > 0 and got["replayed_us"]["p50"] > 0


def test_a_replay_keeps_the_recorded_times(server, tmp_path):
    out = tmp_path / "b.rec"
    p = record(server, "--out", out, "--limit", 4)
    wait_recording(out)
    for i in range(4):
        assert infer(server, "wide", numbers(i)).status == 200
        time.sleep(0.15)
    assert p.wait(10) == EXIT_FINE
    took = lambda speed: json.loads(cli("replay", out, "--speed", speed, "--json", "--data", server.data).stdout)["seconds"]
    assert took("1x") >= 0.45
    assert quern.at_best(lambda: took("3x"), 0.45) >= 0.14
    quern.at_best(lambda: took("max"), 0.14)


def test_answers_that_differ_are_told(server, serve, tmp_path):
    out = tmp_path / "c.rec"
    p = record(server, "--out", out, "--limit", 3)
    wait_recording(out)
    for i in range(2):
        assert infer(server, "wide", numbers(i)).status == 200
    assert infer(server, "wide", [1.0, 2.0]).status == 400
    assert p.wait(10) == EXIT_FINE
    other = serve(config='models: {wide: {path: "builtin:identity", parameters: {datatype: FP32, dims: "2"}}}')
    r = cli("replay", out, "--compare", "--data", other.data)
    assert r.returncode == EXIT_FAILED
    assert "3 with another status" in r.stdout and "status 400 instead of 200" in r.stdout and "status 200 instead of 400" in r.stdout


def test_a_recording_ends_by_signal_by_time_and_with_the_server(server, serve, tmp_path):
    out = tmp_path / "d.rec"
    p = record(server, "--out", out)
    wait_recording(out)
    assert infer(server, "wide", numbers(0)).status == 200
    wait_until(lambda: out.stat().st_size > 300, what="the request is in the file")
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == EXIT_FINE and "1 request of wide" in p.stdout.read()
    assert cli("replay", out, "--data", server.data).returncode == EXIT_FINE
    p = record(server, "--out", tmp_path / "e.rec", "--for", "300ms")
    assert p.wait(10) == EXIT_FINE
    short = serve(config=CONFIG)
    p = record(short, "--out", tmp_path / "f.rec")
    wait_recording(tmp_path / "f.rec")
    began = time.monotonic()
    short.signal(signal.SIGTERM)
    assert short.process.wait(10) == 0
    assert time.monotonic() - began < 5  # a recording does not hold up the end
    assert p.wait(10) == EXIT_FINE


def test_recording_is_for_the_socket_of_the_data_directory_only(server, serve, tmp_path):
    r = server.get("/api/record?model=wide")
    assert r.status == 403 and "record_over_network" in r.json()["remedy"]
    host, port = server.address
    p = cli("record", "--model", "wide", "--out", tmp_path / "g.rec", "--url", f"http://{host}:{port}")
    assert p.returncode == EXIT_FAILED and "this machine's own users only" in p.stderr
    assert not (tmp_path / "g.rec").exists()
    open_one = serve(config="record_over_network: true\n" + CONFIG)
    host, port = open_one.address
    p = cli("record", "--model", "wide", "--out", tmp_path / "h.rec", "--url", f"http://{host}:{port}", "--for", "200ms")
    assert p.returncode == EXIT_FINE, p.stderr


def test_mistakes_of_record_and_replay_are_told(server, tmp_path):
    out = tmp_path / "x.rec"
    out.write_text("precious")
    for args, code, text in [
        (["--out", out], EXIT_USAGE, "expected --model NAME"),
        (["--model", "wide", "--out", out], EXIT_FAILED, "--force"),
        (["--model", "nosuch", "--out", tmp_path / "n.rec"], EXIT_FAILED, "no model 'nosuch' is served"),
        (["--model", "wide", "--out", tmp_path / "n.rec", "--sample", "3"], EXIT_USAGE, "is not 1/N"),
        (["--model", "wide", "--out", tmp_path / "n.rec", "--limit", "0"], EXIT_USAGE, "not a number of requests"),
    ]:
        r = cli("record", *args, "--data", server.data)
        assert r.returncode == code and text in r.stderr, (args, r.stderr)
    assert out.read_text() == "precious"
    assert not (tmp_path / "n.rec").exists()
    for args, text in [([out], "this is no recording"), ([tmp_path / "none"], "none"), ([out, "--speed", "fast"], "--speed")]:
        r = cli("replay", *args, "--data", server.data)
        assert r.returncode in (EXIT_FAILED, EXIT_USAGE) and text in r.stderr, (args, r.stderr)
    (tmp_path / "empty.rec").write_bytes(b"quernrec\x01\0\0\0\0\0\0\0")
    r = cli("replay", tmp_path / "empty.rec", "--data", server.data)
    assert r.returncode == EXIT_FAILED and "nothing was recorded" in r.stderr


def test_an_ensemble_tells_which_step_took_how_long(serve):
    s = serve(
        config="""
models:
  quick: {path: "builtin:identity", parameters: {datatype: FP32, dims: "2"}}
  lazy: {path: "builtin:delay", parameters: {datatype: FP32, dims: "2", execute_delay_ms: "40"}}
  both:
    ensemble:
      inputs: [a]
      outputs: [c]
      steps:
        first: {model: quick, inputs: {INPUT0: a}, outputs: {OUTPUT0: b}}
        second: {model: lazy, inputs: {INPUT0: b}, outputs: {OUTPUT0: c}}
"""
    )
    assert s.post("/v2/models/both/infer", infer_body([1.0, 2.0], name="a"), {"x-request-id": "both-1"}).status == 200
    r = explain(s, "both-1")
    first, second = r["steps"]
    assert (first["name"], first["model"], second["name"], second["model"]) == ("first", "quick", "second", "lazy")
    assert second["run_us"] >= 40_000 > first["run_us"]
    assert second["from_us"] >= first["wait_us"] + first["run_us"]
    assert any("its longest step was 'second' (model 'lazy')" in w for w in r["why"])
    assert "second" in show(s, "request", "both-1")


def test_large_bodies_are_recorded_whole_even_when_they_come_faster_than_they_leave(serve, tmp_path):
    n = 400_000  # floats: 1.6 MB in, 1.6 MB out, above what a stream may have waiting
    s = serve(config=f'models: {{big: {{path: "builtin:identity", parameters: {{datatype: FP32, dims: "{n}"}}}}}}')
    out = tmp_path / "big.rec"
    p = record(s, "--out", out, "--limit", 12, model="big")
    wait_recording(out)
    head = json.dumps(
        {
            "inputs": [{"name": "INPUT0", "shape": [1, n], "datatype": "FP32", "parameters": {"binary_data_size": 4 * n}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": len(head), "Content-Type": "application/octet-stream"}
    bodies = [head + bytes([i + 1, 2, 3, 4]) * n for i in range(12)]
    with s.client() as c:
        for body in bodies:
            assert c.request("POST", "/v2/models/big/infer", body, headers).body.endswith(body[-4 * n :])
    assert p.wait(20) == EXIT_FINE, p.stderr.read()
    content = out.read_bytes()
    for body in bodies:
        assert content.count(body[len(head) :]) == 2  # in the request and in its answer
    r = cli("replay", out, "--tolerance", "0", "--speed", "max", "--json", "--data", s.data)
    got = json.loads(r.stdout)
    assert r.returncode == EXIT_FINE and (got["compared"], got["different"]) == (12, 0)


def test_who_records_and_does_not_read_costs_traffic_nothing(serve):
    n = 400_000
    s = serve(config=f'models: {{big: {{path: "builtin:identity", parameters: {{datatype: FP32, dims: "{n}"}}}}}}')
    body = json.dumps(infer_body([0.0], name="INPUT0"))
    head = json.dumps(
        {
            "inputs": [{"name": "INPUT0", "shape": [1, n], "datatype": "FP32", "parameters": {"binary_data_size": 4 * n}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": len(head)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy:
        lazy.connect(str(s.data / "run/edge.sock"))
        lazy.sendall(b"GET /api/record?model=big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in lazy.recv(100)
        with s.client() as c:
            for _ in range(80):  # 256 MB in all
                assert c.request("POST", "/v2/models/big/infer", head + bytes(4 * n), headers).status == 200
        (edge,) = [p for p in s.api()["processes"] if p["role"] == "edge"]
        assert edge["rss_bytes"] < 200 << 20  # 64 MiB wait at most
    assert s.post("/v2/models/big/infer", body).status == 400  # it goes on, without the one who left
    assert s.pids("edge") == [edge["pid"]]
