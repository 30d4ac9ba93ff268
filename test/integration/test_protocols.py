"""The protocols' parts beside inference itself: statistics, classification, metrics under Triton's names."""

import json
import pathlib
import re
import signal
import uuid

import numpy as np
import pytest

import quern

http = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def client(identity):
    host, port = identity.address
    with http.InferenceServerClient(f"{host}:{port}") as c:
        yield c


def ask(client, model, array, **kwargs):
    t = http.InferInput("INPUT0", list(array.shape), "FP32").set_data_from_numpy(array)
    return client.infer(model, [t], **kwargs)


def test_statistics_grow_by_what_was_asked(client, identity):
    before = client.get_inference_statistics("wide")["model_stats"][0]
    for rows in (1, 1, 4):
        ask(client, "wide", np.zeros((rows, 16), np.float32))
    assert identity.post("/v2/models/wide/infer", quern.infer_body([1.0] * 16, "INPUTX")).status == 400
    after = client.get_inference_statistics("wide", "1")["model_stats"][0]
    assert after["name"] == "wide" and after["version"] == "1"
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 3
    success, old = after["inference_stats"]["success"], before["inference_stats"]["success"]
    assert success["count"] - old["count"] == 3 and success["ns"] > old["ns"]
    stages = [after["inference_stats"][k] for k in ("queue", "compute_input", "compute_infer", "compute_output")]
    assert all(s["count"] == success["count"] for s in stages)
    assert sum(s["ns"] for s in stages) <= success["ns"]
    sizes = {b["batch_size"]: b["compute_infer"]["count"] for b in after["batch_stats"]}
    assert sizes[4] >= 1 and sum(sizes.values()) == after["execution_count"]
    assert {m["name"] for m in client.get_inference_statistics()["model_stats"]} >= {"wide", "inline", "bytes"}


