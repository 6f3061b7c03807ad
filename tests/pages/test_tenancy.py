"""Links that belong to a tenant: who sees them, who may change them, and that no tenant reaches another's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, Permission
from django.http import HttpRequest
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from organizations.models import Organization
from organizations.utils import create_organization

from ontraport_connect import linking, urls
from ontraport_connect.decorators import check_request
from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking import Owner, key_pairs
from ontraport_connect.middleware import RequestAccounts
from ontraport_connect.models import Method, OntraportAccount, OntraportEvent, Status
from ontraport_connect.pages import tenancy
from tests.support import ontraport
from tests.support.linked import key_account, person
from tests.support.servers import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.support.using_urls")]


def by_subdomain(request: HttpRequest) -> str:
    """A site with a subdomain for each tenant, whose members are in the group of that name."""
    name = request.get_host().partition(".")[0]
    return name if request.user.groups.filter(name=group_of(name)).exists() else ""


def group_of(tenant: str) -> str:
    """Return the name of a group, which not every database compares with another's by capitals, too."""
    return tenant.encode().hex()


def by_organization(request: HttpRequest) -> str:
    """A site on django-organizations, where each person has chosen an organization."""
    chosen = Organization.active.get_for_user(request.user).filter(slug=request.session.get("organization"))
    return next((f"organization:{organization.pk}" for organization in chosen), "")


@pytest.fixture
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def subdomains(configured: None) -> Iterator[None]:
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.by_subdomain"):
        yield


def member(name: str, *tenants: str, may: bool = True) -> Any:
    user = person(name)
    for tenant in tenants:
        user.groups.add(Group.objects.get_or_create(name=group_of(tenant))[0])
    if may:
        wanted = [permission.partition(".")[2] for permission in linking.PERMISSIONS.values()]
        user.user_permissions.add(*Permission.objects.filter(codename__in=wanted))
    return user


def signed_in(user: Any, tenant: str = "") -> Client:
    client = Client(headers={"host": f"{tenant}.shop.example" if tenant else "shop.example"})
    client.force_login(user)
    return client


def requested(user: Any, tenant: str, path: str = "/") -> HttpRequest:
    request = RequestFactory(headers={"host": f"{tenant}.shop.example"}).get(path)
    request.user = user
    request.ontraport = RequestAccounts(request)  # type: ignore[attr-defined]
    return request


def rows() -> list[Any]:
    return list(OntraportAccount.objects.order_by("pk").values())


@dataclass(frozen=True, kw_only=True)
class World:
    """Five tenants and five people; each person belongs to two tenants, and each tenant has two links."""

    people: list[Any]
    accounts: list[OntraportAccount]
    members: dict[str, set[int]]


TENANTS = ["acme", "Acme", "borealis", "cedar", "acme-2"]


@pytest.fixture
def world(subdomains: None) -> World:
    pairs = [(TENANTS[number], TENANTS[(number + 2) % 5]) for number in range(5)]
    people = [member(f"person{number}", *pair) for number, pair in enumerate(pairs)]
    members = {
        tenant: {user.pk for user, pair in zip(people, pairs, strict=True) if tenant in pair} for tenant in TENANTS
    }
    accounts = [
        key_account(
            next(user for user in people if user.pk in members[tenant]),
            tenant=tenant,
            ontraport_id=ontraport_id,
            label=f"secret-label-{tenant}-{ontraport_id}",
        )
        for tenant in TENANTS
        for ontraport_id in ("187157", "204211")
    ]
    personal = [key_account(user, label=f"secret-label-personal-{user.pk}") for user in people]
    return World(people=people, accounts=[*accounts, *personal], members=members)


def one_of_each(world: World) -> list[OntraportAccount]:
    """One account of each tenant, and one of a person."""
    return [next(account for account in world.accounts if account.tenant == tenant) for tenant in [*TENANTS, ""]]


def combinations(
    world: World, accounts: list[OntraportAccount] | None = None
) -> Iterator[tuple[Any, str, OntraportAccount]]:
    """Yield each person, at each tenant's address, with each account they must not reach there."""
    for user, tenant, account in itertools.product(world.people, TENANTS, accounts or world.accounts):
        if not (user.pk in world.members[tenant] and account.tenant == tenant):
            yield user, tenant, account


def urls_of_accounts() -> list[str]:
    """Return every URL of the app that names an account, so that a new one is tested from the start."""
    return [str(pattern.name) for pattern in urls.urlpatterns if "uid" in pattern.pattern.converters]


