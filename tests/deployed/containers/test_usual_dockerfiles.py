"""Dockerfiles as tutorials of Flask have them, whose apps import carboy instead: `python app.py`,
and Apache with mod_wsgi-express.
"""

from __future__ import annotations

import pathlib

import containers
import guides
import pytest
from deployedapp import Asked, ask
from imageprojects import KEY, carboy

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

APP = """\
import os

from carboy import Flask, request, session

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]

@app.route("/")
def index():
    session["visits"] = session.get("visits", 0) + 1
    return "the prediction service"

@app.route("/predict", methods=["POST"])
def predict():
    return {"prediction": sum(request.get_json()["features"])}

if __name__ == "__main__":
    app.run(host='0.0.0.0')
"""

# As docs/howto/docker.md has it.
PYTHON_APP = next(
    block.text
    for block in guides.blocks(guides.DOCS / "howto" / "docker.md")
    if block.language == "dockerfile"
)

MOD_WSGI = """\
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends \\
    apache2 apache2-dev gcc libc6-dev python3-dev
COPY ./requirements.txt /var/www/predict_api/requirements.txt
COPY ./wheels /var/www/predict_api/wheels
WORKDIR /var/www/predict_api
RUN pip install -r requirements.txt mod_wsgi==5.0.2
COPY ./flask.wsgi /var/www/predict_api/flask.wsgi
COPY ./app.py /var/www/predict_api/app.py
RUN mod_wsgi-express install-module
RUN mod_wsgi-express setup-server flask.wsgi --port=8000 --user www-data --group www-data \\
    --server-root=/etc/mod_wsgi-express-80 --threads 5 --processes 2
EXPOSE 8000
CMD /etc/mod_wsgi-express-80/apachectl start -D FOREGROUND
"""

WSGI = """\
import sys
sys.path.insert(0, '/var/www/predict_api')

from app import app as application
"""


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """The files of such a project: its app, its requirements, and carboy's wheel."""
    carboy(tmp_path, "new", "service")
    folder = tmp_path / "service"
    (folder / "app.py").write_text(APP)
    (folder / "flask.wsgi").write_text(WSGI)
    return folder


def check_answers(url: str) -> None:
    assert ask(url, Asked("", "GET", "/")).body == "the prediction service"
    body = b'{"features": [1, 2, 3]}'
    headers = {"Content-Type": "application/json"}
    assert ask(url, Asked("", "POST", "/predict", headers, body)).body == '{"prediction":6}\n'


def test_python_app_py_answers_on_its_published_port(project, tmp_path):
    image = containers.build_text(PYTHON_APP, project, "python-app")
    environ = {"SECRET_KEY": KEY}
    with containers.run(image, tmp_path, environ=environ, port=5000, read_only=False) as container:
        container.wait_until_it_answers()
        check_answers(container.url)


def test_apache_with_mod_wsgi_express_answers_on_its_published_port(project, tmp_path):
    image = containers.build_text(MOD_WSGI, project, "mod-wsgi-express")
    environ = {"SECRET_KEY": KEY}
    with containers.run(image, tmp_path, environ=environ, read_only=False) as container:
        container.wait_until_it_answers()
        check_answers(container.url)
