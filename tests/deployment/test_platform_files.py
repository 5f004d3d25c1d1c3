"""`carboy deploy` writes files that platforms accept, with what it knows of the app."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
import typing as t

import guides
import jsonschema
import kubernetes_validate
import platformschemas
import pytest
import spawning
import yaml
from click.testing import Result
from clirunner import separate_runner
from polling import wait_until

from carboy.cli import cli
from carboy.core.processmemory import ProcessMemory
from carboy.deployment.platforms.deploycommand import PLATFORMS
from carboy.deployment.platforms.sizing import room_for
from carboy.serving.metrics import families
from carboy.serving.process.capacity import Measurement

if t.TYPE_CHECKING:
    import collections.abc as cabc

APP = "from carboy import Carboy\napp = Carboy(__name__)\n"
PROJECT = f"{APP}app.config.from_project()\n"
MODELS = f"{APP}@app.model('/double')\ndef double(x: float) -> float:\n    return 2 * x\n"
FILES = {
    "cloudrun": "deploy/service.yaml",
    "fly": "fly.toml",
    "heroku": "Procfile",
    "render": "render.yaml",
    "spaces": "README.md",
    "k8s": "deploy/k8s.yaml",
}
SCHEMAS = {
    "cloudrun": platformschemas.CLOUD_RUN,
    "fly": platformschemas.FLY,
    "render": platformschemas.RENDER,
    "spaces": platformschemas.SPACE,
}
each_platform = pytest.mark.parametrize("platform", FILES)


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[pathlib.Path]:
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    sys.modules.pop("app", None)


def deploy(platform: str, *options: str, source: str = APP) -> Result:
    """Run the command in the current folder, for an app with this source text."""
    pathlib.Path("app.py").write_text(source)
    sys.modules.pop("app", None)
    stated = () if "--memory" in options else ("--memory", "100M")
    return separate_runner().invoke(cli, ["deploy", "--to", platform, *stated, *options])


def written(platform: str, *options: str, source: str = APP) -> str:
    """Return the text of the platform's file."""
    result = deploy(platform, *options, source=source)
    assert result.exit_code == 0, result.output
    return pathlib.Path(FILES[platform]).read_text()


def parsed(platform: str, *options: str, source: str = APP) -> t.Any:
    """Return the content of the platform's file; of several documents, a list."""
    text = written(platform, *options, source=source)
    if platform == "fly":
        return tomllib.loads(text)
    if platform == "spaces":
        return yaml.safe_load(text.split("---\n")[1])
    documents = list(yaml.safe_load_all(text))
    return documents if platform == "k8s" else documents[0]


def container(platform: str, *options: str, source: str = APP) -> dict[str, t.Any]:
    """Return the container of a Deployment, or of a service of Cloud Run."""
    content = parsed(platform, *options, source=source)
    top = content[0] if platform == "k8s" else content
    return t.cast("dict[str, t.Any]", top["spec"]["template"]["spec"]["containers"][0])


def variables(platform: str, *options: str, source: str = APP) -> dict[str, str]:
    """Return the environment variables in the platform's file."""
    content = parsed(platform, *options, source=source)
    if platform == "fly":
        return t.cast("dict[str, str]", content["env"])
    if platform == "render":
        return {each["key"]: each.get("value", "") for each in content["services"][0]["envVars"]}
    found = container(platform, *options, "--force", source=source)["env"]
    return {each["name"]: each.get("value", "") for each in found}


def test_each_platform_has_a_file():
    assert sorted(PLATFORMS) == sorted(FILES)


# ------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize("platform", SCHEMAS)
@pytest.mark.parametrize("source", [APP, PROJECT, MODELS], ids=["views", "project", "models"])
def test_file_has_the_documented_keys(platform, source):
    jsonschema.validate(parsed(platform, source=source), SCHEMAS[platform])


def test_cloud_build_makes_the_image_of_the_service_with_buildkit():
    # Without BuildKit, Docker refuses the mounts (RUN --mount) of the Dockerfile.
    image = "europe-docker.pkg.dev/shop/apps/shop:1"
    assert container("cloudrun", "--image", image)["image"] == image
    build = yaml.safe_load(pathlib.Path("deploy/cloudbuild.yaml").read_text())
    assert build["steps"] == [
        {
            "name": "gcr.io/cloud-builders/docker",
            "env": ["DOCKER_BUILDKIT=1"],
            "args": ["build", "--tag", image, "."],
        }
    ]
    assert build["images"] == [image]
    assert "builds submit --config deploy/cloudbuild.yaml" in deploy("cloudrun", "--force").output


