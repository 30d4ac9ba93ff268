"""Runs the real program for a test, and talks to it as a stranger would: its own data folder, a port of the system's choice,
raw sockets where a client library would hide what matters."""

import contextlib
import http.client
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("QUERN_BIN", ROOT / "build/release/quern")).resolve()
DATA = ROOT / "test/data"
IS_TSAN = b"__tsan_init" in BIN.read_bytes() if BIN.exists() else False
IS_SANITIZED = IS_TSAN or (b"__asan_init" in BIN.read_bytes() if BIN.exists() else False)
TSAN_OPTIONS = {"TSAN_OPTIONS": f"suppressions={ROOT / 'test/tsan.supp'}:handle_segv=0:handle_abort=0"} if IS_TSAN else {}
# Times in the tests are those of a machine with nothing else to do: one that is shared may need this many times as long.
SLOW = 5 if IS_SANITIZED else 1
PATIENCE = 5

EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG, EXIT_ENGINE, EXIT_ADDRESS, EXIT_DATA, EXIT_NOT_RUNNING = range(8)


def wait_until(condition, seconds=10.0, what="the condition", every=0.01, patience=PATIENCE):
    """The first true value of condition(); fails the test when there is none in time, or in `patience` times that."""
    end = time.monotonic() + seconds * patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds * patience} s")
        time.sleep(every)


def within(condition, seconds, what, every=0.01):
    """As wait_until, where the time is what is promised: nothing but other work on the machine speaks for a later end, and that much there is in `seconds`."""
    return wait_until(condition, seconds, what, every, patience=1)


def at_best(measure, limit, tries=7):
    """A claim of speed that others on the machine can spoil, but not by chance fulfil: one of a few measure() is below the limit."""
    took = []
    while not took or took[-1] >= limit:
        assert len(took) < tries, f"never below {limit}: {took}"
        took.append(measure())
    return took[-1]


def cli(*args, timeout=20, **kwargs):
    """A command that ends by itself."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, timeout=timeout * PATIENCE, **kwargs)


def engine(name="onnxruntime"):
    """What the program knows of an engine: name, version, installed, path."""
    engines = json.loads(cli("version", "--features", "--json").stdout)["engines"]
    return next(e for e in engines if e["name"] == name)


# ---- processes, by /proc ----


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def proc_status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}


def children(pid):
    """Every process below pid."""
    parents = {}
    for p in pathlib.Path("/proc").iterdir():
        if p.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(p.name)] = int((p / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found, todo = set(), [pid]
    while todo:
        above = todo.pop()
        for child, parent in parents.items():
            if parent == above and child not in found:
                found.add(child)
                todo.append(child)
    return found


def kill(pid, sig=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)


# ---- HTTP ----


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """One keep-alive connection, bytes in and bytes out. Not http.client: that reconnects and reformats behind one's back."""

    def __init__(self, address, timeout=20.0):
        self.sock = socket.create_connection(address, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionError(f"closed after {self.buffer[:200]!r}")
        self.buffer += data

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _exactly(self, n):
        while len(self.buffer) < n:
            self._more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def receive(self, head_only=False):
        version, status = self._line().split(b" ", 2)[:2]
        assert version == b"HTTP/1.1", version
        headers = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        status = int(status)
        if head_only or status in (204, 304) or status < 200:
            return Response(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._line(), 16):
                body += self._exactly(size)
                assert self._line() == b""
            assert self._line() == b""
            return Response(status, headers, body)
        return Response(status, headers, self._exactly(int(headers.get("content-length", 0))))

    def request(self, method, path, body=b"", headers=()):
        self.send(encode(method, path, body, headers))
        return self.receive(head_only=method == "HEAD")

    def is_closed(self, seconds=5.0):
        """True once the peer has closed, nothing more having come."""
        if not select.select([self.sock], [], [], seconds)[0]:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def encode(method, path, body=b"", headers=()):
    if not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: test"]
    pairs = headers.items() if isinstance(headers, dict) else headers
    lines += [f"{k}: {v}" for k, v in pairs]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def predict_body(model, features):
    return json.dumps({"modelId": model, "features": features}).encode()


def infer_body(features, name="INPUT0", datatype="FP32"):
    rows = features if isinstance(features[0], list) else [features]
    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(rows), len(rows[0])],
                "datatype": datatype,
                "data": [x for row in rows for x in row],
            }
        ]
    }


