"""Serve a saved model over HTTP: lists that know the latest events, a page, an A/B test.

Needs the extra "serve": pip install "recsys[serve]". Routes and safety: recsys/serving/README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recsys.data.datasets import data_folder

SUMMARY = "serve the saved model over HTTP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("--model", action="append", metavar="[NAME=]FOLDER",
                        help="(default: data/model); several are compared")  # fmt: skip
    parser.add_argument("--share", action="append", default=[], metavar="NAME=SHARE",
                        help="share of the users of a model (default: equal shares)")  # fmt: skip
    parser.add_argument("--experiment", default="ab", metavar="NAME",
                        help="another name assigns users anew (default: ab)")  # fmt: skip
    parser.add_argument("--store", metavar="URL",
                        help="sqlite:///PATH or postgresql+psycopg://... (default: $RECSYS_STORE, "
                        "else events.db in the data folder)")  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (default: 1)"
    )


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    import uvicorn

    from recsys.serving.app import make_app
    from recsys.serving.live import Arm

    folder = Path(args.model[0]) if args.model else data_folder() / "model"
    store = args.store or f"sqlite:///{data_folder()}/events.db"
    app = make_app([Arm("model", folder, 1.0)], store)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")