@override_settings(ALLOWED_HOSTS=["*"])
def test_no_url_reaches_across(world: World) -> None:
    before, events = rows(), OntraportEvent.objects.count()
    names = urls_of_accounts()
    assert {"reconnect", "disconnect"} <= set(names)
    clients = {(user.pk, tenant): signed_in(user, tenant) for user in world.people for tenant in TENANTS}
    tried = 0
    for user, tenant, account in combinations(world, one_of_each(world)):
        client = clients[user.pk, tenant]
        for name in names:
            url = reverse(f"ontraport_connect:{name}", args=[account.uid])
            assert client.post(url, {"label": "stolen"}).status_code == 404, (user, tenant, account, name)
            tried += 1
        assert client.get(f"/one/{account.uid}/").status_code == 404
        tried += 1
    assert tried > 600
    assert (rows(), OntraportEvent.objects.count()) == (before, events)


def test_no_page_shows_what_is_anothers(world: World) -> None:
    uids = {account.uid: account for account in one_of_each(world)}
    for user, tenant in itertools.product(world.people, TENANTS):
        client = signed_in(user, tenant)
        own = {uid for uid, account in uids.items() if user.pk in world.members[tenant] and account.tenant == tenant}
        page = client.get(reverse("ontraport_connect:accounts")).content.decode()
        assert {uid for uid in uids if str(uid) in page} == own
        assert {uid for uid, account in uids.items() if account.label in page} == own
        for uid in set(uids) - own if own else ():
            shown = client.get(reverse("ontraport_connect:connect"), {"account": str(uid)}).content.decode()
            assert uids[uid].label not in shown
            key_page = client.get(reverse("ontraport_connect:connect_key"), {"account": str(uid)})
            assert uids[uid].label not in key_page.content.decode()


def test_no_helper_reaches_across(world: World) -> None:
    helpers: dict[str, Callable[[HttpRequest, UUID], object]] = {
        "for_request": lambda request, uid: OntraportAccount.objects.for_request(request).filter(uid=uid).first(),
        "get": lambda request, uid: request.ontraport.get(uid),  # type: ignore[attr-defined]
        "accounts": lambda request, uid: [a for a in request.ontraport.accounts if a.uid == uid],  # type: ignore[attr-defined]
    }
    requests = {(user.pk, tenant): requested(user, tenant) for user in world.people for tenant in TENANTS}
    for user, tenant, account in combinations(world):
        for name, helper in helpers.items():
            assert not helper(requests[user.pk, tenant], account.uid), (user, tenant, account, name)


def test_a_member_reaches_what_is_the_tenants(world: World) -> None:
    for user, tenant, account in itertools.product(world.people, TENANTS, world.accounts):
        if user.pk in world.members[tenant] and account.tenant == tenant:
            assert check_request(requested(user, tenant), account.uid) is None
            assert signed_in(user, tenant).get(f"/one/{account.uid}/").json()["uid"] == str(account.uid)


def test_no_foreign_link_is_reconnected_by_its_owner_object(world: World) -> None:
    """Also when a view does not check: an owner's query returns only its own rows."""
    theirs = next(account for account in world.accounts if account.tenant == "borealis")
    stranger = next(user for user in world.people if user.pk not in world.members["borealis"])
    owner = Owner(user=stranger, tenant="acme")
    before = rows()
    with pytest.raises(LinkingFailed) as raised:
        key_pairs.link_key_pair(
            owner, app_id=Secret("2_187157_sandbox"), api_key=Secret("sandbox-key-owner"), account=theirs
        )
    assert (raised.value.code, rows()) == ("gone", before)


def test_who_leaves_a_tenant_loses_its_links_at_once_and_they_stay(subdomains: None, sandbox: Sandbox) -> None:
    leaver, colleague = member("leaver", "acme"), member("colleague", "acme")
    client = signed_in(leaver, "acme")
    with override_settings(ONTRAPORT_REDIRECT_URI=None):
        account = key_account(leaver, tenant="acme")
    assert client.get(f"/one/{account.uid}/").status_code == 200
    leaver.groups.clear()
    assert client.get(f"/one/{account.uid}/").status_code == 404
    assert client.post(reverse("ontraport_connect:disconnect", args=[account.uid])).status_code == 404
    assert signed_in(colleague, "acme").get(f"/one/{account.uid}/").status_code == 200
    leaver.delete()
    assert signed_in(colleague, "acme").get(f"/one/{account.uid}/").status_code == 200
    account = OntraportAccount.objects.get()
    assert (account.user, account.status) == (None, Status.CONNECTED)
    assert account.rest("GET", "objects", params={"objectID": 0, "range": 1})["account_id"] == 187157


def test_ids_of_tenants_compare_letter_by_letter(subdomains: None) -> None:
    account = key_account(member("maya", "Acme"), tenant="Acme")
    assert requested(account.user, "Acme").ontraport.get(account.uid) == account  # type: ignore[attr-defined]
    assert signed_in(member("tomas", "acme"), "acme").get(f"/one/{account.uid}/").status_code == 404


