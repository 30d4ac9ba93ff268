"""Models on demand whose files and settings change: canaries, kept versions, roll-back, watched folders, deleted files, a whole repository."""

import concurrent.futures
import json
import shutil
import threading

import pytest

import quern
from quern import wait_until, within
from test_budget import SLACK_MIB, ask, config, loaded, models, of, workers
from test_repository import FLOWER, NEW, OLD, answer, put

SLOW = quern.SLOW


def onnx(path, **more):
    return {"m": {"path": str(path), "load": "on-demand", **more}}


def unload(s, name):
    assert s.post(f"/v2/repository/models/{name}/unload", b"").status == 200
    wait_until(lambda: of(s, name)["state"] == "unloaded", 10 * SLOW, "unloaded")


def lives(s, name):
    return [m for m in s.status()["memory"]["models"] if m["name"] == name]


def test_a_canary_of_a_loaded_model_and_the_old_one_stay_until_it_is_decided(serve):
    canary = {"canary": {"percent": 100, "for": "1h", "max_slower": 1000}}
    budget = 3 * (20 + SLACK_MIB)
    s = serve(config=config({**models(["a"], **canary), **models(["b"])}, budget))
    assert ask(s, "a")[0].status == 200
    s.write_config(config({**models(["a"], parameters={"dims": "3"}, **canary), **models(["b"])}, budget))
    s.reload()
    wait_until(lambda: any(m["state"] == "canary" for m in s.status()["models"]), 10 * SLOW, "the canary")
    assert ask(s, "b")[0].status == 200
    assert len(lives(s, "a")) == 2 and all(m["state"] == "loaded" for m in lives(s, "a"))
    assert ask(s, "a")[0].status == 200
    assert s.post("/api/models/a/promote", b"").status == 200
    wait_until(lambda: len([m for m in lives(s, "a") if m["state"] != "unloaded"]) == 1, 10 * SLOW, "one is left")
    assert s.get("/v2/models/a").json()["inputs"][0]["shape"] == [-1, 3]
    assert ask(s, "a")[0].status == 200


def test_a_canary_of_a_model_that_is_not_loaded_is_just_the_new_one(serve):
    canary = {"canary": {"percent": 50, "for": "1h"}}
    s = serve(config=config(models(["a"], **canary)))
    s.write_config(config(models(["a"], parameters={"dims": "3"}, **canary)))
    s.reload()
    assert ask(s, "a")[0].status == 200
    wait_until(lambda: [m["state"] for m in s.status()["models"]] == ["ready"], 5 * SLOW, "ready: nothing to be compared with")
    assert s.get("/v2/models/a").json()["inputs"][0]["shape"] == [-1, 3]


@pytest.mark.onnx
def test_keep_old_and_back(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=json.dumps({"models": onnx(tmp_path / "m", keep_old="60s")}))
    assert answer(s) == OLD
    put(tmp_path / "m", 2, "iris_names.onnx")
    s.reload()
    wait_until(lambda: answer(s) == NEW, 10 * SLOW, "the new one")
    wait_until(lambda: any(m["state"] == "kept" for m in lives(s, "m")), 10 * SLOW, "the old one is kept")
    assert s.post("/api/models/m/rollback", b"").status == 200
    wait_until(lambda: answer(s) == OLD, 10 * SLOW, "the old one again")
    r = s.post("/v2/repository/models/m/unload", b"")
    assert r.status == 404, "a version that the configuration does not want would not come back"
    assert answer(s) == OLD


def test_what_is_kept_goes_first_when_room_is_needed(serve):
    budget = 2 * (20 + SLACK_MIB) + SLACK_MIB
    s = serve(config=config({**models(["m"], keep_old="60s"), **models(["other"])}, budget))
    assert ask(s, "m")[0].status == 200
    s.write_config(config({**models(["m"], keep_old="60s", parameters={"dims": "3"}), **models(["other"])}, budget))
    s.reload()
    wait_until(lambda: sorted(m["state"] for m in lives(s, "m")) == ["kept", "loaded"], 10 * SLOW, "the old one is kept")
    assert ask(s, "other")[0].status == 200
    wait_until(lambda: loaded(s) == {"m", "other"} and len(lives(s, "m")) == 1, 10 * SLOW, "in the place of what was kept")
    assert s.get("/v2/models/m").json()["inputs"][0]["shape"] == [-1, 3]


