"""What `carboy docker` writes, from the facts of an app. tests/deployed/containers builds it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from carboy.cli import cli
from carboy.deployment.dockerfiles import NGINX_PATH
from carboy.serving.settings import make_settings

APP = """\
from carboy import Carboy
app = Carboy(__name__)
"""

MODEL = """
@app.model('/double', device='cuda:0')
def double(x: float) -> float:
    return 2 * x
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "My Shop"
    folder.mkdir()
    (folder / "shop.py").write_text(APP)
    (folder / "requirements.txt").write_text("carboy\nnumpy>=1\n")
    (folder / "static").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    forget_modules(folder)
    sys.modules.pop("shop", None)  # also if it was installed elsewhere


def forget_modules(folder) -> None:
    """Let the modules in a folder be imported again."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def docker(*options: str, target: str = "shop.py") -> str:
    result = CliRunner().invoke(cli, ["docker", target, *options])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*options: str) -> str:
    result = CliRunner().invoke(cli, ["docker", "shop.py", *options])
    assert result.exit_code == 2, result.output
    return result.output


def instructions(folder, name: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile, each time it is there."""
    text = (folder / "Dockerfile").read_text().replace("\\\n", "")
    return re.findall(rf"^{name} +(.*)$", text, re.MULTILINE)


def services(folder) -> dict:
    return yaml.safe_load((folder / "compose.yaml").read_text())["services"]


def test_app_is_started_in_exec_form_by_a_user_without_rights(project):
    docker()
    assert json.loads(instructions(project, "CMD")[0]) == ["carboy", "serve", "shop.py"]
    assert instructions(project, "USER") == ["1000:1000"]
    assert "ENTRYPOINT" not in (project / "Dockerfile").read_text()
    python = "{}.{}".format(*sys.version_info)
    assert instructions(project, "FROM")[0] == f"python:{python}-slim AS base"


def test_versions_of_this_environment_become_constraints(project):
    docker()
    lines = (project / "constraints.txt").read_text().splitlines()
    version = importlib.metadata.version("numpy")
    assert f"numpy=={version}" in lines
    assert f"werkzeug=={importlib.metadata.version('werkzeug')}" in lines  # carboy requires it
    assert not [line for line in lines if line.startswith(("carboy=", "pip=", "pytest="))]
    (pip,) = [each for each in instructions(project, "RUN") if "pip --python" in each]
    assert pip.split(" install ")[1].split()[1:] == [
        *("--constraint", "constraints.txt", "--requirement", "requirements.txt"),
        "./wheels/" + os.listdir("wheels")[0],
    ]


def test_constraints_that_exist_are_kept(project):
    (project / "constraints.txt").write_text("numpy==1.26.4\n")
    docker()
    assert (project / "constraints.txt").read_text() == "numpy==1.26.4\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("requirements.lock", "numpy==2.0.0\n", ["--requirement requirements.lock ./{wheel}"]),
        (
            "requirements.lock",
            "numpy==2.0.0 --hash=sha256:00\n",
            ["--requirement requirements.lock", "./{wheel}"],
        ),
        (
            "requirements.txt",
            "./{wheel}[docs]\n",
            ["--constraint constraints.txt --requirement requirements.txt"],
        ),
        (
            "pyproject.toml",
            '[project]\nname = "shop"\ndependencies = ["numpy"]\n',
            ["--constraint constraints.txt --requirement /dependencies.txt ./{wheel}"],
        ),
    ],
    ids=["lock", "lock with hashes", "carboy as a wheel", "pyproject"],
)
def test_packages_are_those_that_the_project_names(project, name, text, expected):
    docker()
    wheel = "wheels/" + os.listdir("wheels")[0]
    (project / "requirements.txt").unlink()
    (project / name).write_text(text.format(wheel=wheel))
    docker("--force")
    found = [
        each.split("check ")[1] for each in instructions(project, "RUN") if "pip --python" in each
    ]
    assert found == [each.format(wheel=wheel) for each in expected]


def test_included_requirements_are_copied_and_pinned(project):
    (project / "requirements").mkdir()
    (project / "requirements.txt").write_text("-r requirements/base.txt\n")
    (project / "requirements" / "base.txt").write_text("pandas  # tables\n-r more.txt\n")
    (project / "requirements" / "more.txt").write_text('numpy; python_version > "3"\n')
    docker()
    assert {"requirements/base.txt", "requirements/more.txt"} <= {
        each.split()[0] for each in instructions(project, "COPY")
    }
    pinned = re.findall("^[a-z-]+(?===)", (project / "constraints.txt").read_text(), re.MULTILINE)
    assert {"pandas", "python-dateutil", "numpy"} <= set(pinned)


