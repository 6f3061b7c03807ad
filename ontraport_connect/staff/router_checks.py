"""System checks of the site's database routers: whether they let this app keep its tables, and the links of people, where they say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import router
from django.db.models import Model

from ontraport_connect.models import OntraportAccount, OntraportEvent

GUIDE = "The guide about several databases has a router that does it all."


def check_routers() -> Iterator[CheckMessage]:
    """Check what the routers answer. No database is asked."""
    yield from _one_home()
    yield from _relations()
    yield from _migrations()


def _one_home() -> Iterator[CheckMessage]:
    homes = _homes()
    if len(homes) > 1:
        yield Error(
            f"The routers send the tables of this app to several databases: {', '.join(homes)}. What belongs together is saved together,"
            " which no two databases can do.",
            hint=f'Let db_for_write answer the same for every model of "ontraport_connect". {GUIDE}',
            id="ontraport_connect.E032",
        )


def _relations() -> Iterator[CheckMessage]:
    """Users come from where they are read, and links are made where they are written. The same goes for links and their history."""
    users = get_user_model()
    for (kept_in, kept), (taken_in, taken) in chain(
        product(_rows(users, *_places(users)), _rows(OntraportAccount, router.db_for_write(OntraportAccount))),
        product(
            _rows(OntraportAccount, *_places(OntraportAccount)),
            _rows(OntraportEvent, router.db_for_write(OntraportEvent)),
        ),
    ):
        if not router.allow_relation(kept, taken):
            yield Error(
                f"The routers refuse a relation from {taken._meta.label} in {taken_in!r} to {kept._meta.label} in {kept_in!r}: where one is"
                " given to the other, as when somebody connects or disconnects, Django raises ValueError.",
                hint=f'Let allow_relation return True where either is of "ontraport_connect". {GUIDE}',
                id="ontraport_connect.E033",
            )
            return


def _migrations() -> Iterator[CheckMessage]:
    for model in apps.get_app_config("ontraport_connect").get_models():
        home = router.db_for_write(model)
        if not router.allow_migrate_model(home, model):
            yield checks.Warning(
                f"The routers send the tables of this app to {home!r}, and do not let `migrate` make them there.",
                hint=f'Let allow_migrate return True for {home!r} and "ontraport_connect". {GUIDE} Where something else makes the tables,'
                " put this check into SILENCED_SYSTEM_CHECKS.",
                id="ontraport_connect.W021",
            )
            return


def _homes() -> list[str]:
    return sorted({router.db_for_write(model) for model in apps.get_app_config("ontraport_connect").get_models()})


def _places(model: type[Model]) -> list[str]:
    return sorted({router.db_for_read(model), router.db_for_write(model)})


def _rows(model: type[Model], *places: str) -> list[tuple[str, Model]]:
    """Return a row as it comes from each of these databases, and its database."""
    fields = model._meta.concrete_fields
    names, values = [field.attname for field in fields], [field.get_default() for field in fields]
    from_db: Any = Model.from_db  # a site's own may expect a row that exists
    return [(place, from_db.__func__(model, place, names, values)) for place in places]
