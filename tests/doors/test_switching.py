"""``request.ontraport`` follows a change of person or tenant within one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import alogin, get_user_model, login, logout
from django.contrib.auth.models import Group
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from ontraport_connect.middleware import RequestAccounts
from tests.support.linked import key_account, person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def seen(request: Any) -> list[str]:
    account = request.ontraport.account
    return [account.label if account else "", *(each.access_token.reveal() for each in request.ontraport.accounts)]


def change_of_person(request: HttpRequest) -> JsonResponse:
    """Alice's request becomes Bob's, and then nobody's."""
    steps = [seen(request)]
    login(request, get_user_model().objects.get(username="bob"))
    steps.append(seen(request))
    logout(request)
    return JsonResponse([*steps, seen(request)], safe=False)


async def change_of_person_async(request: Any) -> JsonResponse:
    await request.ontraport.aload()
    steps = [seen(request)]
    await alogin(request, await get_user_model().objects.aget(username="bob"))
    await request.ontraport.aload()
    return JsonResponse([*steps, seen(request)], safe=False)


def change_of_tenant(request: HttpRequest) -> JsonResponse:
    """A person switches the workspace, as in the menu at the top of a page."""
    request.session["workspace"] = "north"
    steps = [seen(request)]
    request.session["workspace"] = "south"
    steps.append(seen(request))
    del request.session["workspace"]
    return JsonResponse([*steps, seen(request)], safe=False)


async def change_of_group_async(request: Any) -> JsonResponse:
    await request.ontraport.aload()
    steps = [seen(request)]
    await request.user.groups.aset([await Group.objects.acreate(name="south")])
    await request.ontraport.aload()
    return JsonResponse([*steps, seen(request)], safe=False)


urlpatterns = [
    path("person/", change_of_person),
    path("person-async/", change_of_person_async),
    path("tenant/", change_of_tenant),
    path("group-async/", change_of_group_async),
]


def chosen_workspace(request: HttpRequest) -> str:
    return str(request.session.get("workspace", ""))


def only_group(request: HttpRequest) -> str:
    """A tenant function that queries the database."""
    return "".join(request.user.groups.values_list("name", flat=True))


@pytest.fixture
def alice(client: Client) -> Any:
    user = person("alice")
    client.force_login(user)
    return user


def test_login_and_logout_change_whose_accounts_a_view_gets(client: Client, alice: Any) -> None:
    key_account(alice, label="Alice's", access_token="token-of-alice")
    key_account(person("bob"), label="Bob's", access_token="token-of-bob")
    assert client.get("/person/").json() == [["Alice's", "token-of-alice"], ["Bob's", "token-of-bob"], [""]]
    async_client = AsyncClient()
    async_client.force_login(alice)
    assert async_to_sync(async_client.get)("/person-async/").json() == [
        ["Alice's", "token-of-alice"],
        ["Bob's", "token-of-bob"],
    ]


def test_a_switch_of_the_tenant_changes_whose_accounts_a_view_gets(client: Client, alice: Any) -> None:
    for name in ("north", "south"):
        key_account(alice, label=name, access_token=f"token-of-{name}", tenant=name)
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.chosen_workspace"):
        assert client.get("/tenant/").json() == [["north", "token-of-north"], ["south", "token-of-south"], [""]]


def test_a_deactivated_person_loses_the_accounts_during_the_request(alice: Any, rf: Any) -> None:
    key_account(alice)
    request = rf.get("/")
    request.user = alice
    accounts = RequestAccounts(request)
    assert accounts.account is not None
    alice.is_active = False
    assert accounts.account is None


def test_a_tenant_function_that_queries_is_asked_by_aload_only(alice: Any) -> None:
    """An async view cannot query; the tenant is that of the last ``aload()``, and a change of person counts all the same."""
    alice.groups.add(Group.objects.create(name="north"))
    for name in ("north", "south"):
        key_account(alice, label=name, access_token=f"token-of-{name}", tenant=name)
    client = AsyncClient()
    client.force_login(alice)
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.only_group"):
        expected = [["north", "token-of-north"], ["south", "token-of-south"]]
        assert async_to_sync(client.get)("/group-async/").json() == expected


def test_accounts_of_another_person_are_never_a_fallback(alice: Any, rf: Any) -> None:
    alice.groups.add(Group.objects.create(name="north"))
    key_account(alice, tenant="north")
    request = rf.get("/")
    request.user = alice
    accounts = RequestAccounts(request)

    async def become_bob() -> None:
        await accounts.aload()
        request.user = bob
        assert accounts.account is None

    bob = person("bob")
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.only_group"), pytest.raises(SynchronousOnlyOperation):
        async_to_sync(become_bob)()


@pytest.mark.parametrize("uses", [1, 5])
def test_repeated_use_by_the_same_person_is_one_query(
    alice: Any, rf: Any, uses: int, django_assert_num_queries: Callable[[int], Any]
) -> None:
    key_account(alice)
    request = rf.get("/")
    request.user = alice
    accounts = RequestAccounts(request)
    with django_assert_num_queries(1):
        for _ in range(uses):
            assert accounts
            assert accounts.account is accounts.accounts[0]
