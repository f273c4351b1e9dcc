"""Serve a saved model over HTTP: lists that know the latest events, a page, an A/B test.

Needs the extra "serve": pip install "recsys[serve]". Routes, events, comparing models and safety:
recsys/serving/README.md.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.commands import common
from recsys.data.datasets import data_folder
from recsys.errors import DataError

if TYPE_CHECKING:
    from uvicorn import Config

    from recsys.serving.live import Arm

logger = logging.getLogger(__name__)

SUMMARY = "serve the saved model over HTTP"

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
IDLE, GRACE = 65, 10  # seconds: between requests of a connection, and to finish when stopped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("--model", action="append", default=[], metavar="[NAME=]FOLDER",
                        help="(default: data/model); several, by name, are compared")  # fmt: skip
    common.add_store(parser)
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (default: 1)"
    )
    parser.add_argument("--update-every", type=duration, metavar="TIME",
                        help="learn stored events again and again, such as 1h")  # fmt: skip
    parser.add_argument("--keep", type=duration, metavar="TIME",
                        help="at each update, drop events and lists older than this, such as 400d; "
                        "needs --update-every (default: keep all)")  # fmt: skip
    group = parser.add_argument_group("comparing models")
    group.add_argument("--share", action="append", default=[], metavar="NAME=SHARE",
                       help="share of the users; models without one share the rest")  # fmt: skip
    group.add_argument("--experiment", default="ab", metavar="NAME",
                       help="another name assigns users anew (default: ab)")  # fmt: skip
    group = parser.add_argument_group("safety")
    group.add_argument("--token-file", type=Path, metavar="FILE",
                       help="ask for what it holds as a bearer token")  # fmt: skip
    group.add_argument("--public", action="store_true",
                       help="listen on other addresses than loopback without a token")  # fmt: skip


def duration(text: str) -> float:
    """Return the seconds of a time such as 90s, 30m, 1h or 7d.

    Examples
    --------
    >>> duration("1.5h")
    5400.0
    """
    seconds = float(text[:-1]) * SECONDS[text[-1]] if text[-1:] in SECONDS else 0.0
    if not 1 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 30m, 1h or 7d")
    return seconds


def run(args: argparse.Namespace) -> None:
    """Check what was asked for, and serve until interrupted."""
    try:
        import uvicorn

        from recsys.serving.app import make_app
    except ImportError as error:
        raise ImportError(f'{error}: pip install "recsys[serve]"') from None
    from recsys.serving.gate import LOOPBACK, Protocol
    from recsys.serving.store import Store

    token, is_local = _check(args)
    arms, url = _arms(args), common.store_url(args)
    experiment = args.experiment if len(arms) > 1 else "single"
    with Store(url) as store:
        store.add_arms(experiment, {arm.name: arm.share for arm in arms})
    hosts = (*LOOPBACK, args.host.lower()) if is_local and not token else None
    app = functools.partial(
        make_app, arms, url, experiment=experiment, token=token, hosts=hosts
    )  # fmt: skip
    config = uvicorn.Config(
        app, factory=True, host=args.host, port=args.port, workers=args.workers, loop="uvloop",
        http=Protocol, ws="none", log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=IDLE, timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    if args.update_every is not None:
        folders = [*{arm.folder: None for arm in arms}]
        keep = None if args.keep is None else args.keep / SECONDS["d"]
        given = (args.update_every, folders, url, keep)
        threading.Thread(target=_learn_again_and_again, args=given, daemon=True).start()
    _serve(config, {arm.name: str(arm.folder) for arm in arms}, as_json=args.json)


def _check(args: argparse.Namespace) -> tuple[str | None, bool]:
    """Return the token, and whether only this machine can ask; DataError for what is unsafe."""
    from recsys.serving.gate import is_loopback

    if args.workers < 1 or not 0 <= args.port < 65_536:
        raise DataError("--workers must be 1 or more, and --port from 0 to 65535")
    if args.keep is not None and args.update_every is None:
        raise DataError("--keep drops what is old at each update: give --update-every too")
    token, is_local = _token(args.token_file), is_loopback(args.host)
    if not (is_local or token or args.public):
        raise DataError(
            f"{args.host} can be reached from other machines: give --token-file FILE, or --public "
            "if everybody may read and write"
        )
    return token, is_local


def _serve(config: Config, models: dict[str, str], *, as_json: bool) -> None:
    """Listen, say where, and serve in as many processes as wanted."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    socket = config.bind_socket()
    name = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{name}:{socket.getsockname()[1]}/"
    named = ", ".join(f"{name} from {folder}" for name, folder in models.items())
    logger.info("serving %s at %s (described at %sdocs)", named, address, address)
    if as_json:
        common.print_json({"url": address, "models": models})
        sys.stdout.flush()
    if config.workers > 1:
        with tempfile.TemporaryDirectory(prefix="recsys-metrics-") as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # before a worker counts
            Multiprocess(config, sockets=[socket]).run()
    else:
        uvicorn.Server(config).run(sockets=[socket])


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    token = path.read_text("utf-8").strip()
    if not (len(token) >= 16 and token.isascii() and token.isprintable() and " " not in token):
        raise DataError(f"'{path}' must hold a token of 16 or more letters and digits, no spaces")
    return token


def _arms(args: argparse.Namespace) -> list[Arm]:
    """Read --model and --share."""
    from recsys.model.ask import Model
    from recsys.serving.live import Arm

    given = args.model or [str(data_folder() / "model")]
    if len(given) == 1 and "=" not in given[0]:
        given = [f"model={given[0]}"]
    folders = dict(_split(one, "--model") for one in given)
    shares = {name: _share(text) for name, text in (_split(one, "--share") for one in args.share)}
    if len(folders) < len(given) or shares.keys() - folders.keys():
        raise DataError("every --model needs a name of its own, and every --share the name of one")
    rest = 1 - sum(shares.values())
    others = len(folders) - len(shares)
    if (rest > 1e-9) != (others > 0) or rest < -1e-9:
        raise DataError("shares must add up to 1, with something left for models without one")
    for folder in folders.values():
        Model.load(Path(folder), verify=False)  # says what is wrong before anything is served
    equal = rest / max(others, 1)
    return [Arm(name, Path(f), shares.get(name, equal)) for name, f in folders.items()]


def _split(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise DataError(f"{option} is NAME=..., got {text!r}")
    return name, value


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise DataError(f"a share lies above 0, up to 1, got {text!r}")
    return share


def _learn_again_and_again(every: float, *given: Any) -> None:
    """Learn stored events every so many seconds, in a process of its own."""
    from multiprocessing import get_context

    while True:
        time.sleep(every)
        process = get_context("spawn").Process(target=_learn, args=given, daemon=True)
        process.start()
        process.join()
        if process.exitcode:
            logger.warning("an update ended with exit code %s", process.exitcode)


def _learn(folders: list[Path], url: str, keep_days: float | None) -> None:
    from recsys.serving.update import learn_all  # which takes long to import

    learn_all(folders, url, keep_days)
