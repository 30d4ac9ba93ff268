#!/usr/bin/env python3
"""Reads a line of text from a picture: ocr.py PICTURE... (the demo's model `ocr`; needs Pillow and numpy)

The picture goes to the server as the raw bytes of a tensor (no JSON numbers), and so does the answer come back: for
each place along the line, the probability of each of 6,625 characters."""
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

import numpy as np
from PIL import Image

SERVER = os.environ.get("QUERN_URL", "http://127.0.0.1:8000")
CHARACTERS = pathlib.Path(__file__).parent.parent / "build/demo/ocr-characters.json"
HEIGHT, LEAST_WIDTH, MOST_WIDTH = 48, 320, 4096


def pixels(path):
    """FP32 [1, 3, 48, width], blue first as the model was trained, -1 (black) to 1 (white)."""
    picture = Image.open(path).convert("RGB")
    width = min(MOST_WIDTH, max(1, round(HEIGHT * picture.width / picture.height)))
    array = np.asarray(picture.resize((width, HEIGHT), Image.BILINEAR), dtype=np.float32)[:, :, ::-1]
    tensor = np.zeros((1, 3, HEIGHT, max(width, LEAST_WIDTH)), dtype=np.float32)
    tensor[0, :, :, :width] = array.transpose(2, 0, 1) / 127.5 - 1
    return tensor


def ask(tensor):
    data = tensor.astype("<f4").tobytes()
    head = json.dumps({
        "inputs": [{"name": "x", "shape": list(tensor.shape), "datatype": "FP32",
                    "parameters": {"binary_data_size": len(data)}}],
        "parameters": {"binary_data_output": True},
    }).encode()
    request = urllib.request.Request(SERVER + "/v2/models/ocr/infer", head + data, {
        "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))})
    with urllib.request.urlopen(request, timeout=60) as answer:
        length = int(answer.headers["Inference-Header-Content-Length"])
        body = answer.read()
    output = json.loads(body[:length])["outputs"][0]
    return np.frombuffer(body, dtype="<f4", offset=length).reshape(output["shape"])


def text_of(scores, characters):
    """Best class at each place; repeats are one character, class 0 is none."""
    best = scores.argmax(axis=1)
    kept = [i for i in range(len(best)) if best[i] != 0 and (i == 0 or best[i] != best[i - 1])]
    text = "".join(characters[best[i]] for i in kept)
    return text, float(np.mean([scores[i, best[i]] for i in kept])) if kept else 0.0


def main(paths):
    if not paths:
        sys.exit(__doc__)
    characters = json.loads(CHARACTERS.read_text())
    for path in paths:
        try:
            text, sure = text_of(ask(pixels(path))[0], characters)
        except urllib.error.HTTPError as error:
            sys.exit(f"ocr.py: the server says {error.code}: {error.read().decode()}")
        except OSError as error:
            sys.exit(f"ocr.py: {path}: {error}")
        print(f"{text.strip()} ({sure:.0%})")


if __name__ == "__main__":
    main(sys.argv[1:])
