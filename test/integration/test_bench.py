"""quern bench against servers of ours: the figures are plausible, the faults are told."""

import json
import pathlib
import re

import pytest

import quern

QUICK = ("--duration", "300ms", "--warmup", "100ms")


def bench(*args):
    r = quern.cli("bench", *args, *QUICK, "--json", timeout=60)
    return r, json.loads(r.stdout) if r.stdout else None


def url(server, path):
    host, port = server.address
    return f"http://{host}:{port}{path}"


@pytest.mark.parametrize("model", ["identity", "ids", "bytes", "half", "flags", "small", "picture", "inline"])
@pytest.mark.parametrize("tensors", ["json", "binary"])
def test_requests_are_made_for_every_type_of_input(identity, model, tensors):
    r, out = bench(url(identity, f"/v2/models/{model}"), "--tensors", tensors, "-c", "2", "--rows", "3")
    assert r.returncode == 0, r.stderr + r.stdout
    (point,) = out["points"]
    assert point["requests"] > 0 and point["errors"] == 0
    assert 0 < point["p50_us"] <= point["p99_us"] <= point["max_us"]


def test_a_sweep_has_a_point_for_each_number(identity):
    r, out = bench(url(identity, "/v2/models/identity"), "-c", "1,4", "--repeat", "2")
    assert r.returncode == 0, r.stderr
    assert [p["connections"] for p in out["points"]] == [1, 4]
    assert all(p["rps_spread"][0] <= p["rps"] <= p["rps_spread"][1] for p in out["points"])


def test_a_rate_is_kept_and_cpu_time_is_known_by_the_data_folder(identity):
    def off_by():
        r, out = bench("identity", "--data", identity.data, "-r", "200", "--arrivals", "fixed", "--repeat", "3")
        assert r.returncode == 0, r.stderr
        (point,) = out["points"]
        assert point["unanswered"] == 0 and "cpu_us_per_request" in point
        return abs(point["rps"] - 200)

    quern.at_best(off_by, 100)


def test_the_rate_that_holds_an_objective_is_found(identity):
    r, out = bench(url(identity, "/v2/models/identity"), "--p99", "500ms", "-c", "4")
    assert r.returncode == 0, r.stderr
    assert out["best_rate"] > 5
    r, out = bench(url(identity, "/v2/models/identity"), "--p99", "1us", "-c", "4")
    assert r.returncode == 1 and out["best_rate"] == 0


def test_other_paths_get_a_file_or_get(identity, tmp_path):
    body = tmp_path / "request.json"
    body.write_text('{"modelId": "identity", "features": [1, 2, 3, 4]}')
    r, out = bench(url(identity, "/predict"), "--body", body, "-c", "1")
    assert out["points"][0]["requests"] > 0
    r, out = bench(url(identity, "/v2/health/ready"), "-c", "1")
    assert r.returncode == 0 and out["request"] == "GET /v2/health/ready"


def test_bad_answers_are_an_error(identity):
    r, out = bench(url(identity, "/nothing/here"), "-c", "1")
    assert r.returncode == 1
    assert out["points"][0]["errors_status"] == out["points"][0]["requests"] > 0


def test_people_see_a_table_and_a_plot(identity):
    r = quern.cli("bench", url(identity, "/v2/models/identity"), "-c", "2", *QUICK, timeout=60)
    assert r.returncode == 0, r.stderr
    assert "ANSWERS/S" in r.stdout and "99.9 %" in r.stdout and "###" in r.stdout


@pytest.mark.parametrize(
    "args, code, text",
    [
        (["http://127.0.0.1:1/v2/models/m"], 1, "127.0.0.1:1"),
        (["ftp://x/"], 2, "no address"),
        (["http://h/", "-c", "0"], 2, "--connections"),
        (["http://h/", "--rate", "x"], 2, "--rate"),
        (["http://h/", "--rate", "5", "--p99", "5ms"], 2, "not both"),
        (["http://h/", "--duration", "5 years"], 2, "duration"),
        (["http://h/", "--header", "no colon"], 2, "--header"),
        (["http://h/", "--server-pid", "0"], 2, "--server-pid"),
        (["http://h/", "--body", "/nowhere/at/all"], 1, "/nowhere/at/all"),
        (["nobody", "--data", "/nowhere"], 1, "no quern runs"),
    ],
)
def test_what_is_wrong_is_said(args, code, text):
    r = quern.cli("bench", *args)
    assert r.returncode == code, r.stderr
    assert text in r.stderr


def test_an_unknown_model_is_told_by_the_servers_words(identity):
    r = quern.cli("bench", url(identity, "/v2/models/absent"))
    assert r.returncode == 1 and "the server answers 404: Request for unknown model: 'absent'" in r.stderr and "{" not in r.stderr


