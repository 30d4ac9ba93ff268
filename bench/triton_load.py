"""Rows of the triton benchmark that are measured under load: what a request costs quern, Triton in two scheduling classes, and nginx. All servers of a row are up
together and measured in turns, one under load at a time, each turn in another order, so that a change of the machine's mood hits all alike."""
import contextlib
import http.client
import json
import random
import statistics
import struct
import subprocess
import threading

from http_floor import nginx
from measure import LOAD, LOAD_CORE, WORK, scheduling, table
from serving_common import PIXELS
from triton_peer import LEAN, port_of, quern, repository, triton

TURNS, TURNS_CNN = 3, 7  # nine tenths of a CNN's request are the engine's on both sides: the rest is told apart by more turns


class Request:
    """One inference request, for every server the same bytes."""

    def __init__(self, model, name, shape, values, output, is_binary):
        self.path, self.output, self.values = f"/v2/models/{model}/infer", output, values
        tensor = {"name": name, "shape": shape, "datatype": "FP32"}
        if not is_binary:
            self.body = json.dumps({"inputs": [{**tensor, "data": values}]}).encode()
            self.headers = {"Content-Type": "application/json"}
            return
        data = struct.pack(f"<{len(values)}f", *values)
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}],
                           "outputs": [{"name": output, "parameters": {"binary_data": True}}]}, separators=(",", ":")).encode()
        self.body = head + data
        self.headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}

    def send(self, connection):
        """The numbers of the output."""
        connection.request("POST", self.path, self.body, self.headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.path}: status {answer.status}: {body[:300]}")
        head = int(answer.getheader("Inference-Header-Content-Length", len(body)))
        output = next(o for o in json.loads(body[:head])["outputs"] if o["name"] == self.output)
        return output["data"] if "data" in output else list(struct.unpack(f"<{(len(body) - head) // 4}f", body[head:]))


def numbers(count, seed):
    """The same in every run, and all different: a row that got another's answer would show."""
    source = random.Random(seed)
    return [struct.unpack("<f", struct.pack("<f", source.uniform(-1, 1)))[0] for _ in range(count)]


def is_near(a, b):
    scale = max(1e-6, *map(abs, a))
    return len(a) == len(b) and all(abs(x - y) <= 1e-4 * scale for x, y in zip(a, b))


def ask(server, request):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    with contextlib.closing(connection):
        return request.send(connection)


def ask_together(server, requests):
    """All at the same time, each on a connection of its own."""
    answers = [None] * len(requests)

    def one(i):
        answers[i] = ask(server, requests[i])
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(requests))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def need_equal(servers, requests):
    """Every server gives every request the same answer, alone and among others, or nothing is measured."""
    want = [ask(servers[0], r) for r in requests]
    for s in servers:
        for how, got in (("alone", [ask(s, r) for r in requests]), ("together", ask_together(s, requests))):
            wrong = sum(g is None or not is_near(w, g) for w, g in zip(want, got))
            if wrong:
                raise RuntimeError(f"{s.name}: {wrong} of {len(requests)} answers, sent {how}, differ from those of {servers[0].name}")