# ---- the program ----


class Server:
    """`quern serve ARGS` or, with config (YAML text), `quern up`. Ready when the constructor returns, unless wait=False."""

    def __init__(self, *args, config=None, data=None, wait=True, env=None, prefix=(), threads=1, extra=(), cwd=None):
        self.own_folder = pathlib.Path(tempfile.mkdtemp(prefix="quern-it-"))
        self.hung = ""
        self.data = pathlib.Path(data) if data else self.own_folder / "data"
        self.config = self.own_folder / "quern.yaml"
        # Where the kernel spreads addresses more widely than TSan can follow, it must not.
        command = [*(["setarch", "-R"] if IS_TSAN else []), *prefix, BIN]
        if config is not None:
            self.config.write_text(config)
            command += ["up", "-c", self.config]
        else:
            command += ["serve", *args]
        if "--listen" not in extra:
            command += ["--listen", "127.0.0.1:0"]
        command += ["--data", self.data, "--threads", threads, *extra]
        self.stdout_path, self.stderr_path = self.own_folder / "stdout", self.own_folder / "stderr"
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(
                [str(c) for c in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env={**os.environ, **TSAN_OPTIONS, **(env or {})},
            )
        try:
            if wait:
                self.wait_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()
        if kind is None:
            self.check_clean()

    def close(self):
        """No process of ours outlives the test, whatever the test did."""
        pid = self.process.pid
        below = children(pid) if self.process.poll() is None else set()
        if self.process.poll() is None:
            s = self.status()
            kill(s["master_pid"] if s and s["master_pid"] in below else pid, signal.SIGTERM)
            try:
                self.process.wait(10 * PATIENCE)
            except subprocess.TimeoutExpired:
                below |= children(pid)
                self.hung = f"it did not end within {10 * PATIENCE} s of SIGTERM"
                self.process.kill()
                self.process.wait()
        for p in below:
            if is_alive(p) and proc_status(p).get("Name", "").startswith("quern"):
                kill(p)
        self.stdout, self.stderr = self.output()
        shutil.rmtree(self.own_folder, ignore_errors=True)

    def check_clean(self):
        """Whatever a test provoked, it ended when it was told to, and the sanitizers had nothing to say."""
        assert not self.hung, f"{self.hung}; log: {self.stderr[-3000:]}"
        for mark in ("AddressSanitizer", "runtime error:", "LeakSanitizer", "WARNING: ThreadSanitizer", "check failed"):
            at = self.stderr.find(mark)
            assert at < 0, self.stderr[max(0, at - 500) : at + 6000]

    def output(self):
        if not self.stdout_path.exists():
            return self.stdout, self.stderr
        read = lambda p: p.read_text(errors="replace")
        return read(self.stdout_path), read(self.stderr_path)

    def status(self):
        """What the master wrote last; None before it wrote anything."""
        try:
            return json.loads((self.data / "run/status.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _ours(self):
        if self.process.poll() is not None:
            raise AssertionError(f"quern ended with {self.process.returncode}: {self.output()[1][-3000:]}")
        s = self.status()
        return s if s and (s["master_pid"] == self.process.pid or s["master_pid"] in children(self.process.pid)) else None

    @property
    def address(self):
        s = wait_until(self._ours, 10, "status.json of this master")
        host, _, port = s["listen"][0].rpartition(":")
        return host.strip("[]"), int(port)

    def wait_ready(self, seconds=30.0):
        address = self.address

        def is_ready():
            self._ours()
            try:
                with Client(address, 5) as c:
                    return c.request("GET", "/v2/health/ready").status == 200
            except OSError:
                return False

        wait_until(is_ready, seconds, f"ready; log: {self.output()[1][-2000:]}", every=0.005)
        # The master writes its status a moment after it told the edge; tests read process numbers from it.
        # So do further instances, which are no condition of "ready".
        settled = lambda: not any(p["state"] == "starting" for p in self.status()["processes"])
        wait_until(settled, seconds, "the status after ready")

    def client(self, timeout=20.0):
        return Client(self.address, timeout)

    def request(self, method, path, body=b"", headers=()):
        with self.client() as c:
            return c.request(method, path, body, headers)

    def get(self, path, headers=()):
        return self.request("GET", path, b"", headers)

    def post(self, path, body, headers=()):
        return self.request("POST", path, body, headers)

    def predict(self, model, features, headers=()):
        return self.post("/predict", predict_body(model, features), headers)

    def api(self):
        return self.get("/api/status").json()

    def model(self, name):
        return next(m for m in self.api()["models"] if m["name"] == name)

    def master_model(self, name):
        return next(m for m in self.status()["models"] if m["name"] == name)

    def processes(self, role, model=None):
        return [p for p in self.status()["processes"] if p["role"] == role and (model is None or p["model"] == model)]

    def pids(self, role, model=None):
        """Of the processes that are up."""
        return [p["pid"] for p in self.processes(role, model) if p["pid"] and p["state"] == "ready"]

    @property
    def master_pid(self):
        return self.status()["master_pid"]

    def signal(self, sig):
        """To the master, also when it runs below another program (strace)."""
        kill(self.master_pid, sig)

    def wait_reload(self, action):
        """Runs action() and returns when the log tells what became of the reload."""

        def count():
            log = self.output()[1]
            return log.count("configuration reloaded") + log.count("reload refused")

        before = count()
        action()
        wait_until(lambda: count() > before, 10, "an outcome of the reload")

    def reload(self):
        self.wait_reload(lambda: self.signal(signal.SIGHUP))

    def write_config(self, text):
        """At once, as an editor or a deployment does it: no reader sees half a file."""
        aside = self.own_folder / "quern.yaml.new"
        aside.write_text(text)
        aside.rename(self.config)


# ---- load ----


class Load:
    """Keep-alive clients in threads that send one request after the other and check each answer.

        with Load(server, [(path, body, check), (path, body, check, headers)], connections=4) as load: ...
        load.ok, load.failures, load.latencies

    check(response) returns None when it is right, else what is wrong. A connection that the server closed between two answers is opened
    again without blame only with reconnect=True (when the edge itself is killed, connections must break). On a slow machine the load goes on
    until more than `enough` answers were right."""

    def __init__(self, server, requests, connections=4, reconnect=False, enough=0):
        self.address = server.address
        self.requests, self.reconnect, self.enough = requests, reconnect, enough
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.ok, self.failures, self.latencies, self.broken = 0, [], [], 0
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(connections)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, kind, *_):
        end = time.monotonic() + 10 * PATIENCE
        while kind is None and self.ok <= self.enough and not self.failures and time.monotonic() < end:
            time.sleep(0.01)
        self.stop.set()
        for t in self.threads:
            t.join(60)
            assert not t.is_alive(), "a client hangs"

    def _one(self, client, request):
        path, body, check, *headers = request
        began = time.perf_counter()
        response = client.request("POST", path, body, *headers)
        took = time.perf_counter() - began
        wrong = check(response)
        with self.lock:
            self.latencies.append(took)
            if wrong:
                self.failures.append(wrong)
            else:
                self.ok += 1

    def _run(self, index):
        turn = index
        client = None
        while not self.stop.is_set():
            try:
                client = client or Client(self.address, 30)
                self._one(client, self.requests[turn % len(self.requests)])
                turn += 1
            except OSError as e:
                client = None
                with self.lock:
                    self.broken += 1
                    if not self.reconnect:
                        self.failures.append(f"connection: {e!r}")
                time.sleep(0.002)
        if client:
            client.close()


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))] if ordered else float("nan")


def expect_prediction(want):
    """A check for Load: status 200 and exactly these numbers."""

    def check(r):
        if r.status != 200:
            return f"{r.status} {r.body[:200]!r}"
        got = r.json()["data"]["prediction"]
        return None if got == want else f"{got} instead of {want}"

    return check
