"""`carboy docker`: the image of an app, and a compose file with nginx in front of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import typing as t
from dataclasses import dataclass, replace

import click

from ..errors import DeploymentError
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .ignoredfiles import ignored_files
from .imagepackages import LIST_DEPENDENCIES, Packages, read_packages
from .nginxfiles import nginx_text
from .projectfiles import (
    ENV_FILES,
    FLASKENV,
    PRIVATE_ENV_FILES,
    files_named,
    read_text,
    secrets_in,
    variables_in,
)
from .serversettings import (
    environment,
    hints_at_settings_of_machine,
    settings_for_container,
    variables_left_out,
)
from .website import make_website

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .facts import Facts

# The port of the probes in the container.
PROBES = 9000
NGINX_PATH = "deploy/nginx.compose.conf"
# Characters that have a meaning in a pattern of .dockerignore, in a variable or in a volume.
_NOT_IN_FOLDERS = frozenset('$:\\"*?[]!#')
# Matches a name of a volume. Compose takes a single letter for a drive of Windows, and what begins
# with a dot for a path.
_NAME_OF_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
# The package index of PyTorch that has wheels for CPUs. Those of PyPI bring gigabytes of CUDA.
_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


@generator("docker", short_help="Write a Dockerfile, and a compose.yaml with nginx.")
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=8000,
    show_default=True,
    help="Port on which the app listens, unless the container has a variable PORT.",
)
@click.option(
    "--volume",
    "volumes",
    metavar="FOLDER",
    multiple=True,
    help="A folder in which the app writes; may be repeated. The folders of UPLOAD_FOLDER and"
    " LOG_FILE, and the instance folder, need not be named. All others are read-only.",
)
def docker_command(facts: Facts, port: int, volumes: tuple[str, ...]) -> Generated:
    """Write Dockerfile, .dockerignore and compose.yaml, and the configuration of the nginx that
    compose.yaml starts in front of the app.

    The image runs 'carboy serve' as a user without privileges. If the project has neither a lock
    file nor constraints.txt, the versions that are installed here are written to constraints.txt.
    """
    if port == PROBES:
        raise DeploymentError(
            f"Port {PROBES} is that of the probes in the container. Choose another."
        )
    _refuse_code_elsewhere(facts)
    image = AppImage(facts, read_packages(facts), port, written_in_image(facts, volumes))
    files = [
        GeneratedFile("Dockerfile", image.dockerfile()),
        GeneratedFile(".dockerignore", image.dockerignore()),
        GeneratedFile("compose.yaml", image.compose()),
        GeneratedFile(NGINX_PATH, image.nginx_conf()),
        *image.packages.new_files,
    ]
    return Generated(files, image.next_step())


@dataclass(frozen=True)
class AppImage:
    """The image of an app, and how it is run.

    Attributes:
        facts: what the app says about itself.
        packages: what is installed in the image.
        port: the port on which the app listens.
        volumes: the folders in which the app may write, as paths in the container.
    """

    facts: Facts
    packages: Packages
    port: int
    volumes: tuple[str, ...]

    @property
    def home(self) -> str:
        """The folder of the project in the container."""
        return _home(self.facts)

    def dockerfile(self) -> str:
        for_cpu = (
            self.packages.torch and not self.facts.accelerators and not self.packages.has_hashes
        )
        torch_index = _TORCH_INDEX if for_cpu else None
        return render(
            "Dockerfile.jinja",
            python=self.facts.python_version,
            packages=self.packages,
            files=self.packages.files,
            list_dependencies=LIST_DEPENDENCIES,
            torch_index=torch_index,
            installations=self.packages.installations(torch_index),
            home=self.home,
            port=self.port,
            probes=PROBES,
            volumes=json.dumps(self.volumes) if self.volumes else None,
            volumes_in_shell=shlex.join(self.volumes),
            production=" ".join(self._production),
            logs_to_stdout=self.facts.log_can_go_to_stdout,
            # In the folder of the project, like here, so that relative paths mean the same files.
            command=json.dumps(self.facts.serve_command),
        )

    def dockerignore(self) -> str:
        inside = [path.removeprefix(f"{self.home}/") for path in self.volumes]
        ignored = ignored_files(self.facts)
        return render(
            "dockerignore.jinja",
            env_files=ENV_FILES if self._secrets_in_flaskenv else PRIVATE_ENV_FILES,
            volumes=[path for path in inside if path[0] != "/"],
            folders=ignored.folders,
            kept=ignored.kept,
        )

    @property
    def _secrets_in_flaskenv(self) -> list[str]:
        paths = files_named(self.facts, FLASKENV)
        texts = (read_text(os.path.join(self.facts.root, each)) for each in paths)
        return [name for text in texts for name in secrets_in(text)]

    @property
    def _production(self) -> list[str]:
        """The assignments by which variables of `.flaskenv` do not count: the environment, and what
        would let the server listen where nobody reaches it, or fits the machine of a developer. An
        empty variable keeps the server from reading it from the file.
        """
        left_out, text = variables_left_out(), read_text(os.path.join(self.facts.root, FLASKENV))
        unset = sorted(left_out.intersection(variables_in(text)))
        return ["FLASK_ENV=production", "FLASK_DEBUG=0", *(f"{name}=" for name in unset)]

    def compose(self) -> str:
        return render(
            "compose.yaml.jinja",
            name=self.facts.name,
            port=self.port,
            volumes=[(_name_of_volume(path, self.home), path) for path in self.volumes],
            grace_s=self.facts.stop_s,
            environment=self._environment,
            nginx_path=NGINX_PATH,
            static_folders=self._static_folders,
            home=self.home,
            gpus=self.facts.accelerators,
        )

    @property
    def _environment(self) -> dict[str, str]:
        """The environment variables by which the service gets the settings that are set here."""
        settings = settings_for_container()
        if not self.facts.has_proxy_fix:
            # Nobody reaches the app except through nginx. Proxies that are counted may be in front
            # of nginx, too; addresses of proxies are others in a container.
            proxy = settings.get("proxy", "")
            settings["proxy"] = proxy if proxy.isdecimal() and proxy != "0" else "1"
        # Compose replaces $NAME.
        return {name: each.replace("$", "$$") for name, each in environment(settings).items()}

    def nginx_conf(self) -> str:
        # In a container there may be no IPv6.
        website = make_website(self.facts, upstreams=[f"app:{self.port}"], listen="0.0.0.0:80")
        folders = self.facts.static_folders
        shown = tuple(
            folder._replace(folder=f"{self.home}/{path}")
            for folder in folders
            if (path := _path_below(folder.folder, self.facts.root))
        )
        return nginx_text(
            replace(website, static_folders=shown),
            command="carboy docker",
            served_by="the service app of compose.yaml",
        )

    def next_step(self) -> str:
        name = self.facts.name
        missing = (
            ""
            if self.packages.requirements
            else "There is no requirements.txt: the image has carboy and nothing else. Write there"
            " what the app imports, and run this again with --force.\n"
        )
        hints = "".join(f"{each}\n" for each in self._hints())
        return (
            f"{missing}{hints}Build the image, and run it:\n\n"
            f"    docker build --tag {name} .\n"
            f"    docker run --publish {self.port}:{self.port} --env SECRET_KEY {name}\n\n"
            "Or with nginx in front, on http://127.0.0.1:8080/:\n\n"
            "    docker compose up --build"
        )

    def _hints(self) -> cabc.Iterator[str]:
        yield from hints_at_settings_of_machine()
        if secrets := self._secrets_in_flaskenv:
            yield (
                f"{FLASKENV} is not in the image, because it has {', '.join(secrets)}. Move secrets"
                " to .env, and run this again with --force."
            )

    @property
    def _static_folders(self) -> list[str]:
        """The static folders in the project, relative to it."""
        folders = [_path_below(each.folder, self.facts.root) for each in self.facts.static_folders]
        return sorted({_check_folder(each) for each in folders if each})


def _home(facts: Facts) -> str:
    # The folder has the name of the project, because it becomes the title of the app's OpenAPI
    # document.
    return f"/srv/{facts.name}"


def _refuse_code_elsewhere(facts: Facts) -> None:
    """Raise DeploymentError if the app is imported from outside of the project."""
    imported = facts.imported
    if imported.is_installed:
        raise DeploymentError(
            f"The module {imported.module} is installed, so that it is not one of the files of the"
            " project, which are all that an image contains. Name its file or folder, such as"
            f" src/{imported.module.replace('.', '/')}."
        )
    if imported.folder != facts.root and not _path_below(imported.folder, facts.root):
        raise DeploymentError(
            f"The app is in {imported.folder}, outside of the current folder, whose files are all"
            " that an image contains. Run this command in the folder of the project."
        )


def written_in_image(facts: Facts, more: cabc.Iterable[str] = ()) -> tuple[str, ...]:
    """Return the folders in which the app writes, as paths in the container.

    Raises:
        DeploymentError: a folder is the whole project, or the package of the app.
    """
    elsewhere = facts.log_folder if facts.log_can_go_to_stdout else None
    known = [each for each in facts.written_folders if each != elsewhere]
    folders = [os.path.join(facts.root, each) for each in (*known, *more)]
    inside = {_check_folder(_inside(facts, each)) for each in folders}
    code = [_inside(facts, each) for each in facts.code_folders]
    if any(_is_below(each, folder.rstrip("/")) for each in code for folder in inside):
        raise DeploymentError(
            "The app writes in the folder of the project itself or of its package, which holds its"
            " code. Let it write in a folder of its own, such as data: --volume data."
        )
    return tuple(sorted(each for each in inside if not _is_below(each, "/tmp")))  # noqa: S108 - compared, not written


def _check_folder(path: str) -> str:
    """Return a path that the files of Docker can name.

    Raises:
        DeploymentError: it contains what has a meaning there.
    """
    if not path.isprintable() or _NOT_IN_FOLDERS.intersection(path):
        raise DeploymentError(
            f"Docker cannot use a folder whose path contains a line break or one of"
            f" {' '.join(sorted(_NOT_IN_FOLDERS))}: {path!r}. Rename it."
        )
    return path


def _name_of_volume(path: str, home: str) -> str:
    """Return the name of the volume for a folder. It is made of the path alone: if it were a
    number, it would change with the other volumes, and a new compose.yaml would mount the data of
    another folder. If the path is no name of a volume, a digest keeps its name different from those
    of similar paths.
    """
    inside = path.removeprefix(f"{home}/")
    if _NAME_OF_VOLUME.fullmatch(inside):
        return inside
    words = re.sub(r"[^A-Za-z0-9]+", "-", inside).strip("-")
    digest = hashlib.sha256(inside.encode()).hexdigest()[:8]
    return f"{words}-{digest}" if words else digest


def _inside(facts: Facts, path: str) -> str:
    """Return where a folder of this machine is in the container."""
    below = _path_below(path, facts.root)
    if below:
        return f"{_home(facts)}/{below}"
    # A relative path, such as ../data, means another folder there.
    return os.path.normpath(re.sub(f"^{re.escape(facts.root)}(?=/|$)", _home(facts), path))


def _path_below(path: str, folder: str) -> str | None:
    """Return a path relative to a folder, with "/"; None if it is not below the folder."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    is_below = not os.path.isabs(relative) and relative.split(os.sep)[0] not in {
        os.curdir,
        os.pardir,
    }
    return relative.replace(os.sep, "/") if is_below else None


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") or path == folder
