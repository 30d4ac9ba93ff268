"""What an operator sees: metrics, logs, status, history, the description of the API, the dashboard."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

import quern
from quern import encode, predict_body, wait_until


def promtool():
    bundled = quern.ROOT / "build/deps/prometheus/usr/bin/promtool"
    return shutil.which("promtool") or (str(bundled) if bundled.exists() else None)


def samples(text):
    """Every line of a metrics page: name with labels -> value."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            assert key not in found, f"twice: {key}"
            found[key] = float(value)
    return found


@pytest.mark.skipif(not promtool(), reason="promtool is not installed")
def test_metrics_are_clean_under_promtool(serve):
    s = serve(config='models: {a: "builtin:identity", "b.c-d_e": "builtin:identity", bad: "builtin:crash"}')
    for k in range(10):
        s.predict("a", [k])
        s.predict("b.c-d_e", [k])
    s.predict("a", ["x"])
    s.predict("bad", [666])
    r = s.get("/metrics")
    assert r.headers["content-type"].startswith("text/plain; version=0.0.4")
    check = subprocess.run([promtool(), "check", "metrics"], input=r.body, capture_output=True, timeout=20)
    assert check.returncode == 0, check.stderr.decode()
    assert check.stdout + check.stderr == b""


def test_metrics_count_what_happened(serve):
    s = serve("builtin:identity", threads=2)
    before = samples(s.get("/metrics").body.decode())
    for k in range(20):
        assert s.predict("identity", [[k], [k]]).status == 200
    for _ in range(3):
        assert s.predict("identity", ["x"]).status == 400
    with s.client() as c:
        c.send(b"GARBAGE\r\n\r\n")
        c.receive()

    def now():
        return samples(s.get("/metrics").body.decode())

    def inference(page, name, **labels):
        labels |= {"model": "identity", "version": "1"}
        return page[f"quern_{name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in sorted(labels.items()))}}}"]

    def ok(page):
        return inference(page, "inference_requests_total", outcome="ok")

    wait_until(lambda: ok(now()) - ok(before) == 20, 2, "20 good requests")
    m = now()
    assert inference(m, "inference_requests_total", outcome="client_error") == 3
    assert inference(m, "inference_rows_total") >= 40
    assert inference(m, "inference_duration_seconds_count") == 20
    assert inference(m, "inference_stage_seconds_count", stage="compute") == 20
    assert 0 < inference(m, "inference_duration_seconds_sum") < 20
    assert inference(m, "model_ready") == 1
    assert m["quern_http_malformed_requests_total"] == 1
    assert m["quern_http_requests_total"] >= 24
    assert m["quern_http_received_bytes_total"] > 0 and m["quern_http_sent_bytes_total"] > 0
    # Counters never fall, and histograms are cumulative.
    again = now()
    for key, value in m.items():
        if "_total" in key or "_count" in key or "_bucket" in key:
            assert again[key] >= value, key
    buckets = [v for k, v in m.items() if k.startswith("quern_inference_duration_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == 20


def test_status_tells_the_models_numbers(serve):
    s = serve("builtin:identity")
    for k in range(10):
        s.predict("identity", [[k], [k], [k]])
    m = s.model("identity")
    assert m["requests"] == 10 and m["failures"] == 0 and m["rows"] == 30 and m["runs"] <= 10
    assert m["queue"] == 0 and m["in_flight"] == 0
    assert 0 < m["latency_ms"]["p50"] <= m["latency_ms"]["p99"] < 5000
    assert set(m["stages_us"]) == {"receive", "decode", "queue", "compute", "encode", "send"}
    assert m["inputs"] == [{"name": "INPUT0", "datatype": "FP32", "shape": [-1, -1]}]
    assert m["may_share"] is True and m["batch_reason"] and m["max_batch"] > 1
    assert m["memory_bytes"] > 0 and m["load_ms"] >= 0
    api = s.api()
    assert {p["role"] for p in api["processes"]} == {"master", "edge", "worker"}
    assert all(p["rss_bytes"] > 0 for p in api["processes"])
    # They share the program and its libraries at least, with other servers too.
    wait_until(lambda: s.api()["memory_total_bytes"] > 0, 5, "the memory of all is measured")
    api = s.api()
    resident = [p["rss_bytes"] for p in api["processes"]]
    assert 1 << 19 < api["memory_total_bytes"] < sum(resident) * 0.9
    assert api["ready"] and not api["draining"]


def test_stages_add_up_to_the_duration(serve):
    s = serve(config='models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "50"}}}')
    for k in range(5):
        s.predict("slow", [k])
    m = s.model("slow")
    assert 45_000 < m["stages_us"]["compute"] < 500_000, m["stages_us"]
    total = sum(m["stages_us"].values()) / 1000
    assert 45 < total < m["latency_ms"]["p99"] * 1.5 + 5


def test_history_has_the_last_seconds(serve):
    s = serve("builtin:identity")
    end = time.monotonic() + 2.6
    n = 0
    while time.monotonic() < end:
        n += s.predict("identity", [1]).status == 200
        time.sleep(0.005)
    r = s.get("/api/history")
    assert r.status == 200
    text = json.dumps(r.json())
    assert "identity" in text and len(text) < 1_000_000
    numbers = [int(x) for x in re.findall(r"\b\d+\b", text)]
    assert any(n / 6 < x <= n for x in numbers), "no second with its requests"


def log_lines(s):
    return [line for line in s.output()[1].splitlines() if line]


def no_duplicates(pairs):
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def test_log_as_json_and_access_lines(serve):
    s = serve("builtin:identity", extra=["--log-format", "json", "--access-log"])
    s.predict("identity", [1], {"X-Request-Id": "log-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"})
    s.get('/nowhere?x="quoted"')
    with s.client() as c:
        c.send(b"BROKEN\r\n\r\n")
        c.receive()
    quern.kill(s.pids("worker")[0])
    wait_until(lambda: any("died" in line for line in log_lines(s)), 5, "the worker's obituary")
    entries = [json.loads(line, object_pairs_hook=no_duplicates) for line in log_lines(s)]
    for e in entries:
        assert {"ts", "level", "role", "pid", "msg"} <= set(e), e
    access = [e for e in entries if e["msg"] == "request"]
    one = next(e for e in access if e.get("id") == "log-1")
    assert one["method"] == "POST" and one["path"] == "/predict" and one["status"] == 200 and one["model"] == "identity"
    assert one["us"] > 0 and "a" * 32 in one["trace"]
    assert any(e["path"].startswith("/nowhere") and e["status"] == 404 for e in access)
    assert any(e["status"] == 400 for e in access)
    died = next(e for e in entries if "died" in e["msg"])
    assert died["role"] == "master" and died["model"] == "identity"


def test_access_log_is_off_unless_asked_for(serve):
    s = serve("builtin:identity", extra=["--log-format", "json"])
    for _ in range(20):
        s.predict("identity", [1])
    assert not [line for line in log_lines(s) if '"request"' in line]


def test_log_cannot_be_forged(serve):
    s = serve("builtin:identity", extra=["--access-log"])
    s.get("/x%0a12:00:00.000%20ERROR%20master%20forged")
    s.get("/x%1b[31mred")
    time.sleep(0.1)
    for line in log_lines(s):
        assert "\x1b" not in line
        assert not line.startswith("12:00:00.000 ERROR")


def test_log_of_a_model_that_will_not_stop_talking_is_bounded(serve):
    s = serve("builtin:identity")
    for _ in range(300):
        s.post("/predict", b"{")
    assert len(s.output()[1]) < 50_000, "a stranger's mistakes must not fill the log"


# ---- the description of the API ----


def documents(s):
    return s.get("/openapi.json").json()


def test_openapi_is_valid_and_its_examples_work(serve):
    s = serve(
        config="""
models:
  one: {path: "builtin:identity", parameters: {dims: "4"}}
  picture: {path: "builtin:identity", parameters: {datatype: UINT8, dims: "2,3"}}
  text: {path: "builtin:identity", parameters: {datatype: BYTES, dims: "2"}}
"""
    )
    doc = documents(s)
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(doc)
    assert doc["openapi"].startswith("3.1")
    posted = 0
    for path, operations in doc["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in content.get("examples", {}).items():
            target = path.replace("{model}", name).replace("{version}", "1")
            assert s.post(target, example["value"]).status == 200, (target, example)
            posted += 1
    assert posted >= 9, "each model by /predict, by infer, and by infer of a version"


def test_openapi_follows_the_models(serve):
    s = serve(config='models: {one: "builtin:identity"}')
    assert "newcomer" not in json.dumps(documents(s))
    s.write_config('models: {one: "builtin:identity", newcomer: "builtin:identity"}')
    s.reload()
    wait_until(lambda: "newcomer" in json.dumps(documents(s)), 5, "the new model in the description")


@pytest.mark.parametrize("datatype, dims", [("FP32", "3"), ("INT64", "2"), ("BYTES", "2"), ("BOOL", "2"), ("FP16", "4"), ("UINT8", "2,2")])
def test_samples_work(serve, datatype, dims):
    s = serve(config=f'models: {{m: {{path: "builtin:identity", parameters: {{datatype: {datatype}, dims: "{dims}"}}}}}}')
    sample = s.get("/v2/models/m/sample").json()
    assert s.post("/predict", sample["predict"]).status == 200
    assert s.post("/v2/models/m/infer", sample["infer"]).status == 200
    line = sample["curl"].replace("http://test/", "http://{}:{}/".format(*s.address))
    run = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=10)
    assert json.loads(run.stdout)["code"] == 200, (line, run)


@pytest.mark.onnx
def test_openapi_of_real_models(serve):
    s = serve(quern.DATA / "iris.onnx", quern.DATA / "embedding.onnx", quern.DATA / "conv.onnx")
    pytest.importorskip("openapi_spec_validator").validate(documents(s))
    for m in ("iris", "embedding", "conv"):
        sample = s.get(f"/v2/models/{m}/sample").json()
        assert s.post("/predict", sample["predict"]).status == 200, sample["predict"]
        assert s.post(f"/v2/models/{m}/infer", sample["infer"]).status == 200


# ---- the dashboard's files ----


def test_dashboard_is_served_with_its_guards(identity):
    r = identity.get("/")
    assert r.status == 200 and r.headers["content-type"].startswith("text/html")
    policy = r.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert r.headers["x-content-type-options"] == "nosniff"
    again = identity.get("/", {"If-None-Match": r.headers["etag"]})
    assert again.status == 304 and again.body == b""
    for link in re.findall(rb'(?:src|href)="(/[^"]+)"', r.body):
        a = identity.get(link.decode())
        assert a.status == 200, link
        assert b"http://" not in link and b"https://" not in link


# ---- memory and start ----


@pytest.mark.skipif(quern.IS_SANITIZED, reason="sanitizers take memory")
def test_memory_does_not_grow_with_requests(serve):
    s = serve("builtin:identity")
    (edge,), (worker,) = s.pids("edge"), s.pids("worker")

    def rss(pid):
        return int(quern.proc_status(pid)["VmRSS"].split()[0])

    def work(n):
        with s.client() as c:
            for k in range(n):
                c.send(encode("POST", "/predict", predict_body("identity", [k] * 50)) * 20)
                for _ in range(20):
                    assert c.receive().status == 200
        for _ in range(20):
            s.post("/predict", b"{" * 1000)

    work(100)
    before = rss(edge), rss(worker)
    work(300)
    assert rss(edge) - before[0] < 2000 and rss(worker) - before[1] < 2000, (before, rss(edge), rss(worker))


def test_edge_lets_go_of_what_large_requests_took(serve):
    s = serve("builtin:identity")
    (edge,) = s.pids("edge")
    body = json.dumps(quern.infer_body([1.5] * 2_000_000)).encode()
    for _ in range(3):
        assert s.post("/v2/models/identity/infer", body).status == 200
    time.sleep(0.3)
    private = sum(
        int(line.split()[1])
        for line in pathlib.Path(f"/proc/{edge}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private")
    )
    assert private < (60_000 if not quern.IS_SANITIZED else 600_000), f"{private} KiB after three large requests"


def test_interrupted_output_is_no_reason_to_die(serve, tmp_path):
    """Whoever reads the log goes away (a closed pipe): serving goes on."""
    read_end, write_end = os.pipe()
    data = tmp_path / "d"
    p = subprocess.Popen(
        [quern.BIN, "serve", "builtin:identity", "--listen", "127.0.0.1:0", "--data", data, "--access-log"],
        stdout=write_end,
        stderr=write_end,
        stdin=subprocess.DEVNULL,
    )
    os.close(write_end)
    try:
        status = wait_until(lambda: (data / "run/status.json").exists() and json.loads((data / "run/status.json").read_text()), 10)
        os.close(read_end)
        host, port = status["listen"][0].split(":")

        def answers():
            try:
                with quern.Client((host, int(port)), 5) as c:
                    return c.request("POST", "/predict", predict_body("identity", [1])).status == 200
            except OSError:
                return False

        wait_until(answers, 10, "an answer")
        for _ in range(5):
            assert answers()
    finally:
        p.send_signal(signal.SIGTERM)
        assert p.wait(10) == 0