def test_files_that_requirements_install_are_copied_first(project):
    (project / "requirements.txt").write_text(
        "./wheels/mine-1.0-py3-none-any.whl[docs]\nnumpy  # not a/path\n"
        "--find-links https://wheels.example/x/\n"
        'other @ https://wheels.example/other.whl ; sys_platform != "a/b"\n'
    )
    docker()
    copied = [each.split()[0] for each in instructions(project, "COPY")]
    assert "wheels/mine-1.0-py3-none-any.whl" in copied
    assert not [each for each in copied if "example" in each or "path" in each]


def test_torch_comes_as_wheels_for_cpus_unless_a_model_declares_a_device(project):
    (project / "requirements.txt").write_text("torch\n")
    # What pip writes when it has installed PyTorch: the tests do without its gigabyte.
    info = project / "torch-2.9.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1+cu128\n")
    docker()
    assert "torch==2.9.1\n" in (project / "constraints.txt").read_text()
    assert (
        "--extra-index-url https://download.pytorch.org/whl/cpu" in instructions(project, "RUN")[1]
    )
    assert "deploy" not in services(project)["app"]
    (project / "shop.py").write_text(APP + MODEL)
    del sys.modules["shop"]
    docker("--force")
    assert "pytorch.org" not in (project / "Dockerfile").read_text()
    (device,) = services(project)["app"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_folders_in_which_the_app_writes_are_volumes(project):
    config = "app.config.update(UPLOAD_FOLDER='uploads', LOG_FILE='logs/app.log')\n"
    (project / "shop.py").write_text(APP + config)
    docker("--volume", "cache/images", "--volume", "/var/lib/shop", "--volume", "/tmp/scratch")
    folders = [
        "/srv/my-shop/cache/images",
        "/srv/my-shop/logs",
        "/srv/my-shop/uploads",
        "/var/lib/shop",
    ]
    assert json.loads(instructions(project, "VOLUME")[0]) == folders
    assert instructions(project, "RUN")[-1].split()[-4:] == folders
    assert [each.split(":")[1] for each in services(project)["app"]["volumes"]] == folders
    assert "uploads\n" in (project / ".dockerignore").read_text()
    assert services(project)["app"]["read_only"]


def volumes(project) -> dict[str, str]:
    """Return the folders of the volumes in compose.yaml, by the names of the volumes."""
    composed = yaml.safe_load((project / "compose.yaml").read_text())
    found = dict(each.split(":") for each in composed["services"]["app"]["volumes"])
    assert list(composed["volumes"]) == list(found)
    return found


@pytest.mark.parametrize(
    "folders",
    [
        ["my data", "my-data"],
        ["a/b", "a-b"],
        ["uploads", "/uploads"],
        ["\u0434\u0430\u043d\u043d\u044b\u0435", "\u0444\u0430\u0439\u043b\u044b"],
        [".cache", "cache"],
        ["d", "e"],
        ["12", "null"],
    ],
    ids=["space", "slash", "root", "cyrillic", "dot", "letter", "yaml"],
)
def test_each_folder_has_a_volume_of_its_own(project, folders):
    docker(*(word for each in folders for word in ("--volume", each)))
    found = volumes(project)
    assert len(found) == len(folders)
    assert set(found.values()) == {os.path.join("/srv/my-shop", each) for each in folders}
    # Compose takes other names for folders of the host, or for drives of Windows.
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name) for name in found)


def test_image_of_a_project_with_a_number_as_its_name_has_a_text(project, monkeypatch):
    numbered = project.rename(project.parent / "2024")
    monkeypatch.chdir(numbered)
    docker()
    assert services(numbered)["app"]["image"] == "2024"


def test_name_of_a_volume_does_not_depend_on_the_other_volumes(project):
    docker("--volume", "my data")
    before = volumes(project)
    docker("--volume", "my data", "--volume", "my-data", "--force")
    assert before.items() <= volumes(project).items()


def ignored(project) -> list[str]:
    return (project / ".dockerignore").read_text().splitlines()


