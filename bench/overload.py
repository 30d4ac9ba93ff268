"""overload: 1.5, 3 and 6 times what the model can do, Poisson arrivals, a deadline of 100 ms. Requests that tell their deadline, and as a control a
plain first-in-first-out batcher: the same server, not told of the deadline, so that nothing is ordered or refused by it."""
import json
import subprocess

from measure import LOAD, LOAD_CORE, WORK, need_same_scheduling, quern_serve, record, scheduling, table

BATCH, RUN_MS, DEADLINE_MS, TOLD_MS = 8, 10, 100, 95  # a client keeps 5 ms for the way
CONNECTIONS = 1000


def model_file(name, options):
    path = WORK / f"{name}.yaml"
    path.write_text(f'models: {{m: {{path: "builtin:delay", max_batch: {BATCH}, {options} parameters: {{execute_delay_ms: "{RUN_MS}"}}}}}}\n')
    return path


def server(name, options):
    s = quern_serve(name)
    at = s.command.index("serve")
    s.command[at:at + 1] = ["up", "-c", str(model_file(name, options))]
    at = s.command.index("--isolation")
    del s.command[at:at + 2]
    return s


def body(timeout_ms):
    value = {"inputs": [{"name": "INPUT0", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
    if timeout_ms:
        value["parameters"] = {"timeout": timeout_ms * 1000}
    path = WORK / f"overload-{timeout_ms}.json"
    path.write_text(json.dumps(value))
    return path


def run_load(s, payload, seconds, *arguments):
    port = s.ready_url.split(":")[2].split("/")[0]
    command = ["taskset", "-c", str(LOAD_CORE), str(LOAD), "--seconds", str(seconds), "--warmup", "2", "--server-pid", str(s.process.pid),
               "--method", "POST", "--body-file", str(payload), *map(str, arguments), f"http://127.0.0.1:{port}/v2/models/m/infer"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{s.name}: bench_load ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout) | {"scheduling": sorted({scheduling(pid) for pid in s.pids()})}


def run(seconds):
    results, rows = {}, []
    with server("quern-overload", "") as s:
        capacity = run_load(s, body(0), seconds, "--connections", 64)["rps"]
    cases = [("deadline told", "", TOLD_MS, 1.5), ("control: plain FIFO", "queue_max: 100000,", 0, 1.5), ("deadline told, 3 x", "", TOLD_MS, 3.0),
             ("deadline told, 6 x", "", TOLD_MS, 6.0)]
    for name, options, told, factor in cases:
        with server("quern-overload", options) as s:
            r = run_load(s, body(told), seconds, "--connections", CONNECTIONS, "--rate", capacity * factor, "--deadline", DEADLINE_MS)
        o = r["open_loop"]
        results[name] = r
        rows.append([name, f"{o['rate']:.0f}", f"{o['in_time_per_s']:.0f}", f"{100 * o['in_time_per_s'] / capacity:.1f} %", o["late"], o["refused"],
                     f"{o['refused_mean_us'] / 1e3:.2f} ms", o["failed"]])
    few, many = results["deadline told"], results["deadline told, 6 x"]
    more = many["open_loop"]["refused"] - few["open_loop"]["refused"]
    print(f"a refused request costs {1e6 * (many['server_cpu_s'] - few['server_cpu_s']) / max(more, 1):.0f} us of processor time (6 x beside 1.5 x)")
    print(f"capacity, closed loop: {capacity:.0f} requests a second; deadline {DEADLINE_MS} ms")
    table(["", "offered/s", "in time/s", "of capacity", "late", "refused", "refused after", "failed"], rows)
    need_same_scheduling(list(results.values()))
    record("overload", {"capacity": capacity, "results": results})
