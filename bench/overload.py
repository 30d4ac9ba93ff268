"""overload: 1.5, 3 and 6 times what the model can do, Poisson arrivals, a deadline of 100 ms. Requests that tell their deadline, and as a control a
plain first-in-first-out batcher: the same server, not told of the deadline, so that nothing is ordered or refused by it.

Then three priorities at once (urgent 30 %, normal 40 %, low 30 %; the low class has 5 s), and two clients, of which one asks for half of its share and the
other for five times its own. The control is told neither priorities, deadlines nor who asks: all come from one address. Three turns, the control in
between; the table has medians, the longest wait of all turns."""
import json
import statistics
import subprocess

from measure import LOAD, LOAD_CORE, WORK, need_same_scheduling, quern_serve, record, scheduling, table

BATCH, RUN_MS, DEADLINE_MS, TOLD_MS = 8, 10, 100, 95  # a client keeps 5 ms for the way
CONNECTIONS, TURNS = 1000, 3
LOW_MS, LOW_BOUND_S = 5000, 2.0  # docs/batching.md: (3 - 1) x 0.5 s, 0.5 s for its far deadline, and what is in blocks
FIFO = "queue_max: 100000,"
MIXES = {"urgent": (0.3, 1, DEADLINE_MS), "normal": (0.4, 2, DEADLINE_MS), "low": (0.3, 3, LOW_MS)}
CLIENTS = {"polite": (0.25, 0, DEADLINE_MS), "floods": (2.5, 0, DEADLINE_MS)}


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


def body(timeout_ms, priority=0):
    value = {"inputs": [{"name": "INPUT0", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
    if timeout_ms:
        value["parameters"] = {"timeout": timeout_ms * 1000}
    if priority:
        value.setdefault("parameters", {})["priority"] = priority
    path = WORK / f"overload-{timeout_ms}-{priority}.json"
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


def offer(kinds, capacity, times, is_told, seconds):
    """All kinds at once, from an address each when the server is told. A client keeps 5 ms for the way."""
    arguments = []
    for n, (part, priority, deadline_ms) in enumerate(kinds.values()):
        payload = body(deadline_ms - DEADLINE_MS + TOLD_MS, priority) if is_told else body(0)
        rate, address = capacity * times * part, f"127.0.0.{n + 2 if is_told else 2}"
        if n == 0:
            first = payload
            arguments += ["--rate", rate, "--deadline", deadline_ms, "--from", address]
        else:
            arguments += ["--also", f"{rate},{deadline_ms},{address},{payload}"]
    with server("quern-overload", "" if is_told else FIFO) as s:
        return run_load(s, first, seconds, "--connections", CONNECTIONS, *arguments)


def median_of(turns, n, key):
    return statistics.median(t["kinds"][n][key] for t in turns)


def compete(title, kinds, capacity, times, seconds, results):
    told, fifo = [], []
    for _ in range(TURNS):
        told.append(offer(kinds, capacity, times, True, seconds))
        fifo.append(offer(kinds, capacity, times, False, seconds))
    results[title] = {"told": told, "fifo": fifo}
    rows = []
    for who, turns in (("", told), ("control: ", fifo)):
        for n, name in enumerate(kinds):
            rows.append([who + name, f"{median_of(turns, n, 'rate'):.0f}", f"{median_of(turns, n, 'in_time_per_s'):.0f}",
                         f"{100 * median_of(turns, n, 'in_time_per_s') / median_of(turns, n, 'rate'):.0f} %",
                         f"{median_of(turns, n, 'late'):.0f}", f"{median_of(turns, n, 'failed'):.0f}", f"{median_of(turns, n, 'refused'):.0f}",
                         f"{median_of(turns, n, 'good_p50_us') / 1e3:.1f} ms", f"{median_of(turns, n, 'good_p99_us') / 1e3:.1f} ms",
                         f"{max(t['kinds'][n]['good_max_us'] for t in turns) / 1e3:.0f} ms"])
        together = statistics.median(sum(k["in_time_per_s"] for k in t["kinds"]) for t in turns)
        rows.append([who + "together", "", f"{together:.0f}", f"{100 * together / capacity:.0f} % of capacity", "", "", "", "", "", ""])
    print(f"{title} ({capacity:.0f} requests a second can be answered)")
    table(["", "offered/s", "in time/s", "of what it asks", "late", "504", "refused", "p50", "p99", "longest"], rows)


def run(seconds):
    results, rows = {}, []
    with server("quern-overload", "") as s:
        capacity = run_load(s, body(0), seconds, "--connections", 64)["rps"]
    cases = [("deadline told", "", TOLD_MS, 1.5), ("control: plain FIFO", FIFO, 0, 1.5), ("deadline told, 3 x", "", TOLD_MS, 3.0),
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
    together = {}
    compete("three priorities, 1.5 x", MIXES, capacity, 1.5, seconds, together)
    compete("three priorities, 3 x", MIXES, capacity, 3.0, seconds, together)
    compete("two clients, half of a share and five", CLIENTS, capacity, 1.0, seconds, together)
    longest = max(t["kinds"][2]["good_max_us"] for title in list(together)[:2] for t in together[title]["told"]) / 1e6
    print(f"longest answer of the low class: {longest:.2f} s, bound {LOW_BOUND_S:.1f} s: {'kept' if longest <= LOW_BOUND_S else 'MISSED'}")
    need_same_scheduling(list(results.values()) + [t for both in together.values() for turns in both.values() for t in turns])
    record("overload", {"capacity": capacity, "results": results, "together": together})
