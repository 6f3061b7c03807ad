"""What an account holds at the start: about twenty contacts with tags, a few products, and as many more contacts as are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, islice, product

from .accounts import Account

# First name, last name, e-mail, company, city, country, tags.
PEOPLE: dict[str, list[tuple[str, str, str, str, str, str, str]]] = {
    "owner": [
        ("Amara", "Okafor", "amara.okafor@example.com", "Okafor & Daughters", "Lagos", "NG", "Wholesale, Newsletter"),
        ("Lucía", "Fernández", "lucia@example.org", "Panadería Sol", "Valencia", "ES", "Wholesale"),
        ("Jonas", "Lindqvist", "jonas.lindqvist@example.com", "Fika Nord", "Uppsala", "SE", "Newsletter"),
        ("Mei", "Tanaka", "mei.tanaka@example.com", "Tanaka Tea Rooms", "Kyoto", "JP", "Regular"),
        ("Callum", "MacRae", "callum@example.org", "The Boathouse", "Oban", "GB", "Wholesale, Events"),
        ("Priya", "Raman", "priya.raman@example.com", "Raman Interiors", "Chennai", "IN", "Newsletter"),
        ("Étienne", "Moreau", "etienne.moreau@example.org", "Café du Port", "La Rochelle", "FR", "Wholesale"),
        ("Sofia", "Rossi", "sofia.rossi@example.com", "Torrefazione Rossi", "Trieste", "IT", "Supplier"),
        ("Noah", "Whitaker", "noah@example.com", "Whitaker Law", "Santa Barbara", "US", "Regular, Newsletter"),
        ("Zanele", "Dlamini", "zanele.dlamini@example.org", "Karoo Crafts", "Durban", "ZA", "Events"),
        ("Mateus", "Carvalho", "mateus@example.com", "Fazenda Boa Vista", "Varginha", "BR", "Supplier"),
        ("Hannah", "Weiß", "hannah.weiss@example.org", "Weiß Buchhandlung", "Leipzig", "DE", "Regular"),
        ("Omar", "Haddad", "omar.haddad@example.com", "Cedar Catering", "Beirut", "LB", "Events, Wholesale"),
        ("Grace", "Kim", "grace.kim@example.com", "Studio Haru", "Busan", "KR", "Newsletter"),
        ("Tomasz", "Zieliński", "tomasz@example.org", "Rower i Kawa", "Gdańsk", "PL", "Wholesale"),
        ("Ruth", "Abebe", "ruth.abebe@example.com", "Sidama Growers", "Hawassa", "ET", "Supplier"),
        ("Declan", "Byrne", "declan.byrne@example.com", "Byrne's Bicycles", "Galway", "IE", "Regular"),
        ("Ana", "Petrović", "ana.petrovic@example.org", "Galerija Dvorište", "Novi Sad", "RS", "Newsletter, Events"),
        ("Wiremu", "Parata", "wiremu@example.com", "Tide & Timber", "Nelson", "NZ", "Regular"),
        ("Camille", "Tremblay", "camille.tremblay@example.com", "Boréal Yoga", "Québec", "CA", "Newsletter"),
        ("Eleni", "Pappas", "eleni.pappas@example.org", "Kafeneio 34", "Chania", "GR", "Wholesale"),
    ],
    "agency": [
        ("Freja", "Holm", "freja.holm@example.com", "Holm Keramik", "Aarhus", "DK", "Client"),
        ("Diego", "Salazar", "diego.salazar@example.org", "Andes Trails", "Cusco", "PE", "Client, Retainer"),
        ("Yuki", "Mori", "yuki.mori@example.com", "Mori Stationery", "Kanazawa", "JP", "Lead"),
        ("Adaeze", "Nwosu", "adaeze@example.org", "Brightside Clinics", "Enugu", "NG", "Client"),
        ("Lars", "van Dijk", "lars.vandijk@example.com", "Fietsfabriek", "Utrecht", "NL", "Retainer"),
        ("Isabel", "Quintana", "isabel@example.com", "Bodega Quintana", "Mendoza", "AR", "Lead"),
        ("Tariq", "Aziz", "tariq.aziz@example.org", "Aziz Textiles", "Lahore", "PK", "Client"),
        ("Maëlle", "Le Gall", "maelle.legall@example.com", "Voiles du Ponant", "Brest", "FR", "Client, Workshop"),
        ("Oliver", "Bennett", "oliver.bennett@example.com", "Bennett Dental", "Bristol", "GB", "Retainer"),
        ("Kaisa", "Virtanen", "kaisa.virtanen@example.org", "Sauna & Sund", "Tampere", "FI", "Lead"),
        ("Rajiv", "Menon", "rajiv@example.com", "Backwater Homestays", "Kochi", "IN", "Client"),
        ("Chloé", "Dubois", "chloe.dubois@example.org", "Maison Dubois", "Ghent", "BE", "Workshop"),
        ("Sam", "Nakamura", "sam.nakamura@example.com", "Tidewater Surf", "Honolulu", "US", "Client"),
        ("Katarina", "Novák", "katarina.novak@example.com", "Novák Optik", "Brno", "CZ", "Lead"),
        ("Kwame", "Boateng", "kwame.boateng@example.org", "Accra Makers", "Accra", "GH", "Client, Retainer"),
        ("Lina", "Hoang", "lina.hoang@example.com", "Saigon Silk", "Hội An", "VN", "Client"),
        ("Fergus", "O'Neill", "fergus@example.com", "O'Neill Joinery", "Derry", "GB", "Lead"),
        ("Marta", "Ilves", "marta.ilves@example.org", "Ilves Arhitektid", "Tartu", "EE", "Workshop"),
        ("Paulo", "Teixeira", "paulo.teixeira@example.com", "Azulejo Lab", "Porto", "PT", "Client"),
        ("Naomi", "Goldberg", "naomi.goldberg@example.com", "Goldberg Books", "Montréal", "CA", "Retainer"),
    ],
}
PRODUCTS: Mapping[str, list[tuple[str, str]]] = {
    "owner": [("House Blend, 1 kg", "24.00"), ("Filter Papers", "6.50"), ("Barista Workshop", "120.00")],
    "agency": [("Retainer, monthly", "1800.00"), ("Website Audit", "450.00")],
}
FIRST_DAY = 1_700_000_000
DAY = 86_400


def tag_names(account: Account) -> list[str]:
    """Return the names of an account's tags, each once, in the order in which they occur."""
    return list(dict.fromkeys(tag for person in PEOPLE[account.username] for tag in person[-1].split(", ")))


