"""What a user writes today with Flask and scikit-learn; run by gunicorn with one worker."""
import os

import joblib
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load(os.environ["IRIS_MODEL"])


@app.get("/health")
def health():
    return "ok"


@app.post("/predict")
def predict():
    rows = [request.get_json()["features"]]
    label = model.predict(rows)[0]
    probabilities = model.predict_proba(rows)[0]
    return jsonify({"code": 200, "message": "success",
                    "data": {"prediction": int(label), "probabilities": probabilities.tolist()}})
