"""Hold the models that answer: each worker notices a new one, loads it beside, and swaps."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys.data.columns import find
from recsys.errors import ModelError
from recsys.model import storage
from recsys.model.ask import NO_ROWS, Model
from recsys.serving.catalogue import Catalogue

logger = logging.getLogger(__name__)

EVERY = 0.5  # seconds between looks at the pointers


@dataclass(frozen=True)
class Served:
    """One model as it is served; a request takes one and asks nothing else."""

    run: str
    stamp: tuple[int, ...]
    folder: Path
    model: Model
    catalogue: Catalogue

    @classmethod
    def load(cls, folder: Path) -> Served:
        """Open the model in use, and make what its first requests would wait for.

        Raises
        ------
        ModelError
            There is no model, or it is damaged.
        """
        while True:
            stamp = storage.stamp(folder)
            run = (folder / storage.CURRENT).read_text("ascii", "replace").strip()
            model = Model.load(folder, verify=True)
            if storage.stamp(folder) == stamp:
                break
        served = cls(run, stamp, folder, model, Catalogue(model, folder / run))
        served.catalogue.search("", 1)
        first = model.tables.histories.items_of(0)[-1:]
        if len(first):
            for popularity in (1.0, 0.5):  # by either index
                model.recommend(model.taste(first), 1, NO_ROWS, None, popularity=popularity)
        return served

    @functools.cached_property
    def text_users(self) -> bool:
        """Whether the ids of users are text."""
        return is_text(self.model.tables.user_ids)

    @functools.cached_property
    def text_items(self) -> bool:
        """Whether the ids of items are text."""
        return is_text(self.model.tables.item_ids)

    def user(self, text: str) -> Any:
        """Return a user id as the model has it."""
        return text if self.text_users else as_number(text)

    def item(self, text: str) -> Any:
        """Return an item id as the model has it."""
        return text if self.text_items else as_number(text)

    def user_row(self, text: str) -> int | None:
        """Return the row of a user, None for one that the model does not know."""
        return find(self.model.tables.user_ids, self.user(text))

    def item_row(self, text: str) -> int | None:
        """Return the row of an item, None for one without a vector."""
        return find(self.model.tables.item_ids, self.item(text))


def is_text(ids: Any) -> bool:
    """Tell whether a column of ids holds text."""
    return not isinstance(ids, np.ndarray) or ids.dtype == object


def as_number(text: str) -> int | str:
    """Return the whole number that a text is the usual form of, else the text.

    Examples
    --------
    >>> [as_number(text) for text in ("42", "-1", "042", " 42", "4_2", "x")]
    [42, -1, '042', ' 42', '4_2', 'x']
    """
    digits = text[1:] if text[:1] == "-" else text
    if digits.isascii() and digits.isdigit() and (digits[0] != "0" or text == "0"):
        return int(text)
    return text


@dataclass(frozen=True)
class Arm:
    """One of the models that are compared: its name, its folder, its share of the users."""

    name: str
    folder: Path
    share: float


class Live:
    """The models in use, by arm; `watch` replaces them, everything else only reads.

    Parameters
    ----------
    arms : list of Arm
        The first one is the control, and answers visitors.
    experiment : str
        Users are assigned anew by another name.
    """

    def __init__(self, arms: list[Arm], experiment: str) -> None:
        self.arms, self.experiment = arms, experiment
        self.served = {arm.name: Served.load(arm.folder) for arm in arms}
        self.n_swaps = self.n_failures = 0

    @property
    def first(self) -> Served:
        """The model of the first arm."""
        return self.served[self.arms[0].name]

    def of_user(self, text: str) -> tuple[str, Served]:
        """Return the arm of a user, always the same, and its model."""
        name = assign(text, self.arms, self.experiment)
        return name, self.served[name]

    async def watch(self) -> None:
        """Look at the pointers again and again; a model that cannot be opened is not taken."""
        tried: dict[str, tuple[int, ...]] = {}
        said: dict[str, str] = {}
        while True:
            await asyncio.sleep(EVERY)
            for arm in self.arms:
                try:
                    stamp = storage.stamp(arm.folder)
                    if stamp in (self.served[arm.name].stamp, tried.get(arm.name)):
                        continue
                    tried[arm.name] = stamp
                    new = await asyncio.to_thread(Served.load, arm.folder)
                except (ModelError, OSError, MemoryError) as error:
                    if said.get(arm.name) != str(error):  # once, not twice a second
                        said[arm.name] = str(error)
                        self.n_failures += 1
                        logger.warning("%s: the old model stays: %s", arm.name, error)
                else:
                    said.pop(arm.name, None)
                    self.served[arm.name] = new  # between two requests: they run on this thread
                    self.n_swaps += 1
                    logger.info("%s: %s is served", arm.name, new.run)


def assign(user: str, arms: list[Arm], experiment: str) -> str:
    """Assign a user to an arm by a hash of their id and the experiment's name."""
    digest = hashlib.blake2b(f"{experiment}\0{user}".encode(), digest_size=8).digest()
    point, total = int.from_bytes(digest) / 2**64, 0.0
    for arm in arms:
        total += arm.share
        if point < total:
            return arm.name
    return arms[-1].name