@pytest.mark.parametrize("model", ["wide", "inline"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_classification(client, model, binary):
    array = np.zeros((2, 16), np.float32)
    array[0, 3], array[0, 5], array[1, 15] = 0.75, 0.5, 2
    out = http.InferRequestedOutput("OUTPUT0", class_count=2, binary_data=binary)
    got = ask(client, model, array, outputs=[out]).as_numpy("OUTPUT0")
    texts = [[x if isinstance(x, str) else x.decode() for x in row] for row in got]
    assert texts == [["0.750000:3", "0.500000:5"], ["2.000000:15", "0.000000:0"]]


def test_metrics_under_tritons_names(client, identity):
    ask(client, "wide", np.zeros((1, 16), np.float32))
    text = identity.get("/metrics/triton").body.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    stats = client.get_inference_statistics("wide")["model_stats"][0]
    label = '{model="wide",version="1"}'
    assert int(lines["nv_inference_request_success" + label]) == stats["inference_stats"]["success"]["count"]
    assert int(lines["nv_inference_count" + label]) == stats["inference_count"]
    assert int(lines["nv_inference_exec_count" + label]) == stats["execution_count"]
    assert int(lines["nv_inference_request_duration_us" + label]) == stats["inference_stats"]["success"]["ns"] // 1000


def test_what_the_server_says_it_can(client):
    extensions = client.get_server_metadata()["extensions"]
    assert {"statistics", "classification", "schedule_policy", "binary_tensor_data"} <= set(extensions)


def test_a_failed_request_is_explained(identity):
    r = identity.post("/v2/models/wide/infer", {"inputs": [], "parameters": {"timeout": 1}}, {"x-request-id": "why-1"})
    assert r.status == 400
    told = identity.get("/api/requests/why-1").json()
    assert told["model"] == "wide" and told["outcome"] == "invalid" and told["error"] == r.json()["error"]
    assert told["id"] in [x["id"] for x in identity.get("/api/requests").json()["requests"]]
    assert identity.get("/api/requests/why-2").status == 404


# ---- the log ----


def log_lines(server, since=0):
    return server.output()[1][since:]


def test_log_settings(serve):
    s = serve(config='models: {wide: {path: "builtin:identity"}, slow: {path: "builtin:identity"}}', threads=2)
    host, port = s.address
    with http.InferenceServerClient(f"{host}:{port}") as c:
        want = {
            "log_file": "",
            "log_info": True,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "default",
        }
        assert c.get_log_settings() == want
        want |= {"log_info": False, "log_verbose_level": 2, "log_format": "ISO8601"}
        changes = {k: want[k] for k in ("log_info", "log_verbose_level", "log_format")}
        assert c.update_log_settings(changes) == want and c.get_log_settings() == want
        for bad, status in (
            ({"log_file": "x"}, 501),
            ({"log_info": True, "log_format": "XML"}, 400),
            ({"log_error": False, "log_verbose_level": -1}, 400),
            ({"log_noise": 1}, 400),
        ):
            r = s.post("/v2/logging", bad)
            assert r.status == status and c.get_log_settings() == want, bad  # nothing of it has been taken
        assert "network protocol" in s.post("/v2/logging", {"log_file": "x"}).json()["error"]
        assert s.post("/v2/logging", {"log_info": True}, {"sec-fetch-site": "cross-site"}).status == 403
        # Every process says more now, with dates: the edge of a refused request, a worker of its runs, the master of a process that it starts.
        before = len(s.output()[1])
        assert s.post("/v2/models/wide/infer", quern.infer_body([1], datatype="INT64")).status == 400
        quern.wait_until(lambda: "DEBUG edge  request failed" in log_lines(s, before), 5, "the edge's line")

        def a_run():
            assert s.post("/v2/models/wide/infer", quern.infer_body([1.0])).status == 200
            return "DEBUG worker wide@1#0  run ended" in log_lines(s, before)

        quern.wait_until(a_run, 5, "the worker's line")
        (pid,) = s.pids("worker", "slow")
        quern.kill(pid)
        quern.wait_until(lambda: "DEBUG master  process started" in log_lines(s, before), 5, "the master's line")
        quern.wait_until(lambda: s.pids("worker", "slow"), 10, "the next worker")
        # What starts later logs the same: a worker, and the edge itself.
        assert s.post("/v2/models/slow/infer", quern.infer_body([1.0])).status == 200
        quern.wait_until(lambda: "DEBUG worker slow@1#0" in log_lines(s, before), 5, "the new worker's line")
        (edge,) = s.pids("edge")
        quern.kill(edge)
        quern.wait_until(lambda: edge not in s.pids("edge") and s.pids("edge"), 10, "a new edge")
        s.wait_ready()
    assert s.get("/v2/logging").json() == want
    # And they say less: no warning of a worker that died.
    want |= {"log_warning": False, "log_verbose_level": 0, "log_format": "json"}
    assert s.post("/v2/logging", want | {"log_file": None}).status == 501
    assert s.post("/v2/logging", {k: v for k, v in want.items() if k != "log_file"}).json() == want
    before = len(s.output()[1])
    (pid,) = s.pids("worker", "slow")
    quern.kill(pid)
    quern.wait_until(lambda: s.pids("worker", "slow") not in ([], [pid]), 10, "the next worker")
    assert "died" not in log_lines(s, before)


def test_wrong_methods_are_refused_in_each_protocols_own_form(identity):
    r = identity.get("/predict")
    assert r.status == 405 and r.headers["allow"] == "POST, OPTIONS"
    assert r.json() == {
        "code": 405,
        "message": "method GET is not allowed here",
        "remedy": "use POST, OPTIONS",
        "request_id": r.headers["x-request-id"],
    }
    for path in ("/v2/models/wide/infer", "/api/reload"):
        r = identity.get(path)
        assert r.status == 405 and r.json()["error"] == "method GET is not allowed here" and r.json()["code"] == 405


def test_repositories_have_no_names(identity):
    for path in ("/index", "/models/wide/load", "/models/wide/unload"):
        r = identity.post("/v2/repository/mine" + path, {})
        assert r.status == 501 and "repository_name" in r.json()["error"]


# ---- traces ----

TRACED = """
models:
  wide: {path: "builtin:identity", parameters: {datatype: FP32, dims: "4"}}
  inline: {path: "builtin:identity", isolation: inline}
  words: {path: "builtin:identity", parameters: {datatype: BYTES, dims: "1"}}
  flags: {path: "builtin:identity", parameters: {datatype: BOOL, dims: "2"}}
  cached: {path: "builtin:identity", cache: 1MiB}
  both:
    ensemble:
      inputs: [a]
      outputs: [c]
      steps:
        first: {model: wide, inputs: {INPUT0: a}, outputs: {OUTPUT0: b}}
        second: {model: inline, inputs: {INPUT0: b}, outputs: {OUTPUT0: c}}
"""


def traces(server):
    """id -> {"model_name" ..., "times": {name: ns}, "tensors": [...]}, of all files; each must be whole at any moment."""
    found = {}
    for path in sorted((server.data / "traces").glob("*.json")):
        for x in json.loads(path.read_text()):
            t = found.setdefault(x["id"], {"times": {}, "tensors": []})
            if "timestamps" in x:
                t["times"] |= {s["name"]: s["ns"] for s in x["timestamps"]}
            elif "tensor" in x:
                t["tensors"].append(x["tensor"] | {"activity": x["activity"]})
            else:
                t |= {k: v for k, v in x.items() if k != "id"}
    return found


STAGES = [
    "HTTP_RECV_START",
    "HTTP_RECV_END",
    "REQUEST_START",
    "QUEUE_START",
    "COMPUTE_START",
    "COMPUTE_INPUT_END",
    "COMPUTE_OUTPUT_START",
    "COMPUTE_END",
    "REQUEST_END",
    "HTTP_SEND_START",
    "HTTP_SEND_END",
]


def test_traces(serve):
    s = serve(config=TRACED, threads=2)
    host, port = s.address
    off = {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "triton",
    }
    array = np.array([[1, 2.5, -3, 4]], np.float32)
    with http.InferenceServerClient(f"{host}:{port}") as c:
        assert c.get_trace_settings() == off and c.get_trace_settings("wide") == off
        ask(c, "wide", array)
        assert not (s.data / "traces").exists()
        on = off | {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "1", "trace_count": "3"}
        asked = {k: on[k] for k in ("trace_level", "trace_rate", "trace_count")}
        assert c.update_trace_settings("wide", asked) == on
        assert c.get_trace_settings() == off and c.get_trace_settings("inline") == off
        for k in range(5):
            ask(c, "wide", array, request_id=f"mine-{k}")
        ask(c, "inline", array)
        quern.wait_until(lambda: s.data.joinpath("traces").exists() and len(traces(s)) == 3, 5, "three traces")
        assert c.get_trace_settings("wide")["trace_count"] == "0"
        for k, t in enumerate(traces(s).values()):
            assert (t["model_name"], t["model_version"], t["request_id"]) == ("wide", 1, f"mine-{k}")
            assert list(t["times"]) == STAGES and sorted(t["times"].values()) == list(t["times"].values())
            want = {"data": "1,2.5,-3,4", "shape": "1,4", "dtype": "FP32"}
            assert t["tensors"] == [
                want | {"name": "INPUT0", "activity": "TENSOR_QUEUE_INPUT"},
                want | {"name": "OUTPUT0", "activity": "TENSOR_BACKEND_OUTPUT"},
            ]
        path = s.data / c.get_trace_settings("wide")["trace_file"]
        assert path.is_file() and path.parent.stat().st_mode & 0o777 == 0o700  # tensors are nobody else's business
        # Taken back: what holds for all counts again.
        assert c.update_trace_settings("wide", {"trace_level": None, "trace_rate": None, "trace_count": None})[
            "trace_level"
        ] == ["OFF"]
        c.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "log_frequency": "2"})
        for bad, status in (({"trace_file": "x"}, 501), ({"trace_rate": "0"}, 400), ({"noise": 1}, 400)):
            assert s.post("/v2/trace/setting", bad).status == status
        assert s.post("/v2/models/nobody/trace/setting", {"trace_rate": "1"}).status == 404
        assert s.get("/v2/models/nobody/trace/setting").status == 404
        assert s.post("/v2/trace/setting", {"trace_rate": "9"}, {"sec-fetch-site": "cross-site"}).status == 403
        # /predict, an ensemble with its members, text, a cache, and requests that are refused.
        s.predict("inline", [1.0, 2.0], {"x-request-id": "plain"})
        e = {"inputs": [{"name": "a", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}], "id": "whole"}
        assert s.post("/v2/models/both/infer", e).status == 200
        for _ in range(2):
            s.post("/v2/models/cached/infer", {"id": "again"} | quern.infer_body([1.0]))
        assert s.post("/v2/models/wide/infer", {"id": "short"} | quern.infer_body([1.0])).status == 400
        assert s.post("/v2/models/wide/infer", b"{").status == 400
        quern.wait_until(lambda: len(traces(s)) == 11, 5, "eleven traces")
        got = traces(s)
        by_id = {}
        for n, t in got.items():
            by_id.setdefault(t.get("request_id"), []).append((n, t))
        assert list(by_id["plain"][0][1]["times"]) == STAGES
        ((whole, t),) = by_id["whole"]
        assert t["model_name"] == "both" and list(t["times"]) == STAGES
        members = [m for m in got.values() if m.get("parent_id") == whole]
        assert [m["model_name"] for m in members] == ["wide", "inline"]
        assert all(t["times"]["QUEUE_START"] <= m["times"]["COMPUTE_START"] <= t["times"]["COMPUTE_END"] for m in members)
        miss, hit = (t["times"] for _, t in by_id["again"])
        assert list(miss) == STAGES and "COMPUTE_START" not in hit and "HTTP_SEND_END" in hit
        assert "COMPUTE_START" not in by_id["short"][0][1]["times"]
        sizes = [len({x["id"] for x in json.loads(p.read_text())}) for p in sorted((s.data / "traces").glob("*.json"))]
        assert len(sizes) > 2  # the first by hand, then two each, members with their ensemble
        c.update_trace_settings(settings={k: None for k in ("trace_level", "trace_rate", "log_frequency")})
        assert c.get_trace_settings()["trace_level"] == ["OFF"]
        ask(c, "wide", array)
        # Truth values are numbers, as tools read them.
        c.update_trace_settings("flags", {"trace_level": ["TENSORS"], "trace_rate": "1"})
        t = http.InferInput("INPUT0", [1, 2], "BOOL").set_data_from_numpy(np.array([[True, False]]))
        c.infer("flags", [t])
        quern.wait_until(lambda: len(traces(s)) == 12, 5, "the twelfth")
        assert [x["data"] for x in traces(s)[max(traces(s))]["tensors"]] == ["1,0", "1,0"]
        # Text inputs are left out, text outputs are not.
        c.update_trace_settings("words", {"trace_level": ["TENSORS"], "trace_rate": "1"})
        t = http.InferInput("INPUT0", [1, 1], "BYTES").set_data_from_numpy(np.array([[b'a "b"']], np.object_))
        c.infer("words", [t])
        quern.wait_until(lambda: len(traces(s)) == 13, 5, "the thirteenth")
        assert [x["data"] for x in traces(s)[max(traces(s))]["tensors"]] == ['"a "b""']


