"""The key to the user of a row, in the database of the accounts or in another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.db.models.deletion import CASCADE, SET_NULL, Collector
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor

from . import people

if TYPE_CHECKING:
    UserKey = models.ForeignKey[Any, Any]
    ToOne = ForwardManyToOneDescriptor[Any]
else:  # Django's classes take no parameters at run time
    UserKey = models.ForeignKey
    ToOne = ForwardManyToOneDescriptor


def forget_user(
    collector: Collector, field: models.Field[Any, Any], accounts: models.QuerySet[Any], using: str
) -> None:
    """``on_delete`` of the user: personal links go with the person (and are revoked), links of a tenant stay with the tenant.

    Where the users are in another database, ``refreshing.deletions`` does that after the person is gone.
    """
    if not people.are_elsewhere() and accounts:
        SET_NULL(collector, field, accounts.exclude(tenant=""), using)
        CASCADE(collector, field, accounts.filter(tenant=""), using)


def keep_without_user(
    collector: Collector, field: models.Field[Any, Any], events: models.QuerySet[Any], using: str
) -> None:
    """``on_delete`` of the user of an event: it stays. Where the users are in another database, ``refreshing.deletions`` does that."""
    if not people.are_elsewhere():
        SET_NULL(collector, field, events, using)


for on_delete in (forget_user, keep_without_user):
    vars(on_delete)["lazy_sub_objs"] = True  # Django asks no database for the rows beforehand


class Person(ToOne):
    """Reads the user where users are, whatever the router says of users who are looked up from another database."""

    def get_queryset(self, **hints: Any) -> Any:
        users = super().get_queryset(**hints)
        return users.using(people.database()) if people.are_elsewhere() else users

    def get_object(self, instance: Any) -> Any:
        """Return ``None`` for somebody who is gone from another database, where no constraint keeps the key true."""
        try:
            return super().get_object(instance)
        except ObjectDoesNotExist:
            if not people.are_elsewhere():
                raise
            return None


class PersonKey(UserKey):
    """A foreign key to the site's users, without a constraint in the database where they are in another one."""

    forward_related_accessor_class = Person

    @property
    def db_constraint(self) -> bool:
        return not people.are_elsewhere()

    @db_constraint.setter
    def db_constraint(self, value: bool) -> None:
        """Django sets what it was given, which is always the default."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        kwargs.pop("db_constraint", None)
        return name, "ontraport_connect.models.PersonKey", args, kwargs
