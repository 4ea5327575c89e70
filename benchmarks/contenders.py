"""Who is measured, and how each is started: one process, one worker, nothing logged, nothing but the loopback."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.answers import KEY, WIRES
from benchmarks.processes import HOST, Launch, NotStarted

ROOT = Path(__file__).resolve().parents[1]

_RECLOSER = """\
[gateway]
listen = "127.0.0.1:{port}"
[state]
url = "memory:"
dir = "{folder}"
[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "env:BENCH_KEY"
[providers.up-anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:{upstream}"
api_key = "env:BENCH_KEY"
[routes."claude-*"]
targets = ["up-anthropic/{{model}}"]
[routes."*"]
targets = ["up/{{model}}"]
"""

_NGINX = """\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  client_max_body_size 64m;
  client_body_buffer_size 256k;
  keepalive_requests 1000000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

_LITELLM = """\
model_list:
  - model_name: {openai}
    litellm_params: {{model: "openai/{openai}", api_base: "http://127.0.0.1:{upstream}/v1", api_key: "{key}"}}
  - model_name: {anthropic}
    litellm_params: {{model: "anthropic/{anthropic}", api_base: "http://127.0.0.1:{upstream}", api_key: "{key}"}}
litellm_settings:
  telemetry: false
  set_verbose: false
"""

# Each of these would otherwise be fetched from the internet at the start.
_LITELLM_LOCAL = (
    "LITELLM_LOCAL_MODEL_COST_MAP",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS",
    "LITELLM_LOCAL_POLICY_TEMPLATES",
    "LITELLM_LOCAL_BLOG_POSTS",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender runs: its port, the upstream's, and a folder for its files."""

    port: int
    upstream: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Contender:
    """A row of the table. `prepare` says, once and before any measuring, which version it is."""

    title: str
    prepare: Callable[[], str]
    launch: Callable[[Place], Launch] | None  # None: the upstream itself


def _recloser_version() -> str:
    if not (Path(sys.prefix) / "bin" / "recloser").exists():
        raise NotStarted("the command `recloser` is not installed in this environment: run `make bench`")
    return version("recloser")


def _recloser(place: Place) -> Launch:
    config = place.folder / "recloser.toml"
    state = place.folder / "recloser-state"
    config.write_text(_RECLOSER.format(port=place.port, upstream=place.upstream, folder=state), encoding="utf-8")
    command = str(Path(sys.prefix) / "bin" / "recloser")
    argv = [command, "serve", "--config", str(config), "--listen", f"{HOST}:{place.port}"]
    return Launch(argv, place.port, env={"BENCH_KEY": KEY})


def _bare_version() -> str:
    return " + ".join(f"{name} {version(name)}" for name in ("uvicorn", "aiohttp", "msgspec"))


def _bare(place: Place) -> Launch:
    argv = [sys.executable, "-m", "benchmarks.bare_parts", str(place.port), str(place.upstream)]
    return Launch(argv, place.port, env={"PYTHONPATH": str(ROOT)})


def upstream(port: int) -> Launch:
    """The canned provider behind all of them."""
    argv = [sys.executable, "-m", "benchmarks.upstream", str(port)]
    return Launch(argv, port, ready="/v1/models", env={"PYTHONPATH": str(ROOT)})


def _nginx_command() -> str:
    command = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]))
    if command is None:
        raise NotStarted(
            "nginx is not installed; on Debian and Ubuntu: apt install nginx-light, on Fedora: dnf install nginx"
        )
    return command


def _nginx_version() -> str:
    said = subprocess.run([_nginx_command(), "-v"], capture_output=True, text=True, check=True).stderr
    return said.partition("/")[2].split()[0]


def _nginx(place: Place) -> Launch:
    config = place.folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # so that the worker may use the folder
    config.write_text(
        _NGINX.format(user=user, port=place.port, upstream=place.upstream, folder=place.folder), encoding="utf-8"
    )
    argv = [_nginx_command(), "-e", "stderr", "-p", str(place.folder), "-c", str(config)]
    return Launch(argv, place.port, ready="/v1/models")


def _litellm_version() -> str:
    """Set up `.venv-bench`, pinned and hashed, when it is not there or no longer what the file says."""
    pinned = ROOT / "requirements" / "bench.txt"
    home = ROOT / ".venv-bench"
    stamp = home / ".installed"
    wanted = hashlib.sha256(pinned.read_bytes()).hexdigest()
    python = str(home / "bin" / "python")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print("setting up .venv-bench for LiteLLM (once, some minutes) ...", file=sys.stderr, flush=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            subprocess.run([*install, str(pinned)], check=True)
        except subprocess.CalledProcessError:
            raise NotStarted("LiteLLM could not be installed from requirements/bench.txt: see above") from None
        stamp.write_text(wanted, encoding="utf-8")
    ask = "from importlib.metadata import version; print(version('litellm'))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def _litellm(place: Place) -> Launch:
    config = place.folder / "litellm.yaml"
    models = {name: wire.model for name, wire in WIRES.items()}
    config.write_text(_LITELLM.format(upstream=place.upstream, key=KEY, **models), encoding="utf-8")
    argv = [str(ROOT / ".venv-bench" / "bin" / "litellm"), "--config", str(config)]
    argv += ["--host", HOST, "--port", str(place.port), "--num_workers", "1"]
    env = dict.fromkeys(_LITELLM_LOCAL, "True") | {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_MASTER_KEY": KEY,
    }
    return Launch(argv, place.port, ready="/health/liveliness", patience=120.0, env=env)


CONTENDERS = {
    "direct": Contender("*upstream reached directly*", lambda: "", None),
    "recloser": Contender("**recloser**", _recloser_version, _recloser),
    "bare": Contender("its parts alone (uvicorn + aiohttp)", _bare_version, _bare),
    "nginx": Contender("nginx", _nginx_version, _nginx),
    "litellm": Contender("LiteLLM proxy", _litellm_version, _litellm),
}
