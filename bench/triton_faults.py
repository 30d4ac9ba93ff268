"""triton-faults: what Triton and quern do when something goes wrong: a model's code crashes, a model's process is killed, a new version is damaged, a request is hostile.
Nothing is timed but how long a fault lasts."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

from iris import PEERS, installed
from measure import LOAD, LOAD_CORE, need, record, table
from serving_common import model
from triton_life import get
from triton_load import Request, numbers
from triton_peer import BACKENDS, FOLDER, LEAN, install, port_of, quern, repository, triton

NEIGHBOUR = "/v2/models/identity/infer"
BODY = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]})
LOAD_S, FAULT_AT_S = 3, 1


def post(port, path, body, timeout=15):
    """What a client sees: "200", "500 text" or how the connection ended."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        with contextlib.closing(connection):
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
    except TimeoutError:
        return f"no answer within {timeout} s"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}"
    if answer.status == 200:
        return "200"
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(text)
        text = error.get("error") or error.get("message") or text
    return f"{answer.status} {str(text)[:90]}"


def state(server):
    code = server.process.poll()
    if code is None:
        return "runs on"
    return f"the server is gone ({signal.Signals(-code).name})" if code < 0 else f"the server is gone (code {code})"


class Neighbour:
    """Requests to another model of the same server while something happens to this one."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        command = ["taskset", "-c", LOAD_CORE, LOAD, "--connections", 4, "--warmup", 0, "--seconds", LOAD_S, "--header", "Content-Type: application/json",
                   "--body", BODY, f"http://127.0.0.1:{port_of(self.server)}{NEIGHBOUR}"]
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(FAULT_AT_S)
        return self

    def __exit__(self, *_):
        self.output = self.process.communicate()[0]

    def told(self):
        if self.process.returncode != 0:
            return "cut off, and nobody to connect to"
        result = json.loads(self.output)
        return f"{result['errors']} of {result['requests']} failed"


# ---- a crash in the model's code ----

def crash():
    poison = BODY.replace("[1, 2]}", "[666, 2]}")
    rows = []
    for make in (lambda: quern("quern", "builtin:crash", "builtin:identity"), lambda: triton("Triton", repository("crash", "crash", "identity"), *LEAN)):
        with make() as s:
            with Neighbour(s) as n:
                answer = post(port_of(s), "/v2/models/crash/infer", poison)
            after = post(port_of(s), "/v2/models/crash/infer", BODY)
            rows.append([s.name, answer, n.told(), after, state(s)])
    return ["a crash in the model's code", ["", "that request", "another model's requests", "the model, afterwards", "the server"], rows,
            rows[0][2].startswith("0 of") and rows[0][3:] == ["200", "runs on"]]


# ---- kill -9 ----

PYTHON_MODEL = '''import triton_python_backend_utils as utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [utils.get_input_tensor_by_name(r, "INPUT0").as_numpy() for r in requests]
        return [utils.InferenceResponse(output_tensors=[utils.Tensor("OUTPUT0", i)]) for i in inputs]
'''


def python_backend():
    """Triton's own backend with a process for each model; None when this system lacks the library of the Python that it needs."""
    library = next(iter(pathlib.Path("/usr/lib").glob("*-linux-gnu/libpython3.11.so.1.0")), None)
    if library is None:
        return None
    site = FOLDER / "wheel/site/pytriton/tritonserver"
    requirements = PEERS / "triton-python.txt"
    installed(FOLDER / "numpy", [requirements],
              [["python3", "-m", "pip", "install", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps", "--require-hashes", "--python-version", "3.11",
                "--target", FOLDER / "numpy/site", "-r", requirements]])
    backend = BACKENDS / "python"
    shutil.rmtree(backend, ignore_errors=True)
    shutil.copytree(site / "backends/python", backend)
    shutil.copy(site / "python_backend_stubs/3.11/triton_python_backend_stub", backend)
    (backend / "triton_python_backend_stub").chmod(0o755)
    # The stub looks for modules where its own utilities lie, and not where PYTHONPATH says.
    shutil.copytree(FOLDER / "numpy/site", backend, dirs_exist_ok=True)
    folder = repository("python", "identity")
    shutil.move(folder / "identity", folder / "py")
    text = (folder / "py/config.pbtxt").read_text()
    (folder / "py/config.pbtxt").write_text(text.replace('backend: "identity"', 'backend: "python"'))
    (folder / "py/1/model.py").write_text(PYTHON_MODEL)
    return folder


def killed_row(server, name, victim):
    """kill -9 of the model's process under requests to it, one after the other."""
    seen, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            began = time.monotonic()
            text = post(port_of(server), f"/v2/models/{name}/infer", BODY)
            seen.append((began, time.monotonic(), text))
    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(FAULT_AT_S)
    killed = time.monotonic()
    os.kill(victim(), signal.SIGKILL)
    time.sleep(5)
    stop.set()
    thread.join()
    failed = [text for _, _, text in seen if text != "200"]
    again = next((ended for began, ended, text in seen if began >= killed and text == "200"), None)
    longest = max(ended - began for began, ended, _ in seen)
    ready = get(port_of(server), f"/v2/models/{name}/ready")[0]
    return [server.name, f"{len(failed)} of {len(seen)} failed", failed[0] if failed else "", f"after {1000 * (again - killed):.0f} ms" if again else "not within 5 s",
            f"{1000 * longest:.0f} ms", ready, state(server)]


def workers(server):
    status = json.loads((server.data / "run/status.json").read_text())
    return [p["pid"] for p in status["processes"] if p["role"] == "worker" and p["pid"]]


