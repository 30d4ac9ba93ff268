"""What an operator does by command while quern runs: reload, promote, load and unload."""

import quern


def test_reload_by_command(serve):
    s = serve(config="models: {a: builtin:identity}")
    s.write_config("models: {a: builtin:identity, b: builtin:identity}")
    r = quern.cli("reload", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout.startswith("reloaded"), r.stderr
    quern.wait_until(lambda: s.predict("b", [1]).status == 200, 5, "the new model serves")
    s.write_config("models: {a: builtin:nothing}")
    r = quern.cli("reload", "--data", s.data)
    assert r.returncode == quern.EXIT_FAILED and r.stdout == ""
    assert "reload refused" in r.stderr and ":1:10: models.a.backend" in r.stderr
    assert s.predict("a", [1]).status == 200


def test_load_and_unload_by_command(serve):
    s = serve(config="repository: {mode: explicit, load: [a]}\nmodels: {a: builtin:identity, b: builtin:identity}")
    assert s.predict("b", [1]).status != 200
    r = quern.cli("model", "load", "b", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout == "b: loaded\n", r.stderr
    assert s.predict("b", [1]).status == 200, "the answer comes when it serves"
    r = quern.cli("model", "unload", "b", "--data", s.data)
    assert r.returncode == quern.EXIT_FINE and r.stdout == "b: unloaded\n", r.stderr
    assert s.predict("b", [1]).status != 200
    r = quern.cli("model", "load", "none", "--data", s.data)
    assert r.returncode == quern.EXIT_FAILED and "none" in r.stderr


def test_promote_without_a_trial_says_so(serve):
    s = serve("builtin:identity")
    r = quern.cli("model", "promote", "identity", "--data", s.data)
    assert r.returncode == quern.EXIT_FAILED and "identity" in r.stderr and r.stdout == ""


def test_nobody_there(tmp_path):
    for words in (("reload",), ("model", "promote", "m"), ("model", "load", "m"), ("request",)):
        r = quern.cli(*words, "--data", tmp_path)
        assert r.returncode == quern.EXIT_NOT_RUNNING
        assert f"no quern runs with the data directory {tmp_path}" in r.stderr