def measure(server, request, connections, seconds, may_fail=False):
    payload = WORK / "triton.body"
    payload.write_bytes(request.body)
    command = ["taskset", "-c", LOAD_CORE, LOAD, "--connections", connections, "--seconds", seconds, "--warmup", "0.5", "--body-file", payload,
               "--server-pid", server.process.pid]
    for key, value in request.headers.items():
        command += ["--header", f"{key}: {value}"]
    done = subprocess.run([*map(str, command), f"http://127.0.0.1:{port_of(server)}{request.path}"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{server.name}: bench_load ended with {done.returncode}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["errors"] and not may_fail:
        raise RuntimeError(f"{server.name}: {result['errors']} of {result['requests']} requests failed")
    classes = set()
    for pid in server.pids():
        with contextlib.suppress(ProcessLookupError):  # a worker that has been replaced meanwhile
            classes.add(scheduling(pid))
    return result | {"scheduling": sorted(classes)}


def is_peer(name):
    return name.startswith("Triton")


def turns(servers, request, connections, seconds, count=TURNS):
    """name -> its results, one for each turn. A turn before them is not measured: what a server does once, when it is new, is no request's cost."""
    results = {s.name: [] for s in servers}
    for turn in range(-1, count):
        first = turn % len(servers)
        for s in servers[first:] + servers[:first]:
            result = measure(s, request, connections, seconds, may_fail=is_peer(s.name))
            if turn >= 0:
                results[s.name].append(result)
    return results


def cpu_us(results):
    return statistics.median(r["cpu_us_per_request"] for r in results)


def kindest(results):
    """The name of Triton's cheapest way."""
    return min((name for name in results if is_peer(name)), key=lambda name: cpu_us(results[name]))


def ratio(results, ours):
    """How many times our requests per CPU second are Triton's: the median over turns, beside its kindest class."""
    peer = results[kindest(results)]
    return statistics.median(p["cpu_us_per_request"] / o["cpu_us_per_request"] for p, o in zip(peer, results[ours]))


def show(title, results, goals):
    """goals: name of ours -> how many times it must be. Returns the ratios."""
    print(f"\n{title}")
    ratios = {name: ratio(results, name) for name in goals}
    rows = []
    for name in goals:
        each = [f"{p['cpu_us_per_request'] / o['cpu_us_per_request']:.2f}" for p, o in zip(results[kindest(results)], results[name])]
        print(f"{name}: {ratios[name]:.3f} x {kindest(results)}, by turn {' '.join(each)}")
    for name, all_turns in results.items():
        us = [r["cpu_us_per_request"] for r in all_turns]
        middle = {key: statistics.median(r[key] for r in all_turns) for key in ("rps", "p50_us", "p99_us")}
        ours = [f"{ratios[name]:.2f}", f">= {goals[name]}"] if name in goals else ["", ""]
        rows.append([name, f"{cpu_us(all_turns):.1f}", f"{min(us):.1f}-{max(us):.1f}", f"{middle['rps']:.0f}", f"{middle['p50_us']:.0f}",
                     f"{middle['p99_us']:.0f}", sum(r["errors"] for r in all_turns), *ours, "; ".join(all_turns[0]["scheduling"])])
    table(["", "CPU us/request", "min-max", "requests/s", "p50 us", "p99 us", "failed", "x Triton", "goal", "scheduling"], rows)
    return ratios


def both_classes(what, folder):
    return [triton(f"Triton {what}, {c}", folder, *LEAN, scheduling=c) for c in ("other", "batch")]


def identity(seconds):
    request = Request("identity", "INPUT0", [1, 16], [round(0.1 * i - 0.7, 1) for i in range(16)], "OUTPUT0", False)
    distinct = [Request("identity", "INPUT0", [1, 16], numbers(16, i), "OUTPUT0", False) for i in range(64)]
    ours = [quern("quern identity, process", "builtin:identity"), quern("quern identity, inline", "builtin:identity", "--isolation", "inline")]
    goals, found = {ours[0].name: 2.5, ours[1].name: 3.5}, {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(s) for s in [*ours, *both_classes("identity", repository("identity", "identity"))]]
        need_equal(servers, distinct)
        servers.append(stack.enter_context(nginx()))
        for connections in (16, 64):
            results = turns(servers, request, connections, seconds)
            found[connections] = {"results": results, "ratios": show(f"Identity, FP32[16] as JSON, {connections} connections", results, goals)}
    return found


def model_row(title, name, request, distinct, connections, seconds, goal, count=TURNS):
    folder = repository(name, name)
    ours = quern(f"quern {name}", folder)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(s) for s in [ours, *both_classes(name, folder)]]
        need_equal(servers, distinct)
        results = turns(servers, request, connections, seconds, count)
    return {"results": results, "ratios": show(title, results, {ours.name: goal})}


def mlp(seconds):
    requests = [Request("mlp784", "x", [1, 784], numbers(784, i), "y", True) for i in range(64)]
    return model_row("MLP 784-512-256-10, one row, binary, 64 connections, dynamic batching", "mlp784", requests[0], requests, 64, seconds, 2.5)


def cnn(seconds):
    requests = [Request("mobilenet", "x", [1, 3, 224, 224], numbers(PIXELS, i), "y", True) for i in range(3)]
    return model_row("CNN MobileNetV2, one image of 602 KB, binary, 4 connections", "mobilenet", requests[0], requests, 4, seconds, 1.05, TURNS_CNN)
