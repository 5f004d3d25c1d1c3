"""What hosting platforms have in common: names, memory, the port, the time for stopping, and the
settings of the server there.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import typing as t
from dataclasses import dataclass
from functools import cached_property

from ...errors import DeploymentError
from ...models.saved.pickles import MODEL_FILES
from ...serving.settings import SETTINGS
from ..checks.gitrepository import ignores
from ..generators import Generated, render
from ..projectfiles import files_named, read_text
from ..serversettings import hints_at_settings_of_machine, settings_for_container

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts
    from .sizing import Room

# The port on which the images of `carboy docker` listen, unless the environment variable PORT says
# another. All platforms that run images are told this one, so that an image with a port of its own
# works as well.
PORT = 8000
# How many seconds the server may need to end its processes, after the time for running requests is
# over. A platform that kills earlier would cut off what the server logs then.
MARGIN_S = 2.0


class NameRule(t.NamedTuple):
    """Which names a platform accepts.

    Attributes:
        pattern: a regular expression for the whole name.
        text: the rule in words, after "a name has".
    """

    pattern: str
    text: str


# A label of DNS (RFC 1123).
DNS_LABEL = NameRule(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "lower-case letters, digits and hyphens, no hyphen at its ends, and at most 63 characters",
)


@dataclass(frozen=True)
class Platform:
    """A hosting platform.

    Attributes:
        key: its name on the command line.
        title: its name in texts.
        names: which names it accepts for an app.
        takes_image: whether its file names an image, which is built and pushed by other commands.
        gives_devices: whether its file asks for the devices that models have declared.
        scales_by_metrics: whether its file can name a metric of the app that decides in how many
            places the app runs.
        has_ray: whether the models can compute on a Ray cluster there.
        gets_ignored_files: whether it gets files of the project that git ignores.
        generate: writes the files for a release.
    """

    key: str
    title: str
    names: NameRule
    takes_image: bool
    gives_devices: bool
    scales_by_metrics: bool
    has_ray: bool
    gets_ignored_files: bool
    generate: cabc.Callable[[Release], Generated]

    def check_name(self, name: str) -> str:
        """Return a name that the platform accepts.

        Raises:
            DeploymentError: the platform refuses the name.
        """
        if re.fullmatch(self.names.pattern, name):
            return name
        raise DeploymentError(
            f"{self.title} refuses the name {name!r}: a name has {self.names.text}. Choose another"
            " one by --name."
        )


class StopTimes(t.NamedTuple):
    """How long an app may take to stop, in seconds.

    Attributes:
        drain_s: the server's setting `drain_s`.
        grace_s: the server's setting `grace_s`.
        platform_s: when the platform may kill what still runs: after the server is done.
    """

    drain_s: float
    grace_s: float
    platform_s: int


@dataclass(frozen=True)
class Release:
    """An app that is going to run on a platform.

    Attributes:
        facts: the app and its project.
        platform: the platform.
        name: the name of the app there.
        image: the image that the user has named.
        room: how much memory the app needs.
        queue_depth: how many predictions may wait in each place where the app runs, before it runs
            in more places; None if this does not decide.
        on_ray: whether the models compute on a Ray cluster.
    """

    facts: Facts
    platform: Platform
    name: str
    image: str | None
    room: Room
    queue_depth: int | None = None
    on_ray: bool = False

    @cached_property
    def command(self) -> str:
        """The command that starts the server, for a shell in the project's folder."""
        return shlex.join(self.facts.serve_command)

    @property
    def log_environment(self) -> dict[str, str]:
        """The environment variables that let the log go to stdout, where platforms look for it, and
        not into a file that nobody can read there. (Images of `carboy docker` have them.)
        """
        return {"CARBOY_LOG_FILE": "/dev/stdout"} if self.facts.log_can_go_to_stdout else {}

    @property
    def reads_secrets(self) -> bool:
        """Whether the app reads its secret key from the environment. (An app that does not call
        `from_project()` sets its key itself, in a way that nobody can know.)
        """
        return self.facts.calls_from_project

    @property
    def make_image(self) -> str:
        """The beginning of a command line, which writes the Dockerfile if there is none."""
        return "" if self.has_dockerfile else "carboy docker && "

    @property
    def has_dockerfile(self) -> bool:
        return self.has_file("Dockerfile")

    def has_file(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self.facts.root, name))

    def stop_times(self, most_s: float = math.inf) -> StopTimes:
        """Return how long the server may take to stop on a platform that waits for at most `most_s`
        seconds between SIGTERM and SIGKILL.
        """
        settings = self.facts.settings
        drain_s = min(settings.drain_s, (most_s - MARGIN_S) / 2)
        grace_s = min(settings.grace_s, most_s - MARGIN_S - drain_s)
        return StopTimes(drain_s, grace_s, math.ceil(drain_s + grace_s + MARGIN_S))

    def settings(self, proxy: int, times: StopTimes, **more: str) -> dict[str, str]:
        """Return the settings of the server on a platform, by the names of their arguments: those
        of the platform, and those that are set here by environment variables.

        Args:
            proxy: how many addresses the platform's proxies add to X-Forwarded-For.
            times: how long the server may take to stop.
            more: further settings.
        """
        given = {
            name: value
            for name, value in settings_for_container().items()
            if self.on_ray or (name != "on" and not name.startswith("ray_"))
        }
        # An app that looks for its models in a folder may find none on the platform. The server
        # must not count as ready then.
        min_models = {"min_models": "1"} if self.facts.has_models else {}
        return {
            **min_models,
            **given,
            # An app with ProxyFix reads the headers of proxies itself.
            **({} if self.facts.has_proxy_fix else {"proxy": str(proxy)}),
            "drain_s": f"{times.drain_s:g}",
            "grace_s": f"{times.grace_s:g}",
            **more,
        }

    def write(self, template: str, **variables: t.Any) -> str:
        """Render a template of the folder `templates/platforms`."""
        return render(
            f"platforms/{template}.jinja",
            release=self,
            made_by=f"carboy deploy --to {self.platform.key}",
            **variables,
        )

    def next_step(self, command: str, *, once: str = "", hints: cabc.Iterable[str] = ()) -> str:
        """Return the text that says what the user does next.

        Args:
            command: the command that brings a release to the platform.
            once: the commands that prepare the platform before the first release.
            hints: sentences about what is missing.
        """
        hints = [
            *hints,
            *self._hint_at_devices(),
            *self._hints_at_ignored_files(),
            *hints_at_settings_of_machine(),
        ]
        return "\n".join([*hints, *([f"Once:  {once}"] if once else []), f"Then:  {command}"])

    def hints_at_packages(self, are_listed: bool) -> list[str]:
        """Return what is missing for a platform that installs what the project lists.

        Args:
            are_listed: whether there is a list that the platform reads.
        """
        list_file = self.facts.requirements
        text = read_text(os.path.join(self.facts.root, list_file)) if list_file else ""
        if not are_listed:
            hint = (
                f"{self.platform.title} installs what requirements.txt lists. Write it first, with"
                " a line for carboy's wheel (wheels/carboy-....whl), as in projects of 'carboy"
                " new'."
            )
        elif list_file and not re.search(r"carboy-[^/]*\.whl", text):
            hint = (
                f"{list_file} must name the wheel of carboy, which is on no package index yet:"
                " ./wheels/carboy-....whl, as in projects of 'carboy new'. 'carboy docker' writes"
                " the wheel."
            )
        else:
            return []
        return [hint]

    def _hint_at_devices(self) -> cabc.Iterator[str]:
        devices = ", ".join(self.facts.accelerators)
        if devices and not self.platform.gives_devices:
            yield (
                f"The models use {devices}, for which these files do not ask: see"
                f" what {self.platform.title} offers."
            )

    def _hints_at_ignored_files(self) -> cabc.Iterator[str]:
        if self.platform.gets_ignored_files:
            return
        # Each name in the folder of the wheel is alike to git.
        for path in ("wheels/carboy.whl", *files_named(self.facts, *MODEL_FILES)):
            if ignores(self.facts.root, path):
                name = "wheels/" if path.startswith("wheels/") else path
                yield (
                    f"Git ignores {name}, so that {self.platform.title} does not get it. If the app"
                    f" needs it there, add the line '!/{name}' to the end of .gitignore."
                )


def options(settings: cabc.Mapping[str, str]) -> str:
    """Return settings of the server as options of `carboy serve`."""
    names = {setting.argument: setting.option for setting in SETTINGS}
    return " ".join(f"{names[name]} {shlex.quote(value)}" for name, value in settings.items())
