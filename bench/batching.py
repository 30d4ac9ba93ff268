"""batching: a small MLP (784-512-256-10), raw bytes, 64 connections, one server core. Single-row requests that share runs, against the identity model's cost
and ONNX Runtime in a bare loop; requests of 32 rows against the bare loop at its best size, and beside them the least that a server can do for such requests
(floor.c). All in short turns, each compared with the loop before and after it."""
import statistics

from measure import FLOOR, Server, free_port, need_same_scheduling, record, table
from serving_common import bare_us, floats, model, run_load, up

COLUMNS, CONNECTIONS, SIZES, LARGE = 784, 64, (1, 2, 4, 8, 16, 32, 64, 128), 32
TURNS, LOAD_PART, LOOP_PART, WARM_UP = 15, 0.5, 0.2, 0.2  # parts of `seconds`, since the machine's speed changes from second to second
ROUNDS = 3   # of all the loop's sizes, before the turns
CLOSE = 1.06  # sizes that were so close to the best one take part in all turns
SECONDS = 1
FLOOR_ROWS = 128  # rows that the floor runs at once, the loop's best size or near it


def config(name, path):
    return f'models: {{{name}: {{path: "{path}", isolation: process}}}}'


def floor(path):
    port = free_port()
    return Server("batching-floor", [FLOOR, path, port, LARGE, FLOOR_ROWS], f"http://127.0.0.1:{port}/v2/health/ready")


def loop_at(sizes, path, seconds):
    """CPU us of a row."""
    return {rows: bare_us(path, rows, LOOP_PART * seconds) / rows for rows in sizes}


def median_of(loops, rows):
    return statistics.median(loop[rows] for loop in loops)


def best_of(loops):
    return min(loops[0], key=lambda rows: median_of(loops, rows))


def sizes_for_turns(scan):
    least = median_of(scan, best_of(scan))
    return [rows for rows in SIZES if rows == LARGE or median_of(scan, rows) <= CLOSE * least]


def a_turn(identity, mlp, least, seconds):
    def ask(server, name, rows):
        return run_load(server, f"/v2/models/{name}/infer", floats(f"rows-{rows}", COLUMNS * rows), LOAD_PART * seconds, "--connections", CONNECTIONS,
                        "--warmup", WARM_UP * seconds)
    return {"large": ask(mlp, "mlp784", LARGE), "floor": ask(least, "mlp784", LARGE), "single": ask(mlp, "mlp784", 1), "identity": ask(identity, "identity", 1)}


def middle(turns, of):
    """Median, least and greatest over the turns."""
    values = [of(t) for t in turns]
    return statistics.median(values), f"{min(values):.2f}-{max(values):.2f}"


def us(name):
    return lambda t: t[name]["cpu_us_per_request"]


def measure(identity, mlp, least, path, seconds):
    """All sizes of the loop; then the turns, each with the loop around it."""
    scan = [loop_at(SIZES, path, seconds) for _ in range(ROUNDS)]
    sizes = sizes_for_turns(scan)
    loops, turns = [loop_at(sizes, path, seconds)], []
    for _ in range(TURNS):
        turn = a_turn(identity, mlp, least, seconds)
        loops.append(loop_at(sizes, path, seconds))
        turns.append({"loop": {rows: (loops[-2][rows] + loops[-1][rows]) / 2 for rows in sizes}, **turn})
    return scan, loops, turns


def run(seconds):
    path = model("mlp784")
    with up("batching-identity", config("identity", "builtin:identity")) as identity, up("batching-mlp", config("mlp784", path)) as mlp, floor(path) as least:
        scan, loops, turns = measure(identity, mlp, least, path, seconds)
    best = best_of(loops)
    goal = lambda t: us("identity")(t) + 1.2 * t["loop"][LARGE]
    times = middle(turns, lambda t: us("single")(t) / goal(t))
    share = middle(turns, lambda t: 100 * LARGE * t["loop"][best] / us("large")(t))
    possible = middle(turns, lambda t: 100 * LARGE * t["loop"][best] / us("floor")(t))
    rows = []
    for n in SIZES:
        looked, where = (loops, "") if n in loops[0] else (scan, "before the turns only")
        m, spread = middle(looked, lambda loop, n=n: loop[n])
        rows.append([f"bare loop, {n} row{'s' if n > 1 else ''}, a row", f"{m:.2f}", spread, "best" if n == best else where])
    goals = {"single": f"{middle(turns, goal)[0]:.2f}; {times[0]:.2f} x the goal", "large": f"{median_of(loops, best) / 0.9:.2f}"}
    for text, of, goal_text in (("identity, a request", us("identity"), ""), ("mlp, 1-row requests", us("single"), goals["single"]),
                                (f"mlp, {LARGE}-row requests, a row", lambda t: us("large")(t) / LARGE, goals["large"]),
                                ("the floor, the same requests", lambda t: us("floor")(t) / LARGE, "")):
        m, spread = middle(turns, of)
        rows.append([text, f"{m:.2f}", spread, goal_text])
    table(["CPU us of all processes, medians", "", "min-max", "goal"], rows)
    print(f"mlp, {LARGE}-row requests: {share[0]:.1f} % of the bare loop's best rows/s (median of {TURNS} turns, {share[1]}); budget 90 %")
    print(f"the floor, {LARGE}-row requests: {possible[0]:.1f} % (median of {TURNS} turns, {possible[1]})")
    print(f"mlp, 1-row: {times[0]:.3f} x (identity + 1.2 x a row of the loop at {LARGE}) (median of {TURNS} turns, {times[1]}); budget 1")
    need_same_scheduling([t[name] for t in turns for name in ("identity", "single", "large", "floor")])
    record("batching", {"scan": scan, "loops": loops, "turns": turns})
