"""The parts of configuration files in the documentation are what other programs accept."""

from __future__ import annotations

import configparser
import shlex

import guides
import kubernetes_validate
import nginxserver
import pytest
import yaml

from carboy.serving.process.command import serve_command

HOWTO = guides.DOCS / "howto"


def block(page: str, language: str, begins: str) -> str:
    (text,) = (
        each.text
        for each in guides.blocks(HOWTO / page)
        if each.language == language and each.text.startswith(begins)
    )
    return text


@pytest.mark.integration
@pytest.mark.parametrize(
    ("page", "begins"),
    [
        ("addresses-and-tls.md", "location / {"),
        ("behind-a-proxy.md", "location /shop/ {"),
        ("other-servers.md", "location / {"),
    ],
)
def test_nginx_accepts_a_location(page: str, begins: str, tmp_path):
    file = tmp_path / "site.conf"
    location = block(page, "nginx", begins).replace("include uwsgi_", "include /etc/nginx/uwsgi_")
    file.write_text(f"server {{\n    listen unix:{tmp_path}/http.sock;\n{location}}}\n")
    nginxserver.check(tmp_path, file)


def test_container_with_probes_is_one_of_kubernetes():
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop"},
        "spec": yaml.safe_load(block("probes.md", "yaml", "containers:")),
    }
    pod["spec"]["containers"][0]["image"] = "shop"
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert_options_exist(pod["spec"]["containers"][0]["args"][1:])


def test_unit_of_systemd_starts_the_server_with_options_that_exist():
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment]  # names of systemd have capitals
    parser.read_string(block("ctl.md", "ini", "[Service]"))
    program, *words = shlex.split(parser["Service"]["ExecStart"])
    assert program.endswith("/bin/carboy")
    assert_options_exist(words)


def test_targets_of_prometheus_are_a_configuration_of_it():
    (job,) = yaml.safe_load(block("metrics.md", "yaml", "scrape_configs:"))["scrape_configs"]
    assert job == {"job_name": "shop", "static_configs": [{"targets": ["127.0.0.1:9000"]}]}


def assert_options_exist(words: list[str]) -> None:
    command, *arguments = words
    assert command == "serve"
    serve_command.make_parser(serve_command.context_class(serve_command)).parse_args(arguments)