def test_where_there_is_no_tenant_there_is_nothing(subdomains: None) -> None:
    maya = member("maya", "acme")
    key_account(maya, tenant="acme")
    key_account(maya)
    client = signed_in(maya, "elsewhere")
    assert client.get("/required/").status_code == 302
    for name in ("accounts", "connect"):
        page = client.get(reverse(f"ontraport_connect:{name}")).content.decode()
        assert "<form" not in page
        assert "You don't have permission to connect Ontraport. Ask a workspace admin." in unescape(page)
    assert client.get(reverse("ontraport_connect:connect_key")).status_code == 404
    assert client.post(reverse("ontraport_connect:connect")).status_code == 404
    pasted = {"app_id": "2_187157_sandbox", "api_key": "sandbox-key-owner"}
    assert client.post(reverse("ontraport_connect:connect_key"), pasted).status_code == 404
    assert OntraportAccount.objects.count() == 2


def test_links_of_a_tenant_are_not_seen_where_links_are_personal(configured: None) -> None:
    maya = person("maya")
    shared, own = key_account(maya, tenant="acme"), key_account(maya)
    accounts = requested(maya, "acme").ontraport  # type: ignore[attr-defined]
    assert (accounts.get(shared.uid), accounts.get(own.uid)) == (None, own)


@override_settings(ALLOWED_HOSTS=["*"])
def test_members_do_what_they_are_permitted_to(subdomains: None, sandbox: Sandbox) -> None:
    looker = member("looker", "acme", may=False)
    account = key_account(looker, tenant="acme", method=Method.OAUTH)
    client = signed_in(looker, "acme")
    assert client.get(f"/one/{account.uid}/").status_code == 200
    assert client.get(reverse("ontraport_connect:accounts")).status_code == 200
    before = rows()
    for url in (
        reverse("ontraport_connect:connect"),
        reverse("ontraport_connect:connect_key"),
        *(reverse(f"ontraport_connect:{name}", args=[account.uid]) for name in urls_of_accounts()),
    ):
        assert client.post(url, {"label": "renamed"}).status_code == 403, url
    assert rows() == before
    for permission in linking.PERMISSIONS.values():
        looker.user_permissions.add(Permission.objects.get(codename=permission.partition(".")[2]))
    assert signed_in(looker, "acme").post(reverse("ontraport_connect:connect")).status_code == 302
    disconnect = reverse("ontraport_connect:disconnect", args=[account.uid])
    assert signed_in(looker, "acme").post(disconnect, {"confirmed": "yes"}).status_code in {200, 302}


def test_a_person_may_do_everything_with_links_of_their_own(configured: None) -> None:
    request = requested(person("maya"), "shop")
    assert tenancy.permissions(request) == {"link": True, "disconnect": True}
    tenancy.require(request, "disconnect")
    assert tenancy.owner_of(request) == Owner(user=request.user, tenant=None)


@override_settings(ALLOWED_HOSTS=["*"])
def test_a_workspace_of_a_subdomain_site_links_with_oauth(subdomains: None, sandbox: Sandbox) -> None:
    maya, tomas = member("maya", "acme"), member("tomas", "acme")
    client = signed_in(maya, "acme")
    assert ontraport.link(client, sandbox).status_code == 302
    account = OntraportAccount.objects.get()
    assert (account.tenant, account.user, account.ontraport_id) == ("acme", maya, "187157")
    assert signed_in(tomas, "acme").get("/required/").json()["uid"] == str(account.uid)
    assert ontraport.link(signed_in(tomas, "acme"), sandbox).status_code == 302
    assert OntraportAccount.objects.get().uid == account.uid


def test_a_site_on_django_organizations(configured: None, sandbox: Sandbox) -> None:
    maya, tomas, stranger = (member(name) for name in ("maya", "tomas", "stranger"))
    harbour = create_organization(maya, "Harbour")
    create_organization(stranger, "Northlight")
    harbour.add_user(tomas)
    with override_settings(ONTRAPORT_TENANT=f"{__name__}.by_organization"):
        clients = {user.username: signed_in(user) for user in (maya, tomas, stranger)}
        for name, slug in (("maya", "harbour"), ("tomas", "harbour"), ("stranger", "northlight")):
            session = clients[name].session
            session["organization"] = slug
            session.save()
        assert ontraport.link(clients["maya"], sandbox).status_code == 302
        account = OntraportAccount.objects.get()
        assert account.tenant == f"organization:{harbour.pk}"
        seen = {name: client.get(f"/one/{account.uid}/").status_code for name, client in clients.items()}
        assert seen == {"maya": 200, "tomas": 200, "stranger": 404}

        session = clients["stranger"].session
        session["organization"] = "harbour"
        session.save()
        assert clients["stranger"].get(f"/one/{account.uid}/").status_code == 404

        harbour.remove_user(tomas)
        assert clients["tomas"].get(f"/one/{account.uid}/").status_code == 404
        assert clients["maya"].get(f"/one/{account.uid}/").status_code == 200
        harbour.is_active = False
        harbour.save()
        assert clients["maya"].get(f"/one/{account.uid}/").status_code == 404
    assert OntraportAccount.objects.get().status == Status.CONNECTED