def test_check_finds_no_file_with_variables_in_the_image(project):
    (project / "deploy").mkdir()
    for name in (".env", ".env.prod", "prod.env", ".flaskenv", "deploy/db.env"):
        (project / name).write_text("SECRET_KEY=x\n")
    docker()
    done = CliRunner().invoke(cli, ["check", "shop.py", "--fail-level", "never"])
    assert done.exit_code == 0
    assert "E113" not in done.output
    (project / ".dockerignore").write_text("\n")
    done = CliRunner().invoke(cli, ["check", "shop.py", "--fail-level", "never"])
    assert "puts .env, .env.prod, .flaskenv, deploy/db.env, prod.env into the image" in done.output


def test_flaskenv_without_secrets_is_in_the_image_and_does_not_change_the_server(project):
    (project / ".flaskenv").write_text(
        "FLASK_APP=shop\nFLASK_ENV=development\nCARBOY_DEBUG=1\nCARBOY_SERVE_THREADS=3\n"
        "CARBOY_SERVE_PORT=5000\nFLASK_SERVE_HOST=127.0.0.1\nCARBOY_SERVE_WORKERS=16\nPORT=1\n"
    )
    docker()
    assert "**/.env" in ignored(project)
    assert "**/.flaskenv" not in ignored(project)
    assert "E113" not in CliRunner().invoke(cli, ["check", "shop.py"]).output
    pairs = [each.split("=") for each in " ".join(instructions(project, "ENV")).split()]
    # As a container does, which has no other variables.
    environ = {name: value for name, value in pairs if name not in {"PATH", "CARBOY_LOG_FILE"}}
    code = (
        "import carboy\nfrom carboy.cli.dotenv import load_dotenv\n"
        "from carboy.serving.settings import make_settings\n"
        "load_dotenv()\ns = make_settings({})\n"
        "print(carboy.Carboy('shop').debug, carboy.config.get_env(), s.host, s.port, s.threads)\n"
        "print(s.workers == make_settings({}, {}).workers)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False production 0.0.0.0 8000 3\nTrue\n", done.stderr


def test_flaskenv_with_a_secret_is_named_and_not_in_the_image(project):
    (project / ".flaskenv").write_text("FLASK_APP=shop\nSECRET_KEY=x\n")
    assert ".flaskenv is not in the image, because it has SECRET_KEY." in docker()
    assert "**/.flaskenv" in ignored(project)


@pytest.mark.parametrize("name", ["env", "logs", "tests", "deploy"])
def test_folder_that_is_a_package_of_the_app_is_in_the_image(project, monkeypatch, name):
    monkeypatch.delitem(sys.modules, name, raising=False)  # that of the tests of carboy
    docker()
    assert name in ignored(project)
    (project / name).mkdir(exist_ok=True)
    (project / name / "__init__.py").touch()
    (project / name / "later.py").touch()
    (project / "shop.py").write_text(f"import {name}\n{APP}")
    forget_modules(project)
    docker("--force")
    assert name not in ignored(project)


def test_modules_whose_names_look_like_secrets_are_in_the_image(project):
    """Files beside them may be secrets, and are not."""
    folder = project / "store" / "secrets"
    folder.mkdir(parents=True)
    for file in ("__init__.py", "later.py", "password.txt"):
        (folder / file).touch()
    (project / "store" / "__init__.py").touch()
    (project / "secret_keys.py").touch()
    (project / "secret_key_old.py").touch()
    (project / "shop.py").write_text(f"import secret_keys\nfrom store import secrets\n{APP}")
    docker()
    lines = ignored(project)
    assert [line for line in lines if line.startswith("!")] == [
        "!secret_keys.py",
        "!store/secrets/__init__.py",
        "!store/secrets/later.py",
    ]
    assert lines.index("**/secrets") < lines.index("!secret_keys.py") < lines.index("instance")


@pytest.mark.parametrize(
    ("proxy", "in_compose"), [(None, "1"), ("0", "1"), ("2", "2"), ("10.0.0.1", "1")]
)
def test_settings_that_are_set_here_hold_behind_nginx(project, monkeypatch, proxy, in_compose):
    monkeypatch.setenv("CARBOY_SERVE_MAX_BODY", "190M")
    monkeypatch.setenv("FLASK_SERVE_THREADS", "3")
    monkeypatch.setenv("CARBOY_SERVE_ACCESS_LOG", "json")
    monkeypatch.setenv("CARBOY_SERVE_BIND", "unix:/run/app.sock")
    monkeypatch.setenv("CARBOY_SERVE_SOCKET_MODE", "600")
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    if proxy is not None:
        monkeypatch.setenv("CARBOY_PROXY", proxy)
    docker()
    environment = services(project)["app"]["environment"]
    environment.pop("SECRET_KEY")
    settings = make_settings({}, environment)
    assert settings == make_settings(
        {"max_body": "190M", "threads": 3, "access_log": "json", "proxy": in_compose}, {}
    )
    nginx = (project / NGINX_PATH).read_text()
    assert f"client_max_body_size {190 * 1024 * 1024};" in nginx


def test_settings_that_fit_this_machine_only_are_not_in_compose(project, monkeypatch):
    docker()
    before = (project / "compose.yaml").read_text()
    monkeypatch.setenv("CARBOY_SERVE_WORKERS", "16")
    monkeypatch.setenv("CARBOY_SERVE_MEMORY_LIMIT", "4G")
    monkeypatch.setenv("CARBOY_SERVE_CONNECTIONS", "100")
    names = "CARBOY_SERVE_WORKERS, CARBOY_SERVE_MEMORY_LIMIT, CARBOY_SERVE_CONNECTIONS"
    assert names in docker()
    assert (project / "compose.yaml").read_text() == before


def test_app_that_reads_headers_of_proxies_itself_gets_no_setting_for_it(project, monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_THREADS", "3")
    fix = (
        "from werkzeug.middleware.proxy_fix import ProxyFix\napp.wsgi_app = ProxyFix(app.wsgi_app)"
    )
    (project / "shop.py").write_text(f"{APP}{fix}\n")
    docker()
    environment = services(project)["app"]["environment"]
    assert set(environment) == {"SECRET_KEY", "CARBOY_SERVE_THREADS"}


def test_value_of_a_setting_is_as_compose_reads_it(project, monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_ON", "ray")
    monkeypatch.setenv("CARBOY_SERVE_RAY_ADDRESS", "ray-$HOST:6379")
    (project / "shop.py").write_text(f"{APP}{MODEL.replace('device=', 'replicas=1, device=')}")
    docker()
    environment = services(project)["app"]["environment"]
    assert environment["CARBOY_SERVE_RAY_ADDRESS"] == "ray-$$HOST:6379"


def test_log_goes_to_stdout_if_a_variable_can_change_the_file(project):
    (project / "config.py").write_text("LOG_FILE = 'logs/app.log'\n")
    (project / "shop.py").write_text(APP + "app.config.from_project()\n")
    docker()
    assert "CARBOY_LOG_FILE=/dev/stdout" in instructions(project, "ENV")
    assert instructions(project, "VOLUME") == []


def test_port_is_that_of_the_option(project):
    docker("--port", "9123")
    assert instructions(project, "EXPOSE") == ["9123"]
    assert "PORT=9123" in " ".join(instructions(project, "ENV"))
    assert "app:9123" in (project / "deploy" / "nginx.compose.conf").read_text()


def test_relative_folder_outside_of_the_project_is_relative_in_the_container_too(project):
    (project / "shop.py").write_text(f"{APP}app.config['UPLOAD_FOLDER'] = '../uploads'\n")
    docker()
    assert json.loads(instructions(project, "VOLUME")[0]) == ["/srv/uploads"]


def package(project, config: str) -> None:
    """Make the app a package, with one more line of code."""
    (project / "shop").mkdir()
    (project / "shop.py").rename(project / "shop" / "__init__.py")
    with open(project / "shop" / "__init__.py", "a") as file:
        file.write(config)


def test_uploads_of_a_package_are_in_a_volume_and_not_in_the_image(project):
    package(project, "app.config['UPLOAD_FOLDER'] = 'uploads'\n")
    (project / "shop" / "uploads").mkdir()
    docker(target="shop")
    assert json.loads(instructions(project, "VOLUME")[0]) == ["/srv/my-shop/shop/uploads"]
    assert "shop/uploads" in ignored(project)


def test_package_of_the_app_is_refused_as_a_volume(project):
    package(project, "app.config['UPLOAD_FOLDER'] = '.'\n")
    result = CliRunner().invoke(cli, ["docker", "shop"])
    assert result.exit_code == 2
    assert "The app writes in the folder of the project itself or of its package" in result.output


def test_nginx_gets_the_static_folders_of_the_project(project):
    docker()
    assert services(project)["nginx"]["volumes"] == [
        "./deploy/nginx.compose.conf:/etc/nginx/conf.d/default.conf:ro",
        "./static:/srv/my-shop/static:ro",
    ]
    text = (project / "deploy" / "nginx.compose.conf").read_text()
    assert '"/srv/my-shop/static/"' in text
    assert text.startswith("# nginx in front of my-shop, made by `carboy docker`.")
    assert "# The app is served by: the service app of compose.yaml\n" in text


def test_code_in_a_folder_is_started_in_the_folder_of_the_project(project):
    (project / "src").mkdir()
    (project / "shop.py").rename(project / "src" / "shop.py")
    docker(target="src/shop.py")
    # As here: relative paths, such as that of a model, mean the same files.
    assert instructions(project, "WORKDIR") == ["/srv/my-shop", "/srv/my-shop"]
    assert json.loads(instructions(project, "CMD")[0])[-1] == "src/shop.py"


def test_package_that_is_on_the_path_by_an_editable_install_is_found_in_the_image(
    project, monkeypatch
):
    (project / "src").mkdir()
    (project / "shop.py").rename(project / "src" / "shop.py")
    monkeypatch.syspath_prepend(str(project / "src"))
    docker(target="shop:app")
    assert json.loads(instructions(project, "CMD")[0])[-1] == "src/shop:app"


def test_second_run_changes_nothing(project):
    docker()
    lines = docker().split("\n\n")[0].splitlines()
    assert lines
    assert {line.rpartition(": ")[2] for line in lines} == {"unchanged"}


def test_project_without_requirements_is_told_what_the_image_lacks(project):
    (project / "requirements.txt").unlink()
    assert "There is no requirements.txt: the image has carboy and nothing else." in docker()


def test_installed_package_is_refused_because_it_is_no_file_of_the_project(project, monkeypatch):
    installed = project.parent / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (project / "shop.py").rename(installed / "shop.py")
    monkeypatch.syspath_prepend(str(installed))
    result = CliRunner().invoke(cli, ["docker", "shop"])
    assert result.exit_code == 2, result.output
    assert "The module shop is installed" in result.output


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (
            {"requirements.txt": "-r ../all.txt\n"},
            [],
            "../all.txt, which the requirements include, is outside of the project",
        ),
        # As `pip freeze` writes what was installed from a file.
        (
            {"requirements.txt": "carboy @ file:///tmp/carboy-0.1.0-py3-none-any.whl#sha256=0\n"},
            [],
            "requirements.txt: 'carboy @ file:///tmp/carboy-0.1.0-py3-none-any.whl#sha256=0' is a",
        ),
        ({"requirements.txt": "-e .\n"}, [], "requirements.txt: '-e .' is a folder"),
        ({"requirements.txt": "../lib/x.whl\n"}, [], "'../lib/x.whl' is a file of this machine"),
        (
            {"requirements.txt": "-r gone.txt\n"},
            [],
            "gone.txt, from which the image would be installed, cannot be read",
        ),
        ({"requirements.txt": None, "pyproject.toml": "["}, [], "pyproject.toml: "),
        (
            {"requirements.txt": None, "pyproject.toml": "[tool.poetry]\n"},
            [],
            "pyproject.toml has no 'dependencies' in [project]",
        ),
        ({}, ["--volume", "."], "writes in the folder of the project itself"),
        ({}, ["--volume", "/"], "writes in the folder of the project itself"),
        # With these, Docker would make another folder a volume, or put the folder into the image.
        ({}, ["--volume", "$HOME"], "Docker cannot use a folder whose path contains"),
        ({}, ["--volume", "a:b"], "Docker cannot use a folder whose path contains"),
        ({}, ["--volume", "#1"], "Docker cannot use a folder whose path contains"),
        ({}, ["--volume", "a\nUSER root"], "Docker cannot use a folder whose path contains"),
        ({}, ["--port", "80"], "80 is not in the range 1024<=x<=65535"),
        ({}, ["--port", "9000"], "Port 9000 is that of the probes"),
    ],
)
def test_what_cannot_become_an_image_is_refused_in_a_line(project, files, options, message):
    for name, text in files.items():
        if text is None:
            (project / name).unlink()
        else:
            (project / name).write_text(text)
    before = sorted(os.listdir(project))
    assert message in " ".join(refused(*options).split())
    assert [name for name in sorted(os.listdir(project)) if name != "__pycache__"] == before
