"""User models that have little more than Django asks for: no ``is_active`` column, no e-mail address, no numbers for keys."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class BareUser(AbstractBaseUser):
    """A person who may do everything."""

    name = models.CharField(max_length=100, unique=True)
    is_staff = True
    is_superuser = True

    USERNAME_FIELD = "name"
    objects: ClassVar[Any] = BaseUserManager()

    class Meta:
        abstract = True

    def has_perm(self, permission: str, obj: object = None) -> bool:
        return True

    def has_module_perms(self, app: str) -> bool:
        return True


class Member(BareUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    class Meta:
        app_label = "bare_users"


class Guest(BareUser):
    """Whoever has left is not active."""

    email = models.EmailField(blank=True)
    has_left = models.BooleanField(default=False)

    class Meta:
        app_label = "bare_users"

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # Django's is a class attribute
        return not self.has_left


class Line(AbstractBaseUser):
    """Somebody who has no name yet."""

    name = models.CharField(max_length=100, unique=True, null=True)  # noqa: DJ001  # as for people who sign up with a telephone
    USERNAME_FIELD = "name"
    is_staff = is_superuser = True
    objects: ClassVar[Any] = BaseUserManager()

    class Meta:
        app_label = "bare_users"

    def __str__(self) -> str:
        return "somebody"

    has_perm = BareUser.has_perm
    has_module_perms = BareUser.has_module_perms

    def get_full_name(self) -> str:
        raise TypeError("There is no name to make one of.")


class Caller(Line):
    """A table of its own beside that of ``Line``."""

    class Meta:
        app_label = "bare_users"


class Subscriber(Caller):
    class Meta:
        app_label = "bare_users"
        proxy = True


class Shop(models.Model):
    """What needs its link: https://github.com/wagtail/wagtail/issues/1748."""

    account: Any = models.ForeignKey("ontraport_connect.OntraportAccount", models.PROTECT)
    objects: ClassVar[Any] = models.Manager()

    class Meta:
        app_label = "bare_users"

    def __str__(self) -> str:
        return "shop"


class Branch(models.Model):
    """What needs its link as well, in Django's other way."""

    account: Any = models.ForeignKey("ontraport_connect.OntraportAccount", models.RESTRICT)
    objects: ClassVar[Any] = models.Manager()

    class Meta:
        app_label = "bare_users"
        verbose_name_plural = "branches"

    def __str__(self) -> str:
        return "branch"


class Clerk(BareUser):
    id = models.CharField(primary_key=True, max_length=40, default="clerk:ä/'1")

    class Meta:
        app_label = "bare_users"