def test_traces_are_whole_while_written_and_when_the_server_ends(serve):
    s = serve(config=TRACED, threads=2)
    assert s.post("/v2/trace/setting", {"trace_level": ["TIMESTAMPS"], "trace_rate": 1}).status == 200
    with quern.Load(s, [("/predict", quern.predict_body("inline", [1.0]), quern.expect_prediction(1.0))]) as load:
        quern.wait_until(lambda: load.ok > 300, 20, "load")
        for _ in range(20):
            traces(s)
    assert not load.failures
    s.signal(signal.SIGTERM)
    s.process.wait(20)
    assert len(traces(s)) == load.ok


def test_generate(identity):
    r = identity.post("/v2/models/bytes/generate", {"INPUT0": ["a", "b"], "temperature": 0.1})
    assert r.json() == {"model_name": "bytes", "model_version": "1", "OUTPUT0": ["a", "b"]}
    r = identity.post("/v2/models/wide/versions/1/generate_stream", {"INPUT0": list(range(16))})
    assert r.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert r.body.startswith(b"data: {") and r.body.endswith(b"}\n\n")
    assert json.loads(r.body[6:])["OUTPUT0"] == list(range(16))
    r = identity.post("/v2/models/wide/generate_stream", {"INPUT0": [1]})
    assert r.status == 400 and "unexpected shape" in r.json()["error"]


