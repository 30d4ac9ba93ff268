#!/usr/bin/env python3
"""What kind of file is it? filetype.py FILE... (the demo's model `filetype`; standard library only)

The model reads the first and the last 1024 bytes, without white space at the ends, as small integers. One request
carries all files: the server runs them as one batch."""
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

SERVER = os.environ.get("QUERN_URL", "http://127.0.0.1:8000")
CONFIG = pathlib.Path(__file__).parent.parent / "build/demo/filetype.json"


def features(path, config):
    """The model's input row, or None for a file that is too short to say."""
    block = config["block_size"]
    with open(path, "rb") as file:
        head = file.read(block).lstrip()[:config["beg_size"]]
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - block))
        tail = file.read(block).rstrip()[-config["end_size"]:]
    if len(head) < config["min_file_size_for_dl"]:
        return None
    padding = config["padding_token"]
    return ([*head] + [padding] * (config["beg_size"] - len(head)) +
            [padding] * (config["end_size"] - len(tail)) + [*tail])


def ask(rows):
    body = {"inputs": [{"name": "bytes", "shape": [len(rows), len(rows[0])], "datatype": "INT32", "data": rows}]}
    request = urllib.request.Request(SERVER + "/v2/models/filetype/infer", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        output = json.load(answer)["outputs"][0]
    kinds = output["shape"][-1]
    return [output["data"][i * kinds:(i + 1) * kinds] for i in range(len(rows))]


def main(paths):
    if not paths:
        sys.exit(__doc__)
    config = json.loads(CONFIG.read_text())
    labels = config["target_labels_space"]
    try:
        rows = {path: features(path, config) for path in paths}
        known = [path for path in paths if rows[path]]
        scores = dict(zip(known, ask([rows[path] for path in known]) if known else []))
    except urllib.error.HTTPError as error:
        sys.exit(f"filetype.py: the server says {error.code}: {error.read().decode()}")
    except OSError as error:
        sys.exit(f"filetype.py: {error}")
    for path in paths:
        if path not in scores:
            print(f"{path}: too short to say")
            continue
        best = max(range(len(labels)), key=scores[path].__getitem__)
        print(f"{path}: {labels[best]} ({scores[path][best]:.0%})")


if __name__ == "__main__":
    main(sys.argv[1:])