@pytest.mark.parametrize("source", [APP, PROJECT, MODELS], ids=["views", "project", "models"])
@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_kubernetes_accepts_each_document(version, source):
    documents = parsed("k8s", source=source)
    assert [document["kind"] for document in documents] == [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    ]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_pods_are_added_if_many_predictions_wait_in_each():
    deployment, _, autoscaler, _ = parsed("k8s", "--queue-depth", "8", source=MODELS)
    by_cpu, by_queue = autoscaler["spec"]["metrics"]
    assert by_cpu["type"] == "Resource"
    assert by_queue["pods"]["metric"]["name"] == families.QUEUE_DEPTH.name
    assert by_queue["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}
    template = deployment["spec"]["template"]
    found = {
        key.partition("/")[2]: value for key, value in template["metadata"]["annotations"].items()
    }
    ports = template["spec"]["containers"][0]["ports"]
    assert (
        int(found["port"]) == {each["name"]: each for each in ports}["management"]["containerPort"]
    )
    assert found["path"] == "/metrics"
    for document in (deployment, autoscaler):
        kubernetes_validate.validate(document, "1.30", strict=True)
    plain = parsed("k8s", "--force", source=MODELS)
    assert "annotations" not in plain[0]["spec"]["template"]["metadata"]
    assert plain[2]["spec"]["metrics"] == [by_cpu]


@pytest.mark.parametrize(
    ("platform", "source", "words"),
    [("fly", MODELS, "has no effect with Fly.io"), ("k8s", APP, "this app has none")],
)
def test_queue_depth_that_would_have_no_effect_is_refused(platform, source, words):
    result = deploy(platform, "--queue-depth", "8", source=source)
    assert result.exit_code == 2
    assert words in result.stderr


# --------------------------------------------------------------------------- a cluster of KubeRay

ON_RAY = MODELS.replace("('/double')", "('/double', replicas=(1, 10))")


def on_ray(*options: str, source: str = ON_RAY) -> tuple[list[t.Any], list[t.Any]]:
    """Return the documents of the Ray cluster, and those of the app that uses it."""
    app = parsed("k8s", "--on", "ray", "--force", *options, source=source)
    return list(yaml.safe_load_all(pathlib.Path("deploy/raycluster.yaml").read_text())), app


def pods_of(cluster: t.Any) -> list[t.Any]:
    groups = (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"])
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("device", ["", ", device='cuda:0'"])
def test_kubernetes_and_kuberay_accept_each_document_of_a_cluster(version, device):
    (cluster, *others), app = on_ray(source=ON_RAY.replace("10))", f"10){device})"))
    jsonschema.validate(cluster, platformschemas.RAY_CLUSTER)
    for pod in pods_of(cluster):
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": pod}
        kubernetes_validate.validate(document, version, strict=True)
    assert {document["kind"] for document in others} == {"PodDisruptionBudget", "NetworkPolicy"}
    for document in (*others, *app):
        kubernetes_validate.validate(document, version, strict=True)


def test_pod_of_the_app_is_a_node_on_which_nothing_computes():
    (cluster, *_), (deployment, *_) = on_ray()
    pod = deployment["spec"]["template"]["spec"]
    (node,), (app,) = pod["initContainers"], pod["containers"]
    assert pod["shareProcessNamespace"]  # Ray finds the node among the processes
    assert node["restartPolicy"] == "Always"  # so that it runs beside the app, and ends after it
    assert {"--num-cpus=0", "--num-gpus=0"} <= {*node["command"]}
    address = next(part for part in node["command"] if part.startswith("--address="))
    service = f"{cluster['metadata']['name']}-head-svc:6379"
    assert address == f"--address={service}"
    found = {each["name"]: each.get("value") for each in app["env"]}
    assert found["CARBOY_SERVE_ON"] == "ray"
    assert found["CARBOY_SERVE_RAY_ADDRESS"] == service
    folders = [{m["mountPath"]: m["name"] for m in each["volumeMounts"]} for each in (node, app)]
    assert folders[0].items() <= folders[1].items()
    assert folders[0].keys() == {"/tmp", "/dev/shm"}


def test_all_containers_of_a_cluster_have_one_image_and_one_token():
    (cluster, *_), (deployment, *_) = on_ray("--image", "registry.example/shop:3")
    pod = deployment["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    containers += [each for pod in pods_of(cluster) for each in pod["containers"]]
    assert {each["image"] for each in containers} == {"registry.example/shop:3"}
    tokens = [variable for each in containers for variable in each["env"]
              if variable["name"] == "RAY_AUTH_TOKEN"]  # fmt: skip
    key = {"secretKeyRef": {"name": "shop-ray", "key": "auth_token"}}
    assert [each["valueFrom"] for each in tokens] == [key] * 4
    for each in containers:
        assert each["securityContext"]["readOnlyRootFilesystem"]


def test_only_pods_of_the_app_and_of_its_cluster_reach_ray():
    (cluster, _, policy), (deployment, *_, policy_of_app) = on_ray()
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ours = {"ray.io/cluster": cluster["metadata"]["name"]}  # KubeRay labels its pods so
    peers = [{"podSelector": {"matchLabels": each}} for each in (labels, ours)]
    assert policy["spec"]["podSelector"]["matchLabels"] == ours
    assert policy["spec"]["ingress"] == [{"from": peers}]
    assert policy_of_app["spec"]["podSelector"]["matchLabels"] == labels
    http, ray = policy_of_app["spec"]["ingress"]
    assert http == {"ports": [{"port": "http"}, {"port": "management"}]}
    assert ray == {"from": peers}


def test_gpus_are_where_the_models_compute():
    (cluster, *_), (deployment, *_) = on_ray(source=ON_RAY.replace("10))", "10), device='cuda')"))
    head, worker = pods_of(cluster)
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    (app,) = deployment["spec"]["template"]["spec"]["containers"]
    for each in (head["containers"][0], app):
        assert "nvidia.com/gpu" not in each["resources"]["limits"]


def test_next_commands_make_the_token_and_name_what_the_image_lacks():
    result = deploy("k8s", "--on", "ray", source=ON_RAY)
    assert "kubectl create secret generic shop-ray --from-literal=auth_token=$(" in result.stdout
    assert "kubectl apply -f deploy/raycluster.yaml -f deploy/k8s.yaml" in result.stdout
    assert "The image needs Ray: add a line such as 'ray==" in result.stdout
    for line in ("ray==2.60.0", "./wheels/carboy-0.1.0-py3-none-any.whl[ray]"):
        pathlib.Path("requirements.txt").write_text(f"numpy\n{line}\n")
        assert "The image needs Ray" not in deploy("k8s", "--on", "ray", source=ON_RAY).stdout
    pathlib.Path("requirements.txt").write_text("raylib\n")
    assert "The image needs Ray" in deploy("k8s", "--on", "ray", source=ON_RAY).stdout


@pytest.mark.parametrize(
    ("platform", "options", "source", "words"),
    [
        ("fly", (), ON_RAY, "--on ray is for k8s only"),
        ("k8s", (), MODELS, "models with replicas= do"),
        ("k8s", ("--queue-depth", "8"), ON_RAY, "--queue-depth and --on ray exclude each other"),
        ("k8s", ("--name", "a" * 47), ON_RAY, "a name has at most 46 characters"),
    ],
)
def test_cluster_that_cannot_be_used_is_refused(platform, options, source, words):
    result = deploy(platform, "--on", "ray", *options, source=source)
    assert result.exit_code == 2
    assert words in result.stderr


def test_container_of_cloud_run_is_one_of_kubernetes():
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop"},
        "spec": {"containers": [{"name": "app", **container("cloudrun", source=PROJECT)}]},
    }
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_probes_of_cloud_run_stay_within_its_limits():
    app = container("cloudrun", source=MODELS)
    for probe in (app["startupProbe"], app["livenessProbe"]):
        assert probe["timeoutSeconds"] <= probe["periodSeconds"]
    startup = app["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] <= 240


def test_documents_of_kubernetes_select_the_pods():
    deployment, service, autoscaler, budget = parsed("k8s")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_how_to_scales_by_documented_keys_and_by_a_metric_that_exists():
    page = (guides.DOCS / "howto" / "platforms.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    scaled = yaml.safe_load(block)
    jsonschema.validate(scaled, platformschemas.KEDA)
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    assert families.QUEUE_DEPTH.name in query


def test_procfile_has_one_process_of_the_web():
    lines = [line for line in written("heroku").splitlines() if not line.startswith("#")]
    assert len(lines) == 1
    assert re.fullmatch(r"web: carboy serve app:app( --[a-z-]+ [0-9.]+)+", lines[0])


@pytest.mark.parametrize("platform", ["heroku", "render"])
def test_python_version_is_that_of_the_project(platform):
    written(platform)
    version = pathlib.Path(".python-version").read_text()
    assert version == "{}.{}\n".format(*sys.version_info)


@each_platform
def test_file_says_that_it_was_made_by_a_command(platform):
    assert f"# Made by 'carboy deploy --to {platform}'" in written(platform)


@pytest.mark.parametrize("platform", ["cloudrun", "fly", "render", "k8s"])
def test_target_that_needs_quotes_is_quoted(platform):
    source = "from carboy import Carboy\ndef make(name):\n    return Carboy(name)\n"
    target = "app:make('x: \"y\"')"
    assert parsed(platform, target, source=source)


@pytest.mark.parametrize("target", [None, "app", "app.py", "app:app", "{folder}/app.py:app"])
def test_start_command_works_in_the_folder_of_the_project(folder, target):
    chosen = [] if target is None else [target.format(folder=folder)]
    (line,) = re.findall("^web: carboy serve ([^ ]+) ", written("heroku", *chosen), re.MULTILINE)
    expected = "app:app" if target is None else target.removeprefix("{folder}/")
    assert line == expected


def test_program_for_flask_is_served_as_one(monkeypatch):
    monkeypatch.setenv("CARBOY_AS_FLASK", "1")
    assert "web: carboy --as-flask serve app:app " in written("heroku")


def test_start_command_is_quoted_for_the_shell():
    source = "from carboy import Carboy\ndef make(name):\n    return Carboy(name)\n"
    service = parsed("render", 'app:make("x")', source=source)["services"][0]
    assert service["startCommand"] == "carboy serve 'app:make(\"x\")'"


# -------------------------------------------------------------------------------- what is known


@pytest.mark.parametrize("platform", ["cloudrun", "fly", "render", "k8s"])
def test_app_with_models_is_ready_only_with_one(platform):
    assert "CARBOY_SERVE_MIN_MODELS" not in variables(platform)
    assert variables(platform, "--force", source=MODELS)["CARBOY_SERVE_MIN_MODELS"] == "1"


def test_app_with_models_has_one_worker_on_heroku_which_sets_two():
    assert "--workers" not in written("heroku")
    assert "--workers 1" in written("heroku", "--force", source=MODELS)


@pytest.mark.parametrize("platform", ["cloudrun", "fly", "render", "k8s"])
def test_settings_that_are_set_here_hold_on_the_platform(platform, monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_MAX_BODY", "190M")
    monkeypatch.setenv("FLASK_SERVE_THREADS", "3")
    monkeypatch.setenv("CARBOY_SERVE_MIN_MODELS", "2")
    monkeypatch.setenv("CARBOY_SERVE_TLS_CERT", "cert.pem")
    monkeypatch.setenv("CARBOY_SERVE_ON", "local")
    found = variables(platform, source=MODELS)
    assert found["CARBOY_SERVE_MAX_BODY"] == "190M"
    assert found["CARBOY_SERVE_THREADS"] == "3"
    assert found["CARBOY_SERVE_MIN_MODELS"] == "2"
    assert not found.keys() & {"CARBOY_SERVE_TLS_CERT", "CARBOY_SERVE_ON"}


@each_platform
def test_settings_that_fit_this_machine_only_are_left_out_and_named(platform, monkeypatch):
    before = written(platform)
    monkeypatch.setenv("CARBOY_SERVE_WORKERS", "16")
    monkeypatch.setenv("FLASK_SERVE_MEMORY_LIMIT", "4G")
    monkeypatch.setenv("CARBOY_SERVE_CONNECTIONS", "100")
    result = deploy(platform)
    assert result.exit_code == 0, result.output
    assert pathlib.Path(FILES[platform]).read_text() == before
    names = "CARBOY_SERVE_WORKERS, FLASK_SERVE_MEMORY_LIMIT, CARBOY_SERVE_CONNECTIONS"
    assert f"has other CPUs and memory: {names}." in result.stdout


def test_settings_that_are_set_here_are_options_on_heroku(monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_MAX_BODY", "190M")
    monkeypatch.setenv("CARBOY_SERVE_ACCESS_LOG_QUERY", "yes")
    assert "--access-log-query yes" in (text := written("heroku"))
    assert "--max-body 190M" in text


@pytest.mark.parametrize(
    ("deadline", "seconds"), [("1", 300), ("1000", 1005), ("9000", 3600), ("None", 3600)]
)
def test_cloud_run_waits_as_long_as_the_slowest_route(deadline, seconds):
    source = MODELS.replace("'/double'", f"'/double', deadline_s={deadline}")
    assert (
        parsed("cloudrun", source=source)["spec"]["template"]["spec"]["timeoutSeconds"] == seconds
    )


@pytest.mark.parametrize("platform", ["cloudrun", "render"])
def test_secret_key_comes_from_the_platform_if_the_app_reads_it(platform):
    assert "SECRET_KEY" not in variables(platform)
    assert variables(platform, "--force", source=PROJECT)["SECRET_KEY"] == ""


@each_platform
def test_secret_is_in_no_file_and_no_output(platform, monkeypatch):
    pathlib.Path(".env").write_text("SECRET_KEY=in-the-file-0123456789\n")
    monkeypatch.setenv("DATABASE_PASSWORD", "in-the-environment-0123456789")
    result = deploy(platform, source=PROJECT)
    for text in (result.output, pathlib.Path(FILES[platform]).read_text()):
        assert "in-the-environment" not in text
        assert "in-the-file" not in text


@pytest.mark.parametrize("platform", ["cloudrun", "fly", "render", "k8s"])
def test_app_with_proxy_fix_reads_the_headers_itself(platform):
    fixed = (
        "from werkzeug.middleware.proxy_fix import ProxyFix\n"
        f"{APP}app.wsgi_app = ProxyFix(app.wsgi_app)\n"
    )
    assert "CARBOY_PROXY" in variables(platform)
    assert "CARBOY_PROXY" not in variables(platform, "--force", source=fixed)


@pytest.mark.parametrize("name", ["on", "null", "n"])
@pytest.mark.parametrize("platform", ["cloudrun", "k8s", "render"])
def test_name_that_is_a_word_of_yaml_stays_a_text(platform, name):
    content = parsed(platform, "--name", name)
    top = content[0] if platform == "k8s" else content
    named = top["services"][0] if platform == "render" else top["metadata"]
    assert named["name"] == name


def test_pod_may_write_in_the_folders_of_the_app_alone():
    source = f"{APP}app.config['UPLOAD_FOLDER'] = 'uploads'\n"
    pod = parsed("k8s", source=source)[0]["spec"]["template"]["spec"]
    app = pod["containers"][0]
    assert app["securityContext"]["readOnlyRootFilesystem"]
    dockerfile = separate_runner().invoke(cli, ["docker", "--print"]).stdout
    (volumes,) = re.findall(r"^VOLUME (.*)$", dockerfile, re.MULTILINE)
    assert [mount["mountPath"] for mount in app["volumeMounts"]] == ["/tmp", *json.loads(volumes)]
    mounts = [mount["name"] for mount in app["volumeMounts"]]
    assert [volume["name"] for volume in pod["volumes"]] == mounts


@pytest.mark.parametrize("platform", ["heroku", "render"])
def test_log_goes_where_the_platform_looks_for_it(platform):
    logs = f"{PROJECT}app.config['LOG_FILE'] = 'logs/app.log'\n"
    assert "/dev/stdout" not in written(platform, source=PROJECT)
    text = written(platform, "--force", source=logs)
    if platform == "heroku":
        assert "\nweb: CARBOY_LOG_FILE=/dev/stdout carboy serve app:app --" in text
    else:
        assert '- key: CARBOY_LOG_FILE\n        value: "/dev/stdout"\n' in text


DEVICE = MODELS.replace("('/double')", "('/double', device='cuda:0')")


def test_pod_gets_the_device_that_a_model_has_declared():
    limits = container("k8s", source=DEVICE)["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in container("k8s", "--force")["resources"]["limits"]
    for document in parsed("k8s", "--force", source=DEVICE):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("platform", ["cloudrun", "fly", "heroku", "render", "spaces"])
def test_device_that_the_files_do_not_ask_for_is_named(platform):
    assert "The models use cuda:0, for which" in deploy(platform, source=DEVICE).stdout
    assert "The models use" not in deploy(platform, "--force").stdout


def test_render_installs_the_dependencies_of_a_project_and_not_the_project(folder):
    (folder / "pyproject.toml").write_text('[project]\ndependencies = ["carboy>=0.1", "numpy"]\n')
    (command,) = (each["buildCommand"] for each in parsed("render")["services"])
    program, arguments = command.split(" && ")
    assert arguments == "pip install -r /tmp/dependencies.txt"
    # Without a shell, which a container with nothing but Python may lack.
    _, *words, to, file = shlex.split(program)
    assert (to, file) == (">", "/tmp/dependencies.txt")
    listed = subprocess.run(
        [sys.executable, *words], check=True, timeout=60, capture_output=True, text=True
    )
    assert listed.stdout.splitlines() == ["carboy>=0.1", "numpy"]


def test_render_leaves_a_project_without_stated_dependencies_to_its_tool(folder):
    (folder / "pyproject.toml").write_text('[project]\ndynamic = ["dependencies"]\n')
    (service,) = parsed("render")["services"]
    assert service["buildCommand"] == "pip install ."


@pytest.mark.parametrize("table", ["[build-system]", "[tool.setuptools]"])
def test_render_installs_a_project_that_says_how_it_is_built(folder, table):
    (folder / "pyproject.toml").write_text(f'[project]\ndependencies = ["numpy"]\n{table}\n')
    (service,) = parsed("render")["services"]
    assert service["buildCommand"] == "pip install ."


@pytest.mark.parametrize("place", ["src/shop", "lib/python3.11/site-packages/shop"])
def test_render_installs_a_project_whose_app_is_not_imported_from_its_folder(folder, place):
    (folder / "pyproject.toml").write_text('[project]\ndependencies = ["numpy"]\n')
    source = f"from carboy import Carboy\napp = Carboy('shop', root_path={str(folder / place)!r})\n"
    (service,) = parsed("render", source=source)["services"]
    assert service["buildCommand"] == "pip install ."


def test_next_command_uses_the_image():
    result = deploy("k8s", "--image", "registry.example/shop:3")
    assert (
        "docker push registry.example/shop:3 && kubectl apply -f deploy/k8s.yaml" in result.stdout
    )
    assert (
        container("k8s", "--image", "registry.example/shop:3")["image"] == "registry.example/shop:3"
    )


@pytest.mark.parametrize("platform", ["heroku", "render"])
def test_missing_list_of_packages_is_named(platform):
    assert "installs what requirements.txt lists. Write it first" in deploy(platform).stdout
    pathlib.Path("requirements.txt").write_text("carboy\n")
    assert "requirements.txt must name the wheel of carboy" in deploy(platform).stdout
    pathlib.Path("requirements.txt").write_text("./wheels/carboy-0.1.0-py3-none-any.whl\n")
    assert "requirements.txt" not in deploy(platform).stdout


@pytest.mark.integration  # git must be installed
@pytest.mark.parametrize(
    ("platform", "is_said"),
    [
        ("cloudrun", True),
        ("heroku", True),
        ("render", True),
        ("spaces", True),
        ("fly", False),
        ("k8s", False),
    ],
)
def test_file_that_git_ignores_is_named_where_it_would_be_missing(platform, is_said):
    # The usual .gitignore of Python projects has the first of these lines, that of data
    # scientists the second one.
    subprocess.run(["git", "init", "--quiet"], check=True)
    pathlib.Path(".gitignore").write_text("wheels/\n*.pkl\n")
    pathlib.Path("digits.pkl").touch()
    text = deploy(platform).stdout
    assert ("Git ignores wheels/, so that" in text) == is_said
    assert ("Git ignores digits.pkl, so that" in text) == is_said
    # The remedy that the hint gives.
    pathlib.Path(".gitignore").write_text("wheels/\n*.pkl\n!/wheels/\n!/digits.pkl\n")
    assert "Git ignores" not in deploy(platform, "--force").stdout


def test_next_command_makes_a_dockerfile_only_if_there_is_none():
    assert "carboy docker && docker build" in deploy("k8s").stdout
    pathlib.Path("Dockerfile").write_text("FROM scratch\n")
    assert "carboy docker" not in deploy("k8s", "--force").stdout


# ------------------------------------------------------------------------------------- memory


def test_room_is_that_of_two_workers_and_half_of_it_again():
    measured = Measurement(
        ProcessMemory(100 * 2**20, 20 * 2**20), ProcessMemory(24 * 2**20, 11 * 2**20)
    )
    assert room_for(measured).mib == (24 + 20 + 2 * 100) * 1.5


@pytest.mark.parametrize(
    ("memory", "cpu", "given"),
    [
        ("100M", "1", "512Mi"),
        ("600M", "1", "640Mi"),
        ("5G", "2", "5120Mi"),
        ("30G", "8", "30720Mi"),
    ],
)
def test_cloud_run_gets_the_cpus_that_the_memory_requires(memory, cpu, given):
    limits = container("cloudrun", "--memory", memory)["resources"]["limits"]
    assert limits == {"cpu": cpu, "memory": given}


@pytest.mark.parametrize(
    ("memory", "machine"),
    [
        ("100M", ("shared", 1, "256mb")),
        ("2G", ("shared", 1, "2048mb")),
        ("3G", ("shared", 2, "3072mb")),
        ("9G", ("shared", 8, "9216mb")),
        ("20G", ("performance", 4, "20480mb")),
        ("40G", ("performance", 8, "40960mb")),
    ],
)
def test_machine_of_fly_has_enough_memory(memory, machine):
    (vm,) = parsed("fly", "--memory", memory)["vm"]
    assert (vm["cpu_kind"], vm["cpus"], vm["memory"]) == machine


@pytest.mark.parametrize(
    ("memory", "plan"), [("100M", "starter"), ("1G", "standard"), ("5G", "pro plus")]
)
def test_plan_of_render_has_enough_memory(memory, plan):
    assert parsed("render", "--memory", memory)["services"][0]["plan"] == plan


def test_larger_dyno_is_a_part_of_the_commands():
    assert "ps:type" not in deploy("heroku").stdout
    assert "heroku ps:type web=performance-m" in deploy("heroku", "--memory", "2G").stdout


def test_pod_has_the_memory_that_it_requests():
    resources = container("k8s", "--memory", "300M")["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "1", "memory": "320Mi"}


@pytest.mark.parametrize("platform", ["cloudrun", "fly", "heroku", "render", "spaces"])
def test_more_memory_than_the_platform_has_is_refused(platform):
    result = deploy(platform, "--memory", "1000G")
    assert result.exit_code == 2
    assert re.search(r"offers at most \d+ MiB, and the app needs 1024000 MiB", result.stderr)


@pytest.mark.integration
def test_memory_is_measured_by_starting_the_app(folder):
    replicated = (
        "@app.model('/large', replicas=2)\nclass Large:\n    def __init__(self):\n"
        "        self.weights = b'x' * 30_000_000\n    def predict(self, x: float) -> float: ...\n"
    )
    (folder / "app.py").write_text(MODELS + replicated + "BALLAST = b'x' * 100_000_000\n")
    result = separate_runner().invoke(cli, ["deploy", "--to", "k8s"])
    assert result.exit_code == 0, result.output
    assert re.search(r"It takes 1\d\d MiB in each worker", result.stderr)
    # Each of both processes has imported the module with the ballast, too.
    assert re.search(r", [34]\d\d MiB in replicas: ", result.stderr)
    limits = yaml.safe_load_all((folder / FILES["k8s"]).read_text())
    memory = next(limits)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert 600 <= int(memory["memory"].removesuffix("Mi")) <= 1000


@pytest.mark.integration
def test_app_that_cannot_be_started_is_refused_with_the_reason(folder):
    (folder / "app.py").write_text(
        f"{APP}@app.model('/m')\nclass Model:\n    def __init__(self):\n"
        "        open('no-such-file')\n    def predict(self, x: float) -> float: ...\n"
    )
    result = separate_runner().invoke(cli, ["deploy", "--to", "k8s"])
    assert result.exit_code == 2
    assert "The app cannot be started to measure its memory: Model 'm' could" in result.stderr
    assert "no-such-file" in result.stderr
    assert not (folder / "deploy").exists()


@pytest.mark.integration
@pytest.mark.integration
@pytest.mark.parametrize(
    "line",
    ["CARBOY_SERVE_PORT=8001", "FLASK_SERVE_HOST=0.0.0.0", "CARBOY_SERVE_TLS_CERT=no.pem"],
)
def test_app_whose_env_file_has_settings_of_the_server_is_measured(folder, line):
    (folder / ".env").write_text(f"{line}\n")
    (folder / "app.py").write_text(APP)
    done = subprocess.run(
        [spawning.script("carboy"), "deploy", "--to", "k8s"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "MiB with room for requests" in done.stderr


def test_server_that_is_measured_ends_with_the_command(folder):
    (folder / "app.py").write_text(
        f"{APP}import os, pathlib, time\n@app.model('/m')\nclass Model:\n"
        "    def __init__(self):\n"
        "        pathlib.Path('pid.tmp').write_text(str(os.getpid()))\n"
        "        os.rename('pid.tmp', 'pid')\n"
        "        time.sleep(600)\n"
        "    def predict(self, x: float) -> float: ...\n"
    )
    command = [spawning.script("carboy"), "deploy", "--to", "k8s"]
    program = spawning.start(command, log=folder / "log", port=0, cwd=folder)
    try:
        wait_until((folder / "pid").exists)
        worker = pathlib.Path("/proc", (folder / "pid").read_text())
        program.process.kill()
        program.process.wait()
        wait_until(lambda: not worker.exists())
    finally:
        program.stop()


# ---------------------------------------------------------------------------- time for stopping


@pytest.mark.parametrize(
    ("grace", "platform", "server", "killed_after"),
    [
        ("30", "cloudrun", 7.5, 10),
        ("3", "cloudrun", 3, 10),
        ("30", "fly", 30, 33),
        ("1000", "fly", 297.5, 300),
        ("30", "render", 30, 33),
        ("30", "k8s", 30, 38),  # 5 s of preStop
        ("1000", "k8s", 1000, 1008),
    ],
)
def test_server_stops_before_the_platform_kills_it(
    monkeypatch, grace, platform, server, killed_after
):
    monkeypatch.setenv("CARBOY_SERVE_GRACE_S", grace)
    assert float(variables(platform)["CARBOY_SERVE_GRACE_S"]) == server
    content = parsed(platform, "--force")
    if platform == "fly":
        assert content["kill_signal"] == "SIGTERM"
        assert content["kill_timeout"] == killed_after
    elif platform == "render":
        assert content["services"][0]["maxShutdownDelaySeconds"] == killed_after
    elif platform == "k8s":
        assert (
            content[0]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == killed_after
        )


def test_server_stops_before_heroku_kills_it():
    assert "--drain 0.5 --grace 27.5" in written("heroku")


# --------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("cloudrun", "2048"),
        ("cloudrun", "a" * 50),
        ("fly", "Shop"),
        ("fly", "shop_1"),
        ("heroku", "ab"),
        ("heroku", "a" * 31),
        ("render", "-shop"),
        ("spaces", "my--shop"),
        ("spaces", "a" * 97),
        ("k8s", "shop.example"),
        ("k8s", "2048"),
        ("k8s", ""),
    ],
)
def test_name_that_the_platform_refuses_is_refused(platform, name):
    result = deploy(platform, "--name", name)
    assert result.exit_code == 2
    assert f"refuses the name {name!r}: a name has " in result.stderr
    assert result.stderr.count("\n") == 1
    assert not pathlib.Path(FILES[platform]).exists()


@each_platform
def test_name_is_that_of_the_folder_unless_an_option_says_another(platform):
    assert "shop" in deploy(platform).stdout + pathlib.Path(FILES[platform]).read_text()
    other = deploy(platform, "--name", "market", "--force").stdout
    assert "market" in other + pathlib.Path(FILES[platform]).read_text()


@pytest.mark.parametrize(
    ("name", "advice"), [("herok", "Did you mean 'heroku'?"), ("aws", ""), ("", "")]
)
def test_unknown_platform_is_refused_with_the_nearest_name(name, advice):
    result = deploy(name)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--to takes one of cloudrun, fly, heroku, render, spaces, k8s." in result.stderr
    assert advice in result.stderr


@pytest.mark.parametrize("platform", ["fly", "heroku", "render", "spaces"])
def test_image_is_refused_where_it_has_no_effect(platform):
    result = deploy(platform, "--image", "shop:1")
    assert result.exit_code == 2
    assert "--image has no effect" in result.stderr


@pytest.mark.parametrize("image", ["", "-rm", "a b", "a\nb", "shop;ls"])
def test_image_that_cannot_be_one_is_refused(image):
    result = deploy("k8s", "--image", image)
    assert result.exit_code == 2
    assert "is not the name of an image" in result.stderr


@pytest.mark.parametrize("size", ["", "0", "-1", "much"])
def test_memory_that_is_no_size_is_refused(size):
    result = deploy("k8s", "--memory", size)
    assert result.exit_code == 2
    assert "is not a size such as 512M" in result.stderr


# --------------------------------------------------------------------------------------- README


def test_text_of_a_readme_is_kept_below_the_block_of_a_space(folder):
    (folder / "README.md").write_text("# My shop\n\nSells things.\n---\n")
    assert deploy("spaces").exit_code == 2  # it exists, so a diff is shown and nothing is written
    assert deploy("spaces", "--force").exit_code == 0
    text = (folder / "README.md").read_text()
    assert text.startswith("---\n# Made by")
    assert text.endswith("\n---\n# My shop\n\nSells things.\n---\n")
    assert deploy("spaces").exit_code == 0  # the same block again
    assert (folder / "README.md").read_text() == text


def test_readme_that_is_no_text_is_left_alone(folder):
    (folder / "README.md").write_bytes(b"\xff")
    result = deploy("spaces", "--force")
    assert result.exit_code == 2
    assert "README.md: cannot be read" in result.stderr
    assert (folder / "README.md").read_bytes() == b"\xff"
