"""iris: the same small classifier behind what a user would write today. One row of JSON, 16 connections, one server core;
requests for each second of CPU that all the server's processes use."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

from measure import ROOT, Server, WORK, free_port, load, need, need_same_scheduling, quern_serve, record, table

PEERS = ROOT / "bench/peers"
FEATURES = {"modelId": "iris", "features": [5.1, 3.5, 1.4, 0.2]}
V2 = {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]}
# How many times a peer's requests per CPU second ours must be.
BUDGET = {"Flask": 30, "MLServer": 30, "FastAPI": 12, "Express": 10}


def installed(folder, sources, commands):
    """Runs the commands unless the folder was made from exactly these sources."""
    stamp = folder / ".stamp"
    want = hashlib.sha256(b"".join(pathlib.Path(s).read_bytes() for s in sources)).hexdigest()
    if stamp.exists() and stamp.read_text() == want:
        return
    print(f"installing {folder.name} (once)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open(WORK / f"{folder.name}.install.log", "wb") as log:
        for command in commands:
            subprocess.run([str(c) for c in command], cwd=folder, stdout=log, stderr=log, check=True)
    stamp.write_text(want)


def install_python(name):
    """A virtual environment with the model trained inside it: a pickle fits only the versions that wrote it."""
    folder = WORK / name
    python = folder / "venv/bin/python"
    requirements, train = PEERS / f"{name}.txt", PEERS / "train.py"
    installed(folder, [requirements, train], [
        ["python3", "-m", "venv", folder / "venv"],
        [python, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary=:all:", "-r", requirements],
        [python, train, folder]])
    return folder


def install_node():
    folder = WORK / "express"
    sources = [PEERS / "express/package.json", PEERS / "express/package-lock.json"]
    copies = [["cp", source, folder] for source in sources]
    installed(folder, sources, [*copies, ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]])
    return folder


def bodies(flask, express):
    """(name, budget's key, server, path, body) of every peer."""
    web = flask / "venv/bin"
    model = {"IRIS_MODEL": str(flask / "iris.onnx")}
    predict = json.dumps(FEATURES).encode()

    def flask_server(port):
        return Server("Flask", [web / "gunicorn", "-w", "1", "-b", f"127.0.0.1:{port}", "flask_app:app"],
                      f"http://127.0.0.1:{port}/health", cwd=PEERS, env={"IRIS_MODEL": str(flask / "iris.joblib")})

    def fastapi_server(port, extra):
        return Server("FastAPI", [web / "uvicorn", "--port", port, "--no-access-log", *extra, "fastapi_app:app"],
                      f"http://127.0.0.1:{port}/health", cwd=PEERS, env=model)

    yield "Flask + gunicorn + scikit-learn", "Flask", flask_server(free_port()), "/predict", predict
    yield ("FastAPI + uvicorn + ONNX Runtime", "FastAPI", fastapi_server(free_port(), ["--loop", "asyncio", "--http", "h11"]),
           "/predict", predict)
    yield ("FastAPI + uvicorn[standard] + ONNX Runtime", "FastAPI",
           fastapi_server(free_port(), ["--loop", "uvloop", "--http", "httptools"]), "/predict", predict)
    yield "MLServer", "MLServer", mlserver(free_port()), "/v2/models/iris/infer", json.dumps(V2).encode()
    port = free_port()
    shutil.copy(PEERS / "express/server.mjs", express)
    yield ("Express + onnxruntime-node", "Express",
           Server("Express", ["node", express / "server.mjs"], f"http://127.0.0.1:{port}/health", cwd=express,
                  env={**model, "PORT": str(port), "NODE_ENV": "production"}), "/predict", predict)


def mlserver(port):
    folder = install_python("mlserver")
    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0,
                "debug": False, "host": "127.0.0.1"}
    model = {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel",
             "parameters": {"uri": str(folder / "iris.joblib"), "version": "1"}}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return Server("MLServer", [folder / "venv/bin/mlserver", "start", folder],
                  f"http://127.0.0.1:{port}/v2/models/iris/ready", cwd=folder, timeout=120)


def run(seconds):
    need("taskset", "npm", "node")
    os.environ["OMP_NUM_THREADS"] = "1"
    flask, express = install_python("web"), install_node()
    results = {}
    for isolation in ("inline", "process"):
        with quern_serve(f"quern {isolation}", flask / "iris.onnx", isolation=isolation) as server:
            results[f"quern /predict, {isolation}"] = load(server, "/predict", json.dumps(FEATURES).encode(), 16, seconds)
            results[f"quern /v2, {isolation}"] = load(server, "/v2/models/iris/infer", json.dumps(V2).encode(), 16, seconds)
    budget = {}
    for name, key, server, path, body in bodies(flask, express):
        with server:
            results[name] = load(server, path, body, 16, seconds)
            budget[name] = BUDGET[key]
    ours = 1e6 / results["quern /predict, process"]["cpu_us_per_request"]
    print("iris, one row of JSON, 16 connections")
    table(["", "CPU µs/request", "min-max", "requests/CPU s", "requests/s", "p50 µs", "p99 µs", "ours is x", "budget"],
          [[name, f"{r['cpu_us_per_request']:.1f}", "{:.1f}-{:.1f}".format(*r["spread_cpu_us"]),
            f"{1e6 / r['cpu_us_per_request']:.0f}", f"{r['rps']:.0f}", f"{r['p50_us']:.0f}", f"{r['p99_us']:.0f}",
            f"{ours * r['cpu_us_per_request'] / 1e6:.1f}", budget.get(name, "")] for name, r in results.items()])
    need_same_scheduling(results.values())
    record("iris", {"results": results})