def test_a_path_in_front(serve):
    s = serve(config='base_path: /team/models\nmodels: {wide: {path: "builtin:identity"}}')
    host, port = s.address
    with http.InferenceServerClient(f"{host}:{port}/team/models") as c:
        assert c.is_server_ready() and c.is_model_ready("wide")
        array = np.ones((1, 3), np.float32)
        np.testing.assert_array_equal(ask(c, "wide", array).as_numpy("OUTPUT0"), array)
    assert s.get("/v2/health/live").status == 200
    assert s.get("/team/models").status == 200 and s.get("/team/models/").status == 200  # the dashboard
    for path in ("/team/modelsv2", "/team/models2/v2", "/team/v2", "/team/models/team/models/v2"):
        assert s.get(path).status == 404, path
    for bad in ("team", "/team/", "/a//b", "/a b"):
        s.config.write_text(f"base_path: '{bad}'\nmodels: {{wide: 'builtin:identity'}}\n")
        r = quern.cli("check", s.config)
        assert r.returncode == quern.EXIT_CONFIG and "base_path" in r.stderr, bad


# ---- docs/protocols.md is true ----

DOCS = (quern.ROOT / "docs/protocols.md").read_text()
ENDPOINTS = re.findall(r"^\| `(GET|POST) (/[^`]*)` \| (\d+) \|", DOCS, re.M)
EXTENSIONS = dict(re.findall(r"^\| `([a-z_()]+)` \| (always|never|with `allow_client_shm: true`) \|$", DOCS, re.M))


