"""Whom to tell when something changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Watchers"]

News = TypeVar("News")


class Watchers(Generic[News]):
    """Functions to call with each piece of news, for as long as their owners want it."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[News], object]] = []

    def add(self, watcher: Callable[[News], object]) -> Callable[[], None]:
        """Call a function from now on.

        :returns: ends that; may be called more than once.
        """
        self._watchers.append(watcher)

        def stop() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return stop

    def tell(self, news: News) -> None:
        """Call them all; who is told may add or end any of them."""
        for watcher in list(self._watchers):
            watcher(news)
