"""Triton Inference Server as a peer: installed from its wheel, with our own small backends (bench/triton/), and quern beside it on the same model repository."""
import json
import os
import pathlib
import shutil
import subprocess

from iris import PEERS, installed
from measure import QUERN, ROOT, Server, WORK, free_port
from serving_common import model

FOLDER = WORK / "triton"
BACKENDS = FOLDER / "backends"
MODELS = FOLDER / "models"
SOURCES = ROOT / "bench/triton"
# Library name in Triton's layout: our sources. Triton calls the backend of `platform: "onnxruntime_onnx"` onnxruntime, so that one config.pbtxt serves both servers.
BUILT = {"identity": ["identity.c", "echo.c", "request.c"], "crash": ["crash.c", "echo.c", "request.c"], "onnxruntime": ["onnx.c", "request.c"]}
CC = ["cc", "-std=gnu17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src'}", f"-I{SOURCES}"]
# What an operator who knows Triton would switch off for HTTP alone: it makes Triton cheaper and quicker to start.
LEAN = ["--allow-grpc=false", "--allow-metrics=false"]
LEANEST = [*LEAN, "--http-thread-count=1", "--pinned-memory-pool-byte-size=0", "--disable-auto-complete-config"]


def install():
    requirements = PEERS / "triton.txt"
    installed(FOLDER / "wheel", [requirements],
              [["python3", "-m", "pip", "install", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps", "--require-hashes",
                "--target", FOLDER / "wheel/site", "-r", requirements]])
    sources = sorted(SOURCES.iterdir()) + [ROOT / "src/model/backends/onnx/ort_api.h"]
    commands = []
    for name, files in BUILT.items():
        commands += [["mkdir", "-p", BACKENDS / name],
                     [*CC, "-o", BACKENDS / name / f"libtriton_{name}.so", *[SOURCES / file for file in files]]]
    installed(BACKENDS, sources, commands)


def executable():
    file = FOLDER / "wheel/site/pytriton/tritonserver/bin/tritonserver"
    file.chmod(0o755)
    return file


def engine():
    """The library that quern itself would load."""
    done = subprocess.run([QUERN, "version", "--features", "--json"], capture_output=True, text=True, check=True)
    found = next(e for e in json.loads(done.stdout)["engines"] if e["name"] == "onnxruntime")
    if not found["installed"]:
        subprocess.run([QUERN, "engine", "install", "onnxruntime"], check=True)
        return engine()
    return found["path"]


def config(backend, inputs, outputs, more=""):
    """The text of a config.pbtxt; inputs and outputs are triples of name, type and dims."""
    def tensors(what, triples):
        return "".join(f'{what} [{{name: "{n}" data_type: TYPE_{t} dims: [{d}]}}]\n' for n, t, d in triples)
    return (f"{backend}\nmax_batch_size: 64\n{tensors('input', inputs)}{tensors('output', outputs)}"
            f"instance_group [{{kind: KIND_CPU count: 1}}]\n{more}\n")


ONNX = 'platform: "onnxruntime_onnx"'
CONFIGS = {
    "identity": config('backend: "identity"', [("INPUT0", "FP32", "-1")], [("OUTPUT0", "FP32", "-1")]),
    "crash": config('backend: "crash"', [("INPUT0", "FP32", "-1")], [("OUTPUT0", "FP32", "-1")]),
    "mlp784": config(ONNX, [("x", "FP32", "784")], [("y", "FP32", "10")], "dynamic_batching {}"),
    "mobilenet": config(ONNX, [("x", "FP32", "3, 224, 224")], [("y", "FP32", "1000")]),
    "iris": config(ONNX, [("X", "FP32", "4")], [("probabilities", "FP32", "3")]),
}


def file_of(name):
    return ROOT / "test/data/iris_tensor.onnx" if name == "iris" else model(name)


def repository(folder, *names):
    """A model repository of these models, made anew."""
    folder = FOLDER / folder
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(CONFIGS[name])
        if ONNX in CONFIGS[name]:
            shutil.copy(file_of(name), folder / name / "1/model.onnx")
    return folder


def triton_command(port, folder, *options):
    return [executable(), f"--model-repository={folder}", f"--backend-directory={BACKENDS}", "--http-address=127.0.0.1", f"--http-port={port}",
            "--log-info=false", *options]


def triton(name, folder, *options, scheduling="other"):
    """tritonserver, in the scheduling class that is named."""
    port = free_port()
    command = ["chrt", f"--{scheduling}", "0", *triton_command(port, folder, *options)]
    return Server(name, command, f"http://127.0.0.1:{port}/v2/health/ready", env={"QUERN_TRITON_ENGINE": engine()})


def quern_command(port, data, *arguments):
    return [QUERN, "serve", *arguments, "--listen", f"127.0.0.1:{port}", "--threads", 1, "--data", data, "--log-level", "warn"]


def quern(name, *arguments):
    """`quern serve` with a data folder of its own, so that several may be up."""
    port, data = free_port(), FOLDER / f"data-{name.replace(' ', '-')}"
    shutil.rmtree(data, ignore_errors=True)
    s = Server(name, quern_command(port, data, *arguments), f"http://127.0.0.1:{port}/v2/health/ready")
    s.data = data
    return s


def port_of(server):
    return int(server.ready_url.split(":")[2].split("/")[0])
