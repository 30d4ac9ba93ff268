"""batching: a small MLP (784-512-256-10), raw bytes, 64 connections, one server core. Single-row requests that share runs, against the identity model's cost
and ONNX Runtime in a bare loop; requests of 32 rows against the bare loop at its best size. All in turns."""
import statistics

from measure import need_same_scheduling, record, table
from serving_common import bare_us, floats, model, run_load, up

COLUMNS, CONNECTIONS, TURNS, SIZES, LARGE = 784, 64, 5, (1, 2, 4, 8, 16, 32, 64, 128), 32
LOOP_PART = 0.4  # of a turn's seconds, for each size of the loop
SECONDS = 1


def config(name, path):
    return f'models: {{{name}: {{path: "{path}", isolation: process}}}}'


def a_turn(identity, mlp, path, seconds):
    loop = {rows: bare_us(path, rows, LOOP_PART * seconds) / rows for rows in SIZES}
    ask = lambda server, name, rows: run_load(server, f"/v2/models/{name}/infer", floats(f"rows-{rows}", COLUMNS * rows), seconds,
                                              "--connections", CONNECTIONS)
    results = {"identity": ask(identity, "identity", 1), "single": ask(mlp, "mlp784", 1), "large": ask(mlp, "mlp784", LARGE)}
    return {"loop": loop, **results}


def middle(turns, of):
    """Median, least and greatest over the turns."""
    values = [of(t) for t in turns]
    return statistics.median(values), f"{min(values):.2f}-{max(values):.2f}"


def us(name):
    return lambda t: t[name]["cpu_us_per_request"]


def run(seconds):
    path = model("mlp784")
    with up("batching-identity", config("identity", "builtin:identity")) as identity, up("batching-mlp", config("mlp784", path)) as mlp:
        turns = [a_turn(identity, mlp, path, seconds) for _ in range(TURNS)]
    loop = {rows: middle(turns, lambda t, rows=rows: t["loop"][rows]) for rows in SIZES}
    best = min(SIZES, key=lambda rows: loop[rows][0])
    goal = middle(turns, lambda t: us("identity")(t) + 1.2 * t["loop"][LARGE])
    times = middle(turns, lambda t: us("single")(t) / (us("identity")(t) + 1.2 * t["loop"][LARGE]))
    share = middle(turns, lambda t: 100 * LARGE * t["loop"][best] / us("large")(t))
    rows = [[f"bare loop, {n} row{'s' if n > 1 else ''}, a row", f"{m:.2f}", spread, "best" if n == best else ""] for n, (m, spread) in loop.items()]
    for text, of, goal_text in (("identity, a request", us("identity"), ""), ("mlp, 1-row requests", us("single"), f"{goal[0]:.2f}; {times[0]:.2f} x the goal"),
                                (f"mlp, {LARGE}-row requests, a row", lambda t: us("large")(t) / LARGE, f"{loop[best][0] / 0.9:.2f}")):
        m, spread = middle(turns, of)
        rows.append([text, f"{m:.2f}", spread, goal_text])
    table(["CPU us of all processes, medians", "", "min-max", "goal"], rows)
    print(f"mlp, {LARGE}-row requests: {share[0]:.1f} % of the bare loop's best rows/s (median of {TURNS} turns, {share[1]}); budget 90 %")
    print(f"mlp, 1-row: {times[0]:.3f} x (identity + 1.2 x a row of the loop at {LARGE}) (median of {TURNS} turns, {times[1]}); budget 1")
    need_same_scheduling([t[name] for t in turns for name in ("identity", "single", "large")])
    record("batching", {"turns": turns})
