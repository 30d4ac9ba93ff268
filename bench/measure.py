"""What all benchmarks share: one server on core 0, the load on core 1, every process at nice 0 in the ordinary
scheduling class, results as a table for people and as JSON lines for comparison over time. Standard library only."""
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build/bench"
BUILD = pathlib.Path(os.environ.get("QUERN_BENCH_BUILD", ROOT / "build/release"))
QUERN, LOAD, LOOP, FLOOR = (BUILD / name for name in ("quern", "bench_load", "bench_ort_loop", "bench_floor"))
SERVER_CORE, LOAD_CORE = 0, 1
CLASSES = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_BATCH: "SCHED_BATCH", os.SCHED_IDLE: "SCHED_IDLE",
           os.SCHED_FIFO: "SCHED_FIFO", os.SCHED_RR: "SCHED_RR"}


def ordinary_scheduling():
    """nice 0, SCHED_OTHER for this process and all it starts: a shell may have inherited another, which changes figures."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except PermissionError:
        sys.exit("bench: this shell runs niced and may not go back to 0: start it from another shell, or as root")
    if os.cpu_count() < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    WORK.mkdir(parents=True, exist_ok=True)
    busy = os.getloadavg()[0]
    if busy > 0.7:
        print(f"NOT QUIET: load average {busy:.1f}; figures of a busy machine are too high, and ratios unsteady")


def scheduling(pid):
    return f"{CLASSES.get(os.sched_getscheduler(pid), '?')} nice {os.getpriority(os.PRIO_PROCESS, pid)}"


def machine():
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release}


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def descendants(pid):
    """The process and everything below it: a server is all of its processes."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return found


def pss_kib(pid):
    """Proportional memory: pages that are shared are counted once in the sum over processes."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_up(url):
    """True when the address answers 200, however little."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


class Server:
    """A server of one core, with all its processes, until the end of the `with` block."""

    def __init__(self, name, command, ready_url, cwd=None, env=None, timeout=60):
        self.name, self.ready_url, self.timeout = name, ready_url, timeout
        self.command = [str(c) for c in command]
        self.cwd, self.env = cwd, {**os.environ, **(env or {})}

    def __enter__(self):
        self.log = WORK / f"{self.name.replace(' ', '-').replace('/', '-')}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), *self.command], cwd=self.cwd, env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + self.timeout
        while not is_up(self.ready_url):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not come up on {self.ready_url}; the end of {self.log}:\n{tail}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pids(self):
        return descendants(self.process.pid)


def load(server, path, body, connections, seconds, runs=3):
    """Medians over the runs; CPU per request is of all the server's processes within the measured seconds."""
    port = server.ready_url.split(":")[2].split("/")[0]
    payload = WORK / "body"
    if body is not None:
        payload.write_bytes(body)
    results = []
    for _ in range(runs):
        command = ["taskset", "-c", str(LOAD_CORE), str(LOAD), "--connections", str(connections), "--seconds", str(seconds),
                   "--warmup", "1", "--server-pid", str(server.process.pid)]
        if body is not None:
            command += ["--method", "POST", "--header", "Content-Type: application/json", "--body-file", str(payload)]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{server.name}: bench_load ended with {done.returncode}: {done.stderr.strip()}")
        results.append(json.loads(done.stdout))
        if results[-1]["errors"] > 0:
            raise RuntimeError(f"{server.name}: {results[-1]['errors']} of {results[-1]['requests']} requests failed")
    middle = {key: statistics.median(r[key] for r in results)
              for key, value in results[0].items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    middle["spread_cpu_us"] = [min(r["cpu_us_per_request"] for r in results), max(r["cpu_us_per_request"] for r in results)]
    middle["scheduling"] = sorted({scheduling(pid) for pid in server.pids()})
    return middle


def need_same_scheduling(results):
    classes = sorted({c for r in results for c in r["scheduling"]})
    print(f"scheduling: {', '.join(classes)}; server on core {SERVER_CORE}, load on core {LOAD_CORE}")
    if len(classes) != 1:
        print("NOT COMPARABLE: the processes ran in different scheduling classes")


def table(header, rows):
    rows = [header, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *[cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]]
        print("  ".join(cells))


def record(name, result):
    entry = {"benchmark": name, "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
             "commit": commit(), "machine": machine(), "load_average": os.getloadavg()[0], **result}
    with open(WORK / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    print(f"appended to build/bench/{name}.jsonl")


def need(*commands):
    for command in commands:
        if not shutil.which(command):
            sys.exit(f"bench: {command} is missing; ./dev bench installs it")


def quern_serve(name, *arguments, isolation="process"):
    port = free_port()
    data = WORK / "data"
    shutil.rmtree(data, ignore_errors=True)
    return Server(name, [QUERN, "serve", *arguments, "--listen", f"127.0.0.1:{port}", "--isolation", isolation,
                         "--threads", "1", "--data", data, "--log-level", "warn"],
                  f"http://127.0.0.1:{port}/v2/health/ready")