def contacts(account: Account, minimum: int) -> Iterator[dict[str, str]]:
    """Yield the fields of each contact; ``contact_cat`` holds the numbers of its tags (``*/*1*/*``)."""
    people = PEOPLE[account.username]
    numbers = {name: str(number) for number, name in enumerate(tag_names(account), 1)}
    invented = (
        (first[0], last[1], f"contact{number}@example.com", first[3], last[4], last[5], first[6])
        for number, (first, last) in zip(count(len(people) + 1), product(people * 100, people), strict=False)
    )
    rows = [*people, *islice(invented, max(0, minimum - len(people)))]
    for number, (first, last, email, company, city, country, tags) in enumerate(rows, 1):
        day = str(FIRST_DAY + number * 3 * DAY + number * 7_919 % DAY)
        yield {
            "id": str(number),
            "owner": "1",
            "firstname": first,
            "lastname": last,
            "email": email,
            "company": company,
            "city": city,
            "country": country,
            "date": day,
            "dlm": day,
            "unique_id": f"SANDBOX{number:06}",
            "contact_cat": category([numbers[tag] for tag in tags.split(", ")]),
            "f1000": str(number * 37 % 250),
            "f1001": ("light", "medium", "dark")[number % 3],
        }


def category(tags: list[str]) -> str:
    """Return the numbers of tags as ``contact_cat`` has them."""
    return f"*/*{'*/*'.join(tags)}*/*" if tags else ""


def tags_in(contact_cat: str) -> list[str]:
    """Return the numbers of tags in ``contact_cat``."""
    return [number for number in contact_cat.split("*/*") if number]