def test_docs_have_every_path_of_the_sources():
    sources = [quern.ROOT / "src/serve/proto_routes.c", quern.ROOT / "src/app/edge_api.c"]
    routes = [r for s in sources for r in re.findall(r'\{HTTP_(GET|POST)_, "(/v2[^"]*)"', s.read_text())]
    known = {"{m}": "{model}", "{v}": "{version}", "{n}": "{region}", "{r}": "{repository}"}
    documented = set()
    for method, path, _ in ENDPOINTS:
        for short, name in known.items():
            path = path.replace(short, name)
        documented.add((method, path))
    assert len(routes) > 40 and set(routes) == {d for d in documented if d[1].startswith("/v2")}


def test_docs_tell_what_every_endpoint_answers(serve, tmp_path):
    folder = tmp_path / "repo/mlp/1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes((quern.DATA / "mlp.onnx").read_bytes())
    memory = pathlib.Path("/dev/shm") / f"quern-it-{uuid.uuid4().hex}"
    s = serve(
        config=f"""
allow_client_shm: true
repository: {{path: {tmp_path / "repo"}, mode: explicit, load: ["wide"]}}
models: {{wide: {{path: "builtin:identity", parameters: {{dims: "4"}}}}}}
"""
    )
    bodies = {
        "infer": quern.infer_body([1.0, 2.0, 3.0, 4.0]),
        "generate": {"INPUT0": [1, 2, 3, 4]},
        "generate_stream": {"INPUT0": [1, 2, 3, 4]},
        "register": {"key": memory.name, "byte_size": 64},
    }
    try:
        memory.write_bytes(b"\0" * 64)
        assert s.post("/v2/systemsharedmemory/region/mine/register", bodies["register"]).status == 200
        for method, path, status in ENDPOINTS:
            end = path.rsplit("/", 1)[1]
            name = "other" if "systemsharedmemory" in path and end == "register" else "mine"
            model = "mlp" if end in ("load", "unload") else "wide"
            for short, value in (("{m}", model), ("{v}", "1"), ("{n}", name), ("{r}", "home")):
                path = path.replace(short, value)
            if model == "mlp" and not quern.engine()["installed"] and status == "200":
                continue
            r = s.request(method, path, bodies.get(end, b"{}") if method == "POST" else b"")
            assert r.status == int(status), (method, path, r)
            if r.status >= 400:
                assert r.json()["error"] and r.json()["code"] == r.status
            wrong = s.request("DELETE", path)
            assert wrong.status == 405 and method in wrong.headers["allow"], path
            if path.endswith("/unregister"):
                s.post("/v2/systemsharedmemory/region/mine/register", bodies["register"])
    finally:
        memory.unlink(missing_ok=True)
    for path in ("/v2/nothing", "/v2/models/wide/versions/abc", "/v2/models/wide/versions", "/v2/systemsharedmemory"):
        assert s.get(path).status == 404, path
    listed = set(s.get("/v2").json()["extensions"])
    assert len(EXTENSIONS) == 13 and listed == {e for e, when in EXTENSIONS.items() if when != "never"}


def test_docs_tell_the_extensions_without_shared_memory(identity):
    assert set(identity.get("/v2").json()["extensions"]) == {e for e, when in EXTENSIONS.items() if when == "always"}
