#!/usr/bin/env python3
"""The demo's self-check: asks every model about real input and looks at the answers."""
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent
SERVER = os.environ["QUERN_URL"]


def check_iris():
    check = json.loads((ROOT / "build/demo/iris-check.json").read_text())
    body = json.dumps({"modelId": "iris", "features": check["features"]}).encode()
    request = urllib.request.Request(SERVER + "/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        served = json.load(answer)["data"]["prediction"]
    same = sum(a == b for a, b in zip(served, check["expected"]))
    first = check["names"][served[0]]
    measures = ", ".join(f"{cm:.1f}" for cm in check["features"][0])
    print(f"  iris      a flower of {measures} cm is {first}; {same} of {len(check['expected'])} as scikit-learn says")
    return same == len(check["expected"]) == len(served)


def run(script, *files):
    return subprocess.run([sys.executable, ROOT / "examples" / script, *files], cwd=ROOT, capture_output=True, text=True,
                          check=False)


def check_filetype():
    expected = {"dev": "shell", "examples/hello.png": "png", "build/release/quern": "elf"}
    done = run("filetype.py", *expected)
    lines = done.stdout.splitlines()
    print("  filetype  " + ("; ".join(lines) or done.stderr.strip()))
    return len(lines) == 3 and all(f"{file}: {kind} " in done.stdout for file, kind in expected.items())


def check_ocr():
    done = run("ocr.py", "examples/hello.png")
    print("  ocr       examples/hello.png says: " + (done.stdout or done.stderr).strip())
    return "Quern turns a model into a service" in done.stdout


def main():
    failed = []
    for name, check in {"iris": check_iris, "filetype": check_filetype, "ocr": check_ocr}.items():
        try:
            good = check()
        except (OSError, KeyError, ValueError) as error:
            print(f"  {name:9} {error}")
            good = False
        if not good:
            failed.append(name)
    if failed:
        sys.exit(f"wrong answers: {', '.join(failed)}")


if __name__ == "__main__":
    main()
