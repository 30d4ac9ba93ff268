"""Everything at once for a while: right and wrong requests of both protocols, clients that leave or are slow, models on demand that do not
fit together, a cache, reloads, kill -9 of workers, stems and edges. No right request is lost beyond what docs/faults.md says, and afterwards
nothing is held that was not held before.

Short in the suite; QUERN_SOAK_SECONDS=600 makes it a soak."""

import json
import os
import pathlib

import pytest

import quern
import soak
from quern import wait_until

SECONDS = float(os.environ.get("QUERN_SOAK_SECONDS", 15))
SEED = os.environ.get("QUERN_SOAK_SEED", "1")
END_KIB = 9 << 10  # the master's resident memory at the end: 8.2 MiB, also after ten minutes; what leaks with each reload or death is more by then
DIMS = {"dims": str(soak.ROW)}


def configs():
    """The same models; each reload makes new lives of some of them."""

    def of(queue_max, delay):
        models = {
            "plain": {"path": "builtin:identity", "instances": 2, "parameters": DIMS, "queue_max": queue_max},
            "second": {"path": "builtin:identity", "instances": 1, "parameters": DIMS},
            "slow": {"path": "builtin:delay", "instances": 2, "parameters": {**DIMS, "execute_delay_ms": str(delay)}},
            "inline": {"path": "builtin:identity", "isolation": "inline", "parameters": DIMS, "queue_max": queue_max},
            "cached": {"path": "builtin:identity", "cache": "1MiB", "parameters": DIMS},
            "bad": {"path": "builtin:crash", "parameters": {"how": "segv"}},
        }
        for name in ("d1", "d2", "d3"):
            parameters = {**DIMS, "memory_mib": "20", "load_delay_ms": "30"}
            models[name] = {"path": "builtin:identity", "load": "on-demand", "instances": 1, "timeout": "60s", "parameters": parameters}
        if quern.engine()["installed"]:
            models["iris"] = {"path": str(quern.DATA / "iris.onnx"), "instances": 1, "threads": 1, "queue_max": queue_max}
        return json.dumps({"memory_budget": "1GiB" if quern.IS_SANITIZED else "130MiB", "models": models})

    return [of(1000, 5), of(1001, 5), of(1000, 7)]


def sessions(with_iris):
    plain = [(f, m) for f in (soak.predict, soak.infer_json, soak.infer_binary) for m in ("plain", "second", "slow", "inline")]
    others = [(soak.cached, "cached"), (soak.observe, None), *([(soak.iris, "iris")] if with_iris else [])]
    demand = [(soak.infer_json, m) for m in ("d1", "d2", "d3")]
    good = [soak.right(plain), soak.right(plain), soak.right(plain + others * 3), soak.right(demand)]
    return [*good, soak.bad_texts, soak.bad_heads, soak.damaged, soak.poison, soak.gone, soak.slow]


def held(pid):
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "segments": maps.count("memfd:"), "threads": len(os.listdir(f"/proc/{pid}/task"))}


def holdings(s):
    """What master and edge hold when nothing happens."""
    family = quern.children(s.process.pid)
    return {"master": held(s.master_pid), "edge": held(s.pids("edge")[0]), "processes": len(family), "shm": len(list(pathlib.Path("/dev/shm").glob("*quern*")))}


def rss_kib(pid):
    return int(quern.proc_status(pid)["VmRSS"].split()[0])


def at_rest(s, config):
    """Waits until nothing happens any more, in a state that is the same before and after: nothing on demand is loaded."""
    s.write_config(config)
    s.reload()
    s.wait_ready(60)
    for name in ("d1", "d2", "d3"):
        assert s.post(f"/v2/repository/models/{name}/unload", b"").status in (200, 404)  # 404: it is not loaded
    wait_until(lambda: s.api()["http"]["connections_open"] <= 1, 60, "the clients' end")
    states = lambda: {(v["name"], v["state"]) for v in s.status()["models"]}
    wait_until(lambda: {state for name, state in states() if not name.startswith("d")} == {"ready"}, 60, f"all ready: {states()}")
    wait_until(lambda: {p["state"] for p in s.processes("worker")} == {"ready"}, 60, "all workers")
    wait_until(lambda: len(quern.children(s.process.pid)) == len([p for p in s.status()["processes"] if p["pid"]]) - 1, 60, "no process that nobody knows")


def test_soak(serve):
    texts = configs()
    s = serve(config=texts[0], threads=3)
    has_iris = '"iris"' in texts[0]
    # A first round, so that what is made once has been made.
    soak.Soak(s, sessions(has_iris), texts, f"{SEED} first").run(min(5, SECONDS))
    at_rest(s, texts[0])
    before, rss = holdings(s), rss_kib(s.master_pid)
    k = soak.Soak(s, sessions(has_iris), texts, SEED)
    k.run(SECONDS)
    told = f"{k.counts}, {k.chaos.done}, {k.broken} broken by kills of edges, QUERN_SOAK_SEED={SEED}"
    print(told)
    assert not k.wrong, "\n".join([told, *k.wrong[:20], s.output()[1][-3000:]])
    assert k.counts["right"] > 10 * SECONDS and min(k.counts[x] for x in ("bad", "damaged", "poison", "gone", "slow")) > 0, told
    assert k.chaos.done["worker"] and k.chaos.done["edge"] and k.chaos.done["reload"], told
    at_rest(s, texts[0])
    wait_until(lambda: holdings(s) == before, 60, f"as much held as before: {before}, now {holdings(s)}")
    end = rss_kib(s.master_pid)
    print(f"master {rss} KiB, at the end {end} KiB")
    assert quern.IS_SANITIZED or end < END_KIB, f"the master grew from {rss} KiB to {end} KiB; {told}"
    assert len(list((s.data / "crashes").iterdir())) < 200
    assert not list(s.data.glob("uploads/*"))
