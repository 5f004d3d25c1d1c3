"""The page of peers/carboy.py in an app without models."""

from __future__ import annotations

from carboy import Flask

app = Flask(__name__)


@app.route("/")
def index() -> str:
    return "Hello, World!"