@pytest.mark.onnx
def test_watched_files_change_and_go_while_loaded_and_unloaded(serve, tmp_path):
    file = tmp_path / "repo/m.onnx"
    file.parent.mkdir()
    shutil.copy(quern.DATA / "iris.onnx", file)
    repository = {"path": str(tmp_path / "repo"), "mode": "watch", "scan": "100ms", "settle": "200ms", "on_demand": True}
    s = serve(config=json.dumps({"repository": repository}))
    assert s.model("m")["state"] == "unloaded" and workers(s) == []
    shown = s.api()["models"][0]
    assert shown["file_bytes"] == file.stat().st_size and shown["backend"] == "onnx", "also before it was ever loaded"
    assert answer(s) == OLD
    aside = tmp_path / "m.new"
    shutil.copy(quern.DATA / "iris_names.onnx", aside)
    aside.rename(file)
    wait_until(lambda: answer(s) == NEW, 15 * SLOW, "the new file")
    unload(s, "m")
    shutil.copy(quern.DATA / "iris.onnx", aside)
    aside.rename(file)
    wait_until(lambda: answer(s) == OLD, 15 * SLOW, "the file that came while it was not loaded")
    file.unlink()
    wait_until(lambda: answer(s) == 404, 15 * SLOW, "it is gone")
    within(lambda: workers(s) == [], 10 * SLOW, "its worker too")
    shutil.copy(quern.DATA / "iris_names.onnx", aside)
    aside.rename(file)
    wait_until(lambda: answer(s) == NEW, 15 * SLOW, "it is back")


@pytest.mark.onnx
def test_a_file_that_is_deleted_while_loaded_is_missed_at_the_next_load(serve, tmp_path):
    file = tmp_path / "m.onnx"
    shutil.copy(quern.DATA / "iris.onnx", file)
    s = serve(config=json.dumps({"models": onnx(file)}))
    assert answer(s) == OLD
    file.unlink()
    assert answer(s) == OLD, "what is in memory serves"
    unload(s, "m")
    r = s.predict("m", FLOWER)
    assert r.status == 503 and "m" in r.json()["message"], r
    shutil.copy(quern.DATA / "iris_names.onnx", file)
    wait_until(lambda: answer(s) == NEW, 20 * SLOW, "it is there again and is tried again")



@pytest.mark.onnx
def test_versions_change_under_load(serve, tmp_path):
    put(tmp_path / "m", 1)
    s = serve(config=json.dumps({"models": onnx(tmp_path / "m", unload_after="100ms")}), threads=2)
    stop, seen = threading.Event(), []

    def go():
        while not stop.is_set():
            seen.append(answer(s))
            stop.wait(0.05)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(go) for _ in range(3)]
        for version in range(2, 7):
            put(tmp_path / "m", version, "iris_names.onnx" if version % 2 == 0 else "iris.onnx")
            s.reload()
            want = NEW if version % 2 == 0 else OLD
            wait_until(lambda want=want: answer(s) == want, 15 * SLOW, f"version {version}")
        stop.set()
        for caller in callers:
            caller.result()
    assert seen and set(seen) <= {OLD, NEW}, "no request failed"


@pytest.mark.onnx
def test_a_whole_repository_on_demand(serve, tmp_path):
    for name in ("a", "b", "c"):
        shutil.copy(quern.DATA / "iris.onnx", tmp_path / f"{name}.onnx")
    text = {"repository": {"path": str(tmp_path), "on_demand": True, "unload_after": "500ms"}, "models": {"b": {"load": "always"}}}
    s = serve(config=json.dumps(text))
    assert [m["load"] for m in s.status()["memory"]["models"]].count("on-demand") == 2
    assert loaded(s) == {"b"}
    assert answer(s, "a") == OLD
    within(lambda: loaded(s) == {"b"}, 10 * SLOW, "a is unloaded after its time")
    shown = quern.cli("model", "show", "c", "--data", s.data).stdout
    assert "repository.on_demand" in shown and " 0 B" not in shown and "onnx, isolation process" in shown, shown
