"""triton: Triton Inference Server (in two scheduling classes) and quern in one run: identity as JSON, a batched MLP and a CNN in binary, start, memory, the end,
and a model replaced under load."""
import triton_life
import triton_load
from measure import need, record
from triton_peer import install

# Of each of three measurements of each server: the whole takes some eight minutes.
SECONDS = 3


def verdict(loaded, ended, started):
    """What was asked for and is not reached, in a line each."""
    goals = [("identity, process, 16 connections", loaded["identity"][16]["ratios"]["quern identity, process"], 2.5),
             ("identity, inline, 16 connections", loaded["identity"][16]["ratios"]["quern identity, inline"], 3.5),
             ("identity, process, 64 connections", loaded["identity"][64]["ratios"]["quern identity, process"], 2.5),
             ("identity, inline, 64 connections", loaded["identity"][64]["ratios"]["quern identity, inline"], 3.5),
             ("MLP", loaded["mlp"]["ratios"]["quern mlp784"], 2.5), ("CNN", loaded["cnn"]["ratios"]["quern mobilenet"], 1.05),
             ("start", triton_life.start_ratio(started), 2), ("end with an idle client", 1 / max(ended["idle client"]["quern"], 1e-3), 1)]
    missed = [f"{what}: {found:.2f} x, goal {goal}" for what, found, goal in goals if found < goal]
    print("\nEvery goal is reached." if not missed else "\nMISSED " + "\nMISSED ".join(missed))
    return missed


def run(seconds):
    need("taskset", "chrt", "cc", "nginx")
    install()
    loaded = {"identity": triton_load.identity(seconds), "mlp": triton_load.mlp(seconds), "cnn": triton_load.cnn(seconds)}
    started, memory, ended = triton_life.starts(), triton_life.memory(), triton_life.ends()
    reloads = triton_life.reloads(seconds)
    missed = verdict(loaded, ended, started)
    record("triton", {"loaded": loaded, "started": started, "memory": memory, "ended": ended, "reloads": reloads, "missed": missed})
