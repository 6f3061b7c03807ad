"""Believable contacts: about twenty for each account, and as many more as the control page asks for."""

from functools import cache
from itertools import count, islice, product

from example_project.sandbox.accounts import Account
from example_project.sandbox.state import controls

Contact = dict[str, str]

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
FIRST_DAY = 1_700_000_000
DAY = 86_400


def as_contact(number: int, row: tuple[str, str, str, str, str, str, str]) -> Contact:
    first_name, last_name, email, company, city, country, tags = row
    return {
        "id": str(number),
        "firstname": first_name,
        "lastname": last_name,
        "email": email,
        "company": company,
        "city": city,
        "country": country,
        "tags": tags,
        "date": str(FIRST_DAY + number * 3 * DAY + number * 7_919 % DAY),
    }


@cache
def contacts_with(username: str, minimum: int) -> list[Contact]:
    people = PEOPLE[username]
    invented = (
        (first[0], last[1], f"contact{number}@example.com", first[3], last[4], last[5], first[6])
        for number, (first, last) in zip(count(len(people) + 1), product(people * 100, people), strict=False)
    )
    rows = [*people, *islice(invented, max(0, minimum - len(people)))]
    return [as_contact(number, row) for number, row in enumerate(rows, 1)]


def contacts_of(account: Account) -> list[Contact]:
    return contacts_with(account.username, controls.settings.contacts)