def killed():
    rows = []
    with quern("quern", "builtin:identity") as s:
        rows.append(killed_row(s, "identity", lambda: workers(s)[0]))
    folder = python_backend()
    if folder is None:
        rows.append(["Triton, Python backend", "not tried: libpython3.11 is not installed", "", "", "", "", ""])
    else:
        libraries = FOLDER / "wheel/site/nvidia_pytriton.libs"
        s = triton("Triton, Python backend", folder, *LEAN)
        s.env["LD_LIBRARY_PATH"] = str(libraries)
        with s:
            stub = next(p for p in s.pids() if "python" in pathlib.Path(f"/proc/{p}/comm").read_text())
            rows.append(killed_row(s, "py", lambda: stub))
    return ["kill -9 of a model's process, which serves one client", ["", "requests", "with", "serves again", "longest request", "model's /ready", "the server"], rows,
            rows[0][1].startswith("0 of") and rows[0][-1] == "runs on"]


# ---- a damaged version ----

def damaged():
    """Version 2 is half of the file; the operator asks to load the model, whose version 1 serves."""
    rows, request = [], Request("mlp784", "x", [1, 784], numbers(784, 1), "y", False)
    for make in (lambda f: quern("quern", f, "--repository-mode", "explicit"),
                 lambda f: triton("Triton", f, *LEAN, "--model-control-mode=explicit", "--load-model=mlp784")):
        folder = repository("damaged", "mlp784")
        with make(folder) as s:
            load = "/v2/repository/models/mlp784/load"
            post(port_of(s), load, "{}", 60)
            (folder / "mlp784/2").mkdir()
            whole = model("mlp784").read_bytes()
            (folder / "mlp784/2/model.onnx").write_bytes(whole[:len(whole) // 2])
            told = post(port_of(s), load, "{}", 60)
            serves = post(port_of(s), request.path, request.body)
            (folder / "mlp784/2/model.onnx").write_bytes(whole)
            repaired = post(port_of(s), load, "{}", 60)
            versions = json.loads(get(port_of(s), "/v2/models/mlp784")[1]).get("versions")
            rows.append([s.name, told, serves, f"{repaired}, serves {versions}", state(s)])
    return ["a new version whose file is cut off", ["", "load says", "a request then", "load of the whole file", "the server"], rows,
            rows[0][1].startswith("400") and rows[0][2] == "200" and rows[0][3].startswith("200, serves ['2']")]


# ---- hostile requests ----

def head(length, more=""):
    return f"POST {NEIGHBOUR} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def tensor(shape, data="[1]"):
    body = f'{{"inputs":[{{"name":"INPUT0","shape":{shape},"datatype":"FP32","data":{data}}}]}}'.encode()
    return head(len(body)) + body


def binary(claimed):
    """A JSON head that promises `claimed` bytes of data, and eight bytes."""
    body = f'{{"inputs":[{{"name":"INPUT0","shape":[1,2],"datatype":"FP32","parameters":{{"binary_data_size":{claimed}}}}}]}}'.encode()
    return head(len(body) + 8, f"Inference-Header-Content-Length: {len(body)}\r\n") + body + b"\0" * 8


def chunked(count):
    body = b"1\r\n \r\n" * count + b"0\r\n\r\n"
    return f"POST {NEIGHBOUR} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + body


HOSTILE = {
    "5 MB of [": lambda: head(5_000_000) + b"[" * 5_000_000,
    "numbers nested 100,000 deep": lambda: tensor("[1,1]", "[" * 100_000 + "1" + "]" * 100_000),
    "a shape whose product overflows": lambda: tensor("[4294967296,4294967296,4294967296]"),
    "a negative dimension": lambda: tensor("[1,-1]"),
    "more binary data promised than sent": lambda: binary(1 << 40),
    "less than nothing promised": lambda: binary(-8),
    "Content-Length of 10 TB": lambda: head(10_000_000_000_000),
    "1,000,000 chunks of one byte": lambda: chunked(1_000_000),
}


def send_raw(port, data, seconds=10):
    """The status line, or how it ended."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=seconds)) as s:
        with contextlib.suppress(OSError):
            s.sendall(data)
        try:
            got = s.recv(4096)
        except TimeoutError:
            return f"waits for more than {seconds} s"
        except OSError:
            return "closed without an answer"
    return got.split(b"\r\n")[0].decode(errors="replace").removeprefix("HTTP/1.1 ") if got else "closed without an answer"


def hostile():
    """Each on a server of its own, so that what one does is not another's."""
    rows = []
    folder = repository("identity", "identity")
    for what, make_bytes in HOSTILE.items():
        row = [what]
        for make in (lambda: quern("quern", "builtin:identity"), lambda: triton("Triton", folder, *LEAN)):
            with make() as s:
                data = make_bytes()
                said = send_raw(port_of(s), data)
                after = post(port_of(s), NEIGHBOUR, BODY, 10)
                time.sleep(0.2)
                row += [said, "serves on" if after == "200" else state(s) if s.process.poll() is not None else after]
        rows.append(row)
    return ["hostile requests, each to a fresh server", ["", "quern answers", "then", "Triton answers", "then"], rows,
            all(row[1].startswith("4") and row[2] == "serves on" for row in rows)]


def run(_seconds):
    need("taskset", "chrt", "cc")
    install()
    found, wrong = {}, []
    for case in (crash, killed, damaged, hostile):
        title, header, rows, is_right = case()
        print(f"\n{title[0].upper()}{title[1:]}")
        table(header, rows)
        found[title] = {"header": header, "rows": rows}
        wrong += [] if is_right else [title]
    record("triton-faults", {"cases": found})
    if wrong:
        raise RuntimeError(f"quern did not do what it promises: {'; '.join(wrong)}")