@pytest.mark.parametrize("tensors", ["json", "binary"])
def test_a_model_of_pictures_gets_pictures(serve, tensors):
    server = serve(config='models: {pre: {backend: image, parameters: {width: "8", height: "8"}}}\n')
    r, out = bench(url(server, "/v2/models/pre"), "--rows", "3", "--tensors", tensors)
    assert r.returncode == 0, r.stderr
    assert out["points"][0]["requests"] > 0 and out["points"][0]["errors"] == 0
    inference = server.get("/v2/models/pre/stats").json()["model_stats"][0]
    assert inference["inference_count"] >= 3
    outcomes = dict(re.findall(r'^quern_inference_requests_total\{model="pre",outcome="(\w+)",version="1"\} (\d+)', server.get("/metrics").body.decode(), re.M))
    assert int(outcomes["ok"]) > 0
    assert all(n == "0" for name, n in outcomes.items() if name not in ("ok", "cancelled"))  # cancelled: those in flight when the bench had enough


def test_what_the_model_refuses_is_told_and_not_measured(identity, tmp_path):
    body = tmp_path / "wrong.json"
    body.write_text('{"inputs": []}')
    r = quern.cli("bench", url(identity, "/v2/models/identity"), "--body", body)
    assert r.returncode == 1 and r.stdout == ""
    assert "the server answers 400: expected 1 inputs but got 0" in r.stderr and "correct the request" in r.stderr


def test_tune_tries_settings_and_tells_the_best():
    r = quern.cli("tune", "builtin:identity", "--p99", "2s", "--duration", "50ms", "--json", timeout=110)
    assert r.returncode == 0, r.stderr
    out = json.loads(r.stdout)
    best = out["trials"][out["best"]]
    assert len(out["trials"]) >= 4 and best["rate"] > 0
    assert all(t["rate"] <= best["rate"] * 1.06 for t in out["trials"])


def test_tune_writes_into_the_configuration_only_when_told(tmp_path):
    config = tmp_path / "quern.yaml"
    text = """# mine
models:
  slow:   # five milliseconds
    # of a built-in
    path: builtin:delay
    parameters: {execute_delay_ms: "5"}
    max_batch: 3   # no more
  other: builtin:identity
"""
    config.write_text(text)
    config.chmod(0o640)
    tune = ["tune", "slow", "-c", config, "--p99", "2s", "--duration", "50ms"]
    r = quern.cli(*tune, timeout=110)
    assert r.returncode == 0 and "--write would change" in r.stdout, r.stderr
    assert config.read_text() == text
    r = quern.cli(*tune, "--write", "--json", timeout=110)
    assert r.returncode == 0, r.stderr
    out = json.loads(r.stdout)
    best = out["trials"][out["best"]]
    assert out["written"] and out["model"] == "slow" and pathlib.Path(out["config"]) == config
    lines = config.read_text().splitlines()
    kept = [line for line in lines if not line.strip().startswith(("instances:", "threads:", "batching:", "max_batch:"))]
    assert kept == [line for line in text.splitlines() if "max_batch" not in line]
    assert f"    instances: {best['instances']}" in lines and f"    max_batch: {best['max_batch']}   # no more" in lines
    assert config.stat().st_mode & 0o777 == 0o640
    assert quern.cli("check", config).returncode == 0


def test_tune_says_what_a_model_does_that_holds_no_rate(tmp_path):
    (tmp_path / "q.yaml").write_text('models: {slow: {path: "builtin:delay", parameters: {execute_delay_ms: "20"}}}\n')
    r = quern.cli("tune", "slow", "-c", tmp_path / "q.yaml", "--p99", "1ms", "--duration", "50ms", timeout=110)
    assert r.returncode == 1, r.stderr
    assert "none holds" in r.stdout and "Busy all the time it answers" in r.stdout
    assert "max_batch as measured" in r.stderr


def test_tune_says_what_is_wrong(tmp_path):
    r = quern.cli("tune", "builtin:delay", "-c", tmp_path / "none.yaml")
    assert r.returncode == 1 and "none.yaml" in r.stderr
    (tmp_path / "q.yaml").write_text("models: {a: builtin:identity}\n")
    r = quern.cli("tune", "absent", "-c", tmp_path / "q.yaml")
    assert r.returncode == 1 and "no model of" in r.stderr
    r = quern.cli("tune", "builtin:delay", "-c", tmp_path / "q.yaml", "--write")
    assert r.returncode == 1 and "leave out --write" in r.stderr
    (tmp_path / "e.yaml").write_text("""
models:
  one: builtin:identity
  both: {ensemble: {inputs: [x], outputs: [y], steps: {a: {model: one, inputs: {INPUT0: x}, outputs: {OUTPUT0: y}}}}}
""")
    r = quern.cli("tune", "both", "-c", tmp_path / "e.yaml")
    assert r.returncode == 1 and "both is an ensemble" in r.stderr and "tune its members: one" in r.stderr
    r = quern.cli("tune", "/nowhere/model.onnx")
    assert r.returncode == 1 and "/nowhere/model.onnx" in r.stderr
    r = quern.cli("tune", "builtin:identity", "--p99", "soon")
    assert r.returncode == 2 and "p99" in r.stderr
